"""A table in text: the paper's number, ours with its interval, and the difference; and how our rows differ from each other."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from reproduction import rows
from reproduction.spec import Table
from torch import Tensor

from glimpse_env.evaluation import intervals

Runs = Sequence[Mapping[str, Any]]  # the rows of one name, one of each seed
Rows = Mapping[str, Runs]  # by the row's name
RESAMPLES = 2000  # of the bootstrap: a table has many intervals, and MNIST many images
About = tuple[
    str, str, str
]  # the part of the data set, the split that was trained on, the one that was measured


def group_rows(table: Table, found: Runs) -> dict[About, dict[str, list[Mapping[str, Any]]]]:
    """Return rows by the part of the data set, what was trained on and what was measured; then by name, in the table's order."""
    groups: dict[About, dict[str, list[Mapping[str, Any]]]] = {}
    for row in sorted(found, key=lambda row: row["seed"]):
        group = groups.setdefault(
            (row["part"], row["split"], row["measured"]), {name: [] for name in table.rows}
        )
        if row["row"] in group:
            group[row["row"]].append(row)
    return {about: {name: one for name, one in group.items() if one} for about, group in groups.items()}


def percent(table: Table, row: Mapping[str, Any]) -> float:
    """Return what the table shows of a row, in %."""
    if table.measure == "error":
        return 100 * (1 - row["accuracy"])
    return 100 * row[table.measure]


def format_cells(table: Table, name: str, runs: Runs) -> list[str]:
    """Return the cells of a row: the paper's number, ours, the difference, mean glimpses, number of seeds."""
    ours, row = [percent(table, run) for run in runs], table.rows[name]
    glimpses = f"{statistics.fmean(run['mean_glimpses'] for run in runs):.2f}"
    paper, less = "", ""
    if row.paper is not None:
        paper = f"{row.paper:g}" + ("" if row.paper_glimpses is None else f" at {row.paper_glimpses:g}")
        less = f"{statistics.fmean(ours) - row.paper:+.2f}"
    return [paper, intervals.format_mean(ours), less, glimpses, str(len(runs))]


def format_table(table: Table, about: About, group: Rows) -> str:
    """Return the table."""
    others = [name for name in table.against if name in group]
    width = max([len(name) for name in (*group, *table.quoted)], default=0)
    what = table.measure.replace("_", " ")

    def line(name: str, cells: Sequence[str], differences: Sequence[str]) -> str:
        columns = " ".join(f"{cell:>{wide}}" for cell, wide in zip(cells, (14, 16, 8, 9, 5), strict=True))
        return f"{name:<{width}} {columns}  " + "  ".join(f"{cell:>22}" for cell in differences)

    head = line("", ("paper", f"{what} %", "- paper", "glimpses", "seeds"), [f"- {name}" for name in others])
    lines = [*describe(table, about, group), head + ("  pair" if table.pairs else "")]
    lines += [f"{name:<{width}} {paper:>14g}" for name, paper in table.quoted.items()]
    for name, runs in group.items():
        differences = [
            format_difference(table, runs, group[other]) if other != name else "" for other in others
        ]
        pair = table.pairs.get(name, "")
        to_pair = f"  {format_difference(table, runs, group[pair])} to {pair!r}" if pair in group else ""
        lines.append((line(name, format_cells(table, name, runs), differences) + to_pair).rstrip())
    return "\n".join(lines)


def describe(table: Table, about: About, group: Rows) -> list[str]:
    """Return what the table is about, and on what part of which data set."""
    part, split, measured = about
    first = next(iter(group.values()))[0]
    whole = "" if first["of_classes"] in (None, first["classes"]) else f" of {first['of_classes']}"
    here = f"here: {part} ({first['classes']}{whole} classes), trained on {split}, {first['images']:,} images of {measured}"
    return [table.title, here, *([f"note: {table.note}"] if table.note else [])]


def format_difference(table: Table, first: Runs, second: Runs) -> str:
    """Return how much a row's measure is above another's in points, with its interval; nothing if they share no seed."""
    found = compare_rows(first, second)
    if found is None:
        return ""
    mean, low, high = found
    if table.measure == "error":
        mean, low, high = 0.0 - mean, 0.0 - high, 0.0 - low  # no -0.00
    return intervals.format_interval((mean, low, high), 2)


def compare_rows(first: Runs, second: Runs) -> tuple[float, float, float] | None:
    """Return how many points more often one row is correct than another, paired over images, averaged over the seeds that both have."""
    seeds = sorted({run["seed"] for run in first} & {run["seed"] for run in second})
    return (
        intervals.compare_paired(stack_correct(first, seeds), stack_correct(second, seeds), RESAMPLES)
        if seeds
        else None
    )


def stack_correct(runs: Runs, seeds: Sequence[int]) -> Float[Tensor, "seed image"]:
    """Return which images the runs of these seeds predict correctly."""
    by_seed = {run["seed"]: rows.unpack_bits(run["right"], run["images"]) for run in runs}
    return torch.stack([by_seed[seed] for seed in seeds]).float()
