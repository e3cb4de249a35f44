"""Places that are fixed beforehand: the cells of a grid, in an order that spreads out, or row by row."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env.sensors import lattice

Order = Literal["grid", "raster"]


@lru_cache(maxsize=64)
def path(order: Order, grid: int, device: torch.device) -> Float[Tensor, "cell 2"]:
    """Return all places of a `grid` x `grid` lattice in the order in which they are looked at; made once, so that a step only reads it.

    Args:
        order: "raster" reads row by row. "grid" begins at the middle and goes on with the place that is farthest from all earlier ones (of
            equally far ones the first in reading order), so that any number of glimpses is spread over the image.
        grid: Places a side.
        device: Where the places lie.
    """
    places = lattice(grid, torch.device("cpu"))
    if order == "grid":
        distance = torch.cdist(places, places)
        chosen = [int(places.norm(dim=1).argmin())]
        while len(chosen) < len(places):
            nearest = distance[:, chosen].amin(1)
            nearest[chosen] = -1.0
            # Distances that are equal but for rounding must not decide.
            chosen.append(int((nearest >= nearest.max() - 1e-4).int().argmax()))
        places = places[chosen]
    return places.to(device)


def check(policy: str, steps: int, grid: int, whole_first: bool) -> None:
    """Refuse more glimpses than a grid has places.

    Raises:
        ValueError: The policy looks at the places of a grid, and there are not enough of them.
    """
    wanted = steps - whole_first
    if policy in ("grid", "raster") and wanted > grid**2:
        first = " after the first view" if whole_first else ""
        raise ValueError(
            f"--policy {policy}: {wanted} glimpses{first}, but the grid has {grid} x {grid} = {grid**2} places: use fewer --glimpses, or a "
            "larger --grid"
        )
