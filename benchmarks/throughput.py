"""Environment steps per second on MNIST: single, numpy vector and core, beside ap-gym and the bare crop.

    python benchmarks/throughput.py            # --json also writes benchmarks/results/throughput.json
    pip install ap-gym==0.6.0 aiohttp          # for its columns

All contenders of a line take turns in one process, so whatever disturbs the machine disturbs them alike; the
best turn counts. Ours: default arguments (8 x 8 sub-pixel glimpses, NEXT_STEP autoreset), random actions,
random stops. ap-gym: its MNIST-v0 with default arguments (5 x 5 glimpses, 16 steps) on the same digits,
random actions; it has no stop. Bare crop: the same number of 8 x 8 glimpses at random locations of random
images and nothing else, bilinear and whole-pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import cycle
from statistics import median
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from reproduction import origin
from timing import timed

from glimpse_env import GlimpseVectorEnv, ImageSet, PixelSensor, datasets, retina
from glimpse_env.runtime import files, terminal

Turns = dict[str, Callable[[], object]]  # by contender, a call that steps every row once
COLUMNS = ("single", "numpy", "core", "ap-gym single", "ap-gym vector", "crop bilinear", "crop whole-pixel")
RATIOS = {"single": ["ap-gym single"], "numpy": ["ap-gym vector"], "core": ["ap-gym vector", "crop bilinear"]}
BATCHES = 32  # of random actions, drawn before the clock starts


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
    """Probability that a random action stops."""
    seed: int = 0
    """Seed of actions and environments."""
    json: bool = False
    """Write the figures with hardware and versions to benchmarks/results/throughput.json."""


def random_actions(rows: int, args: Args) -> list[dict[str, np.ndarray]]:
    """Return batches of random actions."""
    rng = np.random.default_rng(args.seed)
    return [
        {
            "location": rng.uniform(-1, 1, (rows, 2)).astype(np.float32),
            "stop": (rng.random(rows) < args.stop).astype(np.int64),
            "prediction": rng.random((rows, 10)).astype(np.float32),
        }
        for _ in range(BATCHES)
    ]


def vector(env: gymnasium.vector.VectorEnv, actions: Iterator[Any], seed: int) -> Callable[[], object]:
    """Return a step of a vector environment that resets its rows itself."""
    env.reset(seed=seed)
    return lambda: env.step(next(actions))


def single(env: gymnasium.Env, actions: Iterator[Any], seed: int) -> Callable[[], object]:
    """Return a step of one environment, with a reset (which is no step) after each end."""
    env.reset(seed=seed)

    def turn() -> None:
        _, _, terminated, truncated, _ = env.step(next(actions))
        if terminated or truncated:
            env.reset()

    return turn


def bare_crops(rows: int, digits: ImageSet, seed: int) -> Turns:
    """Cut glimpses and do nothing else."""
    canvas = PixelSensor(digits, glimpse_size=8, location_range=13 / 14).canvas
    generator = torch.Generator().manual_seed(seed)
    images, channels, height, width = canvas.pixels.shape
    index = cycle(list(torch.randint(images, (BATCHES, rows), generator=generator)))
    location = cycle(list(torch.rand(BATCHES, rows, 2, generator=generator) * 2 - 1))
    last = canvas.pixels.numel() - 8 * width
    start = cycle(list(torch.randint(last, (BATCHES, rows), generator=generator)))
    windows = canvas.pixels.as_strided((last, channels, 8, 8), (1, height * width, width, 1))
    return {
        "crop bilinear": lambda: retina.crop(canvas, next(index), next(location), 8).mul_(1 / 255),
        "crop whole-pixel": lambda: windows.index_select(0, next(start)).float().mul_(1 / 255),
    }


def ap_gym_turns(rows: int, digits: ImageSet, args: Args) -> Turns:
    """Step ap-gym's MNIST environment on the same digits."""
    import ap_gym  # noqa: F401 - registers its environments  # pyright: ignore[reportMissingImports]
    from ap_gym.envs import image  # pyright: ignore[reportMissingImports]

    pixels, labels = digits.images[:, 0].numpy(), digits.labels.numpy()

    class Digits(image.ImageClassificationDataset):
        """The digits as ap-gym takes them."""

        def _get_num_classes(self) -> int:
            return 10

        def _get_num_channels(self) -> int:
            return 1

        def _get_length(self) -> int:
            return len(labels)

        def _get_data_point_batch(self, idx: np.ndarray) -> Any:
            return pixels[idx], labels[idx]

    def actions(*batch: int) -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng(args.seed)
        moves = rng.uniform(-1, 1, (BATCHES, *batch, 2)).astype(np.float32)
        logits = rng.standard_normal((BATCHES, *batch, 10)).astype(np.float32)
        return cycle([{"action": moves[i], "prediction": logits[i]} for i in range(BATCHES)])

    config = image.ImagePerceptionConfig(dataset=Digits())
    many = gymnasium.make_vec("MNIST-v0", num_envs=rows, image_perception_config=config)
    turns = {"ap-gym vector": vector(many, actions(rows), args.seed)}
    if rows == 1:
        one = gymnasium.make("MNIST-v0", image_perception_config=config)
        turns["ap-gym single"] = single(one, actions(), args.seed)
    return turns


def contenders(rows: int, digits: ImageSet, args: Args) -> Turns:
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


def table(best: dict[int, dict[str, float]]) -> str:
    """Lay out steps per second and ratios, one line for each number of rows."""
    pairs = [(ours, other) for ours, others in RATIOS.items() for other in others]
    lines = [["rows", *COLUMNS, *(f"{ours} / {other}" for ours, other in pairs)]]
    for rows, rate in best.items():
        steps = [f"{rate[name]:,.0f}" if name in rate else "-" for name in COLUMNS]
        ratios = [f"{rate[a] / rate[b]:.2f}" if a in rate and b in rate else "-" for a, b in pairs]
        lines.append([str(rows), *steps, *ratios])
    return timed.align(lines)


def main(args: Args) -> None:
    """Run every line of the table."""
    terminal.use_threads(args.threads)
    target = timed.RESULTS / "throughput.json"
    files.check_writable(target if args.json else None)
    libraries = ["ap-gym"] if find_spec("ap_gym") else []
    if not libraries:
        print("ap-gym is not installed, so its column is empty: pip install ap-gym==0.6.0 aiohttp")
    digits, best, figures = datasets.load("mnist"), {}, {}
    for rows in args.rows:
        best[rows], figures[rows] = {}, {}
        for name, rate in timed.race(contenders(rows, digits, args), args.turns, args.seconds).items():
            best[rows][name] = rows * max(rate)
            figures[rows][name] = {"best": round(rows * max(rate)), "median": round(rows * median(rate))}
    measured = f"best of {args.turns} turns, {args.threads} thread(s); {origin.find_cpu()}"
    print(f"environment steps per second on MNIST, {measured}\n{table(best)}")
    if args.json:
        timed.write_json(target, "cpu", libraries, args=asdict(args), steps_per_second=figures)
        print(f"wrote benchmarks/results/{target.name}")


if __name__ == "__main__":
    with terminal.foreseen("throughput.py"):
        main(tyro.cli(Args, description=__doc__))
