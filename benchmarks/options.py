"""Options that benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Common:
    """What the runs of a benchmark share."""

    weights: str | None = "DEFAULT"
    """Weights of the backbone: DEFAULT (torchvision's), or a file, such as the one that finetune_backbone.py wrote."""
    dataset: str = "cub"
    """cub, cars, dogs (a part of one is called by its number of classes), or another that the agent takes."""
    root: Path | None = None
    """Folder of the data sets; default: GLIMPSE_DATA, else a cache folder in your home."""
    backbone: str | None = None
    """Name of the torchvision classifier; default: the data set's preset."""
    split: str = "train"
    """Images to train on: train (measured on the test images) or fit:K/N (measured on fold K of the training images)."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
