"""The classifier trained beside a policy: its state, its episodes, its loss, and that it learns."""

import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch.nn import functional as F

from glimpse_env import Delayed
from glimpse_env.adapters.learned_classifier import Episodes, LearnedClassifier, Teaching
from glimpse_env.networks.glimpse_classifier import certainty
from tests.conftest import CLASSES, HORIZON

ROWS = 5


@pytest.fixture
def build_env(make):
    def build(rows=ROWS, **teaching):
        torch.manual_seed(0)
        env = make(rows, autoreset_mode=AutoresetMode.SAME_STEP, reward=Delayed())
        sizes = {"hidden": 16, "features": 16, "depth": 1, "batch": 32}
        return LearnedClassifier(env, Teaching(**sizes | teaching))

    return build


def draw_actions(seed, rows=ROWS):
    uniform = torch.rand(rows, 3, generator=torch.Generator().manual_seed(seed))
    return uniform * 2 - torch.tensor([1.0, 1.0, 1.2])


def classify_alone(network, path):
    """The class scores after a row's glimpses, by a network that has processed nothing else."""
    evidence = network.begin(1)
    for observation in path:
        logits, evidence = network(observation, evidence)
    return logits[0]


@torch.no_grad()
def test_evidence_is_of_the_present_episode_alone(build_env):
    env = build_env()
    env.learns = False
    observation, _ = env.reset(seed=0)
    paths, ended_once = [[] for _ in range(ROWS)], False
    for step in range(15):
        for row, path in enumerate(paths):
            path.append({name: observation[name][row : row + 1] for name in ("glimpse", "location", "step")})
            expected = certainty(classify_alone(env.network, path)[None])
            assert torch.allclose(observation["belief"][row], expected["belief"][0], atol=1e-6)
            assert torch.allclose(observation["confidence"][row], expected["confidence"][0], atol=1e-4)
        observation, _, ended, _, info = env.step(draw_actions(step))
        for row in ended.nonzero().flatten().tolist():
            assert info["final_info"]["glimpses"][row] == len(paths[row])
            alone = certainty(classify_alone(env.network, paths[row])[None])["belief"][0]
            assert torch.allclose(info["final_obs"]["belief"][row], alone, atol=1e-6)
            paths[row], ended_once = [], True
    assert ended_once


def test_the_prediction_is_the_classifiers(build_env):
    env = build_env()
    observation, info = env.reset(seed=0)
    belief, label = observation["belief"], info["label"]
    _, reward, _, _, info = env.step(torch.tensor([[0.0, 0.0, 1.0]]).expand(ROWS, 3))
    assert torch.equal(info["final_info"]["correct"], belief.argmax(1) == label)
    assert torch.equal(reward, (belief.argmax(1) == label).float())
    loss = -belief.gather(1, label[:, None])[:, 0].log()
    assert torch.allclose(info["final_info"]["loss"], loss, atol=1e-5)


def test_the_loss_is_the_mean_over_the_glimpses_that_were_taken(build_env):
    env = build_env()
    generator = torch.Generator().manual_seed(1)
    episodes = Episodes(
        glimpse=torch.rand(HORIZON, 4, 16, generator=generator),
        location=torch.rand(HORIZON, 4, 2, generator=generator) * 2 - 1,
        length=torch.tensor([2, 4, 1, 3]),
        label=torch.tensor([0, 3, 1, 1]),
    )
    losses = []
    for row, (length, label) in enumerate(zip(episodes.length.tolist(), episodes.label, strict=True)):
        evidence = env.network.begin(1)
        for time in range(length):
            glimpse, location = episodes.glimpse[time, row][None], episodes.location[time, row][None]
            step = torch.tensor([[(time + 1) / HORIZON]])
            observation = {"glimpse": glimpse, "location": location, "step": step}
            logits, evidence = env.network(observation, evidence)
            losses.append(F.cross_entropy(logits, label[None]))
    assert env.compute_loss(episodes).item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    rubbish = episodes._replace(glimpse=episodes.glimpse.clone())
    rubbish.glimpse[2:, 0] = 1e3  # after the end of episode 0
    assert torch.equal(env.compute_loss(rubbish), env.compute_loss(episodes))


