"""Every wrapper of `gymnasium.wrappers.vector` on our numpy environment: which accept it, and how."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers import TransformAction, TransformObservation, TransformReward, vector

from glimpse_env import FlatAction
from tests.conformance.vector_checker import check_vector_env
from tests.conformance.vector_clauses import check_arrays, check_spaces
from tests.conformance.vector_driving import run, same

NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
SMALL = {
    "image_size": 12,
    "glimpse_size": 4,
    "first_view": "glimpse",
    "max_glimpses": 4,
    "reward": "information_gain",
}
STEPS = 12
Wrap = Callable[[VectorEnv], VectorEnv]


def darker(observed: dict) -> dict:
    """Halve the glimpse."""
    return observed | {"glimpse": observed["glimpse"] / 2}


def never_stop(action: dict) -> dict:
    """Continue, whatever was chosen."""
    return action | {"stop": np.zeros_like(action["stop"])}


# These return what Gymnasium's contract asks for again, on the Dict spaces as they are.
ACCEPTED: dict[str, Wrap] = {
    "TransformReward": lambda env: vector.TransformReward(env, lambda reward: reward * 2),
    "ClipReward": lambda env: vector.ClipReward(env, -0.5, 0.5),
    "VectorizeTransformReward": lambda env: vector.VectorizeTransformReward(
        env, TransformReward, func=lambda reward: reward * 2
    ),
    "TransformObservation": lambda env: vector.TransformObservation(env, darker),
    "VectorizeTransformObservation": lambda env: vector.VectorizeTransformObservation(
        env, TransformObservation, func=darker, observation_space=env.single_observation_space
    ),
    "FilterObservation": lambda env: vector.FilterObservation(env, ["glimpse", "step"]),
    "FlattenObservation": vector.FlattenObservation,
    "TransformAction": lambda env: vector.TransformAction(env, never_stop),
    "VectorizeTransformAction": lambda env: vector.VectorizeTransformAction(
        env, TransformAction, func=never_stop, action_space=env.single_action_space
    ),
}
# Gymnasium lets no observation wrapper onto a SAME_STEP environment.
OBSERVING = (
    "TransformObservation",
    "VectorizeTransformObservation",
    "FilterObservation",
    "FlattenObservation",
)
# These update statistics over all rows (or the wall time), so rows and repetitions are not independent.
COUNTING: dict[str, Wrap] = {
    "RecordEpisodeStatistics": vector.RecordEpisodeStatistics,
    "NormalizeReward": vector.NormalizeReward,
    "NormalizeObservation": lambda env: vector.NormalizeObservation(vector.FlattenObservation(env)),
}
# These want one array where ours is a Dict: they work on top of a flattening wrapper.
AFTER_FLATTENING: dict[str, tuple[Wrap, Wrap]] = {
    "ReshapeObservation": (vector.FlattenObservation, lambda env: vector.ReshapeObservation(env, (1, 19))),
    "RescaleObservation": (
        vector.FlattenObservation,
        lambda env: vector.RescaleObservation(env, np.float32(-1), np.float32(1)),
    ),
    "DtypeObservation": (vector.FlattenObservation, lambda env: vector.DtypeObservation(env, np.float16)),
    "ClipAction": (FlatAction, vector.ClipAction),
    "RescaleAction": (FlatAction, lambda env: vector.RescaleAction(env, np.float32(0), np.float32(1))),
}
# These change what is returned (a list of infos, torch tensors): the contract of numpy arrays does not hold.
CONVERTING = ("DictInfoToList", "ArrayConversion", "NumpyToTorch")
OLD = tuple(map(int, gymnasium.__version__.split(".")[:2])) < (1, 3)
# These do not work, and why.
REFUSED: dict[str, tuple[Wrap, str]] = {
    "GrayscaleObservation": (
        vector.GrayscaleObservation,
        "pictures of (height, width, 3) bytes; a glimpse is an entry of a Dict",
    ),
    "ResizeObservation": (
        lambda env: vector.ResizeObservation(env, (8, 8)),
        "pictures, as above; `glimpse_size` sets the size",
    ),
    "RecordVideo": (
        lambda env: vector.RecordVideo(env, "videos"),
        "a render mode; only the single environment draws",
    ),
    "HumanRendering": (vector.HumanRendering, "a render mode, as above"),
}
JAX = ("JaxToNumpy", "JaxToTorch")  # these are for environments written in jax


@pytest.fixture
def numpy_env(noise: torch.utils.data.Dataset) -> Callable[..., VectorEnv]:
    """The numpy environment over the small data set."""
    return lambda mode=NEXT: gymnasium.make_vec(
        "GlimpseEnv-v0", num_envs=3, dataset=noise, autoreset_mode=mode, **SMALL
    )


def test_every_wrapper_of_gymnasium_is_here() -> None:
    known = {*ACCEPTED, *COUNTING, *AFTER_FLATTENING, *CONVERTING, *REFUSED, *JAX}
    assert set(vector.__all__) <= known


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("name", ACCEPTED)
def test_the_numpy_environment_with_a_wrapper_keeps_the_contract(
    numpy_env: Callable, name: str, mode: AutoresetMode
) -> None:
    if name in OBSERVING and mode == SAME:
        # An assertion without words before Gymnasium 1.3.
        with pytest.raises(
            AssertionError if OLD else ValueError, match=None if OLD else "NEXT_STEP or DISABLED"
        ):
            ACCEPTED[name](numpy_env(mode))
    else:
        check_vector_env(lambda: ACCEPTED[name](numpy_env(mode)), STEPS)


@pytest.mark.parametrize("name", COUNTING)
def test_what_counting_wrappers_return_keeps_the_contract(numpy_env: Callable, name: str) -> None:
    for mode in (
        (NEXT,) if name == "NormalizeObservation" else AutoresetMode
    ):  # Gymnasium refuses it the others
        if OLD and name == "NormalizeObservation":
            continue  # before 1.3 its space is that of the observations before they are normalised
        check_spaces(COUNTING[name](numpy_env(mode)))
        check_arrays(COUNTING[name](numpy_env(mode)), STEPS)
    plain, counted = run(numpy_env(), STEPS), run(COUNTING[name](numpy_env()), STEPS)
    untouched = {
        "RecordEpisodeStatistics": slice(0, 4),
        "NormalizeReward": slice(2, 5),
        "NormalizeObservation": slice(1, 5),
    }[name]
    assert all(
        same(one[untouched], other[untouched]) for one, other in zip(plain[1:], counted[1:], strict=True)
    )


@pytest.mark.filterwarnings(
    "ignore:.*precision lowered by casting to float16"
)  # DtypeObservation does what it is asked for
@pytest.mark.parametrize("name", AFTER_FLATTENING)
def test_the_others_work_after_flattening(numpy_env: Callable, name: str) -> None:
    flatten, wrap = AFTER_FLATTENING[name]
    check_vector_env(lambda: wrap(flatten(numpy_env())), STEPS)
    with pytest.raises((AssertionError, AttributeError, TypeError, ValueError, NotImplementedError)):
        run(wrap(numpy_env()), 2)


def test_wrappers_change_what_their_names_say_and_nothing_else(numpy_env: Callable) -> None:
    plain = run(numpy_env(), STEPS)
    for name, part, change in (
        ("TransformReward", 1, lambda reward: reward * 2),
        ("ClipReward", 1, lambda reward: reward.clip(-0.5, 0.5)),
        ("TransformObservation", 0, darker),
        ("VectorizeTransformObservation", 0, darker),
        ("FilterObservation", 0, lambda observed: {key: observed[key] for key in ("glimpse", "step")}),
    ):
        for one, other in zip(plain[1:], run(ACCEPTED[name](numpy_env()), STEPS)[1:], strict=True):
            assert all(
                same(b, change(a) if index == part else a)
                for index, (a, b) in enumerate(zip(one, other, strict=True))
            )


def test_an_action_wrapper_reaches_the_core(numpy_env: Callable) -> None:
    results = run(ACCEPTED["TransformAction"](numpy_env(DISABLED)), 4)
    assert [step[2].tolist() for step in results[1:]] == [[False] * 3] * 3 + [
        [True] * 3
    ]  # nobody stops before the horizon


def test_lists_of_infos_hold_what_the_dict_holds(numpy_env: Callable) -> None:
    for one, other in zip(
        run(numpy_env(SAME), STEPS), run(vector.DictInfoToList(numpy_env(SAME)), STEPS), strict=True
    ):
        assert [entry["label"] for entry in other[-1]] == one[-1]["label"].tolist()
        assert all(same(a, b) for a, b in zip(one[:-1], other[:-1], strict=True))


@pytest.mark.parametrize("name", ["ArrayConversion", "NumpyToTorch"])
def test_arrays_become_tensors_of_the_same_values(numpy_env: Callable, name: str) -> None:
    pytest.importorskip("array_api_compat", reason="Gymnasium's conversions need array-api-compat")
    pytest.importorskip("numpy", minversion="2.1", reason="Gymnasium's conversions need numpy 2.1")
    envs = (
        vector.NumpyToTorch(numpy_env())
        if name == "NumpyToTorch"
        else vector.ArrayConversion(numpy_env(), env_xp=np, target_xp=torch)
    )
    plain = numpy_env()
    plain.reset(seed=0)
    observed, info = envs.reset(seed=0)
    assert isinstance(observed["glimpse"], torch.Tensor)
    assert isinstance(info["label"], torch.Tensor)
    plain.action_space.seed(0)
    for _ in range(STEPS):
        action = plain.action_space.sample()
        observation, reward, *_ = plain.step(action)
        observed, received, *_ = envs.step({key: torch.from_numpy(value) for key, value in action.items()})
        np.testing.assert_array_equal(observed["glimpse"].numpy(), observation["glimpse"])
        np.testing.assert_array_equal(received.numpy(), reward)


@pytest.mark.parametrize("mode", AutoresetMode)
def test_tensors_become_arrays_of_the_same_values(
    make: Callable, numpy_env: Callable, mode: AutoresetMode
) -> None:
    """Around the torch environment: arrays in, `action_space.sample()` among them, and arrays out."""
    pytest.importorskip("array_api_compat", reason="Gymnasium's conversions need array-api-compat")
    pytest.importorskip("numpy", minversion="2.1", reason="Gymnasium's conversions need numpy 2.1")
    core = make(3, reward=SMALL["reward"], autoreset_mode=mode)
    envs, plain = vector.ArrayConversion(core, env_xp=torch, target_xp=np), numpy_env(mode)
    options = {"indices": np.array([3, 1, 2])}
    assert same(envs.reset(seed=0, options=options), plain.reset(seed=0, options=options))
    envs.action_space.seed(0)
    for _ in range(STEPS):
        action = envs.action_space.sample()
        observation, *numbers, info = envs.step(action)
        expected, *others, expected_info = plain.step(action)
        assert same(observation, expected)
        assert all(np.array_equal(a, b) for a, b in zip(numbers, others, strict=True))  # float32, float64
        assert same(
            {key: info[key] for key in expected_info if "final_" not in key},
            {key: value for key, value in expected_info.items() if "final_" not in key},
        )
        for row in np.flatnonzero(info.get("_final_obs", [])):
            last = {key: value[row] for key, value in info["final_obs"].items()}
            assert same(last, expected_info["final_obs"][row])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # RecordVideo before 1.3
@pytest.mark.parametrize("name", REFUSED)
def test_these_do_not_take_our_environment(numpy_env: Callable, name: str) -> None:
    wrap, wants = REFUSED[name]
    assert wants
    with pytest.raises((AssertionError, AttributeError, TypeError, ValueError)):
        wrap(numpy_env())
