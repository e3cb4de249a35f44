"""For agents that are policies of other libraries: sizes, flat observations, the description of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from gymnasium.spaces import flatdim
from jaxtyping import Float
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.runtime import checkpoint
from glimpse_env.training import preprocessing, resume
from glimpse_env.training.options import View


@dataclass(frozen=True)
class PolicySizes:
    """The sizes that a policy was built for."""

    glimpse: int  # values of one glimpse
    classes: int
    horizon: int
    learned_start: bool = False


def build_sizes(env: GlimpseVectorEnv) -> PolicySizes:
    """Return the sizes of a policy for an environment."""
    return PolicySizes(flatdim(env.sensor.space["glimpse"]), len(env.images.classes), env.preset.max_glimpses)


def flatten_observation(observation: Mapping[str, Tensor]) -> Float[Tensor, "env value"]:
    """Return a Dict observation as one row of numbers, entries sorted by name, as Gymnasium flattens it."""
    return torch.cat([observation[name].flatten(1) for name in sorted(observation)], 1)


def describe(agent: str, options: View, env: GlimpseVectorEnv) -> dict[str, Any]:
    """Return a run's description, as `resume.describe`, for a policy that another library saves and loads."""
    arguments = resume.env_options(env, options)
    return {
        "agent": agent,
        "dynamic": True,
        "options": checkpoint.plain(options),
        "architecture": asdict(build_sizes(env)),
        "environment": arguments,
        "classes": list(env.images.classes),
        "weights_sha256": resume.weights_hash(arguments),
        "data": resume.describe_data(env.images, arguments["image_size"]),
        **preprocessing.describe_view(env, options.dataset),
        "precision": str(torch.float32),
        "command": checkpoint.command(),
    }
