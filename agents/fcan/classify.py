"""The stage classify: one classifier for every region at full resolution, FCAN's Tables 2, 4 and 6, and what an image costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fcan import cost, regions_table, stage_files, table
from fcan.localise import AGENT, places_of
from fcan.plan import FcanOptions
from fcan.regions_table import Crops, Region
from fcan.setup import Plan, map_sensor
from glimpse_env import Backbone, GlimpseVectorEnv
from glimpse_env.evaluation import fixations, metrics, stopping_rules
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.networks import fcan
from glimpse_env.reports import results, table_report
from glimpse_env.runtime import checkpoint, files


def classify(plan: Plan, weights: str) -> None:
    """Train a classifier for every region, average their probabilities, and write the table."""
    start, options = time.monotonic(), plan.options
    learn, measure = places_of(plan, plan.learn), places_of(plan, plan.measure)
    env = measure[0]
    backbone = Backbone(plan.backbone, weights, options.device)
    crops = Crops(learn[0].images, env.images, backbone, map_sensor(env).shape[1], plan.crop_size)
    stage_files.begin(plan.out, "classify")
    found = {region.name: probabilities(plan, weights, crops, region) for region in wanted(crops, options, learn[1], measure[1])}
    seconds = time.monotonic() - start
    looks = as_looks(env, found, options.parts, measure[1])
    row = {
        "agent": f"{AGENT}, final",
        "dataset": options.dataset,
        "split": plan.measure,
        **metrics.summarize(looks, dynamic=False),
        "rows": table.rows(found, env.images.labels, options.parts),
        "cost": cost.per_image(plan, env, crops),
        "train_seconds": round(seconds, 1),
        "device": str(env.device),
        "seed": options.seed,
        "command": checkpoint.command(),
        "versions": results.collect_versions(),
        "options": checkpoint.plain(options),
        **fixations.measure_fixations(env, looks, stopping_rules.HORIZON.find_stops(looks), learned_start=False),
    }
    files.write_json(plan.out / "classify" / "result.json", row)
    looks.save(plan.out / "classify" / "looks.npz")
    told(plan.out / "classify" / "report.html", row)
    print(results.format_row(row))


def wanted(crops: Crops, options: FcanOptions, learn: Int64[Tensor, "image part"], measure: Int64[Tensor, "image part"]) -> list[Region]:
    """Return the whole image, the parts, and parts of the same sizes at random and central places (FCAN, Tables 2, 4, 6)."""
    generator = torch.Generator().manual_seed(options.seed)
    images = (len(learn), len(measure))
    found = [Region("whole", crops.side, *(torch.zeros(count, dtype=torch.int64) for count in images))]
    for number, part in enumerate(options.parts):
        total, middle = fcan.places(crops.side, part), fcan.middle(crops.side, part)
        drawn = [torch.randint(total, (count,), generator=generator) for count in images]
        found += [
            Region(table.name_of("part", number, part), part, learn[:, number], measure[:, number]),
            Region(table.name_of("random", number, part), part, *drawn),
            Region(table.name_of("center", number, part), part, *(torch.full((count,), middle) for count in images)),
        ]
    return found


def probabilities(plan: Plan, weights: str, crops: Crops, region: Region) -> Float[Tensor, "image class"]:
    """Return a region's class probabilities in the measured images; with --resume, those that an interrupted run has made."""
    options, file = plan.options, plan.out / "classify" / f"{region.name}.pt"
    if options.resume and file.is_file():
        saved = checkpoint.load(file, kind="region")
        checkpoint.check_same(file, saved["options"], stage_files.chosen("classify", options))
        if torch.equal(saved["learn"], region.learn) and torch.equal(saved["measure"], region.measure):
            return saved["probabilities"]
    if options.final == "linear":
        found = regions_table.by_linear(crops, region, options)
    else:
        found = regions_table.by_network(crops, region, options, weights, plan.out / "classify" / region.name)
    content = {"kind": "region", "options": checkpoint.plain(options), "learn": region.learn, "measure": region.measure}
    checkpoint.save(file, content | {"probabilities": found})
    return found


def as_looks(env: GlimpseVectorEnv, found: dict[str, Tensor], parts: Sequence[int], chosen: Int64[Tensor, "image part"]) -> Trajectories:
    """Return the answers after the whole image and after each part as trajectories, so that the common metric applies."""
    names = ["whole", *(table.name_of("part", number, part) for number, part in enumerate(parts))]
    best = [table.mean(found, names[:step]).max(1) for step in range(1, len(names) + 1)]
    side, far = map_sensor(env).shape[1], env.sensor.reach
    steps = [fcan.locations(chosen[:, number], side, part, far) for number, part in enumerate(parts)]
    return Trajectories(
        index=torch.arange(len(chosen)),
        labels=env.images.labels,
        predictions=torch.stack([answer.indices for answer in best]),
        confidence=torch.stack([answer.values for answer in best]),
        stop=torch.zeros(len(names), len(chosen)),
        locations=torch.stack([torch.zeros(len(chosen), 2), *steps]),
    )


def told(target: Path, row: dict[str, Any]) -> None:
    """Write the final stage's table as a report; what the localisers saw of single images is in the run's own report."""
    runs = [{"row": one["row"], "seed": row["seed"], "mean_glimpses": len(one["regions"]), "paper": None} | one for one in row["rows"]]
    dataset = Path(row["dataset"]).name
    note = f"{row['images']:,} images of {row['split']}; glimpses: regions whose probabilities are averaged; {costs(row)}"
    table_report.write_table(target, f"FCAN on {dataset}: the whole image and its parts", runs, note=note)
    print(f"report: {target}")


def described(row: dict[str, Any]) -> str:
    """Return the final stage's table and costs for the terminal."""
    return f"{table.printed(row['rows'])}\n{costs(row)}"


def costs(row: dict[str, Any]) -> str:
    """Return what an image costs, in words."""
    spent = row["cost"]
    parts = ", ".join(f"{name} {one['milliseconds']:.1f} ms, {one['flops'] / 1e9:.2f} GFLOP" for name, one in spent["stages"].items())
    return f"test cost per image ({spent['device']}, batches of {spent['images']}): {parts}"
