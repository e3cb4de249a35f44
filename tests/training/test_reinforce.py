"""The losses against hand-computed values, masks and their own expectations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glimpse_env.networks.location_policy import Gaussian
from glimpse_env.training import reinforce


def test_returns_to_go_of_two_rows():
    rewards = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 3.0]])
    assert reinforce.returns_to_go(rewards).tolist() == [[7, 3], [6, 3], [4, 3]]


def test_leave_one_out_subtracts_the_other_samples():
    returns = torch.tensor([[1.0, 3.0, 10.0, 10.0]])  # two images, two samples each
    assert reinforce.leave_one_out(returns, 2).tolist() == [[-2, 2, 0, 0]]
    with pytest.raises(ValueError, match="samples=1"):
        reinforce.leave_one_out(returns, 1)


def test_policy_loss_by_hand_and_masked_steps_get_no_gradient():
    log_prob = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]], requires_grad=True)
    advantage = torch.tensor([[1.0, 2.0, 0.5], [1.0, 1.0, 1.0]])
    active = torch.tensor([[True, True, True], [True, False, False]])
    loss = reinforce.policy_loss(log_prob, advantage, active)
    assert loss.item() == pytest.approx((1 + 4 + 1.5 + 4) / 3)
    loss.backward()
    assert torch.allclose(log_prob.grad, -(advantage * active) / 3)


def test_supervision_at_every_step_or_the_last():
    logits = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[math.log(3.0), 0.0], [5.0, 0.0]]], requires_grad=True)
    labels, active = torch.tensor([0, 1]), torch.tensor([[True, True], [True, False]])
    every = reinforce.supervision_loss(logits, labels, active, every_step=True)
    assert every.item() == pytest.approx((2 * math.log(2) + math.log(4 / 3)) / 3, rel=1e-5)
    last = reinforce.supervision_loss(logits, labels, active, every_step=False)
    assert last.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-5)
    every.backward()
    assert logits.grad[1, 1].abs().max() == 0  # the row had stopped


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=6))
def test_stopping_probabilities_sum_to_one(logits):
    chance = reinforce.stopping_probabilities(torch.tensor(logits)[:, None])
    assert chance.sum().item() == pytest.approx(1, abs=1e-5)
    stop = [torch.tensor(logit).sigmoid().item() for logit in logits[:-1]] + [1.0]
    assert chance[-1].item() == pytest.approx(math.prod(1 - p for p in stop[:-1]), abs=1e-5)


def test_exact_gradient_of_a_two_step_toy_is_analytic():
    # Stop at once for `a`, or go on and get `b`: J = s a + (1 - s) b, dJ/dz = s (1 - s) (a - b).
    logits = torch.tensor([[0.3], [0.0]], requires_grad=True)
    worth = torch.tensor([[0.2], [0.9]])
    reinforce.exact_stop_loss(logits, worth).backward()
    s = torch.tensor(0.3).sigmoid()
    assert logits.grad[0, 0].item() == pytest.approx(-(s * (1 - s) * (0.2 - 0.9)).item(), rel=1e-5)
    assert logits.grad[1, 0] == 0  # the last step is no decision


def test_sampled_stop_gradient_approaches_the_exact_one():
    torch.manual_seed(0)
    worth = torch.tensor([0.3, 0.9, 0.5, 0.8])
    logits = torch.tensor([-0.5, 0.2, -0.3, 0.0])
    exact = logits[:, None].clone().requires_grad_()
    reinforce.exact_stop_loss(exact, worth[:, None]).backward()
    rows = 200_000
    sampled = logits[:, None].clone().requires_grad_()
    wide = sampled.expand(4, rows)
    stop = torch.rand(4, rows) < wide.detach().sigmoid()
    stop[-1] = True
    active = torch.cat((torch.ones(1, rows, dtype=torch.bool), (~stop).cumprod(0).bool()[:-1]))
    returns = ((stop & active) * worth[:, None]).sum(0).expand(4, rows)
    log_prob = reinforce.bernoulli_log_prob(wide[:-1], stop[:-1])
    reinforce.policy_loss(log_prob, returns[:-1], active[:-1]).backward()
    assert torch.allclose(sampled.grad, exact.grad, atol=3e-3)


def test_leave_one_out_leaves_the_expected_gradient_unchanged():
    torch.manual_seed(0)
    mean = torch.zeros(1, 400_000, 2, requires_grad=True)
    sample = torch.randn(1, 400_000, 2) * 0.5
    reward = 5 + sample[..., 0]  # d E[reward] / d mean = (1, 0)
    advantage = reinforce.leave_one_out(reward, 4)
    reinforce.policy_loss(
        Gaussian(0.5).log_prob(mean, sample), advantage, torch.ones(1, 400_000, dtype=torch.bool)
    ).backward()
    assert torch.allclose(-mean.grad.sum((0, 1)), torch.tensor([1.0, 0.0]), atol=0.02)


def test_baseline_loss_counts_active_steps_only():
    baseline, returns = torch.tensor([[1.0, 9.0]]), torch.tensor([[3.0, 0.0]])
    assert reinforce.baseline_loss(baseline, returns, torch.tensor([[True, False]])).item() == 4
