"""Location policies that are not learned: random, the centre, and the cells of a grid in a fixed order.

With zoom, random ones draw the scale too; the others use one scale, 0: the middle of the range (`SCALE`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env.networks.location_policy import LocationPolicy, Random
from glimpse_env.runtime import distributed
from glimpse_env.sensors import lattice

PolicyName = Literal["learned", "random", "center", "grid", "raster"]
Order = Literal["center", "grid", "raster"]
Locations = Float[Tensor, "env axis"]  # (x, y), with zoom (x, y, scale)
SCALE = 0.0  # of the policies with a fixed order: the geometric mean of the smallest and the largest window


class Unlearned(LocationPolicy):
    """A policy without parameters: its actions are locations, of log-probability 0 (nothing is trained)."""

    def log_prob(self, parameters: Tensor, action: Locations) -> Float[Tensor, " env"]:
        """Return zeros."""
        return torch.zeros_like(action[:, 0])


@dataclass(frozen=True)
class Uniform(Unlearned):
    """Uniformly random locations (and scales) in [-1, 1]; the environment chooses that of glimpse 1."""

    axes: int = 2

    def sample(self, parameters: Tensor, generator: Random = None, index: int = 0) -> Locations:
        """Draw a location."""
        size = (len(parameters), self.axes)
        return distributed.draw(torch.rand, size, generator, parameters.device) * 2 - 1

    def mode(self, parameters: Tensor, index: int = 0) -> Locations:
        """Return the centre: all locations are equally probable, and it is their mean."""
        return parameters.new_zeros(len(parameters), self.axes)

    def first(self, parameters: Tensor | None, rows: int, generator: torch.Generator) -> None:
        """Return None: the environment chooses."""


@dataclass(frozen=True)
class Fixed(Unlearned):
    """The same locations in every image and episode, glimpse 1 included (see `order_cells`)."""

    order: Order
    grid: int  # cells a side
    axes: int = 2

    def sample(self, parameters: Tensor, generator: Random = None, index: int = 0) -> Locations:
        """Return the location of this index."""
        return self.mode(parameters, index)

    def mode(self, parameters: Tensor, index: int = 0) -> Locations:
        """Return the location of this index; after the last one, which nothing uses, the last one again."""
        cells = order_cells(self.order, self.grid, parameters.device, self.axes)
        return cells[min(index, len(cells) - 1)].expand(len(parameters), -1)

    def first(self, parameters: Tensor | None, rows: int, generator: torch.Generator) -> Locations:
        """Return the first location."""
        return order_cells(self.order, self.grid, generator.device, self.axes)[0].expand(rows, -1)

    def check(self, choices: int) -> None:
        """Raise a ValueError if the grid has fewer cells than `choices`."""
        if self.order != "center" and choices > self.grid**2:
            cells = f"{self.grid} x {self.grid} = {self.grid**2} cells"
            refused = f"--policy {self.order}: {choices} locations are to be chosen, but the grid has {cells}"
            raise ValueError(f"{refused}: use fewer --glimpses, or a larger --grid")


@lru_cache(maxsize=64)
def order_cells(order: Order, grid: int, device: torch.device, axes: int = 2) -> Float[Tensor, "cell axis"]:
    """Return the locations of the cells of a `grid` x `grid` lattice in the order in which they are visited.

    "raster" is row by row. "grid" starts at the middle and continues with the cell that is farthest from all
    earlier ones (of equally far ones the first in reading order), so that any number of glimpses is spread
    over the image. "center" is the centre of the image alone. Cached, so that a step only reads it.
    """
    cells = lattice(1 if order == "center" else grid, torch.device("cpu"))
    if order == "grid":
        distance = torch.cdist(cells, cells)
        chosen = [int(cells.norm(dim=1).argmin())]
        while len(chosen) < len(cells):
            nearest = distance[:, chosen].amin(1)
            nearest[chosen] = -1.0
            # Distances that are equal but for rounding must not decide.
            chosen.append(int((nearest >= nearest.max() - 1e-4).int().argmax()))
        cells = cells[chosen]
    if axes > 2:
        cells = torch.cat((cells, torch.full_like(cells[:, :1], SCALE)), 1)
    return cells.to(device)


def build_unlearned(name: PolicyName, grid: int, axes: int = 2) -> LocationPolicy | None:
    """Return the policy of this name that is not learned; None for "learned", which is the network's own.

    `axes`: numbers of a location (see `Preset.axes`).
    """
    if name == "random":
        return Uniform(axes)
    return None if name == "learned" else Fixed(name, grid, axes)
