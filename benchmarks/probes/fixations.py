"""Do they look? One table of the fixations of several runs, beside random places and fixed paths.

    python benchmarks/probes/fixations.py runs/*/checkpoint.pt
    python benchmarks/probes/fixations.py runs/ram_reinforce-clutter-0/checkpoint.pt mnist-dtram --accuracy

Cells are "agent | random places | covering path" (see `glimpse_env/evaluation/fixations.py`). A run is on its
target where that is known: the pattern's centre in the smallest window, or the object's box.

--accuracy shows every run's network glimpses at other places than its own: random ones, and its own mean path
(fitted on other images). Predictions are compared at the glimpse at which the agent stops by itself, paired
over images. The network is not trained again, so places that it never saw count against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env import GlimpseVectorEnv, pretrained
from glimpse_env.evaluation import fixations, fixed_paths, intervals, stopping_rules, trajectories
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.networks import registry
from glimpse_env.reports import fixation_table, results
from glimpse_env.runtime import checkpoint, files, terminal

HEADS = ("agent", "data set", "split", "seed", "its places %", "random places %", "difference")
HEADS += ("mean path %", "difference")


@dataclass(frozen=True)
class FixationOptions:
    """Options of `fixations.py`."""

    checkpoints: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """checkpoint.pt of agents, or mnist-dtram."""
    split: str | None = None
    """Split to evaluate on, from files beside the checkpoint if there are; default: the result's."""
    accuracy: bool = False
    """Also evaluate every network at random places and along its mean path."""
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


def read_row(path: Path, options: FixationOptions) -> dict[str, Any]:
    """Return a run's row from an earlier evaluation that measured fixations, else from a new one."""
    saved = checkpoint.load(path)
    row = results.read_row(path, saved, options.split)
    if row is None or "fixations" not in row:
        where = {"root": options.root, "device": options.device, "weights": options.weights}
        row = results.write(path, options.split or results.get_result_split(saved), **where)
    return row


def compare_accuracy(path: Path, options: FixationOptions) -> dict[str, Any]:
    """Return the accuracies of a run's network at its own places, at random ones and along its mean path."""
    split = options.split or results.get_result_split(checkpoint.load(path))
    changes = {"root": options.root, "weights": options.weights}
    saved, env, looks = results.evaluate_checkpoint(path, split, options.device, **changes)
    stops = stopping_rules.choose_rule(saved["dynamic"]).find_stops(looks)
    own = looks.correct_at(stops).float()
    compared: dict[str, Any] = {"own": 100 * own.mean().item()}
    for name, places in list_places(looks, stops).items():
        other = follow(saved, env, places).correct_at(stops).float()
        difference = intervals.bootstrap_over_images(100 * (own - other), fixations.RESAMPLES)
        compared[name] = {"accuracy": 100 * other.mean().item(), "own_minus": list(difference)}
    return compared


def list_places(
    looks: Trajectories, stops: Int64[Tensor, " image"]
) -> dict[str, Float[Tensor, "time image 2"]]:
    """Return a location for every glimpse: random ones, and the agent's mean path, of other images."""
    chosen = fixations.Chosen(looks.locations, torch.arange(len(looks.locations))[:, None] <= stops)
    mean_path = fixed_paths.fit_mean_paths(chosen.locations, chosen.taken)
    return {"random": chosen.draw_uniform(), "mean_path": mean_path}


def follow(
    saved: dict[str, Any], env: GlimpseVectorEnv, places: Float[Tensor, "time image 2"]
) -> Trajectories:
    """Return what a run's network predicts with glimpses at these places; glimpse 1 stays as it is."""
    network, places = registry.rebuild(saved).to(env.device), places.to(env.device)
    policy = saved["options"].get("policy", "learned")

    def guide(state: object, index: Tensor, step: int) -> Tensor:
        return places[step - 1, index]

    return trajectories.evaluate(env, network, env.preset.max_glimpses, policy=policy, guide=guide)


def format_accuracies(rows: list[dict[str, Any]]) -> str:
    """Return the table of accuracies as text."""
    lines: list[list[str]] = [list(HEADS)]
    for row in rows:
        cells = [str(row[name]) for name in ("agent", "dataset", "split", "seed")]
        cells.append(f"{row['accuracy_at']['own']:.2f}")
        for name in ("random", "mean_path"):
            other = row["accuracy_at"][name]
            cells += [f"{other['accuracy']:.2f}", intervals.format_interval(other["own_minus"], 2)]
        lines.append(cells)
    return fixation_table.format_table(lines)


def main(options: FixationOptions) -> None:
    """Evaluate if need be, print and write the tables."""
    if not options.checkpoints:
        raise ValueError("expected at least one checkpoint.pt, such as runs/*/checkpoint.pt")
    options = terminal.prepare(options)
    files.check_writable(options.json)
    paths = [pretrained.find_checkpoint(path) for path in options.checkpoints]
    names = ("agent", "dataset", "split", "seed", "images", "fixations", *fixation_table.TARGETS)
    rows = [read_row(path, options) for path in paths]
    rows = [{name: row[name] for name in names if name in row} for row in rows]
    print(fixation_table.format_rows(rows))
    if options.accuracy:
        for row, path in zip(rows, paths, strict=True):
            row["accuracy_at"] = compare_accuracy(path, options)
        print(f"\n{format_accuracies(rows)}")
    if options.json is not None:
        about = {"command": checkpoint.command(), "versions": results.collect_versions()}
        files.write_json(options.json, about | {"rows": rows})


if __name__ == "__main__":
    with terminal.foreseen("fixations.py"):
        main(tyro.cli(FixationOptions, description=__doc__))
