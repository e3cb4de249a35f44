"""A compiled step against an eager one, for every sensor; and a compiled training update of RAM.

    python benchmarks/compiled.py                                       # on a CPU, 256 and 4,096 rows
    python benchmarks/compiled.py --device cuda --rows 256 65536        # on a GPU

`torch.compile(env.step, fullgraph=True)` and `env.step` take turns in one process on the same actions; the
median turn counts. Networks have random weights, which do not change the time. A training update is that of
`agents/ram_reinforce.py` on MNIST with its default settings, all episodes of full length: as it is, with
--compile, and with rollout and losses compiled as one function.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import tyro
from timing import captured, timed

from glimpse_env import GlimpseVectorEnv, datasets
from glimpse_env.runtime import checkpoint, files, terminal
from glimpse_env.training.environments import compile_update

NETWORK: dict[str, Any] = {"backbone": "resnet18", "weights": None, "image_size": 64, "view_size": 64}
# By name: the data set, and the arguments of the environment.
SENSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "pixel, 1 window (mnist)": ("mnist", {}),
    "pixel, 3 windows (cluttered-mnist)": ("cluttered-mnist", {}),
    "pixel, zoom 1 to 3 (mnist)": ("mnist", {"zoom": (1.0, 3.0)}),
    "bank, ResNet-18": ("mnist", {**NETWORK, "sensor": "bank", "glimpse_size": 32, "grid": 3}),
    "map, ResNet-18": ("mnist", {**NETWORK, "sensor": "map", "glimpse_size": None, "scales": (1.0,)}),
}
WARM_UP = 5  # updates in which everything is compiled
IMAGES = 256  # a bank and maps of more take longer to compute than to measure


@dataclass(frozen=True)
class Compiled:
    """Options of `compiled.py`."""

    rows: tuple[int, ...] = (256, 4096)
    """Numbers of environments."""
    turns: int = 7
    """Turns of each contender."""
    seconds: float = 0.3
    """Length of one turn."""
    updates: int = 30
    """Training updates that are timed; 0 = none."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 1
    """CPU threads that torch may use."""
    json: Path | None = None
    """Also write the figures here."""


def build(name: str, rows: int, device: str) -> GlimpseVectorEnv:
    """Return an environment of `SENSORS`; those with a network have few images."""
    dataset, arguments = SENSORS[name]
    if "backbone" not in arguments:
        return GlimpseVectorEnv(rows, dataset, split="validation", device=device, **arguments)
    digits = datasets.load(dataset, "validation").subset(torch.arange(IMAGES)).resized(NETWORK["image_size"])
    pairs = [(image, int(label)) for image, label in zip(digits.stack(), digits.labels, strict=True)]
    return GlimpseVectorEnv(rows, pairs, device=device, **arguments)


def measure_steps(name: str, rows: int, options: Compiled) -> dict[str, float]:
    """Return the microseconds of an eager and of a compiled step, and the seconds that compiling took."""
    env = build(name, rows, options.device)
    env.reset(seed=0)
    generator = torch.Generator(env.device).manual_seed(0)
    uniform = torch.rand(rows, 4 + len(env.images.classes), generator=generator, device=env.device)
    action = {"location": 2 * uniform[:, :2] - 1, "stop": uniform[:, 2] < 0.2, "prediction": uniform[:, 4:]}
    action |= {"scale": 2 * uniform[:, 3:4] - 1} if env.preset.zoom else {}
    torch.compiler.reset()
    compiled = torch.compile(env.step, fullgraph=True)
    begin = perf_counter()
    compiled(action)
    timed.synchronize(env.device)
    figures = {"compiling": perf_counter() - begin}
    calls: dict[str, Callable[[], object]] = {
        "eager": lambda: env.step(action),
        "compiled": lambda: compiled(action),
    }
    rates = timed.race(calls, options.turns, options.seconds, options.device)
    return figures | {name: 1e6 / statistics.median(rate) for name, rate in rates.items()}


def measure_updates(options: Compiled) -> dict[str, dict[str, float]]:
    """Return the ms of RAM's update: eager, with --compile, and with rollout and losses as one function."""
    figures = {}
    for name in ("eager", "--compile", "whole"):
        run = captured.Options(device=options.device, threads=options.threads, augment=False, sure=1.0)
        update = captured.RamUpdate(replace(run, compile=name == "--compile"))
        torch.compiler.reset()
        compile_update(update.env, update.network, update.options)
        if name == "whole":
            update.compute = torch.compile(update.compute)
        seconds = []
        for images in islice(update.batches(), options.updates + WARM_UP):
            update.rows.copy_(images)
            begin = perf_counter()
            update()
            timed.synchronize(update.env.device)
            seconds.append(perf_counter() - begin)
        figures[name] = {
            "compiling": sum(seconds[:WARM_UP]),
            "ms": 1e3 * statistics.median(seconds[WARM_UP:]),
        }
    return figures


def main(options: Compiled) -> None:
    """Measure, print and write the figures."""
    options = terminal.prepare(options)
    files.check_writable(options.json)
    steps = {name: {rows: measure_steps(name, rows, options) for rows in options.rows} for name in SENSORS}
    lines = [["step", "rows", "eager us", "compiled us", "eager / compiled", "compiling s"]]
    for name, by_rows in steps.items():
        for rows, one in by_rows.items():
            times = [f"{one['eager']:,.0f}", f"{one['compiled']:,.0f}"]
            ratio = f"{one['eager'] / one['compiled']:.2f}"
            lines.append([name, f"{rows:,}", *times, ratio, f"{one['compiling']:.0f}"])
    print(timed.align(lines))
    updates = measure_updates(options) if options.updates else {}
    if updates:
        eager = updates["eager"]["ms"]
        lines = [["RAM's update, MNIST", "ms", "eager / it", "first updates s"]]
        for name, one in updates.items():
            lines.append([name, f"{one['ms']:.1f}", f"{eager / one['ms']:.2f}", f"{one['compiling']:.0f}"])
        print(timed.align(lines))
    settings = checkpoint.plain(options)
    timed.write_json(options.json, options.device, steps=steps, updates=updates, settings=settings)


if __name__ == "__main__":
    with terminal.foreseen("compiled.py"):
        main(tyro.cli(Compiled, description=__doc__))
