"""The retina: square glimpses of a batch of images at any sub-pixel location, at one or several scales.

`glimpse` cuts windows of fixed widths (`crop`, `shrink`), or with zoom of each row's own width (`resample`).

Coordinates follow `torch.nn.functional.grid_sample` with align_corners=False: (-1, -1) is the outer corner of
the top-left pixel and (1, 1) that of the bottom-right one, so x of an image W pixels wide lies at pixel
((x + 1) W - 1) / 2. Other modules use locations (x, y) in [-1, 1], this one converts them to pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from glimpse_env import checks

Centre = Float[Tensor, "env 2"]  # (x, y) of each row's window
Index = Int64[Tensor, " env"]  # each row's image
Images = UInt8[Tensor, "image channel height width"]

Fill = Literal["zero", "reflect", "noise"]
BLOCK = 1 << 20  # pixels that a CPU cuts at a time, about
TILE = 257  # side in pixels of the repeated noise; a prime, so that its period is no multiple of a window


class Windows(NamedTuple):
    """All windows of one size on a canvas, by the flat position of their top-left pixel.

    Taps: the window's size, and one more for interpolation if the canvas is larger.
    """

    view: UInt8[Tensor, "start channel tap_down tap_across"]
    image: int  # flat positions from one image to the next
    row: int  # flat positions from one row of pixels to the next
    half: tuple[float, float]  # half the image's (width, height) in pixels
    offset: Float[Tensor, "2"]  # top-left pixel (x, y) of the central window
    last: tuple[int, int]  # largest top-left pixel (x, y): the window ends where the canvas does


@dataclass(frozen=True, eq=False)
class Canvas:
    """Images with a margin around them, so that every window of the retina lies inside.

    The margin is painted once (zeros, the mirrored image, or noise from a fixed seed), so a glimpse at the
    same location of the same image is always the same.
    """

    pixels: UInt8[Tensor, "image channel padded_height padded_width"]
    margin: int  # pixels on each side
    cache: dict[int, Windows] = field(default_factory=dict, repr=False)  # by size, built at first use

    def windows(self, size: int) -> Windows:
        """Return the windows of `size` x `size` pixels.

        They are one strided view of the pixels: indexing its first axis copies rows of pixels without an
        index per pixel, which makes the crop fast.
        """
        if size not in self.cache:
            store = self.pixels
            _, channels, height, width = store.shape
            across, down = min(size + 1, width), min(size + 1, height)
            starts = store.numel() - (channels - 1) * height * width - (down - 1) * width - (across - 1)
            half = (self.image_width / 2, self.image_height / 2)
            self.cache[size] = Windows(
                view=store.as_strided((starts, channels, down, across), (1, height * width, width, 1)),
                image=channels * height * width,
                row=width,
                half=half,
                offset=torch.tensor([side - size / 2 + self.margin for side in half], device=store.device),
                last=(width - size, height - size),
            )
        return self.cache[size]

    def cut(
        self, windows: Windows, index: Index, row: Index, column: Index
    ) -> Float[Tensor, "env channel tap_down tap_across"]:
        """Return each row's tile of pixels whose top-left one is at (row, column), values in [0, 255]."""
        start = (index * windows.image).add_(row, alpha=windows.row).add_(column)
        return windows.view.index_select(0, start).float()

    @property
    def image_height(self) -> int:
        """Height of the images without margin, in pixels."""
        return self.pixels.shape[2] - 2 * self.margin

    @property
    def image_width(self) -> int:
        """Width of the images without margin, in pixels."""
        return self.pixels.shape[3] - 2 * self.margin


def paint(images: Images, margin: int, fill: Fill = "zero") -> Canvas:
    """Surround `images` with `margin` pixels of zeros, of their mirror image, or of uniform noise."""
    checks.choice("fill", fill, get_args(Fill))
    height, width = images.shape[-2:]
    if fill == "zero":
        return Canvas(functional.pad(images, (margin, margin, margin, margin)).contiguous(), margin)
    if fill == "reflect":
        if margin >= min(height, width):
            most = f"at most {min(height, width) - 1} pixels of a {(height, width)} image"
            raise ValueError(
                f"fill='reflect' can mirror {most}, but these glimpses reach {margin} pixels beyond it: "
                "use smaller glimpses or scales, or fill='zero'"
            )
        rows, columns = (reflect(side, margin, images.device) for side in (height, width))
        return Canvas(images[:, :, rows[:, None], columns].contiguous(), margin)
    pixels = paint_noise(images, margin)
    pixels[:, :, margin : margin + height, margin : margin + width] = images
    return Canvas(pixels, margin)


