"""Milliseconds of generating a batch of digits on a canvas, beside those of RAM's training update on it.

    python benchmarks/canvas_images.py
    python benchmarks/canvas_images.py --dataset cluttered-mnist-100 --device cuda

Both are measured in turns, in one process. Generating includes the random distortion of the digits and the
canvas of the sensor, as at the start of an epoch; an update is the rollout, the losses, backward and the
optimiser, with all glimpses and the recipe of agents/ram_reinforce.py.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass

import torch
import tyro
from timing import timed

from glimpse_env import checks, retina, rewards
from glimpse_env.datasets import list_names
from glimpse_env.datasets.generated.canvas_digits import CanvasComposer
from glimpse_env.runtime import terminal
from glimpse_env.sensors import PixelSensor
from glimpse_env.training import augment, environments, optimizers
from glimpse_env.training.rollout import collect

sys.path.append(str(timed.ROOT / "agents"))  # a part of the script is timed, not a run of it
import ram_reinforce


@dataclass(frozen=True)
class CanvasImages:
    """Options of `canvas_images.py`."""

    dataset: str = "cluttered-mnist"
    """translated-mnist, cluttered-mnist or cluttered-mnist-100."""
    batch: int = 256
    """Images of a batch."""
    turns: int = 5
    """Turns of each, after one to warm up; the median counts."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 1
    """CPU threads that torch may use."""


def main(options: CanvasImages) -> dict[str, float]:
    """Measure both, print a line, and return the milliseconds."""
    if options.dataset not in list_names("canvas"):
        allowed = ", ".join(list_names("canvas"))
        raise ValueError(f"--dataset {options.dataset}: expected one of {allowed}")
    checks.count("--batch", options.batch)
    checks.count("--turns", options.turns)
    terminal.use_threads(options.threads)
    recipe = ram_reinforce.DATASETS[options.dataset] | {"sure": 1.0, "dataset": options.dataset}
    ram = ram_reinforce.Options(**recipe, split="validation", batch=options.batch, device=options.device)
    env = environments.build_environment(ram)
    network = ram_reinforce.build_network(env, ram).to(env.device)
    network.decides = False
    optimizer = optimizers.build_optimizer(network, ram)
    env.reward = rewards.make(ram.reward)
    behaviour = ram_reinforce.behaviour(ram, 1.0, env.preset.max_glimpses, network.location_policy)
    generator, rows = torch.Generator(env.device).manual_seed(0), torch.arange(options.batch)
    composer, changes = env.images.composer, augment.Changes.of(ram)
    assert (
        isinstance(composer, CanvasComposer) and isinstance(env.sensor, PixelSensor) and changes is not None
    )
    composer, margin, indices = composer.subset(rows), env.sensor.canvas.margin, rows.to(env.device)

    def generate() -> None:
        digits = augment.distort(composer.digits.to(env.device), generator, *changes)
        retina.paint(composer.compose(generator, digits)[0], margin, env.preset.fill)

    def update() -> None:
        rollout = collect(env, network, behaviour, generator, indices)
        optimizer.update(ram_reinforce.losses(rollout, ram), 1.0)

    rates = timed.race({"generate": generate, "update": update}, options.turns, 0.0, str(env.device))
    made = {name: 1e3 / statistics.median(values) for name, values in rates.items()}
    print(
        f"{options.dataset}, {options.batch} images on {env.device}: generating {made['generate']:.1f} ms, "
        f"a training update {made['update']:.1f} ms, ratio {made['generate'] / made['update']:.3f}"
    )
    return made


if __name__ == "__main__":
    with terminal.foreseen("canvas_images.py"):
        main(tyro.cli(CanvasImages, description=__doc__))
