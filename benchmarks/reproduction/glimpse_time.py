"""Milliseconds of an image's first glimpse and of each later one: environment and agent together."""

from __future__ import annotations

from pathlib import Path

import torch
from timing import timed

from glimpse_env.networks import registry
from glimpse_env.networks.fixed_policies import build_unlearned
from glimpse_env.runtime import checkpoint
from glimpse_env.training import environments
from glimpse_env.training.rollout import Behaviour, collect

ROWS = 250  # images at a time
CALLS = 3  # per turn


@torch.no_grad()
def measure_milliseconds(source: Path, split: str, device: str, **changes: str | None) -> tuple[float, float]:
    """Return the milliseconds per image of a checkpoint's first glimpse, and of each later one.

    From the median time of episodes with one glimpse and with all, `ROWS` images at a time; the later
    glimpses share the difference equally (0 if there are none).
    """
    saved = checkpoint.load(source)
    arguments = saved["environment"] | {name: value for name, value in changes.items() if value is not None}
    env = environments.build_evaluation_environment(arguments, split, device, ROWS)
    network, horizon = registry.rebuild(saved).to(env.device).eval(), env.preset.max_glimpses
    policy = build_unlearned(saved["options"].get("policy", "learned"), env.preset.grid, env.preset.axes)
    generator = torch.Generator(env.device)
    indices = torch.arange(ROWS, device=env.device) % len(env.images)

    def seconds(glimpses: int) -> float:
        behaviour = Behaviour(glimpses, policy)
        return timed.median_seconds(
            lambda: collect(env, network, behaviour, generator, indices), env.device, CALLS
        )

    first, whole = seconds(1), seconds(horizon)
    later = max(whole - first, 0.0) / max(horizon - 1, 1)
    return 1e3 * first / ROWS, 1e3 * later / ROWS
