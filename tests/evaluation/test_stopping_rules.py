"""Stopping rules on hand-made trajectories, and the files of trajectories."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glimpse_env.evaluation import metrics, stopping_rules
from glimpse_env.evaluation.stopping_rules import (
    HORIZON,
    LEARNED,
    Rule,
    compute_mean_glimpses,
    mix_thresholds,
)
from glimpse_env.evaluation.trajectories import Trajectories
from tests.conftest import four_trajectories


def test_the_rule_mixes_neighbouring_thresholds():
    found = four_trajectories()

    def rule(glimpses: float) -> list[float]:
        return stopping_rules.score_mixture(found, mix_thresholds(found, glimpses)).tolist()

    assert rule(1.5) == [1, 0, 1, 0]  # the two sure ones stop at once, one of them incorrect
    assert rule(2.0) == [1, 1, 1, 0]
    assert rule(1.75) == [1, 0.5, 1, 0]
    assert rule(1.25) == [1, 0, 0.5, 0]
    assert rule(1.0) == [1, 0, 0, 0]


def test_the_rule_spends_its_budget_and_no_threshold_is_better():
    """On noise every confidence is another threshold; the rule's curve goes through all of their points."""
    torch.manual_seed(0)
    predictions = torch.randint(0, 2, (5, 200))
    noise = {"stop": torch.zeros(5, 200), "locations": torch.zeros(5, 200, 2)}
    labels = torch.zeros(200, dtype=torch.int64)
    found = Trajectories(torch.arange(200), labels, predictions, torch.rand(5, 200), **noise)
    for glimpses in (1.0, 1.37, 3.0, 4.999, 5.0):
        mixture = mix_thresholds(found, glimpses)
        (low_share, low), (high_share, high) = (
            (share, compute_mean_glimpses(stops)) for share, stops in mixture
        )
        assert low_share * low + high_share * high == pytest.approx(glimpses)
        assert high - low <= 4 / 200 + 1e-9  # one image stops later
    for threshold in (0.2, 0.5, 0.9):
        stops = Rule("confidence", threshold).find_stops(found)
        mixture = mix_thresholds(found, compute_mean_glimpses(stops))
        accuracy = stopping_rules.score_mixture(found, mixture).mean().item()
        assert accuracy == pytest.approx(found.score_at(stops)[0], abs=1 / 200)


def test_random_stop_is_the_mean_of_shuffled_stops():
    found, generator = four_trajectories(), torch.Generator().manual_seed(0)
    stops = torch.tensor([0, 1, 1, 1])
    draws = [found.score_at(stops[torch.randperm(4, generator=generator)])[0] for _ in range(2000)]
    assert metrics.score_random_stop(found, stops).mean().item() == pytest.approx(sum(draws) / 2000, abs=0.02)
    assert metrics.summarize(found, dynamic=False)["random_stop_accuracy"] == 0.75
    for glimpses, scores in ((1, [1, 0, 0, 0]), (1.5, [1, 0.5, 0.5, 0]), (2, [1, 1, 1, 0])):
        mixture = stopping_rules.mix_fixed_numbers(found, glimpses)
        assert stopping_rules.score_mixture(found, mixture).tolist() == scores


def sure(confidence):
    scores = torch.tensor(confidence)
    zeros = torch.zeros(scores.shape[1], dtype=torch.int64)
    locations = torch.zeros(*scores.shape, 2)
    return Trajectories(zeros, zeros, torch.zeros_like(scores).long(), scores, 1 - scores, locations)


def test_the_threshold_of_a_budget_by_hand():
    low, high = ([first + 0.001 * image for image in range(100)] for first in (0.1, 0.5))
    rising = sure([low, high, [1.0] * 100])
    choose_rule_for_budget = stopping_rules.choose_rule_for_budget
    for budget in (1.0, 1.37, 2.0, 2.5, 3.0):
        rule = choose_rule_for_budget(rising, False, budget)
        assert rule.expected == pytest.approx(budget, abs=0.011)
        spent = stopping_rules.find_first(rising.confidence > rule.threshold).float().mean().item() + 1
        assert spent == pytest.approx(rule.expected)
    assert choose_rule_for_budget(rising, True, 1.0).by == "stop head"
    tied = sure([[0.5] * 100, [1.0] * 100, [1.0] * 100])
    message = (
        r"--budget 2.6: no threshold gives this mean; there are thresholds for 1.00 to 2.00 and for 3.00"
    )
    with pytest.raises(ValueError, match=message + " to 3.00"):
        choose_rule_for_budget(tied, False, 2.6)


def test_the_learned_rule_stops_at_one_half():
    rule, stop = stopping_rules.choose_rule(True), torch.tensor([0.5, 0.49999994])
    assert (stop > rule.threshold).tolist() == (stop >= 0.5).tolist()
    assert str(HORIZON) == "stops after the last glimpse"


def test_threshold_rule_by_hand():
    trajectories = Trajectories(
        index=torch.arange(2),
        labels=torch.tensor([1, 2]),
        predictions=torch.tensor([[1, 0], [1, 2], [0, 2]]),
        confidence=torch.tensor([[0.6, 0.4], [0.9, 0.5], [1.0, 0.6]]),
        stop=torch.tensor([[0.1, 0.2], [0.6, 0.1], [0.0, 0.0]]),
        locations=torch.zeros(3, 2, 2),
    )
    assert Rule("confidence", 0.5).find_stops(trajectories).tolist() == [0, 2]
    assert Rule("confidence", 0.95).find_stops(trajectories).tolist() == [2, 2]
    assert LEARNED.find_stops(trajectories).tolist() == [1, 2]
    row = metrics.summarize(trajectories, dynamic=True, thresholds=(0.5,))
    assert (row["accuracy"], row["mean_glimpses"]) == (1.0, 2.5)
    accuracies = {"accuracy": 1.0, "mean_class_accuracy": 1.0}
    assert row["threshold_curve"] == [{"threshold": 0.5, "mean_glimpses": 2.0, **accuracies}]
    assert row["per_step_accuracy"] == [0.5, 1.0, 0.5]
    assert metrics.summarize(trajectories, dynamic=False)["mean_glimpses"] == 3


def test_files_hold_all_but_the_probabilities_and_those_of_the_first_version_are_read(tmp_path):
    saved = replace(four_trajectories(), probabilities=torch.rand(2, 4, 3).half(), scales=torch.rand(2, 4))
    saved.save(tmp_path / "looks.npz")
    read = Trajectories.load(tmp_path / "looks.npz")
    assert read.probabilities is None
    for name in vars(saved).keys() - {"probabilities"}:
        assert torch.equal(getattr(read, name), getattr(saved, name))
    arrays = dict(np.load(tmp_path / "looks.npz"))
    np.savez(tmp_path / "first.npz", answers=arrays.pop("predictions"), **arrays)
    assert torch.equal(Trajectories.load(tmp_path / "first.npz").predictions, saved.predictions)
