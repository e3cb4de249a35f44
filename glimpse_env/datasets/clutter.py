"""Clutter: 96 x 96 grey images whose class is one 12 x 12 glyph among 8 distractors on noise, generated from fixed seeds.

All glyphs, those that are classes and those that only distract, come from one generator of random strokes and carry the same ink,
spread in about the same way. A blurred view therefore shows nine like blobs: where something is, but not what. (From the 16 x 16
block means a linear classifier stays at chance and a small convolutional network gets 19 % right; from the glyph's own pixels,
a linear one knows them all.) The class glyph lies at a uniformly random place that nothing covers, and `ImageSet.places` says where, so
that looking in the right place can be measured.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Generator, Tensor
from torch.nn import functional

from glimpse_env.datasets.base import ImageSet

SIDE = 96  # pixels, the image
GLYPH = 12  # pixels, a glyph
CLASSES = 10
DISTRACTORS = 8  # in every image, no two alike
DISTRACTOR_KINDS = 40  # to draw them from; none of them is a class
STROKES = 6  # straight strokes in a glyph
STROKE_WIDTH = 1.0  # pixels
INK = 35.0  # the sum of a glyph's pixels, in units of one fully inked pixel
INK_SPREAD = 2.0  # how far a glyph may be from INK before it is scaled to it
BLUR = 6  # pixels: the block of a first view of 16 x 16
BLUR_SPREAD = 0.2  # how far a blurred glyph may be from the average one, as a share of that one's norm
LIKENESS = 0.65  # highest correlation of two glyphs under shifts of up to 2 pixels
CONTRAST = 160  # grey levels between a fully inked pixel and the background; with all the noise it stays below 256
FINE, COARSE = 32, 32  # grey levels of the background noise, in every pixel and in every cell; powers of two
CELL = 4  # pixels, the coarse noise: it outlasts the blur, and hides what the blur leaves of the glyphs' differences
COUNTS = {"train": 20_000, "test": 4_000}
KEY = "clutter-1"  # names the pixels, for what is computed from them and kept: to be changed with anything above
SEEDS = {"glyphs": 0, "train": 1, "test": 2}


@lru_cache(maxsize=2)
def load(split: str) -> ImageSet:
    """Generate "train" (20,000 images) or "test" (4,000); the second call in a process returns the same set."""
    count, source = COUNTS[split], Generator().manual_seed(SEEDS[split])
    labels = torch.randperm(count, generator=source) % CLASSES
    kinds = torch.rand(count, DISTRACTOR_KINDS, generator=source).argsort(1)[:, :DISTRACTORS] + CLASSES
    corners = scatter(count, 1 + DISTRACTORS, source)
    images = background(count, source)
    shapes = glyphs()
    for slot, kind in enumerate((labels, *kinds.unbind(1))):
        stamp(images, shapes[kind], corners[:, slot])
    places = (2 * corners[:, 0] + GLYPH) / SIDE - 1
    return ImageSet(images, labels, tuple(f"glyph {name}" for name in range(CLASSES)), places, key=f"{KEY}-{split}")


@lru_cache(maxsize=1)
def glyphs() -> UInt8[Tensor, "glyph 12 12"]:
    """Return the glyphs in grey levels above the background: the classes first, then the distractors; no two resemble each other."""
    source = Generator().manual_seed(SEEDS["glyphs"])
    kept = torch.zeros(0, GLYPH, GLYPH)
    wanted = CLASSES + DISTRACTOR_KINDS
    while len(kept) < wanted:
        candidates = strokes(4096, source)
        candidates = candidates[balanced(candidates)]
        alike = likeness(torch.cat([kept, candidates])) > LIKENESS
        chosen = list(range(len(kept)))
        for candidate in range(len(kept), len(alike)):
            if len(chosen) < wanted and not alike[candidate, chosen].any():
                chosen.append(candidate)
        kept = torch.cat([kept, candidates])[chosen]
    return (kept * (CONTRAST * INK / kept.sum((1, 2), keepdim=True))).round().to(torch.uint8)


def strokes(count: int, source: Generator) -> Float[Tensor, "glyph 12 12"]:
    """Draw random glyphs, ink in [0, 1]: each is a chain of straight strokes from quadrant to quadrant, through all four of them."""
    quadrant = torch.rand(count, 4, generator=source).argsort(1)[:, torch.arange(STROKES + 1) % 4]
    shift = torch.stack([quadrant % 2, quadrant // 2], -1) * (GLYPH / 2)
    joints = (torch.rand(count, STROKES + 1, 2, generator=source) * (GLYPH / 2 - 1) + 0.5 + shift)[:, :, None, None]
    start, along = joints[:, :-1], joints[:, 1:] - joints[:, :-1]
    axis = torch.arange(GLYPH) + 0.5
    pixel = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    share = ((pixel - start) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-6)
    nearest = start + share.clamp(0, 1)[..., None] * along
    distance = (pixel - nearest).norm(dim=-1).amin(1)
    return (STROKE_WIDTH / 2 + 0.5 - distance).clamp(0, 1)


def balanced(candidates: Float[Tensor, "glyph 12 12"]) -> Bool[Tensor, " glyph"]:
    """Tell which glyphs have about the wanted ink and, seen through a blur, about the shape that glyphs have on average."""
    ink = candidates.sum((1, 2))
    scaled = candidates * (INK / ink)[:, None, None]
    blurred = functional.avg_pool2d(functional.pad(scaled, [BLUR - 1] * 4), BLUR, stride=1).flatten(1)
    usual = blurred.mean(0)
    return ((ink - INK).abs() <= INK_SPREAD) & ((blurred - usual).norm(dim=1) <= BLUR_SPREAD * usual.norm())


def likeness(shapes: Float[Tensor, "glyph 12 12"]) -> Float[Tensor, "glyph glyph"]:
    """Return the highest correlation of every two glyphs under shifts of up to 2 pixels."""
    shifts = [(row, column) for row in range(-2, 3) for column in range(-2, 3)]
    padded = functional.pad(shapes, (2, 2, 2, 2))
    fixed = unit(padded)
    return torch.stack([fixed @ unit(padded.roll(shift, (1, 2))).T for shift in shifts]).amax(0)


def unit(shapes: Float[Tensor, "glyph height width"]) -> Float[Tensor, "glyph pixel"]:
    """Return each glyph as a vector of mean 0 and length 1."""
    flat = shapes.flatten(1)
    return functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def scatter(count: int, pieces: int, source: Generator) -> Int64[Tensor, "image piece 2"]:
    """Draw the top-left pixels (x, y) of glyphs that do not overlap: the first uniform, each further one uniform where room is left."""
    corners = torch.randint(0, SIDE - GLYPH + 1, (count, pieces, 2), generator=source)
    for piece in range(1, pieces):
        todo = torch.arange(count)
        while len(todo):
            apart = (corners[todo, piece, None] - corners[todo, :piece]).abs().amax(-1)
            todo = todo[(apart < GLYPH).any(1)]
            corners[todo, piece] = torch.randint(0, SIDE - GLYPH + 1, (len(todo), 2), generator=source)
    return corners


def background(count: int, source: Generator) -> UInt8[Tensor, "image 1 96 96"]:
    """Return noise: the sum of a fine one, a value for every pixel, and a coarse one, a value for every cell."""
    fine = noise(FINE, (count, SIDE, SIDE), source)
    coarse = noise(COARSE, (count, SIDE // CELL, SIDE // CELL), source)
    cells = fine.view(count, SIDE // CELL, CELL, SIDE // CELL, CELL)
    return cells.add_(coarse[:, :, None, :, None]).view(count, 1, SIDE, SIDE)


def noise(levels: int, shape: tuple[int, ...], source: Generator) -> UInt8[Tensor, "*shape"]:
    """Return uniform noise from 0 to levels - 1, eight values from each random word."""
    words = torch.randint(-(2**63), 2**63 - 1, (math.prod(shape) // 8,), generator=source)
    return words.view(torch.uint8).bitwise_and_(levels - 1).view(shape)


def stamp(images: UInt8[Tensor, "image 1 96 96"], shapes: UInt8[Tensor, "image 12 12"], corners: Int64[Tensor, "image 2"]) -> None:
    """Add one glyph to each image in place, its top-left pixel at (x, y)."""
    step = torch.arange(GLYPH)
    first = torch.arange(len(images)) * (SIDE * SIDE) + corners[:, 1] * SIDE + corners[:, 0]
    pixel = first[:, None, None] + step[:, None] * SIDE + step
    flat = images.view(-1)
    flat[pixel] = flat[pixel] + shapes
