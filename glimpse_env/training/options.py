"""Options shared by the agent scripts, and how the command line chooses among their recipes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from glimpse_env import checks, datasets
from glimpse_env.networks.fixed_policies import PolicyName
from glimpse_env.networks.recurrent_attention import StopInput
from glimpse_env.presets import FirstView
from glimpse_env.runtime import checkpoint
from glimpse_env.sensors import SensorName
from glimpse_env.training.optimizers import Descent
from glimpse_env.training.reinforce import Baseline

RewardName = Literal["confidence", "confidence_gain", "information_gain", "greedy", "delayed"]
Chosen = TypeVar("Chosen")


@dataclass(frozen=True)
class DataOptions:
    """Which images."""

    dataset: str = "mnist"
    """A named data set (mnist, clutter, cub, cars, dogs) or a folder of class folders."""
    root: Path | None = None
    """Folder of the data sets; default: GLIMPSE_DATA, else a cache folder in your home."""
    split: str = "fit"
    """Training images: fit (a twelfth is held out for validation), train (all of them), or fit:K/N (all but fold K of N; the result is then
    that fold's, and the test images stay unseen)."""


@dataclass(frozen=True)
class GlimpseOptions:
    """What a glimpse shows, and through which sensor; None = the data set's preset."""

    sensor: SensorName | None = None
    """What a glimpse is: pixel, crop (through a frozen network), map (a region of its feature map), bank (crops on a grid, computed
    once)."""
    backbone: str | None = None
    """Frozen network of the crop, map and bank sensors: the name of a torchvision classifier."""
    weights: str | None = "DEFAULT"
    """Its weights: DEFAULT (torchvision's), or a file (a path, or a name inside GLIMPSE_WEIGHTS)."""
    image_size: int | None = None
    """Pixels a side to which images are resized."""
    view_size: int | None = None
    """Pixels a side at which the network sees the whole image."""
    glimpse_size: int | None = None
    """Pixels a side of a glimpse as the network sees it."""
    scales: tuple[float, ...] | None = None
    """Widths of a glimpse's windows in units of glimpse_size."""
    first_view: FirstView | None = None
    """Glimpse 1: the whole image, or a glimpse at the centre."""
    location_range: float | None = None
    """Where location +-1 lies, as a share of the half image."""
    grid: int | None = None
    """Places a side of the bank sensor, of --policy grid and raster, and of --location-policy grid_softmax."""
    glimpses: int | None = None
    """Glimpses at most (T)."""


@dataclass(frozen=True)
class View(DataOptions, GlimpseOptions):
    """What is looked at."""


@dataclass(frozen=True)
class Place:
    """Where a script runs, and where it writes."""

    seed: int = 0
    """Seeds weights, image order, augmentation and actions."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
    out: Path | None = None
    """Folder for checkpoint, result, plots and TensorBoard logs; default runs/AGENT-DATASET-SEED."""


@dataclass(frozen=True)
class Lasting(Place):
    """The same for a script that can be interrupted."""

    resume: bool = False
    """Go on from the checkpoint in the output folder; the other options must be those it was started with."""


@dataclass(frozen=True)
class Running(Lasting):
    """The same for a script whose networks are the package's own."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the network's matrix products; auto = a half type where this device has units for it, else float32 (the log says why)."""


@dataclass(frozen=True)
class NetworkOptions:
    """Sizes of the network."""

    hidden: int = 192
    """Units of the recurrent core."""
    dropout: float = 0.0
    """Share of a glimpse's values, and of the features made of them, that is dropped while training."""


@dataclass(frozen=True)
class TrainingOptions(Descent):
    """How long, on what, and with which optimiser."""

    paper: bool = False
    """Start from the paper's own settings; options given beside it still count."""
    epochs: int = 16
    """Passes over the training images."""
    batch: int = 256
    """Images per update; each is looked at `samples` times."""
    samples: int = 1
    """Trajectories per image (M). From 2 on, the baseline is the mean of the image's other trajectories; 1 uses --baseline."""
    curriculum: float = 0.1
    """Share of the epochs over which the number of glimpses grows one at a time from 1; 0 = all glimpses from the start."""
    supervision: bool = True
    """Intermediate supervision: cross-entropy at every glimpse (DT-RAM, Eq. 8); off = at the last one only."""
    label_smoothing: float = 0.0
    """Share of the target of the cross-entropy that is spread over all classes."""
    augment: bool = True
    """Change the training images at random: small rotations, scalings and shifts (pixel sensor), left-right reversal (the others)."""
    augment_shift: float = 0.05
    """Largest of these shifts, as a share of the image's side."""
    sure: float = 0.98
    """Answers more probable than this end an episode of training, which saves time: later glimpses are learned where they are needed.
    1 = every episode has all glimpses (use it with --reward confidence, which later glimpses earn again). Evaluation does not use it."""


@dataclass(frozen=True)
class PolicyOptions:
    """Where to look: the location policy, its reward and its baseline."""

    policy: PolicyName = "learned"
    """Where to look: learned; or, to compare with, random places, always the centre, or the places of a fixed grid (--grid a side) in an
    order that spreads out (grid) or row by row (raster)."""
    reward: RewardName = "confidence_gain"
    """What the location policy is paid: p(label) at every later glimpse, its gain, the drop in loss, FCAN's greedy reward, or the
    papers' 0/1 at the end."""
    policy_weight: float = 0.4
    """Weight of the location policy's REINFORCE loss beside the cross-entropy."""
    baseline: Baseline = "regression"
    """Baseline of one trajectory an image: a line through the other images' returns against the present probability of the label, fitted
    at every update (regression), or a head on the recurrent state (learned; the papers')."""
    location_discount: float = 0.3
    """Discount a glimpse of the later rewards that a location is credited with; 0 = those of the next glimpse alone. Use 1
    with --reward delayed, which comes at the end."""
    explore: float = 0.0
    """Share of the epochs in which all places are drawn uniformly at random: classes are learned first, then where to look."""
    sigma_start: float = 0.25
    """Standard deviation of the location policy when it begins, in units of location (half the reachable image)."""
    sigma_end: float = 0.06
    """The same at the end; it falls linearly."""


@dataclass(frozen=True)
class Training(Running, View, NetworkOptions, TrainingOptions, PolicyOptions):
    """Options of every agent that is trained with a location policy."""


@dataclass(frozen=True)
class StoppingOptions:
    """When to stop: the second stage of DT-RAM."""

    gamma: float = 0.995
    """Discount of the delayed reward: gamma^t for a correct prediction after t glimpses. Lower stops sooner."""
    stop_gradient: Literal["exact", "sampled"] = "exact"
    """exact: expected reward summed over all stopping times; sampled: REINFORCE on sampled stop decisions (the paper's)."""
    stop_input: StopInput = "confidence"
    """What the stop head reads: the prediction's confidence and the step, or the recurrent state (the paper's)."""
    finetune: Literal["stop", "all"] = "stop"
    """What the second stage trains: the stop head on a frozen RAM, or the whole network (the paper's)."""
    stop_epochs: int = 2
    """Epochs of the second stage."""
    stop_rate: float | None = 0.01
    """Learning rate of the stop head where the rest is frozen (--finetune stop); None: --learning-rate."""
    stop_split: str | None = None
    """Images on which stopping is learned, such as validation; default: those of --split. A network may be too sure of images that it was
    trained on: held-out ones show how often it is right."""
    ram: Path | None = None
    """Checkpoint of a trained RAM to start from; the first stage is then skipped."""


# Groups of --help, by the class that begins each.
GROUPS: dict[str, type] = {
    "run": Place,
    "data": DataOptions,
    "glimpse": GlimpseOptions,
    "network": NetworkOptions,
    "training": TrainingOptions,
    "policy": PolicyOptions,
    "stopping": StoppingOptions,
}


def check_training(options: Training) -> None:
    """Check numbers: counts and rates must be positive, discounts and probabilities in (0, 1]."""
    for name in ("epochs", "stop_epochs", "batch", "samples"):
        if hasattr(options, name):
            checks.count(f"--{name.replace('_', '-')}", getattr(options, name))
    stop_split = getattr(options, "stop_split", None)
    if stop_split is not None:
        datasets.check_split(stop_split)
    for name in ("learning_rate", "stop_rate"):
        rate = getattr(options, name, None)
        if rate is not None and rate <= 0:
            raise ValueError(f"--{name.replace('_', '-')} {rate}: expected a number above 0")
    gamma = getattr(options, "gamma", 1.0)
    if not 0 < gamma <= 1:
        raise ValueError(f"--gamma {gamma}: expected a discount in (0, 1]")
    if not 0 < options.sure <= 1:
        raise ValueError(f"--sure {options.sure}: expected a probability in (0, 1]; 1 = no answer ends an episode")
    if not 0 <= options.augment_shift <= 0.5:
        raise ValueError(f"--augment-shift {options.augment_shift}: expected a share of the image's side in [0, 0.5]")
    if not 0 <= options.location_discount <= 1:
        raise ValueError(f"--location-discount {options.location_discount}: expected a discount in [0, 1]")


def parse(
    kind: type[Chosen],
    named: Mapping[str, Mapping[str, Mapping[str, Any]]],
    datasets: Mapping[str, Mapping[str, Any]],
    description: str,
    arguments: Sequence[str] | None = None,
) -> Chosen:
    """Read the command line.

    Args:
        kind: The dataclass of options.
        named: Recipes by flag (--paper, --long) and data set.
        datasets: Recipes by data set.
        description: Shown by --help.
        arguments: The command line; None = this process's.

    Recipes change the defaults of the other options: first the data set's, then that of a flag. Options given by hand count last.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for word in given:
        old = word.removeprefix("--").split("=")[0].replace("-", "_") if word.startswith("--") else ""
        if old in checkpoint.OLD_NAMES and not hasattr(kind, old):
            raise SystemExit(f"--{old.replace('_', '-')} is called --{checkpoint.OLD_NAMES[old].replace('_', '-')} now")
    flags = [name for name in named if f"--{name}" in given]
    if len(flags) > 1:
        raise SystemExit(f"{' and '.join(f'--{name}' for name in flags)}: choose one of them")
    dataset = chosen_dataset(given) or getattr(kind, "dataset", View.dataset)
    recipe = dict(datasets.get(dataset, {}))
    for flag in flags:
        if dataset not in named[flag]:
            raise SystemExit(f"--{flag} is not available for --dataset {dataset} (available: {', '.join(named[flag])})")
        recipe |= {flag: True, **named[flag][dataset]}
    known = {name: value for name, value in recipe.items() if hasattr(kind, name)}  # a RAM has no options of stopping
    return parse_in_groups(kind, kind(**known), description, given)


def parse_in_groups(kind: type[Chosen], default: Chosen, description: str, arguments: Sequence[str] | None = None) -> Chosen:
    """Read the command line; --help shows options that are inherited from the classes of `GROUPS` in these groups.

    Args:
        kind: A dataclass: each group's fields are those of its most derived class. One with fields of its own is shown as one list.
        default: Values of the options that are not given.
        description: Shown by --help.
        arguments: The command line; None = this process's.
    """
    groups: dict[str, type] = {}
    for base in kind.__mro__[1:]:
        for group, root in GROUPS.items():
            if issubclass(base, root) and not any(issubclass(base, other) for other in GROUPS.values() if other is not root):
                groups.setdefault(group, base)
    ordered = [(group, groups[group]) for group in GROUPS if group in groups]
    own: set[str] = {one.name for one in fields(kind)}  # pyright: ignore[reportArgumentType] - a dataclass
    if own - {name for _, base in ordered for name in base.__dataclass_fields__}:
        return tyro.cli(kind, default=default, description=description, args=arguments)
    values = {group: base(**{name: getattr(default, name) for name in base.__dataclass_fields__}) for group, base in ordered}
    nested = make_dataclass("Grouped", [(group, Annotated[base, tyro.conf.OmitArgPrefixes], values[group]) for group, base in ordered])
    given = tyro.cli(nested, description=description, args=arguments)
    return kind(**{name: value for group, _ in ordered for name, value in vars(getattr(given, group)).items()})


def chosen_dataset(given: Sequence[str]) -> str:
    """Return the value of --dataset, or an empty string."""
    for position, word in enumerate(given):
        if word == "--dataset":
            return "".join(given[position + 1 : position + 2])
        if word.startswith("--dataset="):
            return word.removeprefix("--dataset=")
    return ""
