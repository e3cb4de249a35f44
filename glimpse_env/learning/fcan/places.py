"""Where parts may lie on a feature map: windows of whole cells, numbered row by row, as centres and as boxes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from glimpse_env import checks


def check(parts: tuple[int, ...], side: int, what: str) -> None:
    """Refuse parts that do not fit a map of `side` x `side` cells.

    Raises:
        ValueError: There are none, or one of them is smaller than a cell or larger than the map.
    """
    if not parts:
        raise ValueError("--parts: expected at least one side in cells, such as --parts 8 4")
    for part in parts:
        checks.count("--parts", part)
        if part > side:
            raise ValueError(f"--parts {' '.join(map(str, parts))}: {what} has {side} x {side} cells; expected sides of 1 to {side} cells")


def places(side: int, part: int) -> int:
    """Return the number of places of a part of `part` x `part` cells."""
    return (side - part + 1) ** 2


def reach(side: int, parts: tuple[int, ...]) -> float:
    """Return where location +-1 lies in the image: the smallest part stays inside (as the sensors have it)."""
    return max(0.0, 1 - min(parts) / side)


def corners(place: Int64[Tensor, "*batch"], side: int, part: int) -> tuple[Int64[Tensor, "*batch"], Int64[Tensor, "*batch"]]:
    """Return the top and the left cell of places."""
    across = side - part + 1
    return place // across, place % across


def centres(place: Int64[Tensor, "*batch"], side: int, part: int) -> Float[Tensor, "*batch 2"]:
    """Return the centres (x, y) of places in the image's own [-1, 1]."""
    top, left = corners(place, side, part)
    return (2 * torch.stack((left, top), -1) + part) / side - 1


def locations(place: Int64[Tensor, "*batch"], side: int, part: int, far: float) -> Float[Tensor, "*batch 2"]:
    """Return places as the environment's locations, of which +-1 lie at +-`far`; nothing can be chosen where `far` is 0."""
    found = centres(place, side, part)
    return found / far if far else torch.zeros_like(found)


def middle(side: int, part: int) -> int:
    """Return the place at the centre of the map, or the one above and left of it."""
    corner = (side - part) // 2
    return corner * (side - part + 1) + corner


def scored(scores: Float[Tensor, "image rows columns"], part: int) -> Float[Tensor, "image place"]:
    """Return the scores of the places: those of the cells that are the (lower right) middle of a window inside the map."""
    before, across = part // 2, scores.shape[-1] - part + 1
    return scores[:, before : before + across, before : before + across].flatten(1)


def spread(shares: Float[Tensor, "image place"], side: int, part: int) -> Float[Tensor, "image 1 rows columns"]:
    """Return an attention map on the cells of the feature map, of mean 1 over the places (the inverse of `scored`, 0 elsewhere)."""
    before, across = part // 2, side - part + 1
    after = side - across - before
    return F.pad(shares.view(-1, 1, across, across) * across**2, (before, after, before, after))


def windows(side: int, part: int, device: torch.device) -> Float[Tensor, "place cell"]:
    """Return the weights of the map's cells in the mean over the part at every place."""
    top, left = corners(torch.arange(places(side, part), device=device), side, part)
    line = torch.arange(side, device=device)
    inside = [(line >= first[:, None]) & (line < first[:, None] + part) for first in (top, left)]
    return (inside[0][:, :, None] & inside[1][:, None]).flatten(1) / part**2


def pooled(
    maps: Float[Tensor, "image channel rows columns"], place: Int64[Tensor, "image sample"], part: int
) -> Float[Tensor, "image sample channel"]:
    """Return the mean of the map over the part at some places: what the map sensor's RoIAlign gives there."""
    weights = windows(maps.shape[-1], part, maps.device).index_select(0, place.flatten())
    return weights.view(*place.shape, -1) @ maps.flatten(2).transpose(1, 2)  # a product: faster than pooling every place and choosing
