"""From FCAN's options to the network's feature map, the environment of the common metric, and the localising network."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fcan.plan import FcanOptions
from glimpse_env import Backbone, GlimpseVectorEnv, MapSensor, checks, datasets
from glimpse_env.datasets import held_out
from glimpse_env.networks import fcan
from glimpse_env.networks.fcan import FcanArchitecture, FullyConvolutionalAttention
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import environments


@dataclass(frozen=True)
class Plan:
    """What all stages agree on."""

    options: FcanOptions  # the data set's preset filled in
    out: Path
    backbone: str
    image_size: int
    crop_size: int
    learn: str  # split that is learned from
    measure: str  # split that is measured


def planned(options: FcanOptions) -> Plan:
    """Check the options that need no data, and fill in the data set's preset.

    Raises:
        ValueError: An option outside what is allowed; the message names it.
    """
    positive = {"samples": options.samples, "batch": options.batch, "epochs": options.epochs, "tune_epochs": options.tune_epochs}
    for name, value in (positive | {"final_epochs": options.final_epochs}).items():
        checks.count(f"--{name.replace('_', '-')}", value)
    if options.baseline and options.samples < 2:
        raise ValueError(f"--samples {options.samples}: --baseline compares the samples of an image: give at least 2, or --no-baseline")
    fcan.check(options.parts, max(options.parts, default=1), "the map")
    if options.where != "learned" and options.final != "none":
        raise ValueError(f"--where {options.where}: the final stage compares learned places with random and central ones; add --final none")
    if options.stage == "classify" and options.final == "none":
        raise ValueError("--stage classify with --final none: there is nothing to do; expected --final linear or finetune")
    if options.stage == "tune" and options.weights is not None:
        raise ValueError("--stage tune with --weights: that network is tuned already; leave one of the two out")
    if held_out(options.split) is None and options.split != "train":
        raise ValueError(f"--split {options.split}: expected train, fit or fit:K/N (training images)")
    preset = resolve(options.dataset, image_size=options.image_size)
    backbone = options.backbone or preset.backbone
    crop_size = options.crop_size or (None if preset.backbone is None else preset.glimpse_size)
    if backbone is None or preset.image_size is None or crop_size is None:
        raise ValueError(f"--dataset {options.dataset}: give --backbone, --image-size and --crop-size, for which it has no presets")
    checks.count("--crop-size", crop_size)
    out = options.out or Path("runs") / checkpoint.run_name("fcan_greedy", options.dataset, options.split, options.seed)
    measure = options.measure or results.choose_result_split(options.split)
    chosen = replace(options, backbone=backbone, image_size=preset.image_size, crop_size=crop_size, measure=measure)
    return Plan(chosen, out, backbone, preset.image_size, crop_size, options.split, measure)


def images_of(plan: Plan, split: str) -> datasets.ImageSet:
    """Return the images of a split."""
    return datasets.load(plan.options.dataset, split, root=plan.options.root, image_size=plan.image_size)


def look(plan: Plan, weights: str | None) -> dict[str, Any]:
    """Return the arguments of the environment in which parts are glimpses on the feature map of the tuned network.

    Raises:
        ValueError: Parts larger than the map, or a map whose cells are no whole number of pixels.
    """
    options, image = plan.options, plan.image_size
    view = options.view_size or image
    shape = Backbone(plan.backbone, weights, options.device).map_shape(view, view)
    side, what = shape[1], f"the feature map of {plan.backbone} at {view} pixels"
    fcan.check(options.parts, side, what)
    if image % side:
        raise ValueError(
            f"--image-size {image}: {what} has {side} x {side} cells; expected a multiple of {side}, so that a cell is whole pixels"
        )
    return {
        "dataset": options.dataset,
        "root": None if options.root is None else str(options.root),
        "weights": weights,
        "sensor": "map",
        "backbone": plan.backbone,
        "image_size": image,
        "view_size": view,
        "glimpse_size": image // side,
        "scales": tuple(map(float, options.parts)),
        "first_view": "image",
        "location_range": fcan.reach(side, options.parts),
        "max_glimpses": len(options.parts) + 1,
        "show_map": True,
    }


def rebuilding(env: GlimpseVectorEnv, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a checkpoint keeps, presets filled in."""
    return {name: arguments[name] for name in ("dataset", "root", "weights")} | asdict(env.preset)


def map_sensor(env: GlimpseVectorEnv) -> MapSensor:
    """Return the environment's sensor, which shows feature maps."""
    assert isinstance(env.sensor, MapSensor)
    return env.sensor


def network_for(env: GlimpseVectorEnv, options: FcanOptions) -> FullyConvolutionalAttention:
    """Return a new network for the environment's map."""
    channels, side, _ = map_sensor(env).shape
    architecture = FcanArchitecture(
        glimpse=environments.count_glimpse_values(env),
        classes=len(env.images.classes),
        channels=channels,
        side=side,
        parts=options.parts,
        see_earlier_maps=options.see_earlier_maps,
        where=options.where,
    )
    return FullyConvolutionalAttention(architecture).to(env.device)
