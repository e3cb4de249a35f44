"""Checks of actions, reset options and saved states: arrays and tensors, before any state changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from glimpse_env.checks import LONG, argument, choice, instance, show, whole
from glimpse_env.episode import join_location, rename_fields, split_location

SMALL = 32  # values
NAN = "action: expected numbers, got nan"  # or infinities of both signs, whose sum it is
OPTIONS = ("indices", "locations", "reset_mask", "scales")  # of `reset`
ACTION = ("location", "stop", "prediction")
ZOOMED_ACTION = ("location", "scale", "stop", "prediction")
KINDS = {"f": "a floating", "iu": "an integer", "iub": "an integer or bool", "b": "a bool"}
DTYPES = {"f": np.float32, "iu": np.int64, "b": np.bool_}  # by numpy's kinds: what tensors get
FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)  # that torch computes with
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def shape(
    name: str,
    value: object,
    expected: tuple[int, ...],
    floating: bool,
    device: torch.device | None = None,
) -> None:
    """Refuse what is not a tensor on `device` of this shape, floating or integer (bool is integer)."""
    kind = "a floating" if floating else "an integer or bool"
    if not isinstance(value, Tensor):
        got = f"{type(value).__name__}: {show(value)}{advise(name, value)}"
        raise TypeError(f"{name}: expected {kind} tensor of shape {expected}, got {got}")
    if value.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(value.shape)}")
    if value.dtype not in (FLOATING if floating else WHOLE):
        raise TypeError(f"{name}: expected {kind} dtype, got {value.dtype}")
    if value.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got layout {value.layout}")
    if device is not None and value.device.type != device.type:
        raise ValueError(f"{name}: expected a tensor on {device}, got one on {value.device}")


def advise(name: str, value: object) -> str:
    """Return how to get a tensor instead of a numpy array, for the end of an error; "" for other values."""
    if not isinstance(value, np.ndarray | np.generic):
        return ""
    sampled = "; sample_actions() returns random actions as tensors" if name.startswith("action") else ""
    return f"; torch.as_tensor(array, device=env.device) converts it{sampled}"


def to_array(name: str, value: object) -> np.ndarray:
    """Return what numpy makes of a value; refuse what is no array of one shape, or has masked entries."""
    try:
        array = np.asarray(value)
    except Exception as error:  # of any kind: an object makes its own array
        raise TypeError(f"{name}={show(value)}: expected an array ({error})") from error
    if np.ma.is_masked(value):
        raise ValueError(f"{name}={show(value)}: expected an array without masked entries")
    return array


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
    expected |= {"scales": ((rows, 1), "f", -1, 1), "reset_mask": ((rows,), "b", 0, 1)}
    return to_tensor(f"options[{name!r}]", array(f"options[{name!r}]", value, *expected[name]))


def array(
    name: str, value: object, expected: tuple[int, ...], kinds: str, low: float, high: float
) -> np.ndarray:
    """Return `value` as a numpy array; refuse another shape, dtype or range.

    `kinds`: numpy's kinds of dtype, "f" floating, "iub" integer or bool.
    """
    values = to_array(name, value)
    if values.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {values.shape}: {show(value)}")
    if values.dtype.kind not in kinds:
        raise TypeError(f"{name}: expected {KINDS[kinds]} dtype, got {values.dtype}: {show(value)}")
    if values.size <= SMALL:  # for one row, numpy's reductions are slower than a loop
        inside = all(low <= number <= high for number in values.ravel().tolist())
    else:
        inside = bool(values.min() >= low and values.max() <= high)
    if not inside:
        low_high = values.min(), values.max()
        got = f"values from {low_high[0]} to {low_high[1]}" if len({*low_high}) > 1 else f"{low_high[0]}"
        raise ValueError(f"{name}: expected values in [{low:g}, {high:g}], got {got}")
    return values


def keys(name: str, value: object, expected: Collection[str]) -> None:
    """Refuse what is not a mapping with exactly these keys."""
    mapping = isinstance(value, (dict, Mapping))
    if not mapping or len(value) != len(expected) or not all(key in value for key in expected):
        names = ", ".join(map(str, value))[:LONG] if mapping else ""
        got = names or f"{type(value).__name__}: {show(value)}"
        raise ValueError(f"{name}: expected a dict with the keys {', '.join(expected)}, got {got}")


def holds(wrong: Tensor, message: str) -> bool:
    """Return whether a condition holds anywhere: a host sync.

    Raises:
        RuntimeError: With the message, instead of returning True, in a graph of `torch.compile`, which has no
            branches.
    """
    if not torch.compiler.is_compiling():
        return bool(wrong.any())
    torch.ops.aten._assert_async.msg(~wrong.any(), message)
    return False


def within(name: str, value: Tensor, low: float, high: float) -> None:
    """Refuse values outside [low, high], including NaN. Reads the values: a host sync."""
    outside, expected = ~((value >= low) & (value <= high)), f"{name}: expected values in [{low:g}, {high:g}]"
    if holds(outside, expected):
        raise ValueError(f"{expected}, got {value[outside][0].item():g}")


def numbers(name: str, value: Tensor) -> None:
    """Refuse NaN. Reads the values: a host sync."""
    if holds(value.isnan(), f"{name}: expected numbers, got nan"):
        raise ValueError(f"{name}: expected numbers, got nan: {show(value)}")


def action(
    actions: Mapping[str, Tensor],
    rows: int,
    classes: int,
    values: bool,
    device: torch.device,
    zoomed: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return location, stop (bool) and prediction of an action; with `values`, check their range too.

    A zoomed action has a scale, which is the location's third number. NaN on the CPU is always refused: to
    look for it costs no sync there, and a NaN location has no glimpse.
    """
    keys("action", actions, ZOOMED_ACTION if zoomed else ACTION)
    location, stop, prediction = actions["location"], actions["stop"], actions["prediction"]
    shape("action['location']", location, (rows, 2), True, device)
    if zoomed:
        shape("action['scale']", actions["scale"], (rows, 1), True, device)
        location = join_location({name: actions[name].float() for name in ("location", "scale")})
    shape("action['stop']", stop, (rows,), False, device)
    shape("action['prediction']", prediction, (rows, classes), True, device)
    if values:
        for name, part in split_location(location).items():
            within(f"action[{name!r}]", part, -1, 1)
        within("action['stop']", stop, 0, 1)
        within("action['prediction']", prediction, 0, 1)
    elif device.type == "cpu" and holds((location.sum() + prediction.sum()).isnan(), NAN):
        for name, part in split_location(location).items():
            numbers(f"action[{name!r}]", part)
        numbers("action['prediction']", prediction)
    return location.float(), stop.bool(), prediction.float()


