"""Accuracy over images and its mean over classes, of the agent's own stops, fixed numbers and thresholds."""

import pytest
import torch

from glimpse_env.evaluation import metrics
from glimpse_env.evaluation.trajectories import Trajectories


def build_looks():
    """Return two glimpses of four images: three of class 0, one of class 2; class 1 has none."""
    labels = torch.tensor([0, 0, 0, 2])
    predictions = torch.tensor([[0, 0, 1, 0], [0, 1, 1, 2]])  # correct: [1 1 0 0], [1 0 0 1]
    confidence = torch.tensor([[0.99, 0.4, 0.6, 0.4], [0.9, 0.9, 0.9, 0.9]])
    stop = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    return Trajectories(torch.arange(4), labels, predictions, confidence, stop, torch.zeros(2, 4, 2))


def test_mean_class_accuracy_weighs_classes_alike():
    measures = metrics.measure_accuracy(torch.tensor([True, True, True, False]), torch.tensor([0, 0, 0, 2]))
    assert measures == {"accuracy": 0.75, "mean_class_accuracy": 0.5}


def test_every_accuracy_of_a_row_has_its_mean_over_classes():
    row = metrics.summarize(build_looks(), dynamic=True, thresholds=(0.5,))
    assert (row["accuracy"], row["mean_class_accuracy"]) == (0.5, pytest.approx((1 / 3 + 1) / 2))
    assert row["mean_glimpses"] == 1.75
    assert row["per_step_accuracy"] == [0.5, 0.5]
    assert row["per_step_mean_class_accuracy"] == pytest.approx([1 / 3, 2 / 3])
    # one image in four stops at the first glimpse: image by image 1, 1/4, 0 and 3/4
    assert row["random_stop_accuracy"] == pytest.approx(0.5)
    assert row["random_stop_mean_class_accuracy"] == pytest.approx((1.25 / 3 + 0.75) / 2)
    [point] = row["threshold_curve"]  # the first and the third image stop at once
    assert point == {
        "threshold": 0.5,
        "accuracy": 0.5,
        "mean_class_accuracy": pytest.approx((1 / 3 + 1) / 2),
        "mean_glimpses": 1.5,
    }