def test_it_is_trained_on_what_was_observed(build_env):
    env, batches = build_env(batch=ROWS, updates=1), []
    env.update = batches.append
    observation, info = env.reset(seed=0)
    env.step(torch.tensor([[0.5, -0.5, -1.0]]).expand(ROWS, 3))
    env.step(torch.tensor([[0.0, 0.0, 1.0]]).expand(ROWS, 3))
    [episodes] = batches
    assert torch.equal(episodes.glimpse[0], observation["glimpse"].flatten(1))
    assert episodes.length.tolist() == [2] * ROWS
    assert torch.equal(episodes.label, info["label"])
    assert torch.allclose(episodes.location[1], torch.tensor([0.5, -0.5]))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_learns_a_small_set(build_env, optimizer):
    env = build_env(rows=23, updates=4, optimizer=optimizer, learning_rate=1e-2)
    env.reset(seed=0)
    first = None
    for step in range(100):
        env.step(draw_actions(step, 23))
        first = env.loss if first is None and env.updates else first
    assert first == pytest.approx(torch.tensor(float(CLASSES)).log().item(), abs=0.4)
    assert env.loss < first / 2
    before = [value.clone() for value in env.network.parameters()]
    env.learns = False
    for step in range(10):
        env.step(draw_actions(step, 23))
    assert all(torch.equal(old, new) for old, new in zip(before, env.network.parameters(), strict=True))


def test_stops_can_be_ignored(build_env):
    env = build_env()
    env.obeys_stop = False
    env.reset(seed=0)
    lengths = set()
    for _ in range(2 * HORIZON):
        _, _, ended, _, info = env.step(torch.ones(ROWS, 3))
        lengths |= set(info["final_info"]["glimpses"][ended].tolist())
    assert lengths == {HORIZON}


def test_it_is_saved_and_loaded(build_env, tmp_path):
    env, other = build_env(batch=4), build_env()
    env.reset(seed=0)
    for step in range(10):
        env.step(draw_actions(step))
    env.save(tmp_path / "classifier.pt")
    other.load(tmp_path / "classifier.pt")
    pairs = zip(env.network.parameters(), other.network.parameters(), strict=True)
    assert all(torch.equal(saved, loaded) for saved, loaded in pairs)
    assert other.updates == env.updates > 0
    with pytest.raises(ValueError, match=r"holds a classifier of .*'hidden': 16.*expected .*'hidden': 8"):
        build_env(hidden=8).load(tmp_path / "classifier.pt")


def test_bad_input_says_what_is_allowed(make):
    message = r"LearnedClassifier: autoreset_mode=AutoresetMode\.NEXT_STEP: expected AutoresetMode\.SAME_STEP"
    with pytest.raises(ValueError, match=message):
        LearnedClassifier(make())
    message = "the classifier's batch=0: expected a whole number of at least 1"
    with pytest.raises(ValueError, match=message):
        LearnedClassifier(make(autoreset_mode=AutoresetMode.SAME_STEP), Teaching(batch=0))


@torch.no_grad()
def test_resets_by_hand_show_what_resets_in_the_same_step_do(make):
    """DISABLED and then `reset_mask` is SAME_STEP: observations, rewards, and the episodes learned from."""
    envs = []
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
        torch.manual_seed(0)
        envs.append(LearnedClassifier(make(ROWS, autoreset_mode=mode), Teaching(hidden=16, batch=8)))
        envs[-1].reset(seed=0)
    for step in range(20):
        torch.manual_seed(step)
        expected, reward, ended, _, info = envs[0].step(draw_actions(step))
        torch.manual_seed(step)
        last, ours, done, _, _ = envs[1].step(draw_actions(step))
        assert torch.equal(ours, reward)
        for name, value in info["final_obs"].items():
            assert torch.equal(last[name][ended], value[ended])
        again = envs[1].step(draw_actions(step + 1)) if done.all() else None
        assert again is None or not again[1].any()
        shown, _ = envs[1].reset(options={"reset_mask": done})
        for name, value in expected.items():
            torch.testing.assert_close(shown[name], value, rtol=0, atol=1e-6)
    assert envs[0].updates == envs[1].updates > 3
