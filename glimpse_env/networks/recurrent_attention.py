"""The network of RAM and DT-RAM: glimpse network, recurrent core; class, location, stop and baseline heads.

References: Mnih et al. 2014 (RAM, section 2); Li et al. 2017 (DT-RAM, section 3, and their public code).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from glimpse_env.episode import join_location
from glimpse_env.networks.base import NEVER, Agent, Heads, Logits, Parameters
from glimpse_env.networks.cores import LSTMCell, ReLUCell, State, TransformerCell
from glimpse_env.networks.glimpse_encoders import Convolutions, Features, Templates, relu_layers
from glimpse_env.networks.location_policy import Bound, GridSoftmax, LearnedName, build_learned
from glimpse_env.networks.map_locator import CHANNELS, FEATURE_MARK_SIGMA, MapEncoder, MapLocator
from glimpse_env.networks.trunk import TrunkEncoder
from glimpse_env.sensors import lattice

Core = Literal["rnn", "lstm", "transformer"]
LocationEncoding = Literal["linear", "fourier", "none"]
GlimpseEncoder = Literal["mlp", "conv", "templates"]
LocatorName = Literal["state", "map"]
Scores = Literal["state", "mean"]
StopInput = Literal["state", "confidence"]
InitialWeights = Literal["torch", "uniform"]

Step = Float[Tensor, "env 1"]  # number of the glimpse as a fraction of the horizon


@dataclass(frozen=True)
class Architecture:
    """Sizes and variants; saved with the weights, so that a checkpoint rebuilds its network."""

    glimpse: int  # values of one glimpse, flattened
    classes: int
    horizon: int  # max_glimpses, for the step feature of the stop head
    core: Core = "lstm"
    hidden: int = 256
    features: int = 256  # width of the glimpse network's two branches
    encoder_layers: int = 3  # ReLU layers of the glimpse encoder; 0: its features are the glimpse's values
    location_encoding: LocationEncoding = "fourier"
    glimpse_encoder: GlimpseEncoder = "mlp"
    channels: int = 1  # of the glimpse, for locator="map" and other encoders than "mlp"
    templates: tuple[int, ...] = ()  # their side in each window, for glimpse_encoder="templates"
    map_shape: tuple[int, int] | None = None  # channels and side of the feature map that locator="map" scores
    locator: LocatorName = "state"  # what proposes locations: a linear head, or scores of the first view
    reach: float = 1.0  # where location +-1 lies in the image, for locator="map"
    skip_connection: bool = False  # class scores also read the glimpse's own features, past the core
    dropout: float = 0.0  # share of the glimpse's values, and of the features, dropped while training
    scores: Scores = "state"  # class scores after glimpse t: of the state, or their mean over glimpses 1 to t
    stop_input: StopInput = "confidence"  # what the stop head reads
    stop_hidden: int = 64  # units of the stop head's hidden layer; 0: the head is linear
    stop_clamp: float = 10.0  # largest absolute log-odds of stopping; 0: no limit
    location_policy: LearnedName = "gaussian"
    location_bound: Bound = "tanh"  # what keeps a Gaussian's mean in [-1, 1]
    grid: int = 5  # cells a side, for location_policy="grid_softmax"
    learned_start: bool = False  # the location of glimpse 1, instead of the environment's initial_location
    initial_weights: InitialWeights = "torch"  # torch's own, or all numbers uniform in +-0.1 (uniform)
    backbone: str | None = None  # classifier that encodes the glimpse and is trained; None = none
    axes: int = 2  # numbers of a location; 3 = (x, y, scale): the scale is read with it, and proposed


# Glimpse network

FREQUENCIES = 4  # octaves of the Fourier features of a location


def build_encoder(a: Architecture) -> nn.Module:
    """Return the glimpse encoder: fully connected layers, convolutions, templates, or a trained backbone."""
    if a.backbone is not None:
        if a.glimpse_encoder != "mlp":
            reason = "the trained backbone encodes glimpses; use mlp"
            raise ValueError(f"--glimpse-encoder {a.glimpse_encoder}: {reason}")
        side = math.isqrt(a.glimpse // a.channels)
        return TrunkEncoder(a.backbone, a.channels, side, a.features, a.encoder_layers, a.dropout)
    if a.glimpse_encoder == "conv":
        return Convolutions(a.glimpse, a.channels, a.features, a.encoder_layers)
    if a.glimpse_encoder == "templates":
        return Templates(a.glimpse, a.channels, a.templates, a.features, a.encoder_layers)
    return relu_layers(a.glimpse, *[a.features] * a.encoder_layers)


class GlimpseNetwork(nn.Module):
    """Fuse what a glimpse shows and where it was taken.

    location_encoding="linear" is Mnih et al. 2014 as in DT-RAM's code: ReLU layers on the pixels and on (x,
    y), concatenated, ReLU. "fourier" multiplies the glimpse's features by a linear map of the location's
    Fourier features (the product of what and where, after Larochelle & Hinton 2010), which learns in far
    fewer updates. "none": the core reads the glimpse's features alone (DT-RAM on photographs, with
    encoder_layers=0). The glimpse encoder of the papers has one layer on MNIST. With zoom the scale at which
    a glimpse was taken is the location's third coordinate.
    """

    octaves: Tensor

    def __init__(self, a: Architecture) -> None:
        """Build the glimpse encoder (`what`), the location's layer, and the fusing layer."""
        super().__init__()
        self.encoding = a.location_encoding
        self.dropout = nn.Dropout(a.dropout)
        self.drop_values = self.dropout if a.backbone is None else nn.Identity()  # a trunk needs all pixels
        self.what = build_encoder(a)
        own = self.what.trunk.features if isinstance(self.what, TrunkEncoder) else a.glimpse
        self.width = a.features if a.encoder_layers else own  # of the glimpse's features
        self.outputs = self.width if self.encoding == "none" else a.hidden
        if self.encoding != "none":
            linear = self.encoding == "linear"
            inputs = a.axes if linear else a.axes * (1 + 2 * FREQUENCIES)
            self.place = nn.Linear(inputs, a.features if linear else self.width)
            self.fuse = nn.Linear(self.width + a.features * linear, a.hidden)
        self.register_buffer("octaves", math.pi / 2 * 2.0 ** torch.arange(FREQUENCIES), persistent=False)

    def encode(self, glimpse: Float[Tensor, "env ..."]) -> Features:
        """Return the features of the glimpse alone."""
        return self.what(self.drop_values(glimpse.flatten(1)))

    def forward(self, features: Features, location: Float[Tensor, "env axis"]) -> Float[Tensor, "env input"]:
        """Return the input of the core: the features (by `encode`), fused with the location."""
        if self.encoding == "none":
            return self.dropout(features)
        if self.encoding == "linear":
            fused = torch.cat((features, self.place(location).relu()), 1)
        else:
            waves = (location[:, :, None] * self.octaves).flatten(1)
            fused = features * self.place(torch.cat((location, waves.sin(), waves.cos()), 1))
        return self.dropout(self.fuse(fused).relu())


