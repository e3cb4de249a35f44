"""`EpisodeStatistics`: returns and lengths of episodes at the device door, as tensors, without a host sync in `step`."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import checks
from glimpse_env.vector_env import GlimpseVectorEnv

KEPT = ("episode_returns", "episode_lengths", "episode_count", "_finished", "_last_returns", "_last_lengths")


class EpisodeStatistics(VectorWrapper):
    """Gymnasium's `RecordEpisodeStatistics` for the device door: a step adds `episode` to the info, and running means stay on the device.

    `info["episode"]` is a dict of `r` (return) and `l` (steps), both (env,), 0 where no episode ended; `info["_episode"]` tells where one
    did.
    `mean_return` and `mean_length` are the means over the last `window` episodes, 0-d tensors: read them with `.item()` once per log line.

    Deviations from Gymnasium's: the keys are there at every step, since whether an episode ended is not known without a host sync; no `t`
    (wall time), since a device runs behind the host; and rows that stay ended (AutoresetMode.DISABLED, or past the end of
    order="once") are counted once, not at every step. Under DISABLED `episode_returns` and `episode_lengths` stand until the reset.
    """

    episode_returns: Float[Tensor, " env"]  # of the episodes that run now
    episode_lengths: Int64[Tensor, " env"]
    episode_count: Int64[Tensor, ""]  # episodes that ended since the wrapper was made

    def __init__(self, env: VectorEnv, window: int = 100) -> None:
        """Wrap a `GlimpseVectorEnv`, which may have been wrapped before.

        Args:
            env: The environment.
            window: Episodes over which the running means are taken.

        Raises:
            TypeError: The environment's arrays are not torch tensors.
        """
        if not isinstance(env.unwrapped, GlimpseVectorEnv):
            raise TypeError(
                f"EpisodeStatistics: expected a GlimpseVectorEnv, got {type(env.unwrapped).__name__}; for numpy arrays use "
                "gymnasium.wrappers.vector.RecordEpisodeStatistics"
            )
        super().__init__(env)
        checks.count("window", window)
        self._core = env.unwrapped
        self.window = window
        self.autoreset_mode: AutoresetMode = env.metadata["autoreset_mode"]
        device = self._core.device
        self.episode_returns = torch.zeros(self.num_envs, device=device)
        self.episode_lengths = torch.zeros(self.num_envs, dtype=torch.int64, device=device)
        self.episode_count = torch.zeros((), dtype=torch.int64, device=device)
        self._finished = torch.zeros(self.num_envs, dtype=torch.bool, device=device)
        self._last_returns = torch.zeros(window + 1, device=device)  # a ring, and a place for rows that did not end
        self._last_lengths = torch.zeros(window + 1, dtype=torch.int64, device=device)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Start episodes, and their counts, in every row or in those of `reset_mask`; the means go on."""
        observation, info = self.env.reset(seed=seed, options=options)
        begun = (options or {}).get("reset_mask", torch.ones_like(self._finished))
        self.episode_returns = self.episode_returns.masked_fill(begun, 0)
        self.episode_lengths = self.episode_lengths.masked_fill(begun, 0)
        self._finished = (self._finished & ~begun) | ~info["valid"]
        return observation, info

    def step(
        self,
        actions: Any,  # noqa: ANN401 - what the wrapped environment takes
    ) -> tuple[dict[str, Tensor], Float[Tensor, " env"], Bool[Tensor, " env"], Bool[Tensor, " env"], dict[str, Any]]:
        """Step, and count what happened."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        if "episode" in info:
            raise ValueError("EpisodeStatistics: the info holds an `episode` already; wrap the environment once")
        done, finished = terminated | truncated, self._finished
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:  # the step after the end starts anew and belongs to no episode
            self._forget(finished)
        self.episode_returns = self.episode_returns + reward.masked_fill(finished, 0)
        self.episode_lengths = self.episode_lengths + ~finished
        ended = done & ~finished
        episode = {"r": self.episode_returns.masked_fill(~ended, 0), "l": self.episode_lengths.masked_fill(~ended, 0)}
        self._remember(ended)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            self._forget(ended)
            done = ~info["valid"]  # order="once": no image was left to start with
        self._finished = done
        return observation, reward, terminated, truncated, info | {"episode": episode, "_episode": ended}

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, and of the core what it needs to go on with the same episodes."""
        return {"core": self._core.state_dict(), **{name: getattr(self, name) for name in KEPT}}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, around an environment made with the same arguments."""
        self._core.load_state_dict(saved["core"])
        for name in KEPT:
            setattr(self, name, saved[name].to(self._core.device))

    @property
    def mean_return(self) -> Float[Tensor, ""]:
        """The mean return of the last `window` episodes; NaN before any ended."""
        return self._mean(self._last_returns)

    @property
    def mean_length(self) -> Float[Tensor, ""]:
        """The mean number of steps of the last `window` episodes; NaN before any ended."""
        return self._mean(self._last_lengths)

    def _forget(self, rows: Bool[Tensor, " env"]) -> None:
        """Count the rows' episodes from 0."""
        self.episode_returns = self.episode_returns.masked_fill(rows, 0)
        self.episode_lengths = self.episode_lengths.masked_fill(rows, 0)

    def _remember(self, ended: Bool[Tensor, " env"]) -> None:
        """Put the episodes that ended into the ring in the order of their rows; of more than `window` the last ones."""
        rank = ended.cumsum(0)
        kept = ended & (rank > rank[-1] - self.window)
        slot = torch.where(kept, (self.episode_count + rank - 1) % self.window, self.window)
        self._last_returns = self._last_returns.index_copy(0, slot, self.episode_returns)
        self._last_lengths = self._last_lengths.index_copy(0, slot, self.episode_lengths)
        self.episode_count = self.episode_count + rank[-1]

    def _mean(self, ring: Tensor) -> Float[Tensor, ""]:
        """Return the mean of what was put into the ring so far."""
        filled = torch.arange(self.window, device=ring.device) < self.episode_count
        return ring[:-1].masked_fill(~filled, 0).sum() / filled.sum()
