"""Options of `fcan_greedy.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glimpse_env.networks.fcan import Where
from glimpse_env.training.options import RewardName, Running

StageName = Literal["tune", "localise", "classify"]
Final = Literal["linear", "finetune", "none"]


@dataclass(frozen=True)
class FcanOptions(Running):
    """Options of `fcan_greedy.py`."""

    stage: Literal["all", "tune", "localise", "classify"] = "all"
    """all: every stage, but for those that are done with these options; or one stage, made anew on the files of the earlier ones."""
    dataset: str = "cub"
    """A named data set (cub, cars, dogs, clutter, mnist) or a folder of class folders."""
    root: Path | None = None
    """Folder of the data sets; default: GLIMPSE_DATA, else a cache folder in your home."""
    split: str = "fit"
    """Training images: fit (a twelfth is held out for validation), train (all of them), or fit:K/N (all but fold K of N; the result is then
    that fold's, and the test images stay unseen)."""
    measure: str | None = None
    """Images to measure on instead, such as test after training on fit:1/4."""
    backbone: str | None = None
    """Name of a torchvision classifier; default: the data set's preset, resnet50 for photographs."""
    weights: str | None = None
    """File of a network that is fine-tuned already, on the same split (finetune_backbone.py): takes the place of the stage tune."""
    start: str | None = "DEFAULT"
    """Weights that the stage tune begins with: DEFAULT (torchvision's), or a file (a path, or a name inside GLIMPSE_WEIGHTS)."""
    image_size: int | None = None
    """Pixels a side of the stored images; default: the data set's preset."""
    view_size: int | None = None
    """Pixels a side at which the network sees the whole image to make its feature map; default: that of the stored images."""
    crop_size: int | None = None
    """Pixels a side to which the final stage resizes its crops, and at which the network is tuned; default: the data set's preset, 224 for
    photographs (the paper: 448)."""

    tune_epochs: int = 30
    """Stage tune: passes over the training images (finetune_backbone.py has more options)."""

    parts: tuple[int, ...] = (8, 4)
    """Stage localise: sides of the parts in cells of the feature map, in the order in which they are looked at (the paper's on
    Stanford Dogs: 4 8)."""
    where: Where = "learned"
    """Where parts are looked for; random or center, with --final none, trains the light classifiers on places that are not learned."""
    samples: int = 16
    """Places drawn for each part of an image and update (K)."""
    reward: RewardName = "greedy"
    """What a place is paid: the paper's greedy reward (Eq. 4), or another for comparison, such as delayed."""
    baseline: bool = True
    """Take off the mean reward of an image's other samples (leave-one-out). The paper has no baseline: every place that is paid is then
    sought again, and where the tuned network knows all its training images all places are paid."""
    loss_weight: float = 1.0
    """Weight of the classifiers' cross-entropy beside the reward (lambda)."""
    see_earlier_maps: bool = False
    """Let a localiser read the attention maps of the parts before it too (the paper's introduction)."""
    dropout: float = 0.0
    """Share of the features that is dropped while the light classifiers learn."""
    label_smoothing: float = 0.0
    """Share of the target of their cross-entropy that is spread over all classes."""
    epochs: int = 15
    """Passes over the training images' maps."""
    batch: int = 32
    """Images per update at most: the images of an epoch are shared out evenly. The paper's 512 is a few updates an epoch on a small set."""
    learning_rate: float = 0.001
    """Peak learning rate of RMSProp, reached in a short warm-up; it falls linearly. The paper's 0.01 makes score maps collapse to one place
    within a few updates on a small set."""

    final: Final = "linear"
    """Stage classify: linear (a new linear classifier for every region on the frozen network's features), finetune (a network of its own
    for every region, as in the paper), or none (leave the stage out)."""
    final_epochs: int = 10
    """Passes over the training images with --final finetune."""
    final_penalty: float = 0.01
    """Weight of the squared weights with --final linear."""
