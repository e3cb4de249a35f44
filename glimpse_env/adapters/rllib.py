"""Ray RLlib: PPO on `GlimpseEnv-v0` with environments in other processes, and its policy as an `Agent`.

RLlib takes Gymnasium environments as they are. The settings that ours needs: observations flattened by
RLlib's own connector, actions that it maps from [-1, 1] to their ranges (its default), and gamma = 1, since
the discount is in the reward `Delayed`.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Literal, get_args

import gymnasium
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from glimpse_env import FlatSingleAction, GlimpseVectorEnv, checks
from glimpse_env.adapters.policy import build_sizes, flatten_observation
from glimpse_env.networks.base import Agent, Heads
from glimpse_env.sensors import count_levels
from glimpse_env.wrappers.action_forms import LEAST, Choice, make_form

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent
try:
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.connectors.env_to_module import FlattenObservations
    from ray.tune.registry import register_env
except ImportError as error:
    raise ImportError(f"Ray RLlib could not be imported ({error}): pip install -e '.[rllib]'") from error

NAME = "GlimpseEnv-v0"
ActionName = Literal["dict", "multidiscrete"]


def make_single_env(config: Mapping[str, Any]) -> gymnasium.Env:
    """Return one environment: `config["action"]` is its action form, the rest goes to `gymnasium.make`."""
    check_config(config)
    env = gymnasium.make(NAME, **{name: value for name, value in config.items() if name != "action"})
    return env if config["action"] == "dict" else FlatSingleAction(env, config["action"])


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a configuration without an action form, and an order that ends."""
    checks.instance("config", config, Mapping, "a dict")
    checks.choice("config['action']", config.get("action"), get_args(ActionName))
    if config.get("order", "shuffle") != "shuffle":
        raise ValueError(
            f"order={checks.show(config['order'])}: RLlib cannot know that no image is left; leave it out, "
            "and evaluate each image once with `ModuleAgent`"
        )


def log_correct(*, episode: Any, metrics_logger: Any, **_: Any) -> None:
    """Log at an episode's end whether its prediction was correct."""
    metrics_logger.log_value("correct", float(episode.get_infos(-1)["correct"]), reduce="mean", window=1000)


def build_config(
    view: Mapping[str, Any], action: ActionName, workers: int, envs: int, seed: int, gpu: bool = False
) -> PPOConfig:
    """Return RLlib's configuration of PPO on our environment; its own methods set the rest.

    `view` holds the arguments of `gymnasium.make`; `workers` processes collect, each with `envs`
    environments. The action is the environment's own ("dict"), or a cell of the grid, stop and a class
    ("multidiscrete").

    Raises:
        ValueError: A count, a flag, an action form or an order outside what is allowed.
        TypeError: A view that is no dict.
    """
    checks.instance("view", view, Mapping, "a dict")
    workers, envs = checks.argument("workers", workers, checks.whole(0)), checks.count("envs", envs)
    gpu = checks.argument("gpu", gpu, checks.FLAG)
    seed = checks.argument("seed", seed, checks.whole(0))
    check_config({**view, "action": action})
    register_env(NAME, make_single_env)
    config = PPOConfig().environment(NAME, env_config={**view, "action": action}).debugging(seed=seed)
    config = config.env_runners(
        num_env_runners=workers,
        num_envs_per_env_runner=envs,
        env_to_module_connector=lambda *_, **__: FlattenObservations(),
        sample_timeout_s=600.0,
    )
    config = config.learners(num_gpus_per_learner=int(gpu)).callbacks(on_episode_end=log_correct)
    return config.fault_tolerance(restart_failed_env_runners=False).training(gamma=1.0)


def start(workers: int) -> None:
    """Start Ray on this machine for a learner and its workers, logging errors only."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(num_cpus=workers + 1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def stop(algorithm: Any) -> None:
    """Stop an algorithm, and Ray."""
    algorithm.stop()
    ray.shutdown()


class ModuleAgent(Agent):
    """A policy of RLlib as an `Agent`: its most probable locations, stops and predictions."""

    def __init__(self, module: nn.Module, env: GlimpseVectorEnv, action: ActionName) -> None:
        """Wrap a policy that was trained with this action form on the same glimpses and classes as `env` has.

        `module` is RLlib's default PPO module, without memory, trained on `make_single_env`.
        """
        super().__init__()
        self.module, self.architecture = module, build_sizes(env)
        self.form = None if action == "dict" else make_form(action, env)
        cells = env.preset.grid**2 * max(1, count_levels(env.preset.zoom))
        self.parts, self.axes = [cells, 2, len(env.images.classes)], env.preset.axes

    def begin(self, rows: int) -> tuple[()]:
        """Return an empty memory."""
        return ()

    def forward(self, observation: dict[str, Tensor], state: tuple[()]) -> tuple[Heads, tuple[()]]:
        """Process one glimpse."""
        module: Any = self.module
        output = module.forward_inference({"obs": flatten_observation(observation)})
        choice = self.choose_action(output["action_dist_inputs"])
        assert choice.logits is not None
        return Heads(choice.logits, choice.location, choice.stop, torch.zeros_like(choice.stop)), state

    def choose_action(self, inputs: Tensor) -> Choice:
        """Return the most probable action of a distribution with these parameters.

        Those of a Dict: means and log standard deviations of location, of prediction and with zoom of scale,
        then the logits of stop.
        """
        if self.form is not None:
            return self.form.most_likely([Categorical(logits=part) for part in inputs.split(self.parts, 1)])
        classes = self.parts[2]
        parts = [2, 2, classes, classes, *[1, 1] * (self.axes - 2), 2]
        location, _, scores, _, *scale, stop = inputs.split(parts, 1)
        location = torch.cat((location, *scale[:1]), 1)
        logits = ((scores + 1) / 2).clamp(LEAST, 1).log()
        return Choice(location.clamp(-1, 1), stop[:, 1] - stop[:, 0], logits)
