"""Options shared by the agent scripts, and the command-line parser that applies their recipes."""

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
OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class DataOptions:
    """Data set and split."""

    dataset: str = "mnist"
    """A named data set (mnist, clutter, cub, cars, dogs), or a folder with one subfolder for each class."""
    root: Path | None = None
    """Folder of the data sets; default: the environment variable GLIMPSE_DATA, else a cache folder in your home directory."""
    split: str = "fit"
    """Training images: fit (a twelfth is held out for validation), train (all of them), or fit:K/N (all but fold K of N; the result is then
    measured on fold K, and the test images are not used)."""


@dataclass(frozen=True)
class GlimpseOptions:
    """Sensor and size of a glimpse; None = the data set's preset."""

    sensor: SensorName | None = None
    """Source of a glimpse: pixel (pixels of the image), crop (features of a crop from a frozen network), map (a region of the network's
    feature map), bank (features of crops on a grid, computed once before training)."""
    backbone: str | None = None
    """Frozen network of the crop, map and bank sensors: name of a torchvision classifier."""
    weights: str | None = "DEFAULT"
    """Weights of the backbone: DEFAULT (torchvision's), or a file (a path, or a file name in the folder GLIMPSE_WEIGHTS)."""
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
    location_range: float | None = None
    """Distance of locations +-1 from the centre of the image, as a fraction of half its side."""
    grid: int | None = None
    """Cells per side of the grid: of the sensor bank, the policies grid and raster, and the location policy grid_softmax."""
    glimpses: int | None = None
    """Maximum number of glimpses (T)."""


@dataclass(frozen=True)
class View(DataOptions, GlimpseOptions):
    """Images, and the glimpses taken of them."""


@dataclass(frozen=True)
class RunOptions:
    """Seed, device and output folder."""

    seed: int = 0
    """Seed of the weights, the image order, the augmentation and the actions."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """Number of CPU threads for torch."""
    out: Path | None = None
    """Output folder for checkpoint, result, plots and TensorBoard logs; default: runs/AGENT-DATASET-SEED."""


@dataclass(frozen=True)
class ResumableOptions(RunOptions):
    """Run options of a script that can be interrupted and resumed."""

    resume: bool = False
    """Resume from the checkpoint in the output folder; the other options must be those of the interrupted run."""


@dataclass(frozen=True)
class Running(ResumableOptions):
    """Run options of a script that trains networks of this package."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Data type of the network's matrix products; auto = a 16-bit type where the device has hardware units for it, else float32 (the log
    says why)."""


@dataclass(frozen=True)
class NetworkOptions:
    """Sizes of the network."""

    hidden: int = 192
    """Units of the recurrent core."""
    dropout: float = 0.0
    """Dropout rate of a glimpse's values and of the features computed from them."""


@dataclass(frozen=True)
class TrainingOptions(Descent):
    """Length, batches, losses and optimiser of the training."""

    paper: bool = False
    """Use the paper's settings as defaults; other options that are given override them."""
    epochs: int = 16
    """Number of passes over the training images."""
    batch: int = 256
    """Images per update; each of them is shown in --samples trajectories."""
    samples: int = 1
    """Trajectories per image (M). With 2 or more, the baseline is the mean return of the image's other trajectories; with 1, --baseline."""
    curriculum: float = 0.1
    """Fraction of the epochs over which the number of glimpses grows from 1 to the maximum; 0 = all glimpses from the start."""
    supervision: bool = True
    """Intermediate supervision: cross-entropy at every glimpse (DT-RAM, Eq. 8); off = at the last glimpse only."""
    label_smoothing: float = 0.0
    """Label smoothing: fraction of the cross-entropy's target that is spread over all classes."""
    augment: bool = True
    """Augment the training images at random: small rotations, scalings and shifts (pixel sensor), left-right flips (other sensors)."""
    augment_shift: float = 0.05
    """Largest random shift of --augment, as a fraction of the image's side."""
    sure: float = 0.98
    """A prediction with a higher probability than this ends a training episode, which saves time. 1 = every episode has all glimpses (use
    it with --reward confidence, which rewards every later glimpse too). Evaluation ignores this option."""


@dataclass(frozen=True)
class PolicyOptions:
    """Location policy, its reward and its baseline."""

    policy: PolicyName = "learned"
    """How locations are chosen: learned; or, for comparison, random, center (always the centre), or the cells of a fixed grid (--grid cells
    per side), each as far as possible from the earlier ones (grid) or row by row (raster)."""
    reward: RewardName = "confidence_gain"
    """Reward of the location policy: p(label) at every later glimpse (confidence), its increase (confidence_gain), the decrease of the loss
    (information_gain), FCAN's reward (greedy), or 0/1 for the final prediction as in the papers (delayed)."""
    policy_weight: float = 0.4
    """Weight of the location policy's REINFORCE loss relative to the cross-entropy."""
    baseline: Baseline = "regression"
    """Baseline with --samples 1: a linear regression of the other images' returns on the current probability of the label, fitted at every
    update (regression), or an output of the network (learned, as in the papers)."""
    location_discount: float = 0.3
    """Discount per glimpse of the rewards that are credited to a location; 0 = the reward of the next glimpse alone. Use 1 with --reward
    delayed, which is given at the end."""
    explore: float = 0.0
    """Fraction of the epochs, at the start, in which all locations are uniformly random: the classes are learned before the locations."""
    sigma_start: float = 0.25
    """Standard deviation of the Gaussian location policy at the start, in units of location (half the reachable image)."""
    sigma_end: float = 0.06
    """Standard deviation at the end; it decreases linearly from --sigma-start."""


@dataclass(frozen=True)
class Training(Running, View, NetworkOptions, TrainingOptions, PolicyOptions):
    """Options of every agent that is trained with a location policy."""


