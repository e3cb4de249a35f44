"""DT-RAM's points against what spends as many glimpses otherwise: the threshold rule and a fixed number, with a verdict for each."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from reproduction import rows
from reproduction.spec import Table
from reproduction.text_table import RESAMPLES, Rows, Runs, stack_correct
from torch import Tensor

from glimpse_env.evaluation import intervals

MARGIN = 0.1  # points that count as no difference
FROM = 1.5  # mean glimpses from which on points are judged
RIVALS = {
    "threshold": "stop above a confidence, same network",
    "fixed": "fixed number, same network",
    "trained": "RAM trained with a fixed number",
}


@dataclass(frozen=True)
class Point:
    """A learned stop beside its rivals."""

    row: str
    glimpses: float
    # By rival, in points: above 0 the learned stop is correct more often; with its 95 % interval.
    ahead: Mapping[str, tuple[float, float, float]]

    def judge(self, rival: str) -> str:
        """Return what the interval says at the margin."""
        _, low, high = self.ahead[rival]
        if self.glimpses < FROM:
            return "(not judged)"
        if low > 0:
            return "better"
        if low > -MARGIN:
            return "not worse"
        return "worse" if high < -MARGIN else "open"


def find_points(table: Table, group: Rows) -> list[Point]:
    """Return the points of all rows that stop by themselves, in the order of their glimpses."""
    found = []
    for name, runs in group.items():
        if not all("rivals" in run for run in runs):
            continue
        ours = stack_correct(runs, [run["seed"] for run in runs])
        others = {
            rival: torch.stack([mix(run["rivals"][rival], run["images"]) for run in runs])
            for rival in ("threshold", "fixed")
        }
        if (trained := mix_rams(table, group, runs)) is not None:
            others["trained"] = trained
        ahead = {rival: intervals.compare_paired(ours, other, RESAMPLES) for rival, other in others.items()}
        found.append(Point(name, statistics.fmean(run["mean_glimpses"] for run in runs), ahead))
    return sorted(found, key=lambda point: point.glimpses)


def mix(mixture: Sequence[Sequence[Any]], images: int) -> Float[Tensor, " image"]:
    """Return how often a mixture of rules predicts each image correctly."""
    return torch.stack([share * rows.unpack_bits(right, images).float() for share, right in mixture]).sum(0)


def mix_rams(table: Table, group: Rows, runs: Runs) -> Float[Tensor, "seed image"] | None:
    """Return how often the table's RAMs of the same seeds are correct with as many glimpses; None = they do not reach there.

    Between two numbers of glimpses, images mix the two RAMs that were trained with them.
    """
    seeds, found = {run["seed"] for run in runs}, []
    names = [name for name in group if table.rows[name].run.agent == "ram" and table.rows[name].by_itself]
    whole = [
        group[name] for name in names if seeds <= {ram["seed"] for ram in group[name]}
    ]  # mixed alike for every seed
    for run in runs:
        rams = {ram["mean_glimpses"]: ram for same in whole for ram in same if ram["seed"] == run["seed"]}
        fewer = max((number for number in rams if number <= run["mean_glimpses"]), default=None)
        more = min((number for number in rams if number >= run["mean_glimpses"]), default=None)
        if fewer is None or more is None:
            return None
        low, high = (
            rows.unpack_bits(rams[number]["right"], run["images"]).float() for number in (fewer, more)
        )
        found.append(
            torch.lerp(low, high, (run["mean_glimpses"] - fewer) / (more - fewer) if more > fewer else 0.0)
        )
    return torch.stack(found)


def format_points(found: Sequence[Point]) -> str:
    """Return the points as a table for the terminal."""
    width = max(len(point.row) for point in found)
    shown = [rival for rival in RIVALS if any(rival in point.ahead for point in found)]
    lines = [
        "learned stop ahead of what spends as many glimpses, in points of accuracy, paired over images;",
        f"from {FROM} mean glimpses on it is better (interval above 0), not worse (above -{MARGIN}), worse (below -{MARGIN}), or open",
        f"{'':<{width}} {'glimpses':>8}  " + "  ".join(f"{RIVALS[rival]:<38}" for rival in shown),
    ]
    for point in found:
        cells = [
            f"{intervals.format_interval(point.ahead[rival], 3)} {point.judge(rival)}"
            if rival in point.ahead
            else ""
            for rival in shown
        ]
        lines.append(
            f"{point.row:<{width}} {point.glimpses:>8.2f}  " + "  ".join(f"{cell:<38}" for cell in cells)
        )
    return "\n".join(line.rstrip() for line in lines)
