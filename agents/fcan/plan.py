"""Options of `fcan_greedy.py`, and what follows from them: files, splits, the environment, the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from finetune_backbone import FinetuneOptions, check_split

from glimpse_env import GlimpseVectorEnv, MapSensor, checks, datasets
from glimpse_env.backbone import build_backbone
from glimpse_env.networks import fcan
from glimpse_env.networks.fcan import FcanArchitecture, FullyConvolutionalAttention, Where
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.training import environments, resume, run_folder
from glimpse_env.training.finetuning import find_tuned
from glimpse_env.training.options import DataOptions, RewardName, Running, check_numbers

AGENT = "fcan_greedy"
StageName = Literal["tune", "localise", "classify"]
FirstReward = Literal["image", "part"]
Rewarded = Literal["mean", "own"]


@dataclass(frozen=True)
class StageOptions:
    """Stages, and the network that the stage tune fine-tunes."""

    paper: bool = False
    """Use the paper's settings as defaults; other options that are given override them."""
    stage: Literal["all", "tune", "localise", "classify"] = "all"
    """all: every stage that is not finished with these options; or one stage (again: --overwrite)."""
    repeat: int = 1
    """Rounds of the stages, with --final finetune: round 2, in the folder round2 of --out, starts from the
    whole image's network of round 1, and so on. The paper repeats the stages until they converge."""
    measure: str | None = None
    """Images to measure on, such as test after training on fit:1/4; default: those that --split names."""
    backbone: str | None = None
    """A torchvision classifier, or timm:NAME; default: the data set's preset, resnet50 for photographs."""
    weights: str | None = None
    """File of a network fine-tuned on the same split (finetune_backbone.py); it replaces the stage tune.
    Default: on a data set without a name, the one in finetune_backbone.py's default --out, if it is there."""
    start: str | None = "DEFAULT"
    """Initial weights of the stage tune: DEFAULT (the library's), or a file (path, or in GLIMPSE_WEIGHTS)."""
    image_size: int | None = None
    """Side in pixels of the stored images; default: the data set's preset."""
    view_size: int | None = None
    """Side in pixels of the whole image of which the feature map is computed; default: --image-size."""
    crop_size: int | None = None
    """Side in pixels of the last stage's crops, on which the network is fine-tuned; default: the data set's
    preset, 224 for photographs (the paper: 448)."""
    tune_epochs: int = 30
    """Stage tune: passes over the training images (finetune_backbone.py has more options)."""


@dataclass(frozen=True)
class LocaliseOptions:
    """The stage localise."""

    parts: tuple[int, ...] = (8, 4)
    """Sides of the parts in cells of the feature map, in glimpse order (the paper, on Dogs: 4 8)."""
    standardise: bool = True
    """Standardise the map's features by the training images' means and deviations (the paper: no mention)."""
    policy: Where = "learned"
    """How locations are chosen; random and center, for comparison, need --final none."""
    samples: int = 16
    """Locations sampled for each part of an image and update (K)."""
    reward: RewardName = "greedy"
    """Reward of a location: the paper's greedy reward (Eq. 4), or another for comparison, such as delayed."""
    first_reward: FirstReward = "image"
    """What r_1 of Eq. 4 rewards: the whole image, so that part 1 too must lower the loss (image), or part 1,
    which then need only be classified correctly (part, the paper)."""
    rewarded: Rewarded = "mean"
    """Prediction of a step that is rewarded: the mean of the probabilities of the steps so far, as at the end
    (mean), or those of the step's own classifier (own)."""
    baseline: bool = True
    """Subtract the mean reward of an image's other samples (leave-one-out). The paper has no baseline: every
    rewarded location becomes more probable, and all are rewarded where the network predicts every training
    image correctly."""
    see_earlier_maps: bool = False
    """Let a localiser also read the attention maps of the parts before it (the paper's introduction)."""
    dropout: float = 0.0
    """Dropout rate of the features from which the light classifiers learn."""
    label_smoothing: float = 0.0
    """Fraction of the target of their cross-entropy that is spread over all classes."""
    epochs: int = 15
    """Passes over the training images' maps."""
    batch: int = 32
    """Images per update at most: they are divided evenly. The paper's 512 makes few updates on small data."""
    learning_rate: float = 0.001
    """Peak learning rate of RMSProp, after a short warm-up; it falls linearly. With the paper's 0.01, score
    maps collapse to one location within a few updates on a small data set."""


@dataclass(frozen=True)
class ClassifyOptions:
    """The stage classify."""

    final: Literal["linear", "finetune", "none"] = "linear"
    """linear (a linear classifier for every region on the frozen network's features), finetune (a network of
    its own for every region, as in the paper), or none (leave the stage out)."""
    final_epochs: int = 10
    """Passes over the training images with --final finetune."""
    final_penalty: float = 0.01
    """Weight of the squared weights with --final linear."""


