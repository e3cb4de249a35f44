"""What training and evaluation ask of an agent's network, and the table of networks that a checkpoint may name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn


class Heads(NamedTuple):
    """What the network says after one glimpse."""

    logits: Float[Tensor, "env class"]
    mean: Float[Tensor, "env 2"]  # of the Gaussian from which the next location is drawn; where to look when nothing is drawn
    stop: Float[Tensor, " env"]  # log-odds of stopping now
    baseline: Float[Tensor, " env"]  # predicted return, where a learned baseline is used


Memory = Any  # what a network carries from glimpse to glimpse: a NamedTuple of tensors of its own


class Agent(nn.Module, ABC):
    """A network that looks, answers and stops; what it remembers goes in and comes out. `architecture` rebuilds it."""

    architecture: Any  # a frozen dataclass with at least `glimpse` (values of one glimpse), `classes` and `learned_start`
    decides: bool = True  # False while it learns where to look: an agent may then leave its stop head out, a tenth of an update
    location_gradient: float = 0.0  # share of the class scores' gradient that reaches the policy through the `location` it is told

    @abstractmethod
    def begin(self, rows: int) -> Memory:
        """Return what is remembered before the first glimpse."""

    @abstractmethod
    def first_location(self, rows: int) -> Float[Tensor, "env 2"] | None:
        """Return the mean of glimpse 1's place, or None where the environment chooses it."""

    def start(self, rows: int, context: Tensor | None) -> tuple[Memory, Float[Tensor, "env 2"] | None]:
        """Return what is remembered before the first glimpse, and the mean of its place (None = the environment chooses it).

        Args:
            rows: Images looked at side by side.
            context: What the sensor shows of them beforehand; None = nothing. An agent that uses it overrides this method.
        """
        return self.begin(rows), self.first_location(rows)

    @abstractmethod
    def forward(self, observation: dict[str, Tensor], state: Memory) -> tuple[Heads, Memory]:
        """Take in one glimpse."""
