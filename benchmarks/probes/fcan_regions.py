"""FCAN's Table 6 (2 on Dogs, 4 on Cars) over several seeds: the whole image, learned, random and central parts, and combinations.

    python benchmarks/fcan.py --weights runs/finetune_backbone-cub-0/weights.pth
    python benchmarks/fcan.py --weights WEIGHTS --split fit:1/4 --seeds 2            # on held-out training images, to choose by

Every seed is a run of agents/fcan_greedy.py with its defaults; finished stages are found again. Accuracies are means over seeds with the
95 % interval of that mean (Student's t); differences are paired over images (the mean over seeds of each image's correctness; bootstrap
over images). With --weights all seeds share one fine-tuned network, so the whole image and the central places, whose classifiers are
convex, are the same in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from fcan import setup, stages, table
from fcan.plan import FcanOptions
from jaxtyping import Float
from torch import Tensor

from glimpse_env.evaluation import intervals
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.training.options import Several

AGAINST = {"whole image": "- whole image"} | {
    table.KINDS[kind]: f"- {what} places" for kind, what in (("random", "random"), ("center", "central"))
}


@dataclass(frozen=True)
class Table2(Several):
    """Options of `fcan.py`."""

    weights: str | None = None
    """Weights of the backbone: the file that finetune_backbone.py wrote, on the same --split; default: every seed tunes its own."""
    measure: str | None = None
    """Images to measure on instead, such as test after training on fit:1/4."""
    parts: tuple[int, ...] = (8, 4)
    """Sides of the parts in cells of the feature map."""
    out: Path = Path("runs/fcan")
    """Folder of the runs."""


def options_of(options: Table2, seed: int) -> FcanOptions:
    """Return the options of one run."""
    shared = ("weights", "dataset", "root", "backbone", "split", "measure", "parts", "device", "threads")
    given = {name: getattr(options, name) for name in shared}
    out = options.out / checkpoint.run_name("fcan_greedy", options.dataset, options.split, seed)
    return FcanOptions(**given, seed=seed, out=out, resume=True)


def made(options: FcanOptions) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return every region's class probabilities and the result of a finished run, making what is not there."""
    plan = setup.planned(options)
    stages.run(plan)
    folder = plan.out / "classify"
    names = {name for regions in table.combinations(options.parts).values() for name in regions}
    found = {name: checkpoint.load(folder / f"{name}.pt", kind="region")["probabilities"] for name in names}
    return found, checkpoint.read_json(folder / "result.json")


def correctness(found: Mapping[str, Float[Tensor, "image class"]], labels: Tensor, parts: tuple[int, ...]) -> dict[str, Tensor]:
    """Return which images each row of the table gets right in one run."""
    return {row: (table.mean(found, names).argmax(1) == labels).float() for row, names in table.combinations(parts).items()}


def rows_of(rights: Mapping[str, Float[Tensor, "seed image"]]) -> list[dict[str, Any]]:
    """Return the table's rows: accuracy by seed in %, and paired differences."""
    return [
        {
            "row": row,
            "accuracy": (100 * right.mean(1)).tolist(),
            "differences": {other: intervals.paired(right, rights[other]) for other in AGAINST if other != row},
        }
        for row, right in rights.items()
    ]


def printed(rows: list[dict[str, Any]]) -> str:
    """Return the rows for the terminal."""
    lines = [f"{'':<36} {'accuracy %':>15}  " + "  ".join(f"{title:>20}" for title in AGAINST.values())]
    for row in rows:
        found = row["differences"]
        cells = ["{:+.1f} [{:+.1f}, {:+.1f}]".format(*found[other]) if other in found else "" for other in AGAINST]
        lines.append(f"{row['row']:<36} {intervals.over_runs(row['accuracy']):>15}  " + "  ".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def main(options: Table2) -> None:
    """Make every run, then print and write the table."""
    options = terminal.prepare(options)
    chosen = [options_of(options, seed) for seed in range(options.seeds)]
    runs = [made(one) for one in chosen]
    plan = setup.planned(chosen[0])
    labels = setup.images_of(plan, plan.measure).labels
    by_seed = [correctness(found, labels, options.parts) for found, _ in runs]
    rows = rows_of({row: torch.stack([one[row] for one in by_seed]) for row in by_seed[0]})
    print(printed(rows))
    if boxes := [result["in_box"] for _, result in runs if "in_box" in result]:
        shares = [100 * box["fixation"] for box in boxes]
        chance = sum(100 * box["fixation_chance"] for box in boxes) / len(boxes)
        print(f"centres of the parts inside the object's box: {intervals.over_runs(shares)} % (chance {chance:.1f} %)")
    if options.json is not None:
        told = {"command": checkpoint.command(), "split": plan.learn, "measure": plan.measure, "seeds": options.seeds, "rows": rows}
        runs_told = [{name: value for name, value in result.items() if name != "rows"} for _, result in runs]
        checkpoint.write_json(options.json, told | {"versions": results.versions(), "runs": runs_told})


if __name__ == "__main__":
    with terminal.foreseen("fcan.py"):
        main(tyro.cli(Table2, description=__doc__))
