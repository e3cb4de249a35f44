"""Where fixations land: on the target, against random places and a fixed path; and how they are spread.

Random places are uniform over what the agent can reach, as many for every image as the agent chose. Two fixed
paths (a location for each step, the same for all images) are the best ones of their kind:

- the mean path, the agent's own mean location at each step: how far its fixations are from it tells whether
  they depend on the image, without knowing the truth;
- the covering path, whose locations find the most targets: an agent that finds no more has learned where
  targets are, not where this one is.

Both are fitted on images held out: each of two fixed random halves is measured with the path of the other.
Differences are paired over images; their 95 % intervals are a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import fixed_paths, intervals
from glimpse_env.evaluation.fixed_paths import Fixations, Taken
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.sensors import lattice
from glimpse_env.sensors.grid import nearest

# A location counts as on the border beyond this. The environment clamps locations to [-1, 1], so a policy
# that is pushed outwards gathers at exactly 1; of uniformly random places 1 - 0.98^2 = 4 % are there.
BORDER = 0.98
CANDIDATES = (
    25  # a side, of the covering path, if the sensor has no grid: finer than half a window of a tenth
)
RESAMPLES = 1000

Land = Callable[[Fixations], Bool[Tensor, "time image"]]  # which fixations are on the image's target


@dataclass(frozen=True)
class Chosen:
    """The fixations that an agent chose, up to the glimpse at which each image stopped.

    Glimpse 1 is among them only if the agent chose it.
    """

    locations: Fixations  # (x, y) in [-1, 1], before the environment's location range
    taken: Taken
    first: int = 1  # number of the glimpse, from 1, at locations[0]
    reach: float = 1.0  # where location +-1 lies in the image's own [-1, 1]
    grid: int | None = None  # cells a side, if the sensor can take glimpses only there

    @property
    def centres(self) -> Fixations:
        """Their centres in half images: +-1 is the image's edge."""
        return self.locations * self.reach

    def draw_uniform(self) -> Fixations:
        """Return as many uniformly random locations in [-1, 1], from a fixed seed."""
        return torch.rand(self.locations.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def draw_possible(self) -> Fixations:
        """Return the same random locations, moved to the cells of the sensor's grid if it has one."""
        drawn = self.draw_uniform()
        if self.grid is None:
            return drawn
        return lattice(self.grid, drawn.device)[nearest(drawn.flatten(0, 1), self.grid)].view_as(drawn)


def select_chosen(
    env: GlimpseVectorEnv, trajectories: Trajectories, stops: Int64[Tensor, " image"], learned_start: bool
) -> Chosen:
    """Return the fixations that the agent chose: not those after its stop (at step `stops`, from 0).

    Glimpse 1 was chosen by the agent if it has a `learned_start`, else by the environment.
    """
    start = 0 if learned_start else 1
    taken = torch.arange(start, len(trajectories.locations))[:, None] <= stops
    grid = getattr(env.sensor, "grid", None)
    return Chosen(trajectories.locations[start:], taken, start + 1, env.sensor.reach, grid)


def measure_fixations(
    env: GlimpseVectorEnv, trajectories: Trajectories, stops: Int64[Tensor, " image"], learned_start: bool
) -> dict[str, dict[str, Any]]:
    """Return the measures of the agent's fixations; those on its target only where that is known.

    `fixations` (see `measure_spread`) needs no truth; `on_patch` needs the centre of the pattern that decides
    the class, `in_box` the object's box.
    """
    chosen, images = select_chosen(env, trajectories, stops, learned_start), env.images
    measures = {"fixations": measure_spread(chosen, env.preset.grid)}
    if chosen.taken.any() and images.target_centers is not None:
        half = min(env.sensor.windows) / images.images.shape[-1]
        factors = trajectories.compute_factors(env.preset.zoom)
        half = half if factors is None else half * factors[chosen.first - 1 :]
        measures["on_patch"] = measure_on_patch(chosen, images.target_centers[trajectories.index], half)
    if chosen.taken.any() and images.boxes is not None:
        measures["in_box"] = measure_in_box(chosen, images.boxes[trajectories.index])
    return measures


def measure_on_patch(
    chosen: Chosen, centres: Float[Tensor, "image 2"], half: float | Float[Tensor, "time image"]
) -> dict[str, Any]:
    """Return how often fixations land on a patch (see `measure_hits`).

    A fixation lands when the patch's centre lies at most `half` from it, horizontally and vertically, both in
    half images: with half the width of the smallest window, when that window holds the centre. With zoom
    every fixation has a `half` of its own, random places the same one, and the covering path their mean.
    """

    def within(half: float | Tensor) -> Land:
        return lambda fixations: (fixations - centres).abs().amax(2) <= half

    return measure_hits(chosen, within(half), within(half.mean() if isinstance(half, Tensor) else half))


def measure_in_box(chosen: Chosen, boxes: Float[Tensor, "image 4"]) -> dict[str, Any]:
    """Return how often fixations land in the object's box (see `measure_hits`), and `center`.

    `center`: as `fixation`, if all fixations were at the image's centre.
    """

    def land(fixations: Fixations) -> Bool[Tensor, "time image"]:
        return ((fixations >= boxes[:, :2]) & (fixations <= boxes[:, 2:])).all(2)

    center = land(torch.zeros_like(chosen.locations)) & chosen.taken
    return measure_hits(chosen, land) | {"center": (center.sum() / chosen.taken.sum()).item()}


def measure_hits(chosen: Chosen, land: Land, land_fixed: Land | None = None) -> dict[str, Any]:
    """Return how often, and how soon, fixations land on the target.

    `fixation`: share of fixations that land; `any`: share of images found, with at least one that lands;
    `last`: share of images whose last fixation lands; `first_hit`: mean number of the glimpse (from 1) that
    finds an image, of those found, None if none is; `found_by`: share of images found by glimpse 1, 2, ...
    `_chance`: of random places, `_path`: of the covering path. `any_minus_chance` and `any_minus_path`:
    difference, and the ends of its interval. Shares are fractions. `land_fixed`: as `land`, of a path of one
    step; None = `land`.
    """
    taken = chosen.taken
    hits = {
        "": land(chosen.centres) & taken,
        "_chance": land(chosen.draw_uniform() * chosen.reach) & taken,
        "_path": follow_covering_path(chosen, land_fixed or land),
    }
    measures: dict[str, Any] = {}
    for name, landed in hits.items():
        found, steps = landed.any(0), landed.int().argmax(0) + chosen.first
        by_step = landed.cummax(0).values.float().mean(1).tolist()
        measures |= {
            f"fixation{name}": (landed.sum() / taken.sum()).item(),
            f"any{name}": found.float().mean().item(),
            f"first_hit{name}": steps[found].float().mean().item() if found.any() else None,
            f"found_by{name}": [0.0] * (chosen.first - 1) + by_step,
        }
    last = (taken.sum(0, keepdim=True) - 1).clamp(min=0)
    measures["last"] = hits[""].gather(0, last).float().mean().item()
    own, chance, path = (landed.any(0).float() for landed in hits.values())
    return measures | {"any_minus_chance": compare(own, chance), "any_minus_path": compare(own, path)}


def follow_covering_path(chosen: Chosen, land: Land) -> Bool[Tensor, "time image"]:
    """Return which fixations land if every image has the covering path of the other half of the images."""
    side, images = chosen.grid or CANDIDATES, chosen.taken.shape[1]
    candidates = lattice(side, chosen.taken.device) * chosen.reach
    hits = [land(candidate.expand(1, images, 2)) for candidate in candidates]
    return fixed_paths.follow_cover(torch.cat(hits), chosen.taken)


def measure_spread(chosen: Chosen, grid: int) -> dict[str, Any]:
    """Return measures of fixations that need no truth: of the agent, and (`_chance`) of random places.

    `per_image`: mean number of fixations chosen; `cells`: mean number of distinct cells of the environment's
    `grid` that an image's fixations are in; `border`: share of fixations at the border of what can be
    reached (a coordinate beyond `BORDER`); `path_distance`: mean distance from the mean path, in half images,
    first over an image's fixations, then over images. `..._minus_chance`: difference, and the ends of its
    interval. Images without a chosen fixation do not count; without any, only `per_image` is known.
    """
    number = chosen.taken.sum(0)
    known: dict[str, Any] = {"first_glimpse": chosen.first, "per_image": number.float().mean().item()}
    if not chosen.taken.any():
        return known
    known["grid"], some = grid, number > 0
    chance = chosen.draw_possible()
    for name, locations in {"": chosen.locations, "_chance": chance}.items():
        border = (locations.abs().amax(2) > BORDER) & chosen.taken
        known[f"border{name}"] = (border.sum() / number.sum()).item()
    pairs = {
        "cells": [count_cells(places, chosen.taken, grid) for places in (chosen.locations, chance)],
        "path_distance": [
            fixed_paths.measure_distance(places * chosen.reach, chosen.taken)
            for places in (chosen.locations, chance)
        ],
    }
    for name, (own, other) in pairs.items():
        known |= {name: own[some].mean().item(), f"{name}_chance": other[some].mean().item()}
        known[f"{name}_minus_chance"] = compare(own[some], other[some])
    return known


def count_cells(locations: Fixations, taken: Taken, grid: int) -> Float[Tensor, " image"]:
    """Return in how many cells of the grid the fixations of each image are (the nearest cells)."""
    cells = nearest(locations.flatten(0, 1), grid).view(taken.shape).masked_fill(~taken, grid**2)
    seen = torch.zeros(taken.shape[1], grid**2 + 1).scatter_(1, cells.T, 1.0)
    return seen[:, :-1].sum(1)


def compare(own: Float[Tensor, " image"], other: Float[Tensor, " image"]) -> list[float]:
    """Return the mean difference over images, and the ends of its interval."""
    return list(intervals.bootstrap_over_images(own - other, RESAMPLES))


def map_shares(chosen: Chosen, cells: int) -> Float[Tensor, "time row column"]:
    """Return the share of each step's fixations in every cell of the image, cut into `cells` x `cells`."""
    places = ((chosen.centres + 1) / 2 * cells).long().clamp(0, cells - 1)
    flat = (places[..., 1] * cells + places[..., 0]).masked_fill(~chosen.taken, cells**2)
    counts = torch.zeros(len(flat), cells**2 + 1).scatter_add_(1, flat, torch.ones(flat.shape))[:, :-1]
    return (counts / counts.sum(1, keepdim=True).clamp(min=1)).view(-1, cells, cells)
