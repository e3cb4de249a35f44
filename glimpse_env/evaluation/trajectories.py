"""One metric for every agent: each image once, one deterministic rollout each, accuracy beside mean glimpses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.networks.base import Agent
from glimpse_env.runtime import distributed, files
from glimpse_env.training.rollout import Behaviour, Guide, Policy, collect

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.998, 0.999)
ROWS = 500  # images evaluated at a time


@dataclass(frozen=True)
class Looks:
    """Every image's whole trajectory.

    Stopping does not change what comes before it, so one rollout to the horizon serves every stopping rule.
    """

    index: Int64[Tensor, " image"]
    labels: Int64[Tensor, " image"]
    answers: Int64[Tensor, "time image"]  # most probable class at each step
    confidence: Float[Tensor, "time image"]  # its probability
    stop: Float[Tensor, "time image"]  # probability of stopping, by the stop head
    locations: Float[Tensor, "time image 2"]
    shares: Float[Tensor, "time image class"] | None = None  # every class's probability, in half precision; files leave it out (None)

    @property
    def correct(self) -> Bool[Tensor, "time image"]:
        """Whether each step's answer is right."""
        return self.answers == self.labels

    def at(self, when: Int64[Tensor, " image"]) -> tuple[float, float]:
        """Return accuracy and mean glimpses of answering at these steps (from 0)."""
        right = self.correct.gather(0, when[None])[0]
        return right.float().mean().item(), (when + 1).float().mean().item()


def look(
    env: GlimpseVectorEnv,
    network: Agent,
    steps: int,
    precision: torch.dtype = torch.float32,
    policy: Policy = "learned",
    guide: Guide | None = None,
) -> Looks:
    """Show every image of an order="once" environment to the agent for `steps` glimpses.

    The agent acts by its means; policy="random" draws its places from a fixed seed instead, a `guide` chooses them itself. Processes that
    train together share the images out, and each of them gets all trajectories.
    """
    network.eval()
    generator = torch.Generator(env.device)  # a learned policy draws nothing from it: its actions are deterministic
    parts = []
    mine = range(0, len(env.images), env.num_envs)[distributed.rank() :: distributed.count()]
    with torch.no_grad(), distributed.apart():
        for start in mine:
            generator.manual_seed(start)
            kept = min(env.num_envs, len(env.images) - start)
            indices = torch.arange(start, start + env.num_envs, device=env.device).clamp(max=len(env.images) - 1)
            rollout = collect(env, network, Behaviour(steps, policy=policy, guide=guide), generator, indices, precision)
            shares = rollout.logits.softmax(2)
            best = shares.max(2)
            stops = rollout.stop_logits.sigmoid()
            part = (indices, rollout.labels, best.indices, best.values, stops, rollout.locations, shares.half())
            parts.append([(value[..., :kept, :] if value.ndim == 3 else value[..., :kept]).cpu() for value in part])
    columns = list(zip(*distributed.gathered(parts), strict=True))
    return Looks(*(torch.cat(column, 0 if column[0].ndim == 1 else 1) for column in columns))


def save(looks: Looks, path: Path) -> None:
    """Write every image's trajectory as a numpy archive (read it with numpy.load), whole or not at all; `shares` would be most of it."""
    files.write_numpy(path, {name: getattr(looks, name).numpy() for name in looks.__dataclass_fields__ if name != "shares"})


def saved(path: Path) -> Looks:
    """Return the trajectories that `save` wrote.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as archive:
            return Looks(**{name: torch.from_numpy(archive[name]) for name in archive.files})
    except (BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path} is damaged: remove it, and it is made anew ({error})") from error


def glimpse_values(env: GlimpseVectorEnv) -> int:
    """Return how many values one glimpse has."""
    return math.prod(env.sensor.space["glimpse"].shape or ())


def first(crossed: Bool[Tensor, "time image"]) -> Int64[Tensor, " image"]:
    """Return the first step (from 0) at which a rule says stop; the last step where it never does."""
    return torch.cat((crossed[:-1], torch.ones_like(crossed[:1]))).int().argmax(0)


def learned_stops(looks: Looks) -> Int64[Tensor, " image"]:
    """Return the step (from 0) at which the stop head's more probable decision is to stop."""
    return first(looks.stop >= 0.5)


def threshold_stops(looks: Looks, threshold: float) -> Int64[Tensor, " image"]:
    """Return the step (from 0) at which the confidence first exceeds a threshold (DT-RAM, Table 7)."""
    return first(looks.confidence > threshold)


def random_stop(looks: Looks, when: Int64[Tensor, " image"]) -> Float[Tensor, " image"]:
    """Return how often each image's answer is right if the steps `when` are dealt out to the images at random: the mean of all such draws.

    A random stop of the same mean number of glimpses, even of the same histogram: what a rule must beat to be worth asking.
    """
    shares = torch.bincount(when, minlength=len(looks.answers)) / len(when)
    return (shares[:, None] * looks.correct).sum(0)


def answered(looks: Looks, dynamic: bool) -> Int64[Tensor, " image"]:
    """Return the step (from 0) at which each image is answered: by the stop head (`dynamic`), or the last."""
    return learned_stops(looks) if dynamic else torch.full_like(looks.labels, len(looks.answers) - 1)


def summary(looks: Looks, dynamic: bool, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, Any]:
    """Return the measures of a result row; `dynamic` = stop by the stop head, else at the last step."""
    time = len(looks.answers)
    when = answered(looks, dynamic)
    accuracy, glimpses = looks.at(when)
    curve = []
    for threshold in thresholds:
        right, steps = looks.at(threshold_stops(looks, threshold))
        curve.append({"threshold": threshold, "mean_glimpses": steps, "accuracy": right})
    return {
        "images": len(when),
        "accuracy": accuracy,
        "mean_glimpses": glimpses,
        "random_stop_accuracy": random_stop(looks, when).mean().item(),
        "glimpse_histogram": torch.bincount(when, minlength=time).tolist(),
        "per_step_accuracy": looks.correct.float().mean(1).tolist(),
        "threshold_curve": curve,
    }


def environment(options: dict[str, Any], split: str, device: torch.device | str, rows: int = ROWS) -> GlimpseVectorEnv:
    """Return the environment of an evaluation: `rows` images at a time, absorbing."""
    return GlimpseVectorEnv(rows, **options, split=split, device=device, order="once", autoreset_mode=AutoresetMode.DISABLED)
