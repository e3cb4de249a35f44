"""The stage classify: a classifier for every region at full resolution, and their combinations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from finetune_backbone import build_row
from jaxtyping import Int64
from torch import Tensor

from fcan import regions_table, stage_files
from fcan.localise import load_network, load_places
from fcan.plan import AGENT, Plan, get_map_sensor
from fcan.regions_table import Crops, Probabilities, Region
from glimpse_env import GlimpseVectorEnv
from glimpse_env.backbone import build_backbone
from glimpse_env.evaluation import fixations, stopping_rules
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.networks import fcan
from glimpse_env.reports import results, run_report, table_report
from glimpse_env.runtime import checkpoint, files
from glimpse_env.training import run_folder

TIMED = 8  # images on which the times are measured, in one batch
TURNS = 3  # measurements, of which the shortest counts
# What the stage leaves in its folder, and its networks in folders of their own.
LEFT = ("*.pt", "result.json", "looks.npz", "report.html", "*/checkpoint.pt", "*/weights.pth")


def classify(plan: Plan, weights: str, data: Mapping[str, str]) -> None:
    """Train a classifier for every region, average their probabilities, and write the table.

    Args:
        plan: What all stages share.
        weights: File of the fine-tuned network.
        data: Digests of the images by split.

    Raises:
        ValueError: The stage was started before, and the options neither resume nor replace it.
    """
    start, options, folder = time.monotonic(), plan.options, plan.out / "classify"
    run_folder.check_free(folder, options, LEFT)
    training, learn = load_places(plan, plan.learn)
    env, measure = load_places(plan, plan.measure)
    backbone = build_backbone(plan.backbone, weights, options.device)
    crops = Crops(training.images, env.images, backbone, get_map_sensor(env).shape[1], plan.crop_size)
    stage_files.begin(plan.out, "classify")
    run_folder.remove(run_folder.list_files(folder, LEFT) if options.overwrite else ())
    regions = regions_table.build_regions(crops, options, learn, measure)
    probabilities = {
        region.name: load_probabilities(plan, weights, data, crops, region) for region in regions
    }
    seconds = time.monotonic() - start
    trajectories = build_trajectories(env, probabilities, options.parts, measure)
    stops = stopping_rules.HORIZON.find_stops(trajectories)
    row = build_row(f"{AGENT}, final", options, plan.measure, trajectories, seconds, env.device)
    row["rows"] = regions_table.build_rows(probabilities, env.images.labels, options.parts)
    row["cost"] = measure_cost(plan, env, crops)
    row |= fixations.measure_fixations(env, trajectories, stops, learned_start=False)
    files.write_json(folder / "result.json", row)
    trajectories.save(folder / "looks.npz")
    write_report(folder / "report.html", row)
    print(results.format_row(row))


def load_probabilities(
    plan: Plan, weights: str, data: Mapping[str, str], crops: Crops, region: Region
) -> Probabilities:
    """Return a region's class probabilities in the measured images; with --resume, they may be in a file."""
    options, file = plan.options, plan.out / "classify" / f"{region.name}.pt"
    if options.resume and file.is_file():
        saved = checkpoint.load(file, kind="region")
        checkpoint.check_same(file, saved["options"], stage_files.select_options("classify", options))
        if saved.get("data", data) != data:
            ways = "restore them, give another --out, or --overwrite instead of --resume"
            raise ValueError(f"--resume: {file} was made on other images than there are now; {ways}")
        if torch.equal(saved["learn"], region.learn) and torch.equal(saved["measure"], region.measure):
            return saved["probabilities"]
    if options.final == "linear":
        probabilities = regions_table.predict_by_linear(crops, region, options)
    else:
        own = file.with_suffix("")  # a folder
        probabilities = regions_table.predict_by_network(crops, region, options, weights, own)
    content = {"kind": "region", "options": checkpoint.plain(options), "data": dict(data)}
    content |= {"probabilities": probabilities}
    checkpoint.save(file, content | {"learn": region.learn, "measure": region.measure})
    return probabilities