def confidence(logits: Logits, step: Float[Tensor, "env horizon"]) -> Features:
    """Return a stopping rule's input: top class's log-odds, margin over the second, log entropy, and step.

    `step` is one-hot. Without gradient: the stop head does not train the class scores.
    """
    log_p = logits.detach().float().log_softmax(1)
    top = log_p.topk(2, 1).values
    others = torch.log1p(-top[:, :1].exp().clamp(max=1 - 1e-6))
    entropy = -(log_p.exp() * log_p).sum(1, keepdim=True)
    margin = top[:, :1].exp() - top[:, 1:].exp()
    return torch.cat((top[:, :1] - others, margin, entropy.clamp(min=1e-6).log(), step), 1)


def build_core(a: Architecture, width: int) -> ReLUCell | LSTMCell | TransformerCell:
    """Return the core, which reads features of this width."""
    if a.core == "transformer":
        return TransformerCell(width, a.hidden, a.horizon)
    return (LSTMCell if a.core == "lstm" else ReLUCell)(width, a.hidden)


class RecurrentAttention(Agent):
    """Glimpse network -> recurrent core -> heads; the state goes in and comes out."""

    def __init__(self, architecture: Architecture) -> None:
        """Build the modules. Heads are linear on the state, as in DT-RAM; the stop head has `stop_hidden`."""
        super().__init__()
        self.architecture = a = architecture
        self.glimpse = GlimpseNetwork(a)
        self.core = build_core(a, self.glimpse.outputs)
        self.classifier = nn.Linear(a.hidden, a.classes)
        self.shortcut = nn.Linear(self.glimpse.width, a.classes, bias=False) if a.skip_connection else None
        self.location_policy = build_learned(a.location_policy, a.grid, a.axes, a.location_bound)
        self.map_encoder, self.reads_map = None, a.map_shape is not None
        if a.map_shape is not None:
            self.map_encoder = MapEncoder(a.map_shape[0], a.dropout)
            self.locator = MapLocator(CHANNELS, a.map_shape[1], a.reach, FEATURE_MARK_SIGMA)
        elif a.locator == "map":
            self.locator = MapLocator(a.channels, math.isqrt(a.glimpse // a.channels), a.reach)
        else:
            self.locator = nn.Linear(a.hidden, self.location_policy.num_parameters)
            with torch.no_grad():  # at first near the centre, where tanh is steep, or all cells alike
                self.locator.weight.mul_(0.1)
        if a.axes > 2 and not isinstance(self.locator, nn.Linear):  # a map has places, but no scales
            self.scaler = nn.Linear(a.hidden, 1)
            with torch.no_grad():
                self.scaler.weight.mul_(0.1)
        self.baseline = nn.Linear(a.hidden, 1)
        inputs = a.hidden if a.stop_input == "state" else 3 + a.horizon
        decision = nn.Linear(a.stop_hidden or inputs, 1)
        hidden = [nn.Linear(inputs, a.stop_hidden), nn.Tanh()] if a.stop_hidden else []
        self.stopper = nn.Sequential(*hidden, decision)
        nn.init.zeros_(decision.weight)
        nn.init.constant_(decision.bias, -1.0)  # stops rarely at first, so that late steps are explored
        if a.initial_weights == "uniform":
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -0.1, 0.1)

    def begin(self, rows: int) -> State:
        """Return the state before the first glimpse: zeros."""
        a, new = self.architecture, self.classifier.weight.new_zeros
        view, cells = (0, 0) if isinstance(self.locator, nn.Linear) else self.locator.sizes
        return State(*(new(rows, n) for n in (a.hidden, self.core.size, a.classes, view, cells)))

    def encode_map(self, maps: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image value"]:
        """Return the feature maps as the locator scores them."""
        assert self.map_encoder is not None
        return self.map_encoder(maps)

    def start(self, rows: int, context: Tensor | None) -> tuple[State, Parameters | None]:
        """Return zeros, and with `learned_start` the location head's outputs on them (DT-RAM's code).

        The context of a network that `reads_map` is `encode_map` of the first views.
        """
        state = self.begin(rows)
        if self.reads_map:
            if context is None:
                needed = "choose the images (indices), so that their maps can be read"
                raise ValueError(f"locator='map' scores the feature map of the first view: {needed}")
            state = state._replace(view=context)
        if not self.architecture.learned_start:
            return state, None
        if self.architecture.locator == "map":
            raise ValueError("learned_start needs locator='state': a map over the first view needs glimpse 1")
        return state, self.propose(state)

    def forward(self, observation: dict[str, Tensor], state: State) -> tuple[Heads, State]:
        """Process one glimpse."""
        features = self.glimpse.encode(observation["glimpse"])
        state = self.core(self.glimpse(features, join_location(observation)), state)
        logits, state = self.classify(features, observation["step"], state)
        state = self.remember(observation, state)
        location = self.propose(state)
        stop = self.stop_logit(logits, observation["step"], state)
        baseline = self.baseline(state.hidden.detach()).float().squeeze(1)
        return Heads(logits, location, stop, baseline), State(*state)  # torch 2.9 compiles no `_replace`

    def classify(self, features: Features, step: Step, state: State) -> tuple[Logits, State]:
        """Return the class scores, and the state with their sum."""
        logits = self.classifier(state.hidden).float()
        if self.shortcut is not None:
            logits = logits + self.shortcut(features).float()
        if self.architecture.scores == "state":
            return logits, state
        total = torch.where(self.is_first(step), logits, state.total + logits)
        return total / (step * self.architecture.horizon), state._replace(total=total)

    def remember(self, observation: dict[str, Tensor], state: State) -> State:
        """Return the state with a map locator's inputs: the first view, and marks of the later locations."""
        if isinstance(self.locator, nn.Linear):
            return state
        first, mark = self.is_first(observation["step"]), self.locator.mark(observation["location"])
        view = state.view
        if not self.reads_map:
            view = torch.where(first, observation["glimpse"].flatten(1), view)
        visited = torch.where(first, torch.zeros_like(mark), torch.maximum(state.visited, mark))
        return state._replace(view=view, visited=visited)

    def is_first(self, step: Step) -> Bool[Tensor, "env 1"]:
        """Return which rows begin an episode: sums and marks of an earlier one do not count there."""
        return step * self.architecture.horizon < 1.5

    def propose(self, state: State) -> Parameters:
        """Return the location policy's parameters for the next location."""
        if isinstance(self.locator, nn.Linear):
            return self.location_policy.activate(self.locator(state.hidden).float())
        if isinstance(self.location_policy, GridSoftmax):
            locations = lattice(self.location_policy.grid, state.view.device)
            scores = self.locator.score_locations(state.view, state.visited, locations)
            return self.location_policy.activate(scores)
        location = self.locator(state.view, state.visited)
        if self.architecture.axes == 2:
            return location
        return torch.cat((location, self.scaler(state.hidden).float().tanh()), 1)

    def stop_logit(self, logits: Logits, step: Step, state: State) -> Float[Tensor, " env"]:
        """Return the log-odds of stopping, clamped to +-`stop_clamp` (DT-RAM's code: 10), for a gradient."""
        if not self.decides:
            return logits.new_full((logits.shape[0],), NEVER)
        read, horizon = state.hidden, self.architecture.horizon
        if self.architecture.stop_input == "confidence":
            number = (step.squeeze(1) * horizon).round().long() - 1
            read = confidence(logits, F.one_hot(number, horizon).float())
        logit, limit = self.stopper(read).float().squeeze(1), self.architecture.stop_clamp
        return logit.clamp(-limit, limit) if limit else logit
