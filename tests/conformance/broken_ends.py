"""Environments that break Gymnasium's vector contract at the end or start of an episode, in one way each."""
# ruff: noqa: D101, D102 - the name of a class says what it breaks

from __future__ import annotations

import numpy as np

from tests.conformance.broken_environments import Broken


class NoFinalObservation(Broken):
    def spoil(self, observation, info):
        return observation, {key: value for key, value in info.items() if "final_obs" not in key}


class NoFinalInfo(Broken):
    def spoil(self, observation, info):
        return observation, {key: value for key, value in info.items() if "final_info" not in key}


class FinalOfAll(Broken):
    def spoil(self, observation, info):
        return observation, info | (
            {"_final_obs": np.ones(self.num_envs, np.bool_)} if "final_obs" in info else {}
        )


class BatchedFinal(Broken):
    def spoil(self, observation, info):
        return observation, info | ({"final_obs": observation} if "final_obs" in info else {})


class StaleFinal(Broken):
    """`final_obs` shows the episode that begins, as in an environment that resets before it observes."""

    def spoil(self, observation, info):
        if "final_obs" not in info:
            return observation, info
        final = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(info["_final_obs"]):
            final[row] = {key: value[row] for key, value in observation.items()}
        return observation, info | {"final_obs": final}


class ForeignFinal(Broken):
    """`final_obs` is a mixture: the right shape and range, but not what the row saw last."""

    def spoil(self, observation, info):
        if "final_obs" in info:
            for row in np.flatnonzero(info["_final_obs"]):
                info["final_obs"][row]["glimpse"] = info["final_obs"][row]["glimpse"][..., ::-1]
        return observation, info


class PaidReset(Broken):
    def spoil_step(self, observation, reward, terminated, truncated, info, actions):
        return observation, np.where(self.over, 1.0, reward), terminated, truncated, info


class HeardReset(Broken):
    """The step that starts a new episode goes where its ignored action says."""

    def spoil_step(self, observation, reward, terminated, truncated, info, actions):
        location = np.where(self.over[:, None], actions["location"], observation["location"])
        return observation | {"location": location}, reward, terminated, truncated, info


class WholeReset(Broken):
    def reset(self, *, seed=None, options=None):
        return super().reset(
            seed=seed, options={key: value for key, value in (options or {}).items() if key != "reset_mask"}
        )


class NoReset(Broken):
    def reset(self, *, seed=None, options=None):
        if "reset_mask" in (options or {}):
            return self.last
        self.last = super().reset(seed=seed, options=options)
        return self.last

    def step(self, actions):
        result = super().step(actions)
        self.last = result[0], result[4]
        return result
