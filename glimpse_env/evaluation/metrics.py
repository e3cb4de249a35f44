"""The measures of a result row from trajectories: accuracies, mean glimpses, and other ways to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env.evaluation.stopping_rules import Rule, choose_rule
from glimpse_env.evaluation.trajectories import Trajectories

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98)
THRESHOLDS += (0.985, 0.99, 0.993, 0.995, 0.997, 0.998, 0.999)
Correct = (
    Bool[Tensor, " image"] | Float[Tensor, " image"]
)  # whether, or how probably, it is predicted correctly


def summarize(
    trajectories: Trajectories, dynamic: bool, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, Any]:
    """Return the measures of a result row; `dynamic` = stop by the stop head, else after the last glimpse."""
    labels, stops = trajectories.labels, choose_rule(dynamic).find_stops(trajectories)
    random = score_random_stop(trajectories, stops)
    curve = []
    for threshold in thresholds:
        rule = Rule("confidence", threshold).find_stops(trajectories)
        curve.append({"threshold": threshold} | measure_stops(trajectories, rule))
    return {
        "images": len(stops),
        **measure_stops(trajectories, stops),
        "random_stop_accuracy": random.mean().item(),
        "random_stop_mean_class_accuracy": average_classes(random, labels),
        "glimpse_histogram": torch.bincount(stops, minlength=len(trajectories.predictions)).tolist(),
        "per_step_accuracy": trajectories.correct.float().mean(1).tolist(),
        "per_step_mean_class_accuracy": [average_classes(step, labels) for step in trajectories.correct],
        "threshold_curve": curve,
        **({} if trajectories.scales is None else {"per_step_scale": trajectories.scales.mean(1).tolist()}),
    }


def measure_stops(trajectories: Trajectories, stops: Int64[Tensor, " image"]) -> dict[str, float]:
    """Return the accuracies and mean glimpses of predicting at these steps (from 0)."""
    accuracies = measure_accuracy(trajectories.correct_at(stops), trajectories.labels)
    return accuracies | {"mean_glimpses": (stops + 1).float().mean().item()}


def measure_accuracy(correct: Bool[Tensor, " image"], labels: Int64[Tensor, " image"]) -> dict[str, float]:
    """Return the accuracy over images, and the mean over classes of the accuracy within a class."""
    mean_class_accuracy = average_classes(correct, labels)
    return {"accuracy": correct.float().mean().item(), "mean_class_accuracy": mean_class_accuracy}


def average_classes(correct: Correct, labels: Int64[Tensor, " image"]) -> float:
    """Return the mean over classes of the mean within a class; classes without images do not count."""
    counts = torch.bincount(labels)
    return (torch.bincount(labels, correct.float())[counts > 0] / counts[counts > 0]).mean().item()


def score_random_stop(trajectories: Trajectories, stops: Int64[Tensor, " image"]) -> Float[Tensor, " image"]:
    """Return the probability that each image's prediction is correct if steps are assigned at random.

    It stops at random with the same mean number of glimpses: a stopping rule must be better to be useful.
    """
    shares = torch.bincount(stops, minlength=len(trajectories.predictions)) / len(stops)
    return (shares[:, None] * trajectories.correct).sum(0)
