"""Wall-clock seconds of DT-RAM on MNIST, from the command to the result, and the error that it reaches.

    python benchmarks/time_to_accuracy.py                              # the agent's own schedule, 3 seeds
    python benchmarks/time_to_accuracy.py --epochs 8 12 20 40          # several schedules
    python benchmarks/time_to_accuracy.py --epochs 12 --extra="--batch 512 --stop-epochs 3"
    python benchmarks/time_to_accuracy.py --only-print                 # from the rows of earlier runs

Each run is `python agents/dtram_reinforce.py` in a new folder, one after the other; its seconds count from
the start of the command to its end, with the report written. Rows are appended to
RESULTS/time_to_accuracy.jsonl and drawn in RESULTS/time_to_accuracy.png: lines are the error on held-out
images against the seconds of training, marks the error on the test images against the seconds of the whole
command.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import tyro
from timing import report, timed

from glimpse_env import checks
from glimpse_env.runtime import checkpoint, files, terminal

AGENT = "agents/dtram_reinforce.py"
FIGURES = ("seconds", "train_seconds", "error", "mean_glimpses", "curve")
NEEDED = ("schedule", "seed", *FIGURES, "speed", "hardware", "versions", "commit")
QUICK = """--epochs 1 --stop-epochs 1 --batch 16 --hidden 16 --features 16 --encoder-layers 1
    --image-size 16 --glimpse-size 4 --glimpses 2 --no-augment"""


@dataclass(frozen=True)
class TimeToAccuracy:
    """Options of `time_to_accuracy.py`."""

    epochs: tuple[int, ...] = ()
    """Schedules: values of the agent's --epochs, each run with every seed; default: the agent's own."""
    long: bool = False
    """Also run the agent's --long."""
    extra: str = ""
    """Further options of the agent in every run, as one text with an equals sign: --extra="--batch 512"."""
    seeds: int = 3
    """Runs of each schedule, with seeds 0, 1, ..."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
    results: Path | None = None
    """Folder of the rows and the figure; default: benchmarks/results, with --quick the folder of the runs."""
    out: Path | None = None
    """Folder of the runs, each of which must be new; default: a new folder in runs/time_to_accuracy."""
    quick: bool = False
    """Try everything in seconds: one seed, one epoch of a small network on a few generated pictures."""
    only_print: bool = False
    """Print and draw the rows of earlier runs; run nothing."""


def schedules(options: TimeToAccuracy) -> list[tuple[str, ...]]:
    """Return the agent's options of every schedule.

    Raises:
        ValueError: Numbers of epochs or seeds that are not positive, or the same schedule twice.
    """
    for name, value in (("--seeds", options.seeds), *(("--epochs", epochs) for epochs in options.epochs)):
        checks.count(name, value)
    if len(set(options.epochs)) < len(options.epochs):
        raise ValueError(f"--epochs {' '.join(map(str, options.epochs))}: expected different numbers")
    if options.quick:
        return [tuple(QUICK.split())]
    own = [("--epochs", str(epochs)) for epochs in options.epochs] or ([] if options.long else [()])
    return own + ([("--long",)] if options.long else [])


def name_of(words: Sequence[str], extra: str, quick: bool) -> str:
    """Return the name of a schedule in tables and rows: what distinguishes its command."""
    return "quick" if quick else " ".join((*words, *shlex.split(extra))) or "default"


def run(
    name: str, words: Sequence[str], seed: int, out: Path, options: TimeToAccuracy, speed: Mapping[str, Any]
) -> dict[str, Any]:
    """Start the agent, wait for its end, and return the row of the run.

    Raises:
        ValueError: The folder exists: a finished or interrupted run must not count as a fast one.
    """
    if out.exists():
        raise ValueError(f"{out} exists: a run is timed in a new folder; give another --out, or remove it")
    machine = ["--device", options.device, "--threads", str(options.threads)]
    command = [AGENT, *words, *shlex.split(options.extra), "--seed", str(seed), *machine]
    seconds, _ = timed.start([str(timed.ROOT / AGENT), *command[1:], "--out", str(out)])
    result, saved = files.read_json(out / "result.json"), checkpoint.load(out / "checkpoint.pt")
    curve = []
    for row in saved["progress"]["history"]:
        if row.get("validation_accuracy") is not None:
            error = 100 * (1 - row["validation_accuracy"])
            curve.append({"seconds": row["seconds"], "stage": row["stage"], "error": error})
    return {
        "schedule": name,
        "command": shlex.join(["python", *command]),
        "seed": seed,
        "epochs": result["options"]["epochs"],
        "seconds": round(seconds, 2),
        "train_seconds": result["train_seconds"],
        "error": 100 * (1 - result["accuracy"]),
        "mean_glimpses": result["mean_glimpses"],
        "curve": curve,
        "speed": dict(speed),
        **timed.provenance(options.device),
    }


def measure(options: TimeToAccuracy, out: Path, file: Path) -> None:
    """Measure the machine, then run every schedule with every seed; each row is written when its run ends."""
    checks.device(options.device)
    plan, seeds = schedules(options), 1 if options.quick else options.seeds
    speed = timed.speed(options.device)
    print(f"this machine, {options.threads} thread(s), {options.device}: {timed.describe_speed(speed)}")
    with tempfile.TemporaryDirectory() as folder:
        pictures: tuple[str, ...] = ()
        if options.quick:
            pictures = ("--dataset", str(timed.write_pictures(Path(folder) / "pictures", 16, 24, 8)))
        for words in plan:
            name = name_of(words, options.extra, options.quick)
            runs = out / checkpoint.file_name(name.replace(" ", "").lstrip("-"))
            for seed in range(seeds):
                row = run(name, (*pictures, *words), seed, runs / str(seed), options, speed)
                timed.append(file, row)
                reached = f"error {row['error']:.2f} % at {row['mean_glimpses']:.2f} glimpses"
                print(f"{name}, seed {seed}: {row['seconds']:.0f} s, {reached}")


def main(options: TimeToAccuracy) -> None:
    """Measure, then print and draw all rows."""
    out = options.out or timed.ROOT / f"runs/time_to_accuracy/{datetime.now():%Y%m%d-%H%M%S-%f}"
    folder = options.results or (out if options.quick else timed.RESULTS)
    file = folder / "time_to_accuracy.jsonl"
    if not options.only_print:
        measure(terminal.prepare(options), out, file)
    rows = timed.read(file, NEEDED)
    if not rows:
        raise ValueError(f"{file} has no rows: run this script without --only-print first")
    print(report.report(rows))
    report.draw(report.grouped(rows), file.with_suffix(".png"))
    print(f"figure: {file.with_suffix('.png')}")


if __name__ == "__main__":
    with terminal.foreseen("time_to_accuracy.py"):
        main(tyro.cli(TimeToAccuracy, description=__doc__))
