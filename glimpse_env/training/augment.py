"""The training images of each epoch: drawn again if they are generated, and changed at random.

Changes are affine and elastic ones, and left-right flips.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from glimpse_env import GlimpseVectorEnv
from glimpse_env.sensors import Mirrorable, Repaintable
from glimpse_env.training.options import TrainingOptions

DEGREES, SCALE = 10.0, 0.1  # largest rotation and relative change of size
SHIFT = 1 / 14  # as a fraction of the side (2 of MNIST's 28 pixels)
Images = UInt8[Tensor, "image channel height width"]
NODES = 5  # per side, of the grid of random displacements of an elastic change
CHUNK = 4096  # images at a time, and their pixels: these bound the memory of the floating-point copy
VALUES = CHUNK * 96 * 96
CACHED = 2**18  # pixels at a time on a CPU: with their positions they stay in its cache


class Changes(NamedTuple):
    """Random changes of images, see `distort`."""

    shift: float = SHIFT  # largest shift, as a fraction of the side
    elastic: float = 0.0  # standard deviation of local displacements, likewise
    flip: bool = False  # as photographs are changed

    @classmethod
    def of(cls, options: TrainingOptions) -> Changes | None:
        """Return the changes of an agent's options; None with --no-augment."""
        given = options.augment_shift, options.augment_elastic, options.augment_flip
        return cls(*given) if options.augment else None


def renew(env: GlimpseVectorEnv, generator: torch.Generator, changes: Changes | None) -> None:
    """Show the images of a new epoch: generated ones are composed again, and all are changed at random.

    Digits on a canvas are changed before each is put at its location. A sensor that runs a frozen network
    keeps the images that were loaded, as its features of them are computed once.
    """
    if env.images.composer is not None and isinstance(env.sensor, Repaintable):
        compose(env, generator, changes)
    elif changes is not None:
        vary(env, generator, changes)


def compose(env: GlimpseVectorEnv, generator: torch.Generator, changes: Changes | None = None) -> None:
    """Compose the environment's generated images again: other locations, other pieces, the same labels.

    Args:
        env: The environment; its data set has a composer, its sensor shows pixels.
        generator: Source of what is drawn, on the environment's device.
        changes: Of the digits, or of whole images that have none; None = unchanged.

    Raises:
        ValueError: The images were not generated, or the sensor cannot show other ones.
    """
    if env.images.composer is None:
        raise ValueError("the images of this data set are given, not generated: there is nothing to compose")
    if not isinstance(env.sensor, Repaintable):
        raise ValueError(f"{type(env.sensor).__name__} cannot show generated images: use the pixel sensor")
    composer, digits = env.images.composer, None
    if changes is not None and composer.digits is not None:
        digits = distort(composer.digits.to(env.device), generator, *changes)
    images, centers = composer.compose(generator, digits)
    if changes is not None and composer.digits is None:
        images = distort(images, generator, *changes)
    env.sensor.repaint(images)
    env.images = replace(env.images, images=images, target_centers=centers, rows=None, key=None)


def vary(env: GlimpseVectorEnv, generator: torch.Generator, changes: Changes) -> None:
    """Change the images that the sensor shows, until the next call; raise a ValueError if it cannot."""
    if isinstance(env.sensor, Repaintable):
        env.sensor.repaint(distort(env.images.stack().to(env.device), generator, *changes))
    elif isinstance(env.sensor, Mirrorable):
        env.sensor.mirror(torch.rand(len(env.images), generator=generator, device=env.device) < 0.5)
    else:
        reason = f"{type(env.sensor).__name__} can show neither changed nor mirrored images"
        raise ValueError(f"augment: {reason}; switch augmentation off")


def distort(
    images: Images,
    generator: torch.Generator,
    shift: float = SHIFT,
    elastic: float = 0.0,
    flip: bool = False,
) -> Images:
    """Rotate or flip, scale, shift and bend every image by its own random amounts; outside it is black.

    Args:
        images: The images.
        generator: Source of the amounts.
        shift: Largest shift, as a fraction of the side.
        elastic: Standard deviation of the displacements at the nodes of a coarse grid, as a fraction of the
            side; between nodes they are interpolated (after Simard et al. 2003). 0 = none.
        flip: As photographs are changed: half of the images are flipped left-right, none is rotated, and
            outside an image is its reflection.
    """
    size = images[0].numel()
    chunk = min(CHUNK, max(1, VALUES // size))
    # Drawn in the same chunks whatever the block is, so that a seed gives the same changes.
    drawn = [draw_warps(part, generator, shift, elastic, flip) for part in images.split(chunk)]
    matrices, nodes = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    outside = "reflection" if flip else "zeros"
    block = max(1, CACHED // size) if images.device.type == "cpu" else chunk
    return warp(images, matrices, nodes, block, outside)


def draw_warps(
    images: Images, generator: torch.Generator, shift: float, elastic: float, flip: bool
) -> tuple[Float[Tensor, "image 2 3"], Float[Tensor, "image 2 node node"]]:
    """Return each image's random affine map, and its random displacements of the nodes: 0 nodes = none."""
    count, device = len(images), images.device
    amounts = torch.rand(4, count, generator=generator, device=device) * 2 - 1
    angle, size = amounts[0] * math.radians(DEGREES), 1 + amounts[1] * SCALE
    shift_x, shift_y = amounts[2] * 2 * shift, amounts[3] * 2 * shift
    side = torch.where(angle < 0, -1, 1) if flip else 1
    angle = torch.zeros_like(angle) if flip else angle
    top = torch.stack((angle.cos() * size * side, -angle.sin() * size, shift_x), 1)
    bottom = torch.stack((angle.sin() * size, angle.cos() * size, shift_y), 1)
    shape = (count, 2, NODES, NODES) if elastic > 0 else (count, 2, 0, 0)
    nodes = torch.randn(shape, generator=generator, device=device) * 2 * elastic
    return torch.stack((top, bottom), 1), nodes


def warp(
    images: Images,
    matrices: Float[Tensor, "image 2 3"],
    nodes: Float[Tensor, "image 2 node node"],
    block: int,
    outside: str,
) -> Images:
    """Return the images moved by their maps and bent by their nodes, computed `block` images at a time."""
    warped = torch.empty_like(images)
    groups = (values.split(block) for values in (images, matrices, nodes, warped))
    for part, matrix, node, out in zip(*groups, strict=True):
        grid = F.affine_grid(matrix, list(part.shape), align_corners=False)
        if node.numel():
            bent = F.interpolate(node, part.shape[2:], mode="bicubic", align_corners=True)
            grid = grid + bent.permute(0, 2, 3, 1)
        moved = F.grid_sample(part.float(), grid, padding_mode=outside, align_corners=False)
        out.copy_(moved.round_().clamp_(0, 255))
    return warped
