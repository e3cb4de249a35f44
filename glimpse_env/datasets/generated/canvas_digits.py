"""Digits on a canvas: translated and cluttered MNIST (Mnih et al. 2014, section 4).

A digit of 28 x 28 pixels lies at a uniformly random location of a larger black image. In cluttered images,
pieces of other digits, 8 x 8 pixels from a random location of a random digit, are added at random locations;
they may cover the digit. A sum above white is white.

Training images are composed again in every epoch (`ImageSet.composer`), so that no two epochs show the same
ones; the images of a split as it is loaded come from a fixed seed, the test images among them. The pieces of
training images come from other training digits, as do those of test images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor

from glimpse_env import checks
from glimpse_env.datasets import mnist
from glimpse_env.datasets.base import DataSetSpec, ImageSet, Preset

Digits = UInt8[Tensor, "digit 1 height width"]
Sources = UInt8[Tensor, "source 1 height width"]  # of the pieces
Corners = Int64[Tensor, "image 2"]  # top-left pixels (x, y)

CHUNK = 4096  # images composed at a time; it bounds the memory of the positions of their pixels
SEEDS = {"train": 1, "test": 2}


@dataclass(frozen=True)
class CanvasComposer:
    """Composes images of digits: each at a random location of a black canvas, among pieces of others.

    Raises:
        ValueError: No digits, a canvas smaller than a digit or too large for memory, or pieces larger than a
            digit.
    """

    digits: Digits
    side: int  # pixels, the canvas
    pieces: int = 0  # number per image
    piece_size: int = 8  # pixels
    sources: Sources | None = None  # digits that pieces are cut from; None = the other `digits`

    def __post_init__(self) -> None:
        """Check that everything fits."""
        digit = self.digits.shape[-1]
        if len(self.digits) == 0:
            raise ValueError("digits: none given, expected at least one")
        if self.side < digit:
            raise ValueError(f"image_size={self.side}: expected at least {digit}, the side of a digit")
        if self.piece_size > digit:
            raise ValueError(f"piece_size={self.piece_size}: expected at most {digit}, the side of a digit")
        if self.pieces and self.sources is None and len(self.digits) == 1:
            raise ValueError(f"pieces={self.pieces}: there is no other digit to cut them from")
        size = len(self.digits) * self.side**2
        checks.memory(f"image_size={self.side}", size, torch.device("cpu"))

    def subset(self, keep: Int64[Tensor, " image"]) -> CanvasComposer:
        """Return the composer of some of the digits, in that order."""
        return replace(self, digits=self.digits[keep])

    def compose(
        self, generator: Generator, digits: Digits | None = None
    ) -> tuple[UInt8[Tensor, "image 1 side side"], Float[Tensor, "image 2"]]:
        """Draw an image of every digit, and return the images and the centres of the digits in [-1, 1].

        Args:
            generator: Source of the locations and the pieces, on the device on which images are composed.
            digits: As many others in the place of `self.digits`, such as randomly distorted ones.
        """
        device = generator.device
        digits = (self.digits if digits is None else digits).to(device)
        sources = (digits if self.sources is None else self.sources.to(device)) if self.pieces else digits
        parts = [
            self._compose_chunk(digits, sources, rows, generator)
            for rows in torch.arange(len(digits), device=device).split(CHUNK)
        ]
        images, corners = (torch.cat(part) for part in zip(*parts, strict=True))
        return images, (2 * corners + digits.shape[-1]).float() / self.side - 1

    def _compose_chunk(
        self, digits: Digits, sources: Sources, rows: Int64[Tensor, " image"], generator: Generator
    ) -> tuple[UInt8[Tensor, "image 1 side side"], Corners]:
        count, digit, size, device = len(rows), digits.shape[-1], self.piece_size, rows.device

        def draw(high: int, *shape: int) -> Int64[Tensor, "*shape"]:
            return torch.randint(high, shape, generator=generator, device=device)

        images = torch.zeros(count, 1, self.side, self.side, dtype=torch.uint8, device=device)
        corners = draw(self.side - digit + 1, count, 2)
        add(images, corners, digits[rows, 0])
        for _ in range(self.pieces):
            if self.sources is None:  # any digit but the image's own
                source = (rows + 1 + draw(len(sources) - 1, count)) % len(sources)
            else:
                source = draw(len(sources), count)
            positions = window_positions(source, draw(digit - size + 1, count, 2), size, digit)
            add(images, draw(self.side - size + 1, count, 2), sources.flatten()[positions])
        return images, corners


def window_positions(
    image: Int64[Tensor, " image"], corner: Corners, size: int, side: int
) -> Int64[Tensor, "image size size"]:
    """Return the flat positions of the pixels of a window in images of `side` x `side` pixels."""
    step = torch.arange(size, device=image.device)
    start = image * side**2 + corner[:, 1] * side + corner[:, 0]
    return start[:, None, None] + step[:, None] * side + step


def add(
    images: UInt8[Tensor, "image 1 side side"], corners: Corners, patches: UInt8[Tensor, "image size size"]
) -> None:
    """Add a patch to each image, in place; a sum above white is white."""
    rows = torch.arange(len(images), device=images.device)
    positions, pixels = window_positions(rows, corners, patches.shape[-1], images.shape[-1]), images.view(-1)
    there = pixels[positions]
    pixels[positions] = there + torch.minimum(patches, 255 - there)


def load(split: str, side: int = 60, pieces: int = 0, piece_size: int = 8) -> ImageSet:
    """Return "train" (60,000 images) or "test" (10,000) of one digit each.

    Args:
        split: "train" or "test". The images of each come from a seed of its own.
        side: Pixels a side of an image.
        pieces: Number of pieces of other digits in an image.
        piece_size: Pixels a side of a piece.

    Raises:
        ValueError: An image smaller than a digit, a piece larger than one, or a number out of its range.
    """
    side, piece_size = checks.arguments(image_size=side, piece_size=piece_size)
    pieces = checks.argument("pieces", pieces)
    digits = mnist.load(split)
    sources = mnist.load("train").images if split == "test" and pieces else None
    composer = CanvasComposer(digits.images, side, pieces, piece_size, sources)
    images, centers = composer.compose(Generator().manual_seed(SEEDS[split]))
    key = f"canvas-digits-1-{split}-{side}-{pieces}-{piece_size}"  # change the number with anything above
    return replace(digits, images=images, target_centers=centers, composer=composer, key=key)


def specify(name: str, title: str, side: int, pieces: int, scales: tuple[float, ...]) -> DataSetSpec:
    """Return the spec of a named set; the retina is the paper's: 12 x 12 pixels at several scales.

    The first glimpse is at a random location; an episode has 8 glimpses, the most of the paper's tables.
    """
    first: dict[str, Any] = {"first_view": "glimpse", "initial_location": "random"}
    retina = Preset(side, 12, scales, max_glimpses=8, **first)
    return DataSetSpec(
        name=name,
        title=title,
        short=name.replace("-mnist", ""),
        classes=10,
        kind="canvas",
        preset=retina,
        load=lambda split, _root, _download, size: load(
            split, size if isinstance(size, int) else side, pieces
        ),
        grey=True,
        dark_ground=True,
    )


SPECS = (
    specify("translated-mnist", "translated MNIST", 60, 0, (1.0, 2.0, 4.0)),
    specify("cluttered-mnist", "cluttered MNIST", 60, 4, (1.0, 2.0, 4.0)),
    specify("cluttered-mnist-100", "cluttered MNIST 100", 100, 8, (1.0, 2.0, 4.0, 8.0)),
)
