"""Arrays as people make them: any strides, order and byte order, read-only; and no float64 on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from glimpse_env import FlatAction, FlatSingleAction, GlimpseVectorEnv
from glimpse_env.datasets import torch_dataset
from glimpse_env.datasets.formats.notes import Notes
from tests.conftest import CLASSES, HORIZON, SIDE

VIEW = {"image_size": SIDE, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": HORIZON}
FLOATS = ("<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "g")
WHOLES = ("i1", "<i2", ">i4", "<i8", ">i8", "u1", ">u2", "<u8")


def backwards(array: np.ndarray) -> np.ndarray:
    """Return the same values with negative strides in every axis."""
    axes = tuple(range(array.ndim))
    return np.flip(np.flip(array, axes).copy(), axes)


def spread(array: np.ndarray) -> np.ndarray:
    """Return the same values as every second element of a larger array."""
    larger = np.zeros(tuple(2 * side for side in array.shape), array.dtype)
    view = larger[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    return view


def frozen(array: np.ndarray) -> np.ndarray:
    """Return a read-only copy."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy


SHAPES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    np.copy,
    backwards,
    spread,
    frozen,
    np.asfortranarray,
    lambda array: array[..., ::-1][..., ::-1] if array.ndim else array,
    lambda array: np.broadcast_to(array, array.shape),  # read-only
    lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
)
ways = st.tuples(st.sampled_from(SHAPES), st.sampled_from(FLOATS), st.sampled_from(WHOLES))


@pytest.fixture(scope="module")
def numpy_envs(noise) -> dict[str, gymnasium.vector.VectorEnv]:
    """Two vector environments, of which one gets plain arrays, and both interfaces of one image."""
    options = {"num_envs": 4, "autoreset_mode": AutoresetMode.DISABLED, "dataset": noise, **VIEW}
    return {name: gymnasium.make_vec("GlimpseEnv-v0", **options) for name in ("plain", "other")}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@given(way=ways, seed=st.integers(0, 2**16))
def test_values_count_and_not_how_an_array_lies_in_memory(numpy_envs, way, seed) -> None:
    change, floating, integer = way
    draw = np.random.default_rng(seed)
    options = {
        "indices": draw.integers(0, 23, 4),
        "locations": draw.integers(-4, 5, (4, 2)) / 4,
        "reset_mask": np.array([True, True, False, True]),
    }
    action = {
        "location": draw.integers(-4, 5, (4, 2)) / 4,  # exact in float16
        "stop": draw.integers(0, 2, 4),
        "prediction": draw.integers(0, 5, (4, CLASSES)) / 4,
    }
    plain, other = numpy_envs.values()
    for env in (plain, other):
        env.reset(seed=seed)
    kinds = {"f": floating, "i": integer, "b": bool}
    convert = {kind: lambda array, kind=kind: change(array.astype(kinds[kind])) for kind in kinds}
    expected = plain.reset(options=options)
    got = other.reset(options={name: convert[array.dtype.kind](array) for name, array in options.items()})
    assert same(got[0], expected[0])
    assert same(got[1], expected[1])
    arrays = {
        name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in action.items()
    }
    expected = plain.step(arrays)
    got = other.step({name: convert[array.dtype.kind](array) for name, array in action.items()})
    assert same(got[0], expected[0])
    assert np.array_equal(got[1], expected[1])
    assert same(got[4], expected[4])


def test_swapped_and_reversed_locations_are_what_they_say(noise) -> None:
    env = gymnasium.make_vec("GlimpseEnv-v0", num_envs=2, dataset=noise, **VIEW)
    env.reset(seed=0)
    location = np.array([[0.5, -0.25], [-1.0, 1.0]], np.float32)
    rest = {"stop": np.zeros(2, np.int64), "prediction": np.ones((2, CLASSES), np.float32)}
    for changed in (location[::-1], location[:, ::-1], location.T, location[::-1, ::-1]):
        assert np.array_equal(env.step(rest | {"location": changed})[0]["location"], changed)
        env.reset(seed=0)


