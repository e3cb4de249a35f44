"""DT-RAM against other stopping rules that spend as many glimpses: a threshold, and a fixed number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from reproduction import rows
from reproduction.spec import Table
from reproduction.text_table import RESAMPLES, Rows, Runs, mean_glimpses, stack_correct
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
    # By rival: points by which the learned stop is correct more often, and the ends of the 95 % interval.
    ahead: Mapping[str, tuple[float, float, float]]

    def judge(self, rival: str) -> str:
        """Return the verdict that the interval allows at the margin."""
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
    points = []
    for name, runs in group.items():
        if not all("rivals" in run for run in runs):
            continue
        others = {
            rival: torch.stack([mix(run["rivals"][rival], run["images"]) for run in runs])
            for rival in ("threshold", "fixed")
        }
        if (trained := mix_rams(table, group, runs)) is not None:
            others["trained"] = trained
        ours = stack_correct(runs)
        ahead = {rival: intervals.compare_paired(ours, other, RESAMPLES) for rival, other in others.items()}
        points.append(Point(name, mean_glimpses(runs), ahead))
    return sorted(points, key=lambda point: point.glimpses)


def mix(mixture: Sequence[Sequence[Any]], images: int) -> Float[Tensor, " image"]:
    """Return how often a mixture of rules predicts each image correctly."""
    return torch.stack([share * rows.unpack_bits(right, images).float() for share, right in mixture]).sum(0)


def mix_rams(table: Table, group: Rows, runs: Runs) -> Float[Tensor, "seed image"] | None:
    """Return how often the table's RAMs of the same seeds are correct with as many glimpses as `runs`.

    Between two numbers of glimpses, images mix the two RAMs that were trained with them; None = the RAMs have
    only fewer or only more glimpses. A RAM that lacks one of the seeds does not count.
    """
    names = [name for name in group if table.rows[name].run.agent == "ram" and table.rows[name].by_itself]
    by_name = [{ram["seed"]: ram for ram in group[name]} for name in names]
    complete = [rams for rams in by_name if all(run["seed"] in rams for run in runs)]
    mixed = []
    for run in runs:
        number, same_seed = run["mean_glimpses"], [rams[run["seed"]] for rams in complete]
        rams = {ram["mean_glimpses"]: ram for ram in same_seed}
        fewer = max((count for count in rams if count <= number), default=None)
        more = min((count for count in rams if count >= number), default=None)
        if fewer is None or more is None:
            return None
        low, high = stack_correct([rams[fewer], rams[more]])
        mixed.append(torch.lerp(low, high, (number - fewer) / (more - fewer) if more > fewer else 0.0))
    return torch.stack(mixed)


def format_points(points: Sequence[Point]) -> str:
    """Return the points as a table for the terminal."""
    width = max(len(point.row) for point in points)
    shown = [rival for rival in RIVALS if any(rival in point.ahead for point in points)]
    lines = [
        "learned stop ahead of what spends as many glimpses, in points of accuracy, paired over images;",
        f"from {FROM} mean glimpses on it is better (interval above 0), not worse (above -{MARGIN}), "
        f"worse (below -{MARGIN}), or open",
        f"{'':<{width}} {'glimpses':>8}  " + "  ".join(f"{RIVALS[rival]:<38}" for rival in shown),
    ]
    for point in points:
        ahead = {rival: intervals.format_interval(point.ahead[rival], 3) for rival in point.ahead}
        cells = [f"{ahead[rival]} {point.judge(rival)}" if rival in ahead else "" for rival in shown]
        start = f"{point.row:<{width}} {point.glimpses:>8.2f}  "
        lines.append(start + "  ".join(f"{cell:<38}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)