def reset_options(
    options: object,
    rows: int,
    images: int,
    mode: AutoresetMode,
    values: bool,
    device: torch.device,
    zoomed: bool = False,
) -> None:
    """Refuse unknown or misshapen reset options; with `values`, also values out of range.

    On the CPU indices, and locations and scales for NaN, are always read: it costs no sync there.
    """
    instance("options", options, Mapping, "a dict or None")
    assert isinstance(options, Mapping)
    shapes: dict[str, tuple[int, ...]] = {"indices": (rows,), "locations": (rows, 2), "reset_mask": (rows,)}
    shapes["scales"] = (rows, 1)
    for key, value in options.items():
        choice("reset option", key, OPTIONS)
        shape(f"options[{key!r}]", value, shapes[key], key in ("locations", "scales"), device)
    if "scales" in options and not zoomed:
        raise ValueError("options['scales']: the windows' width is fixed; make the environment with zoom=")
    mask, indices = options.get("reset_mask"), options.get("indices")
    if isinstance(mask, Tensor):
        if mode != AutoresetMode.DISABLED:
            raise ValueError(
                "options['reset_mask'] needs autoreset_mode=AutoresetMode.DISABLED: "
                "in the other modes finished rows restart by themselves"
            )
        if mask.dtype != torch.bool:
            raise TypeError(f"options['reset_mask']: expected dtype bool, got {mask.dtype}")
        if values and holds(~mask.any(), "options['reset_mask']: expected at least one True"):
            raise ValueError("options['reset_mask']: expected at least one True")
    if isinstance(indices, Tensor) and indices.dtype == torch.bool:
        raise TypeError("options['indices']: expected an integer dtype, got torch.bool; reset_mask is bool")
    if isinstance(indices, Tensor) and (values or device.type == "cpu"):
        within("options['indices']", indices, 0, images - 1)
    for key in ("locations", "scales"):
        if key in options and values:
            within(f"options[{key!r}]", options[key], -1, 1)
        elif key in options and device.type == "cpu":
            numbers(f"options[{key!r}]", options[key])


def partial_reset(options: Mapping[str, object], seed: int | None, first: bool) -> None:
    """Refuse a reset of some rows before the first reset of all, or together with a seed."""
    name = "options['reset_mask']"
    if "reset_mask" in options and first:
        raise RuntimeError(f"{name} before the first reset(): reset all rows once, then choose rows")
    if "reset_mask" in options and seed is not None:
        raise ValueError(
            f"seed={show(seed)} with {name}: a seed draws the order of all rows; give one of the two"
        )


def saved_state(saved: Any, fresh: Mapping[str, Tensor], labels: Tensor, horizon: int) -> dict[str, Any]:
    """Return a `state_dict` with the present names of fields; refuse any of other rows, images or glimpses.

    Args:
        saved: What `state_dict` returned, now or in an earlier version.
        fresh: A state of this environment: its shapes and dtypes are expected.
        labels: Those of all images.
        horizon: max_glimpses.
    """
    keys("state_dict", saved, ("seed", "state", "np_random"))
    argument("state_dict['seed']", saved["seed"], whole(0, 2**63 - 1))
    instance("state_dict['state']", saved["state"], Mapping, "a dict")
    state = rename_fields(saved["state"])
    keys("state_dict['state']", state, fresh)
    rows, step = len(fresh["step"]), state["step"]
    if isinstance(step, Tensor) and step.shape != (rows,):
        raise ValueError(f"state_dict of {len(step.ravel())} rows: expected num_envs={rows}")
    for name, example in fresh.items():
        value, title = state[name], f"state_dict['state'][{name!r}]"
        shape(title, value, tuple(example.shape), example.is_floating_point())
        if value.dtype != example.dtype:
            raise TypeError(f"{title}: expected dtype {example.dtype}, got {value.dtype}")
    within("state_dict's image indices", state["index"], 0, len(labels) - 1)
    within("state_dict's steps", state["step"], 1, horizon)
    within("state_dict's locations", state["location"], -1, 1)
    if not torch.equal(labels.cpu()[state["index"].cpu()], state["label"].cpu()):
        raise ValueError(f"state_dict with labels {show(state['label'])}: this data set's images have others")
    return {**saved, "state": state}


def saved_generator(state: Any) -> np.random.Generator:
    """Return a numpy generator in a saved state, or refuse that."""
    generator = np.random.default_rng()
    try:
        generator.bit_generator.state = state
    except (TypeError, ValueError, KeyError) as error:
        kind = type(generator.bit_generator).__name__
        text = f"state_dict['np_random']={show(state)}: expected the state of a {kind} ({error})"
        raise ValueError(text) from error
    return generator
