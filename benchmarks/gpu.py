"""Everything that is to be measured on a CUDA GPU, in one command of less than 8 minutes; tried without one on a CPU.

    python benchmarks/gpu.py                                          # on the GPU that is there
    python benchmarks/gpu.py --root ~/data --weights resnet50.pth     # photographs: CUB instead of generated pictures
    python benchmarks/gpu.py --parts graph tests                      # chosen parts
    python benchmarks/gpu.py --device cpu --quick                     # tries every part in about a minute

| part | what it measures |
|---|---|
| sensors | steps/s of the core with every sensor, beside the network alone, as it is and compiled |
| accuracy | seconds from the command to the result on MNIST (benchmarks/time_to_accuracy.py) |
| photographs | seconds and images/s of a fine-tuning, and of DT-RAM on a bank of the tuned network |
| graph | a whole training update captured as a CUDA graph, against the same update run step by step, and whether the losses agree |
| tests | the tests that are skipped without a GPU |

Every part is a row of RESULTS/gpu.jsonl, written when the part ends. A part that fails is reported, the others still run, and the exit
status is then 1.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from timing import captured, timed

from glimpse_env import checks
from glimpse_env.runtime import files, terminal

ROOT = Path(__file__).resolve().parent.parent
Part = Literal["sensors", "accuracy", "photographs", "graph", "tests"]
Figures = dict[str, float]  # by name with unit


@dataclass(frozen=True)
class Gpu:
    """Options of `gpu.py`."""

    device: str = "cuda"
    """cuda, cuda:1, ..., or cpu to try the script."""
    parts: tuple[Part, ...] = ("sensors", "accuracy", "photographs", "graph", "tests")
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

    @property
    def network(self) -> str:
        """Name of the classifier in use."""
        return "resnet18" if self.quick else self.backbone

    @property
    def place(self) -> list[str]:
        """Options of every command that say where it runs."""
        return ["--device", self.device, "--threads", str(self.threads)]

    @property
    def rows(self) -> Path:
        """Folder of the rows."""
        return self.results or ROOT / ("runs/gpu" if self.quick else "benchmarks/results")


def script(name: str, *words: object) -> tuple[float, str]:
    """Run a script of this project; return its seconds and its output."""
    return timed.start([str(ROOT / name), *map(str, words)])


def sensors(options: Gpu, folder: Path) -> Figures:
    """Measure steps/s of the sensors and images/s of the network; it is compiled on a GPU only (compiling takes minutes on two cores)."""
    tiny = [
        "--size",
        "32",
        "--rows",
        "8",
        "--pictures",
        "4",
        "--grid",
        "2",
        "--turns",
        "1",
        "--seconds",
        "0.05",
    ]
    sizes = tiny if options.quick else ["--size", "224", "--rows", "256", "--turns", "3"]
    compiled = ["--compile"] if options.device != "cpu" else []
    script(
        "benchmarks/sensors.py",
        "--backbone",
        options.network,
        *sizes,
        *compiled,
        *options.place,
        "--json",
        folder / "sensors.json",
    )
    found = files.read_json(folder / "sensors.json")["figures"]
    eager = "network alone, not compiled"
    names = {"network": "network alone, compiled" if compiled else eager, "network_eager": eager}
    return {f"{names.get(name, f'{name} sensor')}, 1/s": value for name, value in found.items()}


def accuracy(options: Gpu, folder: Path) -> Figures:
    """Measure the time to an accuracy on MNIST."""
    rows = folder if options.quick else options.rows
    words = ["--seeds", options.seeds, "--results", rows, "--out", folder / "accuracy", *options.place]
    words += ["--quick"] if options.quick else ["--epochs", *options.epochs] if options.epochs else []
    file = rows / "time_to_accuracy.jsonl"
    before = len(timed.read(file, ()))
    script("benchmarks/time_to_accuracy.py", *words)
    found: Figures = {}
    for row in timed.read(file, ())[before:]:
        what = f"{row['schedule']}, seed {row['seed']}"
        found |= {
            f"{what}: {name}": row[key]
            for name, key in (("s", "seconds"), ("error %", "error"), ("glimpses", "mean_glimpses"))
        }
    return found


def photographs(options: Gpu, folder: Path) -> Figures:
    """Fine-tune a network, then train DT-RAM on a bank of what it sees; seconds of the commands, images/s of the training in them."""
    side, train, batch, epochs = (32, 16, 4, 2) if options.quick else (256, 128, 32, 20)
    if options.root is None:
        dataset = str(timed.write_pictures(folder / "pictures", side, train, train // 2))
        sizes = ["--image-size", side, "--view-size", side, "--backbone", options.network]
        look = [*sizes, "--glimpse-size", side // 2, "--grid", 2, "--glimpses", 2]
    else:
        dataset, sizes = "cub", ["--root", options.root, "--backbone", options.network]
        look = sizes
    given = ["--dataset", dataset, *options.place]
    tuning = [
        *given,
        *sizes,
        "--epochs",
        1,
        "--batch",
        batch,
        "--weights",
        options.weights,
        "--out",
        folder / "tuning",
    ]
    first, _ = script("agents/finetune_backbone.py", *tuning)
    training = ["--sensor", "bank", "--epochs", epochs, "--stop-epochs", epochs, "--batch", batch]
    weights = ["--weights", folder / "tuning" / "weights.pth", "--out", folder / "dtram"]
    second, _ = script("agents/dtram_reinforce.py", *given, *look, *training, *weights)
    rates = [timed.images_per_second(folder / name / "result.json") for name in ("tuning", "dtram")]
    names = ("fine-tuning, s", "fine-tuning, images/s", "DT-RAM, s", "DT-RAM, images/s")
    return dict(zip(names, (first, rates[0], second, rates[1]), strict=True))


def graph(options: Gpu, folder: Path) -> Figures:
    """Capture a training update as a CUDA graph and compare it with the same update run step by step."""
    del folder  # it writes no file
    small: dict[str, Any] = {"batch": 32, "hidden": 32, "features": 32} if options.quick else {}
    run = captured.Options(device=options.device, threads=options.threads, augment=False, **small)
    found = captured.measure(run, *((3, 2) if options.quick else (200, 11)))
    second = "graph" if options.device != "cpu" else "no graph on cpu: eager again"
    names = {
        "eager_ms": "eager update, ms",
        "graph_ms": f"{second}, ms",
        "difference": "largest relative difference of the losses",
    }
    return {names[name]: value for name, value in found.items()}


def tests(options: Gpu, folder: Path) -> Figures:
    """Run the tests that are skipped without a GPU.

    Raises:
        RuntimeError: One failed; or was skipped on a GPU.
    """
    del folder  # they write none
    _, output = timed.start(
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", *timed.gpu_tests(ROOT)], cwd=ROOT
    )
    words = output.strip().splitlines()[-1].replace(",", "").split()  # such as: 3 passed, 1 skipped in 2.1s
    counts = {
        name: float(words[words.index(name) - 1]) if name in words else 0.0 for name in ("passed", "skipped")
    }
    if options.device != "cpu" and counts["skipped"]:
        raise RuntimeError(
            f"{counts['skipped']:.0f} tests of the GPU were skipped: expected none on {options.device}"
        )
    return counts


PARTS: dict[str, Callable[[Gpu, Path], Figures]] = {
    part.__name__: part for part in (sensors, accuracy, photographs, graph, tests)
}


def run_part(name: str, options: Gpu) -> dict[str, Any]:
    """Run a part in a folder of its own and return its row: figures, or the error."""
    begin, figures, error = time.perf_counter(), {}, None
    try:
        with tempfile.TemporaryDirectory() as made:
            figures = PARTS[name](options, Path(made))
    except Exception as failure:  # the other parts still run
        error = f"{type(failure).__name__}: {failure}"
        print(f"{name}: {error}", file=sys.stderr)
    return {
        "part": name,
        "figures": figures,
        "error": error,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def main(options: Gpu) -> int:
    """Run the parts, print the table, and return the exit status."""
    checks.device(options.device)
    terminal.use_threads(options.threads)
    speed = timed.speed(options.device)
    command = " ".join(
        ["python benchmarks/gpu.py --device", options.device, *(["--quick"] if options.quick else [])]
    )
    about = {
        "command": command,
        "device": options.device,
        "quick": options.quick,
        "photographs": "cub" if options.root else "generated",
    }
    rows = []
    for name in options.parts:
        print(f"{name} ...", flush=True)
        rows.append(
            run_part(name, options)
            | about
            | {"speed": speed}
            | timed.provenance(options.threads, options.device)
        )
        timed.append(options.rows / "gpu.jsonl", rows[-1])
    print(f"{timed.machine_name(rows[0])}, torch {torch.__version__}: {timed.describe_speed(speed)}")
    print(timed.align_figures(rows))
    return int(any(row["error"] is not None for row in rows))


if __name__ == "__main__":
    with terminal.foreseen("gpu.py"):
        sys.exit(main(tyro.cli(Gpu, description=__doc__)))