def build_trajectories(
    env: GlimpseVectorEnv,
    probabilities: Mapping[str, Probabilities],
    parts: Sequence[int],
    places: Int64[Tensor, "image part"],
) -> Trajectories:
    """Return the predictions after the whole image and after each part as trajectories."""
    names = regions_table.list_combinations(parts)["whole + all parts"]
    best = [regions_table.average(probabilities, names[:step]).max(1) for step in range(1, len(names) + 1)]
    side, reach = get_map_sensor(env).shape[1], env.sensor.reach
    steps = [fcan.locations(places[:, number], side, part, reach) for number, part in enumerate(parts)]
    return Trajectories(
        index=torch.arange(len(places)),
        labels=env.images.labels,
        predictions=torch.stack([step.indices for step in best]),
        confidence=torch.stack([step.values for step in best]),
        stop=torch.zeros(len(names), len(places)),
        locations=torch.stack([torch.zeros(len(places), 2), *steps]),
    )


def measure_cost(plan: Plan, env: GlimpseVectorEnv, crops: Crops) -> dict[str, Any]:
    """Return what an image costs at test time, in measured milliseconds and in FLOP (2 x the multiply-adds).

    Stages: a pass of the network over the whole image; `find`, map and localisers; `classify`, each region.
    """
    from torch.utils.flop_counter import FlopCounterMode
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    count = min(TIMED, len(env.images))
    index = torch.arange(count, device=env.device)
    network, view = load_network(plan, plan.measure)[1], env.preset.view_size or plan.image_size
    pixels = env.images.images[env.images.stored[:count]].to(env.device)
    pixels = v2.functional.resize(pixels, [view, view], antialias=True)
    parts = (crops.side, *plan.options.parts)
    sensors = [regions_table.build_sensor(crops, env.images, part) for part in parts]
    center = torch.zeros(count, 2, device=env.device)

    def find() -> None:
        network.best(crops.backbone.map(pixels))

    def classify() -> None:
        for sensor in sensors:
            sensor.glimpses(index, center)

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.best(torch.zeros(1, *get_map_sensor(env).shape, device=env.device))
    one = crops.backbone.flops(crops.size, crops.size)
    flops = {
        "whole": one,
        "find": env.sensor.flops[0] + counter.get_total_flops(),
        "classify": one * len(parts),
    }
    works = {"whole": lambda: sensors[0].glimpses(index, center), "find": find, "classify": classify}
    seconds = {name: measure_seconds(work, env.device) for name, work in works.items()}
    stages = {name: {"milliseconds": 1000 * seconds[name] / count, "flops": flops[name]} for name in works}
    return {"images": count, "device": str(env.device), "stages": stages}


@torch.no_grad()
def measure_seconds(work: Callable[[], None], device: torch.device) -> float:
    """Return the shortest time that some work takes, after one turn to warm up."""
    seconds = []
    for _ in range(TURNS + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def write_report(target: Path, row: Mapping[str, Any]) -> None:
    """Write the table as a report; the locations in single images are in the report of the stage localise."""
    shared = {"seed": row["seed"], "paper": None}
    runs = [one | shared | {"mean_glimpses": len(one["regions"])} for one in row["rows"]]
    title = f"FCAN on {Path(row['dataset']).name}: the whole image and its parts"
    note = f"{row['images']:,} images of {row['split']}; glimpses: regions whose probabilities are averaged"
    measure = run_report.choose_measure(row)
    table_report.write_table(target, title, runs, note=f"{note}; {format_cost(row['cost'])}", measure=measure)
    print(f"report: {target}")


def format_result(row: Mapping[str, Any]) -> str:
    """Return the table and the costs for the terminal."""
    return f"{regions_table.format_rows(row['rows'])}\n{format_cost(row['cost'])}"


def format_cost(cost: Mapping[str, Any]) -> str:
    """Return what an image costs, in words."""
    stages = ", ".join(
        f"{name} {one['milliseconds']:.1f} ms, {one['flops'] / 1e9:.2f} GFLOP"
        for name, one in cost["stages"].items()
    )
    return f"test cost per image ({cost['device']}, batches of {cost['images']}): {stages}"
