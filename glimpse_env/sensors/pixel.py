"""The pixel sensor: a glimpse is the crop itself."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView
from glimpse_env.sensors.base import build_geometry

CHUNK = 1024  # images shrunk at a time, which limits the memory of the floating-point copy


class PixelSensor:
    """The crop itself, at one or several scales (Mnih et al. 2014; Sermanet et al. 2015), as (scale * channel, height, width) in [0, 1]."""

    flops: tuple[int, int] = (0, 0)  # no network; interpolation is not counted, as in the papers

    def __init__(
        self,
        images: ImageSet,
        *,
        glimpse_size: int,
        scales: tuple[float, ...] = (1.0,),
        first_view: FirstView = "glimpse",
        location_range: float | None = None,
        fill: retina.Fill = "zero",
        context: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        """Put the images on a canvas with the margin that the windows need; `context`: observations hold the whole image too.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed; the message names it.
        """
        side = min(images.images.shape[-2:])
        checks.count("glimpse_size", glimpse_size)
        if glimpse_size > side:
            raise ValueError(f"glimpse_size={glimpse_size}: expected 1 to {side}, the image's side in pixels")
        self.windows, self.reach, self.whole_first = build_geometry(
            side, glimpse_size, scales, first_view, location_range
        )
        self.size, self.shows_context = glimpse_size, context
        self.channels = images.images.shape[1] * len(scales)
        self.pixels = (
            glimpse_size**2 * ((1 if self.whole_first else len(scales)) + context),
            glimpse_size**2 * len(scales),
        )
        self._reach = torch.tensor(self.reach, device=device)
        margin = retina.margin_for(side, max(self.windows), self.reach)
        self.fill: retina.Fill = fill
        self._paint(images.stack().to(device), margin)

    def repaint(self, images: UInt8[Tensor, "image channel height width"]) -> None:
        """Replace the pixels of all images: by randomly changed ones in every epoch of a training, for example."""
        canvas = self.canvas
        if (len(images), *images.shape[2:]) != (len(canvas.pixels), canvas.image_height, canvas.image_width):
            raise ValueError(
                f"images: expected {len(canvas.pixels)} of {canvas.image_height} x {canvas.image_width} pixels, got {tuple(images.shape)}"
            )
        self._paint(images.to(canvas.pixels.device), canvas.margin)

    def _paint(self, images: UInt8[Tensor, "image channel height width"], margin: int) -> None:
        """Paint the canvas, and shrink every image once if whole images are shown."""
        self.canvas = retina.paint(images, margin, self.fill)
        if self.whole_first or self.shows_context:
            parts = torch.arange(len(images), device=images.device).split(CHUNK)
            self.views = torch.cat(
                [retina.whole(self.canvas, part, self.size).mul_(255).round_().byte() for part in parts]
            )

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row."""
        shown = {"glimpse": self.channels} | (
            {"context": self.channels // len(self.windows)} if self.shows_context else {}
        )
        return {
            name: spaces.Box(0.0, 1.0, (channels, self.size, self.size), np.float32)
            for name, channels in shown.items()
        }

    def observe(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> dict[str, Float[Tensor, "env scale_channel height width"]]:
        """Return {"glimpse": ...}; with `whole_first`, rows at step 1 show the whole image (the same for every scale)."""
        patch = retina.glimpse(self.canvas, index, location * self._reach, self.size, self.windows)
        if self.whole_first:
            whole = self.context(index).repeat(1, len(self.windows), 1, 1)
            patch = torch.where((step == 1)[:, None, None, None], whole, patch)
        return {"glimpse": patch} | ({"context": self.context(index)} if self.shows_context else {})

    def context(self, index: Int64[Tensor, " env"]) -> Float[Tensor, "env channel height width"]:
        """Return the whole images at the glimpse's size."""
        return self.views.index_select(0, index) / 255
