"""What a checkpoint of running episodes needs: torch's global random state, and tensors moved to a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of torch's global generators that draw for a device."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Restore the result of `random_state`; a device of another kind continues from its seed."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def move_to(values: Any, device: torch.device) -> Any:
    """Return tensors, in nested mappings and sequences, on a device."""
    if isinstance(values, torch.Tensor):
        return values.to(device)
    if isinstance(values, Mapping):
        return {name: move_to(value, device) for name, value in values.items()}
    return tuple(move_to(value, device) for value in values)
