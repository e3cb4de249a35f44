"""The batched core as torchrl's `EnvBase`: torchrl's checks, loops and transforms, and the core itself."""

from __future__ import annotations

import builtins
import subprocess
import sys
import warnings

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode

from glimpse_env import FlatAction, GlimpseVectorEnv
from glimpse_env.adapters.learned_classifier import Teaching
from glimpse_env.adapters.torchrl import make_torchrl_env

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchrl warns of itself when it is imported
        import torchrl.collectors
        import torchrl.envs.transforms
        import torchrl.envs.utils
except ImportError:
    torchrl = None
MISSING = "torchrl is not installed: pip install -e '.[torchrl]'"
needs_torchrl = pytest.mark.skipif(torchrl is None, reason=MISSING)
pytestmark = [pytest.mark.filterwarnings(f"ignore:::{name}") for name in ("torchrl", "tensordict")]

SMALL = {"image_size": 12, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": 4}


FORMS = ("box", "multidiscrete", "steering", "dict")
ZOOMS = ({}, {"zoom": (0.5, 1.0)})


def build(noise, rows=3, **options):
    """Return the environment over the small data set."""
    return make_torchrl_env(rows, noise, **(SMALL | options))


def build_transformed(env):
    """Return an environment with transforms, for which torchrl itself calls `reset` after `step`."""
    transforms = torchrl.envs.transforms
    added = (transforms.InitTracker(), transforms.StepCounter(), transforms.RewardSum())
    return transforms.TransformedEnv(env, transforms.Compose(*added))


def replay_actions(env, actions):
    """Return a policy that takes a list of actions, one after the other."""
    following = iter(actions)
    return lambda tensordict: tensordict.set("action", next(following))


@needs_torchrl
@pytest.mark.parametrize("zoom", ZOOMS, ids=["", "zoom"])
@pytest.mark.parametrize("form", FORMS)
def test_torchrls_own_check_finds_nothing(noise, form, zoom):
    for env in (build(noise, form=form, **zoom), build_transformed(build(noise, form=form, **zoom))):
        torchrl.envs.utils.check_env_specs(env)


@needs_torchrl
@pytest.mark.parametrize("form", FORMS)
def test_what_it_shows_lies_in_its_specs(noise, form):
    env = build(noise, form=form, rows=5)
    env.set_seed(0)
    for step in env.rollout(12, break_when_any_done=False).unbind(1):
        for spec, shown in ((env.observation_spec, step), (env.full_done_spec, step["next"])):
            assert spec.is_in(shown.select(*spec.keys(True, True)))
        assert env.observation_spec.is_in(step["next"].select(*env.observation_spec.keys(True, True)))
        assert env.full_action_spec.is_in(step.select("action"))
        assert step["next", "reward"].shape == step["next", "truncated"].shape == (5, 1)
    assert set(env.observation_spec.keys()) >= {"label", "correct", "loss", "glimpses", "pixels", "flops"}


@needs_torchrl
def test_a_collector_collects_what_the_environment_returns(noise):
    """The collected actions give the same rewards, ends, glimpses and labels in the numpy environment."""
    env = build(noise, reward="information_gain")
    policy = torchrl.envs.utils.RandomPolicy(env.action_spec)
    torch.manual_seed(0)
    collector = torchrl.collectors.Collector(env, policy, frames_per_batch=24, total_frames=48)
    batches = [batch.clone() for batch in collector]
    collector.shutdown()
    assert [batch.shape for batch in batches] == [(3, 8)] * 2
    collected = torch.cat(batches, 1)
    assert collected["next", "done"].sum() > 6
    assert collected["label"].dtype == torch.int64
    replay(build_plain(noise, AutoresetMode.DISABLED, reward="information_gain"), collected)


@needs_torchrl
@pytest.mark.parametrize("form", FORMS)
def test_one_step_restarts_rows_as_a_step_and_a_reset_do(noise, form):
    """A rollout, which steps and restarts in one go, equals one under transforms, which takes two calls."""
    rollouts = []
    for transform in (lambda env: env, build_transformed):
        torch.manual_seed(0)
        env = transform(build(noise, form=form, rows=5, reward="information_gain"))
        env.set_seed(3)
        rollouts.append(env.rollout(20, break_when_any_done=False))
    ours, theirs = rollouts
    assert ours["next", "done"].sum() > 15
    torch.testing.assert_close(ours, theirs.select(*ours.keys(True, True)), rtol=0, atol=1e-6)
    assert torch.equal(theirs["is_init"][:, 1:], theirs["next", "done"][:, :-1])
    final = theirs["next"][theirs["next", "done"].squeeze(2)]
    assert torch.equal(final["step_count"].squeeze(1), final["glimpses"])


@needs_torchrl
def test_it_is_the_core(noise):
    """The same seed and actions give the core's observations, rewards, ends and info, bit for bit."""
    env = build(noise, form="dict", rows=4, initial_location="random")
    env.set_seed(5)
    torch.manual_seed(0)
    actions = [env.full_action_spec.rand()["action"] for _ in range(12)]
    steps = env.rollout(12, replay_actions(env, actions), break_when_any_done=False)
    core = GlimpseVectorEnv(
        4, noise, autoreset_mode=AutoresetMode.DISABLED, initial_location="random", **SMALL
    )
    shown = core.reset(seed=5)
    for action, step in zip(actions, steps.unbind(1), strict=True):
        compare(step, *shown)
        observation, reward, done, _, info = core.step(dict(action.items()))
        compare(step["next"], observation, info)
        assert torch.equal(step["next", "reward"].squeeze(1), reward)
        assert torch.equal(step["next", "terminated"].squeeze(1), done)
        shown = core.reset(options={"reset_mask": done})


def compare(step, observation, info):
    """Assert that a TensorDict holds an observation and its info."""
    for name, value in observation.items() | {(n, v) for n, v in info.items() if n[0] != "_"}:
        assert torch.equal(step[name], value), name


@needs_torchrl
@pytest.mark.parametrize("form", FORMS)
def test_a_reset_restarts_only_the_rows_of_its_mask(noise, form):
    env = build(noise, form=form, rows=4)
    torch.manual_seed(1)
    env.set_seed(1)
    before = env.rand_step(env.reset())["next"]
    mask = torch.tensor([True, False, True, False])[:, None]
    after = env.reset(before.clone().set("_reset", mask))
    rows = mask.squeeze(1)
    assert (after["glimpses"][rows] == 1).all()
    assert (after["glimpse"][rows] != before["glimpse"][rows]).flatten(1).any(1).all()
    assert not after["done"][rows].any()
    for name in [*env.observation_spec.keys(), "done", "terminated", "truncated"]:
        assert torch.equal(after[name][~rows], before[name][~rows]), name


@needs_torchrl
@pytest.mark.parametrize("form", FORMS)
def test_a_finished_row_stays_as_it_is_until_it_is_reset(noise, form):
    env = build(noise, form=form, rows=4, max_glimpses=2, reward="information_gain")
    torch.manual_seed(0)
    shown = [env.rand_step(env.reset())["next"]]
    for _ in range(4):
        shown.append(env.rand_step(shown[-1].clone())["next"])
    first, *later = shown[1:]
    assert first["done"].all()
    for step in later:
        assert not step["reward"].any()
        for name in [*env.observation_spec.keys(), "done"]:
            assert torch.equal(step[name], first[name]), name


@needs_torchrl
def test_a_seed_draws_the_images_again(noise):
    env = build(noise, rows=4)
    labels = []
    for seed in (7, 8, 7):
        env.set_seed(seed)
        torch.manual_seed(0)
        labels.append(env.rollout(30, break_when_any_done=False)["glimpse"])
    assert torch.equal(labels[0], labels[2])
    assert not torch.equal(labels[0], labels[1])
    indices = torch.tensor([4, 3, 2, 1])
    assert env.reset(options={"indices": indices})["label"].tolist() == [4, 3, 2, 1]


@needs_torchrl
def test_rows_without_an_image_left_stay_at_their_end(noise):
    """order="once": each of the 23 images once, whoever restarts the rows."""
    for transform in (lambda env: env, build_transformed):
        env = transform(build(noise, rows=3, order="once"))
        env.set_seed(0)
        steps = env.rollout(60, break_when_any_done=False)
        assert steps["valid"][:, 0].all()
        assert not steps["valid"][:, -1].any()
        assert steps["done"][:, -1].all()
        begun = steps["valid"] & (steps["glimpses"] == 1)
        assert begun.sum() == 23


@needs_torchrl
def test_torchrl_may_stop_at_the_end_of_every_row(noise):
    env = build(noise, rows=4)
    torch.manual_seed(0)
    steps = env.rollout(10, break_when_any_done=False, break_when_all_done=True)
    assert steps["next", "done"][:, -1].all()
    assert steps.shape[1] <= SMALL["max_glimpses"]


COMPILED = """
import torch
from glimpse_env.adapters.torchrl import make_torchrl_env

data = [(torch.full((1, 12, 12), 9 * i, dtype=torch.uint8), i % 5) for i in range(23)]
for form in ("box", "multidiscrete", "dict"):
    rollouts = []
    for compiled in (False, True):
        env = make_torchrl_env(4, data, form=form, image_size=12, glimpse_size=4, first_view="glimpse")
        if compiled:
            env.compile(warmup=2, fullgraph=True, backend="eager")
        env.set_seed(3)
        torch.manual_seed(0)
        rollouts.append(env.rollout(12, break_when_any_done=False))
    torch.testing.assert_close(*rollouts)
    print(form, int(rollouts[1]["next", "done"].sum() > 6))
"""


@needs_torchrl
def test_the_compiled_step_is_the_step():
    """One graph, without a break; in a process of its own, since torch cannot trace the type checks."""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILED], capture_output=True, text=True)
    assert ran.stdout == "box 1\nmultidiscrete 1\ndict 1\n", ran.stderr


