"""The figures of tables, drawn from rows: ways to stop, costs, stopping steps (DT-RAM, Figures 5 and 6), ablations (Tables 6, 8 and 9)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from reproduction import text_table
from reproduction.spec import Table
from reproduction.text_table import Rows, Runs

from glimpse_env.evaluation import intervals
from glimpse_env.reports import plots
from glimpse_env.reports.plots import BLUE, COMPARED, GREEN, GREY, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PURPLE, ORANGE, LIGHT = "#cc79a7", "#e69f00", "#9a9aa2"
SIZES = {"*": 13, ".": 5, "o": 5, "x": 6, "s": 4.5, "D": 6}  # of markers
Points = Sequence[tuple[float, Sequence[float]]]  # glimpses or cost, values by seed


def half_width(values: Sequence[float]) -> float:
    """Return the half-width of the mean's 95 % interval over seeds; 0 for a single one."""
    return intervals.compute_half_width(values) if len(values) > 1 else 0.0


def draw_stopping(table: Table, group: Rows, title: str, target: Path) -> None:
    """Write what every way to stop makes of its mean number of glimpses: who lies below all others spends them best.

    Args:
        table: Which has RAMs of several numbers of glimpses, and DT-RAMs of several discounts.
        group: Its rows.
        title: Of the figure.
        target: The PNG file.
    """
    rows = {name: row for name, row in table.rows.items() if name in group}
    rams = [group[name] for name, row in rows.items() if row.run.agent == "ram" and row.by_itself]
    learned = [runs for runs in group.values() if all("rivals" in run for run in runs)]
    learned.sort(key=mean_glimpses)
    figure = plots.create_figure(7.6, 5.2)
    axes = figure.subplots()
    if rams:
        longest = max(rams, key=lambda runs: runs[0]["mean_glimpses"])
        draw_points(
            axes, "fixed number of glimpses, one network", "s", ":", GREY, points_by_step(table, longest)
        )
        draw_points(
            axes, "RAM trained with a fixed number", "D", "", ORANGE, [locate(table, runs) for runs in rams]
        )
        quoted = [locate(table, group[name]) for name, row in rows.items() if row.threshold is not None]
        draw_points(
            axes,
            "stop above a confidence",
            ".",
            "-",
            BLUE,
            sorted(quoted + points_by_threshold(table, longest)),
        )
    blind = [
        (mean_glimpses(runs), [percent(table, run["random_stop_accuracy"]) for run in runs])
        for runs in learned
    ]
    draw_points(axes, "random stop, as many as DT-RAM", "x", "--", PURPLE, blind)
    draw_points(axes, "DT-RAM, several discounts", "*", "-", RED, [locate(table, runs) for runs in learned])
    name_discounts(axes, table, learned)
    for agent, marker, name in (("ram", "D", "RAM"), ("dtram", "o", "DT-RAM")):
        own = [row for row in rows.values() if row.run.agent == agent and row.by_itself]
        papers = [(row.paper_glimpses, [row.paper]) for row in own if row.paper and row.paper_glimpses]
        draw_points(axes, f"the paper's {name}", marker, "", LIGHT, papers)
    axes.set(xlabel="mean glimpses per image", ylabel=f"{table.measure.replace('_', ' ')} (%)")
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    axes.legend(fontsize=8.5, frameon=False)
    if table.measure == "error":
        plots.set_log_scale(axes)
    plots.tidy(axes)
    plots.save(figure, target)


def name_discounts(axes: Axes, table: Table, learned: Sequence[Runs]) -> None:
    """Write each point's discount beside it, on alternating sides of the curve, which falls with the glimpses if it shows errors."""
    falls = table.measure == "error"
    for position, runs in enumerate(learned):
        label = rf"$\gamma$ {runs[0]['options']['gamma']:g}"
        aside, side = (
            ((6, 9 if falls else -16), "left") if position % 2 else ((-7, -13 if falls else 9), "right")
        )
        glimpses, values = locate(table, runs)
        style = {"ha": side, "fontsize": 8.5, "color": RED, "bbox": plots.LABEL, "zorder": 4}
        axes.annotate(label, (glimpses, statistics.fmean(values)), aside, textcoords="offset points", **style)


def draw_points(axes: Axes, label: str, marker: str, line: str, colour: str, points: Points) -> None:
    """Draw points with the intervals of their means."""
    if not points:
        return
    axes.errorbar(
        [place for place, _ in points],
        [statistics.fmean(values) for _, values in points],
        yerr=[half_width(values) for _, values in points],
        label=label,
        marker=marker,
        linestyle=line or "none",
        color=colour,
        markersize=SIZES[marker],
        markerfacecolor="white" if colour == LIGHT else colour,
        markeredgecolor="white" if marker == "*" else colour,
        linewidth=1.4,
        elinewidth=0.9,
        capsize=2,
        zorder=5 if marker == "*" else 2,
    )


def percent(table: Table, accuracy: float) -> float:
    """Return an accuracy as the table measures, in %."""
    return 100 * (1 - accuracy) if table.measure == "error" else 100 * accuracy


def mean_glimpses(runs: Runs) -> float:
    """Return the mean glimpses over seeds."""
    return statistics.fmean(run["mean_glimpses"] for run in runs)


def locate(table: Table, runs: Runs) -> tuple[float, list[float]]:
    """Return a row's mean glimpses and its values by seed."""
    return mean_glimpses(runs), [text_table.percent(table, run) for run in runs]


def points_by_step(table: Table, runs: Runs) -> list[tuple[float, list[float]]]:
    """Return how a network's predictions fare after every number of glimpses."""
    columns = zip(*(run["per_step_accuracy"] for run in runs), strict=True)
    return [
        (float(step), [percent(table, accuracy) for accuracy in column])
        for step, column in enumerate(columns, start=1)
    ]


