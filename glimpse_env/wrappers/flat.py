"""The action as one array, for libraries that do not support Dict: `FlatAction`, `FlatSingleAction`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import FrameStackObservation
from torch import Tensor

from glimpse_env import checks, tensor_checks
from glimpse_env.env import GlimpseEnv, NumpyVectorEnv
from glimpse_env.sampling import refuse_arrays, sample_rows
from glimpse_env.vector_env import GlimpseVectorEnv
from glimpse_env.wrappers.action_forms import AnsweringForm, make_answering_form

Array = np.ndarray | Tensor
PARTS = ("location", "stop", "prediction")
COLUMNS = ("cell", "stop", "class")  # of a "multidiscrete" action


class FlatAction(VectorActionWrapper):
    """Actions as one array per row, for both vector environments: numpy arrays or torch tensors, as theirs.

    form="box": Box(-1, 1) of x, y, stop (if above 0) and a score for each class, -1 = none: (3 + class,).
    form="multidiscrete": MultiDiscrete of a cell of a `grid` x `grid` lattice (row by row), stop (0 or 1) and
    the predicted class. With zoom both choose a scale too. See `action_forms`.
    """

    def __init__(self, env: VectorEnv, form: AnsweringForm = "box", grid: int | None = None) -> None:
        """Wrap `GlimpseVectorEnv` or what `gymnasium.make_vec` returns, possibly wrapped already.

        grid: cells per side for form="multidiscrete"; None = the environment's.

        Raises:
            TypeError: An environment of another package.
            ValueError: An unknown form, a grid with form="box", or an action that is no longer the Dict.
        """
        checks.instance("env", env, VectorEnv, "a vector environment of GlimpseEnv-v0")
        core = env.unwrapped
        self._numpy = isinstance(core, NumpyVectorEnv)
        if isinstance(core, NumpyVectorEnv):
            core = core.core
        if not isinstance(core, GlimpseVectorEnv):
            expected = "a vector environment of GlimpseEnv-v0"
            raise TypeError(f"FlatAction: expected {expected}, got {type(core).__name__}")
        check_dict("FlatAction", env.single_action_space)
        super().__init__(env)
        self.form = make_answering_form(form, core, grid, torch.device("cpu") if self._numpy else core.device)
        self.validate, self._device = core.validate, core.device
        self.autoreset_mode: AutoresetMode = env.metadata["autoreset_mode"]  # where torchrl looks for it
        self.single_action_space = self.form.space
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def sample_actions(self, generator: torch.Generator | None = None) -> Tensor:
        """Return random actions of this form for `step`, around `GlimpseVectorEnv` (see `sample_rows`).

        Raises:
            TypeError: The environment takes numpy arrays: `action_space.sample()` returns such actions.
        """
        refuse_arrays(self._numpy)
        return sample_rows(self.single_action_space, self.num_envs, self._device, generator)

    def actions(self, actions: Any) -> dict[str, Array]:
        """Return the environment's own action; refuse a wrong shape or dtype and values outside the space.

        Values of torch tensors are checked with `validate` only (a host sync).
        """
        columns = (self.num_envs, *(self.single_action_space.shape or ()))
        if self._numpy:
            flat = from_numpy(self.single_action_space, actions, columns)
            return {name: value.numpy() for name, value in self.form.decode(flat).items()}
        floating = isinstance(self.single_action_space, spaces.Box)
        tensor_checks.shape("action", actions, columns, floating, self._device)
        if self.validate:
            check_values(self.single_action_space, actions)
        return self.form.decode(actions)


class FlatSingleAction(gymnasium.ActionWrapper):
    """`GlimpseEnv-v0`, one image at a time, with the action form "box" or "multidiscrete" of `FlatAction`."""

    def __init__(self, env: gymnasium.Env, form: AnsweringForm = "box", grid: int | None = None) -> None:
        """Wrap what `gymnasium.make` returns, possibly wrapped already; `grid` as for `FlatAction`.

        Raises:
            TypeError: An environment of another package.
            ValueError: An unknown form, a grid with form="box", an action that is no longer the Dict, or a
                stack of observations below this wrapper that drops glimpses.
        """
        checks.instance("env", env, gymnasium.Env, "an environment of GlimpseEnv-v0")
        if not isinstance(env.unwrapped, GlimpseEnv):
            raise TypeError(f"FlatSingleAction: expected a GlimpseEnv, got {type(env.unwrapped).__name__}")
        check_dict("FlatSingleAction", env.action_space)
        check_stack(env, env.unwrapped.core.preset.max_glimpses)
        super().__init__(env)
        self.form = make_answering_form(form, env.unwrapped.core, grid, torch.device("cpu"))
        self.action_space = self.form.space

    def action(self, action: Any) -> dict[str, np.ndarray]:
        """Return the environment's action; values outside the space are refused."""
        flat = from_numpy(self.action_space, action, self.action_space.shape or ())
        return {name: value.numpy()[0] for name, value in self.form.decode(flat[None]).items()}


def from_numpy(space: spaces.Space, action: Any, shape: tuple[int, ...], name: str = "action") -> Tensor:
    """Return flat actions as a tensor, after all checks."""
    floating = isinstance(space, spaces.Box)
    limits = (-1, 1) if floating else (-np.inf, np.inf)
    array = tensor_checks.array(name, action, shape, "f" if floating else "iu", *limits)
    for column, title, last in list_columns(space):
        tensor_checks.array(f"{name}{title}", array[..., column], shape[:-1], "iu", 0, last)
    return tensor_checks.to_tensor(name, array)


def check_values(space: spaces.Space, actions: Tensor) -> None:
    """Refuse values outside the space. Reads the values: a host sync."""
    for column, title, last in list_columns(space):
        tensor_checks.within(f"action{title}", actions[..., column], 0, last)
    if isinstance(space, spaces.Box):
        tensor_checks.within("action", actions, -1, 1)


def list_columns(space: spaces.Space) -> list[tuple[int, str, int]]:
    """Return the columns of a "multidiscrete" action: number, name in messages, largest value."""
    counts = space.nvec.tolist() if isinstance(space, spaces.MultiDiscrete) else []
    names = [f"[..., {column}] ({name})" for column, name in enumerate(COLUMNS)]
    return [(column, names[column], count - 1) for column, count in enumerate(counts)]


def check_dict(wrapper: str, space: spaces.Space) -> None:
    """Refuse an action space that is not the environment's own."""
    if not isinstance(space, spaces.Dict) or set(space) - {"scale"} != set(PARTS):
        raise ValueError(f"{wrapper}: expected actions of type Dict with {', '.join(PARTS)}, got {space}")


def check_stack(env: gymnasium.Env, horizon: int) -> None:
    """Refuse a stack of observations that drops the first glimpses of an episode: it is not Markov."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, FrameStackObservation) and 1 < env.stack_size < horizon:
            raise ValueError(
                f"FrameStackObservation of {env.stack_size}: expected max_glimpses={horizon}; "
                "a shorter stack drops the first glimpses and is not Markov"
            )
        env = env.env
