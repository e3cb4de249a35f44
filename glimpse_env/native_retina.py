"""The retina for images of different sizes: windows of all rows in one gather out of one flat array of bytes.

Coordinates and the arithmetic between pixels are those of `retina`: locations (x, y) in [-1, 1] are relative
to each image, -1 and 1 the outer corners of its outer pixels. There is no canvas with a margin: what a window
shows beyond its image is put there when it is cut.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from glimpse_env import retina
from glimpse_env.retina import TILE, Centre, Fill, Index

Unit = Literal["pixels", "short_side"]  # of the windows' widths: the image's own pixels, or its short side

CHANNELS = 3
WIDEST = 1 << 16  # pixels of a window: the bytes before the first and after the last image allow for them

Ints = Int64[Tensor, " env"]
Patch = UInt8[Tensor, "env down across 3"]


@dataclass(frozen=True, eq=False)
class NativeCanvas:
    """Images of different sizes, the halves of them (see `datasets.native.pyramid`), and what surrounds."""

    data: UInt8[Tensor, " byte"]  # with at least 3 * WIDEST bytes before the first image, and after the last
    index: Int64[Tensor, "stored 4"]  # position of the first byte, height, width, sum of the values
    levels: Int64[Tensor, "stored level"]  # position of the first byte of each half
    fill: Fill = "zero"

    @functools.cached_property
    def noise(self) -> UInt8[Tensor, "tile_down tile_across 3"]:
        """The tile of noise that `retina.paint_noise` repeats."""
        generator = torch.Generator().manual_seed(0)
        tile = torch.randint(0, 256, (CHANNELS, TILE, TILE), dtype=torch.uint8, generator=generator)
        return tile.permute(1, 2, 0).contiguous().to(self.data.device)

    def runs(self, length: int) -> UInt8[Tensor, "start byte"]:
        """Return all runs of `length` bytes as one view: indexing its first axis copies them."""
        return self.data.as_strided((len(self.data) - length + 1, length), (1, 1))


def glimpse(
    canvas: NativeCanvas,
    index: Index,
    centre: Centre,
    size: int,
    windows: tuple[float, ...],
    factor: Float[Tensor, " env"] | None = None,
    unit: Unit = "pixels",
) -> Float[Tensor, "env scale_channel size size"]:
    """Return windows of several widths at one centre as `retina.glimpse` does, of images of different sizes.

    With `unit` "short_side" the widths are shares of each image's short side: windows are then cut out of a
    half of the image at which they are at most twice as wide as the glimpse. So are those with a `factor`.
    """
    place = canvas.index.index_select(0, index)
    if factor is None and unit == "pixels":
        whole = (round(window) for window in windows)
        patches = [retina.shrink(crop(canvas, place, centre, window), size) for window in whole]
    else:
        levels = canvas.levels.index_select(0, index)
        widths = torch.ones_like(centre[:, 0]) if factor is None else factor
        widths = widths * place[:, 1:3].amin(1) if unit == "short_side" else widths
        patches = [resample(canvas, place, levels, centre, widths * window, size) for window in windows]
    stacked = patches[0] if len(patches) == 1 else torch.cat(patches, 1)
    return stacked.mul_(1 / 255)


def crop(
    canvas: NativeCanvas, place: Int64[Tensor, "env 4"], centre: Centre, size: int
) -> Float[Tensor, "env channel size size"]:
    """Cut a `size` x `size` window around `centre` out of each row's image, by bilinear interpolation.

    `place` are the images' rows of `canvas.index`. Values stay in [0, 255]. If the window's edges lie on
    pixel edges the result equals slicing.
    """
    start, height, width, shift = place.unbind(1)
    half = place[:, [2, 1]] / 2
    corner = (half - size / 2).addcmul_(centre, half)
    whole = corner.floor()
    across, down = (corner - whole).view(-1, 2, 1, 1, 1).unbind(1)
    left, top = whole.long().unbind(1)
    pixels = cut(canvas, start, (height, width), (top, left), shift, size + 1)
    return retina.interpolate(pixels.permute(0, 3, 1, 2).float(), across, down, size)


def resample(
    canvas: NativeCanvas,
    place: Int64[Tensor, "env 4"],
    levels: Int64[Tensor, "env level"],
    centre: Centre,
    width: Float[Tensor, " env"],
    size: int,
) -> Float[Tensor, "env channel size size"]:
    """Cut a square of `width` pixels around `centre` for each row, resized to `size`.

    The arithmetic is that of `retina.resample`. The square is cut out of the half of the image at which it is
    `size` to 2 `size` pixels wide, so every row reads a tile of one small size, whatever image and window.
    """
    _, height, width_of, shift = place.unbind(1)
    level = (width / size).log2().floor().long().clamp(0, levels.shape[1] - 1)
    shrunk = torch.exp2(-level.float())
    start = levels.gather(1, level[:, None]).squeeze(1)
    last = (1 << level) - 1
    sides = ((height + last) >> level, (width_of + last) >> level)
    step = width * shrunk / size
    reach, taps = step.clamp(min=1) / 2, 2 * size + 3
    firsts, weights = [], []
    for axis, side in ((1, height), (0, width_of)):
        corner = ((centre[:, axis] + 1) * side - width) / 2 * shrunk
        first = (corner + step / 2 - reach).floor()
        firsts.append(first.long())
        weights.append(retina.weigh(corner - first, step, reach, size, taps))
    tile = cut(canvas, start, sides, (firsts[0], firsts[1]), shift, taps).permute(0, 3, 1, 2).float()
    flat = torch.matmul(weights[0][:, None], tile)  # `size` rows of pixels
    return torch.bmm(flat.flatten(1, 2), weights[1].mT).unflatten(1, (-1, size))


def cut(
    canvas: NativeCanvas,
    start: Ints,
    sides: tuple[Ints, Ints],
    corner: tuple[Ints, Ints],
    shift: Ints,
    size: int,
) -> Patch:
    """Return squares of `size` whole pixels, and the canvas' fill where they lie beyond their images.

    Args:
        canvas: The images.
        start: Position of each row's first pixel.
        sides: (height, width) of the pixels there.
        corner: (row, column) of the window's first pixel; may lie outside.
        shift: By which the noise of an image is shifted.
        size: Side of the squares.
    """
    (height, width), (top, left) = (sides, corner)
    steps = torch.arange(size, device=start.device)
    rows, columns = top[:, None] + steps, left[:, None] + steps
    if canvas.fill == "reflect":
        return gather(canvas, start, width, reflect(rows, height), reflect(columns, width))
    inside = is_inside(rows, height)[:, :, None] & is_inside(columns, width)[:, None, :]
    nearest = torch.minimum(rows.clamp(min=0), height[:, None] - 1)
    begin = (nearest * width[:, None] + left[:, None]).mul_(CHANNELS).add_(start[:, None])
    runs = canvas.runs(CHANNELS * size)
    begin.clamp_(0, len(runs) - 1)
    pixels = runs.index_select(0, begin.flatten()).view(-1, size, size, CHANNELS)
    if canvas.fill == "zero":
        return pixels.mul_(inside[..., None])
    down, across = (rows + shift[:, None]) % TILE, (columns + (shift // TILE)[:, None]) % TILE
    return torch.where(inside[..., None], pixels, canvas.noise[down[:, :, None], across[:, None, :]])


def gather(canvas: NativeCanvas, start: Ints, width: Ints, rows: Tensor, columns: Tensor) -> Patch:
    """Return pixels by their rows (env down) and columns (env across), which lie in the images."""
    place = (rows * width[:, None])[:, :, None] + columns[:, None, :]
    begin = place.mul_(CHANNELS).add_(start[:, None, None])
    return canvas.runs(CHANNELS).index_select(0, begin.flatten()).view(*place.shape, CHANNELS)


def is_inside(position: Int64[Tensor, "env tap"], side: Ints) -> Bool[Tensor, "env tap"]:
    """Tell which positions lie in [0, side)."""
    return (position >= 0) & (position < side[:, None])


def reflect(position: Int64[Tensor, "env tap"], side: Ints) -> Int64[Tensor, "env tap"]:
    """Return the positions of mirrored pixels, back and forth in images narrower than the window."""
    last = (side - 1)[:, None]
    there = torch.remainder(position, (2 * last).clamp(min=1))
    return torch.minimum(there, 2 * last - there)