@needs_torchrl
def test_the_classifier_of_steering_learns_the_labels(noise):
    """23 images that it sees again and again: the loss falls, and predictions become correct."""
    teaching = Teaching(batch=32, hidden=32, features=32, learning_rate=1e-2)
    env = build(noise, form="steering", rows=32, teaching=teaching, max_glimpses=3)
    torch.manual_seed(0)
    shares = []
    for _ in range(2):
        steps = env.rollout(100, break_when_any_done=False)
        shares.append(steps["next", "correct"][steps["next", "done"].squeeze(2)].float().mean().item())
    assert env.env.updates > 100
    assert shares[1] > max(0.4, shares[0])
    assert steps["belief"].shape == (32, 100, 5)


@needs_torchrl
def test_every_finished_episode_is_learned_from_once(noise):
    """Both ways to restart rows give the classifier the same episodes: as many as ended."""
    for transform in (lambda env: env, build_transformed):
        env = build(noise, form="steering", rows=4, teaching=Teaching(batch=10**6))
        steps = transform(env).rollout(20, break_when_any_done=False)
        ended = steps["next", "done"].squeeze(2)
        waiting = torch.cat([part.label for part in env.env._waiting])
        assert sorted(waiting.tolist()) == sorted(steps["next", "label"][ended].tolist())


