"""Location policies: how the location of the next glimpse is chosen. Another policy is another class.

A learned policy is a distribution whose parameters the network outputs (`Heads.location_parameters`).
Policies that are not learned read no parameters (`fixed_policies`).

References: Mnih et al. 2014 (RAM: a Gaussian); Liu et al. 2016 (FCAN, section 4: the multinomial of a score
map).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from glimpse_env.runtime import distributed

LearnedName = Literal["gaussian", "grid_softmax"]
Bound = Literal["tanh", "hardtanh"]
LOG_2PI = math.log(2 * math.pi)

Random = distributed.Random
Locations = Float[Tensor, "*env axis"]  # (x, y), with zoom (x, y, scale)
Cells = Int64[Tensor, " env"]
Samples = Int64[Tensor, "env sample"]
LogProbs = Float[Tensor, "env cell"]


class LocationPolicy(ABC):
    """How the next location is chosen in every row.

    `sample` and `mode` return actions, without gradient, and `log_prob` takes them. An action is a location
    (x, y) or what `locate` turns into one, such as the number of a cell. With zoom a location is (x, y,
    scale): where to look and how wide are chosen, and scored, together.
    """

    num_parameters: int = 0  # of a row, which a network's location head outputs; 0 = no such head
    axes: int = 2  # numbers of a location
    reparametrised: bool = False  # an action is the parameters plus noise: gradient may pass through it

    @abstractmethod
    def sample(self, parameters: Tensor, generator: Random = None, index: int = 0) -> Tensor:
        """Draw an action in every row.

        `parameters` are (env, parameter); a policy that is not learned uses their number of rows alone. The
        generator is in the same state in all processes that train together. `index` counts the locations
        chosen before in this episode.
        """

    @abstractmethod
    def mode(self, parameters: Tensor, index: int = 0) -> Tensor:
        """Return the most probable action of every row."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        """Return the log-probability (or density) of every row's action, with gradient to the parameters."""

    def locate(self, action: Tensor) -> Tensor:
        """Return the location of every action; the environment clamps it to [-1, 1]."""
        return action

    def activate(self, outputs: Tensor) -> Tensor:
        """Return the parameters from the outputs (env, parameter) of a linear location head."""
        return outputs

    def first(self, parameters: Tensor | None, rows: int, generator: torch.Generator) -> Tensor | None:
        """Return the action for glimpse 1, where glimpse 1 is not the whole image.

        `parameters` are the network's proposal, None where it makes none. Returns an action of every row;
        None = the environment chooses the location.
        """
        del rows
        return None if parameters is None else self.sample(parameters, generator)

    def narrow(self, sigma: float) -> LocationPolicy:
        """Return the same policy with another standard deviation, if it has one."""
        del sigma
        return self

    def check(self, choices: int) -> None:
        """Raise a ValueError if an episode has fewer locations than `choices`."""
        del choices


