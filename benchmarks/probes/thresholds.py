"""DT-RAM's Table 7 for any agent: stop when max softmax exceeds a threshold, beside rivals that spend as many glimpses blindly.

    python benchmarks/probes/thresholds.py runs/dtram_reinforce-cub-0/checkpoint.pt

Every threshold, and the agent's own point if it learned to stop. Two rivals spend the same mean number of glimpses: a random
stop (the rule's own numbers of glimpses, dealt out to the images at random; its exact mean over all draws) and a fixed number of
glimpses (linear between two numbers). Differences in points are paired over images; their intervals are a bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from jaxtyping import Int64
from torch import Tensor

from glimpse_env import pretrained
from glimpse_env.evaluation import intervals, metrics, stopping_rules
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.reports import published, results
from glimpse_env.runtime import checkpoint, files, terminal

RESAMPLES = 2000


@dataclass(frozen=True)
class Thresholds:
    """Options of `thresholds.py`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """checkpoint.pt of an agent, or mnist-dtram."""
    thresholds: tuple[float, ...] = (0.0, 0.4, 0.5, 0.6, 0.9, 1.0)
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


def compare(looks: Trajectories, when: Int64[Tensor, " image"]) -> dict[str, Any]:
    """Return accuracy and glimpses of predicting at these steps, and of the two rivals with as many glimpses."""
    correct = looks.correct.gather(0, when[None])[0].float()
    accuracy, glimpses = looks.score_at(when)
    rivals = {
        "random_stop": metrics.score_random_stop(looks, when),
        "fixed_number": stopping_rules.score_mixture(
            looks, stopping_rules.mix_fixed_numbers(looks, glimpses)
        ),
    }
    row: dict[str, Any] = {"mean_glimpses": glimpses, "accuracy": 100 * accuracy}
    for name, other in rivals.items():
        mean, low, high = intervals.bootstrap_over_images(100 * (correct - other), RESAMPLES)
        row[name] = {"accuracy": 100 * other.mean().item(), "difference": mean, "interval": [low, high]}
    return row


def make_rows(
    looks: Trajectories, dynamic: bool, thresholds: tuple[float, ...], cub: bool
) -> list[dict[str, Any]]:
    """Return the table: a row for each threshold, then that of the learned stop; the paper's numbers are of CUB."""
    stops = {
        f"> {threshold:g}": stopping_rules.Rule("confidence", threshold).find_stops(looks)
        for threshold in thresholds
    }
    stops |= {"learned": stopping_rules.LEARNED.find_stops(looks)} if dynamic else {}
    table = published.read_table("DT-RAM", "Table 7", "cub") if cub else {}
    papers = {
        "learned" if name == "DT-RAM" else name: (figure.value, figure.glimpses)
        for name, figure in table.items()
    }
    return [{"stop": name, "paper": papers.get(name)} | compare(looks, when) for name, when in stops.items()]


def format_row(row: dict[str, Any]) -> str:
    """Return a row as text."""
    paper = "{:.1f} at {:.1f}".format(*row["paper"]) if row["paper"] else ""
    cells = []
    for rival in (row["random_stop"], row["fixed_number"]):
        difference = intervals.format_interval((rival["difference"], *rival["interval"]), 2)
        cells.append(f"{rival['accuracy']:6.2f} {difference}")
    return f"{row['stop']:<8} {paper:>12} {row['mean_glimpses']:>9.2f} {row['accuracy']:>10.2f}  {cells[0]:>29}  {cells[1]:>29}"


def main(options: Thresholds) -> None:
    """Evaluate if need be, print and write the table."""
    options = terminal.prepare(options)
    source = pretrained.find_checkpoint(options.checkpoint)
    saved = checkpoint.load(source)
    dataset, split = saved["environment"]["dataset"], options.split or results.get_result_split(saved)
    looks = results.read_or_write_trajectories(
        source, (split,), options.root, options.device, options.weights
    )
    rows = make_rows(looks, saved["dynamic"], options.thresholds, Path(dataset).name == "cub")
    print(
        f"{saved['agent']} on {dataset}, {split}: {len(looks.labels)} images, at most {len(looks.predictions)} glimpses"
    )
    heads = ("random stop, difference", "fixed number, difference")
    print(f"{'stop':<8} {'paper %':>12} {'glimpses':>9} {'accuracy %':>10}  {heads[0]:>29}  {heads[1]:>29}")
    for row in rows:
        print(format_row(row))
    if options.json is not None:
        about = {
            "command": checkpoint.command(),
            "split": split,
            "images": len(looks.labels),
            "versions": results.collect_versions(),
        }
        files.write_json(options.json, about | {"rows": rows})


if __name__ == "__main__":
    with terminal.foreseen("thresholds.py"):
        main(tyro.cli(Thresholds, description=__doc__))
