"""The tables of benchmarks/time_to_accuracy.py, from its rows: seconds and error of every schedule, and the seconds to each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from timing import timed

from glimpse_env.evaluation import intervals
from glimpse_env.reports import published

PAPER = published.read_table("DT-RAM", "Table 2", "mnist")
# Error in % and mean glimpses, at most.
TARGETS = {
    "DT-RAM-1 of the paper": (PAPER["DT-RAM, gamma 0.98"].value, PAPER["DT-RAM, gamma 0.98"].glimpses),
    "DT-RAM-2 of the paper": (PAPER["DT-RAM, gamma 0.99"].value, PAPER["DT-RAM, gamma 0.99"].glimpses),
    "0.9 % at 2.2": (0.9, 2.2),
    "0.75 % at 2.2": (0.75, 2.2),
}
Row = Mapping[str, Any]
Groups = dict[tuple[str, str], list[Row]]  # by machine and schedule, a row of each seed


def grouped(rows: Sequence[Row]) -> Groups:
    """Return the last row of each seed by machine and schedule."""
    last = {(timed.machine_name(row), row["schedule"], row["seed"]): row for row in rows}
    groups: Groups = {}
    for (machine, schedule, _), row in last.items():
        groups.setdefault((machine, schedule), []).append(row)
    return groups


def mean(rows: Sequence[Row], name: str) -> float:
    """Return the mean of an entry over seeds."""
    return fmean(row[name] for row in rows)


def fastest(groups: Groups, machine: str, target: tuple[float, float]) -> str:
    """Return the seconds and name of the machine's fastest schedule whose means over seeds meet the target (error, glimpses)."""
    met = [
        (mean(rows, "seconds"), schedule, len(rows))
        for (where, schedule), rows in groups.items()
        if where == machine and mean(rows, "error") <= target[0] and mean(rows, "mean_glimpses") <= target[1]
    ]
    if not met:
        return "not reached"
    seconds, schedule, seeds = min(met)
    return f"{seconds:.0f} s ({schedule}; {seeds} {'seed' if seeds == 1 else 'seeds'})"


def report(rows: Sequence[Row]) -> str:
    """Return the tables: every machine and schedule with 95 % intervals over seeds, then the seconds to each target, a column a machine."""
    groups = grouped(rows)
    machines = list(dict.fromkeys(machine for machine, _ in groups))
    lines = [["schedule", "seeds", "total s", "training s", "error %", "mean glimpses", "commit"]]
    blocks = []
    for machine in machines:
        own = {schedule: found for (where, schedule), found in groups.items() if where == machine}
        body = [line(schedule, found) for schedule, found in own.items()]
        newest = next(row for row in reversed(rows) if timed.machine_name(row) == machine)
        blocks.append(f"{machine}: {timed.describe_speed(newest['speed'])}\n{timed.align(lines + body)}")
    table = [["target (error at glimpses, at most)", *machines]]
    for name, (error, glimpses) in TARGETS.items():
        shown = f"{error} % at {glimpses}"
        table.append(
            [
                shown if name == shown else f"{shown}, {name}",
                *(fastest(groups, where, (error, glimpses)) for where in machines),
            ]
        )
    return "\n\n".join([*blocks, timed.align(table)])


def line(schedule: str, rows: Sequence[Row]) -> list[str]:
    """Return the table's line of a schedule."""
    figures = [
        intervals.format_mean([row[name] for row in rows])
        for name in ("seconds", "train_seconds", "error", "mean_glimpses")
    ]
    commits = sorted(
        {f"{row['commit'][:7]}{row['commit'][40:]}" if row["commit"] else "unknown" for row in rows}
    )
    return [schedule, str(len(rows)), *figures, ", ".join(commits)]
