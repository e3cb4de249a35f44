"""The interface of an agent's network to training and evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env.networks.location_policy import Gaussian, LocationPolicy


class Heads(NamedTuple):
    """Outputs of the network after one glimpse."""

    logits: Float[Tensor, "env class"]
    location_parameters: Float[
        Tensor, "env parameter"
    ]  # of `Agent.location_policy`, from which the next location is drawn
    stop: Float[Tensor, " env"]  # log-odds of stopping now
    baseline: Float[Tensor, " env"]  # predicted return, where a learned baseline is used


Memory = Any  # what a network carries from glimpse to glimpse: a NamedTuple of tensors of its own


class Agent(nn.Module, ABC):
    """A network that glimpses, predicts and stops; its memory goes in and comes out. `architecture` rebuilds it."""

    architecture: Any  # a frozen dataclass with at least `glimpse` (values of one glimpse) and `classes`
    location_policy: LocationPolicy = (
        Gaussian()
    )  # whose parameters the network puts out; by default the location itself
    decides: bool = True  # False while it learns where to look: an agent may then leave its stop head out, a tenth of an update
    location_gradient: float = (
        0.0  # share of the class scores' gradient that reaches the policy through the observed `location`
    )

    @abstractmethod
    def begin(self, rows: int) -> Memory:
        """Return the memory before the first glimpse."""

    def start(
        self, rows: int, context: Tensor | None
    ) -> tuple[Memory, Float[Tensor, "env parameter"] | None]:
        """Return the memory before the first glimpse, and the location policy's parameters for glimpse 1.

        Args:
            rows: Number of episodes that run in parallel.
            context: What the sensor shows of their images before glimpse 1; None = nothing.

        Returns:
            The memory; and the parameters, or None where the environment chooses the location.
        """
        del context
        return self.begin(rows), None

    @abstractmethod
    def forward(self, observation: dict[str, Tensor], state: Memory) -> tuple[Heads, Memory]:
        """Process one glimpse; return the outputs and the next memory."""
