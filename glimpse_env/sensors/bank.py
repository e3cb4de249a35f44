"""The bank sensor: the crop sensor at the cells of a grid, every feature computed once; a step is a look-up."""

from __future__ import annotations

import functools
import logging

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView
from glimpse_env.sensors.base import vector_space
from glimpse_env.sensors.crop import CHUNK, CropSensor
from glimpse_env.sensors.feature_cache import FeatureTable, all_stored
from glimpse_env.sensors.grid import lattice, nearest

log = logging.getLogger("glimpse_env")


class BankSensor:
    """What CropSensor shows at `grid` x `grid` locations from -1 to 1, and of the whole image, looked up in a table.

    A glimpse is taken at the nearest cell of the grid, and the observation's `location` is that cell's. Frozen features make this exact,
    up to float16. The table (image, 1 + grid^2, feature) is built once for all stored images, with a progress bar, and kept in the cache
    folder; its name is made of the images, the network with its weights, and all sizes. Images without a name (data set objects) are
    computed in memory each time. Each scale has its own table, which is shared by sensors with the same grid and other scales. Costs are
    those of the computation that a look-up replaces. The context is the table's row of the whole image.
    """

    def __init__(
        self,
        images: ImageSet,
        backbone: FeatureExtractor,
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
        """Open the tables, or build them. Arguments as for CropSensor; `grid`: cells per side.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed; the message names it.
            OSError: A table cannot be written, for example because the disk is full.
        """
        checks.count("grid", grid)
        options = {
            "scales": scales,
            "location_range": location_range,
            "fill": fill,
            "chunk": chunk,
            "first_view": first_view,
        }
        crop = CropSensor(
            all_stored(images), backbone, glimpse_size=glimpse_size, view_size=view_size, **options
        )
        self.reach, self.windows, self.whole_first = crop.reach, crop.windows, crop.whole_first
        self.pixels, self.flops, self.features, self.grid, self.shows_context = (
            crop.pixels,
            crop.flops,
            crop.features,
            grid,
            context,
        )
        if context:
            self.pixels = (crop.pixels[0] + crop.view_size**2, crop.pixels[1])
            self.flops = (crop.flops[0] + backbone.flops(crop.view_size, crop.view_size), crop.flops[1])
        self.locations = lattice(grid, backbone.device)
        self._crop = crop
        if len(self.windows) > 1:
            log.info("bank: one table per window, %s pixels wide", ", ".join(map(str, self.windows)))
        self._tables = [self._open_table(images, window) for window in self.windows]

    def _open_table(self, images: ImageSet, window: int) -> FeatureTable:
        """Open or build the table of one scale."""
        crop, fill = self._crop, self._crop.views.fill
        fill = "noise of each image" if fill == "noise" else fill
        recipe = f"{crop.size} {crop.view_size} {(window,)} {crop.reach:.9g} {fill} {self.grid}"
        shape = (1 + self.grid**2, crop.backbone.features)
        return FeatureTable(
            images, shape, functools.partial(self._compute, window), "bank", crop.backbone, recipe
        )

    def _compute(
        self, window: int, index: Int64[Tensor, " image"], mirrored: bool
    ) -> Float[Tensor, "image cell feature"]:
        """Compute the features of some images at one scale: of the whole image, then cell by cell."""
        cells, count = len(self.locations), len(index)
        part = self._crop.copy_for(self._crop.views.images.subset(index), (window,), mirrored)
        shown = torch.arange(count, device=self.locations.device)
        whole = part.wholes(shown)[:, None, : self._crop.backbone.features]
        glimpses = part.glimpses(shown.repeat_interleave(cells), self.locations.repeat(count, 1))
        return torch.cat((whole, glimpses.view(count, cells, -1)), 1)

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row, besides the `location`."""
        glimpse: dict[str, spaces.Space] = {"glimpse": vector_space(self.features)}
        return (
            glimpse | {"context": vector_space(self._crop.backbone.features)}
            if self.shows_context
            else glimpse
        )

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Mirror these images (left-right) from now on; None = no image. The first call with images builds a second table."""
        for table in self._tables:
            table.mirror(which)

    def nearest(self, location: Float[Tensor, "env 2"]) -> Int64[Tensor, " env"]:
        """Return the cell of the grid that is nearest to each location."""
        return nearest(location, self.grid)

    def observe(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> dict[str, Tensor]:
        """Return {"glimpse": ..., "location": that of the nearest cell} and, with `shows_context`, "context".

        With `whole_first`, rows at step 1 show the whole image instead.
        """
        cell = self.nearest(location)
        cell_location = self.locations.index_select(0, cell)
        cell = cell + 1
        if self.whole_first:
            later = step > 1
            cell, cell_location = cell * later, torch.where(later[:, None], cell_location, location)
        parts = [table.at(index, cell) for table in self._tables]
        observation = {
            "glimpse": parts[0] if len(parts) == 1 else torch.cat(parts, 1),
            "location": cell_location,
        }
        return observation | {"context": self.context(index)} if self.shows_context else observation

    def context(self, index: Int64[Tensor, " env"]) -> Float[Tensor, "env feature"]:
        """Return the features of the whole images."""
        return self._tables[0].at(index, torch.zeros_like(index))
