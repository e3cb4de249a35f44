"""The grid of locations: its cells, the cell nearest to a location, and a sensor restricted to cells.

With zoom it has several levels, one for each of a few scales: a cell is then a place and a scale.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env import checks
from glimpse_env.episode import Ints, Points, split_location
from glimpse_env.sensors.base import Contextual, Sensor, Zoomable
from glimpse_env.sensors.view_maps import Mapped


def count_levels(zoom: tuple[float, float] | None) -> int:
    """Return the number of scales of a grid: from one to the next widths grow by a factor of at most 2.

    None = no scales: 0.
    """
    return 0 if zoom is None else 1 + math.ceil(math.log2(zoom[1] / zoom[0]) - 1e-9)


def lattice(grid: int, device: torch.device, levels: int = 0) -> Float[Tensor, "cell axis"]:
    """Return `grid` x `grid` locations from -1 to 1 (grid=1: the centre); cell = row * grid + column.

    With `levels` (see `count_levels`) the locations have scales from -1 to 1, equally spaced; each level is a
    grid, cell = level * grid^2 + row * grid + column.
    """
    line = torch.linspace(-1, 1, grid, device=device) if grid > 1 else torch.zeros(1, device=device)
    places = torch.stack((line.repeat(grid), line.repeat_interleave(grid)), 1)
    if not levels:
        return places
    scales = torch.linspace(-1, 1, levels, device=device).repeat_interleave(grid**2)
    return torch.cat((places.repeat(levels, 1), scales[:, None]), 1)


def nearest(location: Points, grid: int, levels: int = 0) -> Ints:
    """Return the cell of the lattice that is nearest to each location, and to its scale."""
    steps = ((location[:, :2].clamp(-1, 1) + 1) * ((grid - 1) / 2)).round().long()
    cell = steps[:, 0].add(steps[:, 1], alpha=grid)
    if not levels:
        return cell
    level = ((location[:, 2].clamp(-1, 1) + 1) * ((levels - 1) / 2)).round().long()
    return cell.add(level, alpha=grid**2)


class OnGrid:
    """Another sensor, restricted to a lattice: it shows what a BankSensor shows, without a table.

    For images that are shown once, where computing the views of every cell in advance would be a waste.
    """

    def __init__(self, sensor: Sensor, grid: int) -> None:
        """Wrap a sensor; `grid`: cells per side."""
        grid = checks.argument("grid", grid)
        self.sensor, self.grid, self.space = sensor, grid, sensor.space
        self.reach, self.windows, self.whole_first = sensor.reach, sensor.windows, sensor.whole_first
        self.pixels, self.flops = sensor.pixels, sensor.flops
        self.zoom = sensor.zoom if isinstance(sensor, Zoomable) else None
        self.levels = count_levels(self.zoom)
        if isinstance(sensor, Mapped):
            self.view_maps = sensor.view_maps
        self.shows_context = isinstance(sensor, Contextual) and sensor.shows_context

    def observe(self, index: Ints, location: Points, step: Ints) -> dict[str, Tensor]:
        """Return what the sensor shows at the nearest cell, and its location; a whole first view stays."""
        cell = nearest(location, self.grid, self.levels)
        cell_location = lattice(self.grid, location.device, self.levels).index_select(0, cell)
        if self.whole_first:
            cell_location = torch.where((step > 1)[:, None], cell_location, location)
        return self.sensor.observe(index, cell_location, step) | split_location(cell_location)

    def context(self, index: Ints) -> Tensor:
        """Return the sensor's context."""
        assert isinstance(self.sensor, Contextual)
        return self.sensor.context(index)
