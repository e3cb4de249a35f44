"""Options shared by the agent scripts, in the groups of --help, and their checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glimpse_env import checks
from glimpse_env.networks.fixed_policies import PolicyName
from glimpse_env.presets import FirstView
from glimpse_env.sensors import SensorName
from glimpse_env.training.optimizers import ScheduledDescent
from glimpse_env.training.reinforce import Baseline

RewardName = Literal["confidence", "confidence_gain", "information_gain", "greedy", "delayed"]


@dataclass(frozen=True)
class DataOptions:
    """Data set and split."""

    dataset: str = "mnist"
    """A named data set (mnist, clutter, cub, cars, dogs), or a folder with one subfolder for each class."""
    root: Path | None = None
    """Folder of the data sets; default: GLIMPSE_DATA, else a cache folder in your home directory."""
    split: str = "fit"
    """Training images: fit (a twelfth is held out for validation), train (all of them), or fit:K/N (all but
    fold K of N; the result is then measured on fold K, and the test images are not used)."""


@dataclass(frozen=True)
class GlimpseOptions:
    """Sensor and size of a glimpse; None = the data set's preset."""

    sensor: SensorName | None = None
    """Source of a glimpse: pixel (pixels of the image), crop (features of a crop from a frozen network), map
    (a region of its feature map), bank (features of crops on a grid, computed once before training)."""
    backbone: str | None = None
    """Frozen network of the crop, map and bank sensors: name of a torchvision classifier."""
    weights: str | None = "DEFAULT"
    """Weights of the backbone: DEFAULT (torchvision's), or a file (a path, or a name in GLIMPSE_WEIGHTS)."""
    image_size: int | None = None
    """Side in pixels to which images are resized."""
    view_size: int | None = None
    """Side in pixels of the whole image as the network sees it."""
    glimpse_size: int | None = None
    """Side in pixels of a glimpse as the network sees it."""
    scales: tuple[float, ...] | None = None
    """Widths of a glimpse's windows, in multiples of --glimpse-size."""
    first_view: FirstView | None = None
    """Glimpse 1: the whole image, or a glimpse at the centre."""
    first_crop: float | None = None
    """Fraction of the image's side that glimpse 1 shows with --first-view image, centred; 1 = all of it."""
    location_range: float | None = None
    """Distance of locations +-1 from the centre of the image, as a fraction of half its side."""
    grid: int | None = None
    """Cells per side of the grid of --sensor bank, --policy grid, raster, --location-policy grid_softmax."""
    glimpses: int | None = None
    """Maximum number of glimpses (T)."""


@dataclass(frozen=True)
class View(DataOptions, GlimpseOptions):
    """Images, and the glimpses taken of them."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Device."""

    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """Number of CPU threads for torch."""


@dataclass(frozen=True)
class SeedOptions(RunOptions):
    """Device, seed and output folder."""

    seed: int = 0
    """Seed of the weights, the image order, the augmentation and the actions."""
    out: Path | None = None
    """Folder for checkpoint, result, plots and TensorBoard logs; default: runs/AGENT-DATASET-SEED."""
    overwrite: bool = False
    """Replace the run in --out; its files are removed when the new run begins."""


@dataclass(frozen=True)
class ResumableOptions(SeedOptions):
    """Device, seed and output folder of a run that can be interrupted and resumed."""

    resume: bool = False
    """Resume from the checkpoint in --out; the other options must be those of the interrupted run."""


@dataclass(frozen=True)
class Running(ResumableOptions):
    """Device, precision, seed and output folder."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Data type of the network's matrix products; auto = a 16-bit type where the device has hardware units
    for it, else float32 (the log says why)."""


@dataclass(frozen=True)
class NetworkOptions:
    """Sizes of the network."""

    hidden: int = 192
    """Units of the recurrent core."""
    dropout: float = 0.0
    """Dropout rate of a glimpse's values and of the features computed from them."""


