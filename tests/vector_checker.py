"""A checker of Gymnasium's vector contract, for any `VectorEnv` with numpy arrays; it knows nothing of Glimpse.

What it holds an environment to is public: `gymnasium.vector.VectorEnv` and its `AutoresetMode` (https://farama.org/Vector-Autoreset-Mode),
as `SyncVectorEnv` does it. Each clause is a function that raises `ContractError` with one sentence.

Environments are made afresh for every clause and driven by actions drawn from the action space with a seed. Two that are made alike, reset
with the same seed and sent the same actions must agree, so one of two can be disturbed, and what then differs tells what leaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
Step = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]
Make = Callable[[], VectorEnv]


class ContractError(AssertionError):
    """The environment breaks the contract."""


def demand(holds: object, said: str) -> None:
    """Raise a violation unless something holds."""
    if not holds:
        raise ContractError(said)


def check_vector_env(make: Make, steps: int = 60, random_starts: bool = True) -> None:
    """Check one autoreset mode: the one that `make()`'s environments declare.

    Args:
        make: Returns a new environment, alike every time.
        steps: Steps of each trajectory; episodes must end within them under random actions.
        random_starts: Whether the seed, and the row, decide how an episode begins.
    """
    check_spaces(make())
    check_arrays(make(), steps)
    check_seeding(make, steps, random_starts)
    {NEXT: check_next_step, SAME: check_same_step, DISABLED: check_disabled}[mode_of(make())](make, steps)
    check_rows(make, steps, random_starts)
    check_close(make())


def check_modes(make: Callable[[AutoresetMode], VectorEnv], steps: int = 60, random_starts: bool = True) -> None:
    """Check all three modes, and that they tell of the same first episode of every row, down to its last observation."""
    for mode in AutoresetMode:
        demand(mode_of(make(mode)) is mode, f"asked for {mode}, metadata['autoreset_mode'] says {mode_of(make(mode))}")
        check_vector_env(lambda mode=mode: make(mode), steps, random_starts)
    told = {mode: first_episodes(make(mode), steps) for mode in AutoresetMode}
    for mode in (SAME, DISABLED):
        for row, (one, other) in enumerate(zip(told[NEXT], told[mode], strict=True)):
            demand(same(one, other), f"row {row}: its first episode is another under {mode} than under {NEXT}")


# How environments are driven and compared


def mode_of(env: VectorEnv) -> AutoresetMode:
    """Return the declared autoreset mode."""
    mode = env.metadata.get("autoreset_mode")
    demand(isinstance(mode, AutoresetMode), f"metadata['autoreset_mode'] must be an AutoresetMode, got {mode!r}")
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
    """Step, after starting the rows that ended where that is the user's part; return also who has ended now."""
    if mode_of(env) is DISABLED and done.any():
        env.reset(options={"reset_mask": done.copy()})
    step = env.step(action)
    return step, ended(step)


def run(env: VectorEnv, steps: int, seed: int = 0, actions_seed: int = 0) -> list[tuple]:
    """Return what reset and every step returned."""
    told: list[tuple] = [env.reset(seed=seed)]
    done = np.zeros(env.num_envs, np.bool_)
    for action in drawn(env, steps, actions_seed):
        step, done = advance(env, action, done)
        told.append(step)
    return told


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
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) or (isinstance(one, np.ndarray) and one.dtype == object):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def mixed(env: VectorEnv, one: Any, other: Any, row: int) -> Any:
    """Return the actions `one` with one row of `other`."""
    rows = [
        b if index == row else a
        for index, (a, b) in enumerate(zip(iterate(env.action_space, one), iterate(env.action_space, other), strict=True))
    ]
    return concatenate(env.single_action_space, rows, create_empty_array(env.single_action_space, env.num_envs))


