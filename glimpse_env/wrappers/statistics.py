"""`EpisodeStatistics`: returns and lengths of the episodes of both vector environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env import checks, tensor_checks
from glimpse_env.env import NumpyVectorEnv, to_numpy
from glimpse_env.episode import Bools, Floats, Ints
from glimpse_env.sampling import refuse_arrays, sample_rows
from glimpse_env.vector_env import GlimpseVectorEnv, Info

SAVED = ("episode_returns", "episode_lengths", "episode_count", "_finished", "_last_returns", "_last_lengths")


class EpisodeStatistics(VectorWrapper):
    """Gymnasium's `RecordEpisodeStatistics` for both vector environments: a step adds `episode` to the info.

    Around `GlimpseVectorEnv` it works on torch tensors without a host sync; around what `gymnasium.make_vec`
    returns the info holds numpy arrays. It counts the same in every autoreset mode and with every version of
    Gymnasium, whose own wrapper counts rows that stay ended at every step (DISABLED, or order="once"), and
    before version 1.4 gives wrong lengths and returns in SAME_STEP.

    `info["episode"]` is a dict of `r` (return) and `l` (steps), both (env,), 0 for rows whose episode
    continues; `info["_episode"]` marks the rows whose episode ended. `mean_return` and `mean_length` are the
    means over the last `window` episodes, 0-d tensors on the device: call `.item()` once per log line.

    Deviations from Gymnasium: the keys exist at every step, since only a host sync would show whether an
    episode ended; no `t` (wall time), since the device lags behind the host; rows that stay ended (DISABLED,
    or past the end of order="once") are counted once, not at every step. Under AutoresetMode.DISABLED
    `episode_returns` and `episode_lengths` keep their values until the reset.
    """

    episode_returns: Floats  # of the present episodes
    episode_lengths: Ints
    episode_count: Int64[Tensor, ""]  # episodes that ended since the wrapper was created

    def __init__(self, env: VectorEnv, window: int = 100) -> None:
        """Wrap `GlimpseVectorEnv` or what `gymnasium.make_vec` returns, possibly wrapped already.

        `window`: episodes in the running means.

        Raises:
            TypeError: An environment of another package.
            ValueError: The window is no whole number of at least 1.
        """
        checks.instance("env", env, VectorEnv, "a vector environment of GlimpseEnv-v0")
        core = env.unwrapped
        if not isinstance(core, GlimpseVectorEnv | NumpyVectorEnv):
            expected = "a vector environment of GlimpseEnv-v0"
            raise TypeError(f"EpisodeStatistics: expected {expected}, got {type(core).__name__}")
        window = checks.argument("window", window)
        super().__init__(env)
        self._numpy = isinstance(core, NumpyVectorEnv)
        self._core = core.core if isinstance(core, NumpyVectorEnv) else core
        self.window = window
        self.autoreset_mode: AutoresetMode = env.metadata["autoreset_mode"]
        device = self._device = torch.device("cpu") if self._numpy else self._core.device
        self.episode_returns = torch.zeros(self.num_envs, device=device)
        self.episode_lengths = torch.zeros(self.num_envs, dtype=torch.int64, device=device)
        self.episode_count = torch.zeros((), dtype=torch.int64, device=device)
        self._finished = torch.zeros(self.num_envs, dtype=torch.bool, device=device)
        # Ring buffers, each with one slot more for rows whose episode continues.
        self._last_returns = torch.zeros(window + 1, device=device)
        self._last_lengths = torch.zeros(window + 1, dtype=torch.int64, device=device)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        """Start episodes, and their counts, in every row or in those of `reset_mask`; the means continue."""
        observation, info = self.env.reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask")
        started = torch.ones_like(self._finished) if mask is None else self._to_tensor(mask)
        self._restart(started)
        self._finished = (self._finished & ~started) | ~self._to_tensor(info["valid"])
        return observation, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Info]:
        """Step, and update the counts."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        if "episode" in info:
            raise ValueError(
                "EpisodeStatistics: the info holds an `episode` already; wrap the environment once"
            )
        done, finished = self._to_tensor(terminated | truncated), self._finished
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            self._restart(finished)  # the step after the end starts a new episode and is counted in none
        self.episode_returns = self.episode_returns + self._to_tensor(reward).masked_fill(finished, 0)
        self.episode_lengths = self.episode_lengths + ~finished
        ended = done & ~finished
        returns, lengths = (x.masked_fill(~ended, 0) for x in (self.episode_returns, self.episode_lengths))
        added = {"episode": {"r": returns, "l": lengths}, "_episode": ended}
        self._record(ended)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            self._restart(ended)
            done = ~self._to_tensor(info["valid"])  # order="once": no image is left for a new episode
        self._finished = done
        return observation, reward, terminated, truncated, info | (to_numpy(added) if self._numpy else added)

    def sample_actions(self, generator: torch.Generator | None = None) -> Any:
        """Return random actions for `step`, around `GlimpseVectorEnv` (see `sample_rows`).

        Raises:
            TypeError: The environment takes numpy arrays: `action_space.sample()` returns such actions.
        """
        refuse_arrays(self._numpy)
        return sample_rows(self.single_action_space, self.num_envs, self._core.device, generator)

    def _to_tensor(self, value: Any) -> Tensor:
        """Return what the environment gave as a tensor: a copy of an array, or the tensor itself."""
        return value if isinstance(value, Tensor) else tensor_checks.to_tensor("array", np.asarray(value))

    def state_dict(self) -> Info:
        """Return the counts and the core's state, to continue the same episodes."""
        return {"core": self._core.state_dict(), **{name: getattr(self, name) for name in SAVED}}

    def load_state_dict(self, saved: Info) -> None:
        """Continue from a `state_dict`, around an environment with the same arguments and window."""
        tensor_checks.keys("state_dict", saved, ("core", *SAVED))
        for name in SAVED:
            present: Tensor = getattr(self, name)
            title, shape = f"state_dict[{name!r}]", tuple(present.shape)
            tensor_checks.shape(title, saved[name], shape, present.is_floating_point())
        self._core.load_state_dict(saved["core"])
        for name in SAVED:
            setattr(self, name, saved[name].to(self._device))

    @property
    def mean_return(self) -> Float[Tensor, ""]:
        """The mean return of the last `window` episodes; NaN before any ended."""
        return self._mean(self._last_returns)

    @property
    def mean_length(self) -> Float[Tensor, ""]:
        """The mean number of steps of the last `window` episodes; NaN before any ended."""
        return self._mean(self._last_lengths)

    def _restart(self, rows: Bools) -> None:
        """Set the counts of rows to 0."""
        self.episode_returns = self.episode_returns.masked_fill(rows, 0)
        self.episode_lengths = self.episode_lengths.masked_fill(rows, 0)

    def _record(self, ended: Bools) -> None:
        """Put ended episodes into the ring buffers in the order of their rows; at most the last `window`."""
        rank = ended.cumsum(0)
        recorded = ended & (rank > rank[-1] - self.window)
        slot = torch.where(recorded, (self.episode_count + rank - 1) % self.window, self.window)
        self._last_returns = self._last_returns.index_copy(0, slot, self.episode_returns)
        self._last_lengths = self._last_lengths.index_copy(0, slot, self.episode_lengths)
        self.episode_count = self.episode_count + rank[-1]

    def _mean(self, ring: Tensor) -> Float[Tensor, ""]:
        """Return the mean of what the ring buffer holds."""
        filled = torch.arange(self.window, device=ring.device) < self.episode_count
        return ring[:-1].masked_fill(~filled, 0).sum() / filled.sum()
