"""The measures of a result row from trajectories: accuracy, mean glimpses, and other ways to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env.evaluation.stopping_rules import Rule, choose_rule
from glimpse_env.evaluation.trajectories import Trajectories

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98)
THRESHOLDS += (0.985, 0.99, 0.993, 0.995, 0.997, 0.998, 0.999)


def summarize(
    trajectories: Trajectories, dynamic: bool, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, Any]:
    """Return the measures of a result row; `dynamic` = stop by the stop head, else after the last glimpse."""
    stops = choose_rule(dynamic).find_stops(trajectories)
    accuracy, glimpses = trajectories.score_at(stops)
    curve = []
    for threshold in thresholds:
        correct, spent = trajectories.score_at(Rule("confidence", threshold).find_stops(trajectories))
        curve.append({"threshold": threshold, "mean_glimpses": spent, "accuracy": correct})
    return {
        "images": len(stops),
        "accuracy": accuracy,
        "mean_glimpses": glimpses,
        "random_stop_accuracy": score_random_stop(trajectories, stops).mean().item(),
        "glimpse_histogram": torch.bincount(stops, minlength=len(trajectories.predictions)).tolist(),
        "per_step_accuracy": trajectories.correct.float().mean(1).tolist(),
        "threshold_curve": curve,
    }


def score_random_stop(trajectories: Trajectories, stops: Int64[Tensor, " image"]) -> Float[Tensor, " image"]:
    """Return the probability that each image's prediction is correct if steps are assigned at random.

    It stops at random with the same mean number of glimpses: a stopping rule must be better to be useful.
    """
    shares = torch.bincount(stops, minlength=len(trajectories.predictions)) / len(stops)
    return (shares[:, None] * trajectories.correct).sum(0)