def paint_noise(images: Images, margin: int) -> UInt8[Tensor, "image channel padded_height padded_width"]:
    """Return uniform noise for canvases: one tile from a fixed seed, repeated, with a shift for each image.

    A pixel of it depends only on the image's pixels and on its position relative to the image: it is the same
    for every margin and in every part of a set. So tables that are computed part by part, one window at a
    time, show the same as one canvas of all images.
    """
    generator, shape = torch.Generator().manual_seed(0), (images.shape[1], TILE, TILE)
    tile = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(images.device)
    shift = images.sum((1, 2, 3))[:, None]
    down, across = (torch.arange(-margin, side + margin, device=images.device) for side in images.shape[2:])
    rows, columns = (down + shift) % TILE, (across + shift // TILE) % TILE
    return tile[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1).contiguous()


def reflect(length: int, margin: int, device: torch.device) -> Int64[Tensor, " padded"]:
    """Return the source positions of a mirrored row of `length` pixels with `margin` more on each side."""
    position = torch.arange(-margin, length + margin, device=device).abs()
    return torch.where(position >= length, 2 * (length - 1) - position, position)


def margin_for(image_size: int, window: int, reach: float) -> int:
    """Return the margin in pixels that windows of `window` pixels need, with centres in [-reach, reach]."""
    return max(0, math.ceil((reach - 1) * image_size / 2 + window / 2 - 1e-6))  # ignores rounding errors


def crop(canvas: Canvas, index: Index, centre: Centre, size: int) -> Float[Tensor, "env channel size size"]:
    """Cut a `size` x `size` window around `centre` out of each row's image, by bilinear interpolation.

    Values stay in [0, 255]. If the window's edges lie on pixel edges the result equals slicing. Centres for
    which the window would leave the canvas are moved to the nearest ones for which it does not.
    """
    windows = canvas.windows(size)
    corner, whole = top_left(windows, centre)
    across, down = (corner - whole).view(-1, 2, 1, 1, 1).unbind(1)
    column, row = whole.long().unbind(1)
    return interpolate(canvas.cut(windows, index, row, column), across, down, size)


def interpolate(
    pixels: Float[Tensor, "env channel tap_down tap_across"],
    across: Float[Tensor, "env 1 1 1"],
    down: Float[Tensor, "env 1 1 1"],
    size: int,
) -> Float[Tensor, "env channel size size"]:
    """Shift pixels by a fraction of one across and down, bilinearly, along axes that have a tap more."""
    if pixels.shape[2] > size:
        pixels = torch.lerp(pixels[:, :, :-1], pixels[:, :, 1:], down)
    return torch.lerp(pixels[..., :-1], pixels[..., 1:], across) if pixels.shape[3] > size else pixels


def top_left(windows: Windows, centre: Centre) -> tuple[Centre, Centre]:
    """Return the window's top-left corner (x, y) on the canvas, and the whole pixel to interpolate from.

    Rounded down, except at the canvas' far edge: there the previous pixel is returned, and interpolation
    gives its neighbour the full weight, so that no pixel beyond the canvas is read.
    """
    (across, down), (right, bottom) = windows.half, windows.last
    if across == down:  # one scale for both axes
        corner = torch.add(windows.offset, centre, alpha=across).clamp_(0, right)
        return corner, corner.floor().clamp_(max=max(0, right - 1))
    x = torch.add(windows.offset[0], centre[:, 0], alpha=across).clamp_(0, right)
    y = torch.add(windows.offset[1], centre[:, 1], alpha=down).clamp_(0, bottom)
    whole = (x.floor().clamp_(max=max(0, right - 1)), y.floor().clamp_(max=max(0, bottom - 1)))
    return torch.stack([x, y], 1), torch.stack(whole, 1)


def glimpse(
    canvas: Canvas,
    index: Index,
    centre: Centre,
    size: int,
    windows: tuple[int, ...],
    factor: Float[Tensor, " env"] | None = None,
) -> Float[Tensor, "env scale_channel size size"]:
    """Return windows of several widths at one centre, shrunk to `size`, stacked as channels in [0, 1].

    (Mnih et al. 2014, the glimpse sensor; Sermanet et al. 2015, the multi-resolution glimpse.)

    `factor`: by which each row's windows are narrower, in (0, 1] (see `zoom_factor`); None = by nothing.
    """
    if factor is None:
        patches = [cut_and_shrink(canvas, index, centre, window, size) for window in windows]
    else:
        patches = [resample(canvas, index, centre, factor * window, size, window) for window in windows]
    stacked = patches[0] if len(patches) == 1 else torch.cat(patches, 1)
    return stacked.mul_(1 / 255)


def cut_and_shrink(
    canvas: Canvas, index: Index, centre: Centre, window: int, size: int
) -> Float[Tensor, "env channel size size"]:
    """Return `shrink(crop(...))`, up to rounding, and faster where the window is a multiple of `size`.

    On a CPU many rows go in blocks that stay in its caches: larger tensors are new memory at every step.
    """
    if window % size or window == size:
        return shrink(crop(canvas, index, centre, window), size)
    windows = canvas.windows(window)
    corner, whole = top_left(windows, centre)
    across, down = (corner - whole).view(-1, 2, 1, 1, 1).unbind(1)
    column, row = whole.long().unbind(1)
    rows = len(index)
    if index.device.type == "cpu":
        rows = max(1, BLOCK // windows.view[0].numel())
    blocks = [
        average(average(canvas.cut(windows, *where), 2, fraction_down, size), 3, fraction_across, size)
        for *where, fraction_down, fraction_across in zip(
            *(part.split(rows) for part in (index, row, column, down, across)), strict=True
        )
    ]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def average(
    pixels: Float[Tensor, "env channel height width"],
    axis: int,
    fraction: Float[Tensor, "env 1 1 1"],
    size: int,
) -> Float[Tensor, "env channel rows columns"]:
    """Return the means of `size` blocks along an axis, shifted by a fraction of a pixel if it has a tap more.

    The mean of a block between pixels is that at whole pixels, plus the fraction of what the shift adds at
    its end and takes at its start: so no pixel is interpolated.
    """
    last, tap = pixels.shape[axis] - 1, pixels.shape[axis] % size
    width = pixels.shape[axis] // size
    shape = [slice(None)] * axis
    parts = [pixels[(*shape, slice(i, None if i == 0 else last + 1 - tap, width))] for i in range(width)]
    starts = parts[0].narrow(axis, 0, size)
    total = starts + parts[1]
    for part in parts[2:]:
        total += part
    if tap:
        total.addcmul_(parts[0].narrow(axis, 1, size) - starts, fraction)
    return total.mul_(1 / width)


def shrink(
    patch: Float[Tensor, "env channel height width"], size: int
) -> Float[Tensor, "env channel size size"]:
    """Resize patches to `size` pixels a side: block means for whole factors, else antialiased bilinear."""
    height, width = patch.shape[-2:]
    if height == width == size:
        return patch
    if height % size == 0 and width % size == 0:
        return functional.avg_pool2d(patch, (height // size, width // size))
    return resize(patch, (size, size))


def resize(
    patch: Float[Tensor, "env channel height width"], size: tuple[int, int]
) -> Float[Tensor, "env channel rows columns"]:
    """Resize patches, of any number of rows, to `size`, antialiased bilinear."""
    if not patch.shape[0]:  # every row has stopped; on a GPU, torch refuses to interpolate no row
        return patch.new_empty(0, patch.shape[1], *size)
    return functional.interpolate(patch, size, mode="bilinear", antialias=True, align_corners=False)


def zoom_factor(scale: Float[Tensor, "*batch"], zoom: tuple[float, float]) -> Float[Tensor, "*batch"]:
    """Return the width of windows as a share of the largest's: smallest / largest at scale -1, 1 at scale 1.

    In between its logarithm is linear.
    """
    return torch.pow(zoom[0] / zoom[1], (1 - scale) / 2)


def resample(
    canvas: Canvas, index: Index, centre: Centre, width: Float[Tensor, " env"], size: int, widest: int
) -> Float[Tensor, "env channel size size"]:
    """Cut a square of `width` pixels (at most `widest`) around `centre` for each row, resized to `size`.

    Values stay in [0, 255]. A pixel of the result is the mean of the image over its square of width / size
    pixels a side, and at least one: windows that shrink are antialiased, others are interpolated bilinearly.
    So it equals `shrink(crop(...))`, up to rounding, wherever the width is a whole multiple of `size`.

    Every row reads a tile that contains its window (and a pixel around one that is enlarged, for the
    interpolation), and two matrix products with the weights of its pixels resize it: no loop over rows, no
    host sync.
    """
    windows = canvas.windows(max(widest, size))
    down, across = windows.view.shape[2:]
    height, length = canvas.pixels.shape[2:]
    (x, y), margin = windows.half, canvas.margin
    column, weights_across = box_weights(x + margin + centre[:, 0] * x, width, size, length, across)
    row, weights_down = box_weights(y + margin + centre[:, 1] * y, width, size, height, down)
    tile = canvas.cut(windows, index, row, column)
    flat = torch.matmul(weights_down[:, None], tile)  # `size` rows of pixels
    return torch.bmm(flat.flatten(1, 2), weights_across.mT).unflatten(1, (-1, size))


def box_weights(
    centre: Float[Tensor, " env"], width: Float[Tensor, " env"], size: int, side: int, taps: int
) -> tuple[Int64[Tensor, " env"], Float[Tensor, "env size tap"]]:
    """Return, along one axis, the first pixel of each row's tile of `taps` pixels, and the pixels' weights.

    Windows that would leave the canvas of `side` pixels are moved to where they do not.
    """
    corner = torch.minimum((centre - width / 2).clamp_(min=0), side - width)
    step = width / size
    reach = step.clamp(min=1) / 2  # of the square that a pixel of the result is the mean of
    start = (corner + step / 2 - reach).floor().clamp_(0, side - taps)
    return start.long(), weigh(corner - start, step, reach, size, taps)


def weigh(
    corner: Float[Tensor, " env"], step: Float[Tensor, " env"], reach: Float[Tensor, " env"],
    size: int, taps: int,
) -> Float[Tensor, "env size tap"]:  # fmt: skip
    """Return, along one axis, the weights of a tile's pixels in the means over boxes, `step` pixels apart.

    Their centres begin half a step from `corner`; each reaches `reach` pixels to both sides.
    """
    step, reach = step[:, None], reach[:, None]
    middle = torch.arange(0.5, size, device=corner.device) * step + corner[:, None]
    distance = (middle[:, :, None] - torch.arange(0.5, taps, device=corner.device)).abs_()
    overlap = torch.sub(reach[:, :, None] + 0.5, distance, out=distance).clamp_(0, 1)
    inside = (middle + reach).clamp(0, taps) - (middle - reach).clamp(0, taps)  # of the box, in the tile
    return overlap.div_(inside[:, :, None])


def whole(
    canvas: Canvas, index: Index, size: int, crop: float = 1.0
) -> Float[Tensor, "env channel size size"]:
    """Return the whole image shrunk to `size` x `size`, values in [0, 1]: the first, coarse view.

    `crop`: of its sides, the share that is shown around the centre.
    """
    height, width = (max(1, round(crop * side)) for side in (canvas.image_height, canvas.image_width))
    top = canvas.margin + (canvas.image_height - height) // 2
    left = canvas.margin + (canvas.image_width - width) // 2
    inside = canvas.pixels[:, :, top : top + height, left : left + width]
    return shrink(inside.index_select(0, index).float(), size).mul_(1 / 255)


def to_pixels(location: Float[Tensor, "point 2"], height: int, width: int) -> Float[Tensor, "point 2"]:
    """Return locations as (x, y) in pixels from the outer corner of the image's top-left pixel."""
    return (location + 1) * location.new_tensor([width, height]) / 2
