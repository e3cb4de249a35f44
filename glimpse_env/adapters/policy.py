"""What agents that are made of other libraries' policies share: their sizes, the observation as one row of numbers, the result row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import trajectories
from glimpse_env.networks.base import Agent
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import environments
from glimpse_env.training.trainer import Progress


@dataclass(frozen=True)
class PolicySizes:
    """What a policy was made for."""

    glimpse: int  # values of one glimpse
    classes: int
    horizon: int
    learned_start: bool = False


def sizes_of(env: GlimpseVectorEnv) -> PolicySizes:
    """Return the sizes of a policy for an environment."""
    return PolicySizes(environments.count_glimpse_values(env), len(env.images.classes), env.preset.max_glimpses)


def joined(observation: Mapping[str, Tensor]) -> Float[Tensor, "env value"]:
    """Return a Dict observation as one row of numbers, entries in the order of their names (that of a Gymnasium Dict space)."""
    return torch.cat([observation[name].flatten(1) for name in sorted(observation)], 1)


def report(
    out: Path, identity: Mapping[str, Any], agent: Agent, progress: Progress, device: torch.device | str, libraries: Sequence[str]
) -> dict[str, Any]:
    """Measure what was learned on the images that the run answers for, each once; write, print and return the result row.

    Args:
        out: Folder of the results.
        identity: `agent` (its name), `environment` (the arguments that rebuild the look at the images) and `options` (the script's).
        agent: What was learned.
        progress: How long it took, and what happened on the way.
        device: Where to measure.
        libraries: Distributions that the result depends on.
    """
    split = results.choose_result_split(identity["options"]["split"])
    env = environments.build_evaluation_environment(identity["environment"], split, device)
    looks = trajectories.evaluate(env, agent.to(env.device), env.preset.max_glimpses)
    told = {"dynamic": True, "precision": str(torch.float32), "progress": asdict(progress), "command": checkpoint.command()}
    saved = {**identity, **told, "architecture": asdict(agent.architecture)}
    return results.record(out, saved, env, looks, split=split, libraries=libraries)
