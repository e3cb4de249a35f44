"""What benchmarks of time share: timers, the speed of the machine, rows, tables, pictures of noise."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from reproduction import origin

from glimpse_env import datasets
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files
from glimpse_env.runtime.precision import fastest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
FORMAT = 1
PRODUCT = 512  # rows and columns of the matrix product that a machine is measured by
LAST = 15  # lines of a failed command's output that its error shows
GPU_TEST = re.compile(r"^@[^\n]*\(\s*not torch\.cuda\.is_available.*?^def (\w+)", re.DOTALL | re.MULTILINE)


def start(words: Sequence[str], cwd: Path | None = None) -> tuple[float, str]:
    """Run `python WORDS` to its end on this source tree; return its wall-clock seconds and its output.

    Raises:
        RuntimeError: Its exit status is not 0; the message has the last lines of its output.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command, pipe = [sys.executable, *words], subprocess.PIPE
    begin = perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    seconds = perf_counter() - begin
    if done.returncode:
        last = "\n".join(done.stdout.replace("\r", "\n").splitlines()[-LAST:])
        raise RuntimeError(f"python {' '.join(words)}: exit status {done.returncode}\n{last}")
    return seconds, done.stdout


def time_call(
    call: Callable[[], object], device: torch.device, calls: int = 1, seconds: float = 0.0
) -> float:
    """Return the mean seconds of a call that is repeated at least so often and so long."""
    synchronize(device)
    begin, count = perf_counter(), 0
    while count < calls or perf_counter() - begin < seconds:
        call()
        count += 1
        if seconds and count % 8 == 0:
            synchronize(device)  # a queue of calls must not outrun the clock
    synchronize(device)
    return (perf_counter() - begin) / count


def race(
    calls: Mapping[str, Callable[[], object]], turns: int, seconds: float, device: str = "cpu"
) -> dict[str, list[float]]:
    """Let calls take turns after one to warm up; return the calls per second of each turn."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns + 1):
        for name, call in calls.items():
            rates[name].append(1 / time_call(call, torch.device(device), seconds=seconds))
    return {name: rate[1:] for name, rate in rates.items()}


def median_seconds(call: Callable[[], object], device: torch.device, calls: int) -> float:
    """Return the median over 15 turns of the mean seconds of a call, after one turn to warm up."""
    return statistics.median([time_call(call, device, calls) for _ in range(16)][1:])


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work; a CPU has always finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def speed(device: str) -> dict[str, Any]:
    """Time a matrix product and a small operation with the present threads; name the type of training."""
    where = torch.device(device)
    matrix, small = torch.rand(PRODUCT, PRODUCT, device=where), torch.rand(4, device=where)
    return {
        "product_ms": 1e3 * median_seconds(lambda: matrix @ matrix, where, calls=10),
        "small_us": 1e6 * median_seconds(lambda: small + 1, where, calls=1000),
        "precision": str(fastest(where).dtype).removeprefix("torch."),
    }


def describe_speed(measured: Mapping[str, Any]) -> str:
    """Return the line that compares this machine with others."""
    product = f"float32 {PRODUCT} x {PRODUCT} matrix product {measured['product_ms']:.2f} ms"
    used = f"{measured['precision']} is used" + ", not bfloat16" * (measured["precision"] != "bfloat16")
    return f"{product}, x + 1 on 4 values {measured['small_us']:.1f} us, {used}"


def provenance(device: str) -> dict[str, Any]:
    """Return the entries of a row that say on what it was measured, with the threads that torch uses now."""
    return {
        "hardware": origin.describe_hardware(torch.get_num_threads(), device),
        "versions": results.collect_versions(),
        "commit": origin.find_commit(),
    }


def machine_name(row: Mapping[str, Any]) -> str:
    """Return the machine of a row: its GPU where that was used, else its CPU with the number of threads."""
    hardware = row["hardware"]
    threads = hardware["threads"]
    return hardware["gpu"] or f"{hardware['cpu']} ({threads} thread{'s' * (threads != 1)})"


def write_json(file: Path | None, device: str, libraries: Sequence[str] = (), **content: Any) -> None:
    """Write figures with their command, hardware, versions and commit into a file, if one is given."""
    if file is not None:
        about = provenance(device)
        about["versions"] |= {name: version(name) for name in libraries}
        files.write_json(file, {"command": checkpoint.command(), **content, **about})


def append(file: Path, row: Mapping[str, Any]) -> None:
    """Add a row to the end of a file, all of it or nothing."""
    with files.lock(file.with_name(f".{file.name}.lock")):
        known = file.read_bytes() if file.is_file() else b""
        files.write_bytes(file, known + (json.dumps({"format": FORMAT, **row}) + "\n").encode())


def read(file: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a file, none if it does not exist; each has the entries `needed`.

    Raises:
        ValueError: A line is not such a row, or has another format.
    """
    rows = []
    for number, line in enumerate(file.read_text().splitlines() if file.is_file() else [], start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
            missing = [name for name in ("format", *needed) if name not in row]
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{where} is not a row of JSON: remove that line") from error
        if missing:
            raise ValueError(f"{where} has no {missing[0]!r}: remove that line, or give another --results")
        if (found := row["format"]) != FORMAT:
            expected = f"this program reads {FORMAT}: give another --results"
            raise ValueError(f"{where} has format {found}, {expected}")
        rows.append(row)
    return rows


def align(lines: Sequence[Sequence[str]]) -> str:
    """Lay out a table in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = "  ".join(f"{{:{'>' if column else '<'}{width}}}" for column, width in enumerate(widths))
    return "\n".join(form.format(*cells) for cells in lines)


def images_per_second(run: Path) -> float:
    """Return the training images per second of a finished run, over all epochs of its stages."""
    row = files.read_json(run / "result.json")
    options = row["options"]
    epochs, batch = options["epochs"] + options.get("stop_epochs", 0), options["batch"]
    images = count_images(options) // batch * batch
    return epochs * images / max(row["train_seconds"], 0.1)  # the row has one digit


def count_images(options: Mapping[str, Any]) -> int:
    """Return how many images a run's options name."""
    size = resolve(options["dataset"], image_size=options["image_size"]).image_size
    return len(datasets.load(options["dataset"], options["split"], root=options["root"], image_size=size))


def gpu_tests(root: Path) -> list[str]:
    """Return pytest's names of the tests that a decorator skips without a GPU."""
    return [
        f"{file.relative_to(root).as_posix()}::{name}"
        for file in sorted((root / "tests").rglob("test_*.py"))
        for name in GPU_TEST.findall(file.read_text(encoding="utf-8"))
    ]


def write_pictures(folder: Path, side: int, train: int, test: int) -> Path:
    """Write noise pictures in two class folders, brighter in the left or right half; return the folder."""
    noise = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in ("left", "right"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 128, (side, side, 3), dtype=np.uint8)
                pixels[:, slice(side // 2) if name == "left" else slice(side // 2, None)] += 100
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder
