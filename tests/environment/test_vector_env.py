"""The core: rows are independent, modes time their resets, images come in order, no host sync."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from glimpse_env import GlimpseVectorEnv, InformationGain
from glimpse_env.episode import hash_location

Make = Callable[..., GlimpseVectorEnv]
Act = Callable[..., dict[str, Tensor]]
MODES = list(AutoresetMode)
NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
HORIZON, IMAGES, CLASSES = 4, 23, 5
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def flat(step: tuple) -> list[Tensor]:
    """Return every tensor of what reset or step returned, nested ones too, in a fixed order."""
    tensors = []
    for part in step:
        if isinstance(part, dict):
            tensors += flat(tuple(part[key] for key in sorted(part)))
        else:
            tensors.append(part)
    return tensors


def assert_same(one: tuple, other: tuple, rows: object = slice(None)) -> None:
    """Two results agree exactly in the given rows."""
    for a, b in zip(flat(one), flat(other), strict=True):
        torch.testing.assert_close(a[rows], b[rows], rtol=0, atol=0)


def shown(env: GlimpseVectorEnv) -> list[int]:
    """Return the index of the image in each row, by its pixels."""
    everything = env.images.images.flatten(1)
    return [
        int((everything == env.image(row).flatten()).all(1).nonzero().item()) for row in range(env.num_envs)
    ]


# Rows and batches


@quick
@given(
    stops=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=6, max_size=6), data=st.data()
)
def test_single_row_equals_its_row_in_a_batch_whatever_the_others_do(
    make: Make, act: Act, stops: list, data: st.DataObject
) -> None:
    indices = torch.tensor(data.draw(st.lists(st.integers(0, IMAGES - 1), min_size=5, max_size=5)))
    batch = make(5, autoreset_mode=DISABLED, initial_location="random")
    singles = [make(1, autoreset_mode=DISABLED, initial_location="random") for _ in range(5)]
    together = batch.reset(seed=3, options={"indices": indices})
    alone = [
        env.reset(seed=3, options={"indices": indices[row : row + 1]}) for row, env in enumerate(singles)
    ]
    for time in range(7):
        for row in range(5):
            for a, b in zip(flat(together), flat(alone[row]), strict=True):
                torch.testing.assert_close(a[row : row + 1], b, rtol=0, atol=0)
        if time < 6:
            action = act(5, seed=time, stop=stops[time])
            together = batch.step(action)
            alone = [
                env.step({key: value[row : row + 1] for key, value in action.items()})
                for row, env in enumerate(singles)
            ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ["shuffle", "once"])
def test_same_seed_same_trajectory(make: Make, act: Act, mode: AutoresetMode, order: str) -> None:
    one, other = (make(6, autoreset_mode=mode, order=order, initial_location="random") for _ in range(2))
    other.reset(seed=8)  # earlier episodes must not matter
    other.step(act(6, seed=99))
    assert_same(one.reset(seed=7), other.reset(seed=7))
    for time in range(15):
        assert_same(one.step(act(6, seed=time)), other.step(act(6, seed=time)))


def test_another_seed_shows_other_images(make: Make) -> None:
    env = make(10)
    env.reset(seed=0)
    first = shown(env)
    env.reset(seed=1)
    assert shown(env) != first


@quick
@given(row=st.integers(0, 3), moment=st.integers(0, 9), mode=st.sampled_from(MODES))
def test_what_one_row_does_leaves_the_others_alone(
    make: Make, act: Act, row: int, moment: int, mode: AutoresetMode
) -> None:
    one, other = (make(4, autoreset_mode=mode, initial_location="random") for _ in range(2))
    rest = [other_row for other_row in range(4) if other_row != row]
    assert_same(one.reset(seed=0), other.reset(seed=0))
    for time in range(10):
        action, changed = act(4, seed=time), act(4, seed=time)
        if time == moment:
            changed["stop"][row] = 1 - changed["stop"][row]
            changed["location"][row] = -changed["location"][row]
        assert_same(one.step(action), other.step(changed), rest)


def test_resetting_some_rows_leaves_the_others_alone(make: Make, act: Act) -> None:
    env = make(4, autoreset_mode=DISABLED)
    env.reset(seed=0)
    before = env.step(act(4, seed=0, stop=[1, 0, 1, 0]))
    images = shown(env)
    observation, info = env.reset(options={"reset_mask": torch.tensor([True, False, False, False])})
    assert_same((before[0], before[4]), (observation, info), [1, 2, 3])
    assert info["glimpses"].tolist() == [1, 2, 1, 2]
    assert shown(env)[1:] == images[1:]
    assert env.step(act(4, seed=1, stop=0))[2].tolist() == [False, False, True, False]


# Autoreset


def test_next_step_starts_an_episode_one_step_after_the_end_and_ignores_that_action(
    make: Make, act: Act
) -> None:
    """Row 0 stops at step 1; step 2 shows its next image whatever the action, with reward 0."""
    env, other = make(2, reward=InformationGain()), make(2, reward=InformationGain())
    for each in (env, other):
        each.reset(seed=0)
        terminated = each.step(act(2, seed=0, stop=[1, 0]))[2]
        assert terminated.tolist() == [True, False]
    images = shown(env)
    quiet, loud = act(2, seed=1, stop=0), act(2, seed=1, stop=[1, 0])
    loud["location"][0] = 1
    loud["prediction"][0] = 0
    result = env.step(quiet)
    assert_same(result, other.step(loud))
    observation, reward, terminated, truncated, info = result
    assert shown(env)[0] != images[0]
    assert shown(env)[1] == images[1]
    assert reward[0] == 0
    assert reward[1] != 0
    assert not terminated.any()
    assert not truncated.any()
    assert info["glimpses"].tolist() == [1, 3]
    assert observation["location"][0].tolist() == [0, 0]
    torch.testing.assert_close(info["loss"][0], torch.tensor(math.log(CLASSES)))
    assert env.step(act(2, seed=2, stop=[1, 0]))[2].tolist() == [True, False]


def test_same_step_returns_the_end_beside_the_new_start(make: Make, act: Act) -> None:
    env, reference = make(3, autoreset_mode=SAME), make(3, autoreset_mode=DISABLED)
    observed, _ = env.reset(seed=0)
    reference.reset(seed=0)
    images = shown(env)
    action = act(3, seed=0, stop=[0, 1, 0])
    observation, reward, terminated, _, info = env.step(action)
    expected_observation, expected_reward, expected_terminated, _, expected_info = reference.step(action)
    assert (
        terminated.tolist()
        == info["_final_obs"].tolist()
        == info["_final_info"].tolist()
        == [False, True, False]
    )
    assert_same((reward, terminated), (expected_reward, expected_terminated))
    assert_same(({key: info["final_obs"][key] for key in observed},), (expected_observation,), 1)
    final = {key: value for key, value in info["final_info"].items() if key[0] != "_"}
    assert_same((final,), ({key: expected_info[key] for key in final},), 1)
    assert all(
        value.tolist() == [False, True, False] for key, value in info["final_info"].items() if key[0] == "_"
    )
    assert info["glimpses"].tolist() == [2, 1, 2]
    assert shown(env)[1] != images[1]
    assert_same((observation,), (expected_observation,), [0, 2])


def test_disabled_rows_absorb(make: Make, act: Act) -> None:
    """After its end a row returns the same observation and info, reward 0 and terminated True."""
    env = make(4, autoreset_mode=DISABLED, reward=InformationGain())
    env.reset(seed=0)
    last = env.step(act(4, seed=0, stop=[1, 0, 1, 0]))
    for time in range(1, 3):
        now = env.step(act(4, seed=time, stop=0))
        assert_same((last[0], last[4]), (now[0], now[4]), [0, 2])
        assert now[1][[0, 2]].tolist() == [0, 0]
        assert now[2].tolist() == [True, False, True, False]


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_stands_in_the_metadata(make: Make, mode: AutoresetMode) -> None:
    assert make(autoreset_mode=mode).metadata["autoreset_mode"] is mode
    assert GlimpseVectorEnv.metadata["autoreset_mode"] is NEXT


# Which image


def permutation(make: Make, act: Act, seed: int) -> list[int]:
    """Return the order in which one row shows the images."""
    env = make(1, autoreset_mode=SAME)
    env.reset(seed=seed)
    order = []
    for _ in range(IMAGES):
        order += shown(env)
        env.step(act(1, seed=0, stop=1))
    return order


@pytest.mark.parametrize("mode", [NEXT, SAME])
def test_episode_e_of_row_r_shows_entry_e_times_rows_plus_r(
    make: Make, act: Act, mode: AutoresetMode
) -> None:
    order = permutation(make, act, seed=5)
    assert sorted(order) == list(range(IMAGES))
    env, episodes = make(3, autoreset_mode=mode), [0, 0, 0]
    env.reset(seed=5)
    ended = torch.zeros(3, dtype=torch.bool)
    for time in range(60):
        assert shown(env) == [order[(episode * 3 + row) % IMAGES] for row, episode in enumerate(episodes)]
        terminated = env.step(act(3, seed=time))[2]
        fresh = terminated if mode == SAME else ended
        episodes = [episode + int(new) for episode, new in zip(episodes, fresh, strict=True)]
        ended = terminated
    assert min(episodes) * 3 > IMAGES  # the permutation was used up and began again


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [1, 4, IMAGES, 30])
def test_once_shows_every_image_exactly_once(make: Make, act: Act, mode: AutoresetMode, rows: int) -> None:
    """Images and labels are collected where episodes end; then every row is absorbing and not valid."""
    env = make(rows, autoreset_mode=mode, order="once")
    _, info = env.reset(seed=1)
    answered: list[int] = []
    for time in range(IMAGES * (HORIZON + 1)):
        images, running = shown(env), info["valid"]
        _, reward, terminated, _, info = env.step(act(rows, seed=time))
        details = info.get("final_info", info)
        ended = details["_label"] & running & details["valid"] & terminated
        if mode == DISABLED:
            ended = ended & bool(terminated.all())
        for row in ended.nonzero().flatten().tolist():
            assert details["label"][row] == images[row] % CLASSES
            answered.append(images[row])
        if mode == DISABLED and terminated.all():
            _, info = env.reset()
        if not info["valid"].any():
            break
    assert sorted(answered) == list(range(IMAGES))
    frozen = env.step(act(rows, seed=1000))
    _, reward, terminated, _, info = frozen
    assert terminated.all()
    assert not info["valid"].any()
    assert not reward.any()
    assert_same((frozen[0], frozen[4]), (env.step(act(rows, seed=1001))[0], frozen[4]))


def test_given_indices_choose_the_images(make: Make) -> None:
    env = make(3)
    _, info = env.reset(seed=0, options={"indices": torch.tensor([7, 7, 2])})
    assert shown(env) == [7, 7, 2]
    assert info["label"].tolist() == [7 % CLASSES, 7 % CLASSES, 2]


# The episode


def test_the_horizon_terminates_and_never_truncates(make: Make, act: Act) -> None:
    env = make(3)
    observation, _ = env.reset(seed=0)
    for time in range(1, HORIZON + 1):
        assert observation["step"].flatten().tolist() == [time / HORIZON] * 3
        observation, _, terminated, truncated, info = env.step(act(3, seed=time, stop=0))
        assert terminated.tolist() == [time == HORIZON] * 3
        assert not truncated.any()
    assert info["glimpses"].tolist() == [HORIZON] * 3


@pytest.mark.parametrize("mode", [NEXT, DISABLED])
def test_the_terminal_observation_repeats_the_last(make: Make, act: Act, mode: AutoresetMode) -> None:
    env = make(3, autoreset_mode=mode)
    last = env.reset(seed=0)[0]
    now = env.step(act(3, seed=0, stop=[1, 1, 0]))[0]
    assert_same((last,), (now,), [0, 1])
    assert not torch.equal(last["glimpse"][2], now["glimpse"][2])


def test_a_glimpse_is_taken_where_the_action_says(make: Make, act: Act) -> None:
    env = make(5)
    env.reset(seed=0)
    action = act(5, seed=4, stop=0)
    observation = env.step(action)[0]
    expected = env.sensor.observe(torch.tensor(shown(env)), action["location"], torch.full((5,), 2))
    assert_same(({"glimpse": observation["glimpse"]},), (expected,))
    torch.testing.assert_close(observation["location"], action["location"], rtol=0, atol=0)


def test_locations_beyond_the_image_are_clamped(make: Make, act: Act) -> None:
    one, other = make(2), make(2)
    one.reset(seed=0)
    other.reset(seed=0)
    far, edge = act(2, seed=0, stop=0), act(2, seed=0, stop=0)
    far["location"] = torch.tensor([[-3.0, 0.5], [0.1, 9.0]])
    edge["location"] = torch.tensor([[-1.0, 0.5], [0.1, 1.0]])
    assert_same(one.step(far), other.step(edge))


def test_predictions_are_divided_by_their_sum_and_zero_means_uniform(make: Make, act: Act) -> None:
    env = make(3)
    label = env.reset(seed=0)[1]["label"]
    action = act(3, seed=0, stop=0)
    scores = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4])
    action["prediction"] = torch.stack([torch.zeros(CLASSES), scores, scores * 2])
    info = env.step(action)[4]
    expected = [math.log(CLASSES), *(-(scores / scores.sum())[label[row]].log().item() for row in (1, 2))]
    finite = [row for row in range(3) if math.isfinite(expected[row])]
    torch.testing.assert_close(info["loss"][finite], torch.tensor(expected)[finite])
    assert info["correct"].tolist() == [label[0] == 0, label[1] == 4, label[2] == 4]
    assert info["loss"].isfinite().all()


def test_the_info_counts_costs_and_has_a_mask_for_every_key(make: Make, act: Act) -> None:
    env = make(2, scales=(1.0, 2.0))
    _, info = env.reset(seed=0)
    assert info["pixels"].tolist() == [2 * 16, 2 * 16]
    info = env.step(act(2, seed=0, stop=[1, 0]))[4]
    assert info["pixels"].tolist() == [2 * 16, 4 * 16]
    assert info["flops"].tolist() == [0, 0]
    details = {key for key in info if key[0] != "_"}
    assert details == {"label", "correct", "loss", "glimpses", "pixels", "flops", "valid"}
    assert all(info[f"_{key}"].all() for key in details)


def test_the_observation_lies_in_its_space(make: Make, act: Act) -> None:
    env = make(3, scales=(1.0, 3.0), fill="noise", location_range=1.0)
    env.reset(seed=0)
    observation = env.step(act(3, seed=0))[0]
    assert env.observation_space.contains({key: value.numpy() for key, value in observation.items()})
    assert env.single_observation_space["glimpse"].shape == (2, 4, 4)


# First glimpse


def test_random_first_locations_depend_on_seed_image_and_episode_alone(make: Make) -> None:
    def first(rows: int, seed: int, indices: list[int]) -> Tensor:
        env = make(rows, initial_location="random")
        return env.reset(seed=seed, options={"indices": torch.tensor(indices)})[0]["location"]

    torch.testing.assert_close(first(2, 0, [5, 6]), first(4, 0, [9, 6, 5, 1])[[2, 1]], rtol=0, atol=0)
    assert not torch.equal(first(2, 0, [5, 6]), first(2, 1, [5, 6]))
    env = make(1, initial_location="random")
    again = [
        env.reset(seed=seed, options={"indices": torch.tensor([5])})[0]["location"] for seed in (0, None)
    ]
    assert not torch.equal(*again)


def test_random_first_locations_fill_the_square_evenly() -> None:
    location = hash_location(torch.arange(4096), torch.zeros(4096, dtype=torch.int64), seed=0)
    assert location.abs().max() <= 1
    assert location.mean(0).abs().max() < 0.05  # standard error 0.009
    assert (location.var(0) - 1 / 3).abs().max() < 0.03
    assert location.T.corrcoef()[0, 1].abs() < 0.08


def test_reset_locations_set_the_first_glimpse(make: Make) -> None:
    env = make(2, initial_location="random")
    location = torch.tensor([[0.5, -0.25], [-1.0, 1.0]])
    observation, _ = env.reset(seed=0, options={"locations": location})
    torch.testing.assert_close(observation["location"], location, rtol=0, atol=0)
    expected = env.sensor.observe(torch.tensor(shown(env)), location, torch.ones(2, dtype=torch.int64))
    assert_same(({"glimpse": observation["glimpse"]},), (expected,))


# Resume, compact, host syncs


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("compact", [False, True])
def test_a_saved_state_continues_the_same_run(
    make: Make, act: Act, mode: AutoresetMode, compact: bool, tmp_path
) -> None:
    options = {"autoreset_mode": mode, "compact": compact, "initial_location": "random"}
    one, other = make(3, **options), make(3, **options)
    one.reset(seed=4)
    for time in range(7):
        one.step(act(3, seed=time))
    torch.save(one.state_dict(), tmp_path / "state.pt")
    other.reset(seed=5)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    for time in range(7, 20):
        assert_same(one.step(act(3, seed=time)), other.step(act(3, seed=time)))
    assert_same(one.reset(), other.reset())


def test_a_state_saved_before_any_reset_needs_a_reset(make: Make, act: Act) -> None:
    env = make(3)
    env.reset(seed=0)
    env.load_state_dict(make(3).state_dict())
    with pytest.raises(RuntimeError, match="before reset"):
        env.step(act(3, seed=0))


def test_states_of_earlier_checkpoints_are_read(make: Make) -> None:
    env = make(3)
    env.reset(seed=1)
    saved = env.state_dict()
    saved["state"]["place"] = saved["state"].pop("order_index")
    other = make(3)
    other.load_state_dict(saved)
    assert_same((other.state_dict()["state"],), (env.state_dict()["state"],))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ["shuffle", "once"])
@pytest.mark.parametrize("first_view", ["image", "glimpse"])
def test_compact_equals_the_full_batch(
    make: Make, act: Act, mode: AutoresetMode, order: str, first_view: str
) -> None:
    full, compact = (
        make(6, autoreset_mode=mode, order=order, first_view=first_view, compact=value)
        for value in (False, True)
    )
    assert_same(full.reset(seed=2), compact.reset(seed=2))
    for time in range(25):
        assert_same(full.step(act(6, seed=time)), compact.step(act(6, seed=time)))
    assert_same(full.reset(seed=3), compact.reset(seed=3))


def test_compact_shows_only_unfinished_rows_to_the_sensor(make: Make, act: Act) -> None:
    env, asked = make(4, autoreset_mode=DISABLED, compact=True), []
    env.reset(seed=0)
    observe = env.sensor.observe
    env.sensor.observe = lambda index, location, step: (
        asked.append(len(index)) or observe(index, location, step)
    )
    for stop in ([1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]):
        env.step(act(4, seed=0, stop=stop))
    assert asked == [3, 1, 0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ["shuffle", "once"])
@pytest.mark.parametrize("first_view", ["image", "glimpse"])
def test_step_and_reset_never_ask_the_device_for_a_value(
    make: Make, mode: AutoresetMode, order: str, first_view: str
) -> None:
    """Tensors on `meta` have no values: `.item()`, `bool()`, `nonzero` and boolean indexing raise on them."""
    options = {
        "autoreset_mode": mode,
        "order": order,
        "first_view": first_view,
        "initial_location": "random",
        "scales": (1.0, 2.0),
    }
    env = make(3, device="meta", **options)
    action = {
        "location": torch.zeros(3, 2),
        "stop": torch.zeros(3, dtype=torch.int64),
        "prediction": torch.zeros(3, CLASSES),
    }
    action = {key: value.to("meta") for key, value in action.items()}
    env.reset(seed=0, options={"indices": action["stop"], "locations": action["location"]})
    observation, reward, *_ = env.step(action)
    assert observation["glimpse"].device.type == reward.device.type == "meta"
    if mode == DISABLED:
        env.reset(options={"reset_mask": action["stop"].bool()})
    with pytest.raises((RuntimeError, NotImplementedError)):  # the probe itself: compact does ask
        hungry = make(3, device="meta", compact=True, **options)
        hungry.reset(seed=0)
        hungry.step(action)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", MODES)
def test_step_makes_no_cuda_sync(make: Make, act: Act, mode: AutoresetMode) -> None:
    env, reference = make(64, device="cuda", autoreset_mode=mode), make(64, autoreset_mode=mode)
    env.reset(seed=0)
    reference.reset(seed=0)
    actions = [act(64, seed=time) for time in range(8)]
    on_device = [{key: value.cuda() for key, value in action.items()} for action in actions]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = [env.step(action) for action in on_device]
        env.reset()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for action, result in zip(actions, results, strict=True):
        for a, b in zip(flat(reference.step(action)), flat(result), strict=True):
            torch.testing.assert_close(a, b.cpu())


# Bad input


def bad(key: str, value: Tensor) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda action: action | {key: value}


BAD_ACTIONS = {
    "missing key": (lambda action: {"stop": action["stop"]}, ValueError, "location, stop, prediction"),
    "not a dict": (lambda action: action["stop"], ValueError, "Tensor"),
    "location shape": (bad("location", torch.zeros(3, 3)), ValueError, r"location.*\(3, 2\).*\(3, 3\)"),
    "location dtype": (
        bad("location", torch.zeros(3, 2, dtype=torch.int64)),
        TypeError,
        "location.*floating.*int64",
    ),
    "location array": (bad("location", torch.zeros(3, 2).numpy()), TypeError, "location.*tensor.*ndarray"),
    "stop shape": (bad("stop", torch.zeros(3, 1, dtype=torch.int64)), ValueError, r"stop.*\(3,\).*\(3, 1\)"),
    "stop dtype": (bad("stop", torch.zeros(3)), TypeError, "stop.*integer or bool.*float32"),
    "prediction classes": (
        bad("prediction", torch.zeros(3, 4)),
        ValueError,
        r"prediction.*\(3, 5\).*\(3, 4\)",
    ),
    "prediction complex": (
        bad("prediction", torch.zeros(3, 5, dtype=torch.complex64)),
        TypeError,
        "prediction.*complex",
    ),
}
BAD_VALUES = {
    "location outside": (
        bad("location", torch.tensor([[0, 0], [0, 1.5], [0, 0]])),
        r"location.*\[-1, 1\].*1.5",
    ),
    "location NaN": (bad("location", torch.tensor([[0, 0], [0, math.nan], [0, 0]])), "location.*nan"),
    "stop 2": (bad("stop", torch.tensor([0, 2, 0])), r"stop.*\[0, 1\].*2"),
    "prediction negative": (bad("prediction", torch.full((3, 5), -0.5)), "prediction.*-0.5"),
    "prediction NaN": (bad("prediction", torch.full((3, 5), math.nan)), "prediction.*nan"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("spoil", "kind", "message"), BAD_ACTIONS.values(), ids=BAD_ACTIONS)
def test_a_misshapen_action_is_refused_and_changes_nothing(
    make: Make, act: Act, spoil: Callable, kind: type, message: str
) -> None:
    env, twin = make(3), make(3)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(kind, match=message):
        env.step(spoil(act(3, seed=0)))
    assert_same(env.step(act(3, seed=1)), twin.step(act(3, seed=1)))


@pytest.mark.parametrize(("spoil", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_validate_refuses_values_too_and_changes_nothing(
    make: Make, act: Act, spoil: Callable, message: str
) -> None:
    env, twin = make(3, validate=True), make(3)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(spoil(act(3, seed=0)))
    assert_same(env.step(act(3, seed=1)), twin.step(act(3, seed=1)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "seed", "kind", "message"),
    [
        ({"index": torch.zeros(3)}, None, ValueError, "'index'.*indices, locations, reset_mask"),
        ({"indices": torch.zeros(3)}, None, TypeError, "indices.*integer.*float32"),
        ({"indices": torch.zeros(2, dtype=torch.int64)}, None, ValueError, r"indices.*\(3,\).*\(2,\)"),
        ({"indices": torch.tensor([0, 23, 0])}, None, ValueError, r"indices.*\[0, 22\].*23"),
        ({"indices": torch.tensor([0, -1, 0])}, None, ValueError, r"indices.*\[0, 22\].*-1"),
        ({"locations": torch.full((3, 2), 1.25)}, None, ValueError, r"locations.*\[-1, 1\].*1.25"),
        ({"locations": torch.full((3, 2), math.nan)}, None, ValueError, "locations.*nan"),
        ({"locations": torch.zeros(3)}, None, ValueError, r"locations.*\(3, 2\)"),
        ({"reset_mask": torch.ones(3, dtype=torch.int64)}, None, TypeError, "reset_mask.*bool.*int64"),
        ({"reset_mask": torch.zeros(3, dtype=torch.bool)}, None, ValueError, "reset_mask.*at least one True"),
        ({"reset_mask": torch.ones(3, dtype=torch.bool)}, 5, ValueError, "seed=5 with options..reset_mask"),
        ({}, -1, ValueError, "seed=-1"),
        ({}, 1.5, ValueError, "seed=1.5"),
        ({}, [1, 2, 3], ValueError, "one whole number"),
    ],
)
def test_bad_reset_options_are_refused_and_change_nothing(
    make: Make, act: Act, options: dict, seed: object, kind: type, message: str
) -> None:
    env, twin = (make(3, autoreset_mode=DISABLED, validate=validate) for validate in (True, False))
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(kind, match=message):
        env.reset(seed=seed, options=options)
    assert_same(env.step(act(3, seed=1)), twin.step(act(3, seed=1)))
    assert_same(env.reset(), twin.reset())


def test_reset_mask_needs_disabled_autoreset_and_a_first_reset(make: Make) -> None:
    options = {"reset_mask": torch.ones(4, dtype=torch.bool)}
    env = make(4)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="DISABLED"):
        env.reset(options=options)
    with pytest.raises(RuntimeError, match="before the first reset"):
        make(4, autoreset_mode=DISABLED).reset(options=options)


def test_stepping_before_reset_or_after_close_is_refused(make: Make, act: Act) -> None:
    env = make(3)
    with pytest.raises(RuntimeError, match=r"before reset\(\)"):
        env.step(act(3, seed=0))
    env.reset(seed=0)
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.step(act(3, seed=0))
    with pytest.raises(RuntimeError, match="closed"):
        env.reset()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"num_envs": 0}, "num_envs=0"),
        ({"split": "dev"}, "split='dev'.*train"),
        ({"order": "random"}, "order='random'.*shuffle, once"),
        ({"reward": "sparse"}, "reward='sparse'.*delayed"),
        ({"sensor": "lidar"}, "sensor='lidar'.*pixel"),
        ({"backbone": "resnet18"}, "backbone='resnet18'"),
        ({"weights": "mine.pth"}, "weights='mine.pth'"),
        ({"device": "cuda:9"}, "device='cuda:9'.*cpu"),
        ({"device": "gpu"}, "device='gpu'.*cpu"),
        ({"autoreset_mode": "never"}, "autoreset_mode='never'.*NEXT_STEP"),
        ({"max_glimpses": 0}, "max_glimpses=0"),
        ({"max_glimpses": 2.5}, "max_glimpses=2.5"),
        ({"glimpse_size": 0}, "glimpse_size=0"),
        ({"glimpse_size": 13}, "glimpse_size=13.*12"),
        ({"glimpse_size": 4.5}, "glimpse_size=4.5"),
        ({"image_size": 0}, "image_size=0"),
        ({"scales": ()}, "scales"),
        ({"scales": (1.0, -2.0)}, "scales"),
        ({"first_view": "thumbnail"}, "first_view='thumbnail'.*image"),
        ({"initial_location": "left"}, "initial_location='left'.*center, random"),
        ({"location_range": 1.5}, "location_range=1.5"),
        ({"first_crop": 0}, r"first_crop=0: expected a number in \(0, 1"),
        ({"first_crop": 0.5}, "first_crop=0.5: first_view='glimpse' shows no whole image"),
        ({"location_range": math.nan}, "location_range=nan"),
        ({"fill": "grey"}, "fill='grey'.*zero, reflect, noise"),
    ],
)
def test_an_unknown_argument_is_refused_by_name(make: Make, option: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**option)


def test_an_unknown_data_set_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'mnits'.*mnist"):
        GlimpseVectorEnv(2, "mnits")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda saved: {"weights": 1}, "seed, state, np_random"),
        (
            lambda saved: saved | {"state": {"step": torch.ones(3)}},
            "order_index, index, label, step.*got step",
        ),
        (
            lambda saved: saved | {"state": {name: value[:2] for name, value in saved["state"].items()}},
            "2 rows.*num_envs=3",
        ),
        (
            lambda saved: saved | {"state": saved["state"] | {"index": torch.tensor([0, 99, 0])}},
            r"\[0, 22\].*99",
        ),
    ],
)
def test_a_foreign_state_is_refused_and_changes_nothing(
    make: Make, act: Act, spoil: Callable, message: str
) -> None:
    env, twin = make(3), make(3)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.load_state_dict(spoil(env.state_dict()))
    assert_same(env.step(act(3, seed=1)), twin.step(act(3, seed=1)))


@pytest.mark.parametrize(
    ("reward", "kind", "message"),
    [
        (lambda transition: torch.zeros(2), ValueError, r"reward.*\(3,\).*\(2,\)"),
        (lambda transition: transition.correct, TypeError, "reward.*floating.*bool"),
        (lambda transition: 1.0, TypeError, "reward.*float"),
    ],
)
def test_a_reward_callable_of_the_wrong_kind_is_refused_and_changes_nothing(
    make: Make, act: Act, reward: Callable, kind: type, message: str
) -> None:
    env = make(3, reward=reward)
    env.reset(seed=0)
    before = env.state_dict()
    with pytest.raises(kind, match=message):
        env.step(act(3, seed=0))
    assert_same((before["state"],), (env.state_dict()["state"],))
