"""Stored images where they lie best - on the device, or mapped on the host - and views cut out of them."""

from __future__ import annotations

import functools
import logging
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from glimpse_env import retina
from glimpse_env.datasets import ImageSet
from glimpse_env.sensors.base import Sight

RESERVE = 4 << 30  # bytes of a GPU that are left to networks and their activations
SLICE = 256  # rows moved at a time

log = logging.getLogger("glimpse_env")


def placed(
    stored: Shaped[Tensor, "stored ..."], rows: Int64[Tensor, " image"] | None, device: torch.device, what: str
) -> tuple[Shaped[Tensor, "row ..."], Int64[Tensor, " image"] | None]:
    """Return a stack on the device if it fits there, else where it is; and where each image lies in it (None = in order).

    On the CPU nothing is copied, so a memory-mapped stack may be larger than memory. On a GPU without room for it the stack stays on the
    host, and every look-up waits for the host. `what` is its name in the log; empty = nothing is said.
    """
    if device.type == "cpu":
        return stored, rows
    count = len(stored) if rows is None else len(rows)
    size = count * stored[0].numel() * stored.element_size()
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        fits = size <= free - RESERVE
        if what:
            log.info(
                "%s: %.3g GB, %.3g GB free on %s: %s", what, size / 1e9, free / 1e9, device, "moved there" if fits else "left on the host"
            )
        if not fits:
            return stored, rows
    moved = torch.empty(count, *stored.shape[1:], dtype=stored.dtype, device=device)
    for start in range(0, count, SLICE):
        part = slice(start, start + SLICE)
        moved[part] = (stored[part] if rows is None else stored[rows[part]]).to(device)
    return moved, None


class Laid(NamedTuple):
    """Images as they lie: all of it on one device."""

    canvas: retina.Canvas
    rows: Int64[Tensor, " image"] | None  # where each image lies on the canvas; None = in order
    reach: Float[Tensor, ""]
    reverse: Float[Tensor, "2"]  # turns a place of a mirrored image into one of the stored image


class Pictures:
    """The images of a set, and what a network is shown of them. `mirror` reverses chosen ones; places are those of the image as shown."""

    def __init__(self, images: ImageSet, look: Sight, fill: retina.Fill, device: torch.device, name: str = "images") -> None:
        """Check the images; they are placed when the first is asked for. `name`: what the log calls them; empty = nothing is said."""
        if images.images.shape[1] not in (1, 3):
            raise ValueError(f"images of {images.images.shape[1]} channels: a backbone takes 1 (grey) or 3 (RGB)")
        self.images, self.look, self.device, self.name = images, look, device, name
        self.fill: retina.Fill = fill
        self._which: Bool[Tensor, " image"] | None = None

    @functools.cached_property
    def laid(self) -> Laid:
        """The images in their place, with a margin (a copy in memory) only if the windows reach beyond them."""
        margin = retina.margin_for(min(self.images.images.shape[-2:]), max(self.look.windows), self.look.reach)
        stack, rows = placed(self.images.images, self.images.rows, self.device, self.name)
        if margin:
            stack, rows = stack if rows is None else stack[rows], None
            if self.name:
                log.info(
                    "glimpses reach %d pixels beyond the images: %.3g GB of them are copied with a margin", margin, stack.numel() / 1e9
                )
        canvas = retina.paint(stack, margin, self.fill) if margin else retina.Canvas(stack.contiguous(), 0)
        return Laid(canvas, rows, torch.tensor(self.look.reach, device=stack.device), torch.tensor([-1.0, 1.0], device=stack.device))

    def release(self) -> None:
        """Give up the memory that the images take until they are asked for again."""
        self.__dict__.pop("laid", None)

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Show these images left-right reversed from now on; None = no image."""
        self._which = None if which is None else flags(which, len(self.images)).to(self.device)

    def glimpses(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], size: int
    ) -> Float[Tensor, "env scale_channel size size"]:
        """Return the windows around `location`, shrunk or enlarged to `size` pixels, values in [0, 1]."""
        row, flip, place = self._find(index, location)
        patch = retina.glimpse(self.laid.canvas, row, place * self.laid.reach, size, self.look.windows)
        return turned(patch, flip).to(self.device)

    def wholes(self, index: Int64[Tensor, " env"], size: int) -> Float[Tensor, "env channel size size"]:
        """Return the whole images at `size` pixels, values in [0, 1]."""
        row, flip, _ = self._find(index)
        return turned(retina.whole(self.laid.canvas, row, size), flip).to(self.device)

    def _find(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"] | None = None
    ) -> tuple[Int64[Tensor, " env"], Bool[Tensor, " env"] | None, Tensor]:
        """Return stored row, whether it is reversed, and place in the stored image, all where the pixels lie."""
        canvas, rows, _, reverse = self.laid
        index = index.to(canvas.pixels.device)
        place = reverse if location is None else location.to(index.device)
        row = index if rows is None else rows.index_select(0, index)
        if self._which is None:
            return row, None, place
        flip = self._which.to(index.device).index_select(0, index)
        return row, flip, torch.where(flip[:, None], place * reverse, place)


def turned(
    patch: Float[Tensor, "env channel height width"], flip: Bool[Tensor, " env"] | None
) -> Float[Tensor, "env channel height width"]:
    """Reverse the patches of the rows in `flip`."""
    return patch if flip is None else torch.where(flip[:, None, None, None], patch.flip(3), patch)


def flags(which: Bool[Tensor, " image"], count: int) -> Bool[Tensor, " image"]:
    """Refuse what is not one truth value for each image."""
    if which.dtype != torch.bool or which.shape != (count,):
        raise ValueError(f"mirror: expected one bool for each of the {count} images, got {which.dtype} of shape {tuple(which.shape)}")
    return which
