"""Cores, the networks' memory: from a glimpse's features and the state before it to the state after it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class State(NamedTuple):
    """What the network remembers from glimpse to glimpse."""

    hidden: Float[Tensor, "env hidden"]
    cell: Float[Tensor, "env cell"]  # of the LSTM, keys and values of the transformer, else zeros
    total: Float[Tensor, "env class"]  # the sum of all class scores so far
    view: Float[Tensor, "env value"]  # glimpse 1, for a `MapLocator` (else empty)
    visited: Float[Tensor, "env place"]  # its marks of the locations of earlier glimpses


class ReLUCell(nn.Module):
    """h = ReLU(input + W h): DT-RAM's recurrent layer."""

    def __init__(self, width: int, hidden: int) -> None:
        """Build the two linear maps."""
        super().__init__()
        self.size = hidden  # of `State.cell`
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
        self.size = hidden
        self.input, self.recur = nn.Linear(width, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        with torch.no_grad():
            self.input.bias[hidden : 2 * hidden] = 1.0

    def forward(self, feature: Float[Tensor, "env width"], state: State) -> State:
        """Return the next state."""
        enter, forget, leave, candidate = (self.input(feature) + self.recur(state.hidden)).chunk(4, 1)
        cell = forget.sigmoid() * state.cell + enter.sigmoid() * candidate.tanh()
        return state._replace(hidden=leave.sigmoid() * cell.tanh(), cell=cell)


class Block(nn.Module):
    """A layer of a causal transformer, for one glimpse: attention to it and the earlier ones, then an MLP."""

    def __init__(self, hidden: int, heads: int) -> None:
        """Build the linear maps; both parts normalise their input and are added to it."""
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.read, self.write = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.mlp = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))

    def forward(
        self,
        feature: Float[Tensor, "env hidden"],
        known: Float[Tensor, "env time pair"],
        here: Bool[Tensor, "env time"],
        seen: Bool[Tensor, "env time"],
    ) -> tuple[Float[Tensor, "env hidden"], Float[Tensor, "env time pair"]]:
        """Return the next layer's input, and keys and values with those of this glimpse.

        `here` marks the glimpse's place among them, `seen` it and the earlier ones.
        """
        query, pair = self.read(self.before(feature)).split((len(feature[0]), 2 * len(feature[0])), 1)
        known = torch.where(here[:, :, None], pair[:, None].to(known.dtype), known)
        keys, values = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in known.chunk(2, 2))
        query = query.unflatten(1, (self.heads, 1, -1)).to(known.dtype)
        attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=seen[:, None, None])
        feature = feature + self.write(attended.flatten(1))
        return feature + self.mlp(self.between(feature)), known


class TransformerCell(nn.Module):
    """A causal transformer over the glimpses of an episode (Vaswani et al. 2017), a glimpse at a time.

    `State.cell` holds the number of glimpses and the keys and values of every layer, so a step costs one
    glimpse's layers, not all earlier ones again.
    """

    def __init__(self, width: int, hidden: int, horizon: int, layers: int = 2, heads: int = 4) -> None:
        """Build the layers, for episodes of at most `horizon` glimpses.

        Raises:
            ValueError: The heads do not divide the hidden units.
        """
        super().__init__()
        if hidden % heads:
            raise ValueError(f"--hidden {hidden}: --core transformer needs a multiple of {heads}, its heads")
        self.input, self.position = nn.Linear(width, hidden), nn.Embedding(horizon, hidden)
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.normalise = nn.LayerNorm(hidden)
        self.horizon, self.shape = horizon, (layers, horizon, 2 * hidden)
        self.size = 1 + math.prod(self.shape)

    def forward(self, feature: Float[Tensor, "env width"], state: State) -> State:
        """Return the next state."""
        number, known = state.cell[:, 0].long(), state.cell[:, 1:].unflatten(1, self.shape)
        place = torch.arange(self.horizon, device=number.device)
        here, seen = place == number[:, None], place <= number[:, None]
        feature, layers = self.input(feature) + self.position(number.clamp(max=self.horizon - 1)), []
        for block, pairs in zip(self.blocks, known.unbind(1), strict=True):
            feature, pairs = block(feature, pairs, here, seen)
            layers.append(pairs)
        cell = torch.cat((state.cell[:, :1] + 1, torch.stack(layers, 1).flatten(1)), 1)
        return state._replace(hidden=self.normalise(feature), cell=cell)
