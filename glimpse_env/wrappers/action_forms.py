"""Action forms: flat action spaces, for libraries that do not support Dict.

"box": Box(-1, 1): x, y, stop if above 0, and a score for every class, from -1 (none) to 1.
"multidiscrete": a cell of a grid x grid lattice (row by row), stop (0 or 1), and the predicted class.
"steering": Box(-1, 1, (3,)): x, y, stop if above 0; a `LearnedClassifier` reads it and predicts.

With zoom "box" and "steering" have the scale after x and y; "multidiscrete" has the lattice once for each of
`count_levels` scales, the smallest first.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Integer
from torch import Tensor
from torch.distributions import Categorical, Normal

from glimpse_env import checks
from glimpse_env.episode import split_location
from glimpse_env.sensors import count_levels, lattice
from glimpse_env.vector_env import GlimpseVectorEnv

FormName = Literal["box", "multidiscrete", "steering"]
AnsweringForm = Literal["box", "multidiscrete"]  # with a prediction: the environment needs nothing else
LEAST = 1e-30  # smallest score of a class before its logarithm is taken


class Choice(NamedTuple):
    """What a policy does without sampling."""

    location: Float[Tensor, "env axis"]
    stop: Float[Tensor, " env"]  # log-odds of stopping
    logits: Float[Tensor, "env class"] | None  # None: the policy makes no prediction


@runtime_checkable
class ActionForm(Protocol):
    """A flat action space of one row, and what its elements mean."""

    @property
    def space(self) -> spaces.Space:
        """Return the space of one row."""
        ...

    def decode(self, actions: Tensor) -> Any:
        """Convert a batch of flat actions to the environment's actions."""
        ...

    def most_likely(self, distribution: Any) -> Choice:
        """Return what a policy with this distribution over flat actions does without sampling."""
        ...


class BoxForm:
    """The form "box". Scores are mapped to [0, 1]; the environment divides them by their sum."""

    def __init__(self, classes: int, axes: int = 2) -> None:
        """Define the space for a number of classes, and of a location (see `Preset.axes`)."""
        self.space, self.axes = spaces.Box(-1.0, 1.0, (axes + 1 + classes,), np.float32), axes

    def decode(self, actions: Float[Tensor, "env action"]) -> dict[str, Tensor]:
        """Return the environment's action."""
        location, stop = actions[:, : self.axes], actions[:, self.axes] > 0
        return split_location(location) | {"stop": stop, "prediction": self.to_scores(actions)}

    def to_scores(self, actions: Float[Tensor, "env action"]) -> Float[Tensor, "env class"]:
        """Return the prediction."""
        return ((actions[:, self.axes + 1 :] + 1) / 2).clamp(0, 1)

    def most_likely(self, distribution: Normal) -> Choice:
        """Return the Gaussian's mean."""
        logits = self.to_scores(distribution.mean).clamp_min(LEAST).log()
        location = distribution.mean[:, : self.axes].clamp(-1, 1)
        return Choice(location, stop_log_odds(distribution, self.axes), logits)


class MultiDiscreteForm:
    """The form "multidiscrete"; the predicted class has probability 1."""

    def __init__(self, classes: int, grid: int, device: torch.device, levels: int = 0) -> None:
        """Compute the locations of the cells, `grid` per side and level, and one-hot predictions."""
        self.locations, self.predictions = lattice(grid, device, levels), torch.eye(classes, device=device)
        self.space = spaces.MultiDiscrete([len(self.locations), 2, classes])

    def decode(self, actions: Integer[Tensor, "env 3"]) -> dict[str, Tensor]:
        """Return the environment's action."""
        cell, stop, label = actions.long().unbind(1)
        location = split_location(self.locations[cell])
        return location | {"stop": stop.bool(), "prediction": self.predictions[label]}

    def most_likely(self, distribution: list[Categorical]) -> Choice:
        """Return the most probable cell, and the probabilities of stopping and of every class."""
        cell, stop, label = (part.logits for part in distribution)
        return Choice(self.locations[cell.argmax(1)], stop[:, 1] - stop[:, 0], label)


class SteeringForm:
    """The form "steering"."""

    def __init__(self, axes: int = 2) -> None:
        """Define the space; `axes`: numbers of a location (see `Preset.axes`)."""
        self.space, self.axes = spaces.Box(-1.0, 1.0, (axes + 1,), np.float32), axes

    def decode(self, actions: Float[Tensor, "env action"]) -> Float[Tensor, "env action"]:
        """Return the action as it is."""
        return actions

    def most_likely(self, distribution: Normal) -> Choice:
        """Return the Gaussian's mean."""
        location = distribution.mean[:, : self.axes].clamp(-1, 1)
        return Choice(location, stop_log_odds(distribution, self.axes), None)


def stop_log_odds(distribution: Normal, axes: int) -> Float[Tensor, " env"]:
    """Return log P - log (1 - P), with P the probability that the number after the location is above 0."""
    ratio = (distribution.mean / distribution.stddev)[:, axes]
    return torch.special.log_ndtr(ratio) - torch.special.log_ndtr(-ratio)


def make_form(
    name: str, env: GlimpseVectorEnv, grid: int | None = None, device: torch.device | None = None
) -> ActionForm:
    """Return the action form of this name for an environment.

    `grid` (cells per side of "multidiscrete") and `device` (of the actions): None = the environment's.

    Raises:
        ValueError: An unknown form.
    """
    checks.choice("action", name, get_args(FormName))
    classes = len(env.images.classes)
    if name == "box":
        return BoxForm(classes, env.preset.axes)
    if name == "steering":
        return SteeringForm(env.preset.axes)
    cells: int = checks.argument("grid", env.preset.grid if grid is None else grid)
    return MultiDiscreteForm(classes, cells, device or env.device, count_levels(env.preset.zoom))


def make_answering_form(
    name: str, env: GlimpseVectorEnv, grid: int | None = None, device: torch.device | None = None
) -> ActionForm:
    """Return the action form of this name, which must hold the prediction (arguments as `make_form`).

    Raises:
        ValueError: An unknown form, one without a prediction, or a grid for a form without one.
    """
    if isinstance(name, str) and name == "steering":
        wrapper = "glimpse_env.adapters.learned_classifier.LearnedClassifier"
        raise ValueError(
            "form='steering' holds no prediction: expected 'box' or 'multidiscrete', or wrap the batched "
            f"environment in {wrapper}, which takes this form and predicts"
        )
    checks.choice("form", name, get_args(AnsweringForm))
    if grid is not None and name == "box":
        raise ValueError(
            f"grid={checks.show(grid)}: form='box' takes any location; give a grid with "
            "form='multidiscrete' only"
        )
    return make_form(name, env, grid, device)
