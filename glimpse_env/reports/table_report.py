"""The report of several runs: rows over seeds beside the paper's, every run as a dot, and figures."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glimpse_env.evaluation import intervals
from glimpse_env.reports import page, plots, svg
from glimpse_env.reports.page import format_signed
from glimpse_env.reports.plots import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Mapping[str, Sequence[Mapping[str, Any]]]  # by the name of the line, its runs
ENTRIES = ("row", "seed", "mean_glimpses", "paper")  # of a run, and its accuracies
REMARK = "Means over runs with their 95 % interval (Student's t) where there are several runs."


def write_table(
    target: Path,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Path] | None = None,
    note: str = "",
    measure: Measure = "accuracy",
) -> None:
    """Write the report of several runs.

    Args:
        target: The HTML file.
        title: Of the page: "DT-RAM, Table 2: MNIST".
        rows: One mapping a run: `row` (its line of the table), `seed`, `accuracy` (a fraction),
            `mean_glimpses`, and `paper`: None, or what the paper reports, a mapping with `accuracy` (a
            fraction too, of `measure`) and perhaps `mean_glimpses`. Lines keep the order of their first run.
        figures: PNG files that are put into the page, by title.
        note: A remark, such as which part of a data set was available.
        measure: The accuracy that is compared. "mean_class_accuracy": every run has this entry too, and the
            error over images stands beside it.

    Raises:
        ValueError: There is no run, or one lacks an entry.
    """
    lines, name = group_by_line(rows, measure), plots.ERRORS[measure]
    heads = ["", "runs", f"{name}, %", "mean glimpses", f"paper: {name}, %", "paper: glimpses", "difference"]
    columns = len(heads) if any(runs[0]["paper"] for runs in lines.values()) else 4
    cells = [format_cells(line, runs, measure)[:columns] for line, runs in lines.items()]
    if measure != "accuracy":
        heads.insert(3, "error, %")
        for line, runs in zip(cells, lines.values(), strict=True):
            line.insert(3, format_errors(runs, "accuracy"))
        columns += 1
    table = page.format_table(heads[:columns], cells)
    head, height = f"{name[:1].upper()}{name[1:]}, %", 0.5 + 0.42 * len(lines)
    runs = svg.render_chart(head, draw_runs, lines, measure, height=height, name="chart mid")
    body = f'<header><p class="kicker">Glimpse beside the paper</p><h1>{escape(title)}</h1></header>'
    body += page.format_note(note) + page.format_section("Table", f'{table}<p class="note">{REMARK}</p>')
    body += page.format_charts("Every run", [runs])
    if figures:
        body += page.format_charts("Figures", [embed_png(name, path) for name, path in figures.items()])
    page.write(target, title, body)


def group_by_line(rows: Sequence[Mapping[str, Any]], measure: Measure) -> Lines:
    """Return the runs of every line."""
    if not rows:
        raise ValueError("rows: none, expected the row of at least one run")
    lines: dict[str, list[Mapping[str, Any]]] = {}
    needed = list(dict.fromkeys((*ENTRIES, "accuracy", measure)))
    for run in rows:
        if missing := [name for name in needed if name not in run]:
            raise ValueError(f"rows: {dict(run)} has no {missing[0]!r}; expected {', '.join(needed)}")
        lines.setdefault(str(run["row"]), []).append(run)
    return lines


def to_error(accuracy: float) -> float:
    """Return the error in percent."""
    return 100 * (1 - accuracy)


def format_errors(runs: Sequence[Mapping[str, Any]], measure: Measure) -> str:
    """Return the mean error over runs with its interval."""
    return intervals.format_mean([to_error(run[measure]) for run in runs]).replace("+-", "±")


def format_cells(name: str, runs: Sequence[Mapping[str, Any]], measure: Measure) -> list[str]:
    """Return the cells of one line."""
    errors, paper = [to_error(run[measure]) for run in runs], runs[0]["paper"] or {}
    published, spent = paper.get("accuracy"), paper.get("mean_glimpses")
    return [
        escape(name),
        str(len(runs)),
        format_errors(runs, measure),
        f"{statistics.fmean(run['mean_glimpses'] for run in runs):.2f}",
        "" if published is None else f"{to_error(published):.2f}",
        "" if spent is None else f"{spent:g}",
        "" if published is None else format_signed(statistics.fmean(errors) - to_error(published)),
    ]


def draw_runs(axes: Axes, lines: Lines, measure: Measure) -> None:
    """Draw all errors as dots, the table's lines below each other, with a tick at the paper's error."""
    named: dict[str, Any] = {}
    above: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    tick: dict[str, Any] = {"color": plots.RED, "markersize": 12, "markeredgewidth": 2}
    dot: dict[str, Any] = {"color": plots.BLUE, "markersize": 7, "markeredgecolor": "white"}
    for number, (name, runs) in enumerate(lines.items()):
        axes.annotate(name, (0, -number), (0, 6), fontsize=9, parse_math=False, **above)
        if (published := (runs[0]["paper"] or {}).get("accuracy")) is not None:
            gid = f"{name}, the paper: {to_error(published):.2f} %"
            named["the paper"] = axes.plot([to_error(published)], [-number], "|", gid=gid, **tick)[0]
        for run in runs:
            error = to_error(run[measure])
            gid = f"{name}, seed {run['seed']}: {error:.2f} %"
            named["one run"] = axes.plot([error], [-number], "o", gid=gid, **dot)[0]
    legend: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2}
    axes.legend(named.values(), named.keys(), fontsize=9, frameon=False, **legend)
    axes.set(yticks=[], ylim=(-len(lines) + 0.6, 0.8))
    axes.spines["left"].set_visible(False)
    plots.tidy(axes)


def embed_png(name: str, path: Path) -> str:
    """Return a PNG file as a figure of the page."""
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    caption = f"<figcaption>{escape(name)}</figcaption>"
    return f'<figure class="chart wide">{caption}<img src="{source}" alt="{escape(name)}"></figure>'
