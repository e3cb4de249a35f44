"""Images of different sizes on the device, or mapped on the host, and the views cut out of them."""

from __future__ import annotations

import functools
import logging

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from glimpse_env import checks, native_retina, retina
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView, GlimpseUnit
from glimpse_env.datasets.native.pyramid import table_levels
from glimpse_env.episode import Ints, Points
from glimpse_env.native_retina import NativeCanvas
from glimpse_env.sensors.base import Geometry, build_geometry, place_windows
from glimpse_env.sensors.image_views import RESERVE, ImageViews, Stored, mirror_rows, move_to_device

MOVED = 1 << 28  # bytes moved at a time
MOST = 4.0  # short sides: a wider window would show little of the image

log = logging.getLogger("glimpse_env")


def choose_geometry(
    images: ImageSet,
    glimpse_size: int,
    scales: tuple[float, ...],
    first_view: FirstView,
    location_range: float | None,
    first_crop: float = 1.0,
    zoom: tuple[float, float] | None = None,
    glimpse_unit: GlimpseUnit = "pixels",
) -> Geometry:
    """Return the windows for images of one size, or of different sizes, after all checks.

    Of images of different sizes location +-1 lies at the edges of each image; if windows are shares of its
    short side, where the smallest window still lies inside.

    Raises:
        ValueError: A size, scale, range or option outside what is allowed.
    """
    rest = (first_view, location_range, first_crop, zoom)
    if images.native is None:
        return build_geometry(min(images.images.shape[-2:]), glimpse_size, scales, *rest)
    size = checks.argument("glimpse_size", glimpse_size)
    largest = 1.0 if zoom is None else checks.argument("zoom", zoom)[1]
    scales = checks.argument("scales", scales)
    if glimpse_unit == "pixels":
        most, unit = native_retina.WIDEST - 2, "pixels"
        widest = max(scales) * largest * size
        geometry = build_geometry(1 << 30, size, scales, *rest)
        geometry = geometry._replace(reach=1.0 if location_range is None else geometry.reach)
    else:
        most, unit = MOST, "short sides"
        widest, side = max(scales) * largest, images.images.shape[-1]
        reach = max(0.0, 1 - min(scales) * (1.0 if zoom is None else zoom[0]))
        geometry = build_geometry(1 << 30, size, scales, *rest)
        windows = tuple(max(1, round(scale * largest * side)) for scale in scales)  # of the image in views
        shares = tuple(scale * largest for scale in scales)
        geometry = geometry._replace(windows=windows, shares=shares)
        geometry = geometry._replace(reach=reach if location_range is None else geometry.reach)
    if widest > most:
        wide = f"windows of {widest:g} {unit} are too wide for images of different sizes"
        raise ValueError(f"scales={scales}, glimpse_size={size}: {wide}; expected at most {most:g}")
    return geometry


def measure_unit(
    images: ImageSet, index: Int64[Tensor, " image"], unit: GlimpseUnit
) -> Float[Tensor, " image"]:
    """Return how many pixels of each image a pixel of its sensor's `windows` is.

    It is 1, but for shares of a side.
    """
    if images.native is None or unit == "pixels":
        return torch.ones(len(index))
    short = images.native.sizes[images.stored[index.cpu()]].amin(1)
    return short / images.images.shape[-1]


def measure_view(
    images: ImageSet, index: Int64[Tensor, " image"], unit: GlimpseUnit
) -> Float[Tensor, " image"] | None:
    """Return how wide a pixel of its sensor's `windows` is on each of `images.images`; None = one pixel.

    Images of different sizes are stretched to squares there; the mean of both sides counts (geometric).
    """
    if images.native is None:
        return None
    area = images.native.sizes[images.stored[index.cpu()]].prod(1)
    return measure_unit(images, index, unit) * images.images.shape[-1] / area.sqrt()


def make_views(
    images: ImageSet, geometry: Geometry, fill: retina.Fill, device: torch.device, name: str = "images"
) -> ImageViews:
    """Return the views of images of one size, or of different sizes; `name`: in the log; empty = no log."""
    kind = ImageViews if images.native is None else NativeViews
    return kind(images, geometry, fill, device, name)


class NativeViews(ImageViews):
    """Views of images of different sizes: windows of all of their pixels, whole images of the shrunk ones."""

    @functools.cached_property
    def stored(self) -> Stored:
        """The shrunk whole images."""
        stack, rows = move_to_device(self.images.images, self.images.rows, self.device, "")
        axes = [-1.0, 1.0] if self.geometry.zoom is None else [-1.0, 1.0, 1.0]
        reach = torch.tensor(self.geometry.reach, device=stack.device)
        return Stored(
            retina.Canvas(stack.contiguous(), 0), rows, reach, torch.tensor(axes, device=stack.device)
        )

    @functools.cached_property
    def canvas(self) -> NativeCanvas:
        """All pixels of all images; positions in `index` are those of the stored images."""
        native = self.images.native
        assert native is not None
        data = move_bytes(native.data, self.device, self.name)
        levels = table_levels(native.index[:, 0], native.sizes).to(data.device)
        return NativeCanvas(data, native.index.to(data.device), levels, self.fill)

    @functools.cached_property
    def native_rows(self) -> Ints | None:
        """The stored row of each image, beside the pixels; None = in order."""
        rows = self.images.rows
        return None if rows is None else rows.to(self.canvas.data.device)

    def release(self) -> None:
        """Free the memory of the images until the next view."""
        for name in ("stored", "canvas", "native_rows"):
            self.__dict__.pop(name, None)

    def glimpses(
        self, index: Ints, location: Points, size: int
    ) -> Float[Tensor, "env scale_channel size size"]:
        """Return the windows around `location`, resized to `size` pixels, values in [0, 1]."""
        _, mirrored, location = self._look_up(index, location)
        device, rows = self.canvas.data.device, self.native_rows
        centre, factor = place_windows(location.to(device), self.geometry.reach, self.geometry.zoom)
        row = index.to(device) if rows is None else rows.index_select(0, index.to(device))
        windows, unit = (self.geometry.windows, "pixels")
        if self.geometry.shares is not None:
            windows, unit = self.geometry.shares, "short_side"
        patch = native_retina.glimpse(self.canvas, row, centre, size, windows, factor, unit)
        return mirror_rows(patch.to(self.device), None if mirrored is None else mirrored.to(self.device))


def move_bytes(data: UInt8[Tensor, " byte"], device: torch.device, what: str) -> UInt8[Tensor, " byte"]:
    """Return the pixels on the device if they fit there, else as they are; see `move_to_device`."""
    if device.type == "cpu":
        return data
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        fits = len(data) <= free - RESERVE
        if what:
            sizes, end = (len(data) / 1e9, free / 1e9), "moved there" if fits else "left on the host"
            log.info("%s: %.3g GB, %.3g GB free on %s: %s", what, *sizes, device, end)
        if not fits:
            return data
    moved = torch.empty(len(data), dtype=torch.uint8, device=device)
    for start in range(0, len(data), MOVED):
        moved[start : start + MOVED] = data[start : start + MOVED].to(device)
    return moved
