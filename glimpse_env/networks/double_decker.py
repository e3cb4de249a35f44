"""The double-decker network of Sermanet et al. 2015: one recurrent deck for the class, one for where to look.

References: Sermanet, Frome, Real 2015 (arXiv 1412.7054, section 3); Ba, Mnih, Kavukcuoglu 2014 (DRAM, on which it builds).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env.networks.base import Agent, Heads

NEVER = -10.0  # log-odds of stopping: the number of glimpses is fixed


@dataclass(frozen=True)
class DeckSizes:
    """What a double-decker network is made of; saved with the weights, so that a checkpoint rebuilds it."""

    glimpse: int  # values of one glimpse, flattened: those of its scales one after the other
    classes: int
    scales: int  # patches of a glimpse; the context is one patch more
    hidden: int = 512  # units of each deck
    place: int = 128  # location features
    features: int = 256  # of a patch, where its values are seen through `depth` layers of the network's own
    depth: int = 0  # ReLU layers through which a patch is seen; 0 = its values are features already (of a frozen network)
    dropout: float = 0.0  # share of a patch's features dropped while training
    location_gradient: float = 1.0  # share of the class scores' gradient that reaches the location deck through the location
    learned_start: bool = True  # glimpse 1 is taken where the context proposes


class DeckState(NamedTuple):
    """Recurrent state of both decks."""

    what: Float[Tensor, "env hidden"]  # r1, from which the class is told
    where: Float[Tensor, "env hidden"]  # r2, from which the next location is proposed


class Fovea(nn.Module):
    """Glimpse features - those of the patches side by side - and location features, concatenated, through one linear layer.

    All patches, the context among them, are seen through the same layers; a frozen network that the sensor runs needs none of them.
    """

    def __init__(self, sizes: DeckSizes) -> None:
        """Build the patches' layers, the location's, and the fusing one."""
        super().__init__()
        patch = sizes.glimpse // sizes.scales
        widths = [patch] + [sizes.features] * sizes.depth
        layers = [layer for before, after in pairwise(widths) for layer in (nn.Linear(before, after), nn.ReLU())]
        self.patch = nn.Sequential(*layers, nn.Dropout(sizes.dropout))
        self.place = nn.Sequential(nn.Linear(2, sizes.place), nn.ReLU())
        self.fuse = nn.Linear(widths[-1] * sizes.scales + sizes.place, sizes.hidden)
        self.scales, self.width = sizes.scales, widths[-1]

    def forward(self, glimpse: Float[Tensor, "env value"], location: Float[Tensor, "env 2"]) -> Float[Tensor, "env hidden"]:
        """Return what the class deck is fed."""
        seen = self.patch(glimpse.unflatten(1, (self.scales, -1))).flatten(1)
        return self.fuse(torch.cat((seen, self.place(location)), 1))


class Decks(nn.Module):
    """Two vanilla recurrent layers: r1_n = ReLU(glimpse_n + W1 r1_{n-1}), r2_n = ReLU(V r1_n + W2 r2_{n-1})."""

    def __init__(self, hidden: int, context: int) -> None:
        """Build the maps between and within the decks, and the one with which the context begins the location deck."""
        super().__init__()
        self.within_what, self.within_where = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden)
        self.across, self.begin = nn.Linear(hidden, hidden, bias=False), nn.Linear(context, hidden)

    def forward(self, glimpse: Float[Tensor, "env hidden"], state: DeckState) -> DeckState:
        """Return the next state of both."""
        what = (glimpse + self.within_what(state.what)).relu()
        return DeckState(what, (self.across(what) + self.within_where(state.where)).relu())


class DoubleDecker(Agent):
    """Classes are told from r1; where to look, first of all from the context, is proposed by r2.

    The context begins r2 alone, and nothing leads from r2 to r1 but the location that is looked at: with the locations held fixed the
    class scores do not depend on the context. The location deck learns from REINFORCE and, through the location that r1 is told, from the
    class scores (`location_gradient`).

    Not stated in the paper, hence ours: ReLU in both decks and on the location features, tanh on the proposed location, and the start of r1
    at zero.
    """

    def __init__(self, architecture: DeckSizes) -> None:
        """Build the modules."""
        super().__init__()
        self.architecture, self.location_gradient = architecture, architecture.location_gradient
        self.glimpse = Fovea(architecture)
        self.core = Decks(architecture.hidden, self.glimpse.width)
        self.classifier = nn.Linear(architecture.hidden, architecture.classes)
        self.locator = nn.Linear(architecture.hidden, 2)
        self.baseline = nn.Linear(architecture.hidden, 1)
        with torch.no_grad():
            self.locator.weight.mul_(0.1)  # begins near the centre, where tanh is steep

    def begin(self, rows: int) -> DeckState:
        """Return empty decks."""
        zeros = self.locator.weight.new_zeros(rows, self.architecture.hidden)
        return DeckState(zeros, zeros)

    def start(self, rows: int, context: Tensor | None) -> tuple[DeckState, Float[Tensor, "env 2"]]:
        """Return the decks with the context in the lower one, and the mean of glimpse 1's place."""
        if context is None:
            raise ValueError(
                "the double-decker network proposes glimpse 1 from a context: make the environment with context=True, and choose the images"
            )
        state = self.begin(rows)._replace(where=self.core.begin(self.glimpse.patch(context.flatten(1))).relu())
        return state, self.propose(state)

    def propose(self, state: DeckState) -> Float[Tensor, "env 2"]:
        """Return the mean of the next location."""
        return self.locator(state.where).float().tanh()

    def forward(self, observation: dict[str, Tensor], state: DeckState) -> tuple[Heads, DeckState]:
        """Take in one glimpse."""
        state = self.core(self.glimpse(observation["glimpse"].flatten(1), observation["location"]), state)
        logits = self.classifier(state.what).float()
        baseline = self.baseline(state.what.detach()).float().squeeze(1)
        return Heads(logits, self.propose(state), logits.new_full((len(logits),), NEVER), baseline), state
