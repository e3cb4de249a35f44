"""Stable-Baselines3 and the core: rows, observations, infos, action forms, its wrappers and checks."""

import importlib
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

pytest.importorskip("stable_baselines3", reason='Stable-Baselines3 is not installed: pip install -e ".[sb3]"')

from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from glimpse_env import Delayed, FlatSingleAction
from glimpse_env.adapters import sb3
from glimpse_env.adapters.learned_classifier import Teaching
from glimpse_env.wrappers.action_forms import SteeringForm
from tests.conftest import CLASSES, HORIZON, SIDE

ROWS = 6
FORMS = ("box", "multidiscrete", "steering")
VIEW = {"image_size": SIDE, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": HORIZON, "grid": 3}
SEEMS = "It seems that your observation"  # begins warnings of the library's check
TINY = Teaching(hidden=8, features=8, depth=1, batch=16)


@pytest.fixture
def build_venv(noise):
    def build(action="box", rows=ROWS, **options):
        teaching = TINY if action == "steering" else None
        return sb3.make_sb3_env(rows, noise, action=action, teaching=teaching, **VIEW | options)

    return build


def draw_actions(venv, steps, seed=0):
    venv.action_space.seed(seed)
    return [np.stack([venv.action_space.sample() for _ in range(venv.num_envs)]) for _ in range(steps)]


@pytest.mark.parametrize("action", ["box", "multidiscrete"])
def test_rows_are_those_of_the_core(build_venv, make, action):
    venv = build_venv(action)
    core = make(ROWS, autoreset_mode=AutoresetMode.SAME_STEP, grid=3)
    venv.seed(3)
    observed, expected = venv.reset(), core.reset(seed=3)[0]
    for flat in draw_actions(venv, 12):
        for name, value in expected.items():
            assert np.array_equal(observed[name], value.numpy()), name
        observed, rewards, dones, infos = venv.step(flat)
        expected, reward, ended, _, info = core.step(venv.form.decode(torch.from_numpy(flat)))
        assert np.array_equal(rewards, reward.numpy())
        assert np.array_equal(dones, ended.numpy())
        for row in np.flatnonzero(dones):
            final = {name: value[row].item() for name, value in info["final_info"].items()}
            shared = final.keys() & infos[row].keys()
            assert {name: infos[row][name] for name in shared} == {name: final[name] for name in shared}
            assert infos[row]["is_success"] == final["correct"]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("action", FORMS)
def test_terminal_observation_is_the_last_of_the_finished_episode(build_venv, action, flat):
    venv = build_venv(action, flat=flat)
    last = venv.reset()
    first = last[0] if flat else {name: value[0] for name, value in last.items()}
    assert venv.observation_space.contains(first)
    finished = 0
    for actions in draw_actions(venv, 10):
        observed, _, dones, infos = venv.step(actions)
        for row, info in enumerate(infos):
            assert info["TimeLimit.truncated"] is False
            assert ("terminal_observation" in info) == ("label" in info) == dones[row]
            if dones[row] and flat:
                assert np.array_equal(info["terminal_observation"], last[row])
            elif dones[row]:
                for name, value in last.items():
                    assert np.array_equal(info["terminal_observation"][name], value[row])
                assert observed["step"][row] == pytest.approx(1 / HORIZON)
            finished += dones[row]
        last = observed
    assert finished > ROWS


def test_one_box_holds_the_entries_in_the_order_of_the_dict(build_venv):
    for action in FORMS:
        wide, flat = build_venv(action), build_venv(action, flat=True)
        if action == "steering":
            flat.env.network.load_state_dict(wide.env.network.state_dict())
        for venv in (wide, flat):
            venv.seed(0)
        observed = wide.reset()
        entries = [observed[name].reshape(ROWS, -1) for name in wide.observation_space.spaces]
        assert np.array_equal(flat.reset(), np.concatenate(entries, 1))


def test_seeds_and_reset_options_reach_the_core(build_venv, noise):
    venv = build_venv()
    venv.seed(5)
    first = venv.reset()
    venv.seed(5)
    assert np.array_equal(first["glimpse"], venv.reset()["glimpse"])
    venv.set_options([{"indices": row + 2, "locations": (0.5, -0.5)} for row in range(ROWS)])
    assert np.allclose(venv.reset()["location"], (0.5, -0.5))
    assert [info["label"] for info in venv.reset_infos] == [noise[row + 2][1] for row in range(ROWS)]
    venv.set_options([{"indices": 0}] + [{}] * (ROWS - 1))
    with pytest.raises(ValueError, match="reset option 'indices': expected it for every row or for none"):
        venv.reset()


def test_monitor_counts_glimpses_and_rewards(build_venv):
    venv = VecMonitor(build_venv("steering", reward=Delayed(0.5)))
    venv.reset()
    counted = 0
    for actions in draw_actions(venv, 20):
        for info in venv.step(actions)[3]:
            if "episode" in info:
                assert info["episode"]["l"] == info["glimpses"]
                assert info["episode"]["r"] == pytest.approx(0.5 ** info["glimpses"] * info["correct"])
                counted += 1
    assert counted > ROWS


def test_normalisation_reaches_terminal_observations(build_venv):
    inner = build_venv()
    venv = VecNormalize(inner, gamma=1.0)
    venv.reset()
    for actions in draw_actions(venv, 10):
        last = venv.get_original_obs()
        observed, _, dones, infos = venv.step(actions)
        assert set(observed) == set(inner.observation_space.spaces)
        for row in np.flatnonzero(dones):
            alone = venv.normalize_obs({name: value[row] for name, value in last.items()})
            terminal = infos[row]["terminal_observation"]
            assert all(np.allclose(terminal[name], value) for name, value in alone.items())
    assert not np.array_equal(observed["glimpse"], venv.get_original_obs()["glimpse"])


def test_a_stack_holds_every_glimpse_or_is_refused(build_venv):
    message = "frame_stack=2: expected 1, or max_glimpses=4; a shorter stack drops .* not Markov"
    with pytest.raises(ValueError, match=message):
        build_venv(frame_stack=2)
    venv = build_venv(flat=True, frame_stack=HORIZON)
    observed = [venv.reset()]
    size = observed[0].shape[1] // HORIZON
    for actions in draw_actions(venv, HORIZON - 1):
        actions[:, 2] = -1  # does not stop
        observed.append(venv.step(actions)[0])
    for time, stack in enumerate(observed):
        assert np.array_equal(observed[-1][:, size * time : size * (time + 1)], stack[:, -size:])


@pytest.mark.parametrize("action", ["box", "multidiscrete"])
@pytest.mark.filterwarnings(f"ignore:{SEEMS} glimpse is an image but its `dtype`:UserWarning")
@pytest.mark.filterwarnings(f"ignore:{SEEMS} space glimpse is an image but the upper and lower:UserWarning")
@pytest.mark.filterwarnings("ignore:The minimal resolution for an image is 36x36:UserWarning")
def test_the_library_accepts_the_single_environment(noise, action):
    single = FlatSingleAction(gymnasium.make("GlimpseEnv-v0", dataset=noise, **VIEW), action)
    check_env(single)  # it warns that small floating-point glimpses are no images, and of nothing else
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.wrappers.FlattenObservation(single))


