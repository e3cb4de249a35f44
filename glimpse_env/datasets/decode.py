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
    """Decode one image file as RGB, upright by its EXIF orientation, and resize it to a square of `size` pixels (None keeps its size).

    A JPEG of at least twice `size` is decoded at a half, a quarter or an eighth of its size, which stays at or above `size`.

    Returns:
        The pixels, and the (width, height) of the upright photograph in the file.

    Raises:
        ValueError: The file cannot be decoded; the message names it.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation) in ON_THE_SIDE
            if size is not None:
                image.draft(None, (size, size))  # formats other than JPEG ignore it
            pixels = from_pil(ImageOps.exif_transpose(image), colour=True)
        return (stretch if fit == "stretch" else square)(pixels, size), (height, width) if turned else (
            width,
            height,
        )
    except (
        Exception
    ) as error:  # Pillow's readers raise many kinds on a damaged file; the user needs the path in any case
        raise ValueError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def from_pil(image: Image.Image, colour: bool = False) -> UInt8[Tensor, "channel height width"]:
    """Return a PIL image as 1 grey channel, or as 3 if it has colours or `colour` is set; transparency is dropped."""
    if image.mode.startswith(WIDE):
        raise ValueError(
            f"PIL mode {image.mode!r}: expected 8 bits a channel; scale the image to 8 bits first"
        )
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette with transparency cannot be converted to RGB directly
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    return v2.functional.pil_to_tensor(image.convert("L" if image.mode in GREY and not colour else "RGB"))


def square(
    image: UInt8[Tensor, "channel height width"], size: int | None
) -> UInt8[Tensor, "channel height2 width2"]:
    """Resize the short side to `size` pixels (bilinear, antialiased) and crop the central square; None keeps the image as it is."""
    if size is None:
        return image
    from torchvision.transforms import v2

    return v2.functional.center_crop(v2.functional.resize(image, [size], antialias=True), [size, size])


def stretch(
    image: UInt8[Tensor, "channel height width"], size: int | None
) -> UInt8[Tensor, "channel height2 width2"]:
    """Resize both sides to `size` pixels (bilinear, antialiased), so that the square shows all of the image; None keeps it as it is."""
    if size is None:
        return image
    from torchvision.transforms import v2

    return v2.functional.resize(image, [size, size], antialias=True)


def stack(images: list[Tensor], names: Sequence[str]) -> UInt8[Tensor, "image channel height width"]:
    """Stack images of one size; grey images among coloured ones get three equal channels. `names` appear in errors."""
    if {len(image) for image in images} == {1, 3}:
        images = [image.expand(3, -1, -1) for image in images]
    for image, name in zip(images, names, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"{name} has shape {tuple(image.shape)} (channel, height, width) but {names[0]} has {tuple(images[0].shape)}: expected one "
                f"number of channels and one size, or pass image_size= to have the images resized"
            )
    return torch.stack(images)
