"""Options of `fcan_greedy.py`, and what follows from them: files and splits, the environment on feature maps, the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from glimpse_env import Backbone, GlimpseVectorEnv, MapSensor, checks, datasets
from glimpse_env.networks import fcan
from glimpse_env.networks.fcan import FcanArchitecture, FullyConvolutionalAttention, Where
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.training import environments, resume
from glimpse_env.training.options import RewardName, Running

AGENT = "fcan_greedy"
StageName = Literal["tune", "localise", "classify"]
Final = Literal["linear", "finetune", "none"]


@dataclass(frozen=True)
class FcanOptions(Running):
    """Options of `fcan_greedy.py`."""

    stage: Literal["all", "tune", "localise", "classify"] = "all"
    """all: every stage, except those that are finished with these options; or one stage, run again on the files of the earlier ones."""
    dataset: str = "cub"
    """A named data set (cub, cars, dogs, clutter, mnist) or a folder of class folders."""
    root: Path | None = None
    """Folder of the data sets; default: GLIMPSE_DATA, else a cache folder in your home."""
    split: str = "fit"
    """Training images: fit (a twelfth is held out for validation), train (all of them), or fit:K/N (all but fold K of N; the result is then
    that fold's, and the test images stay unused)."""
    measure: str | None = None
    """Images to measure on instead, such as test after training on fit:1/4."""
    backbone: str | None = None
    """Name of a torchvision classifier; default: the data set's preset, resnet50 for photographs."""
    weights: str | None = None
    """File of a network that was fine-tuned on the same split (by finetune_backbone.py); it replaces the stage tune."""
    start: str | None = "DEFAULT"
    """Initial weights of the stage tune: DEFAULT (torchvision's), or a file (a path, or a name inside GLIMPSE_WEIGHTS)."""
    image_size: int | None = None
    """Pixels a side of the stored images; default: the data set's preset."""
    view_size: int | None = None
    """Pixels a side of the whole image from which the network computes its feature map; default: that of the stored images."""
    crop_size: int | None = None
    """Pixels a side to which the final stage resizes its crops, and on which the network is fine-tuned; default: the data set's preset, 224
    for photographs (the paper: 448)."""

    tune_epochs: int = 30
    """Stage tune: passes over the training images (finetune_backbone.py has more options)."""

    parts: tuple[int, ...] = (8, 4)
    """Stage localise: sides of the parts in cells of the feature map, in the order in which they are glimpsed (the paper's on
    Stanford Dogs: 4 8)."""
    where: Where = "learned"
    """Locations of the parts; random or center, with --final none, trains the light classifiers on locations that are not learned."""
    samples: int = 16
    """Locations sampled for each part of an image and update (K)."""
    reward: RewardName = "greedy"
    """Reward of a location: the paper's greedy reward (Eq. 4), or another for comparison, such as delayed."""
    baseline: bool = True
    """Subtract the mean reward of an image's other samples (leave-one-out). The paper has no baseline: every rewarded location then
    becomes more probable, and where the fine-tuned network predicts all its training images correctly all locations are rewarded."""
    loss_weight: float = 1.0
    """Weight of the classifiers' cross-entropy beside the reward (lambda)."""
    see_earlier_maps: bool = False
    """Let a localiser also read the attention maps of the parts before it (the paper's introduction)."""
    dropout: float = 0.0
    """Share of the features that is dropped while the light classifiers learn."""
    label_smoothing: float = 0.0
    """Share of the target of their cross-entropy that is spread over all classes."""
    epochs: int = 15
    """Passes over the training images' maps."""
    batch: int = 32
    """Images per update at most: an epoch's images are divided evenly. The paper's 512 makes few updates an epoch on a small data set."""
    learning_rate: float = 0.001
    """Peak learning rate of RMSProp, reached in a short warm-up; it falls linearly. With the paper's 0.01, score maps collapse to one
    location within a few updates on a small data set."""

    final: Final = "linear"
    """Stage classify: linear (a new linear classifier for every region on the frozen network's features), finetune (a network of its own
    for every region, as in the paper), or none (leave the stage out)."""
    final_epochs: int = 10
    """Passes over the training images with --final finetune."""
    final_penalty: float = 0.01
    """Weight of the squared weights with --final linear."""


@dataclass(frozen=True)
class Plan:
    """What all stages share."""

    options: FcanOptions  # the data set's preset filled in
    out: Path
    backbone: str
    image_size: int
    crop_size: int
    learn: str  # split of the training images
    measure: str  # split of the images on which results are measured


def build_plan(options: FcanOptions) -> Plan:
    """Check the options that need no data, and fill in the data set's preset.

    Raises:
        ValueError: An option is outside what is allowed; the message names it.
    """
    for name in ("samples", "batch", "epochs", "tune_epochs", "final_epochs"):
        checks.count(f"--{name.replace('_', '-')}", getattr(options, name))
    if options.baseline and options.samples < 2:
        raise ValueError(
            f"--samples {options.samples}: --baseline compares the samples of an image: give at least 2, or --no-baseline"
        )
    fcan.check(options.parts, max(options.parts, default=1), "the map")
    if options.where != "learned" and options.final != "none":
        raise ValueError(
            f"--where {options.where}: the stage classify needs learned locations; add --final none"
        )
    if options.stage == "classify" and options.final == "none":
        raise ValueError(
            "--stage classify with --final none: there is nothing to do; expected --final linear or finetune"
        )
    if options.stage == "tune" and options.weights is not None:
        raise ValueError(
            "--stage tune with --weights: that network is fine-tuned already; leave one of the two out"
        )
    if datasets.held_out(options.split) is None and options.split != "train":
        raise ValueError(f"--split {options.split}: expected train, fit or fit:K/N (training images)")
    preset = resolve(options.dataset, image_size=options.image_size)
    backbone = options.backbone or preset.backbone
    crop_size = options.crop_size or (None if preset.backbone is None else preset.glimpse_size)
    if backbone is None or preset.image_size is None or crop_size is None:
        raise ValueError(
            f"--dataset {options.dataset}: give --backbone, --image-size and --crop-size, for which it has no presets"
        )
    checks.count("--crop-size", crop_size)
    measure = options.measure or results.choose_result_split(options.split)
    full = replace(
        options, backbone=backbone, image_size=preset.image_size, crop_size=crop_size, measure=measure
    )
    out = resume.checkpoint_path(AGENT, options).parent
    return Plan(full, out, backbone, preset.image_size, crop_size, options.split, measure)


def load_images(plan: Plan, split: str) -> datasets.ImageSet:
    """Return the images of a split."""
    return datasets.load(plan.options.dataset, split, root=plan.options.root, image_size=plan.image_size)


def build_environment(plan: Plan, weights: str) -> GlimpseVectorEnv:
    """Return an environment over the training images whose glimpses are the parts on a fine-tuned network's feature map.

    It has one row: FCAN trains on its images and their cached maps, without episodes.

    Raises:
        ValueError: Parts are larger than the map, or a cell of the map is not a whole number of pixels.
    """
    options, size = plan.options, plan.image_size
    view = options.view_size or size
    side = Backbone(plan.backbone, weights, options.device).map_shape(view, view)[1]
    what = f"the feature map of {plan.backbone} at {view} pixels"
    fcan.check(options.parts, side, what)
    if size % side:
        raise ValueError(
            f"--image-size {size}: {what} has {side} x {side} cells; expected a multiple of {side}, so that a cell is whole pixels"
        )
    arguments: dict[str, Any] = {
        "dataset": options.dataset,
        "root": None if options.root is None else str(options.root),
        "weights": weights,
        "sensor": "map",
        "backbone": plan.backbone,
        "image_size": size,
        "view_size": view,
        "glimpse_size": size // side,
        "scales": tuple(map(float, options.parts)),
        "first_view": "image",
        "location_range": fcan.reach(side, options.parts),
        "max_glimpses": len(options.parts) + 1,
        "show_map": True,
    }
    return environments.build_evaluation_environment(arguments, plan.learn, options.device, rows=1)


def get_map_sensor(env: GlimpseVectorEnv) -> MapSensor:
    """Return the environment's sensor, which shows feature maps."""
    assert isinstance(env.sensor, MapSensor)
    return env.sensor


def build_network(env: GlimpseVectorEnv, options: FcanOptions) -> FullyConvolutionalAttention:
    """Return a new network for the environment's map."""
    channels, side, _ = get_map_sensor(env).shape
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
