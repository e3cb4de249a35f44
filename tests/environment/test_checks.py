"""Checks: each message names the value and what is allowed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from glimpse_env import checks, tensor_checks


@pytest.mark.parametrize("value", [0, -3, 2.0, True, "4", None])
def test_count_wants_a_whole_number_of_at_least_one(value: object) -> None:
    with pytest.raises(ValueError, match=f"rows={value!r}: expected a whole number of at least 1"):
        checks.count("rows", value)
    checks.count("rows", np.int64(1))


@pytest.mark.parametrize("value", [-1, 0.5, True, "0", [1]])
def test_seed_wants_none_or_a_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match="expected None or one whole number"):
        checks.seed(value)
    checks.seed(None)
    checks.seed(np.int64(0))


@pytest.mark.parametrize("name", ["cuda:9", "tpu-x", "cpu:x"])
def test_device_says_what_is_there(name: str) -> None:
    with pytest.raises(ValueError, match=f"device='{name}' is not available here.*cpu"):
        checks.device(name)
    assert checks.device("cpu") == torch.device("cpu")


def test_autoreset_takes_the_enum_and_its_values() -> None:
    assert (
        checks.autoreset(AutoresetMode.SAME_STEP) is checks.autoreset("SameStep") is AutoresetMode.SAME_STEP
    )
    with pytest.raises(ValueError, match=r"autoreset_mode='always'.*NEXT_STEP.*SAME_STEP.*DISABLED"):
        checks.autoreset("always")


def test_array_keeps_good_values_and_names_bad_ones() -> None:
    good = np.array([-1.0, 1.0])
    assert tensor_checks.array("a", good, (2,), "f", -1, 1) is good
    assert tensor_checks.array("a", 1, (), "iub", 0, 1) == 1
    for value, kind, message in (
        ([0.0, 1.0, 0.0], ValueError, r"a: expected shape \(2,\), got \(3,\)"),
        ([0, 1], TypeError, "a: expected a floating dtype, got int64"),
        ([0.0, -1.5], ValueError, r"a: expected values in \[-1, 1\], got values from -1.5 to 0"),
        ([0.0, math.nan], ValueError, "a: expected values in .* nan"),
        ([0.0, math.inf], ValueError, "a: expected values in .* inf"),
    ):
        with pytest.raises(kind, match=message):
            tensor_checks.array("a", value, (2,), "f", -1, 1)


def test_within_names_the_first_value_outside() -> None:
    tensor_checks.within("x", torch.tensor([0.0, 1.0]), 0, 1)
    with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\], got 3"):
        tensor_checks.within("x", torch.tensor([0.0, 3.0, -2.0]), 0, 1)
    with pytest.raises(ValueError, match="got nan"):
        tensor_checks.within("x", torch.tensor([math.nan]), 0, 1)
