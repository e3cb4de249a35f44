"""Environment steps per second on images of different sizes, unshrunk, beside those on images of one size.

    python benchmarks/native_images.py                    # sides from 64 to 8,000 pixels, against 1,024
    python benchmarks/native_images.py --device cuda

Pictures are random; they lie in a temporary store (0.6 GB by default). Contenders take turns in one process;
the best turn of each counts. "anonymous memory" is what stepping over the large images adds to the process
besides the mapped file, whose pages the system drops when memory is short (Linux).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from jaxtyping import UInt8
from timing import timed
from torch import Tensor

from glimpse_env import GlimpseVectorEnv, checks
from glimpse_env.datasets.base import GlimpseUnit
from glimpse_env.runtime import checkpoint, files, terminal


@dataclass(frozen=True)
class NativeImages:
    """Options of `native_images.py`."""

    rows: int = 256
    """Number of environments."""
    size: int = 32
    """Pixels a side of a glimpse."""
    smallest: int = 64
    """Pixels a side of the smallest picture."""
    largest: int = 8000
    """Pixels a side of the largest picture; between them sides grow by a constant factor."""
    side: int = 1024
    """Pixels a side of the pictures of one size."""
    pictures: int = 16
    """Number of pictures, of each kind."""
    turns: int = 7
    """Turns of each contender."""
    seconds: float = 1.0
    """Length of one turn."""
    device: str = "cpu"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 1
    """CPU threads that torch may use."""
    json: Path | None = None
    """Also write the figures here."""


@dataclass(frozen=True)
class Pictures:
    """Random square pictures as a data set of two classes; each is drawn when it is read."""

    sides: list[int]
    classes: tuple[str, ...] = ("a", "b")

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.sides)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "channel height width"], int]:
        """Return a picture and its label."""
        side, generator = self.sides[index], torch.Generator().manual_seed(index)
        noise = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator)
        times = -(-side // 64)
        return noise.repeat(1, times, times)[:, :side, :side].contiguous(), index % 2


def build_stepping(
    sides: list[int], options: NativeImages, unit: GlimpseUnit | None, scale: float = 1.0
) -> Callable[[], object]:
    """Return a call that takes a step in every row, at random locations; `unit` None: images of one size."""
    sizes: dict[str, Any] = {"image_size": options.side}
    if unit is not None:
        sizes = {"image_size": "native", "glimpse_unit": unit}
    env = GlimpseVectorEnv(
        options.rows, Pictures(sides), sensor="pixel", glimpse_size=options.size, scales=(scale,),
        first_view="glimpse", max_glimpses=8, device=options.device, location_range=1.0, **sizes,
    )  # fmt: skip
    env.reset(seed=0)
    generator = torch.Generator(env.device).manual_seed(0)
    location = torch.rand(options.rows, 2, generator=generator, device=env.device) * 2 - 1
    stop = torch.zeros(options.rows, dtype=torch.bool, device=env.device)
    prediction = torch.full((options.rows, 2), 0.5, device=env.device)

    def step() -> object:
        location.uniform_(-1, 1)
        return env.step({"location": location, "stop": stop, "prediction": prediction})

    return step


def read_anonymous() -> int | None:
    """Return the process's anonymous memory in bytes; None = the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    kilobytes = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None


def main(options: NativeImages) -> dict[str, float]:
    """Measure and print; return the figures."""
    options = terminal.prepare(options)
    files.check_writable(options.json)
    for name in ("rows", "turns", "size", "smallest", "largest", "side"):
        checks.count(f"--{name}", getattr(options, name))
    checks.argument("--pictures", options.pictures, checks.whole(2))
    if options.smallest > options.largest:
        both = f"--smallest {options.smallest} --largest {options.largest}"
        raise ValueError(f"{both}: expected at most as many pixels")
    factor = (options.largest / options.smallest) ** (1 / (options.pictures - 1))
    sides = [round(options.smallest * factor**index) for index in range(options.pictures)]
    share = options.size / options.smallest  # of the short side: the glimpse of the smallest is not shrunk
    calls = {
        "one size": build_stepping([options.side] * options.pictures, options, None),
        "own sizes": build_stepping(sides, options, "pixels"),
        "shares of the short side": build_stepping(sides, options, "short_side", share),
    }
    before = read_anonymous()
    rates = timed.race(calls, options.turns, options.seconds, options.device)
    after = read_anonymous()
    figures = {f"{name}, steps/s": options.rows * max(rate) for name, rate in rates.items()}
    one, own, shares = list(figures.values())
    figures |= {"own sizes / one size": own / one, "shares / one size": shares / one}
    if before is not None and after is not None:
        figures["anonymous memory, MB"] = (after - before) / 1e6
    print(f"sides of {sides[0]} to {sides[-1]} pixels, against {options.side}; {options.rows} rows")
    print(timed.align([[name, f"{value:,.2f}"] for name, value in figures.items()]))
    timed.write_json(options.json, options.device, figures=figures, settings=checkpoint.plain(options))
    return figures


if __name__ == "__main__":
    with terminal.foreseen("native_images.py"):
        main(tyro.cli(NativeImages, description=__doc__))
