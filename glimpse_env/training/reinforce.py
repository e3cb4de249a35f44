"""REINFORCE for locations and stopping, as pure functions of (time, env) tensors.

Means are over unmasked entries. Counts that a mean divides by, and the rows that an advantage is compared
with, are those of all processes that train together, so that their averaged gradients are the batch's.

References: Williams 1992 (REINFORCE); Mnih et al. 2014 (RAM); Li et al. 2017 (DT-RAM, Eq. 5-8); Kool et al.
2019 (leave-one-out baseline).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from glimpse_env import rewards
from glimpse_env.runtime import distributed

if TYPE_CHECKING:
    from glimpse_env.training.rollout import Rollout

Baseline = Literal["regression", "learned"]
Scalar = Float[Tensor, ""]
Batch = Float[Tensor, "*batch"]
Decisions = Float[Tensor, "decision env"]
Steps = Float[Tensor, "time env"]
Mask = Bool[Tensor, "time env"]


def returns_to_go(rewards: Steps, discount: float = 1.0) -> Steps:
    """Return the sum of rewards from each step on, each discounted by its distance in steps.

    The papers' discounts are part of the rewards (discount 1 here); a smaller one favours the next rewards.
    """
    if discount == 1:
        return rewards.flip(0).cumsum(0).flip(0)
    returns = [rewards[-1]]
    for reward in reversed(rewards[:-1].unbind()):
        returns.append(reward + discount * returns[-1])
    return torch.stack(returns[::-1])


def leave_one_out(returns: Steps, samples: int) -> Steps:
    """Return each return minus the mean of the image's other samples (Kool et al. 2019), unbiased.

    Rows i * samples ... (i + 1) * samples - 1 are the samples of image i. Raises a ValueError for fewer than
    two.
    """
    if samples < 2:
        needed = "leave-one-out needs at least 2 samples an image"
        raise ValueError(f"samples={samples}: {needed}; use the learned baseline for 1")
    grouped = returns.unflatten(1, (-1, samples))
    return ((grouped - grouped.mean(2, keepdim=True)) * (samples / (samples - 1))).flatten(1)


def mean_of_others(returns: Float[Tensor, " env"]) -> Float[Tensor, " env"]:
    """Return each return minus the mean of all other rows; 0 for a row alone."""
    return (returns - returns.mean()) * (len(returns) / max(len(returns) - 1, 1))


def regression_residual(returns: Steps, known: Steps, counted: Mask) -> Steps:
    """Return each return minus a linear prediction from `known`, fitted to the other rows at every step.

    A baseline without a network for one trajectory an image: unbiased, since `known` was known before the
    action was drawn and the line of a row is fitted without that row (the residual of a regression divided by
    1 - leverage is exactly that). 0 where not `counted`, and at steps with fewer than three rows.
    """
    weight = counted.to(returns.dtype)
    count = weight.sum(1, keepdim=True)
    n = count.clamp(min=1.0)
    x, y = (values - (weight * values).sum(1, keepdim=True) / n for values in (known, returns))
    spread, product = ((weight * x * values).sum(1, keepdim=True) for values in (x, y))
    fits = spread > 1e-6 * n
    slope = torch.where(fits, product / spread.clamp(min=1e-12), 0.0)
    leverage = 1 / n + torch.where(fits, x * x / spread.clamp(min=1e-12), 0.0)
    others = (1 - leverage).clamp(min=1e-3)  # a row that determines its line alone has none to compare with
    return ((y - slope * x) / others).masked_fill(~counted | (count < 3), 0.0)


def policy_loss(log_prob: Steps, advantage: Steps, active: Mask) -> Scalar:
    """Return a loss with the gradient -E[advantage * grad log pi] over active steps (DT-RAM, Eq. 6)."""
    return -(log_prob * advantage.detach()).masked_fill(~active, 0.0).sum(0).mean()


def supervision_loss(
    logits: Float[Tensor, "time env class"],
    labels: Int64[Tensor, " env"],
    active: Mask,
    every_step: bool,
    smoothing: float = 0.0,
) -> Scalar:
    """Return the cross-entropy of every active step (DT-RAM, Eq. 8), or of the last one alone.

    `smoothing` is the share of the target that is spread over all classes. The mean is over all (step, row)
    pairs that count, so that late and early stops weigh a step alike.
    """
    time, rows = active.shape
    counted = active if every_step else active & ~F.pad(active[1:], (0, 0, 0, 1))
    flat, targets = logits.flatten(0, 1), labels.repeat(time)
    losses = F.cross_entropy(flat, targets, reduction="none", label_smoothing=smoothing).view(time, rows)
    return losses.masked_fill(~counted, 0.0).sum() / distributed.average(counted.sum())


def stopping_probabilities(stop_logits: Steps) -> Steps:
    """Return P(stop at t) = sigma_t * prod_{s<t} (1 - sigma_s), the last sigma being 1; columns sum to 1."""
    continued = F.logsigmoid(-stop_logits[:-1]).cumsum(0)
    reached = F.pad(continued, (0, 0, 1, 0))  # log of the probability that step t is reached
    stop = torch.cat((F.logsigmoid(stop_logits[:-1]), torch.zeros_like(stop_logits[:1])))
    return (reached + stop).exp()


def exact_stop_loss(stop_logits: Steps, returns: Steps) -> Scalar:
    """Return minus the expected return over all stopping times, - sum_t P(stop at t) * returns_t.

    `returns_t` is the return of stopping at t, gamma^t * [correct_t] for DT-RAM; the mean is over rows.
    Stopping does not change the trajectory before it, so the sum is exact where the paper samples: the
    sampled gradient's expectation without its variance.
    """
    return -(stopping_probabilities(stop_logits) * returns.detach()).sum(0).mean()


def bernoulli_log_prob(logits: Batch, taken: Bool[Tensor, "*batch"]) -> Batch:
    """Return the log-probability of a stop decision."""
    return -F.binary_cross_entropy_with_logits(logits, taken.to(logits.dtype), reduction="none")


def baseline_loss(baseline: Steps, returns: Steps, active: Mask) -> Scalar:
    """Return the mean squared error of the learned baseline over active steps."""
    squared = (baseline - returns.detach()).square().masked_fill(~active, 0.0)
    return squared.sum() / distributed.average(active.sum())


class Advantages(NamedTuple):
    """How much better the sampled actions were than expected before they were drawn."""

    first: Float[Tensor, " env"]  # of the learned location of glimpse 1
    stop: Decisions  # of the decision to stop or not after glimpse 1, 2, ... (none after the last)
    location: Decisions  # of the location chosen after glimpse 1, 2, ...


def advantages(rollout: Rollout, samples: int, baseline: Baseline, discount: float) -> Advantages:
    """Return the advantages of a rollout's actions.

    The location chosen after glimpse t is credited with the return from glimpse t + 1 on, the stop decision
    at t with the return that includes the prediction at t. The baseline of both belongs to the state after
    glimpse t, which chose: that of the state after glimpse t + 1, which the chosen location shaped, would
    explain its reward away.

    Args:
        rollout: The collected episodes.
        samples: Trajectories per image. With 2 or more, the baseline is the mean of the image's other
            trajectories.
        baseline: With one trajectory per image: the network's head ("learned"), or a line through the other
            images' returns against the current probability of the label ("regression"). The learned location
            of glimpse 1 is compared with the mean of the other rows: nothing is known of the image before it.
        discount: Discount per glimpse of the rewards that are credited to locations.
    """
    returns, credited = (returns_to_go(rollout.rewards, gamma) for gamma in (1.0, discount))
    if samples > 1:
        stop, location = (leave_one_out(each, samples) for each in (returns, credited))
        return Advantages(location[0], stop[:-1], location[1:])
    if baseline == "learned":
        expected = rollout.baseline[:-1].detach()
        first = distributed.part(mean_of_others(distributed.gather_rows(credited[0])))
        return Advantages(first, returns[:-1] - expected, credited[1:] - expected)
    columns = (returns, credited, (-rollout.loss).exp(), rollout.active, rollout.stopped)
    rows = distributed.gather_rows(torch.stack([column.to(returns.dtype) for column in columns]))
    returns, credited, known, active, stopped = rows  # of all processes
    running, going_on = active[:-1].bool(), ((active - stopped)[:-1] > 0)
    first = mean_of_others(credited[0])
    stop = regression_residual(returns[:-1], known[:-1], running)
    location = regression_residual(credited[1:], known[:-1], going_on)
    return Advantages(*(distributed.part(each, dim=-1) for each in (first, stop, location)))


def return_after_decision(rollout: Rollout, discount: float) -> Decisions:
    """Return a learned baseline's target: a stopping row's reward, else its return from then on."""
    later = returns_to_go(rollout.rewards, discount)[1:]
    return torch.where(rollout.stopped[:-1], rollout.rewards[:-1], later)


def discounted_correctness(correct: Mask, gamma: float) -> Steps:
    """Return gamma^t * [correct_t]: the delayed reward of stopping at each step."""
    glimpses = torch.arange(1, len(correct) + 1, device=correct.device)
    return rewards.discount_correct(gamma, correct, glimpses[:, None])
