"""The bank sensor: the crop sensor at the places of a grid, every feature computed once; a step is a look-up."""

from __future__ import annotations

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.backbone import Backbone
from glimpse_env.datasets import ImageSet
from glimpse_env.presets import FirstView
from glimpse_env.sensors.base import Sensor, vector
from glimpse_env.sensors.cached import Cached, everything
from glimpse_env.sensors.crop import CHUNK, CropSensor


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
    objects) are computed anew in memory. Costs are what the look-up stands for.
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
        chunk: int = CHUNK,
    ) -> None:
        """Open the bank, or build it. Arguments as for CropSensor; `grid`: places a side.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed; the message names it.
            OSError: The bank cannot be written, for example because the disk is full.
        """
        checks.count("grid", grid)
        options = {"scales": scales, "location_range": location_range, "fill": fill, "chunk": chunk}
        crop = CropSensor(everything(images), backbone, glimpse_size=glimpse_size, view_size=view_size, first_view=first_view, **options)
        self.reach, self.windows, self.whole_first = crop.reach, crop.windows, crop.whole_first
        self.pixels, self.flops, self.features, self.grid = crop.pixels, crop.flops, crop.features, grid
        self.places = lattice(grid, backbone.device)
        recipe = f"{glimpse_size} {crop.view_size} {crop.windows} {crop.reach:.9g} {fill} {grid}"
        self._crop = crop
        self._cached = Cached(images, (1 + grid**2, self.features), self._row, "bank", backbone, recipe)
        crop.pictures.release()

    def _row(self, index: Int64[Tensor, " image"], mirrored: bool) -> Float[Tensor, "image cell feature"]:
        """Compute the features of some images: the whole, then cell by cell."""
        cells, count = len(self.places), len(index)
        self._crop.mirror(torch.ones(len(self._crop.pictures.images), dtype=torch.bool) if mirrored else None)
        whole = self._crop.wholes(index)[:, None]
        glimpses = self._crop.glimpses(index.repeat_interleave(cells), self.places.repeat(count, 1))
        return torch.cat((whole, glimpses.view(count, cells, -1)), 1)

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row, besides the `location`."""
        return {"glimpse": vector(self.features)}

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Show these images left-right reversed from now on; None = no image. The first call with images builds a second bank."""
        self._cached.mirror(which)
        self._crop.pictures.release()

    def nearest(self, location: Float[Tensor, "env 2"]) -> Int64[Tensor, " env"]:
        """Return the cell of the grid that is nearest to each location."""
        return nearest(location, self.grid)

    def observe(self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]) -> dict[str, Tensor]:
        """Return {"glimpse": ..., "location": the place looked at}; with `whole_first`, rows at step 1 see the whole image instead."""
        cell = self.nearest(location)
        place = self.places.index_select(0, cell)
        cell = cell + 1
        if self.whole_first:
            later = step > 1
            cell, place = cell * later, torch.where(later[:, None], place, location)
        return {"glimpse": self._cached.at(index, cell), "location": place}


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
