"""Environment steps per second of every sensor, and of the frozen network alone: crops against it, look-ups in a bank or a map, pixels.

    python benchmarks/sensors.py                                        # on a CPU, small pictures: what the environment adds
    python benchmarks/sensors.py --device cuda --size 224 --rows 512 --compile    # on a GPU, in half precision

The pictures are random and so are the weights: neither changes the time. All contenders take turns in one process; the best turn counts.
"crop / network" is the share of the network's own throughput, on the same batch at the same size, that `env.step` keeps. With --compile
the network alone is also measured as it is without.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from glimpse_env import (
    Backbone,
    BankSensor,
    CropSensor,
    GlimpseVectorEnv,
    ImageSet,
    MapSensor,
    PixelSensor,
    Sensor,
)
from glimpse_env.reports import results
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
    """Places a side of the bank."""
    turns: int = 5
    """Turns of each contender."""
    seconds: float = 1.0
    """Length of one turn."""
    compile: bool = False
    """Compile the network (torch.compile)."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 1
    """CPU threads that torch may use."""
    json: Path | None = None
    """Also write the figures here."""


def rates(calls: dict[str, Callable[[], object]], options: Sensors) -> dict[str, float]:
    """Return how many rows a second the best turn makes of each call, which does `rows` of them; the contenders take turns."""
    best = dict.fromkeys(calls, 0.0)
    for turn in range(options.turns + 1):  # the first one warms up
        for name, call in calls.items():
            wait(options)
            start, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() - start < options.seconds:
                call()
                count += 1
                if count % 8 == 0:
                    wait(options)  # a queue of calls must not outrun the clock
            wait(options)
            if turn:
                best[name] = max(best[name], count * options.rows / (time.perf_counter() - start))
    return best


def wait(options: Sensors) -> None:
    """Wait until the device has done its work."""
    if options.device.startswith("cuda"):
        torch.cuda.synchronize(options.device)


def stepping(sensor: Sensor, images: ImageSet, options: Sensors) -> Callable[[], object]:
    """Return a call that takes one step in every row, at random places, stopping now and then."""
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
    bank = BankSensor(images, network, glimpse_size=options.size, grid=options.grid)
    regions = MapSensor(images, network, glimpse_size=options.size)
    crop = CropSensor(images, network, glimpse_size=options.size, chunk=options.rows)
    pixel = PixelSensor(images, glimpse_size=options.size, device=options.device)
    batch = torch.rand(options.rows, 3, options.size, options.size, device=options.device)
    if options.compile:
        network.compile()
    sensors = {"crop": crop, "bank": bank, "map": regions, "pixel": pixel}
    calls: dict[str, Callable[[], object]] = {
        name: stepping(sensor, images, options) for name, sensor in sensors.items()
    }
    calls |= {"network": lambda: network(batch)}
    return calls | (
        {"network_eager": lambda: network.forward(batch)} if options.compile else {}
    )  # `forward` is never compiled


def main(options: Sensors) -> None:
    """Measure and print."""
    options = terminal.prepare(options)
    side = 2 * options.size
    pixels = torch.randint(
        0,
        256,
        (options.pictures, 3, side, side),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    images = ImageSet(pixels, torch.arange(options.pictures) % 2, ("even", "odd"))
    network = Backbone(options.backbone, None, options.device)
    calls = contenders(images, network, options)
    figures = rates(calls, options)
    print(
        f"{options.backbone}, {options.size} x {options.size} pixels, {options.rows} rows, {network.precision}, {options.device}"
    )
    if options.compile:
        print(f"not compiled  {figures['network_eager']:12,.0f} images/s")
    print(f"network alone {figures['network']:12,.0f} images/s")
    print(
        f"crop sensor   {figures['crop']:12,.0f} steps/s   crop / network {figures['crop'] / figures['network']:.2f}"
    )
    for name in ("bank", "map", "pixel"):
        print(f"{name + ' sensor':<13} {figures[name]:12,.0f} steps/s")
    if options.json is not None:
        hardware = (
            torch.cuda.get_device_name(options.device)
            if options.device.startswith("cuda")
            else options.device.upper()
        )
        settings = checkpoint.plain(options) | {"precision": str(network.precision), "hardware": hardware}
        files.write_json(
            options.json, {"figures": figures, "settings": settings, "versions": results.collect_versions()}
        )


if __name__ == "__main__":
    main(tyro.cli(Sensors, description=__doc__))
