"""Do they look? The fixations of every agent on every task whose target is known, as one table for a page."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reproduction import rows

from glimpse_env.evaluation import intervals
from glimpse_env.reports.fixation_table import TARGETS, format_number

# By task: the rows of tables on a data set, as (table, data set, names).
TASKS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "translated": (("ram-1", "translated-mnist", ("RAM 8", "DT-RAM (gamma .995)")),),
    "cluttered": (("ram-2", "cluttered-mnist", ("RAM 8", "DT-RAM (gamma .995)", "random, 8")),),
    "cluttered 100": (
        ("ram-2-100", "cluttered-mnist-100", ("RAM 8", "DT-RAM (gamma .995)", "random, 8")),
        ("zoom", "cluttered-mnist-100", ("window 2", "window 4", "zoom 1 to 4")),
    ),
    "clutter": (
        ("clutter", "clutter", ("RAM", "DT-RAM (gamma .995)", "Sermanet", "random", "Sermanet, random")),
        ("fcan-clutter", "clutter", ("whole + all parts",)),
    ),
    "CUB-50": (
        ("locators", "cub", ("RAM, from the map", "DT-RAM, from the map (gamma .99)", "centre", "random")),
        ("sermanet-1", "cub", ("high, 3", "all, 3")),
        ("fcan-6", "cub", ("whole + all parts",)),
    ),
}
NAMES = {"whole + all parts": "FCAN", "high, 3": "Sermanet, high", "all, 3": "Sermanet, all"}
HEADS = ("task", "agent", "seeds", "glimpses", "on target, %", "images found, %", "found - random")
HEADS += ("first hit", "distinct cells", "on the border, %", "distance")
ABOUT = (
    'Cells are "agent / as many random places / fixed path", means over seeds. Glimpses: those whose '
    "places the agent chose. On target: the share of these. Found - random: in points, mean over seeds "
    "+- 95 %. First hit: the glimpse that first is on the target, where one is. Distinct cells: of the "
    "agent's grid, in an image. Distance: from the agent's own mean path, in halves of the image. The "
    "target is the centre of the digit or glyph in the smallest window, on CUB-50 the bird's box."
)
WIDTH = 140  # characters of a line of text
BOTH, THREE = ("", "_chance"), ("", "_chance", "_path")


def read_runs(results: Path, table: str, dataset: str, name: str) -> list[dict[str, Any]]:
    """Return the rows of this name on test images whose fixations were measured, of one setting."""
    known = rows.read(rows.path_of(results, table, dataset))
    runs = [row for row in known if row["row"] == name and row["measured"] == "test" and "fixations" in row]
    return [row for row in runs if row.get("setting") == runs[0].get("setting")]


def join(
    runs: Sequence[Mapping[str, Any]], name: str, kinds: Sequence[str], digits: int, scale: float
) -> str:
    """Return the means over runs of an entry of each kind, "-" where no run has it."""
    means = []
    for kind in kinds:
        values = [run[name + kind] for run in runs if run.get(name + kind) is not None]
        means.append(format_number(statistics.fmean(values) if values else None, digits, scale))
    return " / ".join(means)


def list_cells(task: str, name: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cells of an agent's line."""
    spread = [run["fixations"] for run in runs]
    hits = [run[entry] for run in runs for entry in TARGETS if "any_path" in run.get(entry, {})]
    minus = [100 * one["any_minus_chance"][0] for one in hits]
    return [
        *(task, NAMES.get(name, name), str(len(runs)), join(spread, "per_image", ("",), 1, 1)),
        *(join(hits, "fixation", THREE, 1, 100), join(hits, "any", THREE, 1, 100)),
        *(intervals.format_mean(minus) if minus else "", join(hits, "first_hit", THREE, 2, 1)),
        *(join(spread, "cells", BOTH, 2, 1), join(spread, "border", BOTH, 1, 100)),
        join(spread, "path_distance", BOTH, 2, 1),
    ]


def list_lines(results: Path) -> Iterator[list[str]]:
    """Yield the lines of agents with rows, task by task."""
    for task, parts in TASKS.items():
        for table, dataset, names in parts:
            for name in names:
                if runs := read_runs(results, table, dataset, name):
                    yield list_cells(task, name, runs)


def format_page(results: Path) -> str:
    """Return the table for a page."""
    lines = [f"| {' | '.join(cells)} |" for cells in list_lines(results)]
    if not lines:
        return "No rows yet; `python benchmarks/reproduce.py ram-2` makes some."
    aligned = "|".join(["---", "---", *["---:"] * (len(HEADS) - 2)])
    return "\n".join([textwrap.fill(ABOUT, WIDTH), "", f"| {' | '.join(HEADS)} |", f"|{aligned}|", *lines])
