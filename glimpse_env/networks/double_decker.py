"""The double-decker network of Sermanet et al. 2015: a recurrent deck for the class, one for the location.

References: Sermanet, Frome, Real 2015 (arXiv 1412.7054, section 3); Ba, Mnih, Kavukcuoglu 2014 (DRAM, its
basis).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env.episode import join_location
from glimpse_env.networks.base import NEVER, Agent, Heads, Parameters
from glimpse_env.networks.glimpse_encoders import Templates, relu_layers
from glimpse_env.networks.location_policy import LearnedName, build_learned

Hidden = Float[Tensor, "env hidden"]
Locations = Float[Tensor, "env axis"]  # (x, y), with zoom (x, y, scale)


@dataclass(frozen=True)
class DeckSizes:
    """Sizes and variants; saved with the weights, so that a checkpoint rebuilds its network."""

    glimpse: int  # values of one glimpse, flattened: those of its scales one after the other
    classes: int
    scales: int  # patches of a glimpse; the context is one patch more
    hidden: int = 512  # units of each deck
    location_features: int = 128
    features: int = 256  # of a patch after `encoder_layers`
    encoder_layers: int = 0  # ReLU layers of a patch's encoder; 0 = the sensor outputs features
    dropout: float = 0.0  # share of a patch's features dropped while training
    location_gradient: float = 1.0  # share of the class scores' gradient that the location deck gets
    learned_start: bool = True  # the context proposes the location of glimpse 1
    axes: int = 2  # numbers of a location; 3 = with its scale
    channels: int = 1  # of one patch, for templates
    templates: tuple[int, ...] = ()  # their side in each patch, then in the context; () = layers
    location_policy: LearnedName = "gaussian"
    grid: int = 5  # cells a side, for location_policy="grid_softmax"


class DeckState(NamedTuple):
    """Recurrent state of both decks."""

    class_deck: Hidden  # r1, which the class scores read
    location_deck: Hidden  # r2, which proposes the next location


class Fovea(nn.Module):
    """Glimpse features (those of the patches side by side) and location features, through one linear layer.

    All patches and the context pass through the same encoder, which has no layers where the sensor runs a
    frozen network. Templates are an encoder for each of them, since a pattern has another size in each.
    """

    def __init__(self, sizes: DeckSizes) -> None:
        """Build the patches' encoder, the location's layer, and the fusing layer."""
        super().__init__()
        values, drop = sizes.glimpse // sizes.scales, nn.Dropout(sizes.dropout)
        widths = [values] + [sizes.features] * sizes.encoder_layers
        if sizes.templates:
            own, wide = (values, sizes.channels), (sizes.features, sizes.encoder_layers)
            encoders = (nn.Sequential(Templates(*own, (side,), *wide), drop) for side in sizes.templates)
            self.patterns = nn.ModuleList(encoders)
        else:
            self.patch = relu_layers(*widths).append(drop)
        self.place = relu_layers(sizes.axes, sizes.location_features)
        self.fuse = nn.Linear(widths[-1] * sizes.scales + sizes.location_features, sizes.hidden)
        self.scales, self.width = sizes.scales, widths[-1]

    def encode(self, glimpse: Float[Tensor, "env value"]) -> Float[Tensor, "env feature"]:
        """Return the features of all patches, one patch after the other."""
        patches = glimpse.unflatten(1, (self.scales, -1))
        if not hasattr(self, "patterns"):
            return self.patch(patches).flatten(1)
        pairs = zip(self.patterns, patches.unbind(1), strict=False)  # the last encoder is the context's
        return torch.cat([encoder(patch) for encoder, patch in pairs], 1)

    def encode_context(self, context: Float[Tensor, "env value"]) -> Float[Tensor, "env feature"]:
        """Return the features of the context."""
        return (self.patterns[-1] if hasattr(self, "patterns") else self.patch)(context)

    def forward(self, glimpse: Float[Tensor, "env value"], location: Locations) -> Hidden:
        """Return the input of the class deck."""
        features = self.encode(glimpse)
        return self.fuse(torch.cat((features, self.place(location)), 1))


class Decks(nn.Module):
    """Two recurrent layers: r1_n = ReLU(glimpse_n + W1 r1_{n-1}), r2_n = ReLU(V r1_n + W2 r2_{n-1})."""

    def __init__(self, hidden: int, context: int) -> None:
        """Build the maps between and within the decks, and the one from the context to the location deck."""
        super().__init__()
        self.within_what, self.within_where = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden)
        self.across, self.begin = nn.Linear(hidden, hidden, bias=False), nn.Linear(context, hidden)

    def forward(self, glimpse: Hidden, state: DeckState) -> DeckState:
        """Return the next state of both."""
        class_deck = (glimpse + self.within_what(state.class_deck)).relu()
        location_deck = (self.across(class_deck) + self.within_where(state.location_deck)).relu()
        return DeckState(class_deck, location_deck)


class DoubleDecker(Agent):
    """The class deck r1 classifies; the location deck r2 proposes locations, the first from the context.

    The context initialises r2 alone, and nothing leads from r2 to r1 but the location of the next glimpse:
    with the locations held fixed the class scores do not depend on the context. The location deck learns from
    REINFORCE and, through the location that r1 reads, from the class scores (`location_gradient`).

    The paper does not state, so these are this project's: ReLU in both decks and on the location features,
    tanh on the proposed location, and r1 starting at zero; templates and a softmax over cells as well, with
    which locations learn from REINFORCE alone.
    """

    def __init__(self, architecture: DeckSizes) -> None:
        """Build the modules."""
        super().__init__()
        self.architecture, self.location_gradient = architecture, architecture.location_gradient
        self.glimpse = Fovea(architecture)
        self.core = Decks(architecture.hidden, self.glimpse.width)
        self.classifier = nn.Linear(architecture.hidden, architecture.classes)
        chosen = architecture.location_policy, architecture.grid, architecture.axes
        self.location_policy = build_learned(*chosen)
        self.locator = nn.Linear(architecture.hidden, self.location_policy.num_parameters)
        self.baseline = nn.Linear(architecture.hidden, 1)
        with torch.no_grad():
            self.locator.weight.mul_(0.1)  # at first near the centre, where tanh is steep, or all cells alike

    def begin(self, rows: int) -> DeckState:
        """Return empty decks."""
        zeros = self.locator.weight.new_zeros(rows, self.architecture.hidden)
        return DeckState(zeros, zeros)

    def start(self, rows: int, context: Tensor | None) -> tuple[DeckState, Parameters]:
        """Return the decks with the context in the location deck, and the parameters of location 1."""
        if context is None:
            needed = "make the environment with context=True, and choose the images"
            raise ValueError(f"the double-decker network proposes glimpse 1 from a context: {needed}")
        location_deck = self.core.begin(self.glimpse.encode_context(context.flatten(1))).relu()
        state = self.begin(rows)._replace(location_deck=location_deck)
        return state, self.propose(state)

    def propose(self, state: DeckState) -> Parameters:
        """Return the parameters of the next location's distribution."""
        return self.location_policy.activate(self.locator(state.location_deck).float())

    def forward(self, observation: dict[str, Tensor], state: DeckState) -> tuple[Heads, DeckState]:
        """Process one glimpse."""
        state = self.core(self.glimpse(observation["glimpse"].flatten(1), join_location(observation)), state)
        logits = self.classifier(state.class_deck).float()
        baseline = self.baseline(state.class_deck.detach()).float().squeeze(1)
        return Heads(logits, self.propose(state), logits.new_full((len(logits),), NEVER), baseline), state
