"""Training with two processes against one: updates a second of RAM, and their ratio, in turns.

    python benchmarks/processes.py                        # batches of 256 and 2,048 images, two cores

Each process has one thread. Times are of the epochs after the first, without the start; the best turn counts.
An update in one process with half the batch is timed too: two processes cannot be faster than that, since
each of them makes such an update, and waits for the other.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from reproduction import runs
from timing import timed

from glimpse_env import checks
from glimpse_env.runtime import checkpoint, files, terminal

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
HEADS = ["batch", "one process, ms", "two processes, ms", "ratio", "half the batch, ms", "bound"]


@dataclass(frozen=True)
class Processes:
    """Options of `processes.py`."""

    batches: tuple[int, ...] = (256, 2048)
    """Images per update, summed over processes: even numbers."""
    dataset: str = "mnist"
    """Images to train on."""
    split: str = "fit"
    """Which of them."""
    turns: int = 3
    """Turns of each."""
    epochs: int = 3
    """Passes over the images of a turn; the first is not timed."""
    json: Path | None = None
    """Also write the figures here."""


def time_update(options: Processes, batch: int, processes: int, out: Path) -> float:
    """Train RAM with all glimpses in every update; return the milliseconds of an update."""
    words: dict[str, Any] = {"dataset": options.dataset, "split": options.split, "epochs": options.epochs}
    words |= {"batch": batch, "curriculum": 0.0, "threads": 1, "device": "cpu", "out": out, "overwrite": True}
    script = [str(runs.SCRIPTS / "ram_reinforce.py"), *runs.format_options(words)]
    timed.start([*(TORCHRUN if processes == 2 else []), *script])
    saved = checkpoint.load(out / "checkpoint.pt")
    history = saved["progress"]["history"]
    seconds = (history[-1]["seconds"] - history[0]["seconds"]) / (options.epochs - 1)
    images = timed.count_images(saved["options"])
    return 1000 * seconds / (images // batch)


def measure(options: Processes, batch: int, out: Path) -> dict[str, Any]:
    """Return the milliseconds of an update in one process, in two, and with half the batch."""
    kinds = {"one": (batch, 1), "two": (batch, 2), "half": (batch // 2, 1)}
    best: dict[str, float] = {}
    for _ in range(options.turns):
        for name, (images, processes) in kinds.items():
            found = time_update(options, images, processes, out)
            best[name] = min(found, best.get(name, found))
    return {"batch": batch, **best, "ratio": best["one"] / best["two"], "bound": best["one"] / best["half"]}


def main(options: Processes) -> None:
    """Time all batches, print the table and write it."""
    checks.count("--turns", options.turns)
    if options.epochs < 2:
        raise ValueError(f"--epochs {options.epochs}: expected at least 2, of which the first is not timed")
    for batch in options.batches:
        if batch < 2 or batch % 2:
            raise ValueError(f"--batches {batch}: expected an even number of images, for two processes")
    files.check_writable(options.json)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(options, batch, Path(folder)) for batch in options.batches]
    lines = [HEADS]
    for row in rows:
        cells = [f"{row[name]:.1f}" for name in ("one", "two")] + [f"{row['ratio']:.2f}"]
        lines.append([str(row["batch"]), *cells, f"{row['half']:.1f}", f"{row['bound']:.2f}"])
    print(timed.align(lines))
    timed.write_json(options.json, "cpu", rows=rows)


if __name__ == "__main__":
    with terminal.foreseen("processes.py"):
        main(tyro.cli(Processes, description=__doc__))
