"""Separate views, averaged: a linear classifier for every kind of view, no memory but the mean of their scores (FCAN, Tables 2, 4, 6).

FCAN's multi-view (the whole image and random crops) and rigid combination (the whole image and centre crops) are these views at random and
at central locations. The locations are never learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from glimpse_env.networks.base import Agent, Heads


@dataclass(frozen=True)
class ViewsArchitecture:
    """Sizes; saved with the weights."""

    glimpse: int  # values of one glimpse: those of all its windows side by side
    classes: int
    horizon: int
    windows: int = 1  # of a glimpse; later glimpses look through them in turn
    whole_first: bool = True  # glimpse 1 shows the whole image
    dropout: float = 0.0


class Averaged(NamedTuple):
    """The memory: the logarithm of the sum of all views' probabilities."""

    total: Float[Tensor, "env class"]


class AveragedViews(Agent):
    """One linear classifier for the whole image and one for each window size; their probabilities are averaged over the views.

    A glimpse of several windows is read through one of them, the next glimpse through the next: with two sizes the glimpses after the first
    view are FCAN's two parts, at locations of their own. During training every view is classified alone, so that the classifiers are
    trained separately, as FCAN's are.
    """

    def __init__(self, architecture: ViewsArchitecture) -> None:
        """Build the classifiers."""
        super().__init__()
        self.architecture = a = architecture
        self.dropout = nn.Dropout(a.dropout)
        self.classifiers = nn.ModuleList(
            nn.Linear(a.glimpse // a.windows, a.classes) for _ in range(a.windows + a.whole_first)
        )

    def begin(self, rows: int) -> Averaged:
        """Return the memory before the first view."""
        return Averaged(torch.full((rows, self.architecture.classes), -math.inf, device=self.device))

    def forward(self, observation: dict[str, Tensor], state: Averaged) -> tuple[Heads, Averaged]:
        """Process one view; return the outputs and the next memory."""
        taken = (observation["step"] * self.architecture.horizon).round()
        log_p = self.classify(observation["glimpse"], taken.squeeze(1).long()).log_softmax(1)
        state = Averaged(torch.where(taken == 1, log_p, torch.logaddexp(state.total, log_p)))
        none = torch.zeros(len(log_p), device=log_p.device)
        prediction = log_p if self.training else state.total - taken.log()
        return Heads(prediction, none[:, None].expand(-1, 2), none - math.inf, none), state

    def classify(
        self, glimpse: Float[Tensor, "env ..."], taken: Int64[Tensor, " env"]
    ) -> Float[Tensor, "env class"]:
        """Return the scores of each row's view: of the whole image, or of the window whose turn it is."""
        a = self.architecture
        parts = self.dropout(glimpse.flatten(1)).unflatten(1, (a.windows, -1))
        window = (taken - 1 - int(a.whole_first)) % a.windows
        if not a.whole_first:
            read = [classifier(parts[:, number]) for number, classifier in enumerate(self.classifiers)]
        else:  # the first view is repeated for every window
            whole, *rest = self.classifiers
            read = [
                whole(parts[:, 0]),
                *(classifier(parts[:, number]) for number, classifier in enumerate(rest)),
            ]
            window = torch.where(taken == 1, 0, window + 1)
        scores = torch.stack(read, 1)
        return scores.gather(1, window[:, None, None].expand(-1, 1, a.classes)).squeeze(1).float()

    @property
    def device(self) -> torch.device:
        """Device of the classifiers."""
        return next(self.parameters()).device
