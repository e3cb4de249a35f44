"""Random elements of a space for every row, as torch tensors; a space's own `sample` returns numpy arrays."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces

from glimpse_env import checks


def sample_rows(
    space: spaces.Space, rows: int, device: torch.device, generator: torch.Generator | None = None
) -> Any:
    """Return uniformly random elements of one row's space for `rows` rows; no host sync.

    Args:
        space: Dict, Discrete and MultiDiscrete (both from 0), or Box with the same bounds for all values.
        rows: Number of rows.
        device: Of the tensors.
        generator: Of the random numbers, on a device of the same type; None = torch's default generator.

    Returns:
        Of a Dict a dict, of a Box float32 (rows, ...), of Discrete int64 (rows,), of MultiDiscrete int64
        (rows, column).

    Raises:
        TypeError: The generator is not torch's, or the space of another kind.
        ValueError: The generator is on another device.
    """
    check_generator(generator, device)
    if isinstance(space, spaces.Dict):
        return {name: sample_rows(part, rows, device, generator) for name, part in space.items()}
    if isinstance(space, spaces.Discrete):
        return torch.randint(int(space.n), (rows,), device=device, generator=generator)
    if isinstance(space, spaces.MultiDiscrete):
        columns = map(spaces.Discrete, space.nvec.tolist())
        return torch.stack([sample_rows(column, rows, device, generator) for column in columns], 1)
    checks.instance("space", space, spaces.Box, "a Dict, Discrete, MultiDiscrete or Box")
    assert isinstance(space, spaces.Box)
    low, high = float(space.low.flat[0]), float(space.high.flat[0])
    return torch.empty((rows, *space.shape), device=device).uniform_(low, high, generator=generator)


def check_generator(generator: object, device: torch.device) -> None:
    """Refuse what is neither None nor a torch generator on a device of this type."""
    expected = f"a torch.Generator on {device}, or None"
    checks.instance("generator", generator, torch.Generator | None, expected)
    if isinstance(generator, torch.Generator) and generator.device.type != device.type:
        raise ValueError(f"generator: expected {expected}, got one on {generator.device}")


def refuse_arrays(numpy: bool) -> None:
    """Raise a TypeError in the `sample_actions` of a wrapper around an environment of numpy arrays."""
    if numpy:
        raise TypeError(
            "sample_actions() returns torch tensors, and this environment takes numpy arrays: "
            "use action_space.sample()"
        )
