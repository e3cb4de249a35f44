"""Checks of arguments, by the table `ARGUMENTS`: errors name the value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from glimpse_env.runtime import devices
from glimpse_env.runtime import memory as memory_size

LONG = 400  # characters or bits of a value that messages quote


class Kind(NamedTuple):
    """What an argument may be: one line of `ARGUMENTS`."""

    expected: str  # in messages
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any]  # of an accepted value, to Python's own type


def whole(least: int = 1, most: int | None = None) -> Kind:
    """Return the kind of Python's and numpy's whole numbers (bool is none) in [least, most]."""
    end = "" if most is None else f" and at most {most}"
    return Kind(
        f"a whole number of at least {least}{end}",
        lambda value: (
            _is_number(value, int, np.integer) and least <= value and (most is None or value <= most)
        ),
        int,
    )


def real(low: float = -math.inf, high: float = math.inf, above: float = -math.inf) -> Kind:
    """Return the kind of finite numbers of Python and numpy in [low, high], and above `above`."""
    start = f"({above:g}" if above >= low else f"[{low:g}"
    return Kind(
        "a finite number"
        if math.isinf(low) and math.isinf(high) and math.isinf(above)
        else f"a number in {start}, {high:g}{']' if high < math.inf else ')'}",
        lambda value: (
            _is_number(value, int, float, np.integer, np.floating)
            and low <= value <= high
            and above < value < math.inf
        ),
        float,
    )


def one_of(*names: str) -> Kind:
    """Return the kind of these names."""
    return Kind(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names, str)


def several(kind: Kind, most: int) -> Kind:
    """Return the kind of sequences of 1 to `most` values of another kind, converted to tuples."""
    return Kind(
        f"a sequence of 1 to {most} values, each {kind.expected}",
        lambda values: (
            isinstance(values, tuple | list | np.ndarray)
            and getattr(values, "ndim", 1) == 1
            and 0 < len(values) <= most
            and all(map(kind.accepts, values))
        ),
        lambda values: tuple(map(kind.convert, values)),
    )


def _is_number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def ascending(kind: Kind, expected: str) -> Kind:
    """Return the kind of pairs of values of another kind, the smaller one first."""
    pair = several(kind, 2)
    return Kind(
        expected,
        lambda values: pair.accepts(values) and len(values) == 2 and bool(values[0] < values[1]),
        pair.convert,
    )


FLAG = Kind("True or False", lambda value: isinstance(value, bool | np.bool_), bool)
TEXT = Kind("a string", lambda value: isinstance(value, str), str)
PATH = Kind(
    "a path or None", lambda value: value is None or isinstance(value, str | PathLike), lambda value: value
)
COUNT, SEED = whole(), whole(0)
SIDE = whole(most=2**16)  # pixels

# Every argument with a fixed range, of the environment, of sensors, wrappers and adapters.
ARGUMENTS: dict[str, Kind] = {
    "num_envs": whole(most=2**24),
    "split": TEXT,
    "root": PATH,
    "weights": PATH,
    "download": FLAG,
    "image_size": Kind(
        f"{SIDE.expected}, or 'native'",
        lambda value: (isinstance(value, str) and value == "native") or SIDE.accepts(value),
        lambda value: value if isinstance(value, str) else int(value),
    ),
    "glimpse_size": SIDE,
    "glimpse_unit": one_of("pixels", "short_side"),
    "view_size": SIDE,
    "pieces": whole(0, 2**16),
    "piece_size": SIDE,
    "scales": several(real(high=1024, above=0), 64),
    "zoom": ascending(real(high=1024, above=0), "two numbers in (0, 1024], the smaller one first"),
    "location_range": real(0, 1),
    "moves": one_of("absolute", "relative"),
    "max_move": real(high=4, above=0),
    "first_crop": real(high=1, above=0),
    "max_glimpses": whole(most=2**20),
    "grid": whole(most=2**10),
    "roi": whole(most=2**10),
    "chunk": whole(most=2**24),
    "context": FLAG,
    "show_map": FLAG,
    "order": one_of("shuffle", "once"),
    "compact": FLAG,
    "validate": FLAG,
    "window": whole(most=2**24),
    "flat": FLAG,
    "frame_stack": COUNT,
}


def argument(name: str, value: object, kind: Kind | None = None) -> Any:
    """Return an argument as Python's own type, if it is of its kind (by `ARGUMENTS` if None).

    Raises:
        ValueError: It is not; the message has the name, the value and what is allowed.
    """
    kind = ARGUMENTS[name] if kind is None else kind
    if not kind.accepts(value):
        raise ValueError(f"{name}={show(value)}: expected {kind.expected}")
    return kind.convert(value)


def arguments(**values: object) -> tuple[Any, ...]:
    """Return several arguments of `ARGUMENTS`, each as `argument` does."""
    return tuple(argument(name, value) for name, value in values.items())


def show(value: object) -> str:
    """Return a value as messages quote it: its repr, in a length that can be read."""
    if isinstance(value, int) and value.bit_length() > LONG:
        return f"<a whole number of {value.bit_length()} bits>"
    try:
        text = repr(value)
    except Exception as error:  # of any kind, such as a ValueError for a list with a number of 10,000 digits
        return f"<{type(value).__name__} without a repr ({error})>"
    return text if len(text) <= LONG else f"{text[: LONG // 2]} ... {text[-LONG // 4 :]}"


def count(name: str, value: object) -> int:
    """Return a whole number of at least 1; refuse anything else."""
    return argument(name, value, COUNT)


def seed(value: object) -> int | None:
    """Return a seed as Python's int; refuse what is not None or a whole number of at least 0."""
    if value is None or SEED.accepts(value):
        return None if value is None else SEED.convert(value)
    expected = "expected None or one whole number of at least 0"
    raise ValueError(f"seed={show(value)}: {expected} (it seeds the order of the images of all rows)")


def choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse a value that is not one of `allowed`."""
    argument(name, value, one_of(*allowed))


def instance(name: str, value: object, kinds: Any, expected: str) -> None:
    """Refuse an object of another type; `kinds` as for `isinstance`."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name}={show(value)}: expected {expected}, got {type(value).__name__}")


def memory(what: str, size: float, device: torch.device) -> None:
    """Refuse what needs more bytes than the device has in all, where the system says how many it has."""
    limit = memory_size.total(device)
    if limit is not None and size > limit:
        raise ValueError(
            f"{what}: needs {size / 1e9:.3g} GB, expected at most the {limit / 1e9:.3g} GB of {device}"
        )


def device(name: torch.device | str) -> torch.device:
    """Return the device ("auto" = the one that `devices.best` chooses); an error if this machine lacks it."""
    instance("device", name, str | torch.device, "a name such as 'cpu' or a torch.device")
    try:
        resolved = torch.device(devices.named(name) if isinstance(name, str) else name)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, ValueError) as error:
        use = f"({torch.cuda.device_count()} CUDA devices): use device='cpu', 'auto' or one that exists"
        raise ValueError(f"device={show(str(name))} is not available here {use}") from error
    return resolved


def autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    """Return Gymnasium's enum, or refuse an unknown mode."""
    try:
        return AutoresetMode(mode)
    except Exception:  # of any kind: it compares the value
        modes = ", ".join(map(str, AutoresetMode))
        raise ValueError(f"autoreset_mode={show(mode)}: expected one of {modes}") from None


def is_open(closed: bool) -> None:
    """Refuse to work after close()."""
    if closed:
        raise RuntimeError("the environment is closed: make a new one")
