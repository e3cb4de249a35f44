r"""Rewards of FCAN's localisers compared by learning curves: final accuracy, steadiness, speed.

    python agents/fcan_greedy.py --dataset cub --weights WEIGHTS --split fit:1/4 \
        --final none --reward delayed --out runs/rewards/delayed-0
    python benchmarks/probes/fcan_rewards.py runs/rewards/*/checkpoint.pt

FCAN's claim (section 4.1) is that its greedy reward (Eq. 4) learns faster and more steadily than one at the
end. Give runs of several rewards and seeds with --final none, and of `--where random`: the same classifiers
on random locations. Every run is measured after each epoch on the training images that its --split holds out.
The curves are drawn in the figure.
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
    curves: dict[str, dict[int, Curve]] = {}
    for path in paths:
        saved = checkpoint.load(path)
        options, curve = saved["options"], saved["progress"]["history"]
        reward, seed = options["reward"], options["seed"]
        if saved["agent"] != "fcan_greedy" or "validation_accuracy" not in curve[-1]:
            raise ValueError(
                f"{path}: expected a run of fcan_greedy with --split fit or fit:K/N (held-out images)"
            )
        policy = options.get("policy", options.get("where"))  # `where` until version 0.2
        runs = curves.setdefault(RANDOM if policy == "random" else reward, {})
        if seed in runs:
            raise ValueError(f"{path}: seed {seed} of --reward {reward} is there twice; give each run once")
        runs[seed] = curve
    return {name: [runs[seed] for seed in sorted(runs)] for name, runs in curves.items()}


def reach(curve: Curve, target: float) -> int | None:
    """Return the first epoch from which a run stays at or above an accuracy; None = it does not."""
    below = [row["epoch"] for row in curve if row["validation_accuracy"] < target]
    after = max(below, default=0) + 1
    return after if after <= curve[-1]["epoch"] else None


def measure_moves(curve: Curve) -> float:
    """Return how much the accuracy still moves from epoch to epoch in the last third, in points."""
    last_third = [100 * row["validation_accuracy"] for row in curve[-max(2, len(curve) // 3) :]]
    return statistics.fmean(abs(b - a) for a, b in itertools.pairwise(last_third))


def make_rows(curves: Mapping[str, Sequence[Curve]], target: float) -> list[dict[str, Any]]:
    """Return a row for each reward: accuracies in %, their moves, the epochs that reach the target."""
    return [
        {
            "row": name,
            "accuracy": [100 * run[-1]["validation_accuracy"] for run in runs],
            "moves": [measure_moves(run) for run in runs],
            "epochs": [reach(run, target) for run in runs],
            "entropy": statistics.fmean(run[-1]["entropy"] for run in runs),
        }
        for name, runs in curves.items()
    ]


def main(options: Rewards) -> None:
    """Print and write the table, and draw the figure."""
    for target in (options.json, options.figure):
        files.check_writable(target)
    curves = read_curves(options.checkpoints)
    # The target lies halfway from the lowest to the highest mean: this file holds no figure of a data set.
    ends = [statistics.fmean(run[-1]["validation_accuracy"] for run in runs) for runs in curves.values()]
    target = (min(ends) + max(ends)) / 2
    rows = make_rows(curves, target)
    line = "{:<20} {:>15} {:>18} {:>24} {:>16} {:>8}"
    heads = "spread over seeds", "last third, up and down", f"epochs to {target:.1%}", "entropy"
    print(line.format("", "accuracy %", *heads))
    for row in rows:
        accuracy, moves = row["accuracy"], f"{statistics.fmean(row['moves']):.2f}"
        spread = f"{max(accuracy) - min(accuracy):.1f}"
        epochs = " ".join("-" if epoch is None else str(epoch) for epoch in row["epochs"])
        figures = intervals.format_mean(accuracy), spread, moves, epochs, f"{row['entropy']:.2f}"
        print(line.format(row["row"], *figures))
    plots.write_compared_curves(curves, PANELS, options.figure)
    print(f"curves: {options.figure}")
    if options.json is not None:
        files.write_json(options.json, {"command": checkpoint.command(), "rows": rows})


if __name__ == "__main__":
    with terminal.foreseen("fcan_rewards.py"):
        main(tyro.cli(Rewards, description=__doc__))
