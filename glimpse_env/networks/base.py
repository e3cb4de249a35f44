"""The interface of an agent's network to training and evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env.networks.location_policy import Gaussian, LocationPolicy

NEVER = -10.0  # log-odds of stopping, of a network whose number of glimpses is fixed
Memory = Any  # what a network carries from glimpse to glimpse: a NamedTuple of tensors of its own
Logits = Float[Tensor, "env class"]
Parameters = Float[Tensor, "env parameter"]  # of a location policy


class Heads(NamedTuple):
    """Outputs of the network after one glimpse."""

    logits: Logits
    location_parameters: Parameters  # of `Agent.location_policy`, for the next location
    stop: Float[Tensor, " env"]  # log-odds of stopping now
    baseline: Float[Tensor, " env"]  # predicted return, where a learned baseline is used


class Agent(nn.Module, ABC):
    """A network that glimpses, predicts and stops; its memory goes in and comes out."""

    architecture: Any  # rebuilds it: a frozen dataclass with at least `glimpse` (values) and `classes`
    location_policy: LocationPolicy = Gaussian()  # by default the network proposes the location itself
    decides: bool = True  # False: the stop head is not trained and may be left out, which saves time
    reads_map: bool = False  # `start` needs `encode_map` of the backbone's maps of the whole images
    location_gradient: float = 0.0  # share of the class scores' gradient that passes through `location`

    @abstractmethod
    def begin(self, rows: int) -> Memory:
        """Return the memory before the first glimpse."""

    def start(self, rows: int, context: Tensor | None) -> tuple[Memory, Parameters | None]:
        """Return the memory before the first glimpse, and the location policy's parameters for glimpse 1.

        The parameters are None where the environment chooses the location. `context` is what the sensor shows
        of the images before glimpse 1; None = nothing.
        """
        del context
        return self.begin(rows), None

    def encode_map(self, maps: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image value"]:
        """Return what `start` gets as context of a network that `reads_map`."""
        return maps.flatten(1)

    @abstractmethod
    def forward(self, observation: dict[str, Tensor], state: Memory) -> tuple[Heads, Memory]:
        """Process one glimpse; return the outputs and the next memory."""
