"""Decoding: uint8 tensors from PIL images and image files, resized to squares, and stacked."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image
from torch import Tensor

from glimpse_env.datasets.formats.metadata import strip
from glimpse_env.datasets.formats.modes import find_bits, to_plain
from glimpse_env.datasets.formats.notes import NO_METADATA, Notes, lenient

Fit = Literal["crop", "stretch"]  # how an image becomes a square: its centre, or all of it, stretched

MAX_PIXELS = 1_000_000_000  # of an image, unless GLIMPSE_MAX_PIXELS says otherwise
LARGE = 100_000_000  # pixels: above it images are decoded one at a time, since each takes gigabytes
ALONE = threading.Lock()
ON_THE_SIDE = (5, 6, 7, 8)  # values of EXIF's orientation that swap width and height
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # how to undo EXIF's orientation


class TooLargeError(ValueError):
    """An image has more pixels than GLIMPSE_MAX_PIXELS allows."""


def read_image(
    path: str | PathLike[str], size: int | None, fit: Fit, notes: Notes | None = None
) -> tuple[UInt8[Tensor, "3 height width"], tuple[int, int]]:
    """Decode an image file as RGB, upright by its EXIF orientation, and resize it (see `to_square`).

    The second result is the (width, height) of the upright photograph in the file. A JPEG of at least twice
    `size` is decoded at a half, a quarter or an eighth of its size, which stays at or above `size`.
    Transparency, depths above 8 bits and damaged metadata are as in `formats`; `notes` counts them (None: the log
    names this file).

    Raises:
        FileNotFoundError: There is no file at `path`.
        ValueError: The file cannot be decoded, or has too many pixels; the message names it.
    """
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise ValueError(f"{path} cannot be read as an image: it is not a file")
        raise FileNotFoundError(f"{path} does not exist: expected an image file")
    done: set[str] = set()
    try:
        pixels, extent = read_pixels(Path(path), size, fit, done)
    except TooLargeError as error:
        raise ValueError(f"{path} {error}") from error
    except Exception as error:  # Pillow's readers raise many kinds on a damaged file
        cause = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as an image ({cause}): replace or remove it") from error
    counted = Notes(str(path)) if notes is None else notes
    counted.add(done)
    if notes is None:
        counted.report()
    return pixels, extent


def read_pixels(
    path: Path, size: int | None, fit: Fit, done: set[str]
) -> tuple[UInt8[Tensor, "3 height width"], tuple[int, int]]:
    """Decode an image file; if that fails, without the metadata in it."""
    try:
        return decode(path, size, fit, done)
    except TooLargeError:
        raise
    except Exception as error:
        content = path.read_bytes()
        pixels_only = strip(content)
        if pixels_only == content:
            raise
        try:
            result = decode(io.BytesIO(pixels_only), size, fit, done)
        except Exception:
            raise error from None  # the metadata were not the cause
        done.add(NO_METADATA)
        return result


def decode(
    source: Path | io.BytesIO, size: int | None, fit: Fit, done: set[str]
) -> tuple[UInt8[Tensor, "3 height width"], tuple[int, int]]:
    """Decode an image file; the results are those of `read_image`, and `done` gets what `formats` did."""
    with lenient() as warned, Image.open(source) as image:
        width, height = image.size
        if size is not None:
            image.draft(None, (size, size))  # formats other than JPEG ignore it
        shape, bits = image.size, find_bits(image)
        check_pixels(*shape)
        with ALONE if shape[0] * shape[1] > LARGE else nullcontext():
            image.load()
            orientation = read_orientation(image, done)
            turned = image.size != shape and image.size == shape[::-1]  # Pillow turns TIFF upright by itself
            if turned or orientation in ON_THE_SIDE:
                width, height = height, width
            plain = to_plain(image, bits, True, done)
            pixels = to_tensor(plain.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else plain)
            pixels = to_square(pixels, size, fit)
    if warned:
        done.add(NO_METADATA)
    return pixels, (width, height)


def check_pixels(width: int, height: int) -> None:
    """Refuse an image that would take too much memory."""
    text = os.environ.get("GLIMPSE_MAX_PIXELS") or str(MAX_PIXELS)
    if not text.isdecimal() or int(text) < 1:
        raise TooLargeError(f"is not read: GLIMPSE_MAX_PIXELS={text!r}, expected a positive whole number")
    if width * height > int(text):
        count = f"has {width:,} x {height:,} = {width * height:,} pixels, more than {int(text):,}"
        raise TooLargeError(f"{count}: set the environment variable GLIMPSE_MAX_PIXELS to read it")


def read_orientation(image: Image.Image, done: set[str]) -> int:
    """Return EXIF's orientation of an image; 1 (upright) if there is none, or none that can be read."""
    try:
        Image.Exif().load(
            image.info.get("exif") or b""
        )  # raises what Pillow, when it opened the file, kept to itself
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # many kinds, as for pixels
        done.add(NO_METADATA)
        return 1
    return value if isinstance(value, int) else 1


