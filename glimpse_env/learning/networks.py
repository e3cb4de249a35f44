"""The recurrent attention network of RAM and DT-RAM: a recurrent core on the glimpse network, and heads."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from glimpse_env.learning.agent import Agent, Heads
from glimpse_env.learning.architecture import Architecture
from glimpse_env.learning.glimpse_network import GlimpseNetwork
from glimpse_env.learning.locators import MapLocator


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

    def first_location(self, rows: int) -> Float[Tensor, "env 2"] | None:
        """Return the mean of glimpse 1's place: the locator on a zero state (DT-RAM's code), or None where the environment chooses."""
        if not self.architecture.learned_start:
            return None
        if not isinstance(self.locator, nn.Linear):
            raise ValueError("learned_start needs locator='state': a map over the first view exists only after it was seen")
        return self.locator(self.begin(rows).hidden).float().tanh()

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
