"""An image at its own size and at halves of it, one level after the other, down to a single pixel.

A window that is much wider than the glimpse it becomes is cut out of a level where it is at most twice as
wide, so that the cost of a glimpse does not grow with the image (Williams 1983, "Pyramidal parametrics").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

CHANNELS = 3
STRIP = 256  # rows of pixels in memory at a time

Pixels = UInt8[np.ndarray, "_row _column 3"]  # of any size


def count_levels(height: int, width: int) -> int:
    """Return the number of levels of an image, the first of which is the image itself."""
    return (max(height, width) - 1).bit_length() + 1


def measure_level(side: int, level: int) -> int:
    """Return a side in pixels at a level, rounded up."""
    return (side + (1 << level) - 1) >> level


def locate_levels(start: int, height: int, width: int) -> tuple[list[int], int]:
    """Return the position of each level's first byte, and that behind the last one."""
    starts = []
    for level in range(count_levels(height, width)):
        starts.append(start)
        start += CHANNELS * measure_level(height, level) * measure_level(width, level)
    return starts, start


def table_levels(
    starts: Int64[Tensor, " stored"], sizes: Int64[Tensor, "stored 2"]
) -> Int64[Tensor, "stored level"]:
    """Return the position of the first byte of every level of every image; past the last one it is repeated.

    `sizes` are (height, width).
    """
    most = count_levels(1, max(1, int(sizes.max())))
    places = [starts]
    for level in range(most - 1):
        here = (sizes + (1 << level) - 1) >> level
        length = CHANNELS * here.prod(1)
        places.append(places[-1] + torch.where((here > 1).any(1), length, 0))
    return torch.stack(places, 1)


def halve(pixels: Pixels) -> Pixels:
    """Return the means of blocks of 2 x 2 pixels; of what is there of them at the last row and column."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows = pixels[::2].astype(np.uint16) + pixels[1::2]
    return ((rows[:, ::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)


def build(pixels: Pixels) -> list[Pixels]:
    """Return all levels of an image."""
    levels = [pixels]
    for _ in range(count_levels(*pixels.shape[:2]) - 1):
        levels.append(halve(levels[-1]))
    return levels


def stream(strips: Iterator[Pixels], height: int, width: int, write: Callable[[int, Pixels], None]) -> None:
    """Write all levels of an image from its rows in order; `write` gets a level and its next rows.

    Raises:
        ValueError: There are not `height` rows of `width` pixels.
    """
    last = count_levels(height, width) - 1
    waiting: list[list[Pixels]] = [[] for _ in range(last + 1)]  # at most one row of each level

    def push(level: int, rows: Pixels) -> None:
        write(level, rows)
        if level == last:
            return
        joined = np.concatenate([*waiting[level], rows])
        even = len(joined) // 2 * 2
        waiting[level] = [joined[even:]] if even < len(joined) else []
        if even:
            push(level + 1, halve(joined[:even]))

    count = 0
    for strip in strips:
        count += len(strip)
        if count > height or strip.shape[1] != width:
            raise ValueError(f"{count:,} rows of {strip.shape[1]:,} pixels, expected {height:,} of {width:,}")
        for start in range(0, len(strip), STRIP):
            push(0, strip[start : start + STRIP])
    if count < height:
        raise ValueError(f"{count:,} rows of pixels, expected {height:,}")
    for level in range(last):
        if waiting[level]:
            push(level + 1, halve(waiting[level].pop()))
