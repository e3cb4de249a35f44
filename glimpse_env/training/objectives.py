"""What each stage of training minimises, from the pure losses of `reinforce`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env.training import reinforce
from glimpse_env.training.rollout import Rollout
from glimpse_env.training.trainer import Losses, Measures

BASELINE_WEIGHT = 1.0
Baseline = Literal["regression", "learned"]


class Advantages(NamedTuple):
    """How much better than expected the sampled actions were; each expectation was formed before its action was drawn."""

    first: Float[Tensor, " env"]  # of the learned place of glimpse 1
    stop: Float[Tensor, "decision env"]  # of the decision to stop or not after glimpse 1, 2, ... (none after the last)
    location: Float[Tensor, "decision env"]  # of the place chosen after glimpse 1, 2, ...


def advantages(rollout: Rollout, samples: int, baseline: Baseline, discount: float) -> Advantages:
    """Return the advantages of a rollout's actions.

    The place chosen after glimpse t is compared on the return from glimpse t + 1 on, the stop decision at t on the return that includes
    the answer at t. The baseline of both is one of the state after glimpse t, which chose: the state after glimpse t + 1 has seen the
    chosen place, so a baseline of it would explain the reward of the choice away.

    Args:
        rollout: What happened.
        samples: Trajectories an image. From 2 on, the baseline is the mean of the image's other trajectories.
        baseline: That of one trajectory an image: the network's head ("learned"), or a line through the other images' returns against
            the present probability of the label ("regression"). The learned place of glimpse 1 is compared with the mean of the other
            rows: nothing is known of the image before it.
        discount: Of later rewards, a glimpse, for places.
    """
    returns, credited = (reinforce.returns_to_go(rollout.rewards, gamma) for gamma in (1.0, discount))
    if samples > 1:
        stop, location = (reinforce.leave_one_out(each, samples) for each in (returns, credited))
        return Advantages(location[0], stop[:-1], location[1:])
    first = reinforce.mean_of_others(credited[0])
    if baseline == "learned":
        expected = rollout.baseline[:-1].detach()
        return Advantages(first, returns[:-1] - expected, credited[1:] - expected)
    known, running = (-rollout.loss[:-1]).exp(), rollout.active[:-1]
    stop = reinforce.regression_residual(returns[:-1], known, running)
    location = reinforce.regression_residual(credited[1:], known, running & ~rollout.stopped[:-1])
    return Advantages(first, stop, location)


def after_decision(rollout: Rollout, discount: float) -> Float[Tensor, "decision env"]:
    """Return what a learned baseline predicts: the return after each decision.

    That is the reward of the answer where the decision was to stop, else the return from the next glimpse on.
    """
    later = reinforce.returns_to_go(rollout.rewards, discount)[1:]
    return torch.where(rollout.stopped[:-1], rollout.rewards[:-1], later)


def looking(
    samples: int,
    supervision: bool,
    policy_weight: float,
    decide: bool = False,
    smoothing: float = 0.0,
    baseline: Baseline = "learned",
    discount: float = 1.0,
) -> Callable[[Rollout], Losses]:
    """Return the losses of a RAM, or with `decide` of a DT-RAM whose stop decisions were sampled (DT-RAM, Eq. 5-8).

    Args:
        samples: Trajectories per image (see `advantages`).
        supervision: Cross-entropy at every step, or at the last alone.
        policy_weight: Weight of the policy's loss beside the cross-entropy.
        decide: Train the stop head by the same sampled returns.
        smoothing: Label smoothing of the cross-entropy.
        baseline: The baseline of one trajectory an image (see `advantages`).
        discount: Of later rewards, a glimpse, for places.
    """

    def losses(rollout: Rollout) -> Losses:
        advantage = advantages(rollout, samples, baseline, discount)
        running, moved = rollout.active[:-1], (rollout.active & ~rollout.stopped)[:-1]
        policy = reinforce.policy_loss(rollout.location_log_prob[:-1], advantage.location, moved)
        policy = policy - (rollout.first_log_prob * advantage.first).mean()
        if decide:
            chosen = reinforce.bernoulli_log_prob(rollout.stop_logits[:-1], rollout.stopped[:-1])
            policy = policy + reinforce.policy_loss(chosen, advantage.stop, running)
        found = {
            "classification": reinforce.supervision_loss(rollout.logits, rollout.labels, rollout.active, supervision, smoothing),
            "policy": policy_weight * policy,
        }
        if samples == 1 and baseline == "learned" and len(rollout.rewards) > 1:
            target = after_decision(rollout, discount)
            found["baseline"] = BASELINE_WEIGHT * reinforce.baseline_loss(rollout.baseline[:-1], target, running)
        return found

    return losses


def worth(rollout: Rollout, gamma: float) -> Float[Tensor, "time env"]:
    """Return gamma^t * [correct_t]: the delayed reward of answering at each step."""
    steps = torch.arange(1, len(rollout.correct) + 1, device=rollout.correct.device)
    return torch.pow(gamma, steps)[:, None] * rollout.correct


def stopping(gamma: float) -> Callable[[Rollout], Losses]:
    """Return the exact loss of the stop head on trajectories that ran to the horizon."""

    def losses(rollout: Rollout) -> Losses:
        return {"stop": reinforce.exact_stop_loss(rollout.stop_logits, worth(rollout, gamma))}

    return losses


def happened(rollout: Rollout) -> Measures:
    """Return what the sampled episodes earned."""
    return {
        "reward": rollout.rewards.sum(0).mean(),
        "train_accuracy": (rollout.correct & rollout.stopped).any(0).float().mean(),
        "mean_glimpses": rollout.active.float().sum(0).mean(),
    }


def expected(gamma: float) -> Callable[[Rollout], Measures]:
    """Return measures that weigh every stopping time with its probability."""

    def measures(rollout: Rollout) -> Measures:
        chance = reinforce.stopping_probabilities(rollout.stop_logits)
        taken = torch.arange(1, len(chance) + 1, device=chance.device)[:, None]
        return {
            "reward": (chance * worth(rollout, gamma)).sum(0).mean(),
            "train_accuracy": (chance * rollout.correct).sum(0).mean(),
            "mean_glimpses": (chance * taken).sum(0).mean(),
        }

    return measures


def growing(steps: int, curriculum: float) -> Callable[[float], int]:
    """Return the number of glimpses at each share of a stage: one more at a time up to `steps` (curriculum, DT-RAM section 3.4)."""

    def at(share: float) -> int:
        return steps if share >= curriculum else min(steps, 1 + int(share / curriculum * steps))

    return at
