"""Action forms: flat spaces in which libraries that take no Dict say where to look, whether to stop and what is seen.

"box": Box(-1, 1): x, y, stop if above 0, and a score for every class, from -1 (none) to 1.
"multidiscrete": a cell of a grid x grid lattice of places (row by row), stop (0 or 1), and the class that is answered, then certain.
"steering": Box(-1, 1, (3,)): x, y, stop if above 0; a `LearnedClassifier` answers, and reads the action itself.
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
AnsweringForm = Literal["box", "multidiscrete"]  # those that say what is seen, so that the environment alone understands them
LEAST = 1e-30  # score of a class under which its logarithm is cut off


class Choice(NamedTuple):
    """What a policy does where nothing is drawn."""

    location: Float[Tensor, "env 2"]
    stop: Float[Tensor, " env"]  # log-odds of stopping
    logits: Float[Tensor, "env class"] | None  # None: the policy does not answer


@runtime_checkable
class ActionForm(Protocol):
    """A flat space, and what its members mean."""

    @property
    def space(self) -> spaces.Space:
        """Return the space of one row."""
        ...

    def decode(self, actions: Tensor) -> Any:  # noqa: ANN401 - whatever the environment behind it takes
        """Return the action of the environment that a batch of flat ones stands for."""
        ...

    def likely(self, distribution: Any) -> Choice:  # noqa: ANN401 - torch distributions over the space
        """Return what a policy with this distribution over flat actions most probably does."""
        ...


class BoxForm:
    """The form "box". Scores are moved to [0, 1]; the environment divides them by their sum."""

    def __init__(self, classes: int) -> None:
        """Make room for the classes."""
        self.space = spaces.Box(-1.0, 1.0, (3 + classes,), np.float32)

    def decode(self, actions: Float[Tensor, "env action"]) -> dict[str, Tensor]:
        """Return the environment's action."""
        return {"location": actions[:, :2], "stop": actions[:, 2] > 0, "prediction": self.scores(actions)}

    def scores(self, actions: Float[Tensor, "env action"]) -> Float[Tensor, "env class"]:
        """Return the prediction."""
        return ((actions[:, 3:] + 1) / 2).clamp(0, 1)

    def likely(self, distribution: Normal) -> Choice:
        """Return the Gaussian's mean."""
        mean = distribution.mean
        return Choice(mean[:, :2].clamp(-1, 1), gaussian_stop(distribution), self.scores(mean).clamp_min(LEAST).log())


class MultiDiscreteForm:
    """The form "multidiscrete"."""

    def __init__(self, classes: int, grid: int, device: torch.device) -> None:
        """Lay out the places, `grid` a side, and the certain answers."""
        self.places, self.answers = lattice(grid, device), torch.eye(classes, device=device)
        self.space = spaces.MultiDiscrete([grid**2, 2, classes])

    def decode(self, actions: Integer[Tensor, "env 3"]) -> dict[str, Tensor]:
        """Return the environment's action."""
        cell, stop, answer = actions.long().unbind(1)
        return {"location": self.places[cell], "stop": stop.bool(), "prediction": self.answers[answer]}

    def likely(self, distribution: list[Categorical]) -> Choice:
        """Return the most probable cell, and the probabilities of stopping and of every class."""
        cell, stop, answer = distribution
        return Choice(self.places[cell.logits.argmax(1)], stop.logits[:, 1] - stop.logits[:, 0], answer.logits)


class SteeringForm:
    """The form "steering"."""

    def __init__(self) -> None:
        """Three numbers, whatever the environment."""
        self.space = spaces.Box(-1.0, 1.0, (3,), np.float32)

    def decode(self, actions: Float[Tensor, "env 3"]) -> Float[Tensor, "env 3"]:
        """Return the action as it is."""
        return actions

    def likely(self, distribution: Normal) -> Choice:
        """Return the Gaussian's mean."""
        return Choice(distribution.mean[:, :2].clamp(-1, 1), gaussian_stop(distribution), None)


def gaussian_stop(distribution: Normal) -> Float[Tensor, " env"]:
    """Return the log-odds that the third number, which stops if above 0, is: log P - log (1 - P) under its Gaussian."""
    sure = (distribution.mean / distribution.stddev)[:, 2]
    return torch.special.log_ndtr(sure) - torch.special.log_ndtr(-sure)


def form_of(name: str, env: GlimpseVectorEnv, grid: int | None = None, device: torch.device | None = None) -> ActionForm:
    """Return the action form of this name for an environment.

    Args:
        name: "box", "multidiscrete" or "steering".
        env: Tells the classes.
        grid: Places a side of "multidiscrete"; None = the environment's.
        device: Where actions lie; None = the environment's.

    Raises:
        ValueError: There is no such form.
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


def answering_form(name: str, env: GlimpseVectorEnv, grid: int | None = None, device: torch.device | None = None) -> ActionForm:
    """Return the action form of this name where nothing but the policy answers (arguments as `form_of`).

    Raises:
        ValueError: There is no such form, it does not answer, or it has no grid.
    """
    if name == "steering":
        raise ValueError(
            "form='steering' says no class: expected 'box' or 'multidiscrete', or wrap the batched core in "
            "glimpse_env.adapters.learned_classifier.LearnedClassifier, which takes it and answers"
        )
    checks.choice("form", name, get_args(AnsweringForm))
    if grid is not None and name == "box":
        raise ValueError(f"grid={grid}: form='box' takes any place; give a grid with form='multidiscrete' only")
    return form_of(name, env, grid, device)
