"""Mean over seeds of finished runs: one line per agent, data set and settings, with the 95 % interval of the mean.

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
from glimpse_env.runtime import checkpoint, terminal

OWN = ("seed", "out", "threads", "device", "resume", "root")  # options that do not make another setting


@dataclass(frozen=True)
class Summary:
    """Options of `summary.py`."""

    results: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """result.json files of finished runs, or files with a list of such rows."""


def describe_setting(row: dict[str, Any]) -> str:
    """Return what makes runs the same but for their seed; options that came later than a run count as what it did."""
    options = checkpoint.ADDED | row["options"]
    kept = {name: value for name, value in options.items() if name not in OWN} | {
        "ram": options.get("ram") is not None
    }
    return json.dumps([row["agent"], row["dataset"], row["split"], kept], sort_keys=True)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file.

    Raises:
        ValueError: It holds something else.
    """
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not a JSON file: expected the result.json of a run ({error})") from error
    found = content if isinstance(content, list) else [content]
    if not all(
        isinstance(row, dict) and {"agent", "options", "per_step_accuracy"} <= row.keys() for row in found
    ):
        raise ValueError(
            f"{path} does not hold rows of runs: expected the result.json of a run, or a list of such rows"
        )
    return found


def main(options: Summary) -> None:
    """Print a line per setting."""
    if not options.results:
        raise ValueError("expected at least one result.json, such as runs/*/result.json")
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in options.results:
        for row in read_rows(path):
            group = groups[describe_setting(row)]
            if any(row["seed"] == other["seed"] for other in group):
                raise ValueError(
                    f"{path}: seed {row['seed']} of {row['agent']} with the same settings is there twice; give each run once"
                )
            group.append(row)
    head = f"{'agent':<18} {'data set':<10} {'split':<10} {'seeds':>5} {'error %':>14} {'mean glimpses':>15}"
    print(f"{head} {'error % after all':>20} {'train s':>8}")
    for rows in groups.values():
        first = rows[0]
        error = intervals.format_mean([100 * (1 - row["accuracy"]) for row in rows])
        last = intervals.format_mean([100 * (1 - row["per_step_accuracy"][-1]) for row in rows])
        glimpses = intervals.format_mean([row["mean_glimpses"] for row in rows])
        seconds = statistics.fmean(row["train_seconds"] for row in rows)
        seeds = len({row["seed"] for row in rows})
        what = f"{first['agent']:<18} {first['dataset']:<10} {first['split']:<10} {seeds:>5}"
        after_all = f"{last} at {len(first['per_step_accuracy'])}"
        print(f"{what} {error:>14} {glimpses:>15} {after_all:>20} {seconds:>8.0f}")


if __name__ == "__main__":
    with terminal.foreseen("summary.py"):
        main(tyro.cli(Summary, description=__doc__))