def first_episodes(env: VectorEnv, steps: int) -> list[list[tuple]]:
    """Return of every row its first episode: observation, reward and ends of each step, the last observation as the mode tells it."""
    observation, _ = env.reset(seed=0)
    told = [[(row,)] for row in rows_of(env, observation)]
    over, done = np.zeros(env.num_envs, np.bool_), np.zeros(env.num_envs, np.bool_)
    for action in drawn(env, steps):
        step, done = advance(env, action, done)
        seen = rows_of(env, step[0])
        for row in np.flatnonzero(~over):
            last = step[4]["final_obs"][row] if mode_of(env) is SAME and done[row] else seen[row]
            told[row].append((row_copy(last), step[1][row], step[2][row], step[3][row]))
        over |= done
    demand(over.all(), f"not every row ended an episode within {steps} steps: give more steps")
    return told


# The clauses


def check_spaces(env: VectorEnv) -> None:
    """`num_envs`, and batched spaces that are the single ones, repeated."""
    demand(isinstance(env.num_envs, int) and env.num_envs >= 1, f"num_envs must be a whole number of at least 1, got {env.num_envs!r}")
    mode_of(env)
    for name in ("observation_space", "action_space"):
        single, batch = getattr(env, f"single_{name}"), getattr(env, name)
        demand(isinstance(single, spaces.Space), f"single_{name} must be a Space, got {single!r}")
        demand(batch == batch_space(single, env.num_envs), f"{name} must be single_{name} batched by num_envs")


def check_arrays(env: VectorEnv, steps: int) -> None:
    """Types, dtypes and shapes of what `reset` and `step` return, and a `_key` mask for every key of the info."""
    told = run(env, steps)
    demand(len(told[0]) == 2, f"reset must return (observation, info), got {len(told[0])} values")
    check_observation(env.observation_space, told[0][0], "observation")
    check_info(told[0][1], env.num_envs)
    for step in told[1:]:
        demand(len(step) == 5, f"step must return five values, got {len(step)}")
        check_observation(env.observation_space, step[0], "observation")
        for name, value, kind in zip(("reward", "terminated", "truncated"), step[1:4], (np.floating, np.bool_, np.bool_), strict=True):
            demand(isinstance(value, np.ndarray), f"{name} must be an array, got {type(value).__name__}")
            demand(value.shape == (env.num_envs,), f"{name} must have the shape ({env.num_envs},), got {value.shape}")
            demand(np.issubdtype(value.dtype, kind), f"{name} must have a dtype of kind {kind.__name__}, got {value.dtype}")
        check_info(step[4], env.num_envs)
        demand(mode_of(env) is SAME or "final_obs" not in step[4], f"final_obs belongs to {SAME}, the environment declares {mode_of(env)}")
    demand(any(ended(step).any() for step in told[1:]), f"no episode ended within {steps} steps: give more steps")


def check_observation(space: spaces.Space, value: Any, name: str) -> None:
    """The observation lies in its space, dtypes exactly (`Space.contains` lets a narrower one pass)."""
    if isinstance(space, spaces.Dict):
        demand(isinstance(value, dict) and set(value) == set(space), f"{name} must be a dict with the keys {', '.join(space)}")
        for key, part in space.items():
            check_observation(part, value[key], f"{name}[{key!r}]")
        return
    if isinstance(value, np.ndarray) and space.dtype is not None:
        demand(value.dtype == space.dtype, f"{name} must have the dtype {space.dtype} of its space, got {value.dtype}")
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
        demand(mask.dtype == np.bool_ and mask.shape == (rows,), f"info[{'_' + key!r}] must be {rows} bools, got {mask.dtype} {mask.shape}")
        if key == "final_info":
            check_info(value, rows)
        for part in value.values() if isinstance(value, dict) else [value]:
            demand(isinstance(part, dict) or len(part) == rows, f"info[{key!r}] must hold {rows} rows")


def check_seeding(make: Make, steps: int, random_starts: bool) -> None:
    """Same seed, same trajectory, whatever was before; another seed, another one."""
    env = make()
    first = run(env, steps, seed=1)
    demand(same(first, run(make(), steps, seed=1)), "two environments with the same seed and actions must agree")
    if random_starts:
        demand(not same(first, run(make(), steps, seed=2)), "another seed must give another trajectory")
    again = env.reset(seed=1)
    demand(same(again[0], first[0][0]), "reset with the same seed must give the same observation again")


