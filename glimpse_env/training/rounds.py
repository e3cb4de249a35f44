"""A run of an algorithm that collects and updates in rounds at the device door: begun or gone on with, shown, recorded and saved."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from glimpse_env import EpisodeStatistics
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.training.trainer import Progress


@dataclass
class Rounds:
    """The run: what learns, where it stands, and where it is kept. Iterate over it for the numbers of the rounds to be done."""

    env: EpisodeStatistics
    network: nn.Module
    optimizer: torch.optim.Optimizer
    target: Path  # of its checkpoint
    identity: Mapping[str, Any]  # what the checkpoint says of itself
    total: int  # rounds
    steps: int  # of all rows together in a round
    every: int  # rounds between two records
    progress: Progress = field(default_factory=Progress)  # an epoch is a round here

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of the rounds that are left, from 0, with a bar."""
        known = {"total": self.total * self.steps, "initial": self.progress.epoch * self.steps, "unit": "step"}
        with tqdm(**known, unit_scale=True, dynamic_ncols=True) as self.bar:
            self.started = time.monotonic() - self.progress.seconds
            for done in range(self.progress.epoch, self.total):
                yield done
                self.bar.update(self.steps)

    def due(self, done: int) -> bool:
        """Tell whether the round of this number is recorded: every so many, and the last."""
        return (done + 1) % self.every == 0 or done + 1 == self.total

    def record(self, done: int, measures: Mapping[str, float], standing: Mapping[str, Any]) -> None:
        """Show and keep what a round measured, beside the means over the last episodes; save everything that the next one needs.

        Args:
            done: The round's number.
            measures: What is worth knowing: loss, train_accuracy.
            standing: Where the algorithm stands in the environment, as tensors and plain values.
        """
        found = {"reward": self.env.mean_return.item(), "mean_glimpses": self.env.mean_length.item(), **measures}
        self.bar.set_postfix_str(terminal.live(found))
        self.progress.epoch, self.progress.seconds = done + 1, time.monotonic() - self.started
        self.progress.history.append({"epoch": done + 1, "seconds": round(self.progress.seconds, 2), **found})
        self.save(standing)

    def save(self, standing: Mapping[str, Any]) -> None:
        """Write the checkpoint: what was learned, the optimiser, the environment's episodes, and the random generators."""
        learned = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "progress": asdict(self.progress)}
        device = self.env.episode_count.device
        left = {"env": self.env.state_dict(), "standing": dict(standing), "random": random_state(device)}
        checkpoint.save(self.target, {**self.identity, **learned, **left})

    def restore(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Go on where a checkpoint was saved; return the algorithm's standing."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.progress = Progress(**saved["progress"])
        self.env.load_state_dict(saved["env"])
        device = self.env.episode_count.device
        set_random_state(saved["random"], device)
        return moved(saved["standing"], device)


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of torch's global generators that draw for a device."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Restore what `random_state` returned; a device of another kind draws what its seed says."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def moved(values: Any, device: torch.device) -> Any:  # noqa: ANN401 - tensors, nested in dicts and tuples
    """Return tensors on a device."""
    if isinstance(values, torch.Tensor):
        return values.to(device)
    if isinstance(values, Mapping):
        return {name: moved(value, device) for name, value in values.items()}
    return tuple(moved(value, device) for value in values)
