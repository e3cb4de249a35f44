"""What benchmarks of time share: start a command and time it, measure the machine, keep one line of JSON a measurement."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from reproduction import origin

from glimpse_env import datasets
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.runtime import files
from glimpse_env.runtime.precision import fastest

FORMAT = 1
PRODUCT = 512  # rows and columns of the matrix product that a machine is measured by
LAST = 15  # lines of a failed command's output that its error shows


def start(words: Sequence[str], cwd: Path | None = None) -> tuple[float, str]:
    """Run `python WORDS` to its end; return the wall-clock seconds that it took, and what it printed.

    Raises:
        RuntimeError: Its exit status is not 0; the message has the last lines of its output.
    """
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        last = "\n".join(done.stdout.replace("\r", "\n").splitlines()[-LAST:])
        raise RuntimeError(f"python {' '.join(words)}: exit status {done.returncode}\n{last}")
    return seconds, done.stdout


def median_seconds(
    call: Callable[[], object], device: torch.device, turns: int = 15, calls: int = 10
) -> float:
    """Return the median over turns of the mean seconds of a call, after one turn to warm up."""
    means = []
    for _ in range(turns + 1):
        synchronize(device)
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        synchronize(device)
        means.append((time.perf_counter() - begin) / calls)
    return statistics.median(means[1:])


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work; a CPU has always finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def speed(device: str) -> dict[str, Any]:
    """Measure a device with the threads that torch uses now: a matrix product and a small operation; name the type of training."""
    where = torch.device(device)
    matrix, small = torch.rand(PRODUCT, PRODUCT, device=where), torch.rand(4, device=where)
    return {
        "product_ms": 1e3 * median_seconds(lambda: matrix @ matrix, where),
        "small_us": 1e6 * median_seconds(lambda: small + 1, where, calls=1000),
        "precision": str(fastest(where).dtype).removeprefix("torch."),
    }


def describe_speed(measured: Mapping[str, Any]) -> str:
    """Return the line that compares this machine with others."""
    product = f"float32 {PRODUCT} x {PRODUCT} matrix product {measured['product_ms']:.2f} ms"
    used = (
        "bfloat16 is used"
        if measured["precision"] == "bfloat16"
        else f"{measured['precision']} is used, not bfloat16"
    )
    return f"{product}, x + 1 on 4 values {measured['small_us']:.1f} us, {used}"


def provenance(threads: int, device: str) -> dict[str, Any]:
    """Return the entries of a row that say where it was measured."""
    return {
        "hardware": origin.describe_hardware(threads, device),
        "versions": results.collect_versions(),
        "commit": origin.find_commit(),
    }


def machine_name(row: Mapping[str, Any]) -> str:
    """Return the machine that a row was measured on: its GPU where that was used, else its CPU with the number of threads."""
    hardware = row["hardware"]
    return (
        hardware["gpu"]
        or f"{hardware['cpu']} ({hardware['threads']} {'thread' if hardware['threads'] == 1 else 'threads'})"
    )


def append(file: Path, row: Mapping[str, Any]) -> None:
    """Add a row to the end of a file, all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        known = file.read_bytes() if file.is_file() else b""
        files.write_bytes(file, known + (json.dumps({"format": FORMAT, **row}) + "\n").encode())


def read(file: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a file, none if it is not there; each has the entries `needed`.

    Raises:
        ValueError: A line is not such a row, or has another format.
    """
    rows = []
    for number, line in enumerate(file.read_text().splitlines() if file.is_file() else [], start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            missing = [name for name in ("format", *needed) if name not in row]
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{file}, line {number} is not a row of JSON: remove that line") from error
        if missing:
            raise ValueError(
                f"{file}, line {number} has no {missing[0]!r}: remove that line, or give another --results"
            )
        if row["format"] != FORMAT:
            raise ValueError(
                f"{file}, line {number} has format {row['format']}, this program reads {FORMAT}: give another --results"
            )
        rows.append(row)
    return rows


def align(lines: Sequence[Sequence[str]]) -> str:
    """Lay out a table in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def align_figures(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the parts of a benchmark: a line a figure, and one a part for its seconds or its error."""
    lines = [["part", "figure", "value"]]
    for row in rows:
        lines += [
            [row["part"], name, f"{value:,.3g}" if value < 100 else f"{value:,.0f}"]
            for name, value in row["figures"].items()
        ]
        ended = "whole part, s" if row["error"] is None else f"FAILED: {row['error'].splitlines()[-1][:90]}"
        lines.append([row["part"], ended, f"{row['seconds']:.1f}"])
    return align(lines)


def images_per_second(result: Path) -> float:
    """Return the training images that a finished run saw a second, all epochs of its stages together."""
    row = files.read_json(result)
    chosen = row["options"]
    size = resolve(chosen["dataset"], image_size=chosen["image_size"]).image_size
    count = len(datasets.load(chosen["dataset"], chosen["split"], root=chosen["root"], image_size=size))
    seen = (chosen["epochs"] + chosen.get("stop_epochs", 0)) * (count // chosen["batch"] * chosen["batch"])
    return seen / max(row["train_seconds"], 0.1)  # the row has one digit


def gpu_tests(root: Path) -> list[str]:
    """Return pytest's names of the project's tests that need a GPU: those with a decorator that skips them without one."""
    found = []
    for file in sorted((root / "tests").rglob("test_*.py")):
        functions = [
            node
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        ]
        marked = [
            node.name
            for node in functions
            if any("not torch.cuda.is_available" in ast.unparse(mark) for mark in node.decorator_list)
        ]
        found += [f"{file.relative_to(root).as_posix()}::{name}" for name in marked]
    return found


def write_pictures(folder: Path, side: int, train: int, test: int) -> Path:
    """Write a folder of class folders with noise pictures of two classes, whose left or right half is brighter; return it."""
    noise = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in ("left", "right"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 128, (side, side, 3), dtype=np.uint8)
                pixels[:, slice(side // 2) if name == "left" else slice(side // 2, None)] += 100
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder
