"""Clutter: 96 x 96 grey images, generated; the class is one 12 x 12 glyph among 8 distractors on noise.

All glyphs, those of the classes and the distractors, come from one generator of random strokes and have the
same amount of ink, with about the same distribution. A blurred view therefore shows nine similar blobs: where
glyphs are, but not which. (From the 16 x 16 block means, a linear classifier stays at chance and a small
convolutional network is correct on 19 % of the images; from the glyph's own pixels, a linear classifier is
always correct.) The class glyph lies at a uniformly random location and is never covered.
`ImageSet.target_centers` holds its centre, so that fixations on it can be measured. Training images are
composed again in every epoch (`ImageSet.composer`), with the same labels and glyphs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Generator, Tensor
from torch.nn import functional

from glimpse_env.datasets.base import DataSetSpec, ImageSet, Preset

SIDE = 96  # pixels, the image
GLYPH = 12  # pixels, a glyph
CLASSES = 10
DISTRACTORS = 8  # per image, all different
DISTRACTOR_KINDS = 40  # distractors are drawn from these; none is a class
STROKES = 6  # straight strokes in a glyph
STROKE_WIDTH = 1.0  # pixels
INK = 35.0  # the sum of a glyph's pixels, in units of one fully inked pixel
INK_SPREAD = 2.0  # largest difference of a drawn glyph from INK, to which it is then scaled
BLUR = 6  # pixels: the block of which a 16 x 16 first view shows the mean
BLUR_SPREAD = 0.2  # largest distance of a blurred glyph from the mean one, relative to the norm of that
LIKENESS = 0.65  # largest correlation of two glyphs under shifts of up to 2 pixels
CONTRAST = 160  # grey levels of full ink above the background; with the noise, pixels stay below 256
FINE, COARSE = 32, 32  # grey levels of the noise per pixel and per cell; powers of two
CELL = 4  # pixels per side of a cell of the coarse noise, which hides what differs in blurred glyphs
COUNTS = {"train": 20_000, "test": 4_000}
KEY = "clutter-1"  # names the pixels in caches of features: change it with anything above
SEEDS = {"glyphs": 0, "train": 1, "test": 2}


@dataclass(frozen=True)
class ClutterComposer:
    """Composes images of the glyphs of some classes."""

    labels: Int64[Tensor, " image"]
    digits: None = None  # glyphs are not changed at random

    def subset(self, keep: Int64[Tensor, " image"]) -> ClutterComposer:
        """Return the composer of some of the images, in that order."""
        return ClutterComposer(self.labels[keep])

    def compose(
        self, generator: Generator, digits: Tensor | None = None
    ) -> tuple[UInt8[Tensor, "image 1 96 96"], Float[Tensor, "image 2"]]:
        """Draw an image for every label; return the images and the centres of the class glyphs in [-1, 1]."""
        del digits  # there are none
        count, device = len(self.labels), generator.device
        kinds = torch.rand(count, DISTRACTOR_KINDS, generator=generator, device=device).argsort(1)
        kinds = kinds[:, :DISTRACTORS] + CLASSES
        corners = scatter(count, 1 + DISTRACTORS, generator)
        images = draw_background(count, generator)
        pixels, shapes = images.view(-1), draw_glyphs().to(device)
        step = torch.arange(GLYPH, device=device)
        starts = torch.arange(count, device=device)[:, None] * SIDE**2
        starts = starts + corners[..., 1] * SIDE + corners[..., 0]
        glyphs = (self.labels.to(device), *kinds.unbind(1))
        for start, glyph in zip(starts.unbind(1), glyphs, strict=True):
            pixels[start[:, None, None] + step[:, None] * SIDE + step] += shapes[glyph]
        return images, (2 * corners[:, 0] + GLYPH) / SIDE - 1


@lru_cache(maxsize=2)
def load(split: str) -> ImageSet:
    """Generate "train" (20,000 images) or "test" (4,000) from a fixed seed, once in a process."""
    count, source = COUNTS[split], Generator().manual_seed(SEEDS[split])
    composer = ClutterComposer(torch.randperm(count, generator=source) % CLASSES)
    images, centers = composer.compose(source)
    classes = tuple(f"glyph {name}" for name in range(CLASSES))
    return ImageSet(images, composer.labels, classes, centers, key=f"{KEY}-{split}", composer=composer)


@lru_cache(maxsize=1)
def draw_glyphs() -> UInt8[Tensor, "glyph 12 12"]:
    """Return dissimilar glyphs in grey levels above the background: the classes, then the distractors."""
    source = Generator().manual_seed(SEEDS["glyphs"])
    glyphs = torch.zeros(0, GLYPH, GLYPH)
    count = CLASSES + DISTRACTOR_KINDS
    while len(glyphs) < count:
        candidates = draw_strokes(4096, source)
        candidates = candidates[are_balanced(candidates)]
        similar = correlate(torch.cat([glyphs, candidates])) > LIKENESS
        accepted = list(range(len(glyphs)))
        for candidate in range(len(glyphs), len(similar)):
            if len(accepted) < count and not similar[candidate, accepted].any():
                accepted.append(candidate)
        glyphs = torch.cat([glyphs, candidates])[accepted]
    return (glyphs * (CONTRAST * INK / glyphs.sum((1, 2), keepdim=True))).round().to(torch.uint8)


def draw_strokes(count: int, source: Generator) -> Float[Tensor, "glyph 12 12"]:
    """Draw random glyphs, ink in [0, 1]: chains of straight strokes that visit all four quadrants."""
    quadrant = torch.rand(count, 4, generator=source).argsort(1)[:, torch.arange(STROKES + 1) % 4]
    shift = torch.stack([quadrant % 2, quadrant // 2], -1) * (GLYPH / 2)
    joints = torch.rand(count, STROKES + 1, 2, generator=source) * (GLYPH / 2 - 1) + 0.5 + shift
    joints = joints[:, :, None, None]
    start, along = joints[:, :-1], joints[:, 1:] - joints[:, :-1]
    axis = torch.arange(GLYPH) + 0.5
    pixel = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    share = ((pixel - start) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-6)
    nearest = start + share.clamp(0, 1)[..., None] * along
    distance = (pixel - nearest).norm(dim=-1).amin(1)
    return (STROKE_WIDTH / 2 + 0.5 - distance).clamp(0, 1)


def are_balanced(candidates: Float[Tensor, "glyph 12 12"]) -> Bool[Tensor, " glyph"]:
    """Tell which glyphs have about `INK` ink and are, blurred, about equal to the mean glyph."""
    ink = candidates.sum((1, 2))
    scaled = candidates * (INK / ink)[:, None, None]
    blurred = functional.avg_pool2d(functional.pad(scaled, [BLUR - 1] * 4), BLUR, stride=1).flatten(1)
    mean = blurred.mean(0)
    return ((ink - INK).abs() <= INK_SPREAD) & ((blurred - mean).norm(dim=1) <= BLUR_SPREAD * mean.norm())


def correlate(shapes: Float[Tensor, "glyph 12 12"]) -> Float[Tensor, "glyph glyph"]:
    """Return the largest correlation of every pair of glyphs over shifts of up to 2 pixels."""
    shifts = [(row, column) for row in range(-2, 3) for column in range(-2, 3)]
    padded = functional.pad(shapes, (2, 2, 2, 2))
    fixed = normalise(padded)
    return torch.stack([fixed @ normalise(padded.roll(shift, (1, 2))).T for shift in shifts]).amax(0)


def normalise(shapes: Float[Tensor, "glyph height width"]) -> Float[Tensor, "glyph pixel"]:
    """Return each glyph as a vector of mean 0 and length 1."""
    flat = shapes.flatten(1)
    return functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def scatter(count: int, pieces: int, source: Generator) -> Int64[Tensor, "image piece 2"]:
    """Draw top-left pixels (x, y) of glyphs: the first uniform, the others uniform over what is free."""
    high, device = SIDE - GLYPH + 1, source.device
    corners = torch.randint(0, high, (count, pieces, 2), generator=source, device=device)
    for piece in range(1, pieces):
        todo = torch.arange(count, device=device)
        while len(todo):
            apart = (corners[todo, piece, None] - corners[todo, :piece]).abs().amax(-1)
            todo = todo[(apart < GLYPH).any(1)]
            corners[todo, piece] = torch.randint(0, high, (len(todo), 2), generator=source, device=device)
    return corners


def draw_background(count: int, source: Generator) -> UInt8[Tensor, "image 1 96 96"]:
    """Return the sum of fine noise (a value per pixel) and coarse noise (a value per cell)."""
    fine = draw_noise(FINE, (count, SIDE, SIDE), source)
    coarse = draw_noise(COARSE, (count, SIDE // CELL, SIDE // CELL), source)
    cells = fine.view(count, SIDE // CELL, CELL, SIDE // CELL, CELL)
    return cells.add_(coarse[:, :, None, :, None]).view(count, 1, SIDE, SIDE)


def draw_noise(levels: int, shape: tuple[int, ...], source: Generator) -> UInt8[Tensor, "*shape"]:
    """Return uniform noise from 0 to levels - 1, eight values from each random word."""
    size = (math.prod(shape) // 8,)
    words = torch.randint(-(2**63), 2**63 - 1, size, generator=source, device=source.device)
    return words.view(torch.uint8).bitwise_and_(levels - 1).view(shape)


SPEC = DataSetSpec(
    name="clutter",
    title="clutter",
    short="clutter",
    classes=CLASSES,
    kind="clutter",
    preset=Preset(image_size=SIDE, glimpse_size=16),
    load=lambda split, *_: load(split),
    grey=True,
)
