"""Accuracy of a trained network at other locations than its own, or at its own ones with other glimpses.

    python agents/ram_reinforce.py --dataset cub --weights WEIGHTS --sensor bank --glimpses 3 --policy random
    python benchmarks/probes/oracles.py runs/ram_reinforce-cub-0/checkpoint.pt
    python benchmarks/probes/oracles.py runs/sermanet_rnn-mnist-0/checkpoint.pt --conditions alone

Train the network for the oracles on random locations, so that it prefers none. An agent that observes a
context before its first glimpse (Sermanet's) can encode the class in its locations: `alone` shows how far;
chance means not at all. Give one checkpoint of each seed. Accuracies are means over checkpoints with the 95 %
interval of that mean (Student's t); differences are paired over images (bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

from glimpse_env import Contextual, GlimpseVectorEnv, Sensor
from glimpse_env.evaluation import intervals, trajectories
from glimpse_env.networks import registry
from glimpse_env.networks.base import Agent, Memory
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.sensors import lattice
from glimpse_env.training import environments

OWN = "its own locations"
TITLES = {"box": "oracle: box centre", "loss": "oracle: least loss", "alone": "locations alone"}


@dataclass(frozen=True)
class Oracles:
    """Options of `oracles.py`."""

    checkpoints: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """checkpoint.pt of runs that differ in nothing but their seeds."""
    conditions: tuple[Literal["box", "loss", "alone"], ...] = ("box", "loss")
    """box: the centre of the object's box. loss: where the prediction's loss is least, by the label. alone:
    its own locations with the glimpses of another image."""
    split: str | None = None
    """Split to evaluate on; default: that of the runs' results."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
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


class Elsewhere:
    """A sensor with the glimpses of another image, half a data set away, and the image's own context."""

    whole_first = False
    shows_context = True

    def __init__(self, sensor: Sensor, images: int) -> None:
        """Wrap the sensor of so many images."""
        self.sensor, self.images, self.space = sensor, images, sensor.space
        self.reach, self.windows = sensor.reach, sensor.windows
        self.pixels, self.flops = sensor.pixels, sensor.flops

    def observe(self, index: Tensor, location: Tensor, step: Tensor) -> dict[str, Tensor]:
        """Return the other image's glimpse at this location."""
        return self.sensor.observe((index + self.images // 2) % self.images, location, step)

    def context(self, index: Tensor) -> Tensor:
        """Return the image's own context."""
        assert isinstance(self.sensor, Contextual)
        return self.sensor.context(index)


def evaluate(path: Path, options: Oracles) -> dict[str, Tensor]:
    """Return which images a run's network predicts correctly, by its own locations and by condition."""
    saved = checkpoint.load(path)
    split = options.split or results.get_result_split(saved)
    env = environments.build_evaluation_environment(saved["environment"], split, options.device)
    sensor = env.sensor
    network, policy = registry.rebuild(saved).to(env.device), saved["options"].get("policy", "learned")
    looks = trajectories.evaluate(env, network, env.preset.max_glimpses, policy=policy)
    own = looks.locations.to(env.device)
    guides = {
        "box": lambda state, index, step: box_centre(env, network, state, index, step),
        "loss": lambda state, index, step: least_loss(env, network, state, index, step),
        "alone": lambda state, index, step: own[step - 1, index],
    }
    found = {OWN: looks}
    for name in options.conditions:
        if name == "alone" and not (isinstance(sensor, Contextual) and sensor.shows_context):
            raise ValueError(f"{path}: {saved['agent']} observes no context; expected a run of sermanet_rnn")
        env.sensor = Elsewhere(sensor, len(env.images)) if name == "alone" else sensor
        found[TITLES[name]] = trajectories.evaluate(
            env, network, env.preset.max_glimpses, policy=policy, guide=guides[name]
        )
    return {title: trajectory.correct[-1].float() for title, trajectory in found.items()}


def main(options: Oracles) -> None:
    """Evaluate under every condition, and print the table."""
    options = terminal.prepare(options)
    runs = [evaluate(path, options) for path in options.checkpoints]
    correct = {title: torch.stack([run[title] for run in runs]) for title in runs[0]}
    print(f"{'':<20} {'accuracy %':>15}  {'- its own locations':>22}")
    for title, found in correct.items():
        difference = ""
        if title != OWN:
            difference = intervals.format_interval(intervals.compare_paired(found, correct[OWN]))
        accuracy = intervals.format_mean((100 * found.mean(1)).tolist())
        print(f"{title:<20} {accuracy:>15}  {difference:>22}")


if __name__ == "__main__":
    with terminal.foreseen("oracles.py"):
        main(tyro.cli(Oracles, description=__doc__))
