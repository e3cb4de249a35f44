"""DT-RAM's Table 7 for any agent: a threshold of max softmax, beside two rules with as many glimpses.

    python benchmarks/probes/thresholds.py runs/dtram_reinforce-cub-0/checkpoint.pt

Every threshold, and the agent's own point if it learned to stop. Two rules that do not see the image spend
the same mean number of glimpses: a random stop (the rule's own numbers of glimpses, assigned to the images at
random; the exact mean over all assignments) and a fixed number of glimpses (linear between two numbers).
Differences in points are paired over images; their intervals are a bootstrap.
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
LINE = "{:<8} {:>12} {:>9} {:>10} {:>12}  {:>29}  {:>29}"


@dataclass(frozen=True)
class Thresholds:
    """Options of `thresholds.py`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """checkpoint.pt of an agent, or mnist-dtram."""
    thresholds: tuple[float, ...] = (0.0, 0.4, 0.5, 0.6, 0.9, 1.0)
    """Confidences above which to stop; on CUB the paper's numbers stand beside its own ones."""
    split: str | None = None
    """Split to evaluate on, from files beside the checkpoint if there are; default: the result's."""
    root: str | None = None
    """Folder of the data set."""
    weights: str | None = None
    """Where the backbone's weights file lies now; default: where it lay in training."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
    json: Path | None = None
    """Also write the table here."""


def compare(looks: Trajectories, when: Int64[Tensor, " image"]) -> dict[str, Any]:
    """Return accuracy and glimpses of predicting at these steps, and of two rules with as many glimpses."""
    correct = looks.correct.gather(0, when[None])[0].float()
    own = metrics.measure_stops(looks, when)
    mixture = stopping_rules.mix_fixed_numbers(looks, own["mean_glimpses"])
    others = {
        "random_stop": metrics.score_random_stop(looks, when),
        "fixed_number": stopping_rules.score_mixture(looks, mixture),
    }
    row: dict[str, Any] = {"mean_glimpses": own["mean_glimpses"]}
    row |= {name: 100 * own[name] for name in ("accuracy", "mean_class_accuracy")}
    for name, other in others.items():
        mean, *ends = intervals.bootstrap_over_images(100 * (correct - other), RESAMPLES)
        row[name] = {"accuracy": 100 * other.mean().item(), "difference": mean, "interval": ends}
    return row


def make_rows(
    looks: Trajectories, dynamic: bool, thresholds: tuple[float, ...], cub: bool
) -> list[dict[str, Any]]:
    """Return a row for each threshold, then that of the learned stop; the paper's numbers are of CUB."""
    rules = {f"> {value:g}": stopping_rules.Rule("confidence", value) for value in thresholds}
    rules |= {"learned": stopping_rules.LEARNED} if dynamic else {}
    table = published.read_table("DT-RAM", "Table 7", "cub") if cub else {}
    paper = {name.replace("DT-RAM", "learned"): (cell.value, cell.glimpses) for name, cell in table.items()}
    return [
        {"stop": name, "paper": paper.get(name)} | compare(looks, rule.find_stops(looks))
        for name, rule in rules.items()
    ]


def format_row(row: dict[str, Any]) -> str:
    """Return a row as text."""
    paper = "{:.1f} at {:.1f}".format(*row["paper"]) if row["paper"] else ""
    cells = [paper, f"{row['mean_glimpses']:.2f}"]
    cells += [f"{row[name]:.2f}" for name in ("accuracy", "mean_class_accuracy")]
    for other in (row["random_stop"], row["fixed_number"]):
        difference = intervals.format_interval((other["difference"], *other["interval"]), 2)
        cells.append(f"{other['accuracy']:6.2f} {difference}")
    return LINE.format(row["stop"], *cells)


def main(options: Thresholds) -> None:
    """Evaluate if need be, print and write the table."""
    options = terminal.prepare(options)
    files.check_writable(options.json)
    source = pretrained.find_checkpoint(options.checkpoint)
    saved = checkpoint.load(source)
    dataset, split = saved["environment"]["dataset"], options.split or results.get_result_split(saved)
    place = (options.root, options.device, options.weights)
    looks = results.read_or_write_trajectories(source, (split,), *place)
    images, steps = len(looks.labels), len(looks.predictions)
    rows = make_rows(looks, saved["dynamic"], options.thresholds, Path(dataset).name == "cub")
    print(f"{saved['agent']} on {dataset}, {split}: {images} images, at most {steps} glimpses")
    heads = "random stop, difference", "fixed number, difference"
    print(LINE.format("stop", "paper %", "glimpses", "accuracy %", "mean class %", *heads))
    for row in rows:
        print(format_row(row))
    if options.json is not None:
        about = {"command": checkpoint.command(), "split": split, "images": images}
        content = about | {"versions": results.collect_versions(), "rows": rows}
        files.write_json(options.json, content)


if __name__ == "__main__":
    with terminal.foreseen("thresholds.py"):
        main(tyro.cli(Thresholds, description=__doc__))
