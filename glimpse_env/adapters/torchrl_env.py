"""`GlimpseTorchRLEnv`: the batched core as an `EnvBase` of torchrl; this module needs torchrl."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Bounded, Categorical, Composite, MultiCategorical, TensorSpec, Unbounded
from torchrl.envs import EnvBase

from glimpse_env import GlimpseVectorEnv, checks
from glimpse_env.adapters.learned_classifier import LearnedClassifier
from glimpse_env.wrappers.flat import FlatAction

INFO = ("label", "correct", "loss", "glimpses", "pixels", "flops", "valid")  # beside the observation
BOOLS = ("correct", "valid")


class GlimpseTorchRLEnv(EnvBase):
    """Episodes of glimpses as TensorDicts (env,), on the core's device: no numpy, no loop over rows.

    Action: a tensor (env, action), or with the environment's own Dict nested entries (`action`, `location`)
    and so on. Entries beside it: the observation's, those of `INFO`, `done`, `terminated` and `truncated`
    (env, 1), and in `next` also `reward` (env, 1).

    A row whose episode ended stays as it is, with reward 0, until a reset whose `_reset` (env, 1) holds it.
    torchrl's `rollout` and collectors step and restart rows in one go (`step_and_maybe_reset`); here that is
    one step of the core, without a host sync of its own; under transforms torchrl calls `reset` after the
    step. Both show the same images.

    `set_seed` draws the order of the images anew at the next reset of all rows. A reset takes the core's
    `options`.
    """

    def __init__(self, env: GlimpseVectorEnv | FlatAction | LearnedClassifier) -> None:
        """Wrap an environment in AutoresetMode.DISABLED, whose action space is then this one's."""
        core = env.unwrapped
        assert isinstance(core, GlimpseVectorEnv)
        once = core.order == "once"  # rows without an image left stay at their end
        batch = torch.Size([env.num_envs])
        super().__init__(device=core.device, batch_size=batch, allow_done_after_reset=once)
        self.env, self.core, self._once = env, core, once
        self.classifier = env if isinstance(env, LearnedClassifier) else None
        observed = env.single_observation_space
        assert isinstance(observed, spaces.Dict)
        entries = {name: self._build_spec(part) for name, part in observed.items()} | self._build_info_specs()
        self.observation_spec = self._compose(entries)
        self.full_action_spec = self._compose({"action": self._build_spec(env.single_action_space)})
        self.reward_spec = Unbounded((*batch, 1), device=self.device)
        flags = ("done", "terminated", "truncated")
        self.full_done_spec = self._compose({name: self._count(2, torch.bool, 1) for name in flags})
        self._never = torch.zeros(*batch, 1, dtype=torch.bool, device=self.device)
        self._seed: int | None = None
        self._ended: Tensor | None = None  # (env, 1); None before the first reset

    def _compose(self, entries: dict[str, TensorSpec]) -> Composite:
        return Composite(entries, shape=self.batch_size, device=self.device)

    def _count(self, values: int, dtype: torch.dtype, *shape: int) -> Categorical:
        """Return the spec of numbers from 0 to values - 1."""
        return Categorical(values, (*self.batch_size, *shape), dtype=dtype, device=self.device)

    def _build_spec(self, space: spaces.Space) -> TensorSpec:
        """Return the spec of a batch of a space's elements."""
        if isinstance(space, spaces.Dict):
            return self._compose({name: self._build_spec(part) for name, part in space.items()})
        if isinstance(space, spaces.Discrete):
            return self._count(int(space.n), torch.int64)
        shape = torch.Size([*self.batch_size, *(space.shape or ())])
        if isinstance(space, spaces.MultiDiscrete):
            return MultiCategorical(space.nvec.tolist(), shape, device=self.device)
        assert isinstance(space, spaces.Box)
        low, high = float(space.low.min()), float(space.high.max())
        if space.is_bounded():
            return Bounded(low, high, shape, device=self.device)
        return Unbounded(shape, device=self.device)

    def _build_info_specs(self) -> dict[str, TensorSpec]:
        """Return the specs of what is known of each row but hidden from its agent."""
        core, batch = self.core, self.batch_size
        entries: dict[str, TensorSpec] = {name: self._count(2, torch.bool) for name in BOOLS}
        entries["label"] = self._count(len(core.images.classes), torch.int64)
        entries["loss"] = Unbounded(batch, device=self.device)
        horizon = core.preset.max_glimpses
        entries["glimpses"] = Bounded(1, horizon, batch, dtype=torch.int64, device=self.device)
        for name in ("pixels", "flops"):
            first, later = getattr(core.sensor, name)
            most = first + (horizon - 1) * later
            entries[name] = Bounded(0, most, batch, dtype=torch.int64, device=self.device)
        return {name: entries[name] for name in INFO}

    def _set_seed(self, seed: int | None) -> None:
        """Draw the order of the images from a seed at the next reset of all rows; None: go on in this one."""
        self._seed = checks.seed(seed)

    def _reset(
        self, tensordict: TensorDictBase | None = None, options: Mapping[str, Tensor] | None = None
    ) -> TensorDictBase:
        """Start an episode in every row, or in those of `_reset` (env, 1)."""
        mask = None if tensordict is None else tensordict.get("_reset", None)
        options = dict(options or {})
        if mask is None or self._ended is None:
            observation, info = self.env.reset(seed=self._seed, options=options)
            self._seed, ended = None, self._never
        else:
            observation, info = self.env.reset(options=options | {"reset_mask": mask.view(self.batch_size)})
            ended = self._ended & ~mask
        return self._pack(observation, info, self._keep_past(ended, info))

    def _keep_past(self, ended: Bool[Tensor, "env 1"], info: Mapping[str, Tensor]) -> Bool[Tensor, "env 1"]:
        """Return which rows are at their end after a reset: with order="once" those without an image too."""
        return ended | ~info["valid"][:, None] if self._once else ended

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Take a glimpse or stop, in every row."""
        observation, reward, terminated, _, info = self.env.step(read_action(tensordict))
        return self._pack(observation, info, terminated[:, None], reward)

    def _step_and_maybe_reset(self, tensordict: TensorDictBase) -> tuple[TensorDictBase, TensorDictBase]:
        """Step, and start the next episode of rows that ended; return the step and what it leads to."""
        self._assert_tensordict_shape(tensordict)
        if tensordict.get("_step", None) is not None:  # torchrl's way of stepping some rows
            return super()._step_and_maybe_reset(tensordict)
        if tensordict.device != self.device:
            tensordict = tensordict.to(self.device)
        self.core.autoreset_mode = AutoresetMode.SAME_STEP
        try:
            observation, reward, terminated, _, info = self.env.step(read_action(tensordict))
        finally:
            self.core.autoreset_mode = AutoresetMode.DISABLED
        ended = terminated[:, None]
        final = info["final_obs"]
        last = {name: choose(ended, final[name], value) for name, value in observation.items()}
        after = self._pack(last, info["final_info"], ended, reward)
        given = tensordict.get("next", None)
        if given is not None:
            after.update(given.exclude(*after.keys(True, True)))
        tensordict.set("next", after)
        following = self._step_mdp(tensordict)
        following.update(self._pack(observation, info, self._keep_past(self._never, info)))
        return tensordict, following

    def to(self, device: torch.device | str) -> GlimpseTorchRLEnv:
        """Return this environment; ValueError for another device than that of its images."""
        if torch.device(device).type != self.core.device.type:
            raise ValueError(
                f"to({device}): the images are on {self.core.device}; make it with device={device}"
            )
        return self

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the core: a later step or reset raises."""
        super().close(raise_if_closed=raise_if_closed)
        self.env.close()

    def _pack(
        self,
        observation: Mapping[str, Tensor],
        info: Mapping[str, Any],
        ended: Bool[Tensor, "env 1"],
        reward: Float[Tensor, " env"] | None = None,
    ) -> TensorDict:
        """Return the entries of every row as a TensorDict."""
        self._ended = ended
        entries = {**observation} | {name: info[name] for name in INFO}
        entries |= {"done": ended, "terminated": ended.clone(), "truncated": self._never.clone()}
        if reward is not None:
            entries["reward"] = reward[:, None]
        return TensorDict(entries, self.batch_size, device=self.device)


def read_action(tensordict: TensorDictBase) -> Any:
    """Return the action: a tensor, or the entries of the environment's own as a dict."""
    action = tensordict.get("action")
    return dict(action.items()) if isinstance(action, TensorDictBase) else action


def choose(rows: Bool[Tensor, "env 1"], first: Tensor, second: Tensor) -> Tensor:
    """Return the first tensor (env, ...) in some rows, the second in the others."""
    return torch.where(rows.view(-1, *[1] * (first.ndim - 1)), first, second)
