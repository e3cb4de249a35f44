"""Environment steps per second on MNIST: the single door, the numpy vector door and the core, beside ap-gym and the bare crop.

    python benchmarks/throughput.py            # the table; --json also writes benchmarks/results/throughput.json
    pip install ap-gym==0.6.0 aiohttp          # optional, for its column (https://github.com/TimSchneider42/active-perception-gym)

All contenders of a line take turns in one process, so whatever disturbs the machine disturbs them alike; the best of the turns counts.
Ours: default arguments (8 x 8 sub-pixel glimpses, NEXT_STEP autoreset), random actions, random stops. ap-gym: its MNIST-v0 with default
arguments (5 x 5 glimpses, 16 steps) on the same digits, handed over as an array, random actions; it has no stop. Bare crop: the same
number of 8 x 8 glimpses at random places of random images and nothing else, bilinear and whole-pixel.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from reproduction import origin

from glimpse_env import GlimpseVectorEnv, ImageSet, PixelSensor, datasets, retina
from glimpse_env.runtime import terminal

Turn = tuple[Callable[[], object], int]  # a call, and the number of environment steps it does
HOW_TO_INSTALL = "ap-gym is not installed, so its column is empty: pip install ap-gym==0.6.0 aiohttp"
COLUMNS = ("single", "numpy", "core", "ap-gym single", "ap-gym vector", "crop bilinear", "crop whole-pixel")
RATIOS = (
    ("single", "ap-gym single"),
    ("numpy", "ap-gym vector"),
    ("core", "ap-gym vector"),
    ("core", "crop bilinear"),
)


@dataclass(frozen=True)
class Args:
    """Options of the benchmark."""

    rows: tuple[int, ...] = (1, 16, 256, 4096)
    """Numbers of environments."""
    seconds: float = 0.3
    """Length of one turn."""
    turns: int = 7
    """Turns of each contender."""
    threads: int = 1
    """Threads that torch may use."""
    stop: float = 0.2
    """Probability that a random action answers."""
    seed: int = 0
    """Seed of actions and environments."""
    json: bool = False
    """Write the figures with hardware and versions to benchmarks/results/throughput.json."""


def random_actions(rows: int, args: Args, batches: int = 32) -> list[dict[str, np.ndarray]]:
    """Return batches of random actions, made before the clock starts."""
    rng = np.random.default_rng(args.seed)
    return [
        {
            "location": rng.uniform(-1, 1, (rows, 2)).astype(np.float32),
            "stop": (rng.random(rows) < args.stop).astype(np.int64),
            "prediction": rng.random((rows, 10)).astype(np.float32),
        }
        for _ in range(batches)
    ]


def vector(env: gymnasium.vector.VectorEnv, actions: Iterator[Any], seed: int) -> Turn:
    """Step a vector environment that resets its rows itself."""
    env.reset(seed=seed)
    return lambda: env.step(next(actions)), env.num_envs


def single(env: gymnasium.Env, actions: Iterator[Any], seed: int) -> Turn:
    """Step one environment, with a reset (which is no step) after each end."""
    env.reset(seed=seed)

    def turn() -> None:
        _, _, terminated, truncated, _ = env.step(next(actions))
        if terminated or truncated:
            env.reset()

    return turn, 1


def bare_crops(rows: int, digits: ImageSet, seed: int) -> dict[str, Turn]:
    """Cut glimpses and do nothing else."""
    canvas = PixelSensor(digits, glimpse_size=8, location_range=13 / 14).canvas
    generator = torch.Generator().manual_seed(seed)
    images, channels, height, width = canvas.pixels.shape
    index = cycle(list(torch.randint(images, (32, rows), generator=generator)))
    place = cycle(list(torch.rand(32, rows, 2, generator=generator) * 2 - 1))
    last = canvas.pixels.numel() - 8 * width
    start = cycle(list(torch.randint(last, (32, rows), generator=generator)))
    windows = canvas.pixels.as_strided((last, channels, 8, 8), (1, height * width, width, 1))
    return {
        "crop bilinear": (lambda: retina.crop(canvas, next(index), next(place), 8).mul_(1 / 255), rows),
        "crop whole-pixel": (lambda: windows.index_select(0, next(start)).float().mul_(1 / 255), rows),
    }


def ap_gym_turns(rows: int, digits: ImageSet, args: Args) -> dict[str, Turn]:
    """Step ap-gym's MNIST environment on the same digits."""
    import ap_gym  # noqa: F401 - registers its environments  # pyright: ignore[reportMissingImports]
    from ap_gym.envs.image import ImageClassificationDataset, ImagePerceptionConfig  # pyright: ignore[reportMissingImports]

    pixels, labels = digits.images[:, 0].numpy(), digits.labels.numpy()

    class Digits(ImageClassificationDataset):
        """The embedded digits as ap-gym wants them."""

        def _get_num_classes(self) -> int:
            return 10

        def _get_num_channels(self) -> int:
            return 1

        def _get_length(self) -> int:
            return len(labels)

        def _get_data_point_batch(self, idx: np.ndarray) -> Any:
            return pixels[idx], labels[idx]

    def actions(batch: tuple[int, ...]) -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng(args.seed)
        made = (
            rng.uniform(-1, 1, (32, *batch, 2)).astype(np.float32),
            rng.standard_normal((32, *batch, 10)).astype(np.float32),
        )
        return cycle(
            [{"action": action, "prediction": prediction} for action, prediction in zip(*made, strict=True)]
        )

    config = ImagePerceptionConfig(dataset=Digits())
    many = gymnasium.make_vec("MNIST-v0", num_envs=rows, image_perception_config=config)
    turns = {"ap-gym vector": vector(many, actions((rows,)), args.seed)}
    if rows == 1:
        turns["ap-gym single"] = single(
            gymnasium.make("MNIST-v0", image_perception_config=config), actions(()), args.seed
        )
    return turns