@dataclass(frozen=True)
class FcanOptions(Running, DataOptions, StageOptions, LocaliseOptions, ClassifyOptions):
    """Options of `fcan_greedy.py`."""

    dataset: str = "cub"
    renamed: ClassVar[Mapping[str, str]] = {"where": "policy"}  # names in earlier versions, and today's
    removed: ClassVar[Mapping[str, str]] = {
        "loss_weight": "it changed nothing, as localisers and classifiers share no parameters, and the steps "
        "of RMSProp do not depend on the scale of a loss"
    }


@dataclass(frozen=True)
class Plan:
    """What all stages share."""

    options: FcanOptions  # with the data set's preset
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
    check_numbers(options)
    fcan.check(options.parts, max(options.parts, default=1), "the map")
    check_combinations(options)
    check_split(options.split)
    preset = resolve(options.dataset, options.root, image_size=options.image_size)
    size, backbone = preset.image_size, options.backbone or preset.backbone
    crop_size = options.crop_size or (None if preset.backbone is None else preset.glimpse_size)
    if backbone is None or not isinstance(size, int) or crop_size is None:
        lacking = "give --backbone, --image-size and --crop-size, for which it has no presets"
        raise ValueError(f"--dataset {options.dataset}: {lacking}")
    checks.count("--crop-size", crop_size)
    measure = options.measure or results.choose_result_split(options.split)
    out = resume.checkpoint_path(AGENT, options).parent
    weights = options.weights
    if weights is None and options.stage != "tune" and not (out / "tune" / "checkpoint.pt").exists():
        unnamed = options.dataset not in datasets.NAMED
        weights = find_tuned(options.dataset, options.root, backbone, measure) if unnamed else None
    options = replace(options, weights=None if weights is None else str(weights))
    full = replace(options, backbone=backbone, image_size=size, crop_size=crop_size, measure=measure)
    return Plan(full, out, backbone, size, crop_size, options.split, measure)


def check_combinations(options: FcanOptions) -> None:
    """Refuse options that exclude each other."""
    run_folder.check_choice(options)
    if options.baseline and options.samples < 2:
        todo = "--baseline compares the samples of an image: give at least 2, or --no-baseline"
        raise ValueError(f"--samples {options.samples}: {todo}")
    if options.policy != "learned" and options.final != "none":
        todo = "the stage classify needs learned locations; add --final none"
        raise ValueError(f"--policy {options.policy}: {todo}")
    if options.stage == "classify" and options.final == "none":
        todo = "there is nothing to do; expected --final linear or finetune"
        raise ValueError(f"--stage classify with --final none: {todo}")
    if options.repeat > 1 and (options.stage != "all" or options.final != "finetune"):
        todo = "a further round starts from the network of the last stage; give --stage all --final finetune"
        raise ValueError(f"--repeat {options.repeat}: {todo}")
    if options.stage == "tune" and options.weights is not None:
        todo = "that network is fine-tuned already; leave one of the two out"
        raise ValueError(f"--stage tune with --weights: {todo}")


def build_finetuning(options: FcanOptions, folder: Path, images: int, **own: Any) -> FinetuneOptions:
    """Return the options for fine-tuning a network on a number of images; it may be resumed in its folder."""
    shared = ("dataset", "root", "backbone", "seed", "device", "threads")
    own |= {"out": folder, "resume": options.resume and (folder / "checkpoint.pt").is_file()}
    own |= {"overwrite": options.overwrite}
    own |= {"batch": min(FinetuneOptions.batch, images)}
    return FinetuneOptions(**{name: getattr(options, name) for name in shared}, **own)


def build_environment(plan: Plan, weights: str) -> GlimpseVectorEnv:
    """Return an environment over the training images whose glimpses are parts on a network's feature map.

    It has one row: FCAN trains on its images and their cached maps, without episodes.

    Raises:
        ValueError: Parts are larger than the map, or a cell of the map is not a whole number of pixels.
    """
    options, size = plan.options, plan.image_size
    view = options.view_size or size
    side = build_backbone(plan.backbone, weights, options.device).map_shape(view, view)[1]
    what = f"the feature map of {plan.backbone} at {view} pixels"
    fcan.check(options.parts, side, what)
    if size % side:
        expected = f"expected a multiple of {side}, so that a cell is whole pixels"
        raise ValueError(f"--image-size {size}: {what} has {side} x {side} cells; {expected}")
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
        where=options.policy,
    )
    return FullyConvolutionalAttention(architecture).to(env.device)
