"""What the core asks of every sensor, and the sizes that all of them share."""

from __future__ import annotations

from typing import NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env import checks
from glimpse_env.presets import FirstView


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
        """Observation entries of one row; they take the place of the core's own (`location`, `step`) of the same name."""
        ...

    def observe(self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]) -> dict[str, Tensor]:
        """Return the observation entries of glimpse number `step` of image `index`, taken at `location` in [-1, 1].

        An entry named `location` tells the agent where the glimpse really was taken (a sensor may look at places of its own only).
        """
        ...


@runtime_checkable
class Contextual(Protocol):
    """A sensor that can show a context: the whole image, small, which an agent may see before it chooses the place of glimpse 1.

    Where `shows_context` is set it is an observation entry, `context`, too; it counts among the pixels of glimpse 1, but not as a glimpse.
    """

    shows_context: bool

    def context(self, index: Int64[Tensor, " env"]) -> Tensor:
        """Return the context of some images."""
        ...


class Sight(NamedTuple):
    """How large the windows are, how far they reach, and whether the whole image is seen first."""

    windows: tuple[int, ...]  # widths in pixels of the image
    reach: float  # location +-1 is this place of the image, in [-1, 1]
    whole_first: bool


def sight(side: int, glimpse_size: int, scales: tuple[float, ...], first_view: FirstView, location_range: float | None) -> Sight:
    """Return the windows of `scales` x `glimpse_size` pixels of an image of `side` pixels, after all checks.

    Raises:
        ValueError: A size, scale, range or option outside what is allowed; the message names it.
    """
    checks.count("glimpse_size", glimpse_size)
    if not scales or not all(scale > 0 for scale in scales):
        raise ValueError(f"scales={scales}: expected at least one positive factor of glimpse_size")
    checks.choice("first_view", first_view, get_args(FirstView))
    windows = tuple(max(1, round(scale * glimpse_size)) for scale in scales)
    reach = max(0.0, 1 - min(windows) / side) if location_range is None else location_range
    if not 0 <= reach <= 1:
        raise ValueError(f"location_range={location_range}: expected a number in [0, 1]")
    return Sight(windows, reach, first_view == "image")


def vector(features: int) -> spaces.Box:
    """Return the space of a feature vector: any float32."""
    return unbounded((features,))


def unbounded(shape: tuple[int, ...]) -> spaces.Box:
    """Return the space of any float32 (the type's own range, since Gymnasium's checker wants bounds)."""
    limit = float(torch.finfo(torch.float32).max)
    return spaces.Box(-limit, limit, shape, np.float32)