@dataclass(frozen=True)
class Gaussian(LocationPolicy):
    """N(mean, sigma^2 I) over locations (x, y), or (x, y, scale); the parameters are the mean.

    A sample is not clamped, and its density is that of the sample before the environment clamps it.
    """

    sigma: float = 0.0  # standard deviation in units of location; 0 = always the mean, with log-probability 0
    axes: int = 2
    bound: Bound = "tanh"  # keeps the mean in [-1, 1]; hardtanh has no gradient where it clamps
    reparametrised = True

    @property
    def num_parameters(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The mean's numbers."""
        return self.axes

    def sample(self, parameters: Locations, generator: Random = None, index: int = 0) -> Locations:
        """Draw a location."""
        mean = self.mode(parameters)
        if not self.sigma:
            return mean
        return mean + self.sigma * distributed.draw(torch.randn, mean.shape, generator, mean.device)

    def mode(self, parameters: Locations, index: int = 0) -> Locations:
        """Return the mean."""
        return parameters.detach()

    def log_prob(self, parameters: Locations, action: Locations) -> Float[Tensor, "*env"]:
        """Return log N(action; mean, sigma^2 I)."""
        if not self.sigma:
            return torch.zeros_like(parameters[..., 0])
        squared = ((action.detach() - parameters) / self.sigma).square().sum(-1)
        return -0.5 * squared - self.axes * math.log(self.sigma) - self.axes / 2 * LOG_2PI

    def activate(self, outputs: Float[Tensor, "env axis"]) -> Float[Tensor, "env axis"]:
        """Return a mean inside [-1, 1]."""
        return outputs.tanh() if self.bound == "tanh" else F.hardtanh(outputs)

    def narrow(self, sigma: float) -> Gaussian:
        """Return a Gaussian with another standard deviation."""
        return replace(self, sigma=sigma)


@dataclass(frozen=True)
class GridSoftmax(LocationPolicy):
    """A categorical distribution over the cells of a `grid` x `grid` lattice from -1 to 1.

    The parameters are log-probabilities. An action is the number of a cell, row by row, as in the bank
    sensor. Cells may be chosen more than once.
    """

    grid: int  # cells a side

    def __post_init__(self) -> None:
        """Refuse a grid of fewer than 2 cells a side (ValueError)."""
        if self.grid < 2:
            refused = f"--grid {self.grid}: --location-policy grid_softmax"
            raise ValueError(f"{refused} chooses among cells; expected at least 2 a side")

    @property
    def num_parameters(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Cells of the grid."""
        return self.grid**2

    def sample(self, parameters: LogProbs, generator: Random = None, index: int = 0) -> Cells:
        """Draw a cell: the first whose cumulative probability exceeds a uniform random number."""
        uniform = distributed.draw(torch.rand, (len(parameters), 1), generator, parameters.device)
        below = parameters.detach().exp().cumsum(1) <= uniform
        return below.sum(1).clamp(max=self.grid**2 - 1)  # rounding may leave the whole sum below 1

    def mode(self, parameters: LogProbs, index: int = 0) -> Cells:
        """Return the most probable cell."""
        return parameters.argmax(1)

    def log_prob(self, parameters: LogProbs, action: Cells) -> Float[Tensor, " env"]:
        """Return the log-probability of the cell."""
        return parameters.gather(1, action[:, None]).squeeze(1)

    def locate(self, action: Cells) -> Float[Tensor, "env 2"]:
        """Return the centre of the cell."""
        return torch.stack((action % self.grid, action // self.grid), 1) * (2 / (self.grid - 1)) - 1

    def activate(self, outputs: LogProbs) -> LogProbs:
        """Return the logarithm of the softmax of a score for each cell."""
        return outputs.log_softmax(1)


class Multinomial(LocationPolicy):
    """FCAN's policy (section 4): cells drawn with replacement; the parameters are log-probabilities."""

    def sample(
        self, parameters: LogProbs, generator: Random = None, index: int = 0, samples: int = 1
    ) -> Samples:
        """Draw `samples` cells."""
        return torch.multinomial(parameters.detach().exp(), samples, replacement=True, generator=generator)

    def mode(self, parameters: LogProbs, index: int = 0) -> Cells:
        """Return the most probable cell."""
        return parameters.argmax(1)

    def log_prob(self, parameters: LogProbs, action: Samples) -> Float[Tensor, "env sample"]:
        """Return the log-probability of every cell drawn."""
        return parameters.gather(1, action)


@dataclass(frozen=True)
class MostProbable(LocationPolicy):
    """The most probable actions of another policy, for evaluation; their log-probability is 0."""

    policy: LocationPolicy

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the other policy's actions are."""
        return self.policy.reparametrised

    @property
    def axes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The other policy's."""
        return self.policy.axes

    def sample(self, parameters: Tensor, generator: Random = None, index: int = 0) -> Tensor:
        """Return the other policy's most probable action."""
        return self.policy.mode(parameters, index)

    def mode(self, parameters: Tensor, index: int = 0) -> Tensor:
        """Return the other policy's most probable action."""
        return self.policy.mode(parameters, index)

    def log_prob(self, parameters: Tensor, action: Tensor) -> Float[Tensor, " env"]:
        """Return zeros."""
        return torch.zeros_like(parameters[:, 0])

    def locate(self, action: Tensor) -> Locations:
        """Return the other policy's location."""
        return self.policy.locate(action)


def build_learned(name: LearnedName, grid: int, axes: int = 2, bound: Bound = "tanh") -> LocationPolicy:
    """Return a network's policy of this name; `grid` is the number of cells a side of a policy over cells.

    `bound`: what keeps a Gaussian's mean inside.

    Raises:
        ValueError: A policy over cells for locations with a scale.
    """
    if name == "gaussian":
        return Gaussian(axes=axes, bound=bound)
    if axes > 2:
        raise ValueError(f"--location-policy {name}: its cells have no scale; use gaussian with --zoom")
    return GridSoftmax(grid)
