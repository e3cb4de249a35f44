"""The bank sensor: the crop sensor at the cells of a grid, computed once; a step is a look-up."""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView
from glimpse_env.episode import Ints, Points, split_location
from glimpse_env.sensors.base import refuse_native, unbounded_space
from glimpse_env.sensors.crop import CHUNK, CropSensor, Features, name_crop
from glimpse_env.sensors.feature_cache import FeatureTable, all_stored
from glimpse_env.sensors.grid import count_levels, lattice, nearest
from glimpse_env.sensors.view_maps import ViewMaps

log = logging.getLogger("glimpse_env")


class BankSensor:
    """What CropSensor shows at `grid` x `grid` locations from -1 to 1, and of the whole image, in a table.

    A glimpse is taken at the nearest cell of the grid, and the observation's `location` is that cell's. With
    zoom the table has a grid for each of a few scales (`count_levels`), and `scale` is the nearest of them.
    Frozen features make this exact, up to float16. The table (image, 1 + grid^2, feature) is built once for
    all stored images, with a progress bar, in a file of the cache folder whose name depends on the images,
    the network with its weights, and all sizes; for images without a name (data set objects), in memory.
    Each scale has its own table, which is shared by sensors with the same grid and other scales. Costs are
    those of the computation that a look-up replaces. The context is the table's row of the whole image; the
    maps of the first view (`view_maps`) have a table of their own.
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
        zoom: tuple[float, float] | None = None,
        first_view: FirstView = "image",
        first_crop: float = 1.0,
        location_range: float | None = None,
        fill: retina.Fill = "zero",
        context: bool = False,
        show_map: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        """Open the tables, or build them. Arguments as for CropSensor; `grid`: cells per side.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed.
            OSError: A table cannot be written, for example because the disk is full.
        """
        refuse_native(images, type(self).__name__)
        grid, context, show_map = checks.arguments(grid=grid, context=context, show_map=show_map)
        sizes: dict[str, Any] = dict(glimpse_size=glimpse_size, view_size=view_size, chunk=chunk)
        views: dict[str, Any] = dict(first_view=first_view, location_range=location_range, fill=fill)
        views["first_crop"] = first_crop
        crop = CropSensor(all_stored(images), backbone, scales=scales, zoom=zoom, **sizes, **views)
        self.reach, self.windows, self.whole_first = crop.reach, crop.windows, crop.whole_first
        self.pixels, self.flops, self.features = crop.pixels, crop.flops, crop.features
        self.grid, self.space, self.shows_context = grid, crop.space, context
        if context:
            self.space["context"] = unbounded_space(backbone.features)
            self.pixels = (crop.pixels[0] + crop.view_size**2, crop.pixels[1])
            self.flops = (crop.flops[0] + backbone.flops(crop.view_size, crop.view_size), crop.flops[1])
        self.view_maps, self.show_map = ViewMaps(images, backbone, crop.view_size, first_crop), show_map
        if show_map:
            self.space["map"] = self.view_maps.build_space(first_view)
        self.zoom, self.levels = crop.zoom, count_levels(crop.zoom)
        self.locations = lattice(grid, backbone.device, self.levels)
        self._crop = crop
        if len(self.windows) > 1:
            log.info("bank: one table per window, %s pixels wide", ", ".join(map(str, self.windows)))
        self._tables = [self._open_table(images, window) for window in self.windows]

    def _open_table(self, images: ImageSet, window: int) -> FeatureTable:
        """Open or build the table of one scale."""
        crop, fill = self._crop, self._crop.views.fill
        fill = "noise of each image" if fill == "noise" else fill
        recipe = f"{crop.size} {crop.view_size} {(window,)} {crop.reach:.9g} {fill} {self.grid}"
        recipe += name_crop(crop.first_crop)
        if crop.zoom is not None:
            recipe += f" zoom {crop.zoom[0]:.9g} {crop.zoom[1]:.9g}"
        shape = (1 + len(self.locations), crop.backbone.features)
        compute = functools.partial(self._compute, window)
        return FeatureTable(images, shape, compute, "bank", crop.backbone, recipe)

    def _compute(
        self, window: int, index: Int64[Tensor, " image"], mirrored: bool
    ) -> Float[Tensor, "image cell feature"]:
        """Compute the features of some images at one scale: of the whole image, then cell by cell."""
        cells, count = len(self.locations), len(index)
        part = self._crop.copy_for(index, (window,), mirrored)
        shown = torch.arange(count, device=self.locations.device)
        glimpses = part.glimpses(shown.repeat_interleave(cells), self.locations.repeat(count, 1))
        return torch.cat((part.wholes(shown)[:, None], glimpses.view(count, cells, -1)), 1)

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Mirror these images (left-right) from now on; None = none. The first call builds a second table."""
        for table in (*self._tables, self.view_maps):
            table.mirror(which)

    def nearest(self, location: Points) -> Ints:
        """Return the cell of the grid that is nearest to each location."""
        return nearest(location, self.grid, self.levels)

    def observe(self, index: Ints, location: Points, step: Ints) -> dict[str, Tensor]:
        """Return {"glimpse": ..., "location": that of the nearest cell}, maybe "scale", "context" and "map".

        With `whole_first`, rows at step 1 show the whole image instead.
        """
        cell = self.nearest(location)
        cell_location = self.locations.index_select(0, cell)
        cell = cell + 1
        if self.whole_first:
            later = step > 1
            cell, cell_location = cell * later, torch.where(later[:, None], cell_location, location)
        parts = [table.at(index, cell) for table in self._tables]
        glimpse = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        observation = {"glimpse": glimpse, **split_location(cell_location)}
        if self.shows_context:
            observation["context"] = self.context(index)
        if self.show_map:
            observation["map"] = self.view_maps.at(index)
        return observation

    def context(self, index: Ints) -> Features:
        """Return the features of the whole images."""
        return self._tables[0].at(index, torch.zeros_like(index))
