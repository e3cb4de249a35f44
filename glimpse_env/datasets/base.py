"""What every data set is to the environment: a stack of equal-sized uint8 images with labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torchvision.transforms import v2

Split = Literal["train", "fit", "validation", "test"]
HELD_OUT = 1 / 12  # share of the training images in the validation split (5,000 of MNIST's 60,000)


@runtime_checkable
class MapStyle(Protocol):
    """A map-style torch data set of (image, label) pairs."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        ...

    def __getitem__(self, index: int, /) -> Any:  # noqa: ANN401 - a data set's own pair type
        """Return pair `index`."""
        ...


@dataclass(frozen=True)
class ImageSet:
    """Images, labels and class names of one split.

    `places` is the true centre of what tells the class, (x, y) in [-1, 1], where it is known;
    it serves measurement and is never shown to an agent.
    """

    images: UInt8[Tensor, "image channel height width"]
    labels: Int64[Tensor, " image"]
    classes: tuple[str, ...]
    places: Float[Tensor, "image 2"] | None = None

    def __post_init__(self) -> None:
        """Refuse a set that no episode could be drawn from."""
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images: expected uint8 (image, channel, height, width), got {self.images.dtype} {tuple(self.images.shape)}")
        if len(self.images) == 0 or len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images and {len(self.labels)} labels: expected as many of each, and at least one")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= len(self.classes):
            raise ValueError(f"labels run from {low} to {high}: expected 0 to {len(self.classes) - 1} for {len(self.classes)} classes")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def subset(self, keep: Int64[Tensor, " image"]) -> ImageSet:
        """Return the images at `keep`, in that order."""
        places = None if self.places is None else self.places[keep]
        return replace(self, images=self.images[keep], labels=self.labels[keep], places=places)

    def resized(self, size: int) -> ImageSet:
        """Return the set with its images resized to `size` x `size` pixels (bilinear, antialiased)."""
        if self.images.shape[-2:] == (size, size):
            return self
        return replace(self, images=v2.functional.resize(self.images, [size, size], antialias=True))


def partition(train: ImageSet, split: str) -> ImageSet:
    """Return the part of a training split that `split` names: "train" (all), "fit" or "validation".

    The partition is a fixed permutation, so that every run holds out the same images.

    Raises:
        ValueError: There is nothing to hold out.
    """
    if split == "train":
        return train
    if len(train) < 2:
        raise ValueError(f"split={split!r}: the training split has {len(train)} image, expected at least 2 to hold one out for validation")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    held = max(1, round(len(train) * HELD_OUT))
    return train.subset(order[:held] if split == "validation" else order[held:])
