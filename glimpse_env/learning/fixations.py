"""Where fixations land: on the patch that tells the class, or in the object's box, against chance. Measurement only."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.learning.evaluation import Looks


def measures(env: GlimpseVectorEnv, looks: Looks) -> dict[str, dict[str, float]]:
    """Return what can be said of the chosen fixations (the first view is not one) with the places or boxes that the data set knows."""
    skipped = 1 if env.sensor.whole_first else 0
    chosen = looks.locations[skipped:] * env.sensor.reach
    found = {}
    if len(chosen) and env.images.places is not None:
        found["on_patch"] = on_patch(
            chosen, env.images.places[looks.index], env.sensor.reach, min(env.sensor.windows) / env.images.images.shape[-1]
        )
    if len(chosen) and env.images.boxes is not None:
        found["in_box"] = in_box(chosen, env.images.boxes[looks.index], env.sensor.reach)
    return found


def uniform(like: Float[Tensor, "time image 2"], reach: float) -> Float[Tensor, "time image 2"]:
    """Return as many uniformly random fixations within reach, from a fixed seed."""
    return (torch.rand(like.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1) * reach


def on_patch(chosen: Float[Tensor, "time image 2"], places: Float[Tensor, "image 2"], reach: float, half: float) -> dict[str, float]:
    """Return how often fixations land on the discriminative patch: chosen ones against uniform random ones.

    A fixation lands when the patch's centre lies inside the glimpse's smallest window (`half` its width, in half images). `any`
    counts images with at least one landing among as many fixations as the agent chose.
    """
    landed, lucky = (((centres - places).abs().amax(2) <= half) for centres in (chosen, uniform(chosen, reach)))
    return {
        "fixation": landed.float().mean().item(),
        "fixation_chance": lucky.float().mean().item(),
        "any": landed.any(0).float().mean().item(),
        "any_chance": lucky.any(0).float().mean().item(),
        "last": landed[-1].float().mean().item(),
    }


def in_box(chosen: Float[Tensor, "time image 2"], boxes: Float[Tensor, "image 4"], reach: float) -> dict[str, float]:
    """Return the share of glimpse centres inside the object's box: chosen ones, uniform random ones, and the image's centre."""

    def inside(centres: Tensor) -> float:
        return ((centres >= boxes[:, :2]) & (centres <= boxes[:, 2:])).all(-1).float().mean().item()

    return {"fixation": inside(chosen), "fixation_chance": inside(uniform(chosen, reach)), "center": inside(torch.zeros_like(chosen))}
