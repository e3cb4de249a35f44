"""Stopping rules: by a threshold, at a given mean number of glimpses, and an agent that stops by a rule."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.networks.base import Agent, Heads, Memory

NEAR = 0.05  # glimpses by which a mean may miss the budget


@dataclass(frozen=True)
class Rule:
    """Stop as soon as a probability exceeds the threshold, at the horizon in any case."""

    # Of the most probable class (DT-RAM, Table 7), or of stopping; "horizon": not before.
    by: Literal["confidence", "stop head", "horizon"]
    threshold: float = 1.0
    expected: float | None = None  # mean glimpses on the images from which the threshold was computed

    def __str__(self) -> str:
        """Describe the rule in words."""
        if self.by == "horizon":
            return "stops after the last glimpse"
        score = "confidence" if self.by == "confidence" else "stop probability"
        text = f"stops when the {score} exceeds {self.threshold:.6g}"
        if self.expected is None:
            return text
        return f"{text}, {self.expected:.2f} glimpses on average on held-out images"

    def find_stops(self, trajectories: Trajectories) -> Int64[Tensor, " image"]:
        """Return the step (from 0) at which each image stops."""
        if self.by == "horizon":
            return torch.full_like(trajectories.labels, len(trajectories.predictions) - 1)
        score = trajectories.stop if self.by == "stop head" else trajectories.confidence
        return find_first(score > self.threshold)


# One half itself stops, so the threshold is the largest number below it.
LEARNED = Rule("stop head", torch.nextafter(torch.tensor(0.5), torch.tensor(0.0)).item())
HORIZON = Rule("horizon")


def choose_rule(dynamic: bool) -> Rule:
    """Return the rule of an evaluation: the stop head's probable decision (`dynamic`), or the horizon."""
    return LEARNED if dynamic else HORIZON


def find_first(crossed: Bool[Tensor, "time image"]) -> Int64[Tensor, " image"]:
    """Return the first step (from 0) at which a condition holds; the last step where it never does."""
    return torch.cat((crossed[:-1], torch.ones_like(crossed[:1]))).int().argmax(0)


def compute_mean_glimpses(stops: Int64[Tensor, " image"]) -> float:
    """Return the mean number of glimpses of stopping at these steps (from 0)."""
    return (stops + 1).cpu().double().mean().item()


def bracket(scores: Float[Tensor, "time image"], glimpses: float) -> tuple[Tensor, Tensor]:
    """Return the neighbouring thresholds between whose mean numbers of glimpses a number lies.

    All scores that occur are candidates: between two of them nothing changes, 0 stops every image at once,
    and the largest score none before the horizon.
    """
    thresholds = torch.cat((scores.new_zeros(1), scores[:-1].flatten().unique()))

    def spend(position: int) -> float:  # grows with the threshold
        return compute_mean_glimpses(find_first(scores > thresholds[position]))

    above = bisect_right(range(len(thresholds)), glimpses, key=spend)
    return thresholds[max(above - 1, 0)], thresholds[min(max(above, 1), len(thresholds) - 1)]


def choose_rule_for_budget(trajectories: Trajectories, dynamic: bool, budget: float) -> Rule:
    """Return the rule whose mean number of glimpses on these (held-out) images is nearest to the budget.

    Its threshold is one of the stop probability (`dynamic`), else of the confidence. ValueError if no
    threshold's mean is within 0.05 glimpses.
    """
    time, images = trajectories.confidence.shape
    if not 1 <= budget <= time:
        raise ValueError(f"--budget {budget:g}: this agent takes 1.00 to {time:.2f} glimpses on average")
    scores = trajectories.stop if dynamic else trajectories.confidence
    thresholds = bracket(scores, budget)
    low, high = means = [compute_mean_glimpses(find_first(scores > threshold)) for threshold in thresholds]
    nearest = min((0, 1), key=lambda side: abs(means[side] - budget))
    if abs(means[nearest] - budget) > max(NEAR, time / images):
        raise ValueError(
            f"--budget {budget:g}: no threshold gives this mean; there are thresholds for 1.00 to {low:.2f} "
            f"and for {high:.2f} to {time:.2f} glimpses on average"
        )
    return Rule("stop head" if dynamic else "confidence", thresholds[nearest].item(), means[nearest])


# Rules applied at random, each to its share of the images: share, and the steps (from 0) at which images
# stop.
Mixture = list[tuple[float, Int64[Tensor, " image"]]]


def mix_thresholds(trajectories: Trajectories, glimpses: float) -> Mixture:
    """Return the rule "stop when max softmax > threshold" (DT-RAM, Table 7) at a mean number of glimpses.

    It mixes two neighbouring thresholds. Every confidence is a candidate, so no other choice is better.
    Labels are not used.
    """
    scores = trajectories.confidence
    low, high = bracket(scores, glimpses)
    return mix(find_first(scores > low), find_first(scores > high), glimpses)


def mix_fixed_numbers(trajectories: Trajectories, glimpses: float) -> Mixture:
    """Return a fixed number of glimpses for every image; between two numbers, a mixture of them."""
    time = len(trajectories.predictions)
    low = min(max(math.floor(glimpses), 1), time)
    fewer = torch.full_like(trajectories.labels, low - 1)
    return mix(fewer, torch.full_like(trajectories.labels, min(low, time - 1)), glimpses)


def mix(fewer: Int64[Tensor, " image"], more: Int64[Tensor, " image"], glimpses: float) -> Mixture:
    """Return the mixture of two rules whose mean number of glimpses is the given one."""
    low, high = compute_mean_glimpses(fewer), compute_mean_glimpses(more)
    share = min(max((glimpses - low) / (high - low), 0.0), 1.0) if high > low else 0.0
    return [(1 - share, fewer), (share, more)]


def score_mixture(trajectories: Trajectories, mixture: Mixture) -> Float[Tensor, " image"]:
    """Return the probability that each image's prediction is correct."""
    return torch.stack([share * trajectories.correct_at(stops) for share, stops in mixture]).sum(0)


class RuledAgent(Agent):
    """An agent that chooses locations and predicts as another one does, but stops by a rule."""

    def __init__(self, agent: Agent, rule: Rule) -> None:
        """Wrap the agent."""
        super().__init__()
        self.agent, self.rule, self.architecture = agent, rule, agent.architecture
        self.location_policy, self.reads_map = agent.location_policy, agent.reads_map

    def begin(self, rows: int) -> Memory:
        """Return the state before the first glimpse."""
        return self.agent.begin(rows)

    def encode_map(self, maps: Tensor) -> Tensor:
        """Return the other agent's encoding."""
        return self.agent.encode_map(maps)

    def start(self, rows: int, context: Tensor | None) -> tuple[Memory, Tensor | None]:
        """Return the state before the first glimpse, and the location policy's parameters for it."""
        return self.agent.start(rows, context)

    def forward(self, observation: dict[str, Tensor], state: Memory) -> tuple[Heads, Memory]:
        """Process one glimpse."""
        heads, state = self.agent(observation, state)
        if self.rule.by == "horizon":
            return heads._replace(stop=torch.full_like(heads.stop, -torch.inf)), state
        score = heads.stop.sigmoid() if self.rule.by == "stop head" else heads.logits.softmax(1).amax(1)
        return heads._replace(stop=torch.where(score > self.rule.threshold, torch.inf, -torch.inf)), state
