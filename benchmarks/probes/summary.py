"""Means over seeds of finished runs, with 95 % intervals: one line per agent, data set and settings.

    python benchmarks/probes/summary.py runs/*/result.json
    python benchmarks/probes/summary.py benchmarks/results/runs.json     # the published runs

Rows of the same settings make one line, whatever their seeds.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from glimpse_env.evaluation import intervals
from glimpse_env.reports import results
from glimpse_env.reports.plots import Measure
from glimpse_env.runtime import checkpoint, terminal

OWN = ("seed", "out", "threads", "device", "resume", "root")  # options that do not make another setting
MEASURES: tuple[Measure, ...] = ("accuracy", "mean_class_accuracy")
NEEDED = {"agent", "options", "per_step_accuracy"}


@dataclass(frozen=True)
class Summary:
    """Options of `summary.py`."""

    results: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """result.json files of finished runs, or files with a list of such rows."""


def describe_setting(row: dict[str, Any]) -> str:
    """Return what distinguishes runs but for their seed; options newer than a run count as what it did."""
    options = checkpoint.ADDED | row["options"]
    setting = {name: value for name, value in options.items() if name not in OWN}
    setting["ram"] = options.get("ram") is not None
    return json.dumps([row["agent"], row["dataset"], row["split"], setting], sort_keys=True)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file.

    Raises:
        ValueError: It holds something else.
    """
    expected = "expected the result.json of a run"
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not a JSON file: {expected} ({error})") from error
    rows = content if isinstance(content, list) else [content]
    if not all(isinstance(row, dict) and row.keys() >= NEEDED for row in rows):
        raise ValueError(f"{path} does not hold rows of runs: {expected}, or a list of such rows")
    return rows


def main(options: Summary) -> None:
    """Print a line per setting."""
    if not options.results:
        raise ValueError("expected at least one result.json, such as runs/*/result.json")
    groups: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for path in options.results:
        for row in read_rows(path):
            group = groups[describe_setting(row)]
            if row["seed"] in group:
                setting = f"seed {row['seed']} of {row['agent']} with the same settings"
                raise ValueError(f"{path}: {setting} is there twice; give each run once")
            group[row["seed"]] = row
    line = "{:<18} {:<10} {:<10} {:>5} {:>14} {:>18} {:>15} {:>20} {:>8}"
    heads = ("agent", "data set", "split", "seeds", "error %", "mean class error %", "mean glimpses")
    heads += ("error % after all", "train s")
    print(line.format(*heads))
    for group in groups.values():
        rows = list(group.values())
        setting = (rows[0][name] for name in ("agent", "dataset", "split"))
        errors = [results.format_means(rows, name, error=True) for name in MEASURES]
        glimpses = intervals.format_mean([row["mean_glimpses"] for row in rows])
        last = intervals.format_mean([100 * (1 - row["per_step_accuracy"][-1]) for row in rows])
        after_all = f"{last} at {len(rows[0]['per_step_accuracy'])}"
        seconds = f"{statistics.fmean(row['train_seconds'] for row in rows):.0f}"
        print(line.format(*setting, len(rows), *errors, glimpses, after_all, seconds))


if __name__ == "__main__":
    with terminal.foreseen("summary.py"):
        main(tyro.cli(Summary, description=__doc__))
