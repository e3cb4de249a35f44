"""Where fixations land: on the patch that tells the class, or in the object's box, against chance. Measurement only."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation.trajectories import Looks


def measures(env: GlimpseVectorEnv, looks: Looks, when: Int64[Tensor, " image"], learned_start: bool) -> dict[str, dict[str, float]]:
    """Return what can be said of the chosen fixations with the places or boxes that the data set knows.

    Args:
        env: The environment of the evaluation.
        looks: Every image's trajectory.
        when: The step (from 0) at which each image was answered; what comes later is not counted.
        learned_start: Whether glimpse 1 was chosen by the agent.
    """
    skipped = 0 if learned_start else 1
    chosen = looks.locations[skipped:] * env.sensor.reach
    taken = torch.arange(skipped, len(looks.locations))[:, None] <= when
    found = {}
    if taken.any() and env.images.target_centers is not None:
        half = min(env.sensor.windows) / env.images.images.shape[-1]
        found["on_patch"] = on_patch(chosen, taken, env.images.target_centers[looks.index], env.sensor.reach, half)
    if taken.any() and env.images.boxes is not None:
        found["in_box"] = in_box(chosen, taken, env.images.boxes[looks.index], env.sensor.reach)
    return found


def uniform(like: Float[Tensor, "time image 2"], reach: float) -> Float[Tensor, "time image 2"]:
    """Return as many uniformly random fixations within reach, from a fixed seed."""
    return (torch.rand(like.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1) * reach


def on_patch(
    chosen: Float[Tensor, "time image 2"], taken: Bool[Tensor, "time image"], places: Float[Tensor, "image 2"], reach: float, half: float
) -> dict[str, float]:
    """Return how often fixations that were taken land on the discriminative patch: chosen ones against uniform random ones.

    A fixation lands when the patch's centre lies inside the glimpse's smallest window (`half` its width, in half images). `any`
    counts images with at least one landing among as many fixations as the agent took, `last` those whose last fixation lands.
    """
    landed, lucky = (((centres - places).abs().amax(2) <= half) & taken for centres in (chosen, uniform(chosen, reach)))
    last = (taken.sum(0, keepdim=True) - 1).clamp(min=0)
    return {
        "fixation": (landed.sum() / taken.sum()).item(),
        "fixation_chance": (lucky.sum() / taken.sum()).item(),
        "any": landed.any(0).float().mean().item(),
        "any_chance": lucky.any(0).float().mean().item(),
        "last": landed.gather(0, last).float().mean().item(),
    }


def in_box(
    chosen: Float[Tensor, "time image 2"], taken: Bool[Tensor, "time image"], boxes: Float[Tensor, "image 4"], reach: float
) -> dict[str, float]:
    """Return the share of glimpse centres inside the object's box: chosen ones, uniform random ones, and the image's centre."""

    def inside(centres: Tensor) -> float:
        found = ((centres >= boxes[:, :2]) & (centres <= boxes[:, 2:])).all(-1)
        return ((found & taken).sum() / taken.sum()).item()

    return {"fixation": inside(chosen), "fixation_chance": inside(uniform(chosen, reach)), "center": inside(torch.zeros_like(chosen))}