@dataclass(frozen=True)
class TrainingOptions(ScheduledDescent):
    """Length, batches, losses and optimiser of the training."""

    paper: bool = False
    """Use the paper's settings as defaults; other options that are given override them."""
    epochs: int = 16
    """Number of passes over the training images."""
    batch: int = 256
    """Images per update; each of them is shown in --samples trajectories."""
    samples: int = 1
    """Trajectories per image (M); from 2, the baseline is the mean return of the image's other ones."""
    curriculum: float = 0.1
    """Fraction of the epochs over which glimpses grow from 1 to the maximum; 0 = all from the start."""
    supervision: bool = True
    """Intermediate supervision: cross-entropy at every glimpse (DT-RAM, Eq. 8); off = only at the last."""
    label_smoothing: float = 0.0
    """Label smoothing: fraction of the cross-entropy's target that is spread over all classes."""
    augment: bool = True
    """Random augmentation: small rotations, scalings and shifts (pixel sensor), or left-right flips."""
    augment_shift: float = 0.05
    """Largest random shift of --augment, as a fraction of the image's side."""
    augment_elastic: float = 0.0
    """Standard deviation of the random local shifts of --augment (elastic deformation), likewise."""
    sure: float = 0.98
    """A prediction with a higher probability than this ends a training episode, to save time; evaluation
    ignores it. 1 = all glimpses (use it with --reward confidence, which rewards every later glimpse too)."""


@dataclass(frozen=True)
class PolicyOptions:
    """Location policy, its reward and its baseline."""

    policy: PolicyName = "learned"
    """How locations are chosen: learned; or, for comparison, random, center (always the centre), or the cells
    of a fixed grid (--grid), each as far as possible from the earlier ones (grid) or row by row (raster)."""
    reward: RewardName = "confidence_gain"
    """p(label) at every later glimpse (confidence), its increase (confidence_gain), the decrease of the loss
    (information_gain), FCAN's reward (greedy), or 0/1 for the final prediction as in the papers (delayed)."""
    policy_weight: float = 0.4
    """Weight of the location policy's REINFORCE loss relative to the cross-entropy."""
    baseline: Baseline = "regression"
    """Baseline with --samples 1: a linear regression of the other images' returns on the current p(label),
    fitted at every update (regression), or an output of the network (learned, as in the papers)."""
    location_discount: float = 0.3
    """Discount per glimpse of the rewards credited to a location; 0 = the next glimpse's reward alone. Use 1
    with --reward delayed, which is given at the end."""
    explore: float = 0.0
    """Fraction of the epochs, at the start, with random locations: classes are learned before locations."""
    sigma_start: float = 0.25
    """Standard deviation of the Gaussian policy at the start, in locations (1 = half the reachable image)."""
    sigma_end: float = 0.06
    """Standard deviation at the end; it decreases linearly from --sigma-start."""


@dataclass(frozen=True)
class Training(Running, View, NetworkOptions, TrainingOptions, PolicyOptions):
    """Options of every agent that is trained with a location policy."""


def check_counts(options: object, *names: str) -> None:
    """Refuse options that are no whole number of at least 1."""
    for name in names:
        checks.count(f"--{name.replace('_', '-')}", getattr(options, name))


def check_training(options: Training) -> None:
    """Refuse values outside their ranges: counts and rates must be positive, discounts in [0, 1]."""
    check_counts(options, "epochs", "batch", "samples")
    ranges = {
        "learning_rate": (options.learning_rate > 0, "a number above 0"),
        "warm_up": (options.warm_up >= 0, "a number of updates; 0 = none"),
        "clip": (0 <= options.clip < math.inf, "a norm above 0; 0 = no limit"),
        "sure": (0 < options.sure <= 1, "a probability in (0, 1]; 1 = no prediction ends an episode"),
        "augment_shift": (0 <= options.augment_shift <= 0.5, "a fraction of the image's side in [0, 0.5]"),
        "augment_elastic": (
            0 <= options.augment_elastic <= 0.5,
            "a fraction of the image's side in [0, 0.5]",
        ),
        "location_discount": (0 <= options.location_discount <= 1, "a discount in [0, 1]"),
    }
    check_ranges(options, ranges)


def check_ranges(options: object, ranges: Mapping[str, tuple[bool, str]]) -> None:
    """Refuse options that are not valid: `ranges` says by name whether one is, and what is expected."""
    for name, (valid, expected) in ranges.items():
        if not valid:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected {expected}")
