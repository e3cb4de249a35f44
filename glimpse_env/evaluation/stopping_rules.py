"""Stopping rules: what is compared with which threshold, and the threshold that spends a wanted mean number of glimpses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env.evaluation import trajectories
from glimpse_env.evaluation.trajectories import Looks, first
from glimpse_env.networks.base import Agent, Heads, Memory

NEAR = 0.05  # glimpses by which a mean may miss the budget


@dataclass(frozen=True)
class Rule:
    """Stop as soon as a probability exceeds the threshold, at the horizon in any case."""

    by: Literal["confidence", "stop head", "horizon"]  # of the most probable class, or of stopping; "horizon": never before it
    threshold: float = 1.0
    expected: float | None = None  # mean glimpses on the images from which the threshold was found

    def __str__(self) -> str:
        """Say it in words."""
        if self.by == "horizon":
            return "answers after the last glimpse"
        spent = "" if self.expected is None else f", {self.expected:.2f} glimpses on average on held-out images"
        return f"stops when the {'confidence' if self.by == 'confidence' else 'stop probability'} exceeds {self.threshold:.6g}{spent}"


def usual(dynamic: bool) -> Rule:
    """Return the rule by which an agent is evaluated: the stop head's more probable decision, or the horizon."""
    # The largest number below one half, since one half itself stops.
    return Rule("stop head", torch.nextafter(torch.tensor(0.5), torch.tensor(0.0)).item()) if dynamic else Rule("horizon")


def for_budget(looks: Looks, dynamic: bool, budget: float) -> Rule:
    """Return the rule whose mean number of glimpses on these images is nearest to the budget.

    Args:
        looks: Every image's whole trajectory.
        dynamic: Whether to move the stop head's threshold, or the confidence threshold (DT-RAM, Table 7).
        budget: Mean glimpses wanted.

    Raises:
        ValueError: No threshold spends so many or so few glimpses.
    """
    time, images = looks.confidence.shape
    if not 1 <= budget <= time:
        raise ValueError(f"--budget {budget:g}: this agent takes 1.00 to {time:.2f} glimpses on average")
    scores = looks.stop if dynamic else looks.confidence
    # Between two values that occur nothing changes; 0 stops everything at once, the largest value nothing before the horizon.
    thresholds = torch.cat((scores.new_zeros(1), scores[:-1].flatten().unique()))
    low, high = 0, len(thresholds) - 1
    while high - low > 1:  # the mean grows with the threshold
        middle = (low + high) // 2
        low, high = (middle, high) if mean_glimpses(scores, thresholds[middle]) <= budget else (low, middle)
    means = [mean_glimpses(scores, thresholds[place]) for place in (low, high)]
    nearest = min((0, 1), key=lambda side: abs(means[side] - budget))
    if abs(means[nearest] - budget) > max(NEAR, time / images):
        raise ValueError(
            f"--budget {budget:g}: no threshold spends it; there are some for 1.00 to {means[0]:.2f} glimpses on average, and for "
            f"{means[1]:.2f} to {time:.2f}"
        )
    return Rule("stop head" if dynamic else "confidence", thresholds[(low, high)[nearest]].item(), means[nearest])


def mean_glimpses(scores: Float[Tensor, "time image"], threshold: Float[Tensor, ""]) -> float:
    """Return the mean number of glimpses of stopping when the score exceeds the threshold."""
    return (first(scores > threshold) + 1).float().mean().item()


class Ruled(Agent):
    """An agent that looks and answers as another one does, but stops by a rule."""

    def __init__(self, agent: Agent, rule: Rule) -> None:
        """Take the agent and the rule."""
        super().__init__()
        self.agent, self.rule, self.architecture = agent, rule, agent.architecture

    def begin(self, rows: int) -> Memory:
        """Return what is remembered before the first glimpse."""
        return self.agent.begin(rows)

    def first_location(self, rows: int) -> Float[Tensor, "env 2"] | None:
        """Return the mean of glimpse 1's place, or None where the environment chooses it."""
        return self.agent.first_location(rows)

    def start(self, rows: int, context: Tensor | None) -> tuple[Memory, Float[Tensor, "env 2"] | None]:
        """Return what is remembered before the first glimpse, and the mean of its place."""
        return self.agent.start(rows, context)

    def forward(self, observation: dict[str, Tensor], state: Memory) -> tuple[Heads, Memory]:
        """Take in one glimpse."""
        heads, state = self.agent(observation, state)
        if self.rule.by == "horizon":
            return heads._replace(stop=torch.full_like(heads.stop, -torch.inf)), state
        score = heads.stop.sigmoid() if self.rule.by == "stop head" else heads.logits.softmax(1).amax(1)
        return heads._replace(stop=torch.where(score > self.rule.threshold, torch.inf, -torch.inf)), state


Mixture = list[tuple[float, Int64[Tensor, " image"]]]


def right(looks: Looks, mixture: Mixture) -> Float[Tensor, " image"]:
    """Return how often each image's answer is right."""
    return torch.stack([share * looks.correct.gather(0, when[None])[0] for share, when in mixture]).sum(0)


def rule_at(looks: Looks, glimpses: float) -> Mixture:
    """Return the rule "stop when max softmax > threshold" (DT-RAM, Table 7) at a mean number of glimpses: two neighbouring thresholds.

    All confidences are candidates, so that the rule is as good as any choice of thresholds makes it. Labels play no part in it.
    """
    candidates = torch.cat((torch.tensor([-1.0]), looks.confidence[:-1].flatten().unique(), torch.tensor([1.0])))

    def stops(position: int) -> Int64[Tensor, " image"]:
        return trajectories.threshold_stops(looks, candidates[position].item())

    below = last(lambda position: mean(stops(position)) <= glimpses, len(candidates))
    return between(stops(below), stops(min(below + 1, len(candidates) - 1)), glimpses)


def number_at(looks: Looks, glimpses: float) -> Mixture:
    """Return a fixed number of glimpses for every image; between two numbers, a mixture of them."""
    time = len(looks.answers)
    low = min(max(math.floor(glimpses), 1), time)
    return between(torch.full_like(looks.labels, low - 1), torch.full_like(looks.labels, min(low, time - 1)), glimpses)


def between(fewer: Int64[Tensor, " image"], more: Int64[Tensor, " image"], glimpses: float) -> Mixture:
    """Return the mixture of two rules that spends so many glimpses on average."""
    low, high = mean(fewer), mean(more)
    share = min(max((glimpses - low) / (high - low), 0.0), 1.0) if high > low else 0.0
    return [(1 - share, fewer), (share, more)]


def mean(when: Int64[Tensor, " image"]) -> float:
    """Return the mean number of glimpses of answering at these steps (from 0)."""
    return (when + 1).double().mean().item()


def last(holds: Callable[[int], bool], count: int) -> int:
    """Return the last of the positions 0 ... count - 1 for which something holds that stops to hold once; 0 if it never does."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
