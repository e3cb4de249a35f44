"""What a data set's images are, photographs or small ones, by its first image; only the header of a file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from glimpse_env.datasets.base import ImageSet, Kind, MapStyle, Preset
from glimpse_env.datasets.formats.notes import Notes, lenient
from glimpse_env.datasets.photographs import PRESET as PHOTOGRAPHS
from glimpse_env.datasets.torch_dataset import check_map_style, check_pair, to_pixels

SMALL = 96  # pixels: images of three channels whose longer side is above it are photographs
LARGE_GREY = 224  # pixels: to this side images of one channel are resized that are larger than `SMALL`
TRIED = 10  # files whose header is read, should the first ones be damaged


@dataclass(frozen=True)
class Recognised:
    """What the images of a data set are."""

    kind: Kind  # "photographs" or "digits" (small images)
    side: int | None  # pixels to which small images are resized; None = they stay as they are
    reason: str  # such as "its first image, a/1.jpg, has 640 x 480 pixels and 3 channels"

    @property
    def preset(self) -> Preset:
        """The environment's defaults."""
        return PHOTOGRAPHS if self.kind == "photographs" else Preset(image_size=self.side)


def recognise(what: str, width: int, height: int, colour: bool, resized: bool = True) -> Recognised:
    """Return what the images of a data set are, by its first one.

    Args:
        what: The first image, in words.
        width: Its width in pixels.
        height: Its height in pixels.
        colour: Whether it has three channels.
        resized: Small images are given a size; else they stay as they are.
    """
    large = max(width, height) > SMALL
    reason = f"{what} has {width} x {height} pixels and {3 if colour else 1} channel{'s' * colour}"
    if large and colour:
        return Recognised("photographs", None, reason)
    side = LARGE_GREY if large else min(width, height)
    return Recognised("digits", side if resized else None, reason)


def recognise_files(paths: Iterable[Path]) -> Recognised | None:
    """Return what image files show, by the first that can be opened; None = there is none."""
    for path in itertools.islice(paths, TRIED):
        try:
            with lenient(), Image.open(path) as image:
                colour = Image.getmodebase(image.mode) != "L"
                return recognise(f"its first image, {path},", *image.size, colour)
        except Exception:  # Pillow's readers raise many kinds; loading it names the file
            continue
    return None


def recognise_object(dataset: MapStyle) -> Recognised | None:
    """Return what the images of a data set object are, by its first item; None = it cannot be read.

    Small images stay as they are, and so do those of an `ImageSet`.
    """
    if isinstance(dataset, ImageSet):
        channels, height, width = dataset.images.shape[1:]
        return recognise("its first image", width, height, channels == 3, resized=False)
    try:
        check_map_style(dataset)
        with torch.random.fork_rng(devices=[]):  # its transforms may draw random numbers
            image = check_pair(dataset[0], 0)[0]
        return recognise("its first image", *measure(image), resized=False)
    except (TypeError, ValueError, IndexError, KeyError, OSError):  # loading it says what is wrong
        return None


def measure(image: Any) -> tuple[int, int, bool]:
    """Return width, height and whether there are three channels; of a PIL image without decoding it."""
    if isinstance(image, Image.Image):
        return *image.size, Image.getmodebase(image.mode) != "L"
    channels, height, width = to_pixels(image, 0, Notes("")).shape
    return width, height, channels == 3
