"""A checker of Gymnasium's vector contract, for any `VectorEnv` with numpy arrays.

The contract is public: `gymnasium.vector.VectorEnv` and its `AutoresetMode`
(https://farama.org/Vector-Autoreset-Mode), as `SyncVectorEnv` does it. Each clause is a function that raises
`ContractError` with one sentence. It builds its own environments and draws actions with a seed. Two built
alike, reset with the same seed and sent the same actions must agree; so one of two can be disturbed,
and what then differs shows what leaks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from tests.conformance.vector_clauses import (
    check_arrays,
    check_close,
    check_info,
    check_observation,
    check_rows,
    check_seeding,
    check_spaces,
)
from tests.conformance.vector_driving import (
    DISABLED,
    NEXT,
    SAME,
    Make,
    advance,
    demand,
    drawn,
    ended,
    mixed,
    mode_of,
    row_copy,
    rows_of,
    same,
)


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


def check_modes(
    make: Callable[[AutoresetMode], VectorEnv], steps: int = 60, random_starts: bool = True
) -> None:
    """Check all three modes, and that the first episode of every row is the same in all of them."""
    for mode in AutoresetMode:
        demand(
            mode_of(make(mode)) is mode,
            f"asked for {mode}, metadata['autoreset_mode'] says {mode_of(make(mode))}",
        )
        check_vector_env(lambda mode=mode: make(mode), steps, random_starts)
    episodes = {mode: first_episodes(make(mode), steps) for mode in AutoresetMode}
    for mode in (SAME, DISABLED):
        for row, (one, other) in enumerate(zip(episodes[NEXT], episodes[mode], strict=True)):
            demand(
                same(one, other), f"row {row}: its first episode is another under {mode} than under {NEXT}"
            )


def first_episodes(env: VectorEnv, steps: int) -> list[list[tuple]]:
    """Return the first episode of every row: observation, reward and ends of each step."""
    observation, _ = env.reset(seed=0)
    episodes = [[(row,)] for row in rows_of(env, observation)]
    over, done = np.zeros(env.num_envs, np.bool_), np.zeros(env.num_envs, np.bool_)
    for action in drawn(env, steps):
        step, done = advance(env, action, done)
        observed = rows_of(env, step[0])
        for row in np.flatnonzero(~over):
            last = step[4]["final_obs"][row] if mode_of(env) is SAME and done[row] else observed[row]
            episodes[row].append((row_copy(last), step[1][row], step[2][row], step[3][row]))
        over |= done
    demand(over.all(), f"not every row ended an episode within {steps} steps: give more steps")
    return episodes


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
        demand(
            not ended(step)[done].any(), f"{NEXT}: the step after an end must begin an episode, not end one"
        )
        demand(not step[1][done].any(), f"{NEXT}: the reward of the step after an end must be 0")
        demand(same(step, disturbed), f"{NEXT}: the action of the step after an end must be ignored")
        done = ended(step)


def check_same_step(make: Make, steps: int) -> None:
    """A step that ends episodes returns their `final_obs` and `final_info`, and starts new ones."""
    env = make()
    env.reset(seed=0)
    for action in drawn(env, steps):
        observation, *_, info = step = env.step(action)
        done = ended(step)
        for name in ("final_obs", "final_info"):
            demand(name in info or not done.any(), f"{SAME}: an episode ended and info has no {name}")
            demand(
                name not in info or same(info[f"_{name}"], done),
                f"{SAME}: _{name} must tell which rows ended",
            )
        if not done.any():
            continue
        final, observed = info["final_obs"], rows_of(env, observation)
        demand(
            isinstance(final, np.ndarray) and final.dtype == object,
            f"{SAME}: final_obs must be an object array, one entry a row",
        )
        for row in range(env.num_envs):
            demand(
                done[row] or final[row] is None, f"{SAME}: final_obs of a row that did not end must be None"
            )
            if done[row]:
                check_observation(env.single_observation_space, final[row], "final_obs")
                demand(
                    not same(row_copy(final[row]), observed[row]),
                    f"{SAME}: the observation of an end must be the next episode's",
                )


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
        for row, observed in enumerate(rows_of(env, observation)):
            if done[row]:
                demand(
                    not same(observed, before[row]),
                    f"{DISABLED}: a row of the reset_mask must begin a new episode",
                )
            else:
                demand(
                    same(observed, before[row]),
                    f"{DISABLED}: a row outside of the reset_mask must be left alone",
                )
