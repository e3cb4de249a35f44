"""Pixels on their way into an `ImageSet`: uint8 tensors out of PIL images, made square, and stacked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

GREY = ("1", "L", "LA")  # PIL's modes of one 8-bit channel, with or without transparency
WIDE = ("I", "F")  # the beginnings of PIL's modes of more than 8 bits a channel: I, I;16, I;16B, F


def from_pil(image: Image.Image, colour: bool = False) -> UInt8[Tensor, "channel height width"]:
    """Return a PIL image as 1 grey channel, or as 3 if it has colours or `colour` asks for them; transparency is dropped."""
    if image.mode.startswith(WIDE):
        raise ValueError(f"PIL mode {image.mode!r}: expected 8 bits a channel; scale the image to 8 bits first")
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette with transparency has no direct way to RGB
    return v2.functional.pil_to_tensor(image.convert("L" if image.mode in GREY and not colour else "RGB"))


def square(image: UInt8[Tensor, "channel height width"], size: int | None) -> UInt8[Tensor, "channel height2 width2"]:
    """Resize the short side to `size` pixels (bilinear, antialiased) and cut out the central square; None leaves the image as it is."""
    if size is None:
        return image
    return v2.functional.center_crop(v2.functional.resize(image, [size], antialias=True), [size, size])


def stack(images: list[Tensor], names: Sequence[str]) -> UInt8[Tensor, "image channel height width"]:
    """Stack images of one size; grey ones among coloured ones get three equal channels. `names` serve the error."""
    if {len(image) for image in images} == {1, 3}:
        images = [image.expand(3, -1, -1) for image in images]
    for image, name in zip(images, names, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"{name} has shape {tuple(image.shape)} (channel, height, width) but {names[0]} has {tuple(images[0].shape)}: expected one "
                f"number of channels and one size, or pass image_size= to have the images resized"
            )
    return torch.stack(images)
