"""What a recurrent attention network is made of: saved with its weights, so that a checkpoint rebuilds it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from glimpse_env.networks.base import Agent, Heads

Core = Literal["rnn", "lstm"]
Where = Literal["linear", "fourier"]
What = Literal["mlp", "conv"]
LocatorName = Literal["state", "map"]
Scores = Literal["state", "mean"]
StopInput = Literal["state", "confidence"]


@dataclass(frozen=True)
class Architecture:
    """Sizes and variants; saved with the weights, so that a checkpoint rebuilds its network."""

    glimpse: int  # values of one glimpse, flattened
    classes: int
    horizon: int  # max_glimpses, for the step feature of the stop head
    core: Core = "lstm"
    hidden: int = 256
    features: int = 256  # width of the glimpse network's two branches
    depth: int = 3  # layers of its branch for what is seen
    where: Where = "fourier"
    what: What = "mlp"
    channels: int = 1  # of the glimpse, for what="conv"
    locator: LocatorName = "state"  # where to look next: a linear head on the state, or a map over the first view
    reach: float = 1.0  # where location +-1 lies, for locator="map"
    shortcut: bool = False  # class scores also read the glimpse's own features, past the core
    dropout: float = 0.0  # share of the glimpse's values, and of the features, dropped while training
    scores: Scores = "state"  # the answer after glimpse t: scores of the state, or their mean over glimpses 1 to t
    stop_input: StopInput = "confidence"
    learned_start: bool = False  # glimpse 1 is taken at a learned place instead of the environment's initial_location


FREQUENCIES = 4  # octaves of the Fourier features of a location


class GlimpseNetwork(nn.Module):
    """Fuse what was seen and where.

    where="linear" is Mnih et al. 2014 as in DT-RAM's code: ReLU layers on pixels and on (x, y), concatenated, ReLU. where="fourier"
    gates the pixel features by a linear map of the location's Fourier features (the product of what and where, after Larochelle & Hinton
    2010), which learns to place what it sees in far fewer updates. `depth` ReLU layers look at the pixels (the papers: one).
    """

    octaves: Tensor

    def __init__(self, a: Architecture) -> None:
        """Build the two branches and the fusing layer."""
        super().__init__()
        self.where = a.where
        self.dropout = nn.Dropout(a.dropout)
        self.what = Convolutions(a) if a.what == "conv" else layers(a)
        self.place = nn.Linear(2 if a.where == "linear" else 2 + 4 * FREQUENCIES, a.features)
        self.fuse = nn.Linear(2 * a.features if a.where == "linear" else a.features, a.hidden)
        self.register_buffer("octaves", math.pi / 2 * 2.0 ** torch.arange(FREQUENCIES), persistent=False)

    def forward(self, seen: Float[Tensor, "env feature"], location: Float[Tensor, "env 2"]) -> Float[Tensor, "env width"]:
        """Return the feature vector of what was seen (by `what`) and where."""
        if self.where == "linear":
            return self.dropout(self.fuse(torch.cat((seen, self.place(location).relu()), 1)).relu())
        waves = (location[:, :, None] * self.octaves).flatten(1)
        return self.dropout(self.fuse(seen * self.place(torch.cat((location, waves.sin(), waves.cos()), 1))).relu())


def layers(a: Architecture) -> nn.Sequential:
    """Return `depth` fully connected ReLU layers from the glimpse's values to features."""
    sizes = [a.glimpse] + [a.features] * a.depth
    return nn.Sequential(*(layer for size in sizes[:-1] for layer in (nn.Linear(size, a.features), nn.ReLU())))