@needs_torchrl
def test_values_are_checked_as_the_core_checks_them(noise):
    outside = torch.full((3, 8), 1.5)
    env = build(noise)
    env.step(env.reset().set("action", outside))
    with pytest.raises(ValueError, match=r"location.*expected numbers, got nan"):
        env.step(env.reset().set("action", outside * torch.nan))
    env = build(noise, validate=True)
    for values in (outside, outside * torch.nan):
        with pytest.raises(ValueError, match=r"action: expected values in \[-1, 1\]"):
            env.step(env.reset().set("action", values))
    with pytest.raises(ValueError, match=r"action: expected shape \(3, 8\), got \(3, 7\)"):
        env.step(env.reset().set("action", outside[:, :7]))


@needs_torchrl
def test_bad_arguments_are_refused(noise):
    with pytest.raises(ValueError, match=r"autoreset_mode=.*torchrl needs DISABLED"):
        build(noise, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="form='boxes'"):
        build(noise, form="boxes")
    with pytest.raises(ValueError, match="teaching= with form='box'"):
        build(noise, teaching=Teaching())
    with pytest.raises(ValueError, match="make it with device=meta"):
        build(noise).to("meta")
    env = build(noise)
    with pytest.raises(RuntimeError, match="shape"):
        env.step(build(noise, rows=2).reset())
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.reset()


