"""Environment steps per second of every sensor, beside the frozen network alone.

    python benchmarks/sensors.py                                                  # on a CPU, small pictures
    python benchmarks/sensors.py --device cuda --size 224 --rows 512 --compile    # on a GPU

Pictures and weights are random: neither changes the time. All contenders take turns in one process; the best
turn counts. "crop / network" is the share of the network's own throughput, on the same batch at the same
size, that `env.step` reaches. With --compile the network alone is also measured uncompiled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from timing import timed

from glimpse_env import Backbone, GlimpseVectorEnv, ImageSet, Sensor, sensors
from glimpse_env.runtime import checkpoint, files, terminal


@dataclass(frozen=True)
class Sensors:
    """Options of `sensors.py`."""

    backbone: str = "resnet50"
    """Name of a torchvision classifier."""
    rows: int = 256
    """Number of environments."""
    size: int = 64
    """Pixels a side of the whole view and of a glimpse; the pictures are twice as large."""
    pictures: int = 32
    """Number of pictures."""
    grid: int = 3
    """Locations a side of the bank."""
    turns: int = 5
    """Turns of each contender."""
    seconds: float = 1.0
    """Length of one turn."""
    compile: bool = False
    """Compile the network (torch.compile)."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 1
    """CPU threads that torch may use."""
    json: Path | None = None
    """Also write the figures here."""


def stepping(sensor: Sensor, images: ImageSet, options: Sensors) -> Callable[[], object]:
    """Return a call that takes one step in every row, at random locations, stopping now and then."""
    pairs = [(image, int(label)) for image, label in zip(images.images, images.labels, strict=True)]
    env = GlimpseVectorEnv(options.rows, pairs, sensor=sensor, max_glimpses=6, device=options.device)
    env.reset(seed=0)
    generator = torch.Generator(env.device).manual_seed(0)
    action = {
        "location": torch.rand(options.rows, 2, generator=generator, device=env.device) * 2 - 1,
        "stop": (torch.rand(options.rows, generator=generator, device=env.device) < 0.2).long(),
        "prediction": torch.rand(options.rows, len(images.classes), generator=generator, device=env.device),
    }
    return lambda: env.step(action)


def contenders(images: ImageSet, network: Backbone, options: Sensors) -> dict[str, Callable[[], object]]:
    """Return what is measured; the network is compiled, if at all, after the tables are computed."""
    size = options.size
    by_name: dict[str, Sensor] = {
        "crop": sensors.CropSensor(images, network, glimpse_size=size, chunk=options.rows),
        "bank": sensors.BankSensor(images, network, glimpse_size=size, grid=options.grid),
        "map": sensors.MapSensor(images, network, glimpse_size=size),
        "pixel": sensors.PixelSensor(images, glimpse_size=size, device=options.device),
    }
    if options.compile:
        network.compile()
    batch = torch.rand(options.rows, 3, size, size, device=options.device)
    calls = {name: stepping(sensor, images, options) for name, sensor in by_name.items()}
    calls["network"] = lambda: network(batch)
    if options.compile:
        calls["network_eager"] = lambda: network.forward(batch)  # `forward` is never compiled
    return calls


def main(options: Sensors) -> None:
    """Measure, print and write the figures."""
    options = terminal.prepare(options)
    files.check_writable(options.json)
    shape = (options.pictures, 3, 2 * options.size, 2 * options.size)
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=noise)
    images = ImageSet(pixels, torch.arange(options.pictures) % 2, ("even", "odd"))
    network = Backbone(options.backbone, None, options.device)
    calls = contenders(images, network, options)
    rates = timed.race(calls, options.turns, options.seconds, options.device)
    figures = {name: options.rows * max(rate) for name, rate in rates.items()}
    view = f"{options.size} x {options.size} pixels, {options.rows} rows"
    print(f"{options.backbone}, {view}, {network.precision}, {options.device}")
    names = {"network": "network alone", "network_eager": "network alone, not compiled"}
    lines = [[names.get(name, f"{name} sensor"), f"{value:,.0f}"] for name, value in figures.items()]
    print(timed.align([["", "images or steps/s"], *lines]))
    print(f"crop / network {figures['crop'] / figures['network']:.2f}")
    settings = checkpoint.plain(options) | {"precision": str(network.precision)}
    timed.write_json(options.json, options.device, figures=figures, settings=settings)


if __name__ == "__main__":
    with terminal.foreseen("sensors.py"):
        main(tyro.cli(Sensors, description=__doc__))
