"""Error against seconds, from the rows of benchmarks/time_to_accuracy.py: a panel a machine, a colour a schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glimpse_env.reports import plots

if TYPE_CHECKING:  # plots imports it when a figure is drawn
    from matplotlib.axes import Axes

Runs = Sequence[Mapping[str, Any]]


def draw(groups: Mapping[tuple[str, str], Runs], target: Path) -> None:
    """Write the figure.

    Args:
        groups: Rows of several seeds, by machine and schedule.
        target: The PNG file.
    """
    machines = list(dict.fromkeys(machine for machine, _ in groups))
    figure = plots.create_figure(5.4 * len(machines), 4.2)
    for axes, machine in zip(figure.subplots(1, len(machines), squeeze=False)[0], machines, strict=True):
        own = {schedule: rows for (where, schedule), rows in groups.items() if where == machine}
        for (schedule, rows), (colour, style) in zip(own.items(), cycle(plots.COMPARED)):
            schedule_curves(axes, schedule, rows, colour, style)
        axes.set_title(machine, fontsize=9, loc="left", parse_math=False)
        finish(axes)
    target.parent.mkdir(parents=True, exist_ok=True)
    plots.save(figure, target)


def schedule_curves(axes: Axes, schedule: str, rows: Runs, colour: str, style: Any) -> None:
    """Draw the held-out error of each seed as a line, and its test error as a mark."""
    for row in rows:
        seconds, errors = (
            [point["seconds"] for point in row["curve"]],
            [point["error"] for point in row["curve"]],
        )
        axes.plot(seconds, errors, color=colour, linestyle=style, linewidth=1.2, alpha=0.8)
    ends = [row["seconds"] for row in rows], [row["error"] for row in rows]
    axes.plot(
        *ends, color=colour, linestyle="", marker="*", markersize=9, markeredgecolor="white", label=schedule
    )


def finish(axes: Axes) -> None:
    """Label the axes; both are logarithmic where all values are positive."""
    from matplotlib.ticker import FuncFormatter

    plots.set_log_scale(axes)
    if all(value > 0 for line in axes.lines for value in line.get_xdata()):  # pyright: ignore[reportGeneralTypeIssues]
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("seconds (lines: of training; stars: of the whole command)")
    axes.set_ylabel("error % (lines: held-out images; stars: test images)")
    axes.legend(fontsize=8, frameon=False)
    plots.tidy(axes)
