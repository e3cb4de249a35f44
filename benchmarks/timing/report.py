"""Table and figure of benchmarks/time_to_accuracy.py, from its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from timing import timed

from glimpse_env.evaluation import intervals
from glimpse_env.reports import plots, published

if TYPE_CHECKING:  # plots imports it when a figure is drawn
    from matplotlib.axes import Axes

PAPER = published.read_table("DT-RAM", "Table 2", "mnist")
# Error in % and mean glimpses, at most.
TARGETS = {
    "DT-RAM-1 of the paper": (PAPER["DT-RAM, gamma 0.98"].value, PAPER["DT-RAM, gamma 0.98"].glimpses),
    "DT-RAM-2 of the paper": (PAPER["DT-RAM, gamma 0.99"].value, PAPER["DT-RAM, gamma 0.99"].glimpses),
    "0.9 % at 2.2": (0.9, 2.2),
    "0.75 % at 2.2": (0.75, 2.2),
}
Runs = Sequence[Mapping[str, Any]]
Groups = Mapping[str, Mapping[str, Runs]]  # by machine and schedule, a row of each seed


def grouped(rows: Runs) -> Groups:
    """Return the last row of each seed by machine and schedule."""
    last = {(timed.machine_name(row), row["schedule"], row["seed"]): row for row in rows}
    groups: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for (machine, schedule, _), row in last.items():
        groups.setdefault(machine, {}).setdefault(schedule, []).append(row)
    return groups


def fastest(schedules: Mapping[str, Runs], target: tuple[float, float]) -> str:
    """Return a machine's fastest schedule whose means over seeds meet the target (error, glimpses)."""
    met = []
    for schedule, rows in schedules.items():
        names = ("seconds", "error", "mean_glimpses")
        seconds, error, glimpses = (fmean(row[name] for row in rows) for name in names)
        if error <= target[0] and glimpses <= target[1]:
            met.append((seconds, schedule, len(rows)))
    if not met:
        return "not reached"
    seconds, schedule, seeds = min(met)
    return f"{seconds:.0f} s ({schedule}; {seeds} seed{'s' * (seeds != 1)})"


def report(rows: Runs) -> str:
    """Return a table of each machine (95 % intervals over seeds), then one of the seconds to each target."""
    groups = grouped(rows)
    head = ["schedule", "seeds", "total s", "training s", "error %", "mean glimpses", "commit"]
    blocks = []
    for machine, schedules in groups.items():
        newest = next(row for row in reversed(rows) if timed.machine_name(row) == machine)
        body = [line(schedule, runs) for schedule, runs in schedules.items()]
        blocks.append(f"{machine}: {timed.describe_speed(newest['speed'])}\n{timed.align([head, *body])}")
    table = [["target (error at glimpses, at most)", *groups]]
    for name, (error, glimpses) in TARGETS.items():
        shown = f"{error} % at {glimpses}"
        cells = [fastest(schedules, (error, glimpses)) for schedules in groups.values()]
        table.append([shown if name == shown else f"{shown}, {name}", *cells])
    return "\n\n".join([*blocks, timed.align(table)])


def line(schedule: str, rows: Runs) -> list[str]:
    """Return the table's line of a schedule."""
    names = ("seconds", "train_seconds", "error", "mean_glimpses")
    figures = [intervals.format_mean([row[name] for row in rows]) for name in names]
    commits = {f"{row['commit'][:7]}{row['commit'][40:]}" if row["commit"] else "unknown" for row in rows}
    return [schedule, str(len(rows)), *figures, ", ".join(sorted(commits))]


def draw(groups: Groups, target: Path) -> None:
    """Write error against seconds as a PNG file: a panel for each machine, a colour for each schedule."""
    figure = plots.create_figure(5.4 * len(groups), 4.2)
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (machine, schedules) in zip(panels, groups.items(), strict=True):
        for (schedule, rows), (colour, style) in zip(schedules.items(), cycle(plots.COMPARED)):
            draw_schedule(axes, schedule, rows, colour, style)
        axes.set_title(machine, fontsize=9, loc="left", parse_math=False)
        finish(axes)
    plots.save(figure, target)


def draw_schedule(axes: Axes, schedule: str, rows: Runs, colour: str, style: Any) -> None:
    """Draw the held-out error of each seed as a line, and its test error as a mark."""
    for row in rows:
        seconds, errors = ([point[name] for point in row["curve"]] for name in ("seconds", "error"))
        axes.plot(seconds, errors, color=colour, linestyle=style, linewidth=1.2, alpha=0.8)
    seconds, errors = ([row[name] for row in rows] for name in ("seconds", "error"))
    star = {"marker": "*", "markersize": 9, "markeredgecolor": "white", "linestyle": ""}
    axes.plot(seconds, errors, color=colour, label=schedule, **star)


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
