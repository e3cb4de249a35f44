"""Rewards of FCAN's localisers compared: how accurate, how steady and how soon, from the learning curves of finished runs.

    python agents/fcan_greedy.py --dataset cub --weights WEIGHTS --split fit:1/4 --final none --reward delayed --out runs/rewards/delayed-0
    python benchmarks/probes/fcan_rewards.py runs/rewards/*/checkpoint.pt

FCAN's claim (section 3.3) is that its greedy reward (Eq. 4) learns faster and more steadily than one at the end. Give runs of
several rewards and seeds with --final none, and of `--policy random`: the same classifiers on random places. Every run is measured
after each epoch on the training images that its --split holds out. The curves are drawn in the figure.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from glimpse_env.evaluation import intervals
from glimpse_env.reports import plots
from glimpse_env.runtime import checkpoint, files, terminal

RANDOM = "random places"
PANELS = {
    "validation_accuracy": "Held-out images predicted correctly (%)",
    "entropy": "Entropy of the score maps (nats)",
    "reward_of_parts": "Reward of a sampled part",
}
Curve = Sequence[Mapping[str, Any]]  # a row for each epoch


@dataclass(frozen=True)
class Rewards:
    """Options of `fcan_rewards.py`."""

    checkpoints: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """checkpoint.pt of runs of fcan_greedy.py."""
    figure: Path = Path("runs/fcan_rewards.png")
    """The PNG file of the learning curves."""
    json: Path | None = None
    """Also write the table here."""


def read_curves(paths: Sequence[Path]) -> dict[str, list[Curve]]:
    """Return the learning curves of runs by their reward, in the order of the seeds."""
    found: dict[str, dict[int, Curve]] = {}
    for path in paths:
        saved = checkpoint.load(path)
        options, curve = saved["options"], saved["progress"]["history"]
        if saved["agent"] != "fcan_greedy" or "validation_accuracy" not in curve[-1]:
            raise ValueError(
                f"{path}: expected a run of fcan_greedy with --split fit or fit:K/N, whose held-out images draw the curves"
            )
        policy = options.get("policy", options.get("where"))  # `where` until version 0.2
        runs = found.setdefault(RANDOM if policy == "random" else options["reward"], {})
        if options["seed"] in runs:
            raise ValueError(
                f"{path}: seed {options['seed']} of --reward {options['reward']} is there twice; give each run once"
            )
        runs[options["seed"]] = curve
    return {name: [runs[seed] for seed in sorted(runs)] for name, runs in found.items()}


def reach(curve: Curve, target: float) -> int | None:
    """Return the first epoch from which a run stays at or above an accuracy; None = it does not."""
    below = [row["epoch"] for row in curve if row["validation_accuracy"] < target]
    after = max(below, default=0) + 1
    return after if after <= curve[-1]["epoch"] else None


def make_rows(found: Mapping[str, Sequence[Curve]], target: float) -> list[dict[str, Any]]:
    """Return a row for each reward: accuracies by seed in %, how much they still move, how soon they reach the target."""
    rows = []
    for name, runs in found.items():
        last = [100 * run[-1]["validation_accuracy"] for run in runs]
        # How much a run's accuracy still moves from epoch to epoch in its last third, in points.
        moving = [[100 * row["validation_accuracy"] for row in run[-max(2, len(run) // 3) :]] for run in runs]
        moves = [statistics.fmean(abs(b - a) for a, b in itertools.pairwise(run)) for run in moving]
        entropy = statistics.fmean(run[-1]["entropy"] for run in runs)
        rows.append(
            {
                "row": name,
                "accuracy": last,
                "moves": moves,
                "epochs": [reach(run, target) for run in runs],
                "entropy": entropy,
            }
        )
    return rows


def main(options: Rewards) -> None:
    """Print and write the table, and draw the figure."""
    found = read_curves(options.checkpoints)
    # The target lies halfway from the lowest to the highest mean, so that no figure of a data set is written into this file.
    ends = [statistics.fmean(run[-1]["validation_accuracy"] for run in runs) for runs in found.values()]
    target = (min(ends) + max(ends)) / 2
    rows = make_rows(found, target)
    when = f"epochs to {target:.1%}"
    print(
        f"{'':<20} {'accuracy %':>15} {'spread over seeds':>18} {'last third, up and down':>24} {when:>16} {'entropy':>8}"
    )
    for row in rows:
        spread, moves = max(row["accuracy"]) - min(row["accuracy"]), statistics.fmean(row["moves"])
        epochs = " ".join("-" if epoch is None else str(epoch) for epoch in row["epochs"])
        accuracy = intervals.format_mean(row["accuracy"])
        print(
            f"{row['row']:<20} {accuracy:>15} {spread:>18.1f} {moves:>24.2f} {epochs:>16} {row['entropy']:>8.2f}"
        )
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    plots.write_compared_curves(found, PANELS, options.figure)
    print(f"curves: {options.figure}")
    if options.json is not None:
        files.write_json(options.json, {"command": checkpoint.command(), "rows": rows})


if __name__ == "__main__":
    with terminal.foreseen("fcan_rewards.py"):
        main(tyro.cli(Rewards, description=__doc__))
