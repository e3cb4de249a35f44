"""Our own wrappers: flat actions equal the Dict's; statistics equal Gymnasium's, without a host sync."""

from __future__ import annotations

import math
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FrameStackObservation
from gymnasium.wrappers.vector import RecordEpisodeStatistics, TransformReward
from torch import Tensor

from glimpse_env import EpisodeStatistics, FlatAction, FlatSingleAction, GlimpseVectorEnv, NumpyVectorEnv

Make = Callable[..., GlimpseVectorEnv]
Act = Callable[..., dict[str, Tensor]]
NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
SMALL = {"image_size": 12, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": 4}
CLASSES, HORIZON = 5, 4


@pytest.fixture
def numpy_env(noise: torch.utils.data.Dataset) -> Callable[..., NumpyVectorEnv]:
    """The numpy environment over the small data set."""
    return lambda num_envs=3, **options: NumpyVectorEnv(num_envs, noise, **(SMALL | options))


def assert_equal(one: tuple, other: tuple) -> None:
    """Two results of `step` agree exactly, of tensors or arrays."""
    for a, b in zip(one, other, strict=True):
        for name in a if isinstance(a, dict) else [None]:
            left, right = (part if name is None else part[name] for part in (a, b))
            np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


# FlatAction


def box(action: dict[str, Tensor]) -> Tensor:
    """Return an action in form="box"; scores become multiples of 1/256, so that the conversion is exact."""
    action["prediction"] = (action["prediction"] * 256).round() / 256
    return torch.cat((action["location"], action["stop"][:, None] * 2.0 - 1, action["prediction"] * 2 - 1), 1)


@pytest.mark.parametrize("as_numpy", [False, True])
def test_a_box_is_location_stop_and_scores_in_a_row(
    make: Make, numpy_env: Callable, act: Act, as_numpy: bool
) -> None:
    plain, flat = (numpy_env(), FlatAction(numpy_env())) if as_numpy else (make(3), FlatAction(make(3)))
    assert flat.single_action_space.shape == (3 + CLASSES,)
    assert flat.single_action_space == gymnasium.spaces.Box(-1.0, 1.0, (3 + CLASSES,), np.float32)
    plain.reset(seed=0)
    flat.reset(seed=0)
    for time in range(8):
        action = act(3, seed=time)
        row = box(action)
        if as_numpy:
            assert_equal(
                plain.step({key: value.numpy() for key, value in action.items()}), flat.step(row.numpy())
            )
        else:
            assert_equal(plain.step(action), flat.step(row))


@pytest.mark.parametrize("as_numpy", [False, True])
def test_a_discrete_action_is_a_cell_stop_and_class(make: Make, numpy_env: Callable, as_numpy: bool) -> None:
    """Cells of a 3 x 3 lattice: 2 is the upper right corner, 3 the middle of the left side."""
    env = FlatAction(numpy_env() if as_numpy else make(3), "multidiscrete", grid=3)
    assert env.single_action_space.nvec.tolist() == [9, 2, CLASSES]
    _, info = env.reset(seed=0)
    label = [int(value) for value in info["label"]]
    action = np.array([[2, 0, label[0]], [3, 0, (label[1] + 1) % CLASSES], [4, 1, label[2]]])
    observation, reward, terminated, _, info = env.step(action if as_numpy else torch.from_numpy(action))
    assert observation["location"].tolist() == [[1, -1], [-1, 0], [0, 0]]
    assert info["correct"].tolist() == [True, False, True]
    assert terminated.tolist() == [False, False, True]
    assert reward.tolist() == [0, 0, 1]


def test_the_grid_is_the_presets_unless_given(make: Make) -> None:
    assert FlatAction(make(2), "multidiscrete").single_action_space.nvec[0] == 25
    assert FlatAction(make(2, grid=7), "multidiscrete").single_action_space.nvec[0] == 49


@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_mode_is_an_attribute_as_of_gymnasiums_vector_environments(
    make: Make, numpy_env: Callable, mode: AutoresetMode
) -> None:
    envs = numpy_env(autoreset_mode=mode)
    assert envs.autoreset_mode is FlatAction(envs).autoreset_mode is mode
    assert EpisodeStatistics(make(autoreset_mode=mode)).autoreset_mode is mode


@pytest.mark.usefixtures("unchecked")
def test_forms_that_cannot_be_are_refused(make: Make, numpy_env: Callable) -> None:
    with pytest.raises(ValueError, match=r"form='multi': expected one of box, multidiscrete"):
        FlatAction(make(), "multi")
    with pytest.raises(ValueError, match=r"grid=3: form='box' takes any location"):
        FlatAction(make(), grid=3)
    with pytest.raises(ValueError, match="grid=0"):
        FlatAction(make(), "multidiscrete", grid=0)
    refused = (
        r"form='steering' holds no prediction: expected 'box' or 'multidiscrete', or .*LearnedClassifier"
    )
    with pytest.raises(ValueError, match=refused):
        FlatAction(make(), "steering")
    with pytest.raises(ValueError, match=r"type Dict with location, stop, prediction, got Box"):
        FlatAction(FlatAction(numpy_env()))
    with pytest.raises(
        TypeError, match=r"a vector environment of GlimpseEnv-v0, got (CartPole|Sync)VectorEnv"
    ):
        FlatAction(gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("form", "action", "kind", "message"),
    [
        ("box", np.zeros((3, 7), np.float32), ValueError, r"action: expected shape \(3, 8\), got \(3, 7\)"),
        ("box", np.zeros((3, 8), int), TypeError, "action: expected a floating dtype, got int64"),
        ("box", np.full((3, 8), math.nan), ValueError, "action.*nan"),
        (
            "box",
            np.full((3, 8), -1.5, np.float32),
            ValueError,
            r"action: expected values in \[-1, 1\], got -1.5",
        ),
        (
            "multidiscrete",
            np.zeros((3, 3), np.float32),
            TypeError,
            "action: expected an integer dtype, got float32",
        ),
        ("multidiscrete", np.full((3, 3), 25), ValueError, r"\(cell\): expected values in \[0, 24\], got 25"),
        (
            "multidiscrete",
            np.array([[0, 0, 5]] * 3),
            ValueError,
            r"\(class\): expected values in \[0, 4\], got 5",
        ),
    ],
)
def test_a_bad_flat_action_is_refused_and_changes_nothing(
    numpy_env: Callable, form: str, action: np.ndarray, kind: type, message: str
) -> None:
    env, twin = FlatAction(numpy_env(), form), FlatAction(numpy_env(), form)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(kind, match=message):
        env.step(action)
    env.action_space.seed(0)
    good = env.action_space.sample()
    assert_equal(env.step(good), twin.step(good))


@pytest.mark.usefixtures("unchecked")
def test_the_torch_environment_checks_shapes_always_and_values_on_request(make: Make) -> None:
    env = FlatAction(make(3, validate=True), "multidiscrete")
    env.reset(seed=0)
    with pytest.raises(TypeError, match="action: expected an integer or bool tensor"):
        env.step(np.zeros((3, 3), int))
    with pytest.raises(ValueError, match=r"\(stop\): expected values in \[0, 1\], got 2"):
        env.step(torch.tensor([[0, 2, 0]] * 3))
    env = FlatAction(make(3, validate=True))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action: expected values in \[-1, 1\], got 2"):
        env.step(torch.full((3, 8), 2.0))


# FlatSingleAction


@pytest.mark.parametrize("form", ["box", "multidiscrete"])
def test_one_image_takes_what_a_row_takes(
    noise: torch.utils.data.Dataset, numpy_env: Callable, form: str
) -> None:
    grid = 3 if form == "multidiscrete" else None
    row = FlatAction(numpy_env(1, autoreset_mode=DISABLED), form, grid)
    alone = FlatSingleAction(gymnasium.make("GlimpseEnv-v0", dataset=noise, **SMALL), form, grid)
    assert alone.action_space == row.single_action_space
    row.action_space.seed(0)
    row.reset(seed=0)
    alone.reset(seed=0)
    for _ in range(HORIZON):
        action = row.action_space.sample()
        batched, single = row.step(action), alone.step(action[0])
        for name, value in single[0].items():
            np.testing.assert_array_equal(value, batched[0][name][0])
        assert (single[1], single[2]) == (batched[1][0], batched[2][0])


def test_a_stack_that_forgets_glimpses_is_refused(noise: torch.utils.data.Dataset) -> None:
    def stacked(size: int) -> FlatSingleAction:
        return FlatSingleAction(
            FrameStackObservation(gymnasium.make("GlimpseEnv-v0", dataset=noise, **SMALL), size)
        )

    with pytest.raises(
        ValueError,
        match=r"FrameStackObservation of 2: expected max_glimpses=4; a shorter stack .* is not Markov",
    ):
        stacked(2)
    observed, _ = stacked(HORIZON).reset(seed=0)
    assert observed["glimpse"].shape == (HORIZON, 1, 4, 4)


@pytest.mark.usefixtures("unchecked")
def test_single_forms_that_cannot_be_are_refused(noise: torch.utils.data.Dataset) -> None:
    with pytest.raises(TypeError, match="FlatSingleAction: expected a GlimpseEnv, got CartPoleEnv"):
        FlatSingleAction(gymnasium.make("CartPole-v1"))
    single = gymnasium.make("GlimpseEnv-v0", dataset=noise, **SMALL)
    with pytest.raises(ValueError, match="form='steering' holds no prediction"):
        FlatSingleAction(single, "steering")
    with pytest.raises(ValueError, match=r"FlatSingleAction: expected actions of type Dict .*, got Box"):
        FlatSingleAction(FlatSingleAction(single))
    flat = FlatSingleAction(single, "multidiscrete")
    flat.reset(seed=0)
    with pytest.raises(ValueError, match=r"action\[..., 0\] \(cell\): expected values in \[0, 24\], got 25"):
        flat.step(np.array([25, 0, 0]))


# EpisodeStatistics


@pytest.mark.parametrize("window", [4, 100])
@pytest.mark.parametrize("mode", [NEXT, SAME])
def test_statistics_equal_gymnasiums(
    make: Make, numpy_env: Callable, act: Act, mode: AutoresetMode, window: int
) -> None:
    """Up to six episodes may end at once, more than the smaller window holds."""
    if mode == SAME and tuple(map(int, gymnasium.__version__.split(".")[:2])) < (1, 4):
        pytest.skip(
            f"gymnasium {gymnasium.__version__}'s wrapper miscounts episodes in SAME_STEP; 1.4 does not"
        )
    options = {"autoreset_mode": mode, "reward": "information_gain"}
    ours = EpisodeStatistics(make(6, **options), window)
    theirs = RecordEpisodeStatistics(numpy_env(6, **options), window)
    ours.reset(seed=0)
    theirs.reset(seed=0)
    assert ours.mean_return.isnan()
    for time in range(40):
        action = act(6, seed=time)
        info = ours.step(action)[4]
        expected = theirs.step({key: value.numpy() for key, value in action.items()})[4]
        np.testing.assert_array_equal(info["_episode"].numpy(), expected.get("_episode", np.zeros(6, bool)))
        if "episode" in expected:
            np.testing.assert_allclose(
                info["episode"]["r"].numpy(), expected["episode"]["r"], rtol=0, atol=1e-6
            )
            np.testing.assert_array_equal(info["episode"]["l"].numpy(), expected["episode"]["l"])
        assert ours.episode_count == theirs.episode_count
        if theirs.episode_count:
            assert ours.mean_return.item() == pytest.approx(np.mean(theirs.return_queue), abs=1e-6)
            assert ours.mean_length.item() == pytest.approx(np.mean(theirs.length_queue), abs=1e-6)
    assert ours.episode_count > 40


def test_absorbing_rows_are_counted_once(make: Make, act: Act) -> None:
    """Row 0 stops at step 1 and stays ended; its numbers stay until it is reset."""
    env = EpisodeStatistics(make(2, autoreset_mode=DISABLED, reward="information_gain"))
    env.reset(seed=0)
    first = env.step(act(2, seed=0, stop=[1, 0]))
    assert first[4]["_episode"].tolist() == [True, False]
    for time in (1, 2):
        info = env.step(act(2, seed=time, stop=0))[4]
        assert info["_episode"].tolist() == [False, False]
        assert info["episode"]["r"].tolist() == [0, 0]
    assert env.episode_lengths.tolist() == [1, 3]
    assert env.episode_returns[0] == first[1][0]
    env.reset(options={"reset_mask": torch.tensor([True, False])})
    assert env.episode_lengths.tolist() == [0, 3]
    info = env.step(act(2, seed=3, stop=[1, 0]))[4]
    assert info["_episode"].tolist() == [True, True]
    assert info["episode"]["l"].tolist() == [1, HORIZON]
    assert env.episode_count == 3


@pytest.mark.parametrize("mode", AutoresetMode)
def test_every_image_is_one_episode_in_an_evaluation(make: Make, act: Act, mode: AutoresetMode) -> None:
    """23 images in 5 rows: rows past the end stay ended and are no episodes."""
    env = EpisodeStatistics(make(5, autoreset_mode=mode, order="once"), window=23)
    env.reset(seed=0)
    for time in range(60):
        terminated = env.step(act(5, seed=time))[2]
        if mode == DISABLED and terminated.all():
            env.reset()
    assert env.episode_count == 23


@pytest.mark.parametrize("order", ["shuffle", "once"])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_statistics_at_the_numpy_interface_are_those_of_tensors(
    make: Make, numpy_env: Callable, act: Act, mode: AutoresetMode, order: str
) -> None:
    options = {"autoreset_mode": mode, "order": order, "reward": "information_gain"}
    ours, arrays = EpisodeStatistics(make(8, **options)), EpisodeStatistics(numpy_env(8, **options))
    ours.reset(seed=0)
    arrays.reset(seed=0)
    for time in range(30):
        action = act(8, seed=time)
        expected = ours.step(action)[4]
        info = arrays.step({key: value.numpy() for key, value in action.items()})[4]
        assert isinstance(info["_episode"], np.ndarray)
        np.testing.assert_array_equal(info["_episode"], expected["_episode"].numpy())
        for name, value in expected["episode"].items():
            np.testing.assert_array_equal(info["episode"][name], value.numpy())
        ended = expected["_episode"].any() and mode == DISABLED and time % 2
        if ended:
            mask = expected["_episode"]
            ours.reset(options={"reset_mask": mask})
            arrays.reset(options={"reset_mask": mask.numpy()})
    assert arrays.episode_count == ours.episode_count
    assert arrays.mean_return == ours.mean_return
    if order == "once" and mode != DISABLED:
        assert arrays.episode_count == 23


def test_rows_that_stay_ended_are_one_episode_each_at_the_numpy_interface(numpy_env: Callable) -> None:
    """Gymnasium's own wrapper counts 8 rows that stop at every one of 7 steps 56 times."""
    env = EpisodeStatistics(numpy_env(8, autoreset_mode=DISABLED))
    env.reset(seed=0)
    stop = {"location": np.zeros((8, 2), np.float32), "stop": np.ones(8, np.int64)}
    infos = [env.step(stop | {"prediction": np.ones((8, CLASSES), np.float32)})[4] for _ in range(7)]
    assert env.episode_count == 8
    assert env.mean_length == 1
    assert [info["_episode"].sum() for info in infos] == [8, 0, 0, 0, 0, 0, 0]
    assert infos[0]["episode"]["l"].tolist() == [1] * 8


def test_statistics_use_the_reward_of_inner_wrappers(make: Make, act: Act) -> None:
    env = EpisodeStatistics(TransformReward(make(3, autoreset_mode=SAME), lambda reward: reward + 1))
    env.reset(seed=0)
    for time in range(3):
        env.step(act(3, seed=time, stop=0))
    assert env.episode_returns.tolist() == [3, 3, 3]


@pytest.mark.parametrize("order", ["shuffle", "once"])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_counting_never_asks_the_device_for_a_value(make: Make, mode: AutoresetMode, order: str) -> None:
    """Tensors on `meta` have no values: `.item()`, `bool()`, `nonzero` and boolean indexing raise on them."""
    env = EpisodeStatistics(FlatAction(make(3, device="meta", autoreset_mode=mode, order=order)))
    env.reset(seed=0)
    info = env.step(torch.zeros(3, 3 + CLASSES, device="meta"))[4]
    assert (
        info["episode"]["r"].device.type
        == env.mean_return.device.type
        == env.mean_length.device.type
        == "meta"
    )
    if mode == DISABLED:
        env.reset(options={"reset_mask": torch.ones(3, dtype=torch.bool, device="meta")})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", AutoresetMode)
def test_counting_makes_no_cuda_sync(make: Make, act: Act, mode: AutoresetMode) -> None:
    env, reference = (
        EpisodeStatistics(make(64, device=device, autoreset_mode=mode)) for device in ("cuda", "cpu")
    )
    env.reset(seed=0)
    reference.reset(seed=0)
    actions = [act(64, seed=time) for time in range(8)]
    on_device = [{key: value.cuda() for key, value in action.items()} for action in actions]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for action in on_device:
            env.step(action)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for action in actions:
        reference.step(action)
    torch.testing.assert_close(env.mean_return.cpu(), reference.mean_return)
    torch.testing.assert_close(env.mean_length.cpu(), reference.mean_length)


@pytest.mark.usefixtures("unchecked")
def test_statistics_of_another_environment_are_refused(make: Make, numpy_env: Callable, act: Act) -> None:
    other = gymnasium.make_vec("CartPole-v1", num_envs=2)
    with pytest.raises(
        TypeError, match=r"expected a vector environment of GlimpseEnv-v0, got (CartPole|Sync)VectorEnv"
    ):
        EpisodeStatistics(other)
    with pytest.raises(TypeError, match=r"env=5: expected a vector environment of GlimpseEnv-v0, got int"):
        EpisodeStatistics(5)
    with pytest.raises(ValueError, match="window=0"):
        EpisodeStatistics(make(), window=0)
    twice = EpisodeStatistics(EpisodeStatistics(make()))
    twice.reset(seed=0)
    with pytest.raises(ValueError, match="holds an `episode` already"):
        twice.step(act(4, seed=0))
