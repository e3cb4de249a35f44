"""The report of a table: its rows over seeds beside the paper's figures, every run as a dot, and figures that were drawn elsewhere."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glimpse_env.evaluation import intervals
from glimpse_env.reports import page
from glimpse_env.reports.charts import RIGHT, WIDTH, Axis, figure, spread
from glimpse_env.reports.page import signed, text

LINE, TOP = 30, 14  # pixels: height of a row of the dots, space above them


def write_table(
    target: Path,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Path] | None = None,
    note: str = "",
    measure: str = "error",
) -> None:
    """Write the report of a table of runs.

    Args:
        target: The HTML file.
        title: What the table is: "DT-RAM, Table 2: MNIST".
        rows: One mapping a run: `row` (its line of the table), `seed`, `accuracy` (a fraction), `mean_glimpses`, and `paper`: None, or
            what the paper reports, a mapping with `accuracy` (a fraction too) and perhaps `mean_glimpses`. Lines keep the order of their
            first run.
        figures: PNG files that are put into the page, by what they show.
        note: A remark of the reader's concern, such as which part of a data set was there.
        measure: What 1 - `accuracy` is called, such as "mean class error".

    Raises:
        ValueError: There is no run, or one lacks an entry.
    """
    lines = grouped(rows)
    heads = ["", "runs", f"{text(measure)}, %", "mean glimpses", f"paper: {text(measure)}, %", "paper: glimpses", "difference"]
    columns = len(heads) if any(runs[0]["paper"] for runs in lines.values()) else 4  # without what no paper has
    body = f'<header><p class="kicker">Glimpse beside the paper</p><h1>{text(title)}</h1></header>'
    body += f'<p class="note">{text(note)}</p>' if note else ""
    explained = "Means over runs with the 95 % interval of the mean (Student's t) where there are several."
    body += f"<section><h2>Table</h2>{page.table(heads[:columns], [cells(*line)[:columns] for line in lines.items()])}"
    body += f'<p class="note">{text(explained)}</p></section>'
    body += f'<section><h2>Every run</h2><div class="charts">{dots(lines, measure)}</div></section>'
    if figures:
        drawn = "".join(embedded(name, path) for name, path in figures.items())
        body += f'<section><h2>Figures</h2><div class="charts">{drawn}</div></section>'
    page.write(target, title, body)


def grouped(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the runs of every line."""
    if not rows:
        raise ValueError("rows: none, expected the row of at least one run")
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for run in rows:
        if missing := [name for name in ("row", "seed", "accuracy", "mean_glimpses", "paper") if name not in run]:
            raise ValueError(f"rows: {dict(run)} has no {missing[0]!r}; expected row, seed, accuracy, mean_glimpses and paper")
        lines.setdefault(str(run["row"]), []).append(run)
    return lines


def error(accuracy: float) -> float:
    """Return the error in percent."""
    return 100 * (1 - accuracy)


def cells(name: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cells of one line."""
    errors, paper = [error(run["accuracy"]) for run in runs], runs[0]["paper"] or {}
    published = paper.get("accuracy")
    return [
        text(name),
        str(len(runs)),
        intervals.over_runs(errors).replace("+-", "±"),
        f"{statistics.fmean(run['mean_glimpses'] for run in runs):.2f}",
        "" if published is None else f"{error(published):.2f}",
        "" if paper.get("mean_glimpses") is None else f"{paper['mean_glimpses']:g}",
        "" if published is None else signed(statistics.fmean(errors) - error(published)),
    ]


def dots(lines: Mapping[str, Sequence[Mapping[str, Any]]], measure: str) -> str:
    """Return the errors of all runs as dots, a line each, with a tick where the paper's lies."""
    published = {name: error(runs[0]["paper"]["accuracy"]) for name, runs in lines.items() if (runs[0]["paper"] or {}).get("accuracy")}
    values = [error(run["accuracy"]) for runs in lines.values() for run in runs] + list(published.values())
    axis = Axis(*spread(min(values), max(values), 0.08), 12, WIDTH - RIGHT)
    bottom = TOP + LINE * len(lines)
    parts = []
    for value in axis.ticks():
        x = axis.place(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    for number, (name, runs) in enumerate(lines.items()):
        y = TOP + LINE * (number + 0.72)
        parts.append(f'<text class="small" x="12" y="{y - 9:.1f}">{text(name)}</text>')
        if name in published:
            x = axis.place(published[name])
            parts.append(f'<line class="curve b" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 6:.1f}" y2="{y + 6:.1f}"/>')
        for run in runs:
            told = text(f"{name}, seed {run['seed']}: {error(run['accuracy']):.2f} %")
            x = axis.place(error(run["accuracy"]))
            parts.append(f'<circle class="dot a" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{told}</title></circle>')
    keys = '<span><i class="a dots"></i>one run</span>' + ('<span><i class="b"></i>the paper</span>' if published else "")
    each = (" ".join([name, *(f"{error(run['accuracy']):.2f}" for run in runs)]) for name, runs in lines.items())
    title = f"{measure[:1].upper()}{measure[1:]}, %"
    return figure(title, "".join(parts), keys, f"{title}, run by run: {'; '.join(each)}", bottom + 26, "chart mid")


def embedded(name: str, path: Path) -> str:
    """Return a PNG file as a figure of the page."""
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return f'<figure class="chart wide"><figcaption>{text(name)}</figcaption><img src="{source}" alt="{text(name)}"></figure>'
