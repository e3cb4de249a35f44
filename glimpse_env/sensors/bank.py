"""The bank sensor: the crop sensor at the places of a grid, every feature computed once; a step is a look-up."""

from __future__ import annotations

import functools
import logging

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.backbone import Backbone
from glimpse_env.datasets import ImageSet
from glimpse_env.presets import FirstView
from glimpse_env.sensors.base import Contextual, Sensor, vector
from glimpse_env.sensors.crop import CHUNK, CropSensor
from glimpse_env.sensors.feature_cache import Cached, everything

log = logging.getLogger("glimpse_env")


def lattice(grid: int, device: torch.device) -> Float[Tensor, "cell 2"]:
    """Return `grid` x `grid` places from -1 to 1 (one: the centre) in reading order: cell = row * grid + column."""
    line = torch.linspace(-1, 1, grid, device=device) if grid > 1 else torch.zeros(1, device=device)
    return torch.stack((line.repeat(grid), line.repeat_interleave(grid)), 1)


def nearest(location: Float[Tensor, "env 2"], grid: int) -> Int64[Tensor, " env"]:
    """Return the cell of a lattice that is nearest to each location."""
    steps = ((location.clamp(-1, 1) + 1) * ((grid - 1) / 2)).round().long()
    return steps[:, 0].add(steps[:, 1], alpha=grid)


class BankSensor:
    """What CropSensor sees at `grid` x `grid` locations from -1 to 1, and of the whole image, looked up in a table.

    A glimpse is taken at the nearest place of the grid, and the observation's `location` says where that is. Frozen features make this
    exact, up to float16. The table (image, 1 + grid^2, feature) is built once for all stored images - with a progress bar - and kept in
    the cache folder under a name made of the images, the network with its weights, and all sizes; images without a name (data set
    objects) are computed anew in memory. Each scale has a table of its own, which other sets of scales with the same places find again.
    Costs are what the look-up stands for. The context is the table's row of the whole image.
    """

    def __init__(
        self,
        images: ImageSet,
        backbone: Backbone,
        *,
        glimpse_size: int,
        grid: int = 5,
        view_size: int | None = None,
        scales: tuple[float, ...] = (1.0,),
        first_view: FirstView = "image",
        location_range: float | None = None,
        fill: retina.Fill = "zero",
        context: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        """Open the bank, or build it. Arguments as for CropSensor; `grid`: places a side.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed; the message names it.
            OSError: The bank cannot be written, for example because the disk is full.
        """
        checks.count("grid", grid)
        options = {"scales": scales, "location_range": location_range, "fill": fill, "chunk": chunk, "first_view": first_view}
        crop = CropSensor(everything(images), backbone, glimpse_size=glimpse_size, view_size=view_size, **options)
        self.reach, self.windows, self.whole_first = crop.reach, crop.windows, crop.whole_first
        self.pixels, self.flops, self.features, self.grid, self.shows_context = crop.pixels, crop.flops, crop.features, grid, context
        if context:
            self.pixels = (crop.pixels[0] + crop.view_size**2, crop.pixels[1])
            self.flops = (crop.flops[0] + backbone.flops(crop.view_size, crop.view_size), crop.flops[1])
        self.places = lattice(grid, backbone.device)
        self._crop = crop
        if len(self.windows) > 1:
            log.info("bank: one table for each window, %s pixels wide", ", ".join(map(str, self.windows)))
        self._tables = [self._opened(images, window) for window in self.windows]

    def _opened(self, images: ImageSet, window: int) -> Cached:
        """Open or build the table of one scale."""
        crop, off = self._crop, self._crop.pictures.fill
        off = "noise of each image" if off == "noise" else off
        recipe = f"{crop.size} {crop.view_size} {(window,)} {crop.reach:.9g} {off} {self.grid}"
        shape = (1 + self.grid**2, crop.backbone.features)
        return Cached(images, shape, functools.partial(self._row, window), "bank", crop.backbone, recipe)

    def _row(self, window: int, index: Int64[Tensor, " image"], mirrored: bool) -> Float[Tensor, "image cell feature"]:
        """Compute the features of some images at one scale: the whole, then cell by cell."""
        cells, count = len(self.places), len(index)
        part = self._crop.of(self._crop.pictures.images.subset(index), (window,), mirrored)
        shown = torch.arange(count, device=self.places.device)
        whole = part.wholes(shown)[:, None, : self._crop.backbone.features]
        glimpses = part.glimpses(shown.repeat_interleave(cells), self.places.repeat(count, 1))
        return torch.cat((whole, glimpses.view(count, cells, -1)), 1)

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row, besides the `location`."""
        glimpse: dict[str, spaces.Space] = {"glimpse": vector(self.features)}
        return glimpse | {"context": vector(self._crop.backbone.features)} if self.shows_context else glimpse

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Show these images left-right reversed from now on; None = no image. The first call with images builds a second bank."""
        for table in self._tables:
            table.mirror(which)

    def nearest(self, location: Float[Tensor, "env 2"]) -> Int64[Tensor, " env"]:
        """Return the cell of the grid that is nearest to each location."""
        return nearest(location, self.grid)

    def observe(self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]) -> dict[str, Tensor]:
        """Return {"glimpse": ..., "location": the place looked at} and, if wanted, "context".

        With `whole_first`, rows at step 1 see the whole image instead.
        """
        cell = self.nearest(location)
        place = self.places.index_select(0, cell)
        cell = cell + 1
        if self.whole_first:
            later = step > 1
            cell, place = cell * later, torch.where(later[:, None], place, location)
        parts = [table.at(index, cell) for table in self._tables]
        seen = {"glimpse": parts[0] if len(parts) == 1 else torch.cat(parts, 1), "location": place}
        return seen | {"context": self.context(index)} if self.shows_context else seen

    def context(self, index: Int64[Tensor, " env"]) -> Float[Tensor, "env feature"]:
        """Return the features of the whole images."""
        return self._tables[0].at(index, torch.zeros_like(index))


class OnGrid:
    """What a BankSensor shows, without the bank: another sensor, looking at the places of the lattice only.

    For images that are looked at once, where computing every place in advance would be a waste.
    """

    def __init__(self, sensor: Sensor, grid: int) -> None:
        """Take the sensor that looks, and the places a side."""
        checks.count("grid", grid)
        self.sensor, self.grid = sensor, grid
        self.reach, self.windows, self.whole_first = sensor.reach, sensor.windows, sensor.whole_first
        self.pixels, self.flops = sensor.pixels, sensor.flops
        self.shows_context = isinstance(sensor, Contextual) and sensor.shows_context

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row, besides the `location`."""
        return self.sensor.space

    def observe(self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]) -> dict[str, Tensor]:
        """Return what the sensor sees at the nearest place of the lattice, and that place; the first view is where it is."""
        place = lattice(self.grid, location.device).index_select(0, nearest(location, self.grid))
        if self.whole_first:
            place = torch.where((step > 1)[:, None], place, location)
        return self.sensor.observe(index, place, step) | {"location": place}

    def context(self, index: Int64[Tensor, " env"]) -> Tensor:
        """Return the context that the sensor shows."""
        assert isinstance(self.sensor, Contextual)
        return self.sensor.context(index)
