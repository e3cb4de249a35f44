"""DT-RAM's Table 7 for any agent: stop when max softmax exceeds a threshold, beside rivals that spend as many glimpses blindly.

    python benchmarks/table7.py runs/dtram_reinforce-cub-0/checkpoint.pt

Every threshold, and the agent's own point if it learned to stop. Two rivals spend the same mean number of glimpses: a random stop (the
rule's own numbers of glimpses, dealt out to the images at random; its exact mean over all draws) and a fixed number of glimpses (linear
between two numbers). Differences in points are paired over images; their intervals are a bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from jaxtyping import Float, Int64
from papers.dtram import THRESHOLDS
from torch import Tensor

from glimpse_env import pretrained
from glimpse_env.evaluation import intervals, stopping_rules, trajectories
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal

PAPER_LEARNED = (81.8, 3.6)  # accuracy in %, mean glimpses


@dataclass(frozen=True)
class Table7:
    """Options of `table7.py`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """checkpoint.pt of an agent."""
    thresholds: tuple[float, ...] = tuple(THRESHOLDS)
    """Confidences above which to stop; on CUB the paper's numbers stand beside its own ones."""
    split: str | None = None
    """Split to evaluate on; default: the one that the run answers for. An evaluation that lies beside the checkpoint is read."""
    root: str | None = None
    """Folder of the data set."""
    weights: str | None = None
    """Where the backbone's weights file lies now; default: where it lay in training."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
    json: Path | None = None
    """Also write the table here."""


def compared(looks: trajectories.Looks, when: Int64[Tensor, " image"]) -> dict[str, Any]:
    """Return accuracy and glimpses of answering at these steps, and what the two rivals make of as many glimpses."""
    right = looks.correct.gather(0, when[None])[0].float()
    accuracy, glimpses = looks.at(when)
    return {
        "mean_glimpses": glimpses,
        "accuracy": 100 * accuracy,
        "random_stop": rival(right, trajectories.random_stop(looks, when)),
        "fixed_number": rival(right, stopping_rules.right(looks, stopping_rules.number_at(looks, glimpses))),
    }


def rival(right: Float[Tensor, " image"], other: Float[Tensor, " image"]) -> dict[str, Any]:
    """Return a rival's accuracy, and the difference to it."""
    mean, low, high = intervals.over_images(100 * (right - other), 2000)
    return {"accuracy": 100 * other.mean().item(), "difference": mean, "interval": [low, high]}


def rows_of(looks: trajectories.Looks, dynamic: bool, thresholds: tuple[float, ...]) -> list[dict[str, Any]]:
    """Return the table: a row for each threshold, then that of the learned stop."""
    rows = [
        {"stop": f"> {threshold:g}", "paper": THRESHOLDS.get(threshold)} | compared(looks, trajectories.threshold_stops(looks, threshold))
        for threshold in thresholds
    ]
    if dynamic:
        rows.append({"stop": "learned", "paper": PAPER_LEARNED} | compared(looks, trajectories.learned_stops(looks)))
    return rows


def line(row: dict[str, Any]) -> str:
    """Return a row as text."""
    paper = "{:.1f} at {:.1f}".format(*row["paper"]) if row["paper"] else ""
    cells = []
    for name in ("random_stop", "fixed_number"):
        low, high = row[name]["interval"]
        cells.append(f"{row[name]['accuracy']:6.2f} {row[name]['difference']:+6.2f} [{low:+.2f}, {high:+.2f}]")
    return f"{row['stop']:<8} {paper:>12} {row['mean_glimpses']:>9.2f} {row['accuracy']:>10.2f}  " + "  ".join(
        f"{cell:>29}" for cell in cells
    )


def main(options: Table7) -> None:
    """Evaluate if need be, print and write the table."""
    options = terminal.prepare(options)
    source = pretrained.found(options.checkpoint)
    saved = checkpoint.load(source)
    split = options.split or results.result_split(saved)
    looks = results.looks_on(source, (split,), options.root, options.device, options.weights)
    rows = rows_of(looks, saved["dynamic"], options.thresholds)
    print(
        f"{saved['agent']} on {saved['environment']['dataset']}, {split}: {len(looks.labels)} images, at most {len(looks.answers)} glimpses"
    )
    print(
        f"{'stop':<8} {'paper %':>12} {'glimpses':>9} {'accuracy %':>10}  {'random stop, difference':>29}  {'fixed number, difference':>29}"
    )
    if Path(saved["environment"]["dataset"]).name != "cub":
        rows = [row | {"paper": None} for row in rows]  # its table is of CUB
    for row in rows:
        print(line(row))
    if options.json is not None:
        told = {"command": checkpoint.command(), "split": split, "images": len(looks.labels), "versions": results.versions()}
        checkpoint.write_json(options.json, told | {"rows": rows})


if __name__ == "__main__":
    with terminal.foreseen("table7.py"):
        main(tyro.cli(Table7, description=__doc__))
