"""Checks of arguments: each raises one sentence that names the value and what is allowed, before any state changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from glimpse_env.runtime import devices

OPTIONS = ("indices", "locations", "reset_mask")
SMALL = 32  # values


def count(name: str, value: object) -> None:
    """Refuse anything but a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name}={value!r}: expected a whole number of at least 1")


def choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse a value that is not one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(allowed)}")


def device(name: torch.device | str) -> torch.device:
    """Return the device ("auto" = the one that `devices.best` chooses), or raise an error if this machine lacks it."""
    try:
        resolved = torch.device(devices.named(name) if isinstance(name, str) else name)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        count = torch.cuda.device_count()
        raise ValueError(
            f"device={str(name)!r} is not available here ({count} CUDA devices): use device='cpu', 'auto' or one that exists"
        ) from error
    return resolved


def autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    """Return Gymnasium's enum, or refuse an unknown mode."""
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise ValueError(
            f"autoreset_mode={mode!r}: expected one of {', '.join(map(str, AutoresetMode))}"
        ) from None


def is_open(closed: bool) -> None:
    """Refuse to work after close()."""
    if closed:
        raise RuntimeError("the environment is closed: make a new one")


def seed(value: object) -> None:
    """Refuse a seed that is not None or a whole number of at least 0."""
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0
    ):
        raise ValueError(
            f"seed={value!r}: expected None or one whole number of at least 0 (it seeds the order of the images of all rows)"
        )


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
    """Return `value` as a numpy array of this shape, dtype kind ("f" floating, "iub" integer or bool) and range, or refuse it."""
    values = np.asarray(value)
    if values.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {values.shape}")
    if values.dtype.kind not in kinds:
        raise TypeError(
            f"{name}: expected a {'floating' if kinds == 'f' else 'integer or bool'} dtype, got {values.dtype}"
        )
    if values.size <= SMALL:  # for one row, numpy's reductions are slower than a loop
        inside = all(low <= number <= high for number in values.ravel().tolist())
    else:
        inside = bool(values.min() >= low and values.max() <= high)
    if not inside:
        raise ValueError(
            f"{name}: expected values in [{low:g}, {high:g}], got values from {values.min()} to {values.max()}"
        )
    return values


def keys(name: str, value: object, expected: Collection[str]) -> None:
    """Refuse what is not a mapping with exactly these keys."""
    if (
        not isinstance(value, dict | Mapping)
        or len(value) != len(expected)
        or not all(key in value for key in expected)
    ):
        got = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(f"{name}: expected a dict with the keys {', '.join(expected)}, got {got}")


def within(name: str, value: Tensor, low: float, high: float) -> None:
    """Refuse values outside [low, high], including NaN. Reads the values: a host sync."""
    wrong = ~((value >= low) & (value <= high))
    if wrong.any():
        raise ValueError(f"{name}: expected values in [{low:g}, {high:g}], got {value[wrong][0].item():g}")


def action(
    actions: Mapping[str, Tensor], rows: int, classes: int, values: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return location and prediction (float32) and stop (bool) of an action of tensors; with `values`, refuse those out of range."""
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
    for key in options:
        choice("reset option", key, OPTIONS)
    expected = {"indices": ((rows,), False), "locations": ((rows, 2), True), "reset_mask": ((rows,), False)}
    for key, value in options.items():
        shape(f"options[{key!r}]", value, *expected[key])
    mask, indices, locations = (options.get(key) for key in ("reset_mask", "indices", "locations"))
    if isinstance(mask, Tensor):
        if mode != AutoresetMode.DISABLED:
            raise ValueError(
                "options['reset_mask'] needs autoreset_mode=AutoresetMode.DISABLED: in the other modes finished rows restart by themselves"
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
    if "reset_mask" not in options:
        return
    if first:
        raise RuntimeError(
            "options['reset_mask'] before the first reset(): reset all rows once, then choose rows"
        )
    if seed is not None:
        raise ValueError(
            f"seed={seed} with options['reset_mask']: a seed draws the order of all rows; give one of the two"
        )


def saved_state(saved: Mapping[str, Any], fields: Collection[str], rows: int, images: int) -> None:
    """Refuse anything but the state_dict of an environment with this number of rows, over a data set with this number of images."""
    keys("state_dict", saved, ("seed", "state", "np_random"))
    keys("state_dict['state']", saved["state"], fields)
    saved_rows = len(saved["state"]["step"])
    if saved_rows != rows:
        raise ValueError(f"state_dict of {saved_rows} rows: expected num_envs={rows}")
    within("state_dict's image indices", saved["state"]["index"], 0, images - 1)