def contenders(rows: int, digits: ImageSet, args: Args) -> dict[str, Turn]:
    """Return who takes turns at this number of rows."""
    arrays = random_actions(rows, args)
    tensors = [{name: torch.from_numpy(value) for name, value in action.items()} for action in arrays]
    ours = gymnasium.make_vec("GlimpseEnv-v0", num_envs=rows, dataset="mnist")
    turns = {
        "core": vector(GlimpseVectorEnv(rows, "mnist"), cycle(tensors), args.seed),
        "numpy": vector(ours, cycle(arrays), args.seed),
        **bare_crops(rows, digits, args.seed),
    }
    if rows == 1:
        one = cycle([{name: value[0] for name, value in action.items()} for action in arrays])
        turns["single"] = single(gymnasium.make("GlimpseEnv-v0", dataset="mnist"), one, args.seed)
    return turns | (ap_gym_turns(rows, digits, args) if find_spec("ap_gym") else {})


def race(turns: dict[str, Turn], args: Args) -> dict[str, list[float]]:
    """Let all take turns after a warm-up; return the steps per second of each turn."""
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for repeat in range(args.turns + 1):
        for name, (turn, steps) in turns.items():
            calls, start = 0, time.perf_counter()
            while (spent := time.perf_counter() - start) < args.seconds or not calls:
                turn()
                calls += 1
            if repeat:  # the first is the warm-up
                rates[name].append(calls * steps / spent)
    return rates


def table(best: dict[int, dict[str, float]]) -> str:
    """Lay out steps per second and ratios, one line for each number of rows."""
    ratios = [f"{ours} / {theirs}" for ours, theirs in RATIOS]
    lines = [["rows", *COLUMNS, *ratios]]
    for rows, rate in best.items():
        quotients = (f"{rate[a] / rate[b]:.2f}" if a in rate and b in rate else "-" for a, b in RATIOS)
        lines.append(
            [str(rows), *(f"{rate[name]:,.0f}" if name in rate else "-" for name in COLUMNS), *quotients]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def machine() -> dict[str, Any]:
    """Describe hardware and versions, without names of hosts, users or folders."""
    packages = ["torch", "numpy", "gymnasium", *(["ap-gym"] if find_spec("ap_gym") else [])]
    return {
        "cpu": origin.find_cpu(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


def write(args: Args, rates: dict[int, dict[str, list[float]]]) -> None:
    """Keep best and median steps per second, with what they were measured on."""
    figures = {
        rows: {
            name: {"best": round(max(turns)), "median": round(statistics.median(turns))}
            for name, turns in line.items()
        }
        for rows, line in rates.items()
    }
    target = Path(__file__).parent / "results" / "throughput.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(
        json.dumps({"args": asdict(args), "machine": machine(), "steps_per_second": figures}, indent=2) + "\n"
    )
    print(f"wrote benchmarks/results/{target.name}")


def main(args: Args) -> None:
    """Run every line of the table."""
    terminal.use_threads(args.threads)
    if not find_spec("ap_gym"):
        print(HOW_TO_INSTALL)
    digits, rates = datasets.load("mnist"), {}
    for rows in args.rows:
        rates[rows] = race(contenders(rows, digits, args), args)
    print(
        f"environment steps per second on MNIST, best of {args.turns} turns, {args.threads} thread(s); {machine()['cpu']}"
    )
    print(table({rows: {name: max(turns) for name, turns in line.items()} for rows, line in rates.items()}))
    if args.json:
        write(args, rates)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
