"""The pixel sensor for images of different sizes."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView, GlimpseUnit
from glimpse_env.episode import Ints, Points
from glimpse_env.sensors.native_views import NativeViews, choose_geometry


class NativePixelSensor:
    """What `PixelSensor` shows, of images of different sizes; it can mirror them, but not show changed ones.

    Windows are cut out of all pixels of an image. The whole image is the shrunk one of the data set.
    """

    flops: tuple[int, int] = (0, 0)  # as of PixelSensor

    def __init__(
        self,
        images: ImageSet,
        *,
        glimpse_size: int,
        glimpse_unit: GlimpseUnit = "pixels",
        scales: tuple[float, ...] = (1.0,),
        zoom: tuple[float, float] | None = None,
        first_view: FirstView = "glimpse",
        first_crop: float = 1.0,
        location_range: float | None = None,
        fill: retina.Fill = "zero",
        context: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        """Open the images, on the device if they fit there. Arguments as for `GlimpseVectorEnv`.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed.
        """
        glimpse_size, scales, context = checks.arguments(
            glimpse_size=glimpse_size, scales=scales, context=context
        )
        options = (first_view, location_range, first_crop, zoom, glimpse_unit)
        geometry = choose_geometry(images, glimpse_size, scales, *options)
        self.windows, self.reach, self.whole_first, self.first_crop, self.zoom = geometry[:5]
        self.size, self.shows_context = glimpse_size, context
        first = (1 if self.whole_first else len(scales)) + context
        self.pixels = (glimpse_size**2 * first, glimpse_size**2 * len(scales))
        channels = images.images.shape[1]
        shown = {"glimpse": channels * len(scales)} | ({"context": channels} if context else {})
        sides = (glimpse_size, glimpse_size)
        self.space: dict[str, spaces.Space] = {
            name: spaces.Box(0.0, 1.0, (count, *sides), np.float32) for name, count in shown.items()
        }
        self.views = NativeViews(images, geometry, fill, torch.device(device))

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Mirror these images (left-right) from now on; None = none. Locations are in the image as shown."""
        self.views.mirror(which)

    def observe(self, index: Ints, location: Points, step: Ints) -> dict[str, Tensor]:
        """Return {"glimpse": ...}; with `whole_first`, the whole image for every scale at step 1."""
        patch = self.views.glimpses(index, location, self.size)
        if self.whole_first:
            whole = self.context(index).repeat(1, len(self.windows), 1, 1)
            patch = torch.where((step == 1)[:, None, None, None], whole, patch)
        return {"glimpse": patch} | ({"context": self.context(index)} if self.shows_context else {})

    def context(self, index: Ints) -> Float[Tensor, "env channel height width"]:
        """Return the whole images, or their `first_crop`, at the glimpse's size."""
        return self.views.wholes(index, self.size)
