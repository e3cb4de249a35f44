"""Accuracy on held-out training images, after every epoch of a training."""

from __future__ import annotations

import torch

from glimpse_env import GlimpseVectorEnv
from glimpse_env.datasets import held_out
from glimpse_env.evaluation.trajectories import evaluate
from glimpse_env.networks.base import Agent
from glimpse_env.networks.fixed_policies import PolicyName
from glimpse_env.training.environments import build_evaluation_environment
from glimpse_env.training.options import Training
from glimpse_env.training.resume import env_options


class Validation:
    """Measures an agent on the images that the training split holds out, if it holds out any."""

    def __init__(self, env: GlimpseVectorEnv, options: Training) -> None:
        """Build an environment of the held-out images, which shows them as `env` shows its own."""
        self.policy: PolicyName = options.policy
        self.env = None
        if (held := held_out(options.split)) is not None:
            self.env = build_evaluation_environment(env_options(env, options), held, env.device)

    def __call__(self, network: Agent, glimpses: int, precision: torch.dtype) -> dict[str, float]:
        """Return the accuracy after so many glimpses; empty where no images are held out."""
        if self.env is None:
            return {}
        trajectories = evaluate(self.env, network, glimpses, precision, self.policy)
        return {"validation_accuracy": trajectories.correct[-1].float().mean().item()}
