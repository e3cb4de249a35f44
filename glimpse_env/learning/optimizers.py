"""Optimisers with one annealed rate: AdamW, SGD, or Muon for hidden matrices beside AdamW for everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Name = Literal["muon", "adamw", "sgd"]
MUON_ROOMS = ("glimpse", "core")  # modules whose matrices are hidden layers; heads stay with AdamW (Jordan et al. 2024)


@dataclass(frozen=True)
class Descent:
    """Options of an optimiser."""

    optimizer: Name = "muon"
    """muon: Muon for the hidden matrices, AdamW for the rest."""
    learning_rate: float = 2e-3
    """Peak learning rate of AdamW or SGD, reached in a short warm-up; it falls linearly."""
    muon_rate: float = 0.01
    """Peak learning rate of Muon."""
    weight_decay: float = 0.02
    """Decoupled weight decay of the matrices (SGD: none)."""


class Optimizer:
    """Several torch optimisers stepped as one, their rates annealed by a common factor."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        """Remember each part's peak rate."""
        self.parts = parts
        self.peaks = [[group["lr"] for group in part.param_groups] for part in parts]

    def anneal(self, share: float) -> None:
        """Set every rate to `share` of its peak."""
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * share

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        """Update all parameters."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of every part."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore what `state_dict` returned."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def make(network: nn.Module, name: Name, rate: float, muon_rate: float, decay: float) -> Optimizer:
    """Return the optimiser for the parameters of `network` that require a gradient; only matrices decay."""
    named = [(key, value) for key, value in network.named_parameters() if value.requires_grad]
    if name == "sgd":
        return Optimizer([torch.optim.SGD([value for _, value in named], rate, momentum=0.9)])
    hidden = [value for key, value in named if name == "muon" and value.ndim == 2 and key.split(".")[0] in MUON_ROOMS]
    rest = [value for _, value in named if not any(value is other for other in hidden)]
    groups = [
        {"params": [value for value in rest if value.ndim >= 2], "weight_decay": decay},
        {"params": [value for value in rest if value.ndim < 2], "weight_decay": 0.0},
    ]
    parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, rate)]
    return Optimizer([torch.optim.Muon(hidden, muon_rate, weight_decay=decay), *parts] if hidden else parts)