def check_rows(make: Make, steps: int, random_starts: bool) -> None:
    """Another action in one row leaves the others alone, until their first episode is over; rows do not begin alike."""
    one, other = make(), make()
    begun = rows_of(one, one.reset(seed=0)[0])
    other.reset(seed=0)
    if random_starts and one.num_envs > 1:
        demand(any(not same(begun[0], row) for row in begun[1:]), "all rows begin alike: each needs randomness of its own")
    over, done = np.zeros(one.num_envs, np.bool_), [np.zeros(one.num_envs, np.bool_)] * 2
    for time, (action, changed) in enumerate(zip(drawn(one, steps, seed=0), drawn(one, steps, seed=1), strict=True)):
        step, done[0] = advance(one, action, done[0])
        disturbed, done[1] = advance(other, mixed(one, action, changed, row=0), done[1])
        for row in range(1, one.num_envs):
            alike = same(rows_of(one, step[0])[row], rows_of(other, disturbed[0])[row])
            alike = alike and all(same(a[row], b[row]) for a, b in zip(step[1:4], disturbed[1:4], strict=True))
            demand(over[row] or alike, f"step {time}: another action in row 0 changed row {row}")
        over |= done[0]


def check_next_step(make: Make, steps: int) -> None:
    """The step after an end shows a new episode: reward 0, not ended, and its action is ignored."""
    one, other = make(), make()
    one.reset(seed=0)
    other.reset(seed=0)
    done = np.zeros(one.num_envs, np.bool_)
    for action, changed in zip(drawn(one, steps, seed=0), drawn(one, steps, seed=1), strict=True):
        another = action
        for row in np.flatnonzero(done):
            another = mixed(one, another, changed, row)
        step, disturbed = one.step(action), other.step(another)
        demand(not ended(step)[done].any(), f"{NEXT}: the step after an end must begin an episode, not end one")
        demand(not step[1][done].any(), f"{NEXT}: the reward of the step after an end must be 0")
        demand(same(step, disturbed), f"{NEXT}: the action of the step after an end must be ignored")
        done = ended(step)


def check_same_step(make: Make, steps: int) -> None:
    """An end comes with `final_obs` and `final_info`, for the rows that ended and no others, beside the new episode's observation."""
    env = make()
    env.reset(seed=0)
    for action in drawn(env, steps):
        observation, *_, info = step = env.step(action)
        done = ended(step)
        for name in ("final_obs", "final_info"):
            demand(name in info or not done.any(), f"{SAME}: an episode ended and info has no {name}")
            demand(name not in info or same(info[f"_{name}"], done), f"{SAME}: _{name} must tell which rows ended")
        if not done.any():
            continue
        final, seen = info["final_obs"], rows_of(env, observation)
        demand(isinstance(final, np.ndarray) and final.dtype == object, f"{SAME}: final_obs must be an object array, one entry a row")
        for row in range(env.num_envs):
            demand(done[row] or final[row] is None, f"{SAME}: final_obs of a row that did not end must be None")
            if done[row]:
                check_observation(env.single_observation_space, final[row], "final_obs")
                demand(not same(row_copy(final[row]), seen[row]), f"{SAME}: the observation of an end must be the next episode's")


def check_disabled(make: Make, steps: int) -> None:
    """`reset_mask` starts the rows that it names and leaves the others as they are."""
    env = make()
    observation, _ = env.reset(seed=0)
    for action in drawn(env, steps):
        step = env.step(action)
        done, before = ended(step), rows_of(env, step[0])
        if not done.any():
            continue
        observation, info = env.reset(options={"reset_mask": done.copy()})
        check_observation(env.observation_space, observation, "observation")
        check_info(info, env.num_envs)
        for row, seen in enumerate(rows_of(env, observation)):
            if done[row]:
                demand(not same(seen, before[row]), f"{DISABLED}: a row of the reset_mask must begin anew")
            else:
                demand(same(seen, before[row]), f"{DISABLED}: a row outside of the reset_mask must be left alone")


def check_close(env: VectorEnv) -> None:
    """`close` says so in `closed`, and may be called twice."""
    env.reset(seed=0)
    demand(not env.closed, "closed must be False before close()")
    env.close()
    demand(env.closed, "close() must set closed")
    env.close()
