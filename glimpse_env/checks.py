"""Checks of arguments: each error names the value and what is allowed, before any state changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from glimpse_env.runtime import devices

SMALL = 32  # values


def count(name: str, value: object) -> None:
    """Refuse anything but a whole number of at least 1."""
    if not _is_whole(value, 1):
        raise ValueError(f"{name}={value!r}: expected a whole number of at least 1")


def seed(value: object) -> None:
    """Refuse a seed that is not None or a whole number of at least 0."""
    if value is not None and not _is_whole(value, 0):
        expected = "expected None or one whole number of at least 0"
        raise ValueError(f"seed={value!r}: {expected} (it seeds the order of the images of all rows)")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse a value that is not one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(allowed)}")


def device(name: torch.device | str) -> torch.device:
    """Return the device ("auto" = the one that `devices.best` chooses); an error if this machine lacks it."""
    try:
        resolved = torch.device(devices.named(name) if isinstance(name, str) else name)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        use = f"({torch.cuda.device_count()} CUDA devices): use device='cpu', 'auto' or one that exists"
        raise ValueError(f"device={str(name)!r} is not available here {use}") from error
    return resolved


def autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    """Return Gymnasium's enum, or refuse an unknown mode."""
    try:
        return AutoresetMode(mode)
    except ValueError:
        modes = ", ".join(map(str, AutoresetMode))
        raise ValueError(f"autoreset_mode={mode!r}: expected one of {modes}") from None


def is_open(closed: bool) -> None:
    """Refuse to work after close()."""
    if closed:
        raise RuntimeError("the environment is closed: make a new one")


def shape(name: str, value: object, expected: tuple[int, ...], floating: bool) -> None:
    """Refuse what is not a tensor of this shape, floating or integer (bool counts as integer)."""
    kind = "floating" if floating else "integer or bool"
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a {kind} tensor of shape {expected}, got {type(value).__name__}")
    if value.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(value.shape)}")
    if value.is_floating_point() != floating or value.is_complex():
        raise TypeError(f"{name}: expected a {kind} dtype, got {value.dtype}")


def array(
    name: str, value: object, expected: tuple[int, ...], kinds: str, low: float, high: float
) -> np.ndarray:
    """Return `value` as a numpy array; refuse another shape, dtype or range.

    `kinds`: numpy's kinds of dtype, "f" floating, "iub" integer or bool.
    """
    values = np.asarray(value)
    if values.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {values.shape}")
    if values.dtype.kind not in kinds:
        kind = "floating" if kinds == "f" else "integer or bool"
        raise TypeError(f"{name}: expected a {kind} dtype, got {values.dtype}")
    if values.size <= SMALL:  # for one row, numpy's reductions are slower than a loop
        inside = all(low <= number <= high for number in values.ravel().tolist())
    else:
        inside = bool(values.min() >= low and values.max() <= high)
    if not inside:
        got = f"values from {values.min()} to {values.max()}"
        raise ValueError(f"{name}: expected values in [{low:g}, {high:g}], got {got}")
    return values


def keys(name: str, value: object, expected: Collection[str]) -> None:
    """Refuse what is not a mapping with exactly these keys."""
    mapping = isinstance(value, dict | Mapping)
    if not mapping or len(value) != len(expected) or not all(key in value for key in expected):
        got = ", ".join(map(str, value)) if mapping else type(value).__name__
        raise ValueError(f"{name}: expected a dict with the keys {', '.join(expected)}, got {got}")


def within(name: str, value: Tensor, low: float, high: float) -> None:
    """Refuse values outside [low, high], including NaN. Reads the values: a host sync."""
    outside = ~((value >= low) & (value <= high))
    if outside.any():
        raise ValueError(f"{name}: expected values in [{low:g}, {high:g}], got {value[outside][0].item():g}")


def action(
    actions: Mapping[str, Tensor], rows: int, classes: int, values: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return location, stop (bool) and prediction of an action; with `values`, check their range too."""
    keys("action", actions, ("location", "stop", "prediction"))
    location, stop, prediction = actions["location"], actions["stop"], actions["prediction"]
    shape("action['location']", location, (rows, 2), floating=True)
    shape("action['stop']", stop, (rows,), floating=False)
    shape("action['prediction']", prediction, (rows, classes), floating=True)
    if values:
        within("action['location']", location, -1, 1)
        within("action['stop']", stop, 0, 1)
        within("action['prediction']", prediction, 0, 1)
    return location.float(), stop.bool(), prediction.float()


def reset_options(
    options: Mapping[str, object], rows: int, images: int, mode: AutoresetMode, values: bool
) -> None:
    """Refuse unknown or misshapen reset options; with `values`, also indices and locations out of range."""
    expected = {"indices": ((rows,), False), "locations": ((rows, 2), True), "reset_mask": ((rows,), False)}
    for key, value in options.items():
        choice("reset option", key, expected)
        shape(f"options[{key!r}]", value, *expected[key])
    mask, indices, locations = (options.get(key) for key in ("reset_mask", "indices", "locations"))
    if isinstance(mask, Tensor):
        if mode != AutoresetMode.DISABLED:
            raise ValueError(
                "options['reset_mask'] needs autoreset_mode=AutoresetMode.DISABLED: "
                "in the other modes finished rows restart by themselves"
            )
        if mask.dtype != torch.bool:
            raise TypeError(f"options['reset_mask']: expected dtype bool, got {mask.dtype}")
        if values and not mask.any():
            raise ValueError("options['reset_mask']: expected at least one True")
    if values and isinstance(indices, Tensor):
        within("options['indices']", indices, 0, images - 1)
    if values and isinstance(locations, Tensor):
        within("options['locations']", locations, -1, 1)


def partial_reset(options: Mapping[str, object], seed: int | None, first: bool) -> None:
    """Refuse a reset of some rows before the first reset of all, or together with a seed."""
    name = "options['reset_mask']"
    if "reset_mask" in options and first:
        raise RuntimeError(f"{name} before the first reset(): reset all rows once, then choose rows")
    if "reset_mask" in options and seed is not None:
        raise ValueError(f"seed={seed} with {name}: a seed draws the order of all rows; give one of the two")


def saved_state(saved: Mapping[str, Any], fields: Collection[str], rows: int, images: int) -> None:
    """Refuse anything but the state_dict of an environment of this many rows and images."""
    keys("state_dict", saved, ("seed", "state", "np_random"))
    keys("state_dict['state']", saved["state"], fields)
    saved_rows = len(saved["state"]["step"])
    if saved_rows != rows:
        raise ValueError(f"state_dict of {saved_rows} rows: expected num_envs={rows}")
    within("state_dict's image indices", saved["state"]["index"], 0, images - 1)
