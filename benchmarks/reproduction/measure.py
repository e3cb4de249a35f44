"""From a finished run to the rows that a table takes from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int64
from reproduction import origin, rows, runs
from reproduction.runs import Settings
from reproduction.spec import Row, Table
from torch import Tensor

from glimpse_env import datasets
from glimpse_env.evaluation import metrics, stopping_rules
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files
from glimpse_env.training import resume

SHARED = ("train_seconds", "command", "versions", "per_step_accuracy", "threshold_curve")
OPTIONAL = ("in_box", "on_patch", "pixels", "flops")  # of some sensors and data sets
LEARNED = ("reward", "train_accuracy", "validation_accuracy", "loss")  # what a learning curve shows


@dataclass(frozen=True)
class Part:
    """Which part of a data set is there."""

    name: str  # MNIST, CUB-50
    classes: int
    of: int | None  # classes of the whole set, where it is known


def find_part(settings: Settings) -> Part:
    """Return which part of the data set is there, which its images tell."""
    size = resolve(settings.dataset, image_size=settings.image_size).image_size
    classes = len(datasets.load(settings.dataset, "test", root=settings.root, image_size=size).classes)
    spec = datasets.NAMED.get(settings.dataset)
    if spec is None or spec.kind != "photographs":
        return Part(spec.short if spec else Path(settings.dataset).name, classes, None)
    return Part(f"{spec.short}-{classes}", classes, spec.classes)


@dataclass(frozen=True)
class Job:
    """A table, and what its runs share."""

    name: str
    table: Table
    settings: Settings
    part: Part

    @property
    def measured(self) -> str:
        """Return the split whose images the rows are about."""
        return self.settings.measure or results.choose_result_split(self.settings.split)


def ask_for_row(job: Job, name: str, seed: int) -> dict[str, Any]:
    """Return what tells a row from others: what it is about, the options that its run is asked for with, and the hash of its weights."""
    options = runs.list_options(job.settings, job.table.rows[name].run, seed)
    backbone = runs.backbone_of(job.settings, options)
    return {
        "row": name,
        "part": job.part.name,
        "split": job.settings.split,
        "measured": job.measured,
        "seed": seed,
        "options": options,
        "weights_sha256": name_weights(backbone, options.get("weights"), options.get("sensor")),
    }


@cache
def name_weights(backbone: str | None, weights: str | None, sensor: str | None) -> str | None:
    """Return what tells weights from others; their file is read once, though a table asks for every row."""
    return resume.identify_weights({"backbone": backbone, "weights": weights, "sensor": sensor})


def make_rows(job: Job, names: Sequence[str], seed: int, out: Path) -> list[dict[str, Any]]:
    """Return the rows `names` from one finished run, evaluating it if that is not done."""
    asked = [ask_for_row(job, name, seed) for name in names]
    # Where images and weights lie now, which may not be where they lay in training.
    root = None if job.settings.root is None else str(job.settings.root)
    places: dict[str, str | None] = {"root": root, "weights": asked[0]["options"].get("weights")}
    source = out / "checkpoint.pt"
    saved = checkpoint.load(source)
    looks = results.read_or_write_trajectories(source, (job.measured,), device=job.settings.device, **places)
    fcan = job.table.rows[names[0]].run.agent == "fcan"
    final = out / "classify" / "result.json"  # of FCAN's last stage
    result = files.read_json(final) if fcan else results.read_or_write(source, job.measured, **places)
    shared = describe_run(job, names[0], out, saved, result) | {"images": len(looks.labels)}
    options = {name: value for name, value in result["options"].items() if name not in rows.MACHINE}
    made = []
    for name, about in zip(names, asked, strict=True):
        row = job.table.rows[name]
        about = (
            {"format": rows.FORMAT, "table": job.table.kept_with or job.name} | about | {"options": options}
        )
        answers = (
            measure_regions(out, looks, result, row.regions)
            if row.regions
            else measure_steps(looks, saved["dynamic"], row)
        )
        made.append(about | answers | shared)
    return made


def describe_run(
    job: Job, name: str, out: Path, saved: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what all rows of a run share."""
    agent = job.table.rows[name].run.agent
    found = (
        {name: result[name] for name in SHARED}
        | {name: result[name] for name in OPTIONAL if name in result}
        | origin.read(out)
    )
    found |= {
        "agent": agent,
        "stop_split": job.settings.stop_split if agent == "dtram" else None,
        "run": out.name,
    }
    found |= {"dataset": job.settings.dataset, "classes": job.part.classes, "of_classes": job.part.of}
    if not job.table.history:
        return found
    history = saved["progress"]["history"]
    curves = [
        {name: round(epoch[name], 5) for name in LEARNED if epoch.get(name) is not None} for epoch in history
    ]
    return found | {
        "history": [{"epoch": epoch["epoch"]} | curve for epoch, curve in zip(history, curves, strict=True)]
    }


