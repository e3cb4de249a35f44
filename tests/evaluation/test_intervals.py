"""Intervals by hand, and how they are written."""

import pytest
import torch
from scipy import stats

from glimpse_env.evaluation import intervals


def test_the_interval_of_a_mean_is_students():
    for values in ([1.0, 3.0], [1.0, 2.0, 3.0], [0.1 * n**2 for n in range(15)]):
        low, high = stats.t.interval(0.95, len(values) - 1, sum(values) / len(values), stats.sem(values))
        assert 2 * intervals.compute_half_width(values) == pytest.approx(high - low)
    assert intervals.format_mean([1.0, 3.0]) == "2.00 +- 12.71"
    assert intervals.format_mean([1.0]) == "1.00"


def test_the_interval_of_an_accuracy_is_wilsons():
    low, high = stats.binomtest(98, 100).proportion_ci(method="wilson")
    assert 2 * intervals.compute_wilson_half_width(0.98, 100) == pytest.approx(high - low, rel=1e-4)


def test_a_difference_is_written_with_signs():
    assert intervals.format_interval((1.23, 0.31, 2.12)) == "+1.2 [+0.3, +2.1]"
    assert intervals.format_interval((-0.5, -1.0, 0.0), 2) == "-0.50 [-1.00, +0.00]"


def test_the_bootstrap_covers_the_mean():
    mean, low, high = intervals.bootstrap_over_images(torch.tensor([0.0, 1.0]).repeat(200))
    assert mean == 0.5
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)
    assert low < mean < high


def test_over_networks_the_interval_has_their_spread():
    generator = torch.Generator().manual_seed(1)
    first = [torch.rand(3, 400, generator=generator).round() for _ in range(2)]
    mean, low, high = intervals.compare_networks(first, [torch.zeros(3, 400)] * 2)
    assert mean == pytest.approx(100 * torch.cat(first).mean().item(), abs=1e-3)
    alike = intervals.compare_paired(torch.cat(first), torch.zeros(6, 400))
    assert low < mean < high
    apart = intervals.compare_networks([torch.ones(3, 400), torch.zeros(3, 400)], [torch.zeros(3, 400)] * 2)
    assert apart == pytest.approx((50, 0, 100))  # whichever of the two networks is drawn
    assert high - low > alike[2] - alike[1]
    assert intervals.compare_networks(first, first) == (0, 0, 0)
