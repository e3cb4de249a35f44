"""Rewards: callables from a transition to one number per row; a user's own callable works in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import checks


class Transition(NamedTuple):
    """One step of every row; the environment sets the reward of rows that had already ended to 0."""

    glimpses: Int64[Tensor, " env"]  # t, glimpses taken before the prediction, from 1
    stop: Bool[Tensor, " env"]  # the episode ends with this step: the agent stopped, or t = max_glimpses
    correct: Bool[Tensor, " env"]  # the most probable class is the label
    loss: Float[Tensor, " env"]  # -log p(label) of this step's prediction, nats
    previous_loss: Float[Tensor, " env"]  # of the previous step's prediction; ln(classes) before any
    width: Float[Tensor, " env"] | None = None  # of glimpse t's window, in glimpse_size; None without zoom


Reward = Callable[[Transition], Float[Tensor, " env"]]


def discount_correct(
    discount: float, correct: Bool[Tensor, "*batch"], glimpses: Int64[Tensor, "*#batch"]
) -> Float[Tensor, "*batch"]:
    """Return discount^t for a correct prediction after t glimpses, else 0 (DT-RAM, section 3.3)."""
    return correct * torch.pow(discount, glimpses)


@dataclass(frozen=True)
class Delayed:
    """discount^t at the end of the episode if the prediction is correct, 0 before (DT-RAM, section 3.3).

    The discount is part of the reward: train with gamma = 1, else the delay is discounted twice.
    """

    discount: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a discount outside (0, 1]."""
        object.__setattr__(self, "discount", checks.argument("discount", self.discount, checks.real(0, 1, 0)))

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return discount_correct(self.discount, transition.stop & transition.correct, transition.glimpses)


@dataclass(frozen=True)
class Greedy:
    """1 for a correct first prediction; later 1 if it is correct and its loss decreased (FCAN, Eq. 4)."""

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        decreased = (transition.loss < transition.previous_loss) | (transition.glimpses == 1)
        return (transition.correct & decreased).to(transition.loss.dtype)


@dataclass(frozen=True)
class InformationGain:
    """Decrease of the loss since the last prediction (AdaptiveNN 2025); sums to ln(classes) - last loss."""

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return transition.previous_loss - transition.loss


@dataclass(frozen=True)
class ConfidenceGain:
    """Increase of p(label) since the last prediction (Glance-and-Focus 2020); sums to p(label) - 1/C."""

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return (-transition.loss).exp() - (-transition.previous_loss).exp()


@dataclass(frozen=True)
class Confidence:
    """p(label) at every step: rewards early correct predictions, not only the final one."""

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return (-transition.loss).exp()


@dataclass(frozen=True)
class Priced:
    """Another reward minus a price per additional glimpse: at every step but the one that ends."""

    reward: Reward
    price: float

    def __post_init__(self) -> None:
        """Refuse a price that is no finite number, and another reward that is none."""
        object.__setattr__(self, "reward", make(self.reward))
        object.__setattr__(self, "price", checks.argument("price", self.price, checks.real()))

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return self.reward(transition) - self.price * ~transition.stop


@dataclass(frozen=True)
class PricedArea(Priced):
    """Another reward minus a price for the area of every glimpse's window, in units of glimpse_size^2.

    For zoom: the network is fed as many pixels of a wide window as of a narrow one, but a camera without
    binning reads width^2 times as many. A whole image as glimpse 1 counts as the largest window.
    """

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row; ValueError if the windows' width is fixed."""
        if transition.width is None:
            raise ValueError("PricedArea: the windows' width is fixed; give zoom=, or use Priced")
        return self.reward(transition) - self.price * transition.width.square()


NAMED: dict[str, Callable[[], Reward]] = {
    "delayed": Delayed,
    "greedy": Greedy,
    "information_gain": InformationGain,
    "confidence_gain": ConfidenceGain,
    "confidence": Confidence,
}


def make(reward: str | Reward | None) -> Reward:
    """Return the reward of a name; None = `Delayed()`, a callable = itself."""
    if callable(reward) and not isinstance(reward, type):
        return reward
    name = "delayed" if reward is None else reward
    if not isinstance(name, str) or name not in NAMED:
        raise ValueError(
            f"reward={checks.show(reward)}: expected a callable, such as Delayed(), or "
            f"one of {', '.join(NAMED)}"
        )
    return NAMED[name]()
