"""Checks of actions, reset options and saved states: arrays and tensors, before any state changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from glimpse_env.checks import choice, instance, show

SMALL = 32  # values
OPTIONS = ("indices", "locations", "reset_mask")  # of `reset`
KINDS = {"f": "a floating", "iu": "an integer", "iub": "an integer or bool", "b": "a bool"}
DTYPES = {"f": np.float32, "iu": np.int64, "b": np.bool_}  # by numpy's kinds: what tensors get


def shape(
    name: str,
    value: object,
    expected: tuple[int, ...],
    floating: bool,
    device: torch.device | None = None,
) -> None:
    """Refuse what is not a tensor on `device` of this shape, floating or integer (bool is integer)."""
    kind = "floating" if floating else "integer or bool"
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a {kind} tensor of shape {expected}, got {type(value).__name__}")
    if value.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(value.shape)}")
    if value.is_floating_point() != floating or value.is_complex():
        raise TypeError(f"{name}: expected a {kind} dtype, got {value.dtype}")
    if device is not None and value.device.type != device.type:
        raise ValueError(f"{name}: expected a tensor on {device}, got one on {value.device}")


def to_array(name: str, value: object) -> np.ndarray:
    """Return what numpy makes of a value; refuse what is no array of one shape."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(f"{name}={show(value)}: expected an array ({error})") from error


def to_tensor(name: str, array: np.ndarray) -> Tensor:
    """Return a copy as a float32, int64 or bool tensor; arrays have any strides and byte order.

    The tensor is on the CPU and of a type that every device has: MPS has no float64.
    """
    for kinds, dtype in DTYPES.items():
        if array.dtype.kind in kinds:
            return torch.from_numpy(np.array(array, dtype, order="C"))
    raise TypeError(f"{name}={show(array)}: expected numbers or bools, got dtype {array.dtype}")


def option_tensor(name: str, value: object, rows: int, images: int) -> Tensor:
    """Return an option of `reset` as a tensor on the CPU, after checks of its shape, dtype and values."""
    choice("reset option", name, OPTIONS)
    expected = {"indices": ((rows,), "iu", 0, images - 1), "locations": ((rows, 2), "f", -1, 1)}
    expected["reset_mask"] = ((rows,), "b", 0, 1)
    return to_tensor(f"options[{name!r}]", array(f"options[{name!r}]", value, *expected[name]))


def array(
    name: str, value: object, expected: tuple[int, ...], kinds: str, low: float, high: float
) -> np.ndarray:
    """Return `value` as a numpy array; refuse another shape, dtype or range.

    `kinds`: numpy's kinds of dtype, "f" floating, "iub" integer or bool.
    """
    values = to_array(name, value)
    if values.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {values.shape}")
    if values.dtype.kind not in kinds:
        raise TypeError(f"{name}: expected {KINDS[kinds]} dtype, got {values.dtype}")
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
    actions: Mapping[str, Tensor], rows: int, classes: int, values: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return location, stop (bool) and prediction of an action; with `values`, check their range too."""
    keys("action", actions, ("location", "stop", "prediction"))
    location, stop, prediction = actions["location"], actions["stop"], actions["prediction"]
    shape("action['location']", location, (rows, 2), True, device)
    shape("action['stop']", stop, (rows,), False, device)
    shape("action['prediction']", prediction, (rows, classes), True, device)
    if values:
        within("action['location']", location, -1, 1)
        within("action['stop']", stop, 0, 1)
        within("action['prediction']", prediction, 0, 1)
    return location.float(), stop.bool(), prediction.float()


def reset_options(
    options: object, rows: int, images: int, mode: AutoresetMode, values: bool, device: torch.device
) -> None:
    """Refuse unknown or misshapen reset options; with `values`, also values out of range.

    Indices on the CPU are always read: it costs no sync there, and torch's own error names no value.
    """
    instance("options", options, Mapping, "a dict or None")
    assert isinstance(options, Mapping)
    shapes: dict[str, tuple[int, ...]] = {"indices": (rows,), "locations": (rows, 2), "reset_mask": (rows,)}
    for key, value in options.items():
        choice("reset option", key, OPTIONS)
        shape(f"options[{key!r}]", value, shapes[key], key == "locations", device)
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
    if isinstance(indices, Tensor) and (values or device.type == "cpu"):
        within("options['indices']", indices, 0, images - 1)
    if values and isinstance(locations, Tensor):
        within("options['locations']", locations, -1, 1)


def partial_reset(options: Mapping[str, object], seed: int | None, first: bool) -> None:
    """Refuse a reset of some rows before the first reset of all, or together with a seed."""
    name = "options['reset_mask']"
    if "reset_mask" in options and first:
        raise RuntimeError(f"{name} before the first reset(): reset all rows once, then choose rows")
    if "reset_mask" in options and seed is not None:
        raise ValueError(
            f"seed={show(seed)} with {name}: a seed draws the order of all rows; give one of the two"
        )


def saved_state(saved: Mapping[str, Any], fields: Collection[str], rows: int, images: int) -> None:
    """Refuse anything but the state_dict of an environment of this many rows and images."""
    keys("state_dict", saved, ("seed", "state", "np_random"))
    keys("state_dict['state']", saved["state"], fields)
    saved_rows = len(saved["state"]["step"])
    if saved_rows != rows:
        raise ValueError(f"state_dict of {saved_rows} rows: expected num_envs={rows}")
    within("state_dict's image indices", saved["state"]["index"], 0, images - 1)
