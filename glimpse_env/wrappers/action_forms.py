"""Action forms: flat action spaces, for libraries that do not support Dict.

"box": Box(-1, 1): x, y, stop if above 0, and a score for every class, from -1 (none) to 1.
"multidiscrete": a cell of a grid x grid lattice (row by row), stop (0 or 1), and the predicted class, with probability 1.
"steering": Box(-1, 1, (3,)): x, y, stop if above 0; a `LearnedClassifier` predicts, and reads the action itself.
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
from glimpse_env.sensors import lattice
from glimpse_env.vector_env import GlimpseVectorEnv

FormName = Literal["box", "multidiscrete", "steering"]
AnsweringForm = Literal[
    "box", "multidiscrete"
]  # those that hold a prediction, so that the environment needs nothing else
LEAST = 1e-30  # smallest score of a class before its logarithm is taken


class Choice(NamedTuple):
    """What a policy does without sampling."""

    location: Float[Tensor, "env 2"]
    stop: Float[Tensor, " env"]  # log-odds of stopping
    logits: Float[Tensor, "env class"] | None  # None: the policy makes no prediction


@runtime_checkable
class ActionForm(Protocol):
    """A flat action space, and what its elements mean."""

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

    def __init__(self, classes: int) -> None:
        """Define the space for a number of classes."""
        self.space = spaces.Box(-1.0, 1.0, (3 + classes,), np.float32)

    def decode(self, actions: Float[Tensor, "env action"]) -> dict[str, Tensor]:
        """Return the environment's action."""
        return {"location": actions[:, :2], "stop": actions[:, 2] > 0, "prediction": self.to_scores(actions)}

    def to_scores(self, actions: Float[Tensor, "env action"]) -> Float[Tensor, "env class"]:
        """Return the prediction."""
        return ((actions[:, 3:] + 1) / 2).clamp(0, 1)

    def most_likely(self, distribution: Normal) -> Choice:
        """Return the Gaussian's mean."""
        mean = distribution.mean
        return Choice(
            mean[:, :2].clamp(-1, 1), stop_log_odds(distribution), self.to_scores(mean).clamp_min(LEAST).log()
        )


class MultiDiscreteForm:
    """The form "multidiscrete"."""

    def __init__(self, classes: int, grid: int, device: torch.device) -> None:
        """Compute the locations of the cells, `grid` per side, and one-hot predictions."""
        self.locations, self.predictions = lattice(grid, device), torch.eye(classes, device=device)
        self.space = spaces.MultiDiscrete([grid**2, 2, classes])

    def decode(self, actions: Integer[Tensor, "env 3"]) -> dict[str, Tensor]:
        """Return the environment's action."""
        cell, stop, label = actions.long().unbind(1)
        return {"location": self.locations[cell], "stop": stop.bool(), "prediction": self.predictions[label]}

    def most_likely(self, distribution: list[Categorical]) -> Choice:
        """Return the most probable cell, and the probabilities of stopping and of every class."""
        cell, stop, label = distribution
        return Choice(
            self.locations[cell.logits.argmax(1)], stop.logits[:, 1] - stop.logits[:, 0], label.logits
        )


class SteeringForm:
    """The form "steering"."""

    def __init__(self) -> None:
        """Define the space: three numbers for every environment."""
        self.space = spaces.Box(-1.0, 1.0, (3,), np.float32)

    def decode(self, actions: Float[Tensor, "env 3"]) -> Float[Tensor, "env 3"]:
        """Return the action as it is."""
        return actions

    def most_likely(self, distribution: Normal) -> Choice:
        """Return the Gaussian's mean."""
        return Choice(distribution.mean[:, :2].clamp(-1, 1), stop_log_odds(distribution), None)


def stop_log_odds(distribution: Normal) -> Float[Tensor, " env"]:
    """Return the log-odds of stopping, log P - log (1 - P), with P the probability that the third number is above 0."""
    ratio = (distribution.mean / distribution.stddev)[:, 2]
    return torch.special.log_ndtr(ratio) - torch.special.log_ndtr(-ratio)


def make_form(
    name: str, env: GlimpseVectorEnv, grid: int | None = None, device: torch.device | None = None
) -> ActionForm:
    """Return the action form of this name for an environment.

    Args:
        name: "box", "multidiscrete" or "steering".
        env: The environment, for its classes.
        grid: Cells per side of "multidiscrete"; None = the environment's.
        device: Of the actions; None = the environment's.

    Raises:
        ValueError: An unknown form.
    """
    checks.choice("action", name, get_args(FormName))
    classes = len(env.images.classes)
    if name == "box":
        return BoxForm(classes)
    if name == "steering":
        return SteeringForm()
    grid = env.preset.grid if grid is None else grid
    checks.count("grid", grid)
    return MultiDiscreteForm(classes, grid, device or env.device)


def make_answering_form(
    name: str, env: GlimpseVectorEnv, grid: int | None = None, device: torch.device | None = None
) -> ActionForm:
    """Return the action form of this name, which must hold the prediction (arguments as `make_form`).

    Raises:
        ValueError: An unknown form, one without a prediction, or a grid for a form without one.
    """
    if name == "steering":
        raise ValueError(
            "form='steering' holds no prediction: expected 'box' or 'multidiscrete', or wrap the batched environment in "
            "glimpse_env.adapters.learned_classifier.LearnedClassifier, which takes this form and predicts"
        )
    checks.choice("form", name, get_args(AnsweringForm))
    if grid is not None and name == "box":
        raise ValueError(
            f"grid={grid}: form='box' takes any location; give a grid with form='multidiscrete' only"
        )
    return make_form(name, env, grid, device)
