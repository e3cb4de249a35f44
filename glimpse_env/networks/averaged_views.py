"""Separate views, averaged: one linear classifier for each kind of view (FCAN, Tables 2, 4, 6).

FCAN's multi-view (the whole image and random crops) and rigid combination (the whole image and centre crops)
are these views at random and at central locations. The locations are never learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from glimpse_env.networks.base import Agent, Heads, Logits


@dataclass(frozen=True)
class ViewsArchitecture:
    """Sizes; saved with the weights."""

    glimpse: int  # values of one glimpse: those of all its windows side by side
    classes: int
    horizon: int
    windows: int = 1  # of a glimpse; later glimpses use them in turn
    whole_first: bool = True  # glimpse 1 shows the whole image
    dropout: float = 0.0


class Averaged(NamedTuple):
    """The memory: the logarithm of the sum of all views' probabilities."""

    total: Logits


class AveragedViews(Agent):
    """A linear classifier for the whole image and one for each window size; probabilities are averaged.

    Of a glimpse of several windows one is read, of the next glimpse the next: with two sizes the glimpses
    after the first view are FCAN's two parts, each at its own location. During training every view is
    classified alone, so that the classifiers are trained separately, as FCAN's are.
    """

    def __init__(self, architecture: ViewsArchitecture) -> None:
        """Build the classifiers."""
        super().__init__()
        self.architecture = a = architecture
        self.dropout = nn.Dropout(a.dropout)
        count = a.windows + a.whole_first
        self.classifiers = nn.ModuleList(nn.Linear(a.glimpse // a.windows, a.classes) for _ in range(count))

    def begin(self, rows: int) -> Averaged:
        """Return the memory before the first view."""
        weight = next(self.parameters())
        return Averaged(weight.new_full((rows, self.architecture.classes), -math.inf))

    def forward(self, observation: dict[str, Tensor], state: Averaged) -> tuple[Heads, Averaged]:
        """Process one view; return the outputs and the next memory."""
        taken = (observation["step"] * self.architecture.horizon).round()
        log_p = self.classify(observation["glimpse"], taken.squeeze(1).long()).log_softmax(1)
        state = Averaged(torch.where(taken == 1, log_p, torch.logaddexp(state.total, log_p)))
        none = torch.zeros(log_p.shape[0], device=log_p.device)
        prediction = log_p if self.training else state.total - taken.log()
        return Heads(prediction, none[:, None].expand(-1, 2), none - math.inf, none), state

    def classify(self, glimpse: Float[Tensor, "env ..."], taken: Int64[Tensor, " env"]) -> Logits:
        """Return the scores of each row's view: of the whole image, or of the window whose turn it is."""
        a = self.architecture
        inputs = list(self.dropout(glimpse.flatten(1)).unflatten(1, (a.windows, -1)).unbind(1))
        window = (taken - 1 - int(a.whole_first)) % a.windows
        if a.whole_first:  # the first view is repeated for every window
            inputs, window = [inputs[0], *inputs], torch.where(taken == 1, 0, window + 1)
        pairs = zip(self.classifiers, inputs, strict=True)
        scores = torch.stack([classifier(values) for classifier, values in pairs], 1)
        return scores.gather(1, window[:, None, None].expand(-1, 1, a.classes)).squeeze(1).float()
