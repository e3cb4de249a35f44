"""Location policies: how the location of the next glimpse is chosen. Another policy is another class here.

A learned policy is a distribution whose parameters the network gives for every row (`Heads.location_parameters`). Policies that are not
learned, to compare with, read no parameters.

References: Mnih et al. 2014 (RAM: a Gaussian); Liu et al. 2016 (FCAN, section 3.2: the multinomial of a score map).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env.runtime import distributed
from glimpse_env.sensors import lattice

PolicyName = Literal["learned", "random", "center", "grid", "raster"]
Order = Literal["center", "grid", "raster"]
LOG_2PI = math.log(2 * math.pi)


class LocationPolicy(ABC):
    """How the next location is chosen in every row.

    `sample` and `mode` return actions, without gradient, and `log_prob` takes them. An action is a location (x, y) or, where `locate` is
    overridden, what `locate` turns into one, such as the number of a cell.
    """

    reparametrised: bool = False  # actions are the parameters plus noise, so gradient may pass through an action to the parameters

    @abstractmethod
    def sample(self, parameters: Tensor, generator: torch.Generator | None = None, index: int = 0) -> Tensor:
        """Draw an action in every row.

        Args:
            parameters: Of the distribution, (env, parameter). A policy that is not learned reads their number of rows alone.
            generator: Source of randomness, in the same state in all processes that train together; None = torch's global one.
            index: How many locations were chosen before in this episode.
        """

    @abstractmethod
    def mode(self, parameters: Tensor, index: int = 0) -> Tensor:
        """Return the most probable action of every row."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        """Return the log-probability (or log-density) of every row's action, with gradient to the parameters."""

    def locate(self, action: Tensor) -> Tensor:
        """Return the location (x, y) of every action; the environment clamps it to [-1, 1]."""
        return action

    def first(self, parameters: Tensor | None, rows: int, generator: torch.Generator) -> Tensor | None:
        """Return the action that chooses the location of glimpse 1, where glimpse 1 is not the whole image.

        Args:
            parameters: Those of the network's proposal; None = it makes none.
            rows: Images looked at side by side.
            generator: Source of randomness, on the environment's device.

        Returns:
            An action of every row; None = the environment chooses the location.
        """
        del rows
        return None if parameters is None else self.sample(parameters, generator)

    def narrow(self, sigma: float) -> LocationPolicy:
        """Return the same policy with another standard deviation, if it has one."""
        del sigma
        return self

    def check(self, choices: int) -> None:
        """Refuse to choose more locations in an episode than there are.

        Raises:
            ValueError: There are not enough.
        """
        del choices


@dataclass(frozen=True)
class Gaussian(LocationPolicy):
    """N(mean, sigma^2 I) over locations (x, y); the parameters are the mean.

    A sample is not clamped, and its density is that of the sample before the environment clamps it.
    """

    sigma: float = 0.0  # standard deviation in units of location; 0 = always the mean, with log-probability 0
    reparametrised = True

    def sample(
        self, parameters: Float[Tensor, "*env 2"], generator: torch.Generator | None = None, index: int = 0
    ) -> Float[Tensor, "*env 2"]:
        """Draw a location."""
        if not self.sigma:
            return self.mode(parameters)
        return parameters.detach() + self.sigma * distributed.drawn(torch.randn, parameters.shape, generator, parameters.device)

    def mode(self, parameters: Float[Tensor, "*env 2"], index: int = 0) -> Float[Tensor, "*env 2"]:
        """Return the mean."""
        return parameters.detach()

    def log_prob(self, parameters: Float[Tensor, "*env 2"], action: Float[Tensor, "*env 2"]) -> Float[Tensor, "*env"]:
        """Return log N(action; mean, sigma^2 I)."""
        if not self.sigma:
            return torch.zeros_like(parameters[..., 0])
        squared = ((action.detach() - parameters) / self.sigma).square().sum(-1)
        return -0.5 * squared - 2 * math.log(self.sigma) - LOG_2PI

    def narrow(self, sigma: float) -> Gaussian:
        """Return a Gaussian with another standard deviation."""
        return Gaussian(sigma)


class Multinomial(LocationPolicy):
    """FCAN's: several cells drawn in every row, with replacement; the parameters are the log-probabilities of the cells (section 3.2)."""

    def sample(
        self, parameters: Float[Tensor, "env cell"], generator: torch.Generator | None = None, index: int = 0, samples: int = 1
    ) -> Int64[Tensor, "env sample"]:
        """Draw `samples` cells."""
        return torch.multinomial(parameters.detach().exp(), samples, replacement=True, generator=generator)

    def mode(self, parameters: Float[Tensor, "env cell"], index: int = 0) -> Int64[Tensor, " env"]:
        """Return the most probable cell."""
        return parameters.argmax(1)

    def log_prob(self, parameters: Float[Tensor, "env cell"], action: Int64[Tensor, "env sample"]) -> Float[Tensor, "env sample"]:
        """Return the log-probability of every cell drawn."""
        return parameters.gather(1, action)


