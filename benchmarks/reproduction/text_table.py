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

Rows = Mapping[str, Sequence[Mapping[str, Any]]]  # by the row's name, one of each seed
RESAMPLES = 2000  # of the bootstrap: a table has many intervals, and MNIST many images
About = tuple[str, str, str]  # the part of the data set, the split that was trained on, the one that was measured


def grouped(table: Table, found: Sequence[Mapping[str, Any]]) -> dict[About, dict[str, list[Mapping[str, Any]]]]:
    """Return rows by the part of the data set, what was trained on and what was measured; then by name, in the table's order."""
    groups: dict[About, dict[str, list[Mapping[str, Any]]]] = {}
    for row in sorted(found, key=lambda row: row["seed"]):
        group = groups.setdefault((row["part"], row["split"], row["measured"]), {name: [] for name in table.rows})
        if row["row"] in group:
            group[row["row"]].append(row)
    return {about: {name: one for name, one in group.items() if one} for about, group in groups.items()}


def value(table: Table, row: Mapping[str, Any]) -> float:
    """Return what the table shows of a row, in %."""
    if table.measure == "error":
        return 100 * (1 - row["accuracy"])
    return 100 * row[table.measure]


def printed(table: Table, about: About, group: Rows) -> str:
    """Return the table."""
    others = [name for name in table.against if name in group]
    width = max([len(name) for name in (*group, *table.quoted)], default=0)
    what = table.measure.replace("_", " ")
    head = f"{'':<{width}} {'paper':>14} {what + ' %':>16} {'- paper':>8} {'glimpses':>9} {'seeds':>5}  "
    lines = [*heading(table, about, group), head + "  ".join(f"{'- ' + name:>22}" for name in others) + ("  pair" if table.pairs else "")]
    lines += [f"{name:<{width}} {paper:>14g}" for name, paper in table.quoted.items()]
    for name, runs in group.items():
        ours, row = [value(table, run) for run in runs], table.rows[name]
        glimpses = statistics.fmean(run["mean_glimpses"] for run in runs)
        said = "" if row.paper is None else f"{row.paper:g}" + ("" if row.paper_glimpses is None else f" at {row.paper_glimpses:g}")
        less = "" if row.paper is None else f"{statistics.fmean(ours) - row.paper:+.2f}"
        cells = [difference(table, runs, group[other]) if other != name else "" for other in others]
        line = f"{name:<{width}} {said:>14} {intervals.over_runs(ours):>16} {less:>8} {glimpses:>9.2f} {len(runs):>5}  "
        line += "  ".join(f"{cell:>22}" for cell in cells)
        pair = table.pairs.get(name, "")
        line += f"  {difference(table, runs, group[pair])} to {pair!r}" if pair in group else ""
        lines.append(line.rstrip())
    return "\n".join(lines)


def heading(table: Table, about: About, group: Rows) -> list[str]:
    """Return what the table is about, and on what part of which data set."""
    part, split, measured = about
    first = next(iter(group.values()))[0]
    of = (
        f"{first['classes']} classes"
        if first["of_classes"] in (None, first["classes"])
        else f"{first['classes']} of {first['of_classes']} classes"
    )
    lines = [table.title, f"here: {part} ({of}), trained on {split}, {first['images']:,} images of {measured}"]
    return lines + ([f"note: {table.note}"] if table.note else [])


def difference(table: Table, first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> str:
    """Return how much a row's measure is above another's in points, with its interval; nothing if they share no seed."""
    found = paired(first, second)
    if found is None:
        return ""
    mean, low, high = found
    if table.measure == "error":
        mean, low, high = 0.0 - mean, 0.0 - high, 0.0 - low  # no -0.00
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def paired(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> tuple[float, float, float] | None:
    """Return how many points more often one row is right than another, paired over images, averaged over the seeds that both have."""
    seeds = sorted({run["seed"] for run in first} & {run["seed"] for run in second})
    return intervals.paired(rights(first, seeds), rights(second, seeds), RESAMPLES) if seeds else None


def rights(runs: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> Float[Tensor, "seed image"]:
    """Return which images the runs of these seeds got right."""
    by_seed = {run["seed"]: rows.unpacked(run["right"], run["images"]) for run in runs}
    return torch.stack([by_seed[seed] for seed in seeds]).float()
