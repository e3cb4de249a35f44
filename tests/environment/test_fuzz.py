"""Random arguments, reset options and actions: they work, or an error names them and nothing changes."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping
from fractions import Fraction

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from glimpse_env import EpisodeStatistics, FlatAction, GlimpseEnv, GlimpseVectorEnv, NumpyVectorEnv, checks
from tests.conftest import CLASSES, HORIZON, SIDE, Noise

NAMED = (ValueError, TypeError, FileNotFoundError)
VIEW = {"image_size": SIDE, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": HORIZON}
ROWS = 3
SHARE = int(os.environ.get("GLIMPSE_EXAMPLES", "2000")) // 4  # of each of the four tests that draw the most

dtypes = st.sampled_from(["f2", "f4", ">f8", "i1", ">i8", "u8", "?", "c8", "U3", "S2", "O", "M8[s]", "g"])
arrays = st.builds(
    lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
    st.sampled_from([(), (1,), (2,), (ROWS,), (ROWS, 2), (2, ROWS), (ROWS, CLASSES), (CLASSES,), (0,)]),
    dtypes.filter(lambda dtype: dtype != "M8[s]"),
    st.sampled_from([0, 1, -1, 2, 100]),
)
tensors = st.builds(
    lambda shape, dtype, fill: torch.full(shape, fill).to(dtype),
    st.sampled_from([(), (1,), (2,), (ROWS,), (ROWS, 2), (ROWS, CLASSES)]),
    st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool, torch.complex64]),
    st.sampled_from([0, 1, -1, 2, 100]),
)
numbers = st.one_of(
    st.integers(-3, 20),
    st.sampled_from([10**9, 2**31, 2**63, 10**30, -(10**12), 10**300]),
    st.floats(-3, 20),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e-300, 1e300]),
    st.integers(-3, 20).map(np.int64),
    st.integers(0, 20).map(np.uint8),
    st.floats(-3, 20, width=32).map(np.float32),
    st.sampled_from([np.float64("nan"), np.float16(0.5), np.bool_(True), Fraction(1, 2), 1j]),
)
WORDS = """
False 1 once shuffle zero reflect noise image glimpse center random pixel crop map bank train fit fit:1/2
fit:9/2 validation test DEFAULT cpu auto NextStep SameStep delayed resnet0 .. ~ cuda:99 steering box
multidiscrete
"""
names = st.sampled_from([*WORDS.split(), "", "a\0b", "\ud800", "x" * 5000])
leaves = st.one_of(
    st.none(), st.booleans(), numbers, names, st.text(max_size=4), st.binary(max_size=3), arrays, tensors,
    st.sampled_from([object(), int, len, AutoresetMode.SAME_STEP, torch.device("cpu"), range(3)]),
)  # fmt: skip


def nest(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(names, inner, max_size=2)


junk = st.recursive(leaves, nest, max_leaves=4)
ARGUMENTS = [
    "num_envs",
    "split",
    "root",
    "download",
    "sensor",
    "backbone",
    "weights",
    "image_size",
    "glimpse_size",
    "scales",
    "first_view",
    "initial_location",
    "location_range",
    "first_crop",
    "fill",
    "max_glimpses",
    "grid",
    "view_size",
    "context",
    "show_map",
    "reward",
    "order",
    "autoreset_mode",
    "device",
    "compact",
    "validate",
]


@pytest.fixture(autouse=True)
def nothing_but_the_package(unchecked: None) -> None:
    """Types are left to the package itself."""


def act(rows: int) -> dict[str, np.ndarray]:
    return {
        "location": np.zeros((rows, 2), np.float32),
        "stop": np.zeros(rows, np.int64),
        "prediction": np.ones((rows, CLASSES), np.float32),
    }


def is_in(message: str, name: str, value: object) -> bool:
    """Tell whether a message names the argument, and its value or at least its type."""
    shown = (checks.show(value), str(value)[:100], type(value).__name__)
    return name in message and any(text in message for text in shown)


@settings(max_examples=SHARE)
@given(
    name=st.sampled_from(ARGUMENTS),
    value=junk,
    more=st.dictionaries(st.sampled_from(ARGUMENTS), leaves, max_size=1),
)
def test_constructors(noise: Noise, name: str, value: object, more: dict) -> None:
    given_one = {"num_envs": ROWS} | VIEW | more | {name: value}
    try:
        envs = NumpyVectorEnv(given_one.pop("num_envs"), noise, **given_one)
    except NAMED as error:
        assert any(
            is_in(str(error), key, val)
            for key, val in ({"num_envs": ROWS} | VIEW | more | {name: value}).items()
        )
        return
    observation, _ = envs.reset(seed=0)
    assert envs.observation_space.contains(observation)
    if given_one.get("reward") is not len:  # a user's own callable, with its own error
        assert envs.observation_space.contains(envs.step(act(envs.num_envs))[0])


@settings(max_examples=SHARE)
@given(name=st.sampled_from(ARGUMENTS[1:]), value=junk)
def test_constructors_of_tensors_and_of_one_image(noise: Noise, name: str, value: object) -> None:
    outcomes = []
    for build in (
        lambda given: GlimpseEnv(noise, **given),
        lambda given: GlimpseVectorEnv(1, noise, **given),
    ):
        if name != "autoreset_mode":
            try:
                outcomes.append(build(VIEW | {name: value}).reset(seed=0)[1]["label"])
            except NAMED as error:
                outcomes.append(str(error))
                arguments = (VIEW | {name: value}).items()  # the other one may be the one that does not fit
                assert any(is_in(str(error), key, argument) for key, argument in arguments)
    assert len({str(getattr(outcome, "item", lambda one=outcome: one)()) for outcome in outcomes}) <= 1


def snapshot(core: GlimpseVectorEnv) -> tuple:
    """Return everything of an environment that a call may change."""
    saved = core.state_dict()
    state = {name: value.clone() for name, value in saved["state"].items()}
    return (
        state,
        saved["seed"],
        copy.deepcopy(saved["np_random"]),
        {k: v.clone() for k, v in core._observation.items()},
    )


def equal(one: object, other: object) -> bool:
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, tuple):
        return all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.fixture(scope="module")
def environments(noise: Noise) -> dict[str, tuple]:
    """Return every interface and wrapper, with its core and a good action."""
    options = {"dataset": noise, "autoreset_mode": AutoresetMode.DISABLED, **VIEW}
    batch, one = act(ROWS), {name: value[0] for name, value in act(1).items()}
    arrays = gymnasium.make_vec("GlimpseEnv-v0", num_envs=ROWS, **options)
    single = gymnasium.make("GlimpseEnv-v0", dataset=noise, **VIEW)
    core = GlimpseVectorEnv(ROWS, validate=True, **options)
    counted = EpisodeStatistics(gymnasium.make_vec("GlimpseEnv-v0", num_envs=ROWS, **options))
    flat = FlatAction(gymnasium.make_vec("GlimpseEnv-v0", num_envs=ROWS, **options))
    return {
        "arrays": (arrays, arrays.unwrapped.core, batch),
        "single": (single, single.unwrapped.core, one),
        "tensors": (core, core, {name: torch.from_numpy(value) for name, value in batch.items()}),
        "counted": (counted, counted.unwrapped.core, batch),
        "flat": (flat, flat.unwrapped.core, np.zeros((ROWS, 3 + CLASSES), np.float32)),
    }


interfaces = st.sampled_from(["arrays", "single", "tensors", "counted", "flat"])
option_dicts = st.dictionaries(
    st.sampled_from(["indices", "locations", "reset_mask", "index", ""]), junk, max_size=2
)


@settings(max_examples=SHARE)
@given(interface=interfaces, options=junk | option_dicts | option_dicts, seed=st.none() | st.none() | leaves)
def test_reset(environments: dict, interface: str, options: object, seed: object) -> None:
    env, core, good = environments[interface]
    env.reset(seed=0)
    env.step(good)
    before = snapshot(core)
    try:
        observation, _ = env.reset(seed=seed, options=options)
    except NAMED as error:
        assert any(text in str(error) for text in ("option", "seed"))
        assert equal(snapshot(core), before)
        env.step(good)
        return
    if interface != "tensors":
        assert env.observation_space.contains(observation)


@settings(max_examples=SHARE)
@given(
    interface=interfaces,
    part=st.sampled_from(["location", "stop", "prediction", "all", "none", "more"]),
    value=junk,
)
def test_actions(environments: dict, interface: str, part: str, value: object) -> None:
    env, core, good = environments[interface]
    env.reset(seed=0)
    before = snapshot(core)
    action = value if part == "all" or interface == "flat" else good | {part: value}
    if part == "none" and interface != "flat":
        action = {name: val for name, val in good.items() if name != "stop"}
    try:
        env.step(action)
    except NAMED as error:
        assert "action" in str(error)
        assert equal(snapshot(core), before)
        env.step(good)


@settings(max_examples=100)
@given(form=junk, grid=junk, window=junk)
def test_wrappers(environments: dict, form: object, grid: object, window: object) -> None:
    env = environments["arrays"][0]
    for build, name, value in (
        (lambda: FlatAction(env, form), "form", form),
        (lambda: FlatAction(env, "multidiscrete", grid), "grid", grid),
        (lambda: EpisodeStatistics(env, window), "window", window),
        (lambda: FlatAction(form), "FlatAction", form),
        (lambda: EpisodeStatistics(form), "EpisodeStatistics", form),
    ):
        try:
            build()
        except NAMED as error:
            assert is_in(str(error), name if name not in ("FlatAction", "EpisodeStatistics") else "", value)
