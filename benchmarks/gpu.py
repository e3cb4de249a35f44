"""All measurements of a CUDA GPU in one command of less than 8 minutes; can be tried on a CPU.

    python benchmarks/gpu.py                                          # on the available GPU
    python benchmarks/gpu.py --root ~/data --weights resnet50.pth     # CUB instead of generated pictures
    python benchmarks/gpu.py --parts graph tests                      # chosen parts
    python benchmarks/gpu.py --device cpu --quick                     # tries every part in about a minute

sensors: steps/s with every sensor, beside the network uncompiled and compiled (benchmarks/sensors.py).
accuracy: seconds from the command to the result on MNIST (benchmarks/time_to_accuracy.py).
photographs: seconds and images/s of a fine-tuning, and of DT-RAM on a bank of the tuned network.
timing: milliseconds an image of DT-RAM whose stops save time, of RAM, and of one pass (dtram_timing.py).
graph: a training update captured as a CUDA graph, against the same update step by step; losses must agree.
tests: the tests that are skipped without a GPU.

Every part is a row of RESULTS/gpu.jsonl, written when the part ends. A part that fails is reported, the
others still run, and the exit status is then 1.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
import tyro
from reproduction import runs
from timing import captured, gpu_page, timed

from glimpse_env import checks
from glimpse_env.runtime import files, terminal

Part = Literal["sensors", "accuracy", "photographs", "timing", "graph", "tests"]
Figures = dict[str, float]  # by name with unit


@dataclass(frozen=True)
class Gpu:
    """Options of `gpu.py`."""

    device: str = "cuda"
    """cuda, cuda:1, ..., or cpu to try the script."""
    parts: tuple[Part, ...] = ("sensors", "accuracy", "photographs", "timing", "graph", "tests")
    """Parts to run, in this order."""
    root: Path | None = None
    """Folder that holds CUB_200_2011; default: the photographs are a few generated pictures."""
    backbone: str = "resnet50"
    """Name of the torchvision classifier (--quick: resnet18)."""
    weights: str | None = None
    """Weights that the fine-tuning starts from: a file, or DEFAULT (torchvision's); default: random ones."""
    seeds: int = 1
    """Runs of the part accuracy."""
    epochs: tuple[int, ...] = ()
    """Its schedules: values of the agent's --epochs; default: the agent's own."""
    threads: int = 2
    """CPU threads that torch may use."""
    results: Path | None = None
    """Folder of the rows; default: benchmarks/results, with --quick runs/gpu."""
    quick: bool = False
    """Try everything at the smallest sizes; the figures mean nothing."""

    def start(self, script: str, **words: object) -> float:
        """Run a script of this project with these options on the device; return its seconds."""
        words |= {"device": self.device, "threads": self.threads}
        return timed.start([str(timed.ROOT / script), *runs.format_options(words)])[0]


def sensors(options: Gpu, folder: Path) -> Figures:
    """Measure steps/s of the sensors and images/s of the network."""
    compiled = options.device != "cpu"  # compiling takes minutes on two cores
    tiny = {"size": 32, "rows": 8, "pictures": 4, "grid": 2, "turns": 1, "seconds": 0.05}
    words = tiny if options.quick else {"size": 224, "rows": 256, "turns": 3}
    words |= {"backbone": "resnet18" if options.quick else options.backbone}
    options.start("benchmarks/sensors.py", **words, compile=compiled, json=folder / "sensors.json")
    figures = files.read_json(folder / "sensors.json")["figures"]
    eager = "network alone, not compiled"
    names = {"network": "network alone, compiled" if compiled else eager, "network_eager": eager}
    return {f"{names.get(name, f'{name} sensor')}, 1/s": value for name, value in figures.items()}


def accuracy(options: Gpu, folder: Path) -> Figures:
    """Measure the time to an accuracy on MNIST."""
    results = folder if options.quick else options.results or timed.RESULTS
    words: dict[str, Any] = {"seeds": options.seeds, "results": results, "out": folder / "accuracy"}
    words |= {"quick": True} if options.quick else {"epochs": options.epochs or None}
    file = results / "time_to_accuracy.jsonl"
    before = len(timed.read(file, ()))
    options.start("benchmarks/time_to_accuracy.py", **words)
    figures: Figures = {}
    for row in timed.read(file, ())[before:]:
        for name, key in (("s", "seconds"), ("error %", "error"), ("glimpses", "mean_glimpses")):
            figures[f"{row['schedule']}, seed {row['seed']}: {name}"] = row[key]
    return figures


def photographs(options: Gpu, folder: Path) -> Figures:
    """Fine-tune a network, then train DT-RAM on a bank of its features; images/s are of training alone."""
    side, train, batch, epochs = (32, 16, 4, 2) if options.quick else (256, 128, 32, 20)
    data: dict[str, Any] = {"dataset": "cub", "root": options.root}
    view = {}
    if options.root is None:
        pictures = timed.write_pictures(folder / "pictures", side, train, train // 2)
        data = {"dataset": pictures, "image_size": side, "view_size": side}
        view = {"glimpse_size": side // 2, "grid": 2, "glimpses": 2}
    data |= {"backbone": "resnet18" if options.quick else options.backbone, "batch": batch}
    tuning, dtram = folder / "tuning", folder / "dtram"
    first = {**data, "epochs": 1, "weights": options.weights, "out": tuning}
    second = {**data, **view, "sensor": "bank", "epochs": epochs, "stop_epochs": epochs, "out": dtram}
    seconds = options.start("agents/finetune_backbone.py", **first)
    figures = {"fine-tuning, s": seconds, "fine-tuning, images/s": timed.images_per_second(tuning)}
    seconds = options.start("agents/dtram_reinforce.py", **second, weights=tuning / "weights.pth")
    return figures | {"DT-RAM, s": seconds, "DT-RAM, images/s": timed.images_per_second(dtram)}


def timing(options: Gpu, folder: Path) -> Figures:
    """Measure the milliseconds an image of DT-RAM, of RAM and of one pass of the network."""
    sizes = {"quick": True} if options.quick else {"backbone": options.backbone, "batches": (1, 64)}
    options.start("benchmarks/dtram_timing.py", **sizes, results=folder)
    [row] = timed.read(folder / "dtram_timing.jsonl", ("figures",))
    return {
        f"{name}, batch {batch}: ms an image": value
        for batch, figures in row["figures"].items()
        for name, value in figures.items()
    }


def graph(options: Gpu, folder: Path) -> Figures:
    """Capture a training update as a CUDA graph and compare it with the same update run step by step."""
    del folder  # it writes no file
    small: dict[str, Any] = {"batch": 32, "hidden": 32, "features": 32} if options.quick else {}
    run = captured.Options(device=options.device, threads=options.threads, augment=False, **small)
    found = captured.measure(run, *((3, 2) if options.quick else (200, 11)))
    second = "graph" if options.device != "cpu" else "no graph on cpu: eager again"
    return {
        "eager update, ms": found["eager_ms"],
        f"{second}, ms": found["graph_ms"],
        "largest relative difference of the losses": found["difference"],
    }


def tests(options: Gpu, folder: Path) -> Figures:
    """Run the tests that are skipped without a GPU.

    Raises:
        RuntimeError: One failed; or was skipped on a GPU.
    """
    del folder  # they write none
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    _, output = timed.start([*pytest, *timed.gpu_tests(timed.ROOT)], cwd=timed.ROOT)
    counts = {"passed": 0.0, "skipped": 0.0}
    last = output.strip().splitlines()[-1]  # such as: 3 passed, 1 skipped in 2.1s
    counts |= {name: float(number) for number, name in re.findall(r"(\d+) (passed|skipped)", last)}
    if options.device != "cpu" and (skipped := counts["skipped"]):
        raise RuntimeError(f"{skipped:.0f} tests of the GPU were skipped: expected none on {options.device}")
    return counts


PARTS: dict[str, Callable[[Gpu, Path], Figures]] = {
    part.__name__: part for part in (sensors, accuracy, photographs, timing, graph, tests)
}


def run_part(name: str, options: Gpu) -> dict[str, Any]:
    """Run a part in a folder of its own and return its row: figures, or the error."""
    begin, figures, error = perf_counter(), {}, None
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = PARTS[name](options, Path(folder))
    except Exception as failure:  # the other parts still run
        error = f"{type(failure).__name__}: {failure}"
        print(f"{name}: {error}", file=sys.stderr)
    return {"part": name, "figures": figures, "error": error, "seconds": round(perf_counter() - begin, 1)}


def align_figures(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the parts: a line for each figure, and one for the part's seconds or its error."""
    lines = [["part", "figure", "value"]]
    for row in rows:
        for name, value in row["figures"].items():
            lines.append([row["part"], name, gpu_page.format_value(value)])
        ended = "whole part, s" if row["error"] is None else f"FAILED: {row['error'].splitlines()[-1][:90]}"
        lines.append([row["part"], ended, f"{row['seconds']:.1f}"])
    return timed.align(lines)


def main(options: Gpu) -> int:
    """Run the parts, print the table, and return the exit status."""
    checks.device(options.device)
    terminal.use_threads(options.threads)
    about = {
        "command": f"python benchmarks/gpu.py --device {options.device}{' --quick' * options.quick}",
        "device": options.device,
        "quick": options.quick,
        "photographs": "cub" if options.root else "generated",
        "speed": timed.speed(options.device),
    }
    folder = options.results or (timed.ROOT / "runs/gpu" if options.quick else timed.RESULTS)
    files.check_writable(folder / gpu_page.NAME)
    rows = []
    for name in options.parts:
        print(f"{name} ...", flush=True)
        rows.append(run_part(name, options) | about | timed.provenance(options.device))
        timed.append(folder / gpu_page.NAME, rows[-1])
    speed = timed.describe_speed(about["speed"])
    print(f"{timed.machine_name(rows[0])}, torch {torch.__version__}: {speed}")
    print(align_figures(rows))
    return int(any(row["error"] is not None for row in rows))


if __name__ == "__main__":
    with terminal.foreseen("gpu.py"):
        sys.exit(main(tyro.cli(Gpu, description=__doc__)))
