"""From a finished run to the rows that a table takes from it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int64
from reproduction import origin, rows, runs
from reproduction.glimpse_time import measure_milliseconds
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

log = logging.getLogger("glimpse_env")
SHARED = ("train_seconds", "command", "versions", "per_step_accuracy", "threshold_curve")
OPTIONAL = ("fixations", "in_box", "on_patch", "pixels", "flops")  # of some sensors and data sets
LEARNED = ("reward", "train_accuracy", "validation_accuracy", "loss")  # of a learning curve


@dataclass(frozen=True)
class Job:
    """A table, and what its runs share."""

    name: str
    table: Table
    settings: Settings
    part: str  # of the data set: MNIST, CUB-50
    classes: int
    of_classes: int | None  # of the whole set, where it has known parts

    @property
    def measured(self) -> str:
        """The split whose images the rows are about."""
        return self.settings.measure or results.choose_result_split(self.settings.split)


def start_job(name: str, table: Table, settings: Settings) -> Job:
    """Return the job of a table on the part of the data set that is present."""
    size = resolve(settings.dataset, settings.root, image_size=settings.image_size).image_size
    classes = len(datasets.load(settings.dataset, "test", root=settings.root, image_size=size).classes)
    spec = datasets.NAMED.get(settings.dataset)
    if spec is None or spec.kind != "photographs":
        part = spec.short if spec else Path(settings.dataset).name
        return Job(name, table, settings, part, classes, None)
    return Job(name, table, settings, f"{spec.short}-{classes}", classes, spec.classes)


def identify_row(job: Job, name: str, seed: int) -> dict[str, Any]:
    """Return what identifies a row: its images and seed, its run's options, and the hash of its weights."""
    options = runs.list_options(job.settings, job.table.rows[name].run, seed)
    backbone = options.get("backbone") or resolve(job.settings.dataset, job.settings.root).backbone
    used = (backbone, options.get("weights"), options.get("sensor"), options.get("train_backbone", False))
    setting = runs.describe_setting(job.settings)
    return ({"setting": setting} if setting else {}) | {
        "row": name,
        "part": job.part,
        "split": job.settings.split,
        "measured": job.measured,
        "seed": seed,
        "options": options,
        "weights_sha256": identify_weights(*used),
    }


@cache
def identify_weights(
    backbone: str | None, weights: str | None, sensor: str | None, train_backbone: bool
) -> str | None:
    """Return what identifies weights; their file is read once for all rows."""
    names = {"backbone": backbone, "weights": weights, "sensor": sensor}
    return resume.identify_weights(names | {"train_backbone": train_backbone})


def make_rows(job: Job, names: Sequence[str], seed: int, out: Path) -> list[dict[str, Any]]:
    """Return the rows `names` from one finished run, evaluating it if that is not done."""
    identities = [identify_row(job, name, seed) for name in names]
    # Images and weights may have moved since training.
    root = None if job.settings.root is None else str(job.settings.root)
    asked = identities[0]["options"]
    weights = None if asked.get("train_backbone") else asked.get("weights")  # trained: in the checkpoint
    paths: dict[str, str | None] = {"root": root, "weights": weights}
    source = out / "checkpoint.pt"
    looks = results.read_or_write_trajectories(source, (job.measured,), device=job.settings.device, **paths)
    agent, saved = job.table.rows[names[0]].run.agent, checkpoint.load(source)
    if agent == "fcan":
        result = files.read_json(out / "classify" / "result.json")  # of its last stage
    else:
        result = results.read_or_write(source, job.measured, **paths)
    about = {"format": rows.FORMAT, "table": job.table.rows_of or job.name}
    options = {name: value for name, value in result["options"].items() if name not in rows.MACHINE}
    shared = describe_run(job, agent, out, saved, result) | {"images": len(looks.labels)}
    made = []
    for name, identity in zip(names, identities, strict=True):
        row = job.table.rows[name]
        if row.regions and fcan_row(row.regions) not in list_regions(result):
            log.info("%s has no regions for the row %r, which is left out", out, name)
            continue
        if row.regions:
            measures = measure_regions(out, looks, result, row.regions)
        else:
            measures = measure_steps(looks, saved["dynamic"], row)
        made.append(about | identity | {"options": options} | measures | shared)
    return made


