"""Rewards: callables from a transition to one number per row. A user's own callable plugs in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Transition:
    """One step of every row, as a reward sees it. Rows that had already ended are present; the core zeroes their reward."""

    glimpses: Int64[Tensor, " env"]  # t, glimpses taken when the answer was given, from 1
    stop: Bool[Tensor, " env"]  # the episode ends with this step (the agent stopped, or t reached max_glimpses)
    correct: Bool[Tensor, " env"]  # the most probable class is the label
    loss: Float[Tensor, " env"]  # -log p(label) of this step's prediction, nats
    previous_loss: Float[Tensor, " env"]  # the same one step earlier; ln(classes) before any answer


Reward = Callable[[Transition], Float[Tensor, " env"]]


def discount_correct(discount: float, correct: Bool[Tensor, "*batch"], glimpses: Int64[Tensor, "*#batch"]) -> Float[Tensor, "*batch"]:
    """Return discount^t for a correct prediction after t glimpses, 0 for an incorrect one (DT-RAM, section 3.3)."""
    return correct * torch.pow(discount, glimpses)


@dataclass(frozen=True)
class Delayed:
    """discount^t at the end of the episode if the answer is right, 0 before (DT-RAM, section 3.3).

    The discount is inside the reward: train with the algorithm's own gamma = 1, or the delay is paid for twice.
    """

    discount: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a discount outside (0, 1]."""
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount={self.discount}: expected a number in (0, 1]")

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return discount_correct(self.discount, transition.stop & transition.correct, transition.glimpses)


@dataclass(frozen=True)
class Greedy:
    """1 for a right first answer; later 1 where the answer is right and its loss fell (FCAN, Eq. 4)."""

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        fell = (transition.loss < transition.previous_loss) | (transition.glimpses == 1)
        return (transition.correct & fell).to(transition.loss.dtype)


@dataclass(frozen=True)
class InformationGain:
    """Drop in cross-entropy since the last answer, in nats (AdaptiveNN 2025); sums to ln(classes) - final loss."""

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return transition.previous_loss - transition.loss


@dataclass(frozen=True)
class ConfidenceGain:
    """Rise of the true class' probability since the last answer (Glance-and-Focus 2020); sums to p(label) - 1/classes."""

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return (-transition.loss).exp() - (-transition.previous_loss).exp()


@dataclass(frozen=True)
class Confidence:
    """The true class' probability at every answer: pays for being right soon, not only in the end."""

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return (-transition.loss).exp()


@dataclass(frozen=True)
class Priced:
    """Another reward, less a price for every further glimpse: at every step but the one that ends the episode."""

    earned: Reward
    price: float

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return self.earned(transition) - self.price * ~transition.stop


NAMED: dict[str, Callable[[], Reward]] = {
    "delayed": Delayed,
    "greedy": Greedy,
    "information_gain": InformationGain,
    "confidence_gain": ConfidenceGain,
    "confidence": Confidence,
}


def make(reward: str | Reward | None) -> Reward:
    """Return the reward that a name stands for; None is `Delayed()`, a callable is itself."""
    if callable(reward):
        return reward
    name = "delayed" if reward is None else reward
    if not isinstance(name, str) or name not in NAMED:
        raise ValueError(f"reward={reward!r}: expected a callable or one of {', '.join(NAMED)}")
    return NAMED[name]()
