"""`sample_actions`: uniform over the action space, accepted by `step`, reproducible, without a host sync."""

import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import TransformReward

from glimpse_env import EpisodeStatistics, FlatAction, NumpyVectorEnv
from glimpse_env.adapters.learned_classifier import LearnedClassifier, Teaching
from glimpse_env.sampling import sample_rows

SAME = AutoresetMode.SAME_STEP
CPU = torch.device("cpu")
TEACHING = Teaching(hidden=8, features=8, depth=1)
WRAPPED = {
    "the core": lambda env: env,
    "box": FlatAction,
    "multidiscrete": lambda env: FlatAction(env, "multidiscrete", grid=3),
    "statistics": EpisodeStatistics,
    "statistics of box": lambda env: EpisodeStatistics(TransformReward(FlatAction(env), torch.neg)),
    "learned classifier": lambda env: LearnedClassifier(env, TEACHING),
}


def list_parts(actions):
    """Return the tensors of actions in a fixed order."""
    return list(actions.values()) if isinstance(actions, dict) else [actions]


@pytest.mark.parametrize("zoom", [None, (1, 3)])
@pytest.mark.parametrize("name", WRAPPED)
def test_every_environment_accepts_its_own_samples(make, name, zoom):
    env = WRAPPED[name](make(3, autoreset_mode=SAME, zoom=zoom, validate=True))
    env.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        actions = env.sample_actions(generator)
        arrays = [part.numpy() for part in list_parts(actions)]
        assert env.action_space.contains(
            dict(zip(actions, arrays, strict=True)) if isinstance(actions, dict) else arrays[0]
        )
        observation, *_ = env.step(actions)
    assert observation["glimpse"].shape[0] == 3


@pytest.mark.parametrize("name", WRAPPED)
def test_a_generator_draws_the_same_again_and_torchs_own_is_the_default(make, name):
    env = WRAPPED[name](make(3, autoreset_mode=SAME))
    draws = [env.sample_actions(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    first, again, other = map(list_parts, draws)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    before = torch.get_rng_state()
    env.sample_actions(torch.Generator())
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert all(map(torch.equal, first, list_parts(env.sample_actions())))


def test_samples_are_uniform_over_the_space():
    """Means and extremes of 100,000 rows; the tolerance is above five standard errors."""
    box = spaces.Box(-1.0, 1.0, (2,))
    space = spaces.Dict({"box": box, "stop": spaces.Discrete(2), "cell": spaces.MultiDiscrete([9, 2])})
    drawn = sample_rows(space, 100_000, CPU, torch.Generator().manual_seed(0))
    assert {name: (value.dtype, tuple(value.shape[1:])) for name, value in drawn.items()} == {
        "box": (torch.float32, (2,)),
        "stop": (torch.int64, ()),
        "cell": (torch.int64, (2,)),
    }
    torch.testing.assert_close(drawn["box"].mean(0), torch.zeros(2), atol=0.01, rtol=0)
    torch.testing.assert_close(drawn["box"].var(0), torch.full((2,), 1 / 3), atol=0.01, rtol=0)
    assert drawn["box"].abs().max() <= 1
    for values, count in ((drawn["stop"], 2), (drawn["cell"][:, 0], 9), (drawn["cell"][:, 1], 2)):
        shares = values.bincount() / len(values)
        torch.testing.assert_close(shares, torch.full((count,), 1 / count), atol=0.01, rtol=0)


@pytest.mark.parametrize("name", [name for name in WRAPPED if name != "learned classifier"])
def test_the_device_is_not_asked_for_a_value(make, name):
    """Tensors on `meta` have no values: what reads one raises, as the classifier's own step does."""
    env = WRAPPED[name](make(3, autoreset_mode=SAME, device="meta"))
    env.reset(seed=0)
    actions = env.sample_actions()
    assert {part.device.type for part in list_parts(actions)} == {"meta"}
    env.step(actions)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sampling_makes_no_cuda_sync(make):
    env = make(64, device="cuda")
    env.reset(seed=0)
    generator = torch.Generator("cuda").manual_seed(0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(4):
            env.step(env.sample_actions(generator))
            env.step(env.sample_actions())
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_sampled_is_refused(make, noise):
    env = make(3, device="meta")
    with pytest.raises(ValueError, match=r"generator: expected a torch\.Generator on meta.*one on cpu"):
        env.sample_actions(torch.Generator())
    with pytest.raises(TypeError, match=r"generator=0: expected a torch\.Generator on meta, or None"):
        env.sample_actions(0)
    with pytest.raises(TypeError, match=r"expected a Dict, Discrete, MultiDiscrete or Box, got Text"):
        sample_rows(spaces.Text(3), 3, CPU)
    small = {"image_size": 12, "glimpse_size": 4, "first_view": "glimpse"}
    for wrap in (FlatAction, EpisodeStatistics):
        with pytest.raises(TypeError, match=r"takes numpy arrays: use action_space\.sample\(\)"):
            wrap(NumpyVectorEnv(3, noise, **small)).sample_actions()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["the core", "box", "multidiscrete", "learned classifier"])
def test_the_refusal_of_arrays_names_sample_actions(make, name):
    env = WRAPPED[name](make(3, autoreset_mode=SAME))
    env.reset(seed=0)
    with pytest.raises(TypeError, match=r"ndarray(?s:.*)as_tensor.*sample_actions\(\) returns random"):
        env.step(env.action_space.sample())
    env.step(env.sample_actions())


@pytest.mark.usefixtures("unchecked")
def test_arrays_as_options_are_refused_without_naming_actions(make):
    env = make(3)
    with pytest.raises(TypeError, match=r"options\['indices'\].*torch\.as_tensor\(array, device=[^;]*$"):
        env.reset(options={"indices": torch.zeros(3, dtype=torch.int64).numpy()})