class Convolutions(nn.Module):
    """See a pattern wherever it lies in the glimpse, and roughly where things are.

    Half of the features are the maxima of two convolutions over the whole glimpse, so that a pattern found at one place is known at
    all; the other half are fully connected layers, which keep the places that the maxima forget.
    """

    def __init__(self, a: Architecture) -> None:
        """Build both halves."""
        super().__init__()
        side, half = math.isqrt(a.glimpse // a.channels), a.features // 2
        if side < 12:
            raise ValueError(f"what='conv' needs glimpses of at least 12 x 12 pixels, got {side} x {side}: use what='mlp'")
        self.patterns = nn.Sequential(
            nn.Unflatten(1, (a.channels, side, side)),
            *(nn.Conv2d(a.channels, 32, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(32, half, 5, padding=1), nn.ReLU()),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        )
        self.places = layers(replace(a, features=a.features - half))

    def forward(self, glimpse: Float[Tensor, "env value"]) -> Float[Tensor, "env feature"]:
        """Return the features."""
        return torch.cat((self.patterns(glimpse), self.places(glimpse)), 1)


CHANNELS = 32
BUMP = 1.5  # standard deviation of the mark that a visited place leaves, in cells of the view


class MapLocator(nn.Module):
    """Score every cell of the first view, knowing where glimpses were taken, and look at the mean of the scores' softmax.

    The score map is FCAN's localiser (Liu et al. 2016: two 3 x 3 convolutions, a spatial softmax) on the pixels of the first view, which is
    the context of all later glimpses (as in Ba et al. 2014). Deviations: the place is the softmax's mean, with the Gaussian policy of
    the other agents around it, and a second input marks the cells that were looked at. What is found worth a look in one corner is so
    in all of them.
    """

    centres: Tensor

    def __init__(self, channels: int, side: int, reach: float) -> None:
        """Build the two convolutions.

        Args:
            channels: Of the first view.
            side: Its height and width.
            reach: Where location +-1 lies in the image (`Sensor.reach`).
        """
        super().__init__()
        self.shape, self.reach = (channels, side, side), reach
        self.scores = nn.Sequential(nn.Conv2d(channels + 1, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, 1, 3, padding=1))
        axis = (torch.arange(side) + 0.5) * (2 / side) - 1
        self.register_buffer("centres", torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1), persistent=False)

    def forward(self, view: Float[Tensor, "env value"], visited: Float[Tensor, "env cell"]) -> Float[Tensor, "env 2"]:
        """Return the next location; it may lie beyond +-1 where the view reaches farther than glimpses do."""
        channels, height, width = self.shape
        cells = torch.cat((view, visited), 1).view(-1, channels + 1, height, width)
        share = self.scores(cells).flatten(1).float().softmax(1)
        return (share[:, :, None] * self.centres).sum(1) / self.reach  # a sum, which autocast leaves in single precision

    def mark(self, location: Float[Tensor, "env 2"]) -> Float[Tensor, "env cell"]:
        """Return the mark that a glimpse at `location` leaves on the cells: 1 at its centre, less around it."""
        width = BUMP * 2 / math.isqrt(len(self.centres))
        distance = (self.centres - (location * self.reach)[:, None]).square().sum(2)
        return (-0.5 * distance / width**2).exp()


class State(NamedTuple):
    """Recurrent state: what is remembered from glimpse to glimpse."""

    hidden: Float[Tensor, "env hidden"]
    cell: Float[Tensor, "env hidden"]  # of the LSTM, else zeros
    total: Float[Tensor, "env class"]  # the sum of all scores so far
    view: Float[Tensor, "env value"]  # glimpse 1, for a `MapLocator` (else empty)
    visited: Float[Tensor, "env cell"]  # its marks of the places that were looked at


class ReLUCell(nn.Module):
    """h = ReLU(input + W h): DT-RAM's recurrent layer."""

    def __init__(self, width: int, hidden: int) -> None:
        """Build the two linear maps."""
        super().__init__()
        self.input, self.recur = nn.Linear(width, hidden), nn.Linear(hidden, hidden)

    def forward(self, feature: Float[Tensor, "env width"], state: State) -> State:
        """Return the next state."""
        return state._replace(hidden=(self.input(feature) + self.recur(state.hidden)).relu())


class LSTMCell(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates opened at the start.

    Written out because nn.LSTMCell does not run in bfloat16 autocast on a CPU at matrix-unit speed.
    """

    def __init__(self, width: int, hidden: int) -> None:
        """Build the gates' two linear maps."""
        super().__init__()
        self.input, self.recur = nn.Linear(width, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        with torch.no_grad():
            self.input.bias[hidden : 2 * hidden] = 1.0

    def forward(self, feature: Float[Tensor, "env width"], state: State) -> State:
        """Return the next state."""
        enter, keep, leave, fresh = (self.input(feature) + self.recur(state.hidden)).chunk(4, 1)
        cell = keep.sigmoid() * state.cell + enter.sigmoid() * fresh.tanh()
        return state._replace(hidden=leave.sigmoid() * cell.tanh(), cell=cell)


def confidence(logits: Float[Tensor, "env class"], step: Float[Tensor, "env horizon"]) -> Float[Tensor, "env feature"]:
    """Return what a stopping rule may look at: log-odds of the top class, margin to the second, entropy, and the step as one-hot.

    Without gradient: the stop head reads the answer, it does not shape it.
    """
    log_p = logits.detach().float().log_softmax(1)
    top = log_p.topk(2, 1).values
    others = torch.log1p(-top[:, :1].exp().clamp(max=1 - 1e-6))
    entropy = -(log_p.exp() * log_p).sum(1, keepdim=True)
    margin = top[:, :1].exp() - top[:, 1:].exp()
    return torch.cat((top[:, :1] - others, margin, entropy.clamp(min=1e-6).log(), step), 1)


class RecurrentAttention(Agent):
    """Glimpse network -> recurrent core -> heads; state goes in and comes out."""

    def __init__(self, architecture: Architecture) -> None:
        """Build the modules; heads are linear on the state, as in DT-RAM, but for the stop head's small MLP."""
        super().__init__()
        self.architecture = a = architecture
        self.glimpse = GlimpseNetwork(a)
        self.core = LSTMCell(a.hidden, a.hidden) if a.core == "lstm" else ReLUCell(a.hidden, a.hidden)
        self.classifier = nn.Linear(a.hidden, a.classes)
        self.shortcut = nn.Linear(a.features, a.classes, bias=False) if a.shortcut else None
        self.locator = (
            MapLocator(a.channels, math.isqrt(a.glimpse // a.channels), a.reach) if a.locator == "map" else nn.Linear(a.hidden, 2)
        )
        self.baseline = nn.Linear(a.hidden, 1)
        inputs = a.hidden if a.stop_input == "state" else 3 + a.horizon
        decision = nn.Linear(64, 1)
        self.stopper = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), decision)
        nn.init.zeros_(decision.weight)
        nn.init.constant_(decision.bias, -1.0)  # looks on at first, so that late steps are explored
        with torch.no_grad():
            if isinstance(self.locator, nn.Linear):
                self.locator.weight.mul_(0.1)  # begins near the centre, where tanh is steep

    def begin(self, rows: int) -> State:
        """Return the state before the first glimpse."""
        weight = self.classifier.weight
        zeros = weight.new_zeros(rows, self.architecture.hidden)
        kept = self.architecture.glimpse if isinstance(self.locator, MapLocator) else 0
        view, visited = weight.new_zeros(rows, kept), weight.new_zeros(rows, kept // self.architecture.channels)
        return State(zeros, zeros, weight.new_zeros(rows, self.architecture.classes), view, visited)

    def start(self, rows: int, context: Tensor | None) -> tuple[State, Float[Tensor, "env 2"] | None]:
        """Return the zero state and the mean of glimpse 1's location: the locator on that state (DT-RAM's code), or None (see `Agent`)."""
        state = self.begin(rows)
        if not self.architecture.learned_start:
            return state, None
        if not isinstance(self.locator, nn.Linear):
            raise ValueError("learned_start needs locator='state': a map over the first view exists only after it was seen")
        return state, self.locator(state.hidden).float().tanh()

    def forward(self, observation: dict[str, Tensor], state: State) -> tuple[Heads, State]:
        """Take in one glimpse."""
        seen = self.glimpse.what(self.glimpse.dropout(observation["glimpse"].flatten(1)))
        state = self.core(self.glimpse(seen, observation["location"]), state)
        hidden = state.hidden
        logits = self.classifier(hidden).float()
        if self.shortcut is not None:
            logits = logits + self.shortcut(seen).float()
        if self.architecture.scores == "mean":
            total = torch.where(self.is_first(observation), logits, state.total + logits)
            logits, state = total / (observation["step"] * self.architecture.horizon), state._replace(total=total)
        mean, state = self.aim(observation, state)
        baseline = self.baseline(hidden.detach()).float().squeeze(1)
        return Heads(logits, mean, self.stop_logit(hidden, logits, observation["step"]), baseline), state

    def aim(self, observation: dict[str, Tensor], state: State) -> tuple[Float[Tensor, "env 2"], State]:
        """Return the mean of the next location, and the state that remembers what a map locator needs."""
        if isinstance(self.locator, nn.Linear):
            return self.locator(state.hidden).float().tanh(), state
        first = self.is_first(observation)
        view = torch.where(first, observation["glimpse"].flatten(1), state.view)
        visited = torch.where(
            first, torch.zeros_like(state.visited), torch.maximum(state.visited, self.locator.mark(observation["location"]))
        )
        return self.locator(view, visited), state._replace(view=view, visited=visited)

    def is_first(self, observation: dict[str, Tensor]) -> Bool[Tensor, "env 1"]:
        """Tell which rows see their first glimpse: what is remembered of an earlier episode does not count there."""
        return observation["step"] * self.architecture.horizon < 1.5

    def stop_logit(self, hidden: Tensor, logits: Tensor, fraction: Float[Tensor, "env 1"]) -> Float[Tensor, " env"]:
        """Return the log-odds of stopping, clamped to +-10 (as DT-RAM's code does) so that no decision is beyond learning."""
        if not self.decides:
            return logits.new_full((len(logits),), -10.0)
        horizon = self.architecture.horizon
        if self.architecture.stop_input == "confidence":
            step = F.one_hot((fraction.squeeze(1) * horizon).round().long() - 1, horizon)
            hidden = confidence(logits, step.float())
        return self.stopper(hidden).float().squeeze(1).clamp(-10, 10)
