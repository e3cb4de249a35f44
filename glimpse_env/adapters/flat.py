"""Flat spaces for libraries that take no Dict: actions of location, stop and prediction in several forms, observations as one Box."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env import GlimpseEnv, GlimpseVectorEnv
from glimpse_env.learning import fixed

LEAST = 1e-30  # score of a class under which its logarithm is cut off


class Choice(NamedTuple):
    """What a policy does where nothing is drawn."""

    location: Float[Tensor, "env 2"]
    stop: Float[Tensor, " env"]  # log-odds of stopping
    logits: Float[Tensor, "env class"] | None  # None: the policy does not answer


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


def gaussian_stop(distribution: torch.distributions.Normal) -> Float[Tensor, " env"]:
    """Return the log-odds that the third number, which stops if above 0, is: log P - log (1 - P) under its Gaussian."""
    sure = (distribution.mean / distribution.stddev)[:, 2]
    return torch.special.log_ndtr(sure) - torch.special.log_ndtr(-sure)


class BoxForm:
    """Box(-1, 1): x, y, stop if above 0, and a score for every class, from -1 (none) to 1.

    Scores are moved to [0, 1]; the environment divides them by their sum.
    """

    def __init__(self, env: GlimpseVectorEnv) -> None:
        """Make room for the environment's classes."""
        self.space = spaces.Box(-1.0, 1.0, (3 + len(env.images.classes),), np.float32)

    def decode(self, actions: Float[Tensor, "env action"]) -> dict[str, Tensor]:
        """Return the environment's action."""
        return {"location": actions[:, :2], "stop": actions[:, 2] > 0, "prediction": self.scores(actions)}

    def scores(self, actions: Float[Tensor, "env action"]) -> Float[Tensor, "env class"]:
        """Return the prediction."""
        return ((actions[:, 3:] + 1) / 2).clamp(0, 1)

    def likely(self, distribution: torch.distributions.Normal) -> Choice:
        """Return the Gaussian's mean."""
        mean = distribution.mean
        return Choice(mean[:, :2].clamp(-1, 1), gaussian_stop(distribution), self.scores(mean).clamp_min(LEAST).log())


class MultiDiscreteForm:
    """MultiDiscrete: a cell of a grid x grid lattice of places (row by row), stop, and a class, which is then certain."""

    def __init__(self, env: GlimpseVectorEnv) -> None:
        """Lay out the places; `grid` of the environment says how many there are a side."""
        self.classes, grid = len(env.images.classes), env.preset.grid
        self.places = fixed.path("raster", grid, env.device)
        self.space = spaces.MultiDiscrete([grid**2, 2, self.classes])

    def decode(self, actions: Int64[Tensor, "env 3"]) -> dict[str, Tensor]:
        """Return the environment's action."""
        cell, stop, answer = actions.unbind(1)
        prediction = torch.nn.functional.one_hot(answer, self.classes).float()
        return {"location": self.places[cell], "stop": stop.bool(), "prediction": prediction}

    def likely(self, distribution: list[torch.distributions.Categorical]) -> Choice:
        """Return the most probable cell, and the probabilities of stopping and of every class."""
        cell, stop, answer = distribution
        return Choice(self.places[cell.logits.argmax(1)], stop.logits[:, 1] - stop.logits[:, 0], answer.logits)


class SteeringForm:
    """Box(-1, 1, (3,)): x, y, stop if above 0; a `LearnedClassifier` answers, and reads the action itself."""

    def __init__(self, env: GlimpseVectorEnv) -> None:
        """Three numbers, whatever the environment."""
        self.space = spaces.Box(-1.0, 1.0, (3,), np.float32)

    def decode(self, actions: Float[Tensor, "env 3"]) -> Float[Tensor, "env 3"]:
        """Return the action as it is."""
        return actions

    def likely(self, distribution: torch.distributions.Normal) -> Choice:
        """Return the Gaussian's mean."""
        return Choice(distribution.mean[:, :2].clamp(-1, 1), gaussian_stop(distribution), None)


FORMS: dict[str, Callable[[GlimpseVectorEnv], ActionForm]] = {
    "box": BoxForm,
    "multidiscrete": MultiDiscreteForm,
    "steering": SteeringForm,
}


def form_of(name: str, env: GlimpseVectorEnv) -> ActionForm:
    """Return the action form of this name for an environment.

    Raises:
        ValueError: There is no such form.
    """
    if name not in FORMS:
        raise ValueError(f"action={name!r}: expected one of {', '.join(FORMS)}")
    return FORMS[name](env)


def joined(observation: Mapping[str, Tensor]) -> Float[Tensor, "env value"]:
    """Return a Dict observation as one row of numbers, entries in the order of their names (that of a Gymnasium Dict space)."""
    return torch.cat([observation[name].flatten(1) for name in sorted(observation)], 1)


class FlatSingleAction(gymnasium.ActionWrapper):
    """`GlimpseEnv-v0`, one image at a time, with the action form "box" or "multidiscrete" ("steering" needs the batched core)."""

    def __init__(self, env: gymnasium.Env, action: str = "box") -> None:
        """Flatten the action space of a `GlimpseEnv`.

        Raises:
            ValueError: Another environment, or another form.
        """
        super().__init__(env)
        if not isinstance(env.unwrapped, GlimpseEnv):
            raise ValueError(f"FlatSingleAction on {type(env.unwrapped).__name__}: expected a GlimpseEnv")
        if action == "steering":
            raise ValueError(
                "action='steering' on a single environment: expected 'box' or 'multidiscrete'; the classifier learns in batches"
            )
        self.form = form_of(action, env.unwrapped.core)
        self.action_space = self.form.space

    def action(self, action: np.ndarray) -> dict[str, np.ndarray]:
        """Return the environment's action."""
        decoded = self.form.decode(torch.as_tensor(action)[None])
        return {name: value.numpy(force=True)[0] for name, value in decoded.items()}
