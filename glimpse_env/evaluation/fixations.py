"""Where fixations land: on the discriminative patch, or in the object's box, against chance."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation.trajectories import Trajectories

Fixations = Float[Tensor, "time image 2"]
Taken = Bool[Tensor, "time image"]  # whether the agent took this glimpse


def measure_fixations(
    env: GlimpseVectorEnv, trajectories: Trajectories, stops: Int64[Tensor, " image"], learned_start: bool
) -> dict[str, dict[str, float]]:
    """Return how often the agent's fixations land on the patch and in the object's box, if these are known.

    Fixations after the step (from 0) at which an image stopped are not counted, nor is glimpse 1 unless the
    agent chose it (`learned_start`).
    """
    first, images, reach = 0 if learned_start else 1, env.images, env.sensor.reach
    chosen = trajectories.locations[first:] * reach
    taken = torch.arange(first, len(trajectories.locations))[:, None] <= stops
    measures = {}
    if taken.any() and images.target_centers is not None:
        centres = images.target_centers[trajectories.index]
        half = min(env.sensor.windows) / images.images.shape[-1]
        factors = trajectories.compute_factors(env.preset.zoom)
        half = half if factors is None else half * factors[first:]
        measures["on_patch"] = measure_on_patch(chosen, taken, centres, reach, half)
    if taken.any() and images.boxes is not None:
        measures["in_box"] = measure_in_box(chosen, taken, images.boxes[trajectories.index], reach)
    return measures


def draw_uniform(like: Fixations, reach: float) -> Fixations:
    """Return as many uniformly random fixations within reach, from a fixed seed."""
    return (torch.rand(like.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1) * reach


def measure_on_patch(
    chosen: Fixations,
    taken: Taken,
    centres: Float[Tensor, "image 2"],
    reach: float,
    half: float | Float[Tensor, "time image"],
) -> dict[str, float]:
    """Return how often fixations that were taken land on the patch: chosen ones and uniform random ones.

    A fixation lands when the patch's centre lies inside the glimpse's smallest window (`half` its width, in
    half images). `any` counts images with at least one landing among as many fixations as the agent took,
    `last` those whose last fixation lands.
    """

    def land(fixations: Tensor) -> Tensor:
        return ((fixations - centres).abs().amax(2) <= half) & taken

    landed, by_chance = land(chosen), land(draw_uniform(chosen, reach))
    last = (taken.sum(0, keepdim=True) - 1).clamp(min=0)
    return {
        "fixation": (landed.sum() / taken.sum()).item(),
        "fixation_chance": (by_chance.sum() / taken.sum()).item(),
        "any": landed.any(0).float().mean().item(),
        "any_chance": by_chance.any(0).float().mean().item(),
        "last": landed.gather(0, last).float().mean().item(),
    }


def measure_in_box(
    chosen: Fixations, taken: Taken, boxes: Float[Tensor, "image 4"], reach: float
) -> dict[str, float]:
    """Return the share of fixations in the object's box: chosen, uniform random, at the image's centre."""

    def share_inside(fixations: Tensor) -> float:
        inside = ((fixations >= boxes[:, :2]) & (fixations <= boxes[:, 2:])).all(-1)
        return ((inside & taken).sum() / taken.sum()).item()

    return {
        "fixation": share_inside(chosen),
        "fixation_chance": share_inside(draw_uniform(chosen, reach)),
        "center": share_inside(torch.zeros_like(chosen)),
    }