@needs_torchrl
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_everything_is_on_the_device(noise):
    for form in FORMS:
        env = build(noise, form=form, device="cuda")
        torchrl.envs.utils.check_env_specs(env)
        steps = env.rollout(8, break_when_any_done=False)
        assert {value.device.type for value in steps.values(True, True)} == {"cuda"}


def build_plain(noise, mode, **options):
    """Return the numpy environment with a flat action."""
    options |= {"dataset": noise, "autoreset_mode": mode, **SMALL}
    return FlatAction(gymnasium.make_vec("GlimpseEnv-v0", num_envs=3, **options))


def replay(plain, collected):
    """Send the collected actions to the numpy environment, on the same images, and compare the results."""
    index = find_images(plain, collected)
    options = {"indices": index[:, 0].numpy(), "locations": collected["location"][:, 0].numpy()}
    observation, info = plain.reset(seed=0, options=options)
    for t in range(collected.shape[1]):
        torch.testing.assert_close(torch.from_numpy(observation["glimpse"]), collected["glimpse"][:, t])
        assert info["label"].tolist() == collected["label"][:, t].tolist()
        observation, reward, done, _, info = plain.step(collected["action"][:, t].numpy())
        expected = collected["next", "reward"][:, t].squeeze(1)
        torch.testing.assert_close(torch.from_numpy(reward).float(), expected)
        assert done.tolist() == collected["next", "done"][:, t].squeeze(1).tolist()
        after = torch.from_numpy(observation["glimpse"])  # the last one too
        torch.testing.assert_close(after, collected["next", "glimpse"][:, t])
        assert info["correct"].tolist() == collected["next", "correct"][:, t].tolist()
        if done.any() and t + 1 < collected.shape[1]:
            observation, info = plain.reset(options={"reset_mask": done, "indices": index[:, t + 1].numpy()})


def find_images(plain, collected):
    """Return the index of the image that each collected glimpse is a crop of, by its pixels."""
    sensor, everything = plain.unwrapped.core.sensor, torch.arange(23)
    index = torch.zeros(collected.shape, dtype=torch.int64)
    for row in range(collected.shape[0]):
        for t in range(collected.shape[1]):
            location = collected["location"][row, t].expand(23, 2)
            views = sensor.observe(everything, location, torch.ones(23, dtype=torch.int64))["glimpse"]
            index[row, t] = (views == collected["glimpse"][row, t]).flatten(1).all(1).nonzero()[0, 0]
    return index


def test_without_torchrl_the_error_names_the_extra(monkeypatch, noise):
    imported = builtins.__import__

    def absent(name, *rest):
        if name.startswith("torchrl"):
            raise ImportError(f"No module named {name!r}")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.delitem(sys.modules, "glimpse_env.adapters.torchrl_env", raising=False)
    with pytest.raises(ImportError, match=r"needs torchrl.*pip install -e '.\[torchrl\]'"):
        make_torchrl_env(2, noise, **SMALL)