def describe_run(
    job: Job, agent: str, out: Path, saved: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the entries that all rows of a run share."""
    names = [*SHARED, *(name for name in OPTIONAL if name in result)]
    entries = {name: result[name] for name in names} | origin.read(out)
    entries |= {"agent": agent, "stop_split": job.settings.stop_split if agent == "dtram" else None}
    entries |= {"run": out.name, "dataset": job.settings.dataset}
    entries |= {"classes": job.classes, "of_classes": job.of_classes}
    if job.table.times:
        source, device = out / "checkpoint.pt", job.settings.device
        entries["milliseconds"] = measure_milliseconds(source, job.measured, device)
    if not job.table.history:
        return entries
    history = []
    for epoch in saved["progress"]["history"]:
        curve = {name: round(epoch[name], 5) for name in LEARNED if epoch.get(name) is not None}
        history.append({"epoch": epoch["epoch"]} | curve)
    return entries | {"history": history}


def measure_steps(looks: Trajectories, dynamic: bool, row: Row) -> dict[str, Any]:
    """Return the measures of an agent's predictions, after the glimpses at which the row stops."""
    if row.after is not None:
        when = torch.full_like(looks.labels, row.after - 1)
    elif row.threshold is not None:
        when = stopping_rules.Rule("confidence", row.threshold).find_stops(looks)
    else:
        when = stopping_rules.choose_rule(dynamic).find_stops(looks)
    measures = measure_images(looks.correct.gather(0, when[None])[0], looks.labels) | {
        "mean_glimpses": (when + 1).float().mean().item(),
        "glimpse_histogram": torch.bincount(when, minlength=len(looks.predictions)).tolist(),
        "random_stop_accuracy": metrics.score_random_stop(looks, when).mean().item(),
    }
    if dynamic and row.by_itself:
        # Mixtures of two rules that spend as many glimpses: of each rule its share, and its correct images.
        glimpses, measures["rivals"] = stopping_rules.compute_mean_glimpses(when), {}
        for name, mix in (
            ("threshold", stopping_rules.mix_thresholds),
            ("fixed", stopping_rules.mix_fixed_numbers),
        ):
            rules = [
                (share, looks.correct.gather(0, stops[None])[0]) for share, stops in mix(looks, glimpses)
            ]
            measures["rivals"][name] = [(share, rows.pack_bits(correct)) for share, correct in rules]
    return measures


def measure_regions(out: Path, looks: Trajectories, result: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the measures of a combination of FCAN's regions, by their mean probabilities."""
    names = list_regions(result)[fcan_row(name)]
    regions = [checkpoint.load(out / "classify" / f"{one}.pt", kind="region") for one in names]
    correct = torch.stack([one["probabilities"] for one in regions]).mean(0).argmax(1) == looks.labels
    # The cost of an image: a pass for every region, and one for the map if parts are localised.
    options, stages = result["options"], result["cost"]["stages"]
    pixels, flops = options["crop_size"] ** 2 * len(names), stages["whole"]["flops"] * len(names)
    if any(name.startswith("part") for name in names):
        pixels += (options["view_size"] or options["image_size"]) ** 2
        flops += stages["find"]["flops"]
    measures = measure_images(correct, looks.labels) | {"mean_glimpses": float(len(names))}
    return measures | {"pixels": [pixels, 0], "flops": [flops, 0]}  # a further glimpse costs nothing


def list_regions(result: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the regions of every row of FCAN's last stage, by `fcan_row`."""
    return {fcan_row(row["row"]): row["regions"] for row in result["rows"]}


def fcan_row(name: str) -> str:
    """Return a row's name without the numbers of parts: a table names them by size, whatever their order."""
    return re.sub(r"part\d+-", "part-", name)


def measure_images(correct: Bool[Tensor, " image"], labels: Int64[Tensor, " image"]) -> dict[str, Any]:
    """Return the accuracies, and which images were predicted correctly."""
    return {**metrics.measure_accuracy(correct, labels), "right": rows.pack_bits(correct)}