def test_flat_actions_are_decoded(build_venv):
    actions = [[0.5, -0.25, 0.1, 1.0, -1.0, 0.0, -0.5, 0.5], [0.0, 0.0, -0.1, *[-1.0] * CLASSES]]
    box = build_venv("box").form.decode(torch.tensor(actions))
    assert box["location"].tolist() == [[0.5, -0.25], [0.0, 0.0]]
    assert box["stop"].tolist() == [True, False]
    assert box["prediction"][0].tolist() == [1.0, 0.0, 0.5, 0.25, 0.75]
    cells = build_venv("multidiscrete").form.decode(torch.tensor([[0, 1, 4], [5, 0, 0]]))
    assert cells["location"].tolist() == [[-1.0, -1.0], [1.0, 0.0]]  # a grid of 3 x 3, row by row
    assert cells["stop"].tolist() == [True, False]
    assert cells["prediction"].tolist() == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    steering = build_venv("steering")
    steering.reset()
    belief = steering.env._certainty["belief"]
    steering.step(np.full((ROWS, 3), 0.5, np.float32))
    assert (belief.sum(1) - 1).abs().max() < 1e-5
    assert steering.core._state.step.tolist() == [1] * ROWS  # all stopped: the next episodes' first glimpse


def test_single_and_batched_forms_agree(noise, build_venv):
    venv = build_venv("multidiscrete", rows=1)
    inner = gymnasium.make("GlimpseEnv-v0", dataset=noise, **VIEW)
    single = FlatSingleAction(inner, "multidiscrete")
    venv.seed(0)
    shown, alone = venv.reset(), single.reset(seed=0)[0]
    for actions in draw_actions(venv, HORIZON - 1):
        actions[:, 1] = 0
        shown, alone = venv.step(actions)[0], single.step(actions[0])[0]
        assert np.array_equal(shown["glimpse"][0], alone["glimpse"])


