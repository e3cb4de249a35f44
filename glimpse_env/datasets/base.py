"""What the environment gets of a data set: equal-sized uint8 images with labels; and specs of named ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from glimpse_env import checks
from glimpse_env.datasets.decode import Fit, to_square
from glimpse_env.datasets.native.store import NativeStore
from glimpse_env.native_retina import Unit
from glimpse_env.retina import Fill
from glimpse_env.runtime import checkpoint

Split = Literal["train", "fit", "validation", "test"]
FOLD = re.compile(r"(fit|validation):(\d+)/(\d+)")
PICTURE = 320  # pixels of the short side: images for drawing are not halved below it
HELD_OUT = 1 / 12  # share of the training images in the validation split (5,000 of MNIST's 60,000)

GlimpseUnit = Unit
FirstView = Literal["image", "glimpse"]
Moves = Literal["absolute", "relative"]
InitialLocation = Literal["center", "random"]
Kind = Literal["digits", "canvas", "clutter", "shapes", "photographs"]  # agents have one recipe for each


@dataclass(frozen=True)
class Native:
    """The `image_size` of images that are not resized, but for the whole images, `view` pixels a side."""

    view: int = 224


ImageSize = int | Native | None  # None = the images' own, which must be one size


@dataclass(frozen=True)
class Preset:
    """How the environment shows a data set by default; every field is an argument of `GlimpseVectorEnv`."""

    image_size: int | Literal["native"] | None = None  # side in pixels; None = as the data set has it
    glimpse_size: int | None = None  # side of the observation in pixels; None = a quarter of the image's side
    scales: tuple[float, ...] = (1.0,)  # window widths in units of glimpse_size, each shrunk to glimpse_size
    glimpse_unit: GlimpseUnit = "pixels"  # of scales, image_size="native" only; "short_side" = shares of it
    zoom: tuple[float, float] | None = None  # smallest, largest window: the action chooses; None = fixed ones
    first_view: FirstView = "image"  # glimpse 1: the whole image, or a glimpse at initial_location
    first_crop: float = 1.0  # share of the side that "the whole image" of glimpse 1 shows: a centred crop
    initial_location: InitialLocation = "center"
    location_range: float | None = None  # where location +-1 lies; None = the smallest window stays inside
    moves: Moves = "absolute"  # an action's location is one, or "relative": a displacement from the last one
    max_move: float | None = None  # the longest displacement, in units of location; with "relative" alone
    fill: Fill = "zero"  # pixels beyond the image
    max_glimpses: int = 6  # T, the horizon
    sensor: str = "pixel"  # a name of `sensors.SENSORS`
    backbone: str | None = None  # the network of a sensor that runs one
    grid: int = 5  # cells per side, for sensors on a grid and actions that choose a cell
    view_size: int | None = None  # side of a network's whole image; None = glimpse_size (map: image_size)
    context: bool = False  # observations hold the whole image, small, too; it costs pixels, not a glimpse
    show_map: bool = False  # observations hold the whole feature map too

    @property
    def axes(self) -> int:
        """How many numbers a location has: (x, y), with zoom (x, y, scale)."""
        return 2 if self.zoom is None else 3


@dataclass(frozen=True)
class DataSetSpec:
    """A data set that has a name: one line of `datasets.NAMED`."""

    name: str  # as `load` takes it
    title: str  # in reports, such as "CUB-200-2011"
    short: str  # in narrow tables, such as "CUB"
    classes: int  # of the complete data set; a local copy may hold fewer
    kind: Kind  # chooses the recipe of an agent
    preset: Preset
    load: Callable[
        [str, str | Path | None, bool, ImageSize], ImageSet
    ]  # of split, root, download, image_size
    fit: Fit = "crop"  # how a user's own image becomes a square
    grey: bool = False  # images have one channel
    dark_ground: bool = False  # light strokes on dark: a user's own image with a light border is inverted


@runtime_checkable
class MapStyle(Protocol):
    """A map-style torch data set of (image, label) pairs."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Return pair `index`."""
        ...


@runtime_checkable
class Composer(Protocol):
    """Draws images of a generated data set; their labels are those of the set."""

    @property
    def digits(self) -> UInt8[Tensor, "image channel height width"] | None:
        """What each image is composed of and may be changed at random; None = the whole image may be."""
        ...

    def compose(
        self, generator: torch.Generator, digits: UInt8[Tensor, "image channel height width"] | None = None
    ) -> tuple[UInt8[Tensor, "image channel height2 width2"], Float[Tensor, "image 2"]]:
        """Draw every image, and return them and their `target_centers`, on the generator's device."""
        ...

    def subset(self, keep: Int64[Tensor, " image"]) -> Composer:
        """Return the composer of some of the images, in that order."""
        ...


