"""Options that benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Common:
    """The options that the runs of a benchmark share."""

    weights: str | None = "DEFAULT"
    """Weights of the backbone: DEFAULT (torchvision's), or a file, such as finetune_backbone.py's."""
    dataset: str = "cub"
    """cub, cars, dogs (a part of one is called by its number of classes), or another of the agent."""
    root: Path | None = None
    """Folder of the data sets; default: GLIMPSE_DATA, else a cache folder in your home."""
    backbone: str | None = None
    """Name of the torchvision classifier; default: the data set's preset."""
    split: str = "train"
    """Images to train on: train (measured on test) or fit:K/N (measured on fold K of the training images)."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
