"""The clauses of Gymnasium's vector contract that hold in every autoreset mode; see `vector_checker`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from tests.conformance.vector_driving import (
    SAME,
    Make,
    advance,
    demand,
    drawn,
    ended,
    mixed,
    mode_of,
    rows_of,
    run,
    same,
)


def check_spaces(env: VectorEnv) -> None:
    """`num_envs`, and batched spaces that are the single ones, repeated."""
    demand(
        isinstance(env.num_envs, int) and env.num_envs >= 1,
        f"num_envs must be a whole number of at least 1, got {env.num_envs!r}",
    )
    mode_of(env)
    for name in ("observation_space", "action_space"):
        single, batch = getattr(env, f"single_{name}"), getattr(env, name)
        demand(isinstance(single, spaces.Space), f"single_{name} must be a Space, got {single!r}")
        demand(
            batch == batch_space(single, env.num_envs), f"{name} must be single_{name} batched by num_envs"
        )


def check_arrays(env: VectorEnv, steps: int) -> None:
    """Types, dtypes and shapes of what `reset` and `step` return; a `_key` mask for every key of the info."""
    results = run(env, steps)
    demand(len(results[0]) == 2, f"reset must return (observation, info), got {len(results[0])} values")
    check_observation(env.observation_space, results[0][0], "observation")
    check_info(results[0][1], env.num_envs)
    for step in results[1:]:
        demand(len(step) == 5, f"step must return five values, got {len(step)}")
        check_observation(env.observation_space, step[0], "observation")
        for name, value, kind in zip(
            ("reward", "terminated", "truncated"), step[1:4], (np.floating, np.bool_, np.bool_), strict=True
        ):
            demand(isinstance(value, np.ndarray), f"{name} must be an array, got {type(value).__name__}")
            demand(
                value.shape == (env.num_envs,),
                f"{name} must have the shape ({env.num_envs},), got {value.shape}",
            )
            demand(
                np.issubdtype(value.dtype, kind),
                f"{name} must have a dtype of kind {kind.__name__}, got {value.dtype}",
            )
        check_info(step[4], env.num_envs)
        demand(
            mode_of(env) is SAME or "final_obs" not in step[4],
            f"final_obs belongs to {SAME}, the environment declares {mode_of(env)}",
        )
    demand(
        any(ended(step).any() for step in results[1:]),
        f"no episode ended within {steps} steps: give more steps",
    )


def check_observation(space: spaces.Space, value: Any, name: str) -> None:
    """The observation lies in its space, dtypes exactly (`Space.contains` lets a narrower one pass)."""
    if isinstance(space, spaces.Dict):
        demand(
            isinstance(value, dict) and set(value) == set(space),
            f"{name} must be a dict with the keys {', '.join(space)}",
        )
        for key, part in space.items():
            check_observation(part, value[key], f"{name}[{key!r}]")
        return
    if isinstance(value, np.ndarray) and space.dtype is not None:
        demand(
            value.dtype == space.dtype,
            f"{name} must have the dtype {space.dtype} of its space, got {value.dtype}",
        )
    demand(space.contains(value), f"{name} must lie in its space {space}")


def check_info(info: Any, rows: int) -> None:
    """The info is a dict of batched values, each with a `_key` that tells for which rows it holds."""
    demand(isinstance(info, dict), f"info must be a dict, got {type(info).__name__}")
    for key, value in info.items():
        if key.startswith("_"):
            demand(key[1:] in info, f"info[{key!r}] is the mask of nothing")
            continue
        mask = info.get(f"_{key}")
        demand(isinstance(mask, np.ndarray), f"info[{key!r}] has no mask {'_' + key!r}")
        demand(
            mask.dtype == np.bool_ and mask.shape == (rows,),
            f"info[{'_' + key!r}] must be {rows} bools, got {mask.dtype} {mask.shape}",
        )
        if key == "final_info":
            check_info(value, rows)
        for part in value.values() if isinstance(value, dict) else [value]:
            demand(isinstance(part, dict) or len(part) == rows, f"info[{key!r}] must hold {rows} rows")


def check_seeding(make: Make, steps: int, random_starts: bool) -> None:
    """Same seed, same trajectory, whatever was before; another seed, another one."""
    env = make()
    first = run(env, steps, seed=1)
    demand(
        same(first, run(make(), steps, seed=1)), "two environments with the same seed and actions must agree"
    )
    if random_starts:
        demand(not same(first, run(make(), steps, seed=2)), "another seed must give another trajectory")
    again = env.reset(seed=1)
    demand(same(again[0], first[0][0]), "reset with the same seed must give the same observation again")


def check_rows(make: Make, steps: int, random_starts: bool) -> None:
    """Another action in row 0 leaves the first episodes of the others alone; rows do not begin alike."""
    one, other = make(), make()
    starts = rows_of(one, one.reset(seed=0)[0])
    other.reset(seed=0)
    if random_starts and one.num_envs > 1:
        demand(
            any(not same(starts[0], row) for row in starts[1:]),
            "all rows begin alike: each needs randomness of its own",
        )
    over, done = np.zeros(one.num_envs, np.bool_), [np.zeros(one.num_envs, np.bool_)] * 2
    for time, (action, changed) in enumerate(
        zip(drawn(one, steps, seed=0), drawn(one, steps, seed=1), strict=True)
    ):
        step, done[0] = advance(one, action, done[0])
        disturbed, done[1] = advance(other, mixed(one, action, changed, row=0), done[1])
        for row in range(1, one.num_envs):
            alike = same(rows_of(one, step[0])[row], rows_of(other, disturbed[0])[row])
            alike = alike and all(
                same(a[row], b[row]) for a, b in zip(step[1:4], disturbed[1:4], strict=True)
            )
            demand(over[row] or alike, f"step {time}: another action in row 0 changed row {row}")
        over |= done[0]


def check_close(env: VectorEnv) -> None:
    """`close` says so in `closed`, and may be called twice."""
    env.reset(seed=0)
    demand(not env.closed, "closed must be False before close()")
    env.close()
    demand(env.closed, "close() must set closed")
    env.close()
