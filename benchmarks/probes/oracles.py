"""What the best places would be worth: two oracles choose where a trained network looks, one by the object's box, one by the label.

    python agents/ram_reinforce.py --dataset cub --weights WEIGHTS --sensor bank --glimpses 3 --policy random --seed 0
    python benchmarks/probes/oracles.py runs/ram_reinforce-cub-0/checkpoint.pt

The network should have been trained on random places, so that it prefers none. Give one checkpoint of each seed. Accuracies are means over
checkpoints with the 95 % interval of that mean (Student's t); differences are paired over images (bootstrap).
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

# What chooses the next place of every row: environment, network, state, images, number of the next glimpse -> places.
Oracle = Callable[[GlimpseVectorEnv, Agent, Memory, Tensor, int], Tensor]


@dataclass(frozen=True)
class Oracles:
    """Options of `oracles.py`."""

    checkpoints: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """checkpoint.pt of RAMs that differ in nothing but their seeds."""
    split: str | None = None
    """Split to evaluate on; default: the one that the runs answer for."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""


def box_centre(env: GlimpseVectorEnv, network: Agent, state: Memory, index: Tensor, step: int) -> Tensor:
    """Look at the middle of the object's box."""
    del network, state, step
    if env.images.boxes is None:
        raise ValueError(
            "the images of this run have no boxes of objects; expected a run on cub, cars or dogs"
        )
    boxes = env.images.boxes.to(env.device)[index]
    return ((boxes[:, :2] + boxes[:, 2:]) / 2 / env.sensor.reach).clamp(-1, 1)


def least_loss(env: GlimpseVectorEnv, network: Agent, state: Memory, index: Tensor, step: int) -> Tensor:
    """Look where the prediction's loss will be least: every place of the grid is tried, with the label at hand."""
    places = lattice(env.preset.grid, env.device)
    labels, count = env.images.labels.to(env.device)[index], len(index)
    losses = []
    for place in places:
        glimpse = env.sensor.observe(index, place.expand(count, 2), torch.full_like(index, step))
        unit = {
            "location": place.expand(count, 2),
            "step": torch.full((count, 1), step / env.preset.max_glimpses, device=env.device),
        }
        logits = network(unit | glimpse, state)[0].logits
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
    return places[torch.stack(losses).argmin(0)]


ORACLES: dict[str, Oracle | None] = {
    "its own places": None,
    "oracle: box centre": box_centre,
    "oracle: least loss": least_loss,
}


def look(path: Path, oracle: Oracle | None, options: Oracles) -> Tensor:
    """Return which images the network of a run predicts correctly when an oracle chooses the places; None = it chooses them itself."""
    saved = checkpoint.load(path)
    env = environments.build_evaluation_environment(
        saved["environment"], options.split or results.get_result_split(saved), options.device
    )
    network = registry.rebuild(saved).to(env.device)
    guide: Guide | None = (
        None if oracle is None else lambda state, index, step: oracle(env, network, state, index, step)
    )
    policy = saved["options"].get("policy", "learned")
    return (
        trajectories.evaluate(env, network, env.preset.max_glimpses, policy=policy, guide=guide)
        .correct[-1]
        .float()
    )


def main(options: Oracles) -> None:
    """Look with every oracle, and print the table."""
    options = terminal.prepare(options)
    correct = {
        name: torch.stack([look(path, oracle, options) for path in options.checkpoints])
        for name, oracle in ORACLES.items()
    }
    own = correct["its own places"]
    print(f"{'':<20} {'accuracy %':>15}  {'- its own places':>22}")
    for name, found in correct.items():
        difference = "" if found is own else intervals.format_interval(intervals.compare_paired(found, own))
        print(f"{name:<20} {intervals.format_mean((100 * found.mean(1)).tolist()):>15}  {difference:>22}")


if __name__ == "__main__":
    with terminal.foreseen("oracles.py"):
        main(tyro.cli(Oracles, description=__doc__))
