"""Options shared by the agent scripts, and how the command line chooses among their presets."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro

from glimpse_env.learning.networks import Core, What, Where

RewardName = Literal["confidence", "confidence_gain", "information_gain", "greedy", "delayed"]
Chosen = TypeVar("Chosen")


@dataclass(frozen=True)
class Options:
    """Options of every recurrent agent."""

    paper: bool = False
    """Start from the paper's own settings; options given beside it still count."""
    long: bool = False
    """Start from the longer, more accurate settings (about an hour on two CPU cores)."""
    dataset: str = "mnist"
    """A named data set (mnist, clutter) or a folder of class folders."""
    root: Path | None = None
    """Folder in which a relative data set folder is looked for."""
    seed: int = 0
    """Seeds weights, image order, augmentation and actions."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the network's matrix products; auto = whichever this device multiplies faster."""
    out: Path | None = None
    """Folder for checkpoint, result, plots and TensorBoard logs; default runs/AGENT-DATASET-SEED."""
    resume: bool = False
    """Go on from the checkpoint in the output folder; the other options must be those it was started with."""

    epochs: int = 40
    """Passes over the training images."""
    batch: int = 256
    """Images per update; each is looked at `samples` times."""
    samples: int = 2
    """Trajectories per image (M). From 2 on their leave-one-out mean is the baseline; 1 uses a learned baseline."""
    glimpses: int | None = None
    """Glimpses at most (T); default: the data set's preset."""
    curriculum: float = 0.3
    """Share of the epochs over which the number of glimpses grows one at a time from 1; 0 = all glimpses from the start."""
    supervision: bool = True
    """Intermediate supervision: cross-entropy at every glimpse (DT-RAM, Eq. 8); off = at the last one only."""
    augment: bool = True
    """Small random rotations, scalings and shifts of the training images."""
    reward: RewardName = "confidence"
    """What the location policy is paid: p(label) at every later glimpse, its gain, the drop in loss, FCAN's greedy reward, or the
    papers' 0/1 at the end."""
    policy_weight: float = 0.3
    """Weight of the location policy's REINFORCE loss beside the cross-entropy."""
    sigma_start: float = 0.15
    """Standard deviation of the location policy at the start, in units of location (half the reachable image)."""
    sigma_end: float = 0.05
    """The same at the end; it falls linearly."""

    core: Core = "lstm"
    """Recurrent core: lstm, or rnn (the paper's ReLU layer)."""
    hidden: int = 256
    """Units of the recurrent core."""
    features: int = 256
    """Units of the glimpse network's branches for what and where."""
    depth: int = 3
    """ReLU layers of its branch for what."""
    what: What = "mlp"
    """How the pixels are seen: fully connected layers, or convolutions beside them (for larger glimpses, such as clutter's)."""
    shortcut: bool = False
    """Let the class scores also read the glimpse's own features: learning starts even where telling glimpses are rare (clutter)."""
    where: Where = "fourier"
    """How the location meets the pixels: gating by Fourier features, or linear (the paper's)."""
    learned_start: bool = False
    """Learn the place of the first glimpse (DT-RAM's code) instead of starting at the centre."""

    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    """muon: Muon for the hidden matrices, AdamW for the rest."""
    learning_rate: float = 2e-3
    """Peak learning rate of AdamW or SGD, reached in a short warm-up; it falls linearly."""
    muon_rate: float = 0.01
    """Peak learning rate of Muon."""
    weight_decay: float = 0.02
    """Decoupled weight decay of the matrices (SGD: none)."""


# The papers' settings (Li et al. 2017 section 4.1, and their public code where the paper is silent): ReLU core, one sample with a learned
# baseline, 0/1 reward at the end, constant sigma, SGD with batches of 20, no augmentation.
PAPER: dict[str, Any] = {
    "epochs": 800,
    "batch": 20,
    "samples": 1,
    "augment": False,
    "reward": "delayed",
    "policy_weight": 1.0,
    "sigma_start": 0.22,
    "sigma_end": 0.22,
    "core": "rnn",
    "features": 128,
    "depth": 1,
    "where": "linear",
    "learned_start": True,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "precision": "float32",
}
LONG: dict[str, Any] = {"epochs": 240}


def parse(kind: type[Chosen], presets: Mapping[str, Chosen], description: str, arguments: Sequence[str] | None = None) -> Chosen:
    """Read the command line; a flag that names a preset (--paper, --long) makes that preset the defaults of all other options."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    named = [name for name in presets if f"--{name}" in given]
    if len(named) > 1:
        raise SystemExit(f"{' and '.join(f'--{name}' for name in named)}: choose one of them")
    default = presets[named[0]] if named else kind()
    return tyro.cli(kind, default=default, description=description, args=given)
