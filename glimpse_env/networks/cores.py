"""Recurrent cores: from a glimpse's features and the state before it to the state after it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class State(NamedTuple):
    """What the network remembers from glimpse to glimpse."""

    hidden: Float[Tensor, "env hidden"]
    cell: Float[Tensor, "env hidden"]  # of the LSTM, else zeros
    total: Float[Tensor, "env class"]  # the sum of all class scores so far
    view: Float[Tensor, "env value"]  # glimpse 1, for a `MapLocator` (else empty)
    visited: Float[Tensor, "env cell"]  # its marks of the locations of earlier glimpses


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
    """Long short-term memory (Hochreiter & Schmidhuber 1997), its forget gates open at the start of training.

    Not nn.LSTMCell, which does not run in bfloat16 autocast on a CPU at matrix-unit speed.
    """

    def __init__(self, width: int, hidden: int) -> None:
        """Build the gates' two linear maps."""
        super().__init__()
        self.input, self.recur = nn.Linear(width, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        with torch.no_grad():
            self.input.bias[hidden : 2 * hidden] = 1.0

    def forward(self, feature: Float[Tensor, "env width"], state: State) -> State:
        """Return the next state."""
        enter, forget, leave, candidate = (self.input(feature) + self.recur(state.hidden)).chunk(4, 1)
        cell = forget.sigmoid() * state.cell + enter.sigmoid() * candidate.tanh()
        return state._replace(hidden=leave.sigmoid() * cell.tanh(), cell=cell)