class Policy:
    """Acts at random from a seed, as an algorithm of the library."""

    def __init__(self, venv):
        """Draw from the space's own generator."""
        venv.action_space.seed(1)
        self.draw = venv.action_space.sample

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        """Return actions for all rows."""
        rows = len(observation) if isinstance(observation, np.ndarray) else len(observation["step"])
        return np.stack([self.draw() for _ in range(rows)]), state


class Numbered:
    """23 images, each of a class of its own: the label in the info names the image."""

    classes = tuple(str(number) for number in range(23))

    def __len__(self):
        """Return the number of images."""
        return 23

    def __getitem__(self, index):
        """Return an image and its number."""
        return torch.full((1, SIDE, SIDE), 10 * index, dtype=torch.uint8), index


@pytest.mark.parametrize("rows", [1, 4, 7, 23, 30])
@pytest.mark.parametrize("options", [{}, {"flat": True, "frame_stack": HORIZON}, {"action": "steering"}])
def test_evaluate_policy_counts_each_image_once(rows, options):
    teaching = TINY if "action" in options else None
    venv = sb3.make_sb3_evaluation_env(rows, Numbered(), split="train", teaching=teaching, **VIEW | options)
    counted = []

    def count(local, _):
        if local["done"]:
            counted.append((local["info"]["label"], local["info"]["episode"]["l"]))

    for times in (1, 1, 2):  # every evaluation starts again at the first image
        counted.clear()
        episodes = times * venv.num_images
        evaluate_policy(Policy(venv), VecMonitor(venv), n_eval_episodes=episodes, callback=count)
        assert sorted(label for label, _ in counted) == sorted(times * list(range(23)))
    assert venv.classifier is None or venv.classifier.updates == 0


def test_the_evaluation_shares_the_trained_classifier(build_venv, noise):
    trained = build_venv("steering")
    options = dict(action="steering", teaching=TINY, split="train")
    venv = sb3.make_sb3_evaluation_env(3, noise, **options, **VIEW)
    venv.classifier.share(trained.classifier)
    assert venv.classifier.network is trained.classifier.network
    other = sb3.make_sb3_evaluation_env(3, noise, **options, **VIEW | {"max_glimpses": 2})
    with pytest.raises(ValueError, match=r"a classifier of .*horizon=4.*: expected .*horizon=2"):
        other.classifier.share(trained.classifier)


