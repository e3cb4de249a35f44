"""A table as text: the paper's number, ours with its interval, and differences between rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from reproduction import rows
from reproduction.spec import Table
from torch import Tensor

from glimpse_env.evaluation import intervals
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint

Runs = Sequence[Mapping[str, Any]]  # the rows of one name, one of each seed
Rows = Mapping[str, Runs]  # by the row's name
# Columns of the printed table, and how wide they are at least.
WIDTHS = {"paper": 14, "ours": 16, "ours - paper": 8, "accuracy %": 16, "glimpses": 9, "seeds": 5}
RESAMPLES = 2000  # of the bootstrap: a table has many intervals, and MNIST many images


class About(NamedTuple):
    """The images that rows are about."""

    part: str  # of the data set
    split: str  # that was trained on
    measured: str  # the split that was evaluated
    setting: str = ""  # network and sizes, where a table's rows were made with others than its own

    def name_file(self, start: str) -> str:
        """Return the name of a file about these images, without its suffix."""
        setting = self.setting.replace(", ", "-").replace(" ", "-").replace(":", "-")
        return "-".join([start, *map(checkpoint.file_name, self[:3]), *filter(None, [setting])])


def group_rows(table: Table, known: Runs) -> dict[About, dict[str, list[Mapping[str, Any]]]]:
    """Return rows by the images that they are about, then by name, in the table's order."""
    groups: dict[About, dict[str, list[Mapping[str, Any]]]] = {}
    for run in sorted(known, key=itemgetter("seed")):
        if run["row"] in table.rows:
            about = About(*rows.find_key(run, "part", "split", "measured"))
            groups.setdefault(about, {name: [] for name in table.rows})[run["row"]].append(run)
    return {about: {name: runs for name, runs in group.items() if runs} for about, group in groups.items()}


def to_percent(table: Table, accuracy: float) -> float:
    """Return an accuracy as the table measures, in %."""
    return 100 * (1 - accuracy) if table.measure == "error" else 100 * accuracy


def mean_glimpses(runs: Runs) -> float:
    """Return the mean glimpses over seeds."""
    return statistics.fmean(run["mean_glimpses"] for run in runs)


def list_heads(table: Table) -> list[str]:
    """Return the columns of `format_cells`, of `WIDTHS`."""
    return [name for name in WIDTHS if name != "accuracy %" or table.accuracy != "accuracy"]


def format_cells(table: Table, name: str, runs: Runs) -> list[str]:
    """Return the cells of a row: the paper's number, ours, the difference, mean glimpses, number of seeds.

    Before the glimpses stands the accuracy over images, where the measure is the mean over classes.
    """
    ours, row = [to_percent(table, run[table.accuracy]) for run in runs], table.rows[name]
    paper, less = "", ""
    if row.paper is not None:
        paper = f"{row.paper:g}" + ("" if row.paper_glimpses is None else f" at {row.paper_glimpses:g}")
        less = f"{statistics.fmean(ours) - row.paper:+.2f}"
    over_images = [] if table.accuracy == "accuracy" else [results.format_means(runs, "accuracy")]
    cells = [paper, intervals.format_mean(ours), less, *over_images]
    return [*cells, f"{mean_glimpses(runs):.2f}", str(len(runs))]


def format_table(table: Table, about: About, group: Rows) -> str:
    """Return the table."""
    others = [name for name in table.against if name in group]
    width = max([len(name) for name in (*group, *table.quoted)], default=0)
    shown = {"ours": f"{table.label} %", "ours - paper": "- paper"}
    columns = {name: shown.get(name, name) for name in list_heads(table)}
    widths = [max(WIDTHS[name], len(head)) for name, head in columns.items()]

    def line(name: str, cells: Iterable[str], differences: Sequence[str]) -> str:
        filled = " ".join(f"{cell:>{wide}}" for cell, wide in zip(cells, widths, strict=True))
        return f"{name:<{width}} {filled}  " + "  ".join(f"{cell:>22}" for cell in differences)

    heads = line("", columns.values(), [f"- {name}" for name in others])
    heads += "  pair" if table.pairs else ""
    quoted = [f"{name:<{width}} {paper:>14g}" for name, paper in table.quoted.items()]
    lines = [*describe(table, about, group), heads, *quoted]
    for name, runs in group.items():
        compared = ["" if other == name else format_difference(table, runs, group[other]) for other in others]
        pair = table.pairs.get(name, "")
        to_pair = f"  {format_difference(table, runs, group[pair])} to {pair!r}" if pair in group else ""
        lines.append((line(name, format_cells(table, name, runs), compared) + to_pair).rstrip())
    return "\n".join([*lines, *format_networks(table, group)])


