"""Environments that break Gymnasium's vector contract in one way each."""
# ruff: noqa: D101, D102, D107 - the name of a class says what it breaks

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from glimpse_env import NumpyVectorEnv

NEXT, SAME = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP
seeds = itertools.count(1000)  # of an environment that ignores the one it is given


class Broken(NumpyVectorEnv):
    """An environment whose returned values may be spoilt; `over`: rows that had ended before the step."""

    over: np.ndarray

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        """Reset, then spoil."""
        self.over = np.zeros(self.num_envs, np.bool_)
        return self.spoil(*super().reset(seed=seed, options=options))

    def step(self, actions: Any) -> tuple:
        """Step, then spoil."""
        result = self.spoil_step(*super().step(actions), actions)
        self.over = result[2] | result[3]
        return result

    def spoil(self, observation: dict, info: dict) -> tuple:
        """Change what reset, and by default also step, returns."""
        return observation, info

    def spoil_step(self, observation, reward, terminated, truncated, info, actions) -> tuple:
        """Change what step returns."""
        observation, info = self.spoil(observation, info)
        return observation, reward, terminated, truncated, info


class WideGlimpses(Broken):
    def spoil(self, observation, info):
        return observation | {"glimpse": observation["glimpse"].astype(np.float64)}, info


class NarrowGlimpses(Broken):
    def spoil(self, observation, info):
        return observation | {"glimpse": observation["glimpse"].astype(np.float16)}, info


class BrightGlimpses(Broken):
    def spoil(self, observation, info):
        return observation | {"glimpse": observation["glimpse"] * 255}, info


class LostKey(Broken):
    def spoil(self, observation, info):
        return {"glimpse": observation["glimpse"]}, info


class ListInfo(Broken):
    def spoil(self, observation, info):
        return observation, [info]


class NoMask(Broken):
    def spoil(self, observation, info):
        return observation, {key: value for key, value in info.items() if key != "_label"}


class IntegerRewards(Broken):
    def spoil_step(self, observation, reward, terminated, truncated, info, actions):
        return observation, reward.astype(int), terminated, truncated, info


class NumberedEnds(Broken):
    def spoil_step(self, observation, reward, terminated, truncated, info, actions):
        return observation, reward, terminated.astype(np.int64), truncated, info


class ScalarTruncated(Broken):
    def spoil_step(self, observation, reward, terminated, truncated, info, actions):
        return observation, reward, terminated, False, info


class LeakingRows(Broken):
    def spoil_step(self, observation, reward, terminated, truncated, info, actions):
        location = observation["location"].copy()
        location[1] = actions["location"][0]
        return observation | {"location": location}, reward, terminated, truncated, info


class SharedReward(Broken):
    def spoil_step(self, observation, reward, terminated, truncated, info, actions):
        return (
            observation,
            np.where(self.over, 0, reward + actions["prediction"].mean()),
            terminated,
            truncated,
            info,
        )


class EqualRows(Broken):
    def spoil(self, observation, info):
        return {key: np.repeat(value[:1], self.num_envs, 0) for key, value in observation.items()}, info


class IgnoredSeed(Broken):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None if seed is None else next(seeds), options=options)


class ConstantSeed(Broken):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None if seed is None else 0, options=options)


class WrongMode(Broken):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.metadata = self.metadata | {"autoreset_mode": SAME if self.autoreset_mode == NEXT else NEXT}


class NamedMode(Broken):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.metadata = self.metadata | {"autoreset_mode": "NextStep"}


class SingleSpace(Broken):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.action_space = self.single_action_space


class NeverClosed(Broken):
    def close(self):
        self.core.close()
