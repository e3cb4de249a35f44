"""Circle or square: 28 x 28 grey images of one shape on a gradient that leads to it, generated.

The task CircleSquare of ap_gym (Schneider et al. 2026, APPLE, arXiv 2505.06182): a shape of 8 pixels has its
centre at any pixel, and the background darkens with the distance from it. A glimpse shows 5 x 5 pixels, an
episode has 16, the first at a random location, and an action moves the glimpse by at most 0.2 of half the
reachable image. ap_gym trains and measures on the same 1,568 images; here a quarter of them, drawn with a
fixed seed, is the test set.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Generator

from glimpse_env.datasets.base import DataSetSpec, ImageSet, Preset

SIDE = 28  # pixels, the image
EXTENT = 8  # pixels, the shape
TEST = SIDE**2 * 2 // 4  # images
CLASSES = ("square", "circle")
SEED = 0  # of which images are the test set


@lru_cache(maxsize=2)
def load(split: str) -> ImageSet:
    """Return "train" (1,176 images) or "test" (392)."""
    axis = torch.arange(SIDE)
    centre = torch.cartesian_prod(axis, axis).repeat(2, 1)  # (y, x)
    labels = torch.arange(2).repeat_interleave(SIDE**2)
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))
    offset = (pixels - centre[:, :, None, None]).float()
    distance, reach = offset.norm(dim=1), EXTENT / 2
    inside = torch.where(labels[:, None, None] == 0, offset.abs().amax(1), distance) <= reach
    grey = torch.where(inside, 1.0, 1 - distance / math.hypot(SIDE, SIDE))
    chosen = torch.randperm(len(labels), generator=Generator().manual_seed(SEED))
    keep = (chosen[TEST:] if split == "train" else chosen[:TEST]).sort().values
    images = (255 * grey[keep]).round().to(torch.uint8)[:, None]
    centers = ((2 * centre[keep] + 1) / SIDE - 1).flip(1)
    return ImageSet(images, labels[keep], CLASSES, centers, key=f"circle-square-1-{split}")


SPEC = DataSetSpec(
    name="circle-square",
    title="circle or square",
    short="circle-square",
    classes=2,
    kind="shapes",
    preset=Preset(
        *(SIDE, 5),
        first_view="glimpse",
        initial_location="random",
        moves="relative",
        max_move=0.2,
        max_glimpses=16,
    ),
    load=lambda split, *_: load(split),
    grey=True,
)
