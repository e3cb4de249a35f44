"""Tools of the checker's clauses: drive a vector environment, compare what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
Step = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]
Make = Callable[[], VectorEnv]


class ContractError(AssertionError):
    """The environment breaks the contract."""


def demand(holds: object, message: str) -> None:
    """Raise a violation unless something holds."""
    if not holds:
        raise ContractError(message)


def mode_of(env: VectorEnv) -> AutoresetMode:
    """Return the declared autoreset mode."""
    mode = env.metadata.get("autoreset_mode")
    demand(
        isinstance(mode, AutoresetMode), f"metadata['autoreset_mode'] must be an AutoresetMode, got {mode!r}"
    )
    return mode


def drawn(env: VectorEnv, steps: int, seed: int = 0) -> Iterator[Any]:
    """Yield actions drawn from the action space."""
    space = batch_space(env.single_action_space, env.num_envs)
    space.seed(seed)
    for _ in range(steps):
        yield space.sample()


def ended(step: Step) -> np.ndarray:
    """Return which rows' episodes ended with this step."""
    return step[2] | step[3]


def advance(env: VectorEnv, action: Any, done: np.ndarray) -> tuple[Step, np.ndarray]:
    """Step, after a reset of the rows that ended under DISABLED; return also which rows end now."""
    if mode_of(env) is DISABLED and done.any():
        env.reset(options={"reset_mask": done.copy()})
    step = env.step(action)
    return step, ended(step)


def run(env: VectorEnv, steps: int, seed: int = 0, actions_seed: int = 0) -> list[tuple]:
    """Return what reset and every step returned."""
    results: list[tuple] = [env.reset(seed=seed)]
    done = np.zeros(env.num_envs, np.bool_)
    for action in drawn(env, steps, actions_seed):
        step, done = advance(env, action, done)
        results.append(step)
    return results


def rows_of(env: VectorEnv, batch: Any) -> list[Any]:
    """Return a batch of observations as a list of rows."""
    return [row_copy(row) for row in iterate(env.observation_space, batch)]


def row_copy(value: Any) -> Any:
    """Copy an observation, so that a later step cannot change it."""
    if isinstance(value, dict):
        return {key: row_copy(part) for key, part in value.items()}
    return tuple(map(row_copy, value)) if isinstance(value, tuple) else np.array(value)


def same(one: Any, other: Any) -> bool:
    """Whether two nested results are equal in type, shape and every value."""
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[key], other[key]) for key in one)
        )
    if isinstance(one, (list, tuple)) or (isinstance(one, np.ndarray) and one.dtype == object):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    one, other = np.asarray(one), np.asarray(other)
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and bool(((one == other) | ((one != one) & (other != other))).all())
    )


def mixed(env: VectorEnv, one: Any, other: Any, row: int) -> Any:
    """Return the actions `one` with one row of `other`."""
    rows = [
        b if index == row else a
        for index, (a, b) in enumerate(
            zip(iterate(env.action_space, one), iterate(env.action_space, other), strict=True)
        )
    ]
    return concatenate(
        env.single_action_space, rows, create_empty_array(env.single_action_space, env.num_envs)
    )
