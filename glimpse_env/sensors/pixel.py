"""The pixel sensor: a glimpse is the crop itself."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, UInt8
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView
from glimpse_env.episode import Ints, Points
from glimpse_env.sensors.base import build_geometry, place_windows, refuse_native

CHUNK = 1024  # images shrunk at a time, which limits the memory of the floating-point copy


class PixelSensor:
    """The crop at one or several scales, (scale * channel, height, width) in [0, 1].

    (Mnih et al. 2014; Sermanet et al. 2015.)
    """

    flops: tuple[int, int] = (0, 0)  # no network; interpolation is not counted, as in the papers

    def __init__(
        self,
        images: ImageSet,
        *,
        glimpse_size: int,
        scales: tuple[float, ...] = (1.0,),
        zoom: tuple[float, float] | None = None,
        first_view: FirstView = "glimpse",
        first_crop: float = 1.0,
        location_range: float | None = None,
        fill: retina.Fill = "zero",
        context: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        """Put the images on a canvas with the margin that the windows need; arguments as for CropSensor.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed.
        """
        refuse_native(images, type(self).__name__)
        side, channels = min(images.images.shape[-2:]), images.images.shape[1]
        given = dict(glimpse_size=glimpse_size, scales=scales, context=context)
        glimpse_size, scales, context = checks.arguments(**given)
        if glimpse_size > side:
            raise ValueError(f"glimpse_size={glimpse_size}: expected 1 to {side}, the image's side in pixels")
        geometry = build_geometry(side, glimpse_size, scales, first_view, location_range, first_crop, zoom)
        self.windows, self.reach, self.whole_first, self.first_crop, self.zoom = geometry[:5]
        self.size, self.shows_context = glimpse_size, context
        first = (1 if self.whole_first else len(scales)) + context
        self.pixels = (glimpse_size**2 * first, glimpse_size**2 * len(scales))
        shown = {"glimpse": channels * len(scales)} | ({"context": channels} if context else {})
        sides = (glimpse_size, glimpse_size)
        self.space: dict[str, spaces.Space] = {
            name: spaces.Box(0.0, 1.0, (count, *sides), np.float32) for name, count in shown.items()
        }
        margin = retina.margin_for(side, max(self.windows), self.reach)
        size = len(images) * channels * (side + 2 * margin) ** 2 + 8 * channels * max(self.windows) ** 2
        checks.memory(f"scales={scales} of glimpse_size={glimpse_size}", size, torch.device(device))
        self._reach = torch.tensor(self.reach, device=device)
        self.fill: retina.Fill = fill
        self._paint(images.stack().to(device), margin)

    def repaint(self, images: UInt8[Tensor, "image channel height width"]) -> None:
        """Replace the pixels of all images: by randomly changed ones in every epoch, for example."""
        canvas = self.canvas
        expected = (len(canvas.pixels), canvas.image_height, canvas.image_width)
        if (len(images), *images.shape[2:]) != expected:
            sizes = "{} of {} x {} pixels".format(*expected)
            raise ValueError(f"images: expected {sizes}, got {tuple(images.shape)}")
        self._paint(images.to(canvas.pixels.device), canvas.margin)

    def _paint(self, images: UInt8[Tensor, "image channel height width"], margin: int) -> None:
        """Paint the canvas, and shrink every image once if whole images, or their centres, are shown."""
        self.canvas = retina.paint(images, margin, self.fill)
        if self.whole_first or self.shows_context:
            parts = torch.arange(len(images), device=images.device).split(CHUNK)
            wholes = (retina.whole(self.canvas, part, self.size, self.first_crop) for part in parts)
            self.views = torch.cat([whole.mul_(255).round_().byte() for whole in wholes])

    def observe(self, index: Ints, location: Points, step: Ints) -> dict[str, Tensor]:
        """Return {"glimpse": ...}; with `whole_first`, the whole image for every scale at step 1."""
        centre, factor = place_windows(location, self._reach, self.zoom)
        patch = retina.glimpse(self.canvas, index, centre, self.size, self.windows, factor)
        if self.whole_first:
            whole = self.context(index).repeat(1, len(self.windows), 1, 1)
            patch = torch.where((step == 1)[:, None, None, None], whole, patch)
        return {"glimpse": patch} | ({"context": self.context(index)} if self.shows_context else {})

    def context(self, index: Ints) -> Float[Tensor, "env channel height width"]:
        """Return the whole images, or their `first_crop`, at the glimpse's size."""
        return self.views.index_select(0, index) / 255