def test_rows_of_an_evaluation_act_for_themselves():
    """Row r shows what row r of the batch was sent for: stops and observations keep their rows."""
    venv = sb3.make_sb3_evaluation_env(5, Numbered(), split="train", **VIEW)
    venv.reset()
    labels = [info["label"] for info in venv.reset_infos]
    actions = np.zeros((5, 3 + 23), np.float32)
    actions[:, 0] = np.linspace(-1, 1, 5)
    actions[:, 2] = -1
    actions[1, 2] = 1
    observed, _, ended, infos = venv.step(actions)
    assert ended.tolist() == [False, True, False, False, False]
    assert infos[1]["label"] == labels[1]
    assert observed["location"][[0, 2, 3, 4], 0].tolist() == [-1, 0, 0.5, 1]
    assert (observed["glimpse"][2] * 255).round().max() <= 10 * labels[2]


@pytest.mark.parametrize("build", [sb3.make_sb3_env, sb3.make_sb3_evaluation_env])
def test_an_order_that_ends_is_refused(noise, build):
    message = "order='once': Stable-Baselines3 cannot know .* make_sb3_evaluation_env"
    with pytest.raises(ValueError, match=message):
        build(4, noise, order="once", **VIEW)


def test_log_odds_of_stopping_are_the_gaussians():
    normal = torch.distributions.Normal(torch.tensor([[0.0, 0.0, 0.4]]), torch.tensor([0.2, 0.2, 0.5]))
    drawn = (normal.sample((20_000,))[:, 0, 2] > 0).float().mean().item()
    assert SteeringForm().most_likely(normal).stop.sigmoid().item() == pytest.approx(drawn, abs=0.01)


def test_bad_input_says_what_is_allowed(noise, build_venv, unchecked):
    with pytest.raises(ValueError, match="action='continuous': expected one of box, multidiscrete, steering"):
        build_venv("continuous")
    with pytest.raises(ValueError, match="num_envs=0"):
        build_venv(rows=0)
    with pytest.raises(ValueError, match="autoreset_mode=NextStep: Stable-Baselines3 expects SAME_STEP"):
        build_venv(autoreset_mode="NextStep")
    with pytest.raises(ValueError, match="only action='steering' has a classifier"):
        sb3.make_sb3_env(2, noise, action="box", teaching=TINY, **VIEW)
    venv = build_venv()
    venv.reset()
    for bad, kind, message in (
        (
            np.full((ROWS, 8), np.nan, np.float32),
            ValueError,
            r"actions: expected values in \[-1, 1\], got .*nan",
        ),
        (
            np.full((ROWS, 8), 1.5, np.float32),
            ValueError,
            r"actions: expected values in \[-1, 1\], got .*1.5",
        ),
        (np.full((ROWS, 8), "a"), TypeError, "actions: expected a floating dtype, got <U1"),
    ):
        with pytest.raises(kind, match=message):
            venv.step(bad)
    with pytest.raises(ValueError, match=r"frame_stack='4': expected a whole number"):
        build_venv(frame_stack="4")
    with pytest.raises(ValueError, match=r"flat='False': expected True or False"):
        build_venv(flat="False")
    with pytest.raises(ValueError, match=r"actions: expected shape \(6, 8\), got \(6, 3\)"):
        venv.step(np.zeros((ROWS, 3), np.float32))
    with pytest.raises(ValueError, match=r"set_attr with indices=\[0\]: all 6 rows are one environment"):
        venv.set_attr("reward", Delayed(), [0])
    venv.set_attr("reward", Delayed(0.5))
    assert venv.get_attr("reward", 2) == [Delayed(0.5)]
    assert venv.env_is_wrapped(gymnasium.Wrapper) == [False] * ROWS
    venv.close()
    with pytest.raises(RuntimeError, match="closed"):
        venv.step(np.zeros((ROWS, 8), np.float32))


def test_an_absent_library_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "glimpse_env.adapters.sb3")
    for name in list(sys.modules):
        if name == "stable_baselines3" or name.startswith("stable_baselines3."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    message = r'stable_baselines3[a-z.]* is not installed: pip install -e ".\[sb3\]"'
    with pytest.raises(ImportError, match=message):
        importlib.import_module("glimpse_env.adapters.sb3")
