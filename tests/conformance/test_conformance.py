"""Our numpy environment and Gymnasium's own keep the vector contract; the checker rejects broken ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from glimpse_env import FlatAction
from tests.conformance import broken_ends, broken_environments
from tests.conformance.vector_checker import check_modes, check_vector_env
from tests.conformance.vector_driving import ContractError

NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
SMALL = {"image_size": 12, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": 4}
STEPS = 12


@pytest.fixture
def numpy_env(noise: torch.utils.data.Dataset) -> Callable[..., VectorEnv]:
    """The numpy environment over the small data set."""
    return lambda **options: gymnasium.make_vec(
        "GlimpseEnv-v0", num_envs=3, dataset=noise, **SMALL, **options
    )


# What conforms is accepted


@pytest.mark.parametrize("name", ["CartPole-v1", "FrozenLake-v1", "Pendulum-v1"])
def test_gymnasiums_own_vector_environments_are_accepted(name: str) -> None:
    """Box, Discrete and truncated-only episodes; FrozenLake begins at the same location whatever the seed."""

    def make(mode: AutoresetMode) -> VectorEnv:
        return SyncVectorEnv([lambda: gymnasium.make(name, max_episode_steps=20)] * 3, autoreset_mode=mode)

    check_modes(make, steps=30, random_starts=name != "FrozenLake-v1")


@pytest.mark.parametrize(
    "options", [{}, {"first_view": "image"}, {"initial_location": "random", "reward": "information_gain"}]
)
def test_the_numpy_environment_is_accepted_in_all_modes(
    noise: torch.utils.data.Dataset, options: dict[str, Any]
) -> None:
    check_modes(
        lambda mode: gymnasium.make_vec(
            "GlimpseEnv-v0", num_envs=3, dataset=noise, autoreset_mode=mode, **(SMALL | options)
        ),
        STEPS,
    )


@pytest.mark.parametrize("form", ["box", "multidiscrete"])
def test_the_numpy_environment_is_accepted_with_flat_actions(numpy_env: Callable, form: str) -> None:
    check_modes(lambda mode: FlatAction(numpy_env(autoreset_mode=mode), form), STEPS)


def test_one_row_is_enough(noise: torch.utils.data.Dataset) -> None:
    check_modes(
        lambda mode: gymnasium.make_vec(
            "GlimpseEnv-v0", num_envs=1, dataset=noise, autoreset_mode=mode, **SMALL
        ),
        STEPS,
    )


# What does not is rejected


REJECTED = [
    (broken_environments.WideGlimpses, NEXT, "dtype float32.*got float64"),
    (broken_environments.NarrowGlimpses, NEXT, "dtype float32.*got float16"),
    (broken_environments.BrightGlimpses, NEXT, "must lie in its space"),
    (broken_environments.LostKey, NEXT, "a dict with the keys"),
    (broken_environments.ListInfo, NEXT, "info must be a dict, got list"),
    (broken_environments.NoMask, NEXT, "info\\['label'\\] has no mask"),
    (broken_environments.IntegerRewards, NEXT, "reward must have a dtype of kind floating"),
    (broken_environments.NumberedEnds, NEXT, "terminated must have a dtype of kind bool"),
    (broken_environments.ScalarTruncated, NEXT, "truncated must be an array"),
    (broken_environments.LeakingRows, SAME, "another action in row 0 changed row 1"),
    (broken_environments.SharedReward, SAME, "another action in row 0 changed row 1"),
    (broken_environments.EqualRows, NEXT, "all rows begin alike"),
    (broken_environments.IgnoredSeed, NEXT, "two environments with the same seed"),
    (broken_environments.ConstantSeed, NEXT, "another seed must give another trajectory"),
    (broken_ends.NoFinalObservation, SAME, "an episode ended and info has no final_obs"),
    (broken_ends.NoFinalInfo, SAME, "an episode ended and info has no final_info"),
    (broken_ends.FinalOfAll, SAME, "_final_obs must tell which rows ended"),
    (broken_ends.BatchedFinal, SAME, "final_obs must be an object array|must hold 3 rows"),
    (broken_ends.StaleFinal, SAME, "must be the next episode's"),
    (broken_ends.PaidReset, NEXT, "reward of the step after an end must be 0"),
    (broken_ends.HeardReset, NEXT, "action of the step after an end must be ignored"),
    (broken_ends.WholeReset, DISABLED, "outside of the reset_mask must be left alone"),
    (broken_ends.NoReset, DISABLED, "must begin a new episode"),
    (broken_environments.WrongMode, NEXT, "an episode ended and info has no final_obs"),
    (broken_environments.WrongMode, SAME, "final_obs belongs to"),
    (broken_environments.NamedMode, NEXT, "must be an AutoresetMode, got 'NextStep'"),
    (broken_environments.SingleSpace, NEXT, "action_space must be single_action_space batched"),
    (broken_environments.NeverClosed, NEXT, "close\\(\\) must set closed"),
]


@pytest.mark.parametrize(
    ("kind", "mode", "message"), REJECTED, ids=[f"{kind.__name__}-{mode.name}" for kind, mode, _ in REJECTED]
)
def test_a_broken_environment_is_rejected(
    noise: torch.utils.data.Dataset, kind: type[broken_environments.Broken], mode: AutoresetMode, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        check_vector_env(lambda: kind(3, noise, autoreset_mode=mode, **SMALL), STEPS)


def test_what_breaks_nothing_passes_where_the_broken_ones_fail(noise: torch.utils.data.Dataset) -> None:
    check_modes(lambda mode: broken_environments.Broken(3, noise, autoreset_mode=mode, **SMALL), STEPS)


def test_a_final_observation_that_nobody_saw_is_rejected_across_modes(
    noise: torch.utils.data.Dataset,
) -> None:
    """One mode alone cannot tell; the same first episode under another mode can."""
    check_vector_env(lambda: broken_ends.ForeignFinal(3, noise, autoreset_mode=SAME, **SMALL), STEPS)
    with pytest.raises(ContractError, match="its first episode is another under"):
        check_modes(lambda mode: broken_ends.ForeignFinal(3, noise, autoreset_mode=mode, **SMALL), STEPS)
