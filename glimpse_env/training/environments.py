"""Build the environments of training and evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from torch import nn

from glimpse_env import GlimpseVectorEnv, Preset
from glimpse_env.networks.fixed_policies import build_unlearned
from glimpse_env.runtime import distributed
from glimpse_env.sensors import Mirrorable, Repaintable
from glimpse_env.training.options import Training, View

ROWS = 500  # images evaluated at a time


def build_environment(
    options: Training, start: Mapping[str, Any] | None = None, max_glimpses: int | None = None
) -> GlimpseVectorEnv:
    """Return the training environment: the images of `options.split`, in AutoresetMode.DISABLED.

    If `options.glimpses` is None, the maximum number of glimpses is that of `start`, a checkpoint to resume
    or to start from, else `max_glimpses`.

    Raises:
        ValueError: Options that do not fit the data set or each other.
    """
    check_split(options.split)
    given = view(options)
    if options.glimpses is None:
        given["max_glimpses"] = start["environment"]["max_glimpses"] if start else max_glimpses
    rows = distributed.share(options.batch, "--batch") * options.samples
    given |= {"split": options.split, "device": options.device, "autoreset_mode": AutoresetMode.DISABLED}
    env = GlimpseVectorEnv(rows, **given)
    if options.augment and not isinstance(env.sensor, Repaintable | Mirrorable):
        reason = f"{type(env.sensor).__name__} can show neither changed nor mirrored images"
        raise ValueError(f"--augment: {reason}: use --no-augment")
    if options.initial_location is not None and env.sensor.whole_first:
        reason = "glimpse 1 shows the whole image: add --first-view glimpse"
        raise ValueError(f"--initial-location {options.initial_location}: {reason}")
    if env.preset.moves == "relative" and options.policy not in ("learned", "random"):
        raise ValueError(f"--policy {options.policy} chooses locations: use it without --moves relative")
    if unlearned := build_unlearned(options.policy, env.preset.grid, env.preset.axes):
        unlearned.check(env.preset.max_glimpses - env.sensor.whole_first)
    if len(env.images) < options.batch:
        images = f"the data set has {len(env.images)} training images"
        raise ValueError(f"--batch {options.batch}: {images}; use a smaller batch")
    return env


def compile_update(env: GlimpseVectorEnv, network: nn.Module, options: Training) -> None:
    """With --compile, compile what a training update runs at every glimpse: the network and the step.

    They are compiled at their first calls. Not the whole update: its loop would be compiled again for every
    number of glimpses, and is no faster (benchmarks/compiled.py).
    """
    if options.compile:
        network.compile()
        env.step = torch.compile(env.step, fullgraph=True)


def build_evaluation_environment(
    arguments: Mapping[str, Any], split: str, device: torch.device | str, rows: int = ROWS
) -> GlimpseVectorEnv:
    """Return the environment of an evaluation: every image of the split once, `rows` at a time."""
    given = {"split": split, "device": device, "autoreset_mode": AutoresetMode.DISABLED}
    return GlimpseVectorEnv(rows, **arguments, **given, order="once")


def count_glimpse_values(env: GlimpseVectorEnv) -> int:
    """Return the number of values of one glimpse."""
    return math.prod(env.sensor.space["glimpse"].shape or ())


def check_split(split: str) -> None:
    """Refuse to train on the test images."""
    if split == "test":
        raise ValueError("--split test: the test images are not for training; expected train, fit or fit:K/N")


def view(options: View) -> dict[str, Any]:
    """Return the options of images and glimpses as keyword arguments of the environment."""
    names = ("dataset", "root", "weights", *Preset.__dataclass_fields__)
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if getattr(options, "train_backbone", False):  # it is part of the agent, not of the sensor
        given |= {"backbone": None, "weights": "DEFAULT"}
    return given | {"max_glimpses": options.glimpses}
