"""What each stage of training minimises, from the pure losses of `reinforce`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env.learning import reinforce
from glimpse_env.learning.rollout import Rollout
from glimpse_env.learning.training import Losses, Measures

BASELINE_WEIGHT = 1.0


def looking(
    samples: int, supervision: bool, policy_weight: float, decide: bool = False, smoothing: float = 0.0
) -> Callable[[Rollout], Losses]:
    """Return the losses of a RAM, or with `decide` of a DT-RAM whose stop decisions were sampled (DT-RAM, Eq. 5-8).

    Args:
        samples: Trajectories per image; from 2 on their leave-one-out mean is the baseline, 1 uses the learned one.
        supervision: Cross-entropy at every step, or at the last alone.
        policy_weight: Weight of the policy's loss beside the cross-entropy.
        decide: Train the stop head by the same sampled returns.
        smoothing: Label smoothing of the cross-entropy.
    """

    def losses(rollout: Rollout) -> Losses:
        returns = reinforce.returns_to_go(rollout.rewards)
        advantage = reinforce.leave_one_out(returns, samples) if samples > 1 else returns - rollout.baseline.detach()
        # The place chosen after glimpse t is paid for by what comes later; the stop decision at t by the answer at t too.
        log_prob, later = rollout.location_log_prob[:-1], advantage[1:]
        moved = (rollout.active & ~rollout.stopped)[:-1]
        policy = reinforce.policy_loss(log_prob, later, moved)
        policy = policy - (rollout.first_log_prob * advantage[0]).mean()
        if decide:
            chosen = reinforce.bernoulli_log_prob(rollout.stop_logits[:-1], rollout.stopped[:-1])
            policy = policy + reinforce.policy_loss(chosen, advantage[:-1], rollout.active[:-1])
        found = {
            "classification": reinforce.supervision_loss(rollout.logits, rollout.labels, rollout.active, supervision, smoothing),
            "policy": policy_weight * policy,
        }
        if samples == 1:
            found["baseline"] = BASELINE_WEIGHT * reinforce.baseline_loss(rollout.baseline, returns, rollout.active)
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