@pytest.mark.parametrize("form", ["box", "multidiscrete"])
@pytest.mark.parametrize("change", SHAPES)
def test_flat_actions_and_one_image(noise, form: str, change: Callable) -> None:
    single = FlatSingleAction(gymnasium.make("GlimpseEnv-v0", dataset=noise, **VIEW), form)
    batch = FlatAction(gymnasium.make_vec("GlimpseEnv-v0", num_envs=1, dataset=noise, **VIEW), form)
    single.reset(seed=0)
    batch.reset(seed=0)
    flat = np.linspace(-1, 0, 3 + CLASSES).astype(np.float32) if form == "box" else np.array([7, 0, 2])
    order = flat.dtype.newbyteorder(">")
    one, many = single.step(change(flat.astype(order)))[0], batch.step(change(flat[None].astype(order)))[0]
    assert one["location"].tolist() == many["location"][0].tolist()
    expected = flat[:2] if form == "box" else [0, -0.5]
    assert one["location"] == pytest.approx(expected)


@pytest.mark.parametrize("change", SHAPES)
@pytest.mark.parametrize("dtype", ["u1", ">f4", ">f8", "<f2"])
def test_images_of_a_data_set(change: Callable, dtype: str) -> None:
    pixels = np.arange(12 * 7 * 3).reshape(12, 7, 3)
    image = pixels.astype(dtype) if dtype == "u1" else (pixels / 255).astype(dtype)
    shown = torch_dataset.to_pixels(change(image), 0, Notes("test"))
    assert np.array_equal(shown.permute(1, 2, 0).numpy(), pixels)


class NoFloat64(TorchDispatchMode):
    """Refuses every tensor of 64 floating bits, as MPS does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Compute, and look at the result."""
        result = function(*args, **(kwargs or {}))
        values = result if isinstance(result, tuple | list) else (result,)
        for value in values:
            if isinstance(value, torch.Tensor) and value.dtype in (torch.float64, torch.complex128):
                raise TypeError(f"{function}: Cannot convert a MPS Tensor to float64 dtype")
        return result


@pytest.fixture
def no_float64() -> Iterator[None]:
    """A machine without float64."""
    with NoFloat64():
        yield


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("view", ["image", "glimpse"])
def test_no_tensor_has_64_bits(noise, no_float64, mode: AutoresetMode, view: str) -> None:
    options = VIEW | {"first_view": view, "initial_location": "random", "scales": (1.0, 2.0)}
    envs = gymnasium.make_vec("GlimpseEnv-v0", num_envs=3, dataset=noise, autoreset_mode=mode, **options)
    single = gymnasium.make("GlimpseEnv-v0", dataset=noise, render_mode="rgb_array", **VIEW)
    locations = np.array([[0.5, 0.25]] * 3)  # float64
    envs.reset(seed=0, options={"locations": locations, "indices": [1, 2, 3]})
    single.reset(seed=0, options={"locations": locations[:1]})
    action = {"location": locations, "stop": np.zeros(3, int), "prediction": np.ones((3, CLASSES))}
    for _ in range(HORIZON + 1):
        rewards = envs.step(action)[1]
        single.step({name: value[0] for name, value in action.items()})
        assert rewards.dtype == np.float64
    flat = FlatAction(envs)
    flat.step(np.zeros((3, 3 + CLASSES)))
    assert flat.unwrapped.core.state_dict()["state"]["loss"].dtype == torch.float32


def test_tensors_of_another_device_are_refused(noise, unchecked) -> None:
    env = GlimpseVectorEnv(2, noise, **VIEW)
    env.reset(seed=0)
    action = {"location": torch.zeros(2, 2, device="meta"), "stop": torch.zeros(2).long()}
    with pytest.raises(ValueError, match=r"action\['location'\]: expected a tensor on cpu, got one on meta"):
        env.step(action | {"prediction": torch.zeros(2, CLASSES)})
    with pytest.raises(ValueError, match=r"options\['indices'\]: expected a tensor on cpu, got one on meta"):
        env.reset(options={"indices": torch.zeros(2, dtype=torch.int64, device="meta")})
