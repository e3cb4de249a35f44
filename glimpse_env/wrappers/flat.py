"""`FlatAction`: the action as one array, for algorithms and libraries that take no Dict."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from glimpse_env import checks
from glimpse_env.env import NumpyVectorEnv
from glimpse_env.sensors import lattice
from glimpse_env.vector_env import GlimpseVectorEnv

Form = Literal["box", "discrete"]
Array = np.ndarray | Tensor
PARTS = ("location", "stop", "prediction")


class FlatAction(VectorActionWrapper):
    """Take the action as one array a row, at both vector doors (numpy arrays or torch tensors, as the door's own).

    form="box": Box of x, y in [-1, 1], stop in [-1, 1] (1 = answer now, if above 0) and class scores in [0, 1]: (3 + class,).
    form="discrete": MultiDiscrete of a cell of a `grid` x `grid` lattice (row by row), stop (0 or 1) and the class that is answered.
    """

    def __init__(self, env: VectorEnv, form: Form = "box", grid: int | None = None) -> None:
        """Wrap a vector door.

        Args:
            env: `GlimpseVectorEnv` or what `gymnasium.make_vec` returns, which may have been wrapped before.
            form: "box" or "discrete".
            grid: Places a side for form="discrete"; None = the preset's.

        Raises:
            TypeError: An environment that is not Glimpse's.
            ValueError: An unknown form, a grid beside form="box", or an environment whose action is not the Dict any more.
        """
        checks.choice("form", form, get_args(Form))
        core = env.unwrapped.core if isinstance(env.unwrapped, NumpyVectorEnv) else env.unwrapped
        if not isinstance(core, GlimpseVectorEnv):
            raise TypeError(f"FlatAction: expected a vector door of GlimpseEnv-v0, got {type(core).__name__}")
        if not isinstance(env.single_action_space, spaces.Dict) or set(env.single_action_space) != set(PARTS):
            raise ValueError(f"FlatAction: expected actions of type Dict with {', '.join(PARTS)}, got {env.single_action_space}")
        if grid is not None and form == "box":
            raise ValueError(f"grid={grid}: form='box' takes any place; give a grid with form='discrete' only")
        super().__init__(env)
        self.form, self.validate, self.classes = form, core.validate, len(core.images.classes)
        self.autoreset_mode: AutoresetMode = env.metadata["autoreset_mode"]  # where torchrl looks for it
        self.grid = core.preset.grid if grid is None else grid
        checks.count("grid", self.grid)
        self.single_action_space = self._space()
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        places, answers = lattice(self.grid, core.device), torch.eye(self.classes, device=core.device)
        self._numpy = isinstance(env.unwrapped, NumpyVectorEnv)
        self._places, self._answers = (table.numpy(force=True) if self._numpy else table for table in (places, answers))

    def actions(self, actions: Array) -> dict[str, Array]:
        """Return the environment's own action."""
        actions = self._checked(actions)
        if self.form == "box":
            return {"location": actions[:, :2], "stop": actions[:, 2] > 0, "prediction": actions[:, 3:]}
        cell, stop, label = actions[:, 0], actions[:, 1], actions[:, 2]
        return {"location": self._places[cell], "stop": stop, "prediction": self._answers[label]}

    def _space(self) -> spaces.Space:
        """Return the space of one row's action."""
        if self.form == "discrete":
            return spaces.MultiDiscrete([self.grid**2, 2, self.classes])
        low = np.concatenate((np.full(3, -1), np.zeros(self.classes))).astype(np.float32)
        return spaces.Box(low, np.ones_like(low))

    def _checked(self, actions: Any) -> Any:  # noqa: ANN401 - what a user sends; an array of the door's own kind
        """Refuse a wrong shape or dtype, and a cell or class that does not exist; the door looks at the other values.

        At the torch door values are looked at with `validate` alone (a host sync).
        """
        columns, floating = (self.num_envs, *(self.single_action_space.shape or ())), self.form == "box"
        if self._numpy:
            actions = checks.array("action", actions, columns, "f" if floating else "iu", -np.inf, np.inf)
        else:
            checks.shape("action", actions, columns, floating)
        if not floating and (self._numpy or self.validate):
            for column, (name, count) in enumerate((("cell", self.grid**2), ("stop", 2), ("class", self.classes))):
                checks.within(f"action[:, {column}] ({name})", torch.as_tensor(actions[:, column]), 0, count - 1)
        return actions
