"""Images on the device, or mapped on the host if they do not fit there, and the views cut out of them."""

from __future__ import annotations

import functools
import logging
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from glimpse_env import retina
from glimpse_env.datasets import ImageSet
from glimpse_env.episode import Bools, Ints, Points
from glimpse_env.sensors.base import Geometry, place_windows

Rows = Int64[Tensor, " image"] | None  # the row of a stack that holds each image; None = in order

RESERVE = 4 << 30  # bytes of a GPU that are left for networks and their activations
SLICE = 256  # rows moved at a time

log = logging.getLogger("glimpse_env")


def move_to_device(
    stored: Shaped[Tensor, "stored ..."], rows: Rows, device: torch.device, what: str
) -> tuple[Shaped[Tensor, "row ..."], Rows]:
    """Return a stack on the device if it fits there, else as it is; and its rows.

    On the CPU nothing is copied, so a memory-mapped stack may be larger than memory. If a GPU has not enough
    free memory, the stack stays on the host, and every look-up waits for the host. `what` is its name in the
    log; empty = nothing is logged.
    """
    if device.type == "cpu":
        return stored, rows
    count = len(stored) if rows is None else len(rows)
    if device.type == "cuda":
        size, free = count * stored[0].numel() * stored.element_size(), torch.cuda.mem_get_info(device)[0]
        fits = size <= free - RESERVE
        if what:
            sizes, end = (size / 1e9, free / 1e9), "moved there" if fits else "left on the host"
            log.info("%s: %.3g GB, %.3g GB free on %s: %s", what, *sizes, device, end)
        if not fits:
            return stored, rows
    moved = torch.empty(count, *stored.shape[1:], dtype=stored.dtype, device=device)
    for start in range(0, count, SLICE):
        part = slice(start, start + SLICE)
        moved[part] = (stored[part] if rows is None else stored[rows[part]]).to(device)
    return moved, None


class Stored(NamedTuple):
    """Images with what is needed to cut views out of them, all on one device."""

    canvas: retina.Canvas
    rows: Rows
    reach: Float[Tensor, ""]
    # (-1, 1), with zoom (-1, 1, 1): by which a location in a mirrored image becomes one in the stored image.
    flip: Float[Tensor, " axis"]


class ImageViews:
    """Views of the images of a set, as a network gets them; locations refer to the images as shown."""

    def __init__(
        self,
        images: ImageSet,
        geometry: Geometry,
        fill: retina.Fill,
        device: torch.device,
        name: str = "images",
    ) -> None:
        """Check the images; the first view moves them to the device. `name`: in the log; empty = no log."""
        channels = images.images.shape[1]
        if channels not in (1, 3):
            raise ValueError(f"images of {channels} channels: a backbone takes 1 (grey) or 3 (RGB)")
        self.images, self.geometry, self.device, self.name = images, geometry, device, name
        self.fill: retina.Fill = fill
        self._mirrored: Bool[Tensor, " image"] | None = None

    @functools.cached_property
    def stored(self) -> Stored:
        """The images, with a margin (a copy in memory) only if the windows reach beyond them."""
        side, reach = min(self.images.images.shape[-2:]), self.geometry.reach
        margin = retina.margin_for(side, max(self.geometry.windows), reach)
        stack, rows = move_to_device(self.images.images, self.images.rows, self.device, self.name)
        if margin:
            stack, rows = stack if rows is None else stack[rows], None
            if self.name:
                message = (
                    "glimpses reach %d pixels beyond the images: %.3g GB of them are copied with a margin"
                )
                log.info(message, margin, stack.numel() / 1e9)
        canvas = retina.paint(stack, margin, self.fill) if margin else retina.Canvas(stack.contiguous(), 0)
        axes = [-1.0, 1.0] if self.geometry.zoom is None else [-1.0, 1.0, 1.0]
        flip = torch.tensor(axes, device=stack.device)
        return Stored(canvas, rows, torch.tensor(reach, device=stack.device), flip)

    def release(self) -> None:
        """Free the memory of the images until the next view."""
        self.__dict__.pop("stored", None)

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Mirror these images (left-right) from now on; None = no image."""
        self._mirrored = None if which is None else check_flags(which, len(self.images)).to(self.device)

    def glimpses(
        self, index: Ints, location: Points, size: int
    ) -> Float[Tensor, "env scale_channel size size"]:
        """Return the windows around `location`, resized to `size` pixels, values in [0, 1]."""
        row, mirrored, location = self._look_up(index, location)
        centre, factor = place_windows(location, self.stored.reach, self.geometry.zoom)
        patch = retina.glimpse(self.stored.canvas, row, centre, size, self.geometry.windows, factor)
        return mirror_rows(patch, mirrored).to(self.device)

    def wholes(self, index: Ints, size: int) -> Float[Tensor, "env channel size size"]:
        """Return the whole images, or their `first_crop`, at `size` pixels, values in [0, 1]."""
        row, mirrored, _ = self._look_up(index)
        view = retina.whole(self.stored.canvas, row, size, self.geometry.first_crop)
        return mirror_rows(view, mirrored).to(self.device)

    def _look_up(self, index: Ints, location: Points | None = None) -> tuple[Ints, Bools | None, Tensor]:
        """Return stored row, whether it is mirrored, and location in it, all on the pixels' device."""
        canvas, rows, _, flip = self.stored
        index = index.to(canvas.pixels.device)
        location = flip if location is None else location.to(index.device)
        row = index if rows is None else rows.index_select(0, index)
        if self._mirrored is None:
            return row, None, location
        mirrored = self._mirrored.to(index.device).index_select(0, index)
        return row, mirrored, torch.where(mirrored[:, None], location * flip, location)


def mirror_rows(
    patch: Float[Tensor, "env channel height width"], mirrored: Bools | None
) -> Float[Tensor, "env channel height width"]:
    """Reverse the patches of the rows that are mirrored; None = no row."""
    return patch if mirrored is None else torch.where(mirrored[:, None, None, None], patch.flip(3), patch)


def check_flags(which: Bool[Tensor, " image"], count: int) -> Bool[Tensor, " image"]:
    """Refuse anything but one bool per image."""
    if which.dtype != torch.bool or which.shape != (count,):
        got = f"{which.dtype} of shape {tuple(which.shape)}"
        raise ValueError(f"mirror: expected one bool for each of the {count} images, got {got}")
    return which
