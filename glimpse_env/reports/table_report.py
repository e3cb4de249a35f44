"""The report of several runs: rows over seeds beside the paper's figures, every run as a dot, and figures that were drawn elsewhere."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glimpse_env.evaluation import intervals
from glimpse_env.reports import page, plots, svg
from glimpse_env.reports.page import escape, format_signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Mapping[str, Sequence[Mapping[str, Any]]]  # by the name of the line, its runs


def write_table(
    target: Path,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Path] | None = None,
    note: str = "",
    measure: str = "error",
) -> None:
    """Write the report of several runs.

    Args:
        target: The HTML file.
        title: Of the page: "DT-RAM, Table 2: MNIST".
        rows: One mapping a run: `row` (its line of the table), `seed`, `accuracy` (a fraction), `mean_glimpses`, and `paper`: None, or
            what the paper reports, a mapping with `accuracy` (a fraction too) and perhaps `mean_glimpses`. Lines keep the order of their
            first run.
        figures: PNG files that are put into the page, by title.
        note: A remark, such as which part of a data set was available.
        measure: Name of 1 - `accuracy`, such as "mean class error".

    Raises:
        ValueError: There is no run, or one lacks an entry.
    """
    lines = group_by_line(rows)
    heads = [
        "",
        "runs",
        f"{escape(measure)}, %",
        "mean glimpses",
        f"paper: {escape(measure)}, %",
        "paper: glimpses",
        "difference",
    ]
    columns = len(heads) if any(runs[0]["paper"] for runs in lines.values()) else 4
    table = page.format_table(heads[:columns], [format_cells(*line)[:columns] for line in lines.items()])
    height = 0.5 + 0.42 * len(lines)
    runs = svg.render_chart(
        f"{measure[:1].upper()}{measure[1:]}, %", draw_runs, lines, height=height, name="chart mid"
    )
    body = f'<header><p class="kicker">Glimpse beside the paper</p><h1>{escape(title)}</h1></header>'
    body += f'<p class="note">{escape(note)}</p>' if note else ""
    body += f"<section><h2>Table</h2>{table}"
    body += '<p class="note">Means over runs with their 95 % interval (Student\'s t) where there are several runs.</p></section>'
    body += f'<section><h2>Every run</h2><div class="charts">{runs}</div></section>'
    if figures:
        drawn = "".join(embed_png(name, path) for name, path in figures.items())
        body += f'<section><h2>Figures</h2><div class="charts">{drawn}</div></section>'
    page.write(target, title, body)


def group_by_line(rows: Sequence[Mapping[str, Any]]) -> Lines:
    """Return the runs of every line."""
    if not rows:
        raise ValueError("rows: none, expected the row of at least one run")
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for run in rows:
        if missing := [
            name for name in ("row", "seed", "accuracy", "mean_glimpses", "paper") if name not in run
        ]:
            raise ValueError(
                f"rows: {dict(run)} has no {missing[0]!r}; expected row, seed, accuracy, mean_glimpses and paper"
            )
        lines.setdefault(str(run["row"]), []).append(run)
    return lines


def to_error(accuracy: float) -> float:
    """Return the error in percent."""
    return 100 * (1 - accuracy)


def format_cells(name: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cells of one line."""
    errors, paper = [to_error(run["accuracy"]) for run in runs], runs[0]["paper"] or {}
    published = paper.get("accuracy")
    return [
        escape(name),
        str(len(runs)),
        intervals.format_mean(errors).replace("+-", "±"),
        f"{statistics.fmean(run['mean_glimpses'] for run in runs):.2f}",
        "" if published is None else f"{to_error(published):.2f}",
        "" if paper.get("mean_glimpses") is None else f"{paper['mean_glimpses']:g}",
        "" if published is None else format_signed(statistics.fmean(errors) - to_error(published)),
    ]


def draw_runs(axes: Axes, lines: Lines) -> None:
    """Draw the errors of all runs as dots, a line of the table below the other, with a tick at the paper's."""
    named: dict[str, Any] = {}
    for place, (name, runs) in enumerate(lines.items()):
        above: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "parse_math": False,
        }
        axes.annotate(name, (0, -place), (0, 6), fontsize=9, **above)
        if (published := (runs[0]["paper"] or {}).get("accuracy")) is not None:
            tick = {
                "color": plots.RED,
                "markersize": 12,
                "markeredgewidth": 2,
                "gid": f"{name}, the paper: {to_error(published):.2f} %",
            }
            named["the paper"] = axes.plot([to_error(published)], [-place], "|", **tick)[0]
        for run in runs:
            error = to_error(run["accuracy"])
            gid = f"{name}, seed {run['seed']}: {error:.2f} %"
            named["one run"] = axes.plot(
                [error], [-place], "o", color=plots.BLUE, markersize=7, markeredgecolor="white", gid=gid
            )[0]
    axes.legend(
        named.values(),
        named.keys(),
        fontsize=9,
        frameon=False,
        ncols=2,
        loc="lower right",
        bbox_to_anchor=(1, 1),
    )
    axes.set(yticks=[], ylim=(-len(lines) + 0.6, 0.8))
    axes.spines["left"].set_visible(False)
    plots.tidy(axes)


def embed_png(name: str, path: Path) -> str:
    """Return a PNG file as a figure of the page."""
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return f'<figure class="chart wide"><figcaption>{escape(name)}</figcaption><img src="{source}" alt="{escape(name)}"></figure>'
