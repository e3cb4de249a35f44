"""What an agent that stops by itself is compared with, at its own mean number of glimpses: the threshold rule, and a fixed number.

Few rules spend exactly as many glimpses as another; two of them can, each on a share of the images. Such a mixture is a list of shares
and of the steps at which every image is then answered.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env.learning import evaluation
from glimpse_env.learning.evaluation import Looks

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
        return evaluation.threshold_stops(looks, candidates[position].item())

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
