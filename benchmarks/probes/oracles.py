"""Accuracy at the best locations: two oracles guide a trained network, by the object's box or the label.

    python agents/ram_reinforce.py --dataset cub --weights WEIGHTS --sensor bank --glimpses 3 --policy random
    python benchmarks/probes/oracles.py runs/ram_reinforce-cub-0/checkpoint.pt

Train the network on random locations, so that it prefers none. Give one checkpoint of each seed. Accuracies
are means over checkpoints with the 95 % interval of that mean (Student's t); differences are paired over
images (bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import intervals, trajectories
from glimpse_env.networks import registry
from glimpse_env.networks.base import Agent, Memory
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.sensors import lattice
from glimpse_env.training import environments
from glimpse_env.training.rollout import Guide

# Environment, network, state, images, number of the next glimpse -> the locations of that glimpse.
Oracle = Callable[[GlimpseVectorEnv, Agent, Memory, Tensor, int], Tensor]


@dataclass(frozen=True)
class Oracles:
    """Options of `oracles.py`."""

    checkpoints: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """checkpoint.pt of RAMs that differ in nothing but their seeds."""
    split: str | None = None
    """Split to evaluate on; default: the one that the runs answer for."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; see the log), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""


def box_centre(env: GlimpseVectorEnv, network: Agent, state: Memory, index: Tensor, step: int) -> Tensor:
    """Return the centre of the object's box."""
    del network, state, step
    if env.images.boxes is None:
        raise ValueError(
            "the images of this run have no boxes of objects; expected a run on cub, cars or dogs"
        )
    boxes = env.images.boxes.to(env.device)[index]
    return ((boxes[:, :2] + boxes[:, 2:]) / 2 / env.sensor.reach).clamp(-1, 1)


def least_loss(env: GlimpseVectorEnv, network: Agent, state: Memory, index: Tensor, step: int) -> Tensor:
    """Return the location of the grid after whose glimpse the prediction's loss, by the label, is least."""
    locations = lattice(env.preset.grid, env.device)
    labels, count = env.images.labels.to(env.device)[index], len(index)
    fraction = torch.full((count, 1), step / env.preset.max_glimpses, device=env.device)
    losses = []
    for location in locations.unsqueeze(1).expand(-1, count, 2):
        glimpse = env.sensor.observe(index, location, torch.full_like(index, step))
        logits = network({"location": location, "step": fraction} | glimpse, state)[0].logits
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
    return locations[torch.stack(losses).argmin(0)]


OWN = "its own locations"
ORACLES: dict[str, Oracle | None] = {
    OWN: None,
    "oracle: box centre": box_centre,
    "oracle: least loss": least_loss,
}


def predict(path: Path, oracle: Oracle | None, options: Oracles) -> Tensor:
    """Return which images a run's network predicts correctly at an oracle's locations; None = at its own."""
    saved = checkpoint.load(path)
    split = options.split or results.get_result_split(saved)
    env = environments.build_evaluation_environment(saved["environment"], split, options.device)
    network = registry.rebuild(saved).to(env.device)
    guide: Guide | None = None
    if oracle is not None:
        guide = lambda state, index, step: oracle(env, network, state, index, step)  # noqa: E731
    policy = saved["options"].get("policy", "learned")
    found = trajectories.evaluate(env, network, env.preset.max_glimpses, policy=policy, guide=guide)
    return found.correct[-1].float()


def main(options: Oracles) -> None:
    """Evaluate with every oracle, and print the table."""
    options = terminal.prepare(options)
    correct = {
        name: torch.stack([predict(path, oracle, options) for path in options.checkpoints])
        for name, oracle in ORACLES.items()
    }
    print(f"{'':<20} {'accuracy %':>15}  {'- its own locations':>22}")
    for name, found in correct.items():
        difference = ""
        if name != OWN:
            difference = intervals.format_interval(intervals.compare_paired(found, correct[OWN]))
        accuracy = intervals.format_mean((100 * found.mean(1)).tolist())
        print(f"{name:<20} {accuracy:>15}  {difference:>22}")


if __name__ == "__main__":
    with terminal.foreseen("oracles.py"):
        main(tyro.cli(Oracles, description=__doc__))