def describe(table: Table, about: About, group: Rows) -> list[str]:
    """Return the table's title, the images that it is about, and its note."""
    first = next(iter(group.values()))[0]
    whole = "" if first["of_classes"] in (None, first["classes"]) else f" of {first['of_classes']}"
    here = f"here: {about.part} ({first['classes']}{whole} classes), trained on {about.split}"
    images = f"{first['images']:,} images of {about.measured}"
    note = table.notes.get(first.get("dataset", ""), table.note)
    if first["options"].get("paper"):
        note = "made with --paper, see docs/paper.md"
    notes = [note] if note else []
    if table.accuracy != "accuracy" and (table.against or table.pairs):
        notes.append("differences between rows are of the accuracy over images")
    text = [f"note: {'; '.join(notes)}"] if notes else []
    setting = f"; setting: {about.setting}" if about.setting else ""
    return [table.title, f"{here}, {images}{setting}", *text, *describe_networks(group)]


def format_difference(table: Table, first: Runs, second: Runs) -> str:
    """Return the difference of two rows in points, with its interval; empty if they share no seed."""
    difference = compare_rows(first, second)
    if difference is None:
        return ""
    mean, low, high = difference
    if table.measure == "error":
        mean, low, high = 0.0 - mean, 0.0 - high, 0.0 - low  # no -0.00
    return intervals.format_interval((mean, low, high), 2)


def compare_rows(first: Runs, second: Runs) -> tuple[float, float, float] | None:
    """Return by how many points one row is correct more often than another, and the ends of its interval.

    Paired over images, averaged over the seeds that both rows have; None = they share none. Where seeds have
    several frozen networks, the interval is over networks, their seeds and images.
    """
    seeds = {run["seed"] for run in first} & {run["seed"] for run in second}
    if not seeds:
        return None
    ours, others = ([run for run in runs if run["seed"] in seeds] for runs in (first, second))
    pairs = list(zip(split_networks(ours), split_networks(others), strict=True))
    if len(pairs) == 1:
        return intervals.compare_paired(stack_correct(ours), stack_correct(others), RESAMPLES)
    own, other = ([stack_correct(runs) for runs in side] for side in zip(*pairs, strict=True))
    return intervals.compare_networks(own, other, RESAMPLES)


def split_networks(runs: Runs) -> list[Runs]:
    """Return runs by their frozen networks, which the hash of the weights tells apart."""
    networks: dict[str | None, list[Mapping[str, Any]]] = {}
    for run in runs:
        networks.setdefault(run["weights_sha256"], []).append(run)
    return list(networks.values())


def describe_networks(group: Rows) -> list[str]:
    """Return a note on the frozen networks of the seeds, if there are several."""
    seeds = [
        ", ".join(str(run["seed"]) for run in own) for own in split_networks(max(group.values(), key=len))
    ]
    if len(seeds) == 1:
        return []
    listed = "; ".join(seeds)
    return [f"note: {len(seeds)} frozen networks, of seeds {listed}; differences with an interval over both"]


def format_networks(table: Table, group: Rows) -> list[str]:
    """Return the differences of every frozen network alone, if there are several."""
    names = [name for name in table.against if name in group]
    networks = split_networks(max(group.values(), key=len))
    lines = []
    for own in networks if len(networks) > 1 else ():
        key = own[0]["weights_sha256"]
        lines.append(f"network {str(key)[:8]} alone:")
        alone = {name: [run for run in runs if run["weights_sha256"] == key] for name, runs in group.items()}
        for name, runs in alone.items():
            others = [
                f"{format_difference(table, runs, alone[one])} to {one!r}" for one in names if one != name
            ]
            lines.append(f"  {name}: {', '.join(others)}")
    return lines


def stack_correct(runs: Runs) -> Float[Tensor, "run image"]:
    """Return which images every run predicts correctly."""
    return torch.stack([rows.unpack_bits(run["right"], run["images"]).float() for run in runs])
