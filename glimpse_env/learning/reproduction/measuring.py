"""From a finished run to the rows that a table takes from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from glimpse_env import datasets
from glimpse_env.learning import checkpoint, evaluation, results, setup
from glimpse_env.learning.fcan import table as regions
from glimpse_env.learning.reproduction import making, origin, rows
from glimpse_env.learning.reproduction.making import Settings
from glimpse_env.learning.reproduction.table import Row, Run
from glimpse_env.presets import resolve

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


def measured_on(settings: Settings) -> str:
    """Return the split whose images the rows are about."""
    return settings.measure or results.answers_for(settings.split)


def wanted(settings: Settings, part: Part, name: str, run: Run, seed: int) -> dict[str, Any]:
    """Return what tells a row from others: what it is about, its options, and the hash of its weights."""
    options = making.options_of(settings, run, seed)
    backbone = options.backbone or resolve(settings.dataset).backbone
    return {
        "row": name,
        "part": part.name,
        "split": settings.split,
        "measured": measured_on(settings),
        "seed": seed,
        "options": {name: value for name, value in checkpoint.plain(options).items() if name not in rows.MACHINE},
        "weights_sha256": weights_hash(backbone, options.weights, getattr(options, "sensor", None)),
    }


@cache
def weights_hash(backbone: str | None, weights: str | None, sensor: str | None) -> str | None:
    """Return the hash of a file of weights, which is read once: a table asks for every row."""
    return setup.weights_hash({"backbone": backbone, "weights": weights, "sensor": sensor})


def rows_of(settings: Settings, part: Part, chosen: Mapping[str, Row], seed: int, out: Path) -> list[dict[str, Any]]:
    """Return the rows that answer from one finished run, evaluating it if that is not done."""
    run = next(iter(chosen.values())).run
    source = out / "checkpoint.pt"
    saved, split = checkpoint.load(source), measured_on(settings)
    looks = results.trajectories(source, (split,), device=settings.device)
    result = final(out) if run.agent == "fcan" else results.of(source, split)
    shared = {name: result[name] for name in ("train_seconds", "device", "command", "versions")} | origin.read(out)
    shared |= {"dataset": settings.dataset, "classes": part.classes, "of_classes": part.of, "images": len(looks.labels), "run": out.name}
    shared |= {"agent": run.agent, "stop_split": settings.stop_split if run.agent == "dtram" else None, "in_box": result.get("in_box")}
    shared |= {"pixels": result.get("pixels"), "flops": result.get("flops")}
    shared |= {"per_step_accuracy": result["per_step_accuracy"], "threshold_curve": result["threshold_curve"]}
    made = []
    for name, row in chosen.items():
        about = {"format": rows.FORMAT} | wanted(settings, part, name, run, seed)
        answers = of_regions(out, looks, row.regions) if row.regions else of_steps(looks, saved["dynamic"], row.threshold)
        made.append(about | answers | shared)
    return made


def of_steps(looks: evaluation.Looks, dynamic: bool, threshold: float | None) -> dict[str, Any]:
    """Return how an agent's answers fare: where a confidence exceeds the threshold, or (None) when the agent gives them."""
    when = evaluation.answered(looks, dynamic) if threshold is None else evaluation.threshold_stops(looks, threshold)
    right = looks.correct.gather(0, when[None])[0]
    return fares(right, looks.labels) | {
        "mean_glimpses": (when + 1).float().mean().item(),
        "glimpse_histogram": torch.bincount(when, minlength=len(looks.answers)).tolist(),
        "random_stop_accuracy": evaluation.random_stop(looks, when).mean().item(),
        "learned_stop": dynamic and threshold is None,
    }


def of_regions(out: Path, looks: evaluation.Looks, name: str) -> dict[str, Any]:
    """Return how FCAN's answers from a combination of regions fare."""
    parts = final(out)["options"]["parts"]
    names = regions.combinations(parts)[name]
    found = {one: checkpoint.load(out / "classify" / f"{one}.pt", kind="region")["probabilities"] for one in names}
    return fares(regions.mean(found, names).argmax(1) == looks.labels, looks.labels) | {"mean_glimpses": float(len(names))}


def final(out: Path) -> dict[str, Any]:
    """Return the result of FCAN's last stage."""
    return checkpoint.read_json(out / "classify" / "result.json")


def fares(right: Bool[Tensor, " image"], labels: Int64[Tensor, " image"]) -> dict[str, Any]:
    """Return accuracy over images, its mean over classes, and which images were right."""
    counts = torch.bincount(labels)
    by_class = torch.bincount(labels, right.float())[counts > 0] / counts[counts > 0]
    return {"accuracy": right.float().mean().item(), "mean_class_accuracy": by_class.mean().item(), "right": rows.packed(right)}
