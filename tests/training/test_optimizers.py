"""Learning rates over a training, and the limit of the gradient's norm."""

import pytest
from torch import nn

from glimpse_env.training.optimizers import ScheduledDescent, build_optimizer, warm_up_and_decay


def test_steps_divide_the_rate_by_ten_after_each_third():
    """DT-RAM: 90 epochs, a tenth after every 30."""
    rates = [warm_up_and_decay(epoch / 90, 9000, 0, "step") for epoch in (0, 29.9, 30, 59.9, 60, 89.9)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_without_warm_up_the_first_rate_is_the_peak():
    assert warm_up_and_decay(0.0, 9000, 0) == 1
    assert warm_up_and_decay(0.0, 9000) == pytest.approx(1 / 200)
    assert warm_up_and_decay(0.0, 9000, 50) == pytest.approx(1 / 50)


@pytest.mark.parametrize(("clip", "expected"), [(0.0, 30.0), (5.0, 5.0), (100.0, 30.0)])
def test_the_gradient_is_shortened_to_the_limit(clip, expected):
    network = nn.Linear(1, 1, bias=False)
    optimizer = build_optimizer(
        network, ScheduledDescent(optimizer="sgd", learning_rate=0.1, max_grad_norm=clip)
    )
    optimizer.update({"loss": 30 * network.weight.sum()}, 1.0)
    assert network.weight.grad.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_every_optimiser_has_the_limit(name):
    assert build_optimizer(nn.Linear(2, 2), ScheduledDescent(optimizer=name, max_grad_norm=0.0)).clip is None
    assert build_optimizer(nn.Linear(2, 2), ScheduledDescent(optimizer=name)).clip == 5.0
