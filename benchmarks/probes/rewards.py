"""One agent, several rewards: FCAN's localiser paid greedily, at the end, or otherwise, with learning curves side by side.

    python benchmarks/rewards.py --weights runs/finetune_backbone-cub-0/weights.pth
    python benchmarks/rewards.py --weights WEIGHTS --split fit:1/4 --rewards greedy delayed information_gain

FCAN's claim (section 3.3) is that its greedy reward (Eq. 4) learns faster and more steadily than one at the end. Every run is a stage
localise of agents/fcan_greedy.py, measured after each epoch on the training images that --split holds out; the row "random places" trains
the same classifiers on places that nobody learned. Finished runs are found again. Written beside the runs: rewards.png.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from fcan import setup, stages
from fcan.plan import FcanOptions

from glimpse_env.datasets import held_out
from glimpse_env.evaluation import intervals
from glimpse_env.reports import plots, results
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.training.options import RewardName, Several

RANDOM = "random places"
PANELS = {
    "validation_accuracy": "Held-out images classified rightly (%)",
    "entropy": "Entropy of the score maps (nats)",
    "reward_of_parts": "Reward of a sampled part",
}


@dataclass(frozen=True)
class Rewards(Several):
    """Options of `rewards.py`."""

    weights: str | None = None
    """Weights of the backbone: the file that finetune_backbone.py wrote, on the same --split; default: every seed tunes its own."""
    split: str = "fit"
    """Images to train on: fit (a twelfth is held out) or fit:K/N (fold K is); those that are held out draw the curves."""
    seeds: int = 3
    """Runs of each kind."""
    rewards: tuple[RewardName, ...] = ("greedy", "delayed")
    """Rewards to compare."""
    baseline: bool = True
    """Take off the mean reward of an image's other samples (leave-one-out); the paper has no baseline."""
    parts: tuple[int, ...] = (8, 4)
    """Sides of the parts in cells of the feature map."""
    epochs: int = 15
    """Passes over the training images."""
    out: Path = Path("runs/rewards")
    """Folder of the runs and the figure."""


def options_of(options: Rewards, row: str, seed: int) -> FcanOptions:
    """Return the options of one run."""
    shared = ("weights", "dataset", "root", "backbone", "split", "baseline", "parts", "epochs", "device", "threads")
    given: dict[str, Any] = {name: getattr(options, name) for name in shared}
    given |= {"where": "random"} if row == RANDOM else {"reward": row}
    name = checkpoint.run_name(row.replace(" ", "_"), options.dataset, options.split, seed)
    return FcanOptions(**given, stage="all", final="none", seed=seed, out=options.out / name, resume=True)


def history(options: FcanOptions) -> list[dict[str, Any]]:
    """Return the rows of a run's epochs, training it if it is not finished."""
    plan = setup.planned(options)
    stages.run(plan)
    return checkpoint.load(plan.out / "checkpoint.pt")["progress"]["history"]


def reached(rows: Sequence[Mapping[str, Any]], wanted: float) -> int | None:
    """Return the first epoch from which a run stays at or above an accuracy; None = it does not."""
    below = [row["epoch"] for row in rows if row["validation_accuracy"] < wanted]
    after = max(below, default=0) + 1
    return after if after <= rows[-1]["epoch"] else None


def table(found: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], wanted: float) -> list[dict[str, Any]]:
    """Return a row for each reward, and print it: accuracies by seed, how much they differ, and how soon they were there."""
    rows = []
    when = f"epochs to {wanted:.1%}"
    print(f"{'':<20} {'accuracy %':>15} {'spread over seeds':>18} {'last third, up and down':>24} {when:>16} {'entropy':>8}")
    for name, runs in found.items():
        last = [100 * run[-1]["validation_accuracy"] for run in runs]
        # How much a run's accuracy still moves from epoch to epoch, in points.
        moving = [[100 * row["validation_accuracy"] for row in run[-max(2, len(run) // 3) :]] for run in runs]
        moves = [statistics.fmean(abs(b - a) for a, b in itertools.pairwise(run)) for run in moving]
        epochs = [reached(run, wanted) for run in runs]
        entropy = statistics.fmean(run[-1]["entropy"] for run in runs)
        spread = max(last) - min(last)
        when = " ".join("-" if epoch is None else str(epoch) for epoch in epochs)
        print(f"{name:<20} {intervals.over_runs(last):>15} {spread:>18.1f} {statistics.fmean(moves):>24.2f} {when:>16} {entropy:>8.2f}")
        rows.append({"row": name, "accuracy": last, "moves": moves, "epochs": epochs, "entropy": entropy, "history": runs})
    return rows


def main(options: Rewards) -> None:
    """Make every run, then print and write the table and the figure."""
    options = terminal.prepare(options)
    if held_out(options.split) is None:
        raise ValueError(f"--split {options.split}: nothing is held out to draw curves on; expected fit or fit:K/N")
    if not options.rewards or options.seeds < 1 or options.epochs < 2:
        raise ValueError("--rewards, --seeds, --epochs: expected at least one reward, one seed and two epochs")
    names = [*dict.fromkeys(options.rewards), RANDOM]
    found = {name: [history(options_of(options, name, seed)) for seed in range(options.seeds)] for name in names}
    # "There" = halfway from random places to the best reward's mean, so that no figure of a data set is written into this file.
    ends = {name: statistics.fmean(run[-1]["validation_accuracy"] for run in runs) for name, runs in found.items()}
    rows = table(found, (ends[RANDOM] + max(ends.values())) / 2)
    figure = options.out / "rewards.png"
    plots.compared_curves(found, PANELS, figure)
    print(f"curves: {figure}")
    if options.json is not None:
        settings = checkpoint.plain(options_of(options, names[0], 0))
        content = {"command": checkpoint.command(), "split": options.split, "seeds": options.seeds, "settings": settings}
        checkpoint.write_json(options.json, content | {"rows": rows, "versions": results.versions()})


if __name__ == "__main__":
    with terminal.foreseen("rewards.py"):
        main(tyro.cli(Rewards, description=__doc__))
