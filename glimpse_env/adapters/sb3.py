"""Stable-Baselines3: the batched core as a `VecEnv`, without subprocesses or a loop over unfinished rows.

    venv = make_sb3_env(256, dataset="mnist", action="steering", reward=Delayed(0.98))
    model = PPO("MultiInputPolicy", VecMonitor(venv), gamma=1.0).learn(1_000_000)

    test = make_sb3_evaluation_env(256, dataset="mnist", split="test", action="steering")
    test.classifier.share(venv.classifier)  # "steering" only
    evaluate_policy(model, VecMonitor(test), n_eval_episodes=test.num_images)  # each image once

The discount of `Delayed` is inside the reward, so the algorithm's own gamma is 1.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim, flatten_space
from gymnasium.vector import AutoresetMode
from torch import Tensor

from glimpse_env import GlimpseVectorEnv, checks
from glimpse_env.adapters.learned_classifier import LearnedClassifier, Teaching
from glimpse_env.adapters.policy import flatten_observation
from glimpse_env.env import reset_tensors
from glimpse_env.wrappers.action_forms import ActionForm, FormName, make_form
from glimpse_env.wrappers.flat import from_numpy

try:
    from stable_baselines3.common.vec_env import VecEnv, VecFrameStack
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'{error.name} is not installed: pip install -e ".[sb3]"') from error

# Entries of the info of a finished episode, as Python numbers.
EPISODE_INFO = ("label", "correct", "loss", "glimpses", "pixels", "flops")
Observation = np.ndarray | dict[str, np.ndarray]
Rows = int | Iterable[int] | None  # None = all


def make_sb3_env(
    num_envs: int,
    dataset: Any = "mnist",
    *,
    action: str = "box",
    flat: bool = False,
    frame_stack: int = 1,
    teaching: Teaching | None = None,
    **options: Any,
) -> VecEnv:
    """Return the batched environment as Stable-Baselines3 takes it.

    Args:
        num_envs: Rows.
        dataset: As for `GlimpseVectorEnv`.
        action: "box": x, y, stop, a score for each class; "multidiscrete": a cell of the `grid`, stop, a
            class; "steering": x, y, stop, and a `LearnedClassifier` predicts. With zoom see `action_forms`.
        flat: Observations are one Box instead of a Dict.
        frame_stack: Observations at a time: 1, or all `max_glimpses` as a memory.
        teaching: Sizes and training of the classifier of "steering"; None = the defaults.
        **options: Further arguments of `GlimpseVectorEnv`, without autoreset_mode and order.

    Raises:
        ValueError: An unknown action form, a stack that forgets glimpses, or what the core refuses.
    """
    return _build(GlimpseVecEnv, num_envs, dataset, action, flat, frame_stack, teaching, options)


def make_sb3_evaluation_env(
    num_envs: int,
    dataset: Any = "mnist",
    *,
    split: str = "test",
    action: str = "box",
    flat: bool = False,
    frame_stack: int = 1,
    teaching: Teaching | None = None,
    **options: Any,
) -> VecEnv:
    """Return an environment on which the library's `evaluate_policy` evaluates each image exactly once.

    Call it with `n_eval_episodes=venv.num_images` (twice as many: each image twice). The classifier of
    "steering" does not learn here; `venv.classifier.share(other)` gives it the trained one's network.
    Arguments and errors as for `make_sb3_env`.
    """
    options = {"split": split} | options
    return _build(EvaluationVecEnv, num_envs, dataset, action, flat, frame_stack, teaching, options)


def _build(
    kind: type[GlimpseVecEnv],
    num_envs: int,
    dataset: Any,
    action: str,
    flat: bool,
    frame_stack: int,
    teaching: Teaching | None,
    options: dict[str, Any],
) -> VecEnv:
    """Return an environment of a kind, after all checks."""
    flat, frame_stack = checks.arguments(flat=flat, frame_stack=frame_stack)
    checks.choice("action", action, get_args(FormName))
    if "autoreset_mode" in options:
        mode = f"autoreset_mode={options['autoreset_mode']}"
        raise ValueError(f"{mode}: Stable-Baselines3 expects SAME_STEP, which is set here; leave it out")
    if options.get("order", "shuffle") != "shuffle":
        raise ValueError(
            f"order={checks.show(options['order'])}: Stable-Baselines3 cannot know that a row has no image "
            "left; leave it out, and evaluate each image once with make_sb3_evaluation_env"
        )
    if teaching is not None and action != "steering":
        raise ValueError(f"teaching= with action={action!r}: only action='steering' has a classifier")
    core = GlimpseVectorEnv(num_envs, dataset, autoreset_mode=AutoresetMode.SAME_STEP, **options)
    form, horizon = make_form(action, core), core.preset.max_glimpses
    if frame_stack not in (1, horizon):
        raise ValueError(
            f"frame_stack={frame_stack}: expected 1, or max_glimpses={horizon}; "
            "a shorter stack drops the first glimpses and is not Markov (RecurrentPPO needs no stack)"
        )
    size = frame_stack * core.num_envs * sum(flatdim(space) for space in core.sensor.space.values()) * 4
    checks.memory(f"frame_stack={frame_stack}", size, torch.device("cpu"))
    venv = kind(LearnedClassifier(core, teaching) if action == "steering" else core, form, flat)
    return VecFrameStack(venv, frame_stack) if frame_stack > 1 else venv


class GlimpseVecEnv(VecEnv):
    """A torch environment's rows as numpy arrays; a row whose episode ends shows the next in the same step.

    `infos` of such a row: `terminal_observation`, `TimeLimit.truncated` (always False), `is_success` (the
    prediction was correct; Stable-Baselines3 logs its mean), `label`, `correct`, `loss`, `glimpses`,
    `pixels`, `flops`. Those of the other rows hold only `TimeLimit.truncated`: the label is for a loss at the
    end of the episode, not for the policy.
    """

    def __init__(self, env: GlimpseVectorEnv | LearnedClassifier, form: ActionForm, flat: bool) -> None:
        """Wrap an environment in autoreset mode SAME_STEP whose action `form` decodes."""
        self.env, self.form, self._flat = env, form, flat
        self.core, self.classifier = (env.core, env) if isinstance(env, LearnedClassifier) else (env, None)
        space = env.single_observation_space
        assert isinstance(space, spaces.Dict)
        super().__init__(env.num_envs, flatten_space(space) if flat else space, form.space)
        self.num_images = len(self.core.images)
        self._actions = torch.zeros(0)

    def reset(self) -> Observation:
        """Start an episode in every row; the first row's seed orders the images of all rows."""
        names = {name: None for row in self._options for name in row}
        options = reset_tensors(self.core, {name: stack_option(name, self._options) for name in names})
        observation, info = self.env.reset(seed=self._seeds[0], options=options)
        rows = zip(*(info[name].tolist() for name in EPISODE_INFO), strict=True)
        self.reset_infos = [dict(zip(EPISODE_INFO, row, strict=True)) for row in rows]
        self._reset_seeds()
        self._reset_options()
        return self._to_numpy(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of all rows; refuse a wrong shape or dtype and values outside the space."""
        expected = (self.num_envs, *(self.action_space.shape or ()))
        self._actions = from_numpy(self.action_space, actions, expected, "actions")

    def step_wait(self) -> tuple[Observation, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all rows."""
        actions = self.form.decode(self._actions.to(self.core.device))
        observation, reward, _, _, info = self.env.step(actions)
        ended, rewards = info["_final_obs"].numpy(force=True).copy(), reward.numpy(force=True).copy()
        return self._to_numpy(observation), rewards, ended, self._build_infos(ended, info)

    def _build_infos(self, ended: np.ndarray, info: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the info of every row: about the episode that ended, else almost empty."""
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        rows = np.flatnonzero(ended)
        if not len(rows):
            return infos
        indices = torch.from_numpy(rows).to(self.core.device)
        last = self._to_numpy({name: value[indices] for name, value in info["final_obs"].items()})
        columns = [info["final_info"][name][indices].tolist() for name in EPISODE_INFO]
        for i, (row, *values) in enumerate(zip(rows.tolist(), *columns, strict=True)):
            terminal = last[i] if isinstance(last, np.ndarray) else {k: v[i] for k, v in last.items()}
            infos[row].update(zip(EPISODE_INFO, values, strict=True))
            infos[row] |= {"is_success": infos[row]["correct"], "terminal_observation": terminal}
        return infos

    def _to_numpy(self, observation: Mapping[str, Tensor]) -> Observation:
        """Return observations as numpy copies: a dict of arrays, or their entries in one array."""
        if self._flat:
            return flatten_observation(observation).numpy(force=True)
        return {name: value.numpy(force=True).copy() for name, value in observation.items()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load a core's `state_dict`: the next reset shows the next images, not the seed's."""
        self.core.load_state_dict(saved)
        self._reset_seeds()

    def close(self) -> None:
        """Close the core: a later step or reset raises."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Rows = None) -> list[Any]:
        """Return the environment's attribute once for each of the rows, which share it."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Rows = None) -> None:
        """Set an attribute of the environment; ValueError if `indices` leaves out rows, which share it."""
        self._check_all_rows("set_attr", indices)
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Rows = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the environment once, return its result for each row; `indices` as `set_attr`."""
        self._check_all_rows("env_method", indices)
        return [getattr(self.env, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Rows = None) -> list[bool]:
        """Return False for each row: rows are not environments of their own."""
        return [False] * len(list(self._get_indices(indices)))

    def _check_all_rows(self, method: str, indices: Rows) -> None:
        if len(set(self._get_indices(indices))) != (rows := self.num_envs):
            raise ValueError(
                f"{method} with indices={indices}: all {rows} rows are one environment; expected None"
            )


class EvaluationVecEnv(GlimpseVecEnv):
    """Rows whose first episodes, as many as `evaluate_policy` counts of each, show each image exactly once.

    Of N episodes the library counts the first (N + r) // num_envs of row r: the last rows have one more. Row
    r of the core shows the images r, r + num_envs, ... of its order: the first rows have one more. So the
    rows are those of the core in reverse, and every reset starts at the first image.
    """

    def __init__(self, env: GlimpseVectorEnv | LearnedClassifier, form: ActionForm, flat: bool) -> None:
        """Wrap an environment as `GlimpseVecEnv`; its classifier no longer learns."""
        super().__init__(env, form, flat)
        if self.classifier is not None:
            self.classifier.learns = False

    def reset(self) -> Observation:
        """Start at the first image of the order that the first row's seed draws (0 if there is none)."""
        self._seeds[0] = self._seeds[0] or 0
        self._options = self._options[::-1]
        observation = super().reset()
        self.reset_infos.reverse()
        return reverse_rows(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of all rows."""
        super().step_async(np.asarray(actions)[::-1])

    def step_wait(self) -> tuple[Observation, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all rows."""
        observation, rewards, ended, infos = super().step_wait()
        return reverse_rows(observation), rewards[::-1].copy(), ended[::-1].copy(), infos[::-1]


def reverse_rows(observation: Observation) -> Observation:
    """Return observations with their rows in reverse, as copies."""
    if isinstance(observation, np.ndarray):
        return observation[::-1].copy()
    return {name: value[::-1].copy() for name, value in observation.items()}


def stack_option(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return one reset option of all rows; ValueError if a row lacks it."""
    if not all(name in row for row in rows):
        raise ValueError(f"reset option {name!r}: expected it for every row or for none")
    return [row[name] for row in rows]
