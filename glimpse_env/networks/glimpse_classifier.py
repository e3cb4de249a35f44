"""A recurrent classifier of glimpses whose locations another program chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env.episode import join_location
from glimpse_env.networks import recurrent_attention
from glimpse_env.networks.base import Logits
from glimpse_env.networks.cores import LSTMCell, State
from glimpse_env.networks.recurrent_attention import Architecture, GlimpseNetwork


@dataclass(frozen=True)
class ClassifierSizes:
    """Sizes; saved with the weights, so that a checkpoint rebuilds its network."""

    glimpse: int  # values of one glimpse, flattened
    classes: int
    horizon: int  # max_glimpses
    hidden: int = 256  # units of the recurrent core
    features: int = 256  # width of the glimpse network's two branches
    depth: int = 3  # layers of the glimpse encoder
    dropout: float = 0.0  # share of the glimpse's values, and of the features, dropped while training
    axes: int = 2  # numbers of a location; 3 = with its scale


class Evidence(NamedTuple):
    """The recurrent state of every row's present episode."""

    hidden: Float[Tensor, "env hidden"]
    cell: Float[Tensor, "env hidden"]


class GlimpseClassifier(nn.Module):
    """RAM's glimpse network (Mnih et al. 2014, section 2) -> LSTM -> class scores, without other heads.

    The state (`Evidence`) goes in and comes out. A row's first glimpse starts from zeros, whatever the state
    of an earlier episode.
    """

    def __init__(self, sizes: ClassifierSizes) -> None:
        """Build the modules."""
        super().__init__()
        self.sizes = s = sizes
        core = {"hidden": s.hidden, "features": s.features, "encoder_layers": s.depth, "dropout": s.dropout}
        self.glimpse = GlimpseNetwork(Architecture(s.glimpse, s.classes, s.horizon, **core, axes=s.axes))
        self.core = LSTMCell(s.hidden, s.hidden)
        self.classifier = nn.Linear(s.hidden, s.classes)

    def begin(self, rows: int) -> Evidence:
        """Return the state before the first glimpse."""
        zeros = self.classifier.weight.new_zeros(rows, self.sizes.hidden)
        return Evidence(zeros, zeros)

    def forward(self, observation: dict[str, Tensor], evidence: Evidence) -> tuple[Logits, Evidence]:
        """Process one glimpse; return the class scores of the episode so far."""
        same_episode = ~(observation["step"] * self.sizes.horizon < 1.5)
        features = self.glimpse.encode(observation["glimpse"])
        none = evidence.hidden.new_zeros(len(features), 0)  # of the state, what this network does not use
        state = State(evidence.hidden * same_episode, evidence.cell * same_episode, none, none, none)
        state = self.core(self.glimpse(features, join_location(observation)), state)
        return self.classifier(state.hidden).float(), Evidence(state.hidden, state.cell)


def certainty(logits: Logits) -> dict[str, Float[Tensor, "env feature"]]:
    """Return what a policy may read of the classifier's prediction.

    `belief`: the probability of every class; `confidence`: log-odds of the top class, its margin over the
    second, and the log of the entropy in nats (each within +-14).
    """
    no_step = logits.new_zeros(len(logits), 0)
    confidence = recurrent_attention.confidence(logits, no_step).clamp(-14, 14)
    return {"belief": logits.softmax(1), "confidence": confidence}


def narrow(evidence: Evidence, rows: int) -> Evidence:
    """Return the evidence of the first rows."""
    return Evidence(*(torch.narrow(value, 0, 0, rows) for value in evidence))
