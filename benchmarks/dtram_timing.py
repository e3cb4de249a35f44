"""Milliseconds an image of DT-RAM, its stops saving time, beside RAM and one pass over the whole image.

    python benchmarks/dtram_timing.py                               # ResNet-50 on a CPU, some minutes
    python benchmarks/dtram_timing.py --device cuda --batches 1 64
    python benchmarks/dtram_timing.py CHECKPOINT                    # stopping steps of a trained DT-RAM

Measured in turns, in one process: a pass of the network over the image at --image-size and at --view-size;
episodes that all stop after glimpse 1, 2, ... (the last: RAM); and episodes that stop as often after each
glimpse as --shares says, or as the agent of a CHECKPOINT stops on its test images. Rows that have stopped are
not computed (`compact=True`). Glimpse 1 is the whole image at --view-size, later ones are crops.

Pictures and weights are random: neither changes the time. The default shares have the mean of the paper's
DT-RAM on CUB, 1.9 of 3; its histogram is not stated in numbers. The paper, on a K40: 42 ms for a pass of
ResNet-50 at 512 x 512, 77 ms for a RAM of 3 glimpses.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from gymnasium.vector import AutoresetMode
from jaxtyping import Int64
from timing import timed
from torch import Tensor

from glimpse_env import Backbone, GlimpseVectorEnv, ImageSet, checks, sensors
from glimpse_env.evaluation import stopping_rules
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files, terminal

CYCLE = 20  # episodes of a call with a batch of 1: enough for shares in steps of 5 %
PAPER = {"one pass at 512": 42, "RAM, 3 glimpses": 77}  # milliseconds, on a K40
NAME = "dtram_timing.jsonl"
Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Options of `dtram_timing.py`."""

    checkpoint: Annotated[Path | None, tyro.conf.Positional] = None
    """A trained DT-RAM, whose stopping steps on its test images replace --shares."""
    shares: tuple[float, ...] = (0.45, 0.2, 0.35)
    """Share of the images that stop after glimpse 1, 2, ...; as many as there are glimpses."""
    backbone: str = "resnet50"
    """Name of a torchvision classifier."""
    image_size: int = 512
    """Pixels a side of an image."""
    view_size: int = 448
    """Pixels a side of the whole image as glimpse 1 shows it."""
    glimpse_size: int = 224
    """Pixels a side of a later glimpse."""
    batches: tuple[int, ...] = (1, 20)
    """Images that are processed together."""
    turns: int = 3
    """Turns of each contender, after one to warm up; the median counts."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 1
    """CPU threads that torch may use."""
    results: Path = timed.RESULTS
    """Folder of the rows, dtram_timing.jsonl."""
    quick: bool = False
    """Try everything at the smallest sizes; the figures mean nothing."""


def check(options: Timing) -> None:
    """Refuse values outside their ranges."""
    shares = options.shares
    if not shares or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        expected = "expected shares of at least 0 whose sum is 1"
        raise ValueError(f"--shares {' '.join(map(str, shares))}: {expected}")
    if not options.batches:
        raise ValueError("--batches: expected at least one number of images")
    for batch in options.batches:
        checks.count("--batches", batch)
    checks.count("--turns", options.turns)


def read_shares(options: Timing) -> tuple[float, ...]:
    """Return the share of images that stop after each glimpse: as given, or as a checkpoint's agent stops."""
    if options.checkpoint is None:
        return options.shares
    saved = checkpoint.load(options.checkpoint)
    looks = results.read_or_write_trajectories(options.checkpoint, ("test",), device=options.device)
    stops = stopping_rules.choose_rule(saved["dynamic"]).find_stops(looks)
    counts = torch.bincount(stops, minlength=len(looks.predictions))
    return tuple((counts / counts.sum()).tolist())


def choose_stops(shares: Sequence[float], count: int) -> Int64[Tensor, " image"]:
    """Return the glimpse after which each of `count` images stops, as near to the shares as they allow."""
    ends = torch.tensor(shares, dtype=torch.float64).cumsum(0)[:-1]
    return 1 + torch.bucketize((torch.arange(count, dtype=torch.float64) + 0.5) / count, ends)


@torch.no_grad()
def run_episodes(
    env: GlimpseVectorEnv, network: RecurrentAttention, stops: Int64[Tensor, " env"], longest: int
) -> None:
    """Run an episode in every row; row i stops after `stops[i]` glimpses, of at most `longest`."""
    state = network.begin(env.num_envs)
    observation, _ = env.reset()
    for taken in range(1, longest + 1):
        heads, state = network(observation, state)
        location = network.location_policy.locate(network.location_policy.mode(heads.location_parameters))
        action = {"location": location, "stop": stops <= taken, "prediction": heads.logits.softmax(1)}
        observation = env.step(action)[0]


