"""torchrl's GymWrapper and collector on the batched environment; without it the error names the extra."""

from __future__ import annotations

import builtins
import warnings

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode

from glimpse_env import FlatAction
from glimpse_env.adapters.torchrl import INFO, make_torchrl_env

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchrl warns of itself when it is imported
        import torchrl.collectors
        import torchrl.envs.utils
except ImportError:
    torchrl = None
MISSING = "torchrl is not installed: pip install -e '.[torchrl]'"
needs_torchrl = pytest.mark.skipif(torchrl is None, reason=MISSING)
pytestmark = [pytest.mark.filterwarnings(f"ignore:::{name}") for name in ("torchrl", "tensordict")]

SMALL = {"image_size": 12, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": 4}


@needs_torchrl
@pytest.mark.parametrize("form", ["box", "multidiscrete"])
def test_torchrls_own_check_finds_nothing(noise, form):
    torchrl.envs.utils.check_env_specs(make_torchrl_env(3, noise, form=form, **SMALL))


@needs_torchrl
def test_a_collector_collects_what_the_environment_returns(noise):
    """The collected actions give the same rewards, ends, glimpses and labels in the numpy environment."""
    env = make_torchrl_env(3, noise, reward="information_gain", **SMALL)
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


@needs_torchrl
def test_torchrl_refuses_next_step_and_loses_the_end_of_same_step(noise):
    """Why the adapter leaves the resets to torchrl: NEXT_STEP is refused; with SAME_STEP an end shows zeros.

    And where all rows end at once the environment is reset a second time, which skips their images.
    """

    def wrapped(mode):
        return torchrl.envs.GymWrapper(build_plain(noise, mode))

    with pytest.raises(RuntimeError, match="must be one of SAME_STEP or DISABLED"):
        wrapped(AutoresetMode.NEXT_STEP)
    rollouts = {}
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
        env = wrapped(mode)
        env.set_seed(3)
        torch.manual_seed(0)
        rollouts[mode] = env.rollout(10, break_when_any_done=False)
    same, disabled = rollouts.values()
    done = same["next", "done"].squeeze(2)
    assert done.all(0)[3]
    for key in ("glimpse", "location", "action", ("next", "reward"), ("next", "done")):  # the same until then
        torch.testing.assert_close(same[key][:, :4], disabled[key][:, :4])
    assert not torch.equal(same["glimpse"][:, 4], disabled["glimpse"][:, 4])
    assert not same["next", "glimpse"][done].any()
    assert disabled["next", "glimpse"][done].any()


def test_without_torchrl_the_error_names_the_extra(monkeypatch, noise):
    imported = builtins.__import__

    def absent(name, *rest):
        if name.startswith("torchrl"):
            raise ImportError(f"No module named {name!r}")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"needs torchrl.*pip install -e '.\[torchrl\]'"):
        make_torchrl_env(2, noise, **SMALL)


def test_the_info_has_the_entries_of_the_spec(make):
    _, info = make(2).reset(seed=0)
    assert {name: info[name].dtype for name in INFO} == INFO
