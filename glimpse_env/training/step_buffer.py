"""Buffer of steps collected in SAME_STEP mode: the same number of steps in every row, across episodes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env.networks.base import Agent, Heads, Memory


class Now(NamedTuple):
    """State of the rows between two rollouts."""

    observation: dict[str, Tensor]
    label: Int64[Tensor, " env"]
    first: Bool[Tensor, " env"]  # the observation begins an episode
    memory: Memory  # before the observation

    def plain(self) -> dict[str, Any]:
        """Return this for a checkpoint."""
        return self._asdict() | {"memory": tuple(self.memory)}


class Steps(NamedTuple):
    """The collected steps."""

    observation: dict[str, Tensor]  # time env ...
    label: Int64[Tensor, "time env"]
    first: Bool[Tensor, "time env"]
    location: Float[Tensor, "time env axis"]  # as drawn; the environment clamps it
    stop: Bool[Tensor, "time env"]
    log_prob: Float[Tensor, "time env"]
    value: Float[Tensor, "time env"]
    reward: Float[Tensor, "time env"]
    done: Bool[Tensor, "time env"]

    def part(self, rows: Int64[Tensor, " row"]) -> Steps:
        """Return the steps of some rows."""
        observation = {name: value[:, rows] for name, value in self.observation.items()}
        return Steps(observation, *(value[:, rows] for value in self[1:]))


def restore(saved: dict[str, Any], network: Agent) -> Now:
    """Return the `Now` of a checkpoint's entry (see `Now.plain`)."""
    kind = type(network.begin(1))
    return Now(**saved | {"memory": kind(*saved["memory"])})


def take_glimpse(network: Agent, now: Now, precision: torch.dtype) -> tuple[Heads, Memory]:
    """Run the network on one glimpse; the memory of rows that begin an episode is reset."""
    fresh, begins = network.begin(len(now.first)), now.first[:, None]
    pairs = zip(fresh, now.memory, strict=True)
    memory = type(now.memory)(*(torch.where(begins, new, old) for new, old in pairs))
    with torch.autocast(now.first.device.type, precision, enabled=precision != torch.float32):
        return network(now.observation, memory)
