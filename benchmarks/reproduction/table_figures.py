"""What stopping by oneself is worth, and what accuracy costs, drawn from rows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reproduction import text_table
from reproduction.spec import Table
from reproduction.text_table import Rows

from glimpse_env.evaluation import intervals
from glimpse_env.reports import plots
from glimpse_env.reports.plots import BLUE, COMPARED, GREY, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PURPLE, ORANGE, LIGHT = "#cc79a7", "#e69f00", "#9a9aa2"
Runs = Sequence[Mapping[str, Any]]
Series = tuple[str, str, str, str, Sequence[tuple[float, Sequence[float]]]]  # label, marker, line, colour; glimpses or cost, values by seed


def spread(values: Sequence[float]) -> float:
    """Return the half-width of the mean's 95 % interval over seeds; 0 for a single one."""
    return intervals.half_width(values) if len(values) > 1 else 0.0


def stopping(table: Table, group: Rows, title: str, target: Path) -> None:
    """Write what every way to stop makes of its mean number of glimpses: who lies below all others spends them best.

    Args:
        table: Which has RAMs of several numbers of glimpses, and DT-RAMs of several discounts.
        group: Its rows.
        title: Of the figure.
        target: The PNG file.
    """
    learned = {name: runs for name, runs in group.items() if all("rivals" in run for run in runs)}
    rams = {name: runs for name, runs in group.items() if table.rows[name].run.agent == "ram" and table.rows[name].by_itself}
    figure = plots.new_figure(7.6, 5.2)
    axes = figure.subplots()
    if rams:
        longest = max(rams.values(), key=lambda runs: runs[0]["mean_glimpses"])
        draw(axes, ("fixed number of glimpses, one network", "s", ":", GREY, by_step(table, longest)))
        draw(axes, ("RAM trained with a fixed number", "D", "", ORANGE, [point(table, runs) for runs in rams.values()]))
        quoted = [point(table, runs) for name, runs in group.items() if table.rows[name].threshold is not None]
        draw(axes, ("stop above a confidence", ".", "-", BLUE, sorted(quoted + by_threshold(table, longest))))
    ordered = sorted(learned.values(), key=lambda runs: statistics.fmean(run["mean_glimpses"] for run in runs))
    blind = [(glimpses(runs), [shown(table, run["random_stop_accuracy"]) for run in runs]) for runs in ordered]
    draw(axes, ("random stop, as many as DT-RAM", "x", "--", PURPLE, blind))
    draw(axes, ("DT-RAM, several discounts", "*", "-", RED, [point(table, runs) for runs in ordered]))
    name_discounts(axes, table, ordered)
    for agent, marker in (("ram", "D"), ("dtram", "o")):
        rows = [row for name, row in table.rows.items() if name in group and row.run.agent == agent and row.by_itself]
        quoted = [(row.paper_glimpses, [row.paper]) for row in rows if row.paper and row.paper_glimpses]
        draw(axes, (f"the paper's {'RAM' if agent == 'ram' else 'DT-RAM'}", marker, "", LIGHT, quoted))
    finish(axes, table, "mean glimpses per image", title)
    plots.save(figure, target)


def name_discounts(axes: Axes, table: Table, ordered: Sequence[Runs]) -> None:
    """Write each point's discount beside it, on alternating sides of the curve, which falls with the glimpses if it shows errors."""
    falls = table.measure == "error"
    for position, runs in enumerate(ordered):
        said = rf"$\gamma$ {runs[0]['options']['gamma']:g}"
        aside, side = ((6, 9 if falls else -16), "left") if position % 2 else ((-7, -13 if falls else 9), "right")
        own = {"ha": side, "fontsize": 8.5, "color": RED, "bbox": plots.LABEL, "zorder": 4}
        axes.annotate(said, point_of(table, runs), aside, textcoords="offset points", **own)


