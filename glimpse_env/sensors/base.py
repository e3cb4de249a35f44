"""The protocol of sensors, the spec of one that has a name, and the geometry that all of them share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces import flatdim
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.datasets.base import FirstView, ImageSet, Preset
from glimpse_env.episode import Ints, Points


@runtime_checkable
class Sensor(Protocol):
    """What the environment requires of a sensor. Costs are of one row."""

    reach: float  # location +-1 lies at +-reach of the image's own [-1, 1]
    windows: tuple[int, ...]  # widths of the glimpse in pixels of the image
    whole_first: bool  # glimpse 1 shows the whole image
    pixels: tuple[int, int]  # pixels fed to the network by the first view, by a later glimpse
    flops: tuple[int, int]  # 2 x multiply-adds of the first view, of a later glimpse

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row; they replace the environment's own of the same name."""
        ...

    def observe(self, index: Ints, location: Points, step: Ints) -> dict[str, Tensor]:
        """Return the entries of glimpse number `step` of image `index`, taken at `location` in [-1, 1].

        `location` is (env, 2), or (env, 3) with the scale where the sensor has a `zoom` (see `Zoomable`).
        An entry named `location` is where the glimpse was really taken: a sensor may restrict locations, to
        a grid for example.
        """
        ...


@runtime_checkable
class Contextual(Protocol):
    """A sensor that can show a context: the whole image, small, from which to choose the first location.

    If `shows_context` is set, it is also an observation entry, `context`; it counts towards the pixels of
    glimpse 1, but not as a glimpse.
    """

    shows_context: bool

    def context(self, index: Ints) -> Tensor:
        """Return the context of some images."""
        ...


@runtime_checkable
class Zoomable(Protocol):
    """A sensor whose windows are narrower or wider at every glimpse.

    With a `zoom` that is not None, locations have a third number: the scale, -1 for the smallest window and 1
    for the largest, log scale between. `windows` are those at the largest; an observation entry `scale`
    (env, 1) is the scale at which the glimpse was really taken.
    """

    zoom: tuple[float, float] | None  # smallest, largest window width in units of glimpse_size


@runtime_checkable
class Repaintable(Protocol):
    """A sensor whose images can be replaced by randomly changed ones."""

    def repaint(self, images: UInt8[Tensor, "image channel height width"]) -> None:
        """Replace the pixels of all images."""
        ...


@runtime_checkable
class Mirrorable(Protocol):
    """A sensor that can mirror chosen images (left-right)."""

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Mirror these images from now on; None = no image."""
        ...


def shows_pixels(sensor: Sensor) -> bool:
    """Return whether glimpses are pixels (channel, height, width), not feature vectors."""
    return len(sensor.space["glimpse"].shape or ()) == 3


def row_bytes(sensor: Sensor, channels: int) -> int:
    """Return about how many bytes a step needs for one row, of images with this many channels.

    The observation has three copies, and bounds in the space; the windows are cut and shrunk in float32,
    `chunk` rows at a time where a network limits them.
    """
    observed = sum(flatdim(space) for space in sensor.space.values())
    crops = "glimpse" in sensor.space and shows_pixels(sensor)  # an entry may have another name
    cut = max(max(sensor.windows) ** 2, *sensor.pixels) * channels if crops else 0
    return 4 * (5 * observed + 2 * cut)


def row_spaces(sensor: Sensor, classes: int, zoomed: bool) -> tuple[spaces.Space, spaces.Space]:
    """Return the spaces of one row's observation and of its action, see `GlimpseVectorEnv`."""
    location: dict[str, spaces.Space] = {"location": spaces.Box(-1.0, 1.0, (2,), np.float32)}
    if zoomed:
        location["scale"] = spaces.Box(-1.0, 1.0, (1,), np.float32)
    step = spaces.Box(0.0, 1.0, (1,), np.float32)
    scores = spaces.Box(0.0, 1.0, (classes,), np.float32)
    observation = spaces.Dict(location | {"step": step} | sensor.space)
    return observation, spaces.Dict(location | {"stop": spaces.Discrete(2), "prediction": scores})


