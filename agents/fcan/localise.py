"""The stage localise with its files: a checkpoint that evaluate.py reads, TensorBoard logs, the places of the parts, the score maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from fcan import localising, setup, stage_files
from fcan.plan import FcanOptions
from fcan.setup import Plan
from glimpse_env import GlimpseVectorEnv
from glimpse_env.datasets import held_out
from glimpse_env.networks import registry
from glimpse_env.networks.fcan import FullyConvolutionalAttention
from glimpse_env.runtime import checkpoint, files
from glimpse_env.runtime.precision import named
from glimpse_env.training import environments
from glimpse_env.training import resume as common
from glimpse_env.training.trainer import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

AGENT = "fcan_greedy"


def localise(plan: Plan, weights: str) -> None:
    """Learn where the parts are and write checkpoint.pt."""
    from torch.utils.tensorboard import SummaryWriter  # not needed by --help

    options, target = plan.options, plan.out / "checkpoint.pt"
    torch.manual_seed(options.seed)
    saved = resumable(target, options) if options.resume and target.is_file() else None
    look = setup.look(plan, weights)
    env = environments.build_evaluation_environment(look, plan.learn, options.device, rows=1)  # only its images and their maps are wanted
    network = setup.network_for(env, options)
    identity = describe(plan, env, network, look)
    progress = Progress()
    if saved is not None:
        common.check_weights(saved, identity["environment"], target)
        network.load_state_dict(saved["network"])
        progress = Progress(**saved["progress"])
    precision = named(options.precision, env.device)

    def save(progress: Progress, optimizer: dict[str, Any]) -> None:
        checkpoint.save(target, identity | localising.content(network, progress, optimizer) | {"precision": str(precision)})

    with SummaryWriter(str(plan.out)) as writer:
        checking = validator(plan, identity["environment"], network)
        setting = localising.Setting(env, options, precision, checking, lambda row: record(writer, row), save)
        training = localising.Localising(setting, network, progress)
        stage_files.begin(plan.out, "localise")
        if saved is not None:
            training.optimizer.load_state_dict(saved["optimizer"])
        training.train()


def resumable(target: Path, options: FcanOptions) -> dict[str, Any]:
    """Return the checkpoint to go on from; the options of this stage must be its own."""
    saved = checkpoint.load(target)
    if saved["agent"] != AGENT:
        raise ValueError(f"{target} is a checkpoint of {saved['agent']}: expected one of {AGENT}")
    checkpoint.check_same(target, saved["options"], stage_files.chosen("localise", options))
    return saved


def describe(plan: Plan, env: GlimpseVectorEnv, network: FullyConvolutionalAttention, look: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint must say about itself to be rebuilt and evaluated alone."""
    rebuilt = setup.rebuilding(env, look)
    return {
        "agent": AGENT,
        "dynamic": False,
        "options": checkpoint.plain(plan.options),
        "network_name": registry.find_name(network),
        "architecture": asdict(network.architecture),
        "environment": rebuilt,
        "weights_sha256": common.weights_hash(rebuilt),
        "command": checkpoint.command(),
    }


def validator(plan: Plan, look: dict[str, Any], network: FullyConvolutionalAttention) -> Callable[[], dict[str, float]]:
    """Return what measures the network on the held-out images; nothing where none are held out."""
    held = held_out(plan.learn)
    if held is None:
        return dict
    env = environments.build_evaluation_environment(look, held, plan.options.device, rows=1)  # only its images and their maps are wanted
    return lambda: {"validation_accuracy": localising.accuracy(network, env)}


def record(writer: SummaryWriter, row: dict[str, Any]) -> None:
    """Log an epoch's numbers to TensorBoard."""
    for name, value in row.items():
        if name not in ("epoch", "stage"):
            writer.add_scalar(name, value, row["epoch"])


def reopened(plan: Plan, split: str) -> tuple[GlimpseVectorEnv, FullyConvolutionalAttention]:
    """Return the trained network of checkpoint.pt and the environment over a split."""
    saved = checkpoint.load(plan.out / "checkpoint.pt")
    env = environments.build_evaluation_environment(saved["environment"], split, plan.options.device, rows=1)
    network = registry.rebuild(saved)
    assert isinstance(network, FullyConvolutionalAttention)
    return env, network.to(env.device)


def places_of(plan: Plan, split: str) -> tuple[GlimpseVectorEnv, Int64[Tensor, "image part"]]:
    """Return an environment over a split and its parts' places: from their file if this checkpoint made it, else made and kept there."""
    file = places_file(plan.out, split)
    env, network = reopened(plan, split)
    made_by = stage_files.digest(plan.out / "checkpoint.pt")
    if file.is_file():
        with np.load(file) as kept:
            if str(kept["checkpoint"]) == made_by and len(kept["places"]) == len(env.images):
                return env, torch.from_numpy(kept["places"])
    found = localising.best_places(network, env)
    files.write_numpy(file, {"places": found.numpy(), "checkpoint": np.array(made_by)})
    return env, found


def places_file(out: Path, split: str) -> Path:
    """Return where the places of a split's images are kept."""
    return out / f"places-{checkpoint.file_name(split)}.npz"