def measure_steps(looks: Trajectories, dynamic: bool, row: Row) -> dict[str, Any]:
    """Return how an agent's predictions fare, after the glimpses that the row says."""
    if row.after is not None:
        when = torch.full_like(looks.labels, row.after - 1)
    else:
        when = (
            stopping_rules.choose_rule(dynamic).find_stops(looks)
            if row.threshold is None
            else stopping_rules.Rule("confidence", row.threshold).find_stops(looks)
        )
    correct = looks.correct.gather(0, when[None])[0]
    return (
        measure_accuracy(correct, looks.labels)
        | {
            "mean_glimpses": (when + 1).float().mean().item(),
            "glimpse_histogram": torch.bincount(when, minlength=len(looks.predictions)).tolist(),
            "random_stop_accuracy": metrics.score_random_stop(looks, when).mean().item(),
        }
        | ({"rivals": measure_rivals(looks, when)} if dynamic and row.by_itself else {})
    )


def measure_rivals(looks: Trajectories, when: Int64[Tensor, " image"]) -> dict[str, list[tuple[float, str]]]:
    """Return rivals that spend as many glimpses on the same network: mixtures of two rules, each a share and its correct images."""
    glimpses = stopping_rules.compute_mean_glimpses(when)
    mixtures = {
        "threshold": stopping_rules.mix_thresholds(looks, glimpses),
        "fixed": stopping_rules.mix_fixed_numbers(looks, glimpses),
    }
    return {
        name: [(share, rows.pack_bits(looks.correct.gather(0, when[None])[0])) for share, when in mixture]
        for name, mixture in mixtures.items()
    }


def measure_regions(out: Path, looks: Trajectories, result: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return how FCAN's predictions from a combination of regions fare: the mean of their probabilities (section 3.4)."""
    names = next(row["regions"] for row in result["rows"] if row["row"] == name)
    found = [checkpoint.load(out / "classify" / f"{one}.pt", kind="region")["probabilities"] for one in names]
    correct = torch.stack(found).mean(0).argmax(1) == looks.labels
    return (
        measure_accuracy(correct, looks.labels)
        | {"mean_glimpses": float(len(names))}
        | count_cost(result, names)
    )


def count_cost(result: Mapping[str, Any], names: Sequence[str]) -> dict[str, list[int]]:
    """Return what an image costs: a pass for every region, and one for the map if parts are looked for; nothing is added by a glimpse."""
    options, stages = result["options"], result["cost"]["stages"]
    looked = any(name.startswith("part") for name in names)
    side = (options["view_size"] or options["image_size"]) if looked else 0
    flops = stages["whole"]["flops"] * len(names) + (stages["find"]["flops"] if looked else 0)
    return {"pixels": [options["crop_size"] ** 2 * len(names) + side**2, 0], "flops": [flops, 0]}


def measure_accuracy(correct: Bool[Tensor, " image"], labels: Int64[Tensor, " image"]) -> dict[str, Any]:
    """Return accuracy over images, its mean over classes, and which images were predicted correctly."""
    counts = torch.bincount(labels)
    by_class = torch.bincount(labels, correct.float())[counts > 0] / counts[counts > 0]
    return {
        "accuracy": correct.float().mean().item(),
        "mean_class_accuracy": by_class.mean().item(),
        "right": rows.pack_bits(correct),
    }
