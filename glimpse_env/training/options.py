"""Options shared by the agent scripts, in the groups of --help, and their checks."""

from __future__ import annotations

import math
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal

from glimpse_env import checks
from glimpse_env.checks import Kind
from glimpse_env.datasets import find_preset
from glimpse_env.datasets.base import GlimpseUnit, Moves
from glimpse_env.networks.fixed_policies import PolicyName
from glimpse_env.presets import FirstView, InitialLocation
from glimpse_env.sensors import SensorName
from glimpse_env.training.optimizers import ScheduledDescent
from glimpse_env.training.reinforce import Baseline

RewardName = Literal["confidence", "confidence_gain", "information_gain", "greedy", "delayed"]


@dataclass(frozen=True)
class DataOptions:
    """Data set and split."""

    dataset: str = "mnist"
    """A named data set (mnist, translated-mnist, cluttered-mnist, cluttered-mnist-100, clutter,
    circle-square, cub, cars, dogs); a folder with one subfolder for each class; a list of images (.csv with
    the columns path, label and maybe split; or .jsonl); or torchvision:NAME, one of torchvision's (CIFAR10,
    CIFAR100, Caltech101, Caltech256, Country211, DTD, EMNIST, EuroSAT, FGVCAircraft, FashionMNIST,
    Flowers102, Food101, GTSRB, ImageNet, Imagenette, KMNIST, MNIST, OxfordIIITPet, PCAM, Places365, QMNIST,
    RenderedSST2, SEMEION, STL10, SUN397, SVHN, StanfordCars, USPS). Images without a name of their own are
    photographs if the first has three channels and more than 96 pixels, else small images; the log says which
    recipe that means."""
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
    """Network of the crop, map and bank sensors, which is frozen: a torchvision classifier, or timm:NAME."""
    weights: str | None = "DEFAULT"
    """Weights of the backbone: a file (a path, or a name in GLIMPSE_WEIGHTS), or DEFAULT: on your own images
    those that finetune_backbone.py wrote for them to its default --out, if there are any (the log names the
    file); else the library's."""
    image_size: int | Literal["native"] | None = None
    """Side in pixels to which images are resized; native: every image keeps its own size, and glimpses are
    windows of its own pixels."""
    view_size: int | None = None
    """Side in pixels of the whole image as the network sees it."""
    glimpse_size: int | None = None
    """Side in pixels of a glimpse as the network sees it."""
    glimpse_unit: GlimpseUnit | None = None
    """Unit of --scales with --image-size native: pixels (multiples of --glimpse-size), or short_side (of each
    image)."""
    scales: tuple[float, ...] | None = None
    """Widths of a glimpse's windows, in multiples of --glimpse-size."""
    zoom: tuple[float, float] | None = None
    """Smallest and largest window, in multiples of the glimpse's size (such as 1 4), between which the policy
    also chooses how wide a glimpse is; with several --scales, a factor of all. Default: fixed widths."""
    first_view: FirstView | None = None
    """Glimpse 1: the whole image, or a glimpse at --initial-location."""
    initial_location: InitialLocation | None = None
    """Where glimpse 1 is taken with --first-view glimpse: at the centre, or at a random location."""
    first_crop: float | None = None
    """Fraction of the image's side that glimpse 1 shows with --first-view image, centred; 1 = all of it."""
    location_range: float | None = None
    """Distance of locations +-1 from the centre of the image, as a fraction of half its side."""
    moves: Moves | None = None
    """absolute: the policy chooses locations; relative: displacements from the last one (--max-move)."""
    max_move: float | None = None
    """Longest displacement with --moves relative, in units of location (half of what can be reached)."""
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
    augment_flip: bool = False
    """Change pixels as those of photographs: left-right flips instead of rotations, and reflected instead of
    black borders. Features of a frozen network are always flipped."""
    compile: bool = False
    """Compile the network and the environment's step (torch.compile; on a CPU it needs a C++ compiler). It
    takes half a minute, and on a CPU updates are then a little faster (benchmarks/compiled.py)."""
    sure: float = 0.98
    """A prediction with a higher probability than this ends a training episode, to save time; evaluation
    ignores it. 1 = all glimpses (use it with --reward confidence, which rewards every later glimpse too)."""


@dataclass(frozen=True)
class TrainedBackbone:
    """A backbone that is trained with the network (options of the group training)."""

    train_backbone: bool = False
    """Train the network named by --backbone as part of the agent, from the losses of all glimpses (DT-RAM,
    section 3.4); glimpses are pixels (--sensor pixel). Otherwise sensors run it, frozen."""
    backbone_rate: float = 2e-4
    """Peak learning rate of its weights (AdamW or SGD), on the schedule of --learning-rate."""


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