def draw(axes: Axes, series: Series) -> None:
    """Draw points with the intervals of their means."""
    label, marker, line, colour, found = series
    if not found:
        return
    wide = {"*": 13, ".": 5, "o": 5, "x": 6, "s": 4.5, "D": 6}[marker]
    places, means = [place for place, _ in found], [statistics.fmean(values) for _, values in found]
    axes.errorbar(
        places,
        means,
        yerr=[spread(values) for _, values in found],
        label=label,
        marker=marker,
        linestyle=line or "none",
        color=colour,
        markersize=wide,
        markerfacecolor="white" if colour == LIGHT else colour,
        markeredgecolor="white" if marker == "*" else colour,
        linewidth=1.4,
        elinewidth=0.9,
        capsize=2,
        zorder=5 if marker == "*" else 2,
    )


def shown(table: Table, accuracy: float) -> float:
    """Return an accuracy as the table measures, in %."""
    return 100 * (1 - accuracy) if table.measure == "error" else 100 * accuracy


def glimpses(runs: Runs) -> float:
    """Return the mean glimpses over seeds."""
    return statistics.fmean(run["mean_glimpses"] for run in runs)


def point(table: Table, runs: Runs) -> tuple[float, list[float]]:
    """Return a row's place and its values by seed."""
    return glimpses(runs), [text_table.value(table, run) for run in runs]


def point_of(table: Table, runs: Runs) -> tuple[float, float]:
    """Return where a row's mean is drawn."""
    place, values = point(table, runs)
    return place, statistics.fmean(values)


def by_step(table: Table, runs: Runs) -> list[tuple[float, list[float]]]:
    """Return what a network's answers are worth after every number of glimpses."""
    columns = zip(*(run["per_step_accuracy"] for run in runs), strict=True)
    return [(float(step), [shown(table, accuracy) for accuracy in column]) for step, column in enumerate(columns, start=1)]


def by_threshold(table: Table, runs: Runs) -> list[tuple[float, list[float]]]:
    """Return what the threshold rule makes of a network, averaged over seeds at every threshold."""
    columns = list(zip(*(run["threshold_curve"] for run in runs), strict=True))
    return [
        (statistics.fmean(one["mean_glimpses"] for one in column), [shown(table, one["accuracy"]) for one in column]) for column in columns
    ]


def finish(axes: Axes, table: Table, label: str, title: str) -> None:
    """Label the axes; errors get a logarithmic scale with plain numbers."""
    axes.set(xlabel=label, ylabel=f"{table.measure.replace('_', ' ')} (%)")
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    axes.legend(fontsize=8.5, frameon=False)
    if table.measure == "error":
        plots.log_if_positive(axes)
    plots.tidy(axes)


COSTS = (
    ("flops", 1e9, "operations per image (billions; 2 x multiply-adds)"),
    ("pixels", 1e3, "pixels per image (thousands)"),
)


def cost(series: Mapping[str, Sequence[Runs]], title: str, target: Path) -> None:
    """Write accuracy against what an image costs: operations of the sensor's network, and pixels that it is fed.

    Args:
        series: By what it is called in the legend, rows with `pixels` and `flops` (first view, later glimpse); a series is joined.
        title: Of the figure.
        target: The PNG file.
    """
    figure = plots.new_figure(10.4, 4.4)
    for axes, (key, unit, label) in zip(figure.subplots(1, 2, sharey=True), COSTS, strict=True):
        for (name, points), (colour, line), marker in zip(series.items(), cycle(COMPARED), cycle("osD^v*")):
            found = sorted(
                (statistics.fmean(spent(run, key) for run in runs) / unit, [100 * run["accuracy"] for run in runs]) for runs in points
            )
            places, means = [place for place, _ in found], [statistics.fmean(values) for _, values in found]
            ends = [spread(values) for _, values in found]
            style = {"marker": marker, "linestyle": line, "color": colour, "markersize": 5, "linewidth": 1.3}
            axes.errorbar(places, means, yerr=ends, label=name, capsize=2, elinewidth=0.9, **style)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        plots.tidy(axes)
    figure.axes[0].set_ylabel("accuracy (%)")
    figure.axes[0].set_title(title, fontsize=11, loc="left", parse_math=False)
    figure.axes[1].legend(fontsize=8.5, frameon=False)
    plots.save(figure, target)


def spent(run: Mapping[str, Any], key: str) -> float:
    """Return what an image costs on average: the first view, and every later glimpse."""
    first, later = run[key]
    return first + (run["mean_glimpses"] - 1) * later