@dataclass(frozen=True)
class MostProbable(LocationPolicy):
    """The most probable actions of another policy, for evaluation: nothing is drawn, so the log-probability is 0."""

    policy: LocationPolicy

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the other policy's actions are."""
        return self.policy.reparametrised

    def sample(self, parameters: Tensor, generator: torch.Generator | None = None, index: int = 0) -> Tensor:
        """Return the other policy's most probable action."""
        return self.policy.mode(parameters, index)

    def mode(self, parameters: Tensor, index: int = 0) -> Tensor:
        """Return the other policy's most probable action."""
        return self.policy.mode(parameters, index)

    def log_prob(self, parameters: Tensor, action: Tensor) -> Float[Tensor, " env"]:
        """Return zeros."""
        return torch.zeros_like(parameters[:, 0])

    def locate(self, action: Tensor) -> Float[Tensor, "env 2"]:
        """Return the other policy's location."""
        return self.policy.locate(action)


class Unlearned(LocationPolicy):
    """A policy without parameters: its actions are locations, and there is nothing that a log-probability could teach, so it is 0."""

    def log_prob(self, parameters: Tensor, action: Float[Tensor, "env 2"]) -> Float[Tensor, " env"]:
        """Return zeros."""
        return torch.zeros_like(action[:, 0])


@dataclass(frozen=True)
class Uniform(Unlearned):
    """Uniformly random locations in the square [-1, 1] x [-1, 1]; glimpse 1 is left to the environment."""

    def sample(self, parameters: Tensor, generator: torch.Generator | None = None, index: int = 0) -> Float[Tensor, "env 2"]:
        """Draw a location."""
        return distributed.drawn(torch.rand, torch.Size((len(parameters), 2)), generator, parameters.device) * 2 - 1

    def mode(self, parameters: Tensor, index: int = 0) -> Float[Tensor, "env 2"]:
        """Return the centre: all locations are equally probable, and it is their mean."""
        return parameters.new_zeros(len(parameters), 2)

    def first(self, parameters: Tensor | None, rows: int, generator: torch.Generator) -> None:
        """Leave it to the environment."""


@dataclass(frozen=True)
class Fixed(Unlearned):
    """The same locations in every image and episode, glimpse 1 included (see `order_cells`)."""

    order: Order
    grid: int  # cells a side

    def sample(self, parameters: Tensor, generator: torch.Generator | None = None, index: int = 0) -> Float[Tensor, "env 2"]:
        """Return the location of this index."""
        return self.mode(parameters, index)

    def mode(self, parameters: Tensor, index: int = 0) -> Float[Tensor, "env 2"]:
        """Return the location of this index; the last one again for the choice after the last glimpse, which nothing uses."""
        cells = order_cells(self.order, self.grid, parameters.device)
        return cells[min(index, len(cells) - 1)].expand(len(parameters), 2)

    def first(self, parameters: Tensor | None, rows: int, generator: torch.Generator) -> Float[Tensor, "env 2"]:
        """Return the first location."""
        return order_cells(self.order, self.grid, generator.device)[0].expand(rows, 2)

    def check(self, choices: int) -> None:
        """Refuse to choose more locations than the grid has cells.

        Raises:
            ValueError: It has fewer.
        """
        if self.order != "center" and choices > self.grid**2:
            raise ValueError(
                f"--policy {self.order}: {choices} locations are to be chosen, but the grid has {self.grid} x {self.grid} = "
                f"{self.grid**2} cells: use fewer --glimpses, or a larger --grid"
            )


@lru_cache(maxsize=64)
def order_cells(order: Order, grid: int, device: torch.device) -> Float[Tensor, "cell 2"]:
    """Return the locations of the cells of a `grid` x `grid` lattice in the order in which they are visited.

    Cached, so that a step only reads it.

    Args:
        order: "raster" is row by row. "grid" starts at the middle and continues with the cell that is farthest from all earlier ones (of
            equally far ones the first in reading order), so that any number of glimpses is spread over the image. "center" is the
            centre of the image alone.
        grid: Cells a side.
        device: Where the locations lie.
    """
    cells = lattice(1 if order == "center" else grid, torch.device("cpu"))
    if order == "grid":
        distance = torch.cdist(cells, cells)
        chosen = [int(cells.norm(dim=1).argmin())]
        while len(chosen) < len(cells):
            nearest = distance[:, chosen].amin(1)
            nearest[chosen] = -1.0
            # Distances that are equal but for rounding must not decide.
            chosen.append(int((nearest >= nearest.max() - 1e-4).int().argmax()))
        cells = cells[chosen]
    return cells.to(device)


def build_unlearned(name: PolicyName, grid: int) -> LocationPolicy | None:
    """Return the policy of this name that is not learned; None for "learned", which is the network's own.

    Args:
        name: "random", or an order of `order_cells`.
        grid: Cells a side of the grid.
    """
    if name == "random":
        return Uniform()
    return None if name == "learned" else Fixed(name, grid)