def from_pil(
    image: Image.Image, colour: bool = False, notes: Notes | None = None
) -> UInt8[Tensor, "channel height width"]:
    """Return a PIL image as 1 channel if it is grey, else (or with `colour`) as 3, without transparency.

    `notes` counts what was done to it, as in `read_image`; None: nobody does.

    Raises:
        ValueError: Values that cannot be scaled to 8 bits, or a file behind the image that cannot be decoded.
    """
    done: set[str] = set()
    bits = find_bits(image)
    try:
        with lenient() if getattr(image, "tile", None) else nullcontext(()) as warned:
            image.load()
        pixels = to_tensor(to_plain(image, bits, colour, done))
    except Exception as error:  # many kinds, as in `read_image`
        cause = str(error) or type(error).__name__
        raise ValueError(f"PIL image of mode {image.mode!r} cannot be read ({cause})") from error
    if notes is not None:
        notes.add(done | ({NO_METADATA} if warned else set()))
    return pixels


def to_tensor(plain: Image.Image) -> UInt8[Tensor, "channel height width"]:
    """Return the pixels of an image of mode L or RGB."""
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    return v2.functional.pil_to_tensor(plain)


def to_square(
    images: UInt8[Tensor, "*image channel height width"], size: int | None, fit: Fit
) -> UInt8[Tensor, "*image channel height2 width2"]:
    """Resize to squares of `size` pixels (bilinear, antialiased); None keeps the images as they are.

    "crop": the short side becomes `size`, then the central square is cropped. "stretch": both sides become
    `size`.
    """
    if size is None:
        return images
    from torchvision.transforms.v2 import functional

    if 1 in images.shape[-2:]:  # torch misreads some of other strides
        images = images.clone(memory_format=torch.contiguous_format)

    if fit == "stretch":
        return functional.resize(images, [size, size], antialias=True)
    short, long = sorted(images.shape[-2:])
    if size * size * long // short > MAX_PIXELS:  # a strip that would not fit in memory before it is cut
        images = functional.center_crop(images, [min(side, 3 * short) for side in images.shape[-2:]])
    return functional.center_crop(functional.resize(images, [size], antialias=True), [size, size])


def stack(images: list[Tensor], names: Sequence[str]) -> UInt8[Tensor, "image channel height width"]:
    """Stack images of one shape, grey ones among coloured ones as 3 channels; errors quote their `names`."""
    if {len(image) for image in images} == {1, 3}:
        images = [image.expand(3, -1, -1) for image in images]
    first = images[0].shape
    for image, name in zip(images, names, strict=True):
        if image.shape != first:
            shapes = f"{name} has shape {tuple(image.shape)} but {names[0]} has {tuple(first)}"
            expected = "expected one (channel, height, width); pass image_size= to have the images resized"
            raise ValueError(f"{shapes}: {expected}")
    return torch.stack(images)