def list_calls(options: Timing, backbone: Backbone, batch: int) -> dict[str, tuple[Call, int]]:
    """Return what is measured with a batch size: by name, a call and the number of its images."""
    noise = torch.Generator().manual_seed(0)
    count = max(batch, 2)  # an image of each class
    shape = (count, 3, options.image_size, options.image_size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=noise)
    images = ImageSet(pixels, torch.arange(count) % 2, ("even", "odd"))
    index, horizon = torch.arange(batch, device=options.device), len(options.shares)
    calls: dict[str, tuple[Call, int]] = {}
    for size in (options.image_size, options.view_size):
        sensor = sensors.CropSensor(
            images, backbone, glimpse_size=options.glimpse_size, view_size=size, chunk=batch
        )
        calls[f"one pass at {size}"] = (lambda sensor=sensor: sensor.wholes(index)), batch
    given: dict[str, Any] = {"sensor": sensor, "max_glimpses": horizon, "device": options.device}
    given |= {"compact": True, "autoreset_mode": AutoresetMode.DISABLED}
    pairs = [(image, int(label)) for image, label in zip(images.images, images.labels, strict=True)]
    env = GlimpseVectorEnv(batch, pairs, **given)
    network = RecurrentAttention(Architecture(sensor.features, 2, horizon)).to(env.device).eval()
    for last in range(1, horizon + 1):
        stops = torch.full((batch,), last, device=env.device)
        name = f"RAM, {horizon} glimpses" if last == horizon else f"stops after {last}"
        calls[name] = (lambda stops=stops, last=last: run_episodes(env, network, stops, last)), batch
    mixed = choose_stops(options.shares, CYCLE if batch == 1 else batch).to(env.device)
    parts = [(part, int(part.max())) for part in mixed.split(batch)]

    def run_mixed() -> None:
        for part, last in parts:
            run_episodes(env, network, part, last)

    name = f"DT-RAM, {mixed.double().mean().item():.2f} glimpses"
    return calls | {name: (run_mixed, len(mixed))}


def measure(options: Timing, backbone: Backbone, batch: int) -> dict[str, float]:
    """Return the milliseconds an image of every contender with a batch size: the median over turns."""
    calls = list_calls(options, backbone, batch)
    turns = {name: call for name, (call, _) in calls.items()}
    rates = timed.race(turns, options.turns, 0.0, options.device)
    return {name: 1000 / statistics.median(rates[name]) / count for name, (_, count) in calls.items()}


def format_figures(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table: milliseconds an image, and as a multiple of the first pass."""
    lines = [["batch", "contender", "ms an image", "x one pass"]]
    for batch, by_name in figures.items():
        first = next(iter(by_name.values()))
        lines += [[batch, name, f"{value:.2f}", f"{value / first:.2f}"] for name, value in by_name.items()]
    return timed.align(lines)


def format_page(results: Path) -> str:
    """Return the rows as tables for a page; without any, the command that makes one."""
    rows = timed.read(results / NAME, ("figures", "settings", "hardware", "versions"))
    return "\n\n".join(map(format_row, rows)) or "No rows yet; `python benchmarks/dtram_timing.py` makes one."


def format_row(row: Mapping[str, Any]) -> str:
    """Return a row as a table for a page: milliseconds an image, and multiples of the first pass."""
    figures, settings = row["figures"], row["settings"]
    first = {batch: next(iter(by_name.values())) for batch, by_name in figures.items()}
    heads = ["ms an image", "paper, K40", *(f"batch of {batch}" for batch in figures)]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for name in dict.fromkeys(name for by_name in figures.values() for name in by_name):
        cells = [
            f"{by_name[name]:.1f} ({by_name[name] / first[batch]:.2f} x)" if name in by_name else ""
            for batch, by_name in figures.items()
        ]
        paper = f"{PAPER[name]} ({PAPER[name] / 42:.2f} x)" if name in PAPER else ""
        lines.append(f"| {' | '.join([name, paper, *cells])} |")
    about = (
        f"{settings['backbone']}, {settings['precision'].removeprefix('torch.')}, {timed.machine_name(row)}"
    )
    return "\n".join([*lines, "", f"`{row['command']}`; {about}; torch {row['versions']['torch']}."])


def main(options: Timing) -> None:
    """Measure, print the table and add the row."""
    check(options)
    options = terminal.prepare(options)
    if options.quick:
        small = {"image_size": 64, "view_size": 48, "glimpse_size": 32, "batches": (1, 3), "turns": 1}
        options = replace(options, backbone="resnet18", **small)
    options = replace(options, shares=read_shares(options))
    file = options.results / NAME
    files.check_writable(file)
    backbone = Backbone(options.backbone, None, options.device)
    figures = {str(batch): measure(options, backbone, batch) for batch in options.batches}
    print(f"{options.backbone}, {backbone.precision}, {options.device}")
    print(format_figures(figures))
    settings = checkpoint.plain(options) | {"precision": str(backbone.precision)}
    settings = {name: value for name, value in settings.items() if name not in ("checkpoint", "results")}
    row = {"command": checkpoint.command(), "figures": figures, "settings": settings}
    timed.append(file, row | timed.provenance(options.device))


if __name__ == "__main__":
    with terminal.foreseen("dtram_timing.py"):
        main(tyro.cli(Timing, description=__doc__))