def points_by_threshold(table: Table, runs: Runs) -> list[tuple[float, list[float]]]:
    """Return what the threshold rule makes of a network, averaged over seeds at every threshold."""
    columns = zip(*(run["threshold_curve"] for run in runs), strict=True)
    return [
        (mean_glimpses(column), [percent(table, one["accuracy"]) for one in column]) for column in columns
    ]


COSTS = (
    ("flops", 1e9, "operations per image (billions; 2 x multiply-adds)"),
    ("pixels", 1e3, "pixels per image (thousands)"),
)


def draw_cost(series: Mapping[str, Sequence[Runs]], title: str, target: Path) -> None:
    """Write accuracy against what an image costs: operations of the sensor's network, and pixels that it is fed.

    Args:
        series: By what it is called in the legend, rows with `pixels` and `flops` (first view, later glimpse); a series is joined.
        title: Of the figure.
        target: The PNG file.
    """
    figure = plots.create_figure(10.4, 4.4)
    for axes, (key, unit, label) in zip(figure.subplots(1, 2, sharey=True), COSTS, strict=True):
        for (name, points), (colour, line), marker in zip(series.items(), cycle(COMPARED), cycle("osD^v*")):
            accuracies = [[100 * run["accuracy"] for run in runs] for runs in points]
            costs = [statistics.fmean(cost(run, key) for run in runs) / unit for runs in points]
            places, values = zip(*sorted(zip(costs, accuracies, strict=True)), strict=True)
            means, ends = [statistics.fmean(one) for one in values], [half_width(one) for one in values]
            style = {"marker": marker, "linestyle": line, "color": colour, "markersize": 5, "linewidth": 1.3}
            axes.errorbar(places, means, yerr=ends, label=name, capsize=2, elinewidth=0.9, **style)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        plots.tidy(axes)
    figure.axes[0].set_ylabel("accuracy (%)")
    figure.axes[0].set_title(title, fontsize=11, loc="left", parse_math=False)
    figure.axes[1].legend(fontsize=8.5, frameon=False)
    plots.save(figure, target)


def cost(run: Mapping[str, Any], key: str) -> float:
    """Return what an image costs on average: the first view, and every later glimpse."""
    first, later = run[key]
    return first + (run["mean_glimpses"] - 1) * later


def draw_histogram(group: Rows, title: str, target: Path) -> None:
    """Write how many images stop after each number of glimpses (DT-RAM, Figures 5 and 6): means over seeds, and their ranges."""
    figure = plots.create_figure(6.4, 3.8)
    axes = figure.subplots()
    width = 0.8 / len(group)
    for position, ((name, runs), (colour, _)) in enumerate(zip(group.items(), COMPARED, strict=False)):
        shares = np.asarray([100 * np.asarray(run["glimpse_histogram"]) / run["images"] for run in runs])
        steps = np.arange(1, shares.shape[1] + 1) + (position - (len(group) - 1) / 2) * width
        ends = [shares.mean(0) - shares.min(0), shares.max(0) - shares.mean(0)]
        hatch, label = "" if position == 0 else "///", f"{name}: mean {mean_glimpses(runs):.2f}"
        bars = {"color": colour, "label": label, "hatch": hatch, "edgecolor": "white", "linewidth": 0.6}
        axes.bar(steps, shares.mean(0), width, yerr=ends, ecolor=GREY, capsize=2, **bars)
    axes.set(xlabel="glimpses before stopping", ylabel="share of test images (%)")
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    plots.set_whole_ticks(axes)
    axes.legend(fontsize=9, frameon=False)
    plots.tidy(axes)
    plots.save(figure, target)


ABLATIONS = {
    "grown, supervised": ("with curriculum and supervision (Table 6)", "o", "-", BLUE),
    "not grown": ("without curriculum (Table 8)", "s", "--", RED),
    "not supervised": ("without supervision (Table 9)", "^", "-.", GREEN),
}


Gains = Mapping[int, tuple[float, float, float]]  # by number of glimpses, in points with their 95 % interval


def draw_ablations(curves: Mapping[str, tuple[Gains, Sequence[float]]], title: str, target: Path) -> None:
    """Write what glimpses add to one view, with and without curriculum and intermediate supervision (DT-RAM, Tables 6, 8 and 9).

    Args:
        curves: By the key of `ABLATIONS`: the gains over one view; the paper's accuracies from one glimpse on.
        title: Of our panel.
        target: The PNG file.
    """
    figure = plots.create_figure(9.6, 4.2)
    ours, paper = figure.subplots(1, 2, sharey=True)
    for name, (found, quoted) in curves.items():
        label, marker, line, colour = ABLATIONS[name]
        style = {
            "label": label,
            "marker": marker,
            "linestyle": line,
            "color": colour,
            "markersize": 5,
            "linewidth": 1.5,
        }
        steps = sorted(found)
        middle = np.asarray([found[step][0] for step in steps])
        ends = np.abs(np.asarray([found[step][1:] for step in steps]).T - middle)
        ours.errorbar(steps, middle, yerr=ends, capsize=2, elinewidth=0.9, **style)
        paper.plot(range(1, len(quoted) + 1), np.asarray(quoted) - quoted[0], **style)
    for axes, head in ((ours, title), (paper, "the paper: CUB-200-2011")):
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xlabel("glimpses")
        plots.set_whole_ticks(axes)
        axes.set_title(head, fontsize=10, loc="left", parse_math=False)
        plots.tidy(axes)
    ours.set_ylabel("accuracy above one view (points)")
    paper.legend(fontsize=8.5, frameon=False)
    plots.save(figure, target)
