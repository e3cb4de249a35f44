"""The numpy interface: `gymnasium.make` and `gymnasium.make_vec` equal the core, and refuse bad values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers import TransformObservation
from gymnasium.wrappers.vector import (
    ClipReward,
    DictInfoToList,
    RecordEpisodeStatistics,
    VectorizeTransformObservation,
)
from torch import Tensor

import glimpse_env
from glimpse_env import GlimpseEnv, GlimpseVectorEnv, InformationGain, NumpyVectorEnv

Act = Callable[..., dict[str, Tensor]]
Action = dict[str, np.ndarray]
SMALL = {"image_size": 12, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": 4}
SAME, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.DISABLED


@pytest.fixture
def single(noise: torch.utils.data.Dataset) -> gymnasium.Env:
    """The single environment over the small data set."""
    return gymnasium.make("GlimpseEnv-v0", dataset=noise, reward=InformationGain(), **SMALL)


@pytest.fixture
def vector(noise: torch.utils.data.Dataset) -> Callable[..., VectorEnv]:
    """The vector environment over the small data set."""
    return lambda num_envs=3, **options: gymnasium.make_vec(
        "GlimpseEnv-v0", num_envs=num_envs, dataset=noise, **(SMALL | options)
    )


def numpy_of(action: dict[str, Tensor]) -> Action:
    """Return a batch of actions as arrays."""
    return {key: value.numpy() for key, value in action.items()}


def row(action: dict[str, Tensor], index: int = 0) -> Action:
    """Return one row of a batch of actions, as a user of the single environment writes it."""
    return {key: value[index].numpy() for key, value in action.items()}


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_gymnasiums_own_check_finds_nothing_on_mnist(render_mode: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("GlimpseEnv-v0", dataset="mnist", render_mode=render_mode).unwrapped)


def test_one_id_two_entry_points() -> None:
    spec = gymnasium.spec("GlimpseEnv-v0")
    assert isinstance(gymnasium.make(spec, split="test").unwrapped, GlimpseEnv)
    assert isinstance(gymnasium.make_vec("GlimpseEnv-v0", num_envs=2, split="test"), NumpyVectorEnv)
    assert glimpse_env.__version__


def test_the_single_environment_is_a_row_of_the_core(
    single: gymnasium.Env, noise: torch.utils.data.Dataset, act: Act
) -> None:
    core = GlimpseVectorEnv(4, noise, autoreset_mode=DISABLED, reward=InformationGain(), **SMALL)
    indices = torch.tensor([3, 9, 1, 0])
    whole = core.reset(seed=0, options={"indices": indices})
    alone = single.reset(seed=0, options={"indices": indices[1:2].numpy()})
    for time in range(6):
        for key, value in alone[0].items():
            assert value.dtype == np.float32
            np.testing.assert_array_equal(value, whole[0][key][1].numpy())
        assert alone[-1] == {key: value[1].item() for key, value in whole[-1].items() if key[0] != "_"}
        if time:
            assert alone[1:4] == tuple(value[1].item() for value in whole[1:4])
            assert [type(value) for value in alone[1:4]] == [float, bool, bool]
        action = act(4, seed=time, stop=time == 4)
        whole, alone = core.step(action), single.step(row(action, 1))


def test_the_vector_environment_is_the_core_as_numpy(
    vector: Callable, noise: torch.utils.data.Dataset, act: Act
) -> None:
    core, envs = GlimpseVectorEnv(3, noise, **SMALL), vector()
    whole, arrays = core.reset(seed=0), envs.reset(seed=0)
    for time in range(8):
        for part, expected in zip(arrays, whole, strict=True):
            for key, value in part.items() if isinstance(part, dict) else [("", part)]:
                assert isinstance(value, np.ndarray)
                np.testing.assert_array_equal(value, (expected[key] if key else expected).numpy())
        action = act(3, seed=time)
        whole, arrays = core.step(action), envs.step(numpy_of(action))
    assert arrays[0]["glimpse"].dtype == np.float32
    assert arrays[1].dtype == np.float64
    assert arrays[2].dtype == arrays[3].dtype == np.bool_
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.observation_space.contains(arrays[0])


def test_what_was_returned_is_a_copy(single: gymnasium.Env, vector: Callable, act: Act) -> None:
    for env, action in ((single, row(act(1, 0, stop=0))), (vector(), numpy_of(act(3, 0, stop=0)))):
        observation, _ = env.reset(seed=0)
        copies = {key: value.copy() for key, value in observation.items()}
        env.step(action)
        for key, value in observation.items():
            np.testing.assert_array_equal(value, copies[key])
            value[...] = -5
        assert all((value > -5).all() for value in env.step(action)[0].values())


def test_same_step_gives_gymnasiums_final_rows_and_only_when_an_episode_ended(
    vector: Callable, act: Act
) -> None:
    """As in SyncVectorEnv: `final_obs` is one dict or None per row, `final_info` a dict with masks."""
    envs, sync = vector(autoreset_mode=SAME), vector()
    envs.reset(seed=0)
    sync.reset(seed=0)
    action = numpy_of(act(3, seed=0, stop=[0, 1, 0]))
    info, expected = envs.step(action)[4], sync.step(action)
    assert info["final_obs"].dtype == object
    assert [entry is None for entry in info["final_obs"]] == [True, False, True]
    for key, value in info["final_obs"][1].items():
        np.testing.assert_array_equal(value, expected[0][key][1])
    assert info["final_info"]["label"][1] == expected[4]["label"][1]
    assert (
        info["final_info"]["_label"].tolist()
        == info["_final_info"].tolist()
        == info["_final_obs"].tolist()
        == [False, True, False]
    )
    assert "final_obs" not in envs.step(numpy_of(act(3, seed=1, stop=0)))[4]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, SAME])
def test_record_episode_statistics_counts_answers_and_returns(
    vector: Callable, act: Act, mode: AutoresetMode
) -> None:
    """With InformationGain the return is ln C - final loss; the length is the number of glimpses."""
    if mode == SAME and tuple(map(int, gymnasium.__version__.split(".")[:2])) < (1, 4):
        pytest.skip(
            f"gymnasium {gymnasium.__version__}'s wrapper miscounts episodes in SAME_STEP; 1.4 does not"
        )
    envs = RecordEpisodeStatistics(vector(autoreset_mode=mode, reward="information_gain"))
    envs.reset(seed=0)
    ended = 0
    for time in range(30):
        _, _, terminated, _, info = envs.step(numpy_of(act(3, seed=time)))
        final = info.get("final_info", info)
        for i in np.flatnonzero(terminated):
            ended += 1
            assert info["episode"]["l"][i] == final["glimpses"][i]
            assert info["episode"]["r"][i] == pytest.approx(math.log(5) - final["loss"][i], abs=1e-5)
    assert envs.episode_count == ended > 10


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, SAME])
def test_gymnasiums_info_and_reward_wrappers_work(vector: Callable, act: Act, mode: AutoresetMode) -> None:
    plain, envs = vector(autoreset_mode=mode), DictInfoToList(ClipReward(vector(autoreset_mode=mode), 0, 0.5))
    plain.reset(seed=0)
    envs.reset(seed=0)
    for time in range(12):
        action = numpy_of(act(3, seed=time))
        _, reward, terminated, _, info = plain.step(action)
        _, clipped, _, _, infos = envs.step(action)
        np.testing.assert_array_equal(clipped, reward.clip(0, 0.5))
        assert [entry["label"] for entry in infos] == info["label"].tolist()
        ended = terminated if mode == SAME else np.zeros(3, bool)
        assert ["final_obs" in entry for entry in infos] == ended.tolist()
        for i in np.flatnonzero(ended):
            np.testing.assert_array_equal(infos[i]["final_obs"]["glimpse"], info["final_obs"][i]["glimpse"])
            assert infos[i]["final_info"]["label"] == info["final_info"]["label"][i]


def test_gymnasiums_observation_wrappers_work(vector: Callable, act: Act) -> None:
    plain, wrapped = vector(), vector()
    space = wrapped.single_observation_space
    halved = VectorizeTransformObservation(
        wrapped,
        TransformObservation,
        func=lambda observed: observed | {"glimpse": observed["glimpse"] / 2},
        observation_space=space,
    )
    plain.reset(seed=0)
    halved.reset(seed=0)
    action = numpy_of(act(3, seed=0))
    np.testing.assert_array_equal(halved.step(action)[0]["glimpse"], plain.step(action)[0]["glimpse"] / 2)


def test_reset_mask_and_options_pass_the_vector_environment(vector: Callable, act: Act) -> None:
    envs = vector(autoreset_mode=DISABLED)
    _, info = envs.reset(seed=0, options={"indices": np.array([4, 5, 6]), "locations": np.full((3, 2), 0.5)})
    assert info["label"].tolist() == [4, 0, 1]
    envs.step(numpy_of(act(3, seed=0, stop=1)))
    observation, info = envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert observation["location"].tolist() == [[0.5, 0.5], [0, 0], [0.5, 0.5]]
    assert envs.step(numpy_of(act(3, seed=0, stop=0)))[2].tolist() == [True, False, True]


def test_a_step_after_the_end_repeats_it(single: gymnasium.Env, act: Act) -> None:
    single.reset(seed=0)
    last = single.step(row(act(1, 0, stop=1)))
    again = single.step(row(act(1, 1, stop=0)))
    assert again[1:3] == (0.0, True)
    assert again[4] == last[4]
    np.testing.assert_array_equal(again[0]["glimpse"], last[0]["glimpse"])


def test_the_picture_follows_the_path(noise: torch.utils.data.Dataset, act: Act) -> None:
    env = gymnasium.make("GlimpseEnv-v0", dataset=noise, render_mode="rgb_array", **SMALL)
    env.reset(seed=0)
    first = env.render()
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    env.step(row(act(1, 0, stop=0)))
    second = env.render()
    assert second.shape == first.shape
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.render(), second)


def test_rendering_needs_a_reset_and_a_mode(noise: torch.utils.data.Dataset) -> None:
    with pytest.raises(RuntimeError, match=r"render\(\) before reset"):
        GlimpseEnv(noise, render_mode="rgb_array", **SMALL).render()
    quiet = GlimpseEnv(noise, **SMALL)
    quiet.reset(seed=0)
    assert quiet.render() is None
    with pytest.raises(ValueError, match=r"render_mode='human'.*rgb_array"):
        GlimpseEnv(noise, render_mode="human", **SMALL)


# Bad input


def bad(key: str, value: object) -> Callable[[Action], object]:
    """Return what puts a wrong value under `key`."""
    return lambda action: action | {key: value}


BAD = {
    "missing key": (lambda action: {"stop": 0}, ValueError, "location, stop, prediction"),
    "location outside": (bad("location", np.float32([0, 1.5])), ValueError, r"location.*\[-1, 1\].*1.5"),
    "location NaN": (bad("location", np.float32([0, math.nan])), ValueError, "location.*nan"),
    "location shape": (bad("location", np.zeros(3, np.float32)), ValueError, r"location.*\(2,\).*\(3,\)"),
    "location dtype": (bad("location", np.zeros(2, np.int64)), TypeError, "location.*floating.*int64"),
    "stop 2": (bad("stop", 2), ValueError, r"stop.*\[0, 1\].*2"),
    "stop shape": (bad("stop", np.zeros(1, np.int64)), ValueError, "stop.*shape"),
    "stop dtype": (bad("stop", 0.5), TypeError, "stop.*integer or bool.*float"),
    "prediction above one": (bad("prediction", np.full(5, 1.5)), ValueError, r"prediction.*\[0, 1\].*1.5"),
    "prediction NaN": (bad("prediction", np.full(5, math.nan)), ValueError, "prediction.*nan"),
    "prediction classes": (bad("prediction", np.zeros(10)), ValueError, r"prediction.*\(5,\).*\(10,\)"),
    "not a dict": (lambda action: None, ValueError, "expected a dict"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("spoil", "kind", "message"), BAD.values(), ids=BAD)
def test_a_bad_action_is_refused_and_changes_nothing(
    noise: torch.utils.data.Dataset, act: Act, spoil: Callable, kind: type, message: str
) -> None:
    env, twin = GlimpseEnv(noise, **SMALL), GlimpseEnv(noise, **SMALL)
    env.reset(seed=0)
    twin.reset(seed=0)
    good = row(act(1, seed=0, stop=0))
    with pytest.raises(kind, match=message):
        env.step(spoil(good))
    one, other = env.step(good), twin.step(good)
    assert one[1:] == other[1:]
    np.testing.assert_array_equal(one[0]["glimpse"], other[0]["glimpse"])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "seed", "kind", "message"),
    [
        ({"mask": np.ones(3)}, None, ValueError, "'mask'.*indices, locations, reset_mask"),
        ({"indices": np.array([0, 1, 23])}, None, ValueError, r"indices.*\[0, 22\].*23"),
        ({"indices": np.array([0.0, 1.0, 2.0])}, None, TypeError, "indices.*integer"),
        ({"locations": np.full((3, 2), -1.5)}, None, ValueError, r"locations.*\[-1, 1\].*-1.5"),
        ({"reset_mask": np.ones(3, bool)}, None, ValueError, "reset_mask.*DISABLED"),
        (None, "zero", ValueError, "seed='zero'"),
    ],
)
def test_bad_reset_options_are_refused_and_change_nothing(
    vector: Callable, act: Act, options: dict, seed: object, kind: type, message: str
) -> None:
    envs, twin = vector(), vector()
    envs.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(kind, match=message):
        envs.reset(seed=seed, options=options)
    action = numpy_of(act(3, seed=0))
    np.testing.assert_array_equal(envs.step(action)[0]["glimpse"], twin.step(action)[0]["glimpse"])


def test_stepping_before_reset_or_after_close_is_refused(
    noise: torch.utils.data.Dataset, vector: Callable, act: Act
) -> None:
    for env, action in ((GlimpseEnv(noise, **SMALL), row(act(1, 0))), (vector(), numpy_of(act(3, 0)))):
        with pytest.raises(RuntimeError, match="before reset"):
            env.step(action)
        env.reset(seed=0)
        env.close()
        with pytest.raises(RuntimeError, match="closed"):
            env.step(action)
        with pytest.raises(RuntimeError, match="closed"):
            env.reset()


def test_an_unknown_option_is_refused(noise: torch.utils.data.Dataset) -> None:
    with pytest.raises(TypeError, match="glimps_size"):
        GlimpseEnv(noise, glimps_size=4)


def test_a_constructor_that_failed_leaves_nothing_to_close():
    assert object.__new__(NumpyVectorEnv).closed  # what Gymnasium's destructor finds
    with pytest.raises(ValueError, match="num_envs=0"):
        NumpyVectorEnv(0)
    assert not NumpyVectorEnv(1, split="test").closed