def ranged(expected: str, low: float, high: float, above: float = -math.inf) -> Kind:
    """Return the kind of numbers in [low, high] and above `above`, described in words."""
    return checks.real(low, high, above)._replace(expected=expected)


SHARE, WEIGHT, RATE = checks.real(0, 1), checks.real(0), checks.real(above=0)
BELOW_ONE = Kind("a fraction in [0, 1)", lambda value: SHARE.accepts(value) and value < 1, float)
DISCOUNT = ranged("a discount in (0, 1]", 0, 1, above=0)
DISTORTION = ranged("a fraction of the image's side in [0, 0.5]", 0, 0.5)
SURE = "a probability in (0, 1]; 1 = no prediction ends an episode"
COUNTS = ("epochs", "stop_epochs", "tune_epochs", "final_epochs", "n_epochs", "batch", "minibatch", "samples")
COUNTS += ("total_steps", "steps", "n_steps", "envs", "workers", "minibatches", "batch_size", "buffer")
COUNTS += (
    "hidden",
    "features",
    "location_features",
    "lstm",
    "depth",
    "updates",
    "memory",
    "seeds",
    "repeat",
    "kernel",
    "stride",
)
# What a number may be, by the name of its option in any script; None stands for a default, where it is one.
RANGES: dict[str, Kind] = {
    **checks.ARGUMENTS,
    **dict.fromkeys(COUNTS, checks.whole(most=2**31 - 1)),
    **dict.fromkeys(("learning_rate", "muon_rate", "head_rate", "stop_rate", "backbone_rate"), RATE),
    **dict.fromkeys(("sigma_start", "sigma_end", "sigma", "clip", "temperature"), RATE),
    **dict.fromkeys(("weight_decay", "final_penalty", "policy_weight", "loss_weight"), WEIGHT),
    **dict.fromkeys(("entropy_weight", "value_weight", "price"), WEIGHT),
    **dict.fromkeys(("label_smoothing", "curriculum", "explore", "whole", "colour"), SHARE),
    **dict.fromkeys(("gae_lambda", "location_gradient", "critic_first"), SHARE),
    **dict.fromkeys(("dropout", "ignore_stops"), BELOW_ONE),
    **dict.fromkeys(("gamma", "discount"), DISCOUNT),
    **dict.fromkeys(("augment_shift", "augment_elastic"), DISTORTION),
    **dict.fromkeys(("log_std", "stop_bias", "target_entropy"), checks.real()),
    **dict.fromkeys(
        ("whole_area", "zoom_area"), ranged("a fraction of the image's area in (0, 1]", 0, 1, above=0)
    ),
    "max_grad_norm": ranged("a norm above 0; 0 = no limit", 0, math.inf),
    "stop_clamp": ranged("a number above 0; 0 = no limit", 0, math.inf),
    "warm_up": checks.whole(0, 2**31 - 1),
    "stop_hidden": checks.whole(0, 2**20),
    "glimpses": checks.ARGUMENTS["max_glimpses"],
    "crop_size": checks.SIDE,
    "template": checks.whole(2, 2**10),
    "encoder_layers": checks.whole(0, 2**10),
    "location_discount": ranged("a discount in [0, 1]", 0, 1),
    "sure": ranged(SURE, 0, 1, above=0),
    "budget": checks.real(1),
    "seed": checks.whole(0, 2**32 - 1),
}


def check_backbone(options: Any) -> None:
    """With --train-backbone, refuse glimpses that are not the pixels of one window, and a missing name."""
    if not options.train_backbone:
        return
    preset = find_preset(options.dataset, options.root)
    sensor, scales = options.sensor or preset.sensor, options.scales or preset.scales
    if sensor != "pixel":
        raise ValueError(f"--train-backbone: its glimpses are pixels; use --sensor pixel, got {sensor}")
    if len(scales) > 1:
        widths = " ".join(map(str, scales))
        raise ValueError(f"--train-backbone: a glimpse has one window; give one of --scales {widths}")
    if options.backbone is None:
        raise ValueError("--train-backbone: give --backbone, a classifier such as resnet18")


def check_numbers(options: Any, within: str = "") -> None:
    """Refuse options outside `RANGES`; `within` is the start of the names of options in a group.

    Raises:
        ValueError: The message has the option, its value and what is allowed.
    """
    for name, value in vars(options).items():
        if is_dataclass(value):
            check_numbers(value, f"{within}{name}.")
        elif name in RANGES and value is not None:
            checks.argument(f"--{within}{name.replace('_', '-')}", value, RANGES[name])