@dataclass(frozen=True)
class ImageSet:
    """Images, labels and class names of one split.

    Image i of the split is `images[rows[i]]`; `rows` None = in order. So a part of a split shares the pixels
    of the whole, which may be a memory-mapped store larger than memory. `target_centers` (the centre (x, y)
    of the pattern that decides the class) and `boxes` (around the object, (left, top, right, bottom)) lie in
    [-1, 1]; None = unknown. They serve measurement and are never shown to an agent. `key` names the stored
    pixels, so that features computed from them can be cached on disk; None = they have no name. `composer`
    draws other images with the same labels, for another epoch; None = the images are given once and for all.
    `native` holds images of different sizes, unshrunk; `images` are then whole images, shrunk to a square.
    """

    images: UInt8[Tensor, "stored channel height width"]
    labels: Int64[Tensor, " image"]
    classes: tuple[str, ...]
    target_centers: Float[Tensor, "image 2"] | None = None
    boxes: Float[Tensor, "image 4"] | None = None
    rows: Int64[Tensor, " image"] | None = None
    key: str | None = None
    composer: Composer | None = None
    native: NativeStore | None = None

    def __post_init__(self) -> None:
        """Check dtype, shape, counts and labels."""
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            got = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise ValueError(f"images: expected uint8 (image, channel, height, width), got {got}")
        count, classes = len(self.images if self.rows is None else self.rows), len(self.classes)
        if count == 0 or count != len(self):
            raise ValueError(f"{count} images and {len(self)} labels: expected equally many, at least one")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= classes:
            allowed = f"0 to {classes - 1} for {classes} classes"
            raise ValueError(f"labels run from {low} to {high}: expected {allowed}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: int, /) -> tuple[UInt8[Tensor, "channel height width"], int]:
        """Return the pixels and the label of one image, as a map-style data set does."""
        return self.image(index), int(self.labels[index])

    @property
    def stored(self) -> Int64[Tensor, " image"]:
        """The row of `images` that holds each image."""
        return torch.arange(len(self)) if self.rows is None else self.rows

    def stack(self) -> UInt8[Tensor, "image channel height width"]:
        """Return the pixels of this split in its order (a copy where `rows` picks them)."""
        return self.images if self.rows is None else self.images[self.rows]

    def image(self, index: int) -> UInt8[Tensor, "channel height width"]:
        """Return the pixels of one image."""
        return self.images[index if self.rows is None else int(self.rows[index])]

    def digest(self) -> str:
        """Return a SHA-256 of the images, their order, labels and class names, and what is measured on them.

        Images that have a `key` count by it; it takes as long as reading the pixels of others.
        """
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        key = self.key if self.native is None else self.native.key
        if key is not None:
            del tensors["images"]
        content = (key, self.classes, checkpoint.digest(tensors))
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def subset(self, keep: Int64[Tensor, " image"]) -> ImageSet:
        """Return the images at `keep`, in that order, on the same stored pixels."""
        measured = {"target_centers": self.target_centers, "boxes": self.boxes}
        parts: dict[str, Any] = {name: v if v is None else v[keep] for name, v in measured.items()}
        composer = None if self.composer is None else self.composer.subset(keep)
        parts |= {"labels": self.labels[keep], "rows": self.stored[keep], "composer": composer}
        return replace(self, **parts)

    def picture(self, index: int) -> tuple[UInt8[Tensor, "channel height width"], float]:
        """Return an image for drawing, and its size as a share of the image's own: a large one is shrunk."""
        if self.native is None:
            return self.image(index), 1.0
        pixels, level = self.native.level(index if self.rows is None else int(self.rows[index]), PICTURE)
        return pixels, 0.5**level

    def resized(self, size: int) -> ImageSet:
        """Return the set with its images stretched to `size` x `size` pixels (bilinear, antialiased)."""
        if self.images.shape[-2:] == (size, size):
            return self
        shape = self.images.shape
        checks.memory(f"image_size={size}", len(self) * shape[1] * size**2, torch.device("cpu"))
        images = to_square(self.stack(), size, "stretch")
        return replace(self, images=images, rows=None, key=None, composer=None)


def check_split(split: str) -> None:
    """Refuse an unknown split."""
    checks.argument("split", split)
    fold = FOLD.fullmatch(split)
    if split in get_args(Split) or (fold and 1 <= int(fold[2]) <= int(fold[3]) >= 2):
        return
    folds = "a fold of the training images such as fit:1/5 and validation:1/5 (from 1, at least 2 folds)"
    raise ValueError(f"split={split!r}: expected one of {', '.join(get_args(Split))}, or {folds}")


def held_out(split: str) -> str | None:
    """Return the split that training on `split` holds out: "validation" for "fit", its fold for "fit:K/N"."""
    return split.replace("fit", "validation", 1) if split.startswith("fit") else None


def choose_result_split(split: str) -> str:
    """Return the split to evaluate after training on `split`: the left-out fold, else the test images."""
    return held_out(split) or "test" if split.startswith("fit:") else "test"


def partition(train: ImageSet, split: str) -> ImageSet:
    """Return the part of a training split that `split` names; too few images are a `ValueError`.

    "train" is all of it; "validation" is a fixed twelfth and "fit" the rest; "validation:K/N" is fold K of N
    and "fit:K/N" the other folds. The images are dealt by a fixed permutation, the same for every run.
    """
    count = len(train)
    if split == "train":
        return train
    if count < 2:
        raise ValueError(f"split={split!r}: {count} training image, expected at least 2, to hold one out")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    start, stop = 0, max(1, round(count * HELD_OUT))
    if fold := FOLD.fullmatch(split):
        part, parts = int(fold[2]), int(fold[3])
        if parts > count:
            raise ValueError(f"split={split!r}: expected at most as many folds as training images, {count}")
        start, stop = count * (part - 1) // parts, count * part // parts
    if split.startswith("validation"):
        return train.subset(order[start:stop])
    return train.subset(torch.cat((order[:start], order[stop:])))
