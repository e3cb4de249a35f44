"""Sensors: what a glimpse is. One protocol, image indices + locations + step -> observation tensors."""

from __future__ import annotations

from typing import Protocol, get_args, runtime_checkable

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.datasets import ImageSet
from glimpse_env.presets import FirstView, Preset

CHUNK = 1024  # images shrunk at a time: bounds the memory of the floating-point copy


@runtime_checkable
class Sensor(Protocol):
    """What the core asks of a sensor. Costs are per row: the first view and each later glimpse."""

    reach: float  # location +-1 is this place of the image, in [-1, 1]
    windows: tuple[int, ...]  # widths of the glimpse in pixels of the image, for drawing
    whole_first: bool  # glimpse 1 shows the whole image
    pixels: tuple[int, int]  # pixels fed to the network by the first view, by a later glimpse
    flops: tuple[int, int]  # 2 x multiply-adds of the first view, of a later glimpse

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row."""
        ...

    def observe(self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]) -> dict[str, Tensor]:
        """Return the observation entries of glimpse number `step` of image `index`, taken at `location` in [-1, 1]."""
        ...


class PixelSensor:
    """The crop itself, at one or several scales (Mnih et al. 2014; Sermanet et al. 2015), as (scale * channel, height, width) in [0, 1]."""

    flops: tuple[int, int] = (0, 0)  # no network: the interpolation is not counted, as in the papers

    def __init__(
        self,
        images: ImageSet,
        *,
        glimpse_size: int,
        scales: tuple[float, ...] = (1.0,),
        first_view: FirstView = "glimpse",
        location_range: float | None = None,
        fill: retina.Fill = "zero",
        device: torch.device | str = "cpu",
    ) -> None:
        """Lay the images on a canvas with the margin that the windows need.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed; the message names it.
        """
        side = min(images.images.shape[-2:])
        checks.count("glimpse_size", glimpse_size)
        if glimpse_size > side:
            raise ValueError(f"glimpse_size={glimpse_size}: expected 1 to {side}, the image's side in pixels")
        if not scales or not all(scale > 0 for scale in scales):
            raise ValueError(f"scales={scales}: expected at least one positive factor of glimpse_size")
        checks.choice("first_view", first_view, get_args(FirstView))
        self.windows = tuple(max(1, round(scale * glimpse_size)) for scale in scales)
        self.reach = max(0.0, 1 - min(self.windows) / side) if location_range is None else location_range
        if not 0 <= self.reach <= 1:
            raise ValueError(f"location_range={location_range}: expected a number in [0, 1]")
        self.whole_first = first_view == "image"
        self.size = glimpse_size
        self.channels = images.images.shape[1] * len(scales)
        self.pixels = (glimpse_size**2 * (1 if self.whole_first else len(scales)), glimpse_size**2 * len(scales))
        self._reach = torch.tensor(self.reach, device=device)
        margin = retina.margin_for(side, max(self.windows), self.reach)
        self.fill: retina.Fill = fill
        self._lay_out(images.stack().to(device), margin)

    def repaint(self, images: UInt8[Tensor, "image channel height width"]) -> None:
        """Show other pixels from now on: the same images changed at random, say, between the epochs of a training."""
        canvas = self.canvas
        if (len(images), *images.shape[2:]) != (len(canvas.pixels), canvas.image_height, canvas.image_width):
            raise ValueError(
                f"images: expected {len(canvas.pixels)} of {canvas.image_height} x {canvas.image_width} pixels, got {tuple(images.shape)}"
            )
        self._lay_out(images.to(canvas.pixels.device), canvas.margin)

    def _lay_out(self, images: UInt8[Tensor, "image channel height width"], margin: int) -> None:
        """Paint the canvas, and shrink every image once where the first view shows it whole."""
        self.canvas = retina.paint(images, margin, self.fill)
        if self.whole_first:
            parts = torch.arange(len(images), device=images.device).split(CHUNK)
            views = torch.cat([retina.whole(self.canvas, part, self.size).mul_(255).round_().byte() for part in parts])
            self.views = views.repeat(1, len(self.windows), 1, 1)

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row."""
        return {"glimpse": spaces.Box(0.0, 1.0, (self.channels, self.size, self.size), np.float32)}

    def observe(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> dict[str, Float[Tensor, "env scale_channel height width"]]:
        """Return {"glimpse": ...}; with `whole_first`, rows at step 1 see the whole image instead (every scale alike)."""
        patch = retina.glimpse(self.canvas, index, location * self._reach, self.size, self.windows)
        if self.whole_first:
            whole = self.views.index_select(0, index) / 255
            patch = torch.where((step == 1)[:, None, None, None], whole, patch)
        return {"glimpse": patch}


def make_sensor(
    sensor: str | Sensor | None, images: ImageSet, preset: Preset, backbone: str | None, weights: str | None, device: torch.device
) -> Sensor:
    """Return the sensor that a name stands for, or the given object."""
    if sensor is not None and not isinstance(sensor, str):
        return sensor
    checks.choice("sensor", "pixel" if sensor is None else sensor, ("pixel",))
    if backbone is not None or weights != "DEFAULT":
        raise ValueError(f"backbone={backbone!r}, weights={weights!r}: sensor='pixel' runs no network; leave both at their defaults")
    return PixelSensor(
        images,
        glimpse_size=preset.glimpse_size or max(1, min(images.images.shape[-2:]) // 4),
        scales=preset.scales,
        first_view=preset.first_view,
        location_range=preset.location_range,
        fill=preset.fill,
        device=device,
    )
