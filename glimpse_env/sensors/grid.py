"""The grid of locations: its cells, the cell nearest to a location, and a sensor restricted to cells."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env import checks
from glimpse_env.episode import Ints, Points
from glimpse_env.sensors.base import Contextual, Sensor
from glimpse_env.sensors.view_maps import Mapped


def lattice(grid: int, device: torch.device) -> Float[Tensor, "cell 2"]:
    """Return `grid` x `grid` locations from -1 to 1 (grid=1: the centre); cell = row * grid + column."""
    line = torch.linspace(-1, 1, grid, device=device) if grid > 1 else torch.zeros(1, device=device)
    return torch.stack((line.repeat(grid), line.repeat_interleave(grid)), 1)


def nearest(location: Points, grid: int) -> Ints:
    """Return the cell of the lattice that is nearest to each location."""
    steps = ((location.clamp(-1, 1) + 1) * ((grid - 1) / 2)).round().long()
    return steps[:, 0].add(steps[:, 1], alpha=grid)


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
        if isinstance(sensor, Mapped):
            self.view_maps = sensor.view_maps
        self.shows_context = isinstance(sensor, Contextual) and sensor.shows_context

    def observe(self, index: Ints, location: Points, step: Ints) -> dict[str, Tensor]:
        """Return what the sensor shows at the nearest cell, and its location; a whole first view stays."""
        cell_location = lattice(self.grid, location.device).index_select(0, nearest(location, self.grid))
        if self.whole_first:
            cell_location = torch.where((step > 1)[:, None], cell_location, location)
        return self.sensor.observe(index, cell_location, step) | {"location": cell_location}

    def context(self, index: Ints) -> Tensor:
        """Return the sensor's context."""
        assert isinstance(self.sensor, Contextual)
        return self.sensor.context(index)
