"""From a finished run to the rows that a table takes from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from fcan import table as regions
from jaxtyping import Bool, Int64
from reproduction import origin, rows, trainings
from reproduction.spec import AgentName, Row, Run, Table
from reproduction.trainings import Settings
from torch import Tensor

from glimpse_env import datasets
from glimpse_env.evaluation import stopping_rules, trajectories
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import environments

NAMES = {"mnist": "MNIST", "cub": "CUB", "cars": "Cars", "dogs": "Dogs"}


@dataclass(frozen=True)
class Part:
    """Which part of a data set is there."""

    name: str  # MNIST, CUB-50
    classes: int
    of: int | None  # classes of the whole set, where it is known


def part_of(settings: Settings) -> Part:
    """Return which part of the data set is there, which a look at its images tells."""
    size = resolve(settings.dataset, image_size=settings.image_size).image_size
    classes = len(datasets.load(settings.dataset, "test", root=settings.root, image_size=size).classes)
    name = NAMES.get(settings.dataset, Path(settings.dataset).name)
    archive = datasets.PHOTOGRAPHS.get(settings.dataset)
    return Part(f"{name}-{classes}" if archive else name, classes, archive.classes if archive else None)


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
        return self.settings.measure or results.answers_for(self.settings.split)


def wanted(job: Job, name: str, seed: int) -> dict[str, Any]:
    """Return what tells a row from others: what it is about, its options, and the hash of its weights."""
    settings = job.settings
    options = trainings.options_of(settings, job.table.rows[name].run, seed)
    backbone = options.backbone or resolve(settings.dataset).backbone
    return {
        "row": name,
        "part": job.part.name,
        "split": settings.split,
        "measured": job.measured,
        "seed": seed,
        "options": {name: value for name, value in checkpoint.plain(options).items() if name not in rows.MACHINE},
        "weights_sha256": weights_named(backbone, options.weights, getattr(options, "sensor", None)),
    }


@cache
def weights_named(backbone: str | None, weights: str | None, sensor: str | None) -> str | None:
    """Return what tells weights from others; their file is read once, though a table asks for every row."""
    return environments.weights_named({"backbone": backbone, "weights": weights, "sensor": sensor})


def rows_of(job: Job, names: Sequence[str], seed: int, out: Path) -> list[dict[str, Any]]:
    """Return the rows that answer from one finished run, evaluating it if that is not done."""
    source, run = out / "checkpoint.pt", job.table.rows[names[0]].run
    saved, lie = checkpoint.load(source), places(job, run, seed)
    looks = results.looks_on(source, (job.measured,), device=job.settings.device, **lie)
    shared = common(job, run.agent, out, saved, lie) | {"images": len(looks.labels)}
    made = []
    for name in names:
        row = job.table.rows[name]
        about = {"format": rows.FORMAT, "table": job.table.kept_with or job.name} | wanted(job, name, seed)
        answers = of_regions(out, looks, row.regions) if row.regions else of_steps(looks, saved["dynamic"], row)
        made.append(about | answers | shared)
    return made


def places(job: Job, run: Run, seed: int) -> dict[str, str | None]:
    """Return where images and weights lie now, which may not be where they lay in training."""
    root = job.settings.root
    return {"root": None if root is None else str(root), "weights": trainings.options_of(job.settings, run, seed).weights}


def common(job: Job, agent: AgentName, out: Path, saved: Mapping[str, Any], lie: Mapping[str, str | None]) -> dict[str, Any]:
    """Return what all rows of a run share."""
    result = final(out) if agent == "fcan" else results.of(out / "checkpoint.pt", job.measured, **lie)
    found = {name: result[name] for name in ("train_seconds", "command", "versions", "per_step_accuracy", "threshold_curve")}
    found |= {name: result[name] for name in ("in_box", "on_patch", "pixels", "flops") if name in result} | origin.read(out)
    found |= {"agent": agent, "stop_split": job.settings.stop_split if agent == "dtram" else None, "run": out.name}
    found |= {"dataset": job.settings.dataset, "classes": job.part.classes, "of_classes": job.part.of}
    return found | ({"history": [learned(epoch) for epoch in saved["progress"]["history"]]} if job.table.history else {})


def learned(epoch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a learning curve shows of an epoch, in as many digits as can be seen."""
    names = ("reward", "train_accuracy", "validation_accuracy", "loss")
    return {"epoch": epoch["epoch"]} | {name: round(epoch[name], 5) for name in names if epoch.get(name) is not None}


def of_steps(looks: trajectories.Looks, dynamic: bool, row: Row) -> dict[str, Any]:
    """Return how an agent's answers fare, given when the row says."""
    if row.after is not None:
        when = torch.full_like(looks.labels, row.after - 1)
    else:
        when = trajectories.answered(looks, dynamic) if row.threshold is None else trajectories.threshold_stops(looks, row.threshold)
    right = looks.correct.gather(0, when[None])[0]
    return (
        fares(right, looks.labels)
        | {
            "mean_glimpses": (when + 1).float().mean().item(),
            "glimpse_histogram": torch.bincount(when, minlength=len(looks.answers)).tolist(),
            "random_stop_accuracy": trajectories.random_stop(looks, when).mean().item(),
        }
        | ({"rivals": rivals_of(looks, when)} if dynamic and row.by_itself else {})
    )


def rivals_of(looks: trajectories.Looks, when: Int64[Tensor, " image"]) -> dict[str, list[tuple[float, str]]]:
    """Return what stops otherwise on the same network with as many glimpses: shares of a mixture, and which images each part gets right."""
    glimpses = stopping_rules.mean(when)
    mixtures = {"threshold": stopping_rules.rule_at(looks, glimpses), "fixed": stopping_rules.number_at(looks, glimpses)}
    return {
        name: [(share, rows.packed(looks.correct.gather(0, when[None])[0])) for share, when in mixture]
        for name, mixture in mixtures.items()
    }


def of_regions(out: Path, looks: trajectories.Looks, name: str) -> dict[str, Any]:
    """Return how FCAN's answers from a combination of regions fare."""
    parts = final(out)["options"]["parts"]
    names = regions.combinations(parts)[name]
    found = {one: checkpoint.load(out / "classify" / f"{one}.pt", kind="region")["probabilities"] for one in names}
    spent = {"mean_glimpses": float(len(names))} | cost_of(final(out), names)
    return fares(regions.mean(found, names).argmax(1) == looks.labels, looks.labels) | spent


def cost_of(result: Mapping[str, Any], names: Sequence[str]) -> dict[str, list[int]]:
    """Return what an image costs: a pass for every region, and one for the map if parts are looked for; nothing is added by a glimpse."""
    options, stages = result["options"], result["cost"]["stages"]
    looked = any(name.startswith("part") for name in names)
    side = (options["view_size"] or options["image_size"]) if looked else 0
    flops = stages["whole"]["flops"] * len(names) + (stages["find"]["flops"] if looked else 0)
    return {"pixels": [options["crop_size"] ** 2 * len(names) + side**2, 0], "flops": [flops, 0]}


def final(out: Path) -> dict[str, Any]:
    """Return the result of FCAN's last stage."""
    return checkpoint.read_json(out / "classify" / "result.json")


def fares(right: Bool[Tensor, " image"], labels: Int64[Tensor, " image"]) -> dict[str, Any]:
    """Return accuracy over images, its mean over classes, and which images were right."""
    counts = torch.bincount(labels)
    by_class = torch.bincount(labels, right.float())[counts > 0] / counts[counts > 0]
    return {"accuracy": right.float().mean().item(), "mean_class_accuracy": by_class.mean().item(), "right": rows.packed(right)}