@dataclass(frozen=True)
class SensorSpec:
    """A sensor that has a name: one line of `sensors.SENSORS`."""

    build: Callable[..., Sensor]  # from images, the backbone if it runs one, and by keyword the `settings`
    runs_network: bool = True  # False: takes `device` by keyword instead of a backbone
    on_grid: bool = False  # takes glimpses at the cells of the preset's grid only
    without_table: str | None = None  # sensor of the same views for images shown once; None = itself
    native: Callable[..., Sensor] | None = None  # as `build`, for images of different sizes; None = cannot

    @property
    def settings(self) -> tuple[str, ...]:
        """The fields of `Preset` that it takes."""
        return list_settings(self.build)


def list_settings(build: Callable[..., Sensor]) -> tuple[str, ...]:
    """Return the fields of `Preset` that a sensor takes: the keyword-only arguments of the same name."""
    fields, arguments = Preset.__dataclass_fields__, inspect.signature(build).parameters.values()
    return tuple(a.name for a in arguments if a.kind is a.KEYWORD_ONLY and a.name in fields)


class Geometry(NamedTuple):
    """Sizes and reach of the windows, and whether the whole image is shown first."""

    windows: tuple[int, ...]  # widths in pixels of the image; with zoom, at its largest
    reach: float  # location +-1 lies at +-reach of the image's own [-1, 1]
    whole_first: bool
    first_crop: float = 1.0  # share of the image's side that is shown then, around its centre
    zoom: tuple[float, float] | None = None  # smallest, largest width in units of glimpse_size
    shares: tuple[float, ...] | None = None  # widths as shares of each image's short side; None = in pixels


def build_geometry(
    side: int,
    glimpse_size: int,
    scales: tuple[float, ...],
    first_view: FirstView,
    location_range: float | None,
    first_crop: float = 1.0,
    zoom: tuple[float, float] | None = None,
) -> Geometry:
    """Return the windows of `scales` x `glimpse_size` pixels for an image of `side` pixels, after all checks.

    `zoom` multiplies all of them.

    Raises:
        ValueError: A size, scale, range or option outside what is allowed.
    """
    glimpse_size = checks.argument("glimpse_size", glimpse_size)
    scales = checks.argument("scales", scales)
    checks.choice("first_view", first_view, get_args(FirstView))
    zoom = None if zoom is None else checks.argument("zoom", zoom)
    smallest, largest = zoom or (1.0, 1.0)
    windows = tuple(max(1, round(scale * largest * glimpse_size)) for scale in scales)
    if zoom and min(windows) > side:
        wide = f"windows of {min(windows)} pixels are wider than the image of {side}"
        most = f"expected at most {side / glimpse_size / min(scales):.6g}"
        raise ValueError(f"zoom={zoom} of glimpse_size={glimpse_size}: {wide}; {most}")
    reach = max(0.0, 1 - min(windows) * (smallest / largest) / side)
    if location_range is not None:
        reach = checks.argument("location_range", location_range)
    first_crop = checks.argument("first_crop", first_crop)
    return Geometry(windows, reach, first_view == "image", first_crop, zoom)


def refuse_native(images: ImageSet, sensor: str) -> None:
    """Refuse images of different sizes."""
    if images.native is not None:
        raise ValueError(f"{sensor} cannot show images of different sizes; give image_size= in pixels")


def place_windows(
    location: Points, reach: float | Tensor, zoom: tuple[float, float] | None
) -> tuple[Float[Tensor, "env 2"], Float[Tensor, " env"] | None]:
    """Return the centres of windows in the image's own [-1, 1], and the factor of their widths, if any."""
    factor = None if zoom is None else retina.zoom_factor(location[:, 2], zoom)
    return location[:, :2] * reach, factor


def window_width(
    observation: Mapping[str, Tensor], zoom: tuple[float, float] | None
) -> Float[Tensor, " env"] | None:
    """Return the width of the glimpses' windows in units of glimpse_size; None without zoom."""
    if zoom is None:
        return None
    return zoom[1] * retina.zoom_factor(observation["scale"].squeeze(1), zoom)


def unbounded_space(*shape: int) -> spaces.Box:
    """Return the space of any float32, bounded by the type's range: Gymnasium's checker requires bounds."""
    limit = float(torch.finfo(torch.float32).max)
    return spaces.Box(-limit, limit, shape, np.float32)


def split_rows(chunk: int, *tensors: Tensor) -> Iterator[Any]:
    """Yield tuples of `chunk` rows at a time of tensors with the same number of rows."""
    return zip(*(tensor.split(chunk) for tensor in tensors), strict=True)
