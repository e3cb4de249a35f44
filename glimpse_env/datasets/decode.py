"""Decoding: uint8 tensors from PIL images and image files, resized to squares, and stacked."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Literal

import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

GREY = ("1", "L", "LA")  # PIL's modes of one 8-bit channel, with or without transparency
WIDE = ("I", "F")  # the beginnings of PIL's modes of more than 8 bits a channel: I, I;16, I;16B, F
ON_THE_SIDE = (5, 6, 7, 8)  # values of EXIF's orientation that swap width and height

Fit = Literal["crop", "stretch"]  # how an image becomes a square: its centre, or all of it, stretched


def read_image(
    path: str | PathLike[str], size: int | None, fit: Fit
) -> tuple[UInt8[Tensor, "3 height width"], tuple[int, int]]:
    """Decode an image file as RGB, upright by its EXIF orientation, and resize it (see `to_square`).

    The second result is the (width, height) of the upright photograph in the file. A JPEG of at least twice
    `size` is decoded at a half, a quarter or an eighth of its size, which stays at or above `size`.

    Raises:
        ValueError: The file cannot be decoded; the message names it.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.getexif().get(ExifTags.Base.Orientation) in ON_THE_SIDE:
                width, height = height, width
            if size is not None:
                image.draft(None, (size, size))  # formats other than JPEG ignore it
            pixels = from_pil(ImageOps.exif_transpose(image), colour=True)
        return to_square(pixels, size, fit), (width, height)
    except Exception as error:  # Pillow's readers raise many kinds on a damaged file
        raise ValueError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def from_pil(image: Image.Image, colour: bool = False) -> UInt8[Tensor, "channel height width"]:
    """Return a PIL image as 1 channel if it is grey, else (or with `colour`) as 3, without transparency."""
    if image.mode.startswith(WIDE):
        raise ValueError(f"PIL mode {image.mode!r}: expected 8 bits a channel; scale the image to 8 bits")
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette with transparency cannot be converted to RGB directly
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    return v2.functional.pil_to_tensor(image.convert("L" if image.mode in GREY and not colour else "RGB"))


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

    # Resized to one pixel as bytes, images of 3 channels fail an assertion of torch's.
    source = images.float() if size == 1 else images
    sides = [size, size] if fit == "stretch" else [size]
    resized = functional.resize(source, sides, antialias=True)
    return functional.center_crop(resized, [size, size]).round().to(torch.uint8)


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