@dataclass(frozen=True)
class StoppingOptions:
    """Stopping: the second stage of DT-RAM."""

    gamma: float = 0.995
    """Discount of the delayed reward: gamma^t for a correct prediction after t glimpses. Lower values stop sooner."""
    stop_gradient: Literal["exact", "sampled"] = "exact"
    """exact: expected reward summed over all stopping times; sampled: REINFORCE on sampled stop decisions (as in the paper)."""
    stop_input: StopInput = "confidence"
    """Input of the stop head: the prediction's confidence and the step (confidence), or the recurrent state (state, as in the paper)."""
    finetune: Literal["stop", "all"] = "stop"
    """Weights that the second stage trains: those of the stop head, on a frozen RAM (stop), or all (all, as in the paper)."""
    stop_epochs: int = 2
    """Number of epochs of the second stage."""
    stop_rate: float | None = 0.01
    """Learning rate of the stop head with --finetune stop; None = --learning-rate."""
    stop_split: str | None = None
    """Images on which stopping is learned, such as validation; default: those of --split. A network may be overconfident on the images that
    it was trained on; held-out images avoid that."""
    ram: Path | None = None
    """Checkpoint of a trained RAM to start from; the first stage (training RAM) is then skipped."""


# Groups of --help, by the base class of each.
GROUPS: dict[str, type] = {
    "run": RunOptions,
    "data": DataOptions,
    "glimpse": GlimpseOptions,
    "network": NetworkOptions,
    "training": TrainingOptions,
    "policy": PolicyOptions,
    "stopping": StoppingOptions,
}


def check_training(options: Training) -> None:
    """Refuse values outside their range: counts and rates must be positive, gamma and probabilities in (0, 1]."""
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
        raise ValueError(
            f"--sure {options.sure}: expected a probability in (0, 1]; 1 = no prediction ends an episode"
        )
    if not 0 <= options.augment_shift <= 0.5:
        raise ValueError(
            f"--augment-shift {options.augment_shift}: expected a fraction of the image's side in [0, 0.5]"
        )
    if not 0 <= options.location_discount <= 1:
        raise ValueError(f"--location-discount {options.location_discount}: expected a discount in [0, 1]")


def parse(
    kind: type[OptionsT],
    named: Mapping[str, Mapping[str, Mapping[str, Any]]],
    datasets: Mapping[str, Mapping[str, Any]],
    description: str,
    arguments: Sequence[str] | None = None,
) -> OptionsT:
    """Read the command line.

    Args:
        kind: The dataclass of options.
        named: Recipes by flag (--paper, --long) and data set.
        datasets: Recipes by data set.
        description: Shown by --help.
        arguments: The command line; None = this process's.

    A recipe replaces the defaults of other options. The data set's is applied first, then the flag's; options that are given override both.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for word in given:
        old = word.removeprefix("--").split("=")[0].replace("-", "_") if word.startswith("--") else ""
        if old in checkpoint.OLD_NAMES and not hasattr(kind, old):
            raise SystemExit(
                f"--{old.replace('_', '-')} is called --{checkpoint.OLD_NAMES[old].replace('_', '-')} now"
            )
    flags = [name for name in named if f"--{name}" in given]
    if len(flags) > 1:
        raise SystemExit(f"{' and '.join(f'--{name}' for name in flags)}: use only one of them")
    dataset = find_dataset(given) or getattr(kind, "dataset", View.dataset)
    recipe = dict(datasets.get(dataset, {}))
    for flag in flags:
        if dataset not in named[flag]:
            raise SystemExit(
                f"--{flag} is not available for --dataset {dataset} (available: {', '.join(named[flag])})"
            )
        recipe |= {flag: True, **named[flag][dataset]}
    known = {
        name: value for name, value in recipe.items() if hasattr(kind, name)
    }  # RAM has no stopping options
    return parse_in_groups(kind, kind(**known), description, given)


def parse_in_groups(
    kind: type[OptionsT], default: OptionsT, description: str, arguments: Sequence[str] | None = None
) -> OptionsT:
    """Read the command line; --help shows inherited options in the groups of `GROUPS`.

    Args:
        kind: A dataclass. A group has the fields of its most derived base class; a dataclass with fields of its own is shown as one list.
        default: Values of the options that are not given.
        description: Shown by --help.
        arguments: The command line; None = this process's.
    """
    groups: dict[str, type] = {}
    for base in kind.__mro__[1:]:
        for group, root in GROUPS.items():
            if issubclass(base, root) and not any(
                issubclass(base, other) for other in GROUPS.values() if other is not root
            ):
                groups.setdefault(group, base)
    ordered = [(group, groups[group]) for group in GROUPS if group in groups]
    own: set[str] = {one.name for one in fields(kind)}  # pyright: ignore[reportArgumentType] - a dataclass
    if own - {name for _, base in ordered for name in base.__dataclass_fields__}:
        return tyro.cli(kind, default=default, description=description, args=arguments)
    values = {
        group: base(**{name: getattr(default, name) for name in base.__dataclass_fields__})
        for group, base in ordered
    }
    nested = make_dataclass(
        "Grouped",
        [(group, Annotated[base, tyro.conf.OmitArgPrefixes], values[group]) for group, base in ordered],
    )
    given = tyro.cli(nested, description=description, args=arguments)
    return kind(
        **{name: value for group, _ in ordered for name, value in vars(getattr(given, group)).items()}
    )


def find_dataset(given: Sequence[str]) -> str:
    """Return the value of --dataset, or an empty string."""
    for position, word in enumerate(given):
        if word == "--dataset":
            return "".join(given[position + 1 : position + 2])
        if word.startswith("--dataset="):
            return word.removeprefix("--dataset=")
    return ""
