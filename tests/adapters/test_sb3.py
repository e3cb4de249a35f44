"""Stable-Baselines3: its view of the core, its own wrappers and checks, the policy as an agent, and whole runs."""

import importlib
import json
import sys
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

pytest.importorskip("stable_baselines3", reason='Stable-Baselines3 is not installed: pip install -e ".[sb3]"')
pytest.importorskip("sb3_contrib", reason='sb3-contrib is not installed: pip install -e ".[sb3]"')

import sb3_collect
import sb3_ppo
import summary
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from glimpse_env import Delayed, FlatSingleAction, Transition
from glimpse_env.adapters import sb3, sb3_run, sb3_training
from glimpse_env.adapters.sb3_policy import PolicyAgent
from glimpse_env.networks.glimpse_classifier import Teaching
from glimpse_env.runtime import checkpoint
from glimpse_env.training.options import Options
from glimpse_env.training.run import execute
from glimpse_env.training.stages import look_stage
from glimpse_env.wrappers.action_forms import SteeringForm
from tests.conftest import CLASSES, HORIZON, SIDE

ROWS = 6
FORMS = ("box", "multidiscrete", "steering")
LOOK = {"image_size": SIDE, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": HORIZON, "grid": 3}
TINY = Teaching(hidden=8, features=8, depth=1, batch=16)


@pytest.fixture
def venv_of(noise):
    def build(action="box", rows=ROWS, **options):
        teaching = TINY if action == "steering" else None
        return sb3.make_sb3_env(rows, noise, action=action, teaching=teaching, **LOOK | options)

    return build


def drawn(venv, steps, seed=0):
    venv.action_space.seed(seed)
    return [np.stack([venv.action_space.sample() for _ in range(venv.num_envs)]) for _ in range(steps)]


@pytest.mark.parametrize("action", ["box", "multidiscrete"])
def test_rows_are_those_of_the_core(venv_of, make, action):
    venv = venv_of(action)
    core = make(ROWS, autoreset_mode=AutoresetMode.SAME_STEP, grid=3)
    venv.seed(3)
    seen, expected = venv.reset(), core.reset(seed=3)[0]
    for flat in drawn(venv, 12):
        for name, value in expected.items():
            assert np.array_equal(seen[name], value.numpy()), name
        seen, rewards, dones, infos = venv.step(flat)
        expected, paid, ended, _, info = core.step(venv.form.decode(torch.from_numpy(flat)))
        assert np.array_equal(rewards, paid.numpy())
        assert np.array_equal(dones, ended.numpy())
        for row in np.flatnonzero(dones):
            told = {name: value[row].item() for name, value in info["final_info"].items() if name in infos[row]}
            assert {name: infos[row][name] for name in told} == told
            assert infos[row]["is_success"] == told["correct"]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("action", FORMS)
def test_terminal_observation_is_the_last_of_the_finished_episode(venv_of, action, flat):
    venv = venv_of(action, flat=flat)
    last = venv.reset()
    assert venv.observation_space.contains(last[0] if flat else {name: value[0] for name, value in last.items()})
    finished = 0
    for actions in drawn(venv, 10):
        seen, _, dones, infos = venv.step(actions)
        for row, info in enumerate(infos):
            assert info["TimeLimit.truncated"] is False
            assert ("terminal_observation" in info) == ("label" in info) == dones[row]
            if dones[row] and flat:
                assert np.array_equal(info["terminal_observation"], last[row])
            elif dones[row]:
                assert all(np.array_equal(info["terminal_observation"][name], value[row]) for name, value in last.items())
                assert seen["step"][row] == pytest.approx(1 / HORIZON)
            finished += dones[row]
        last = seen
    assert finished > ROWS


def test_one_box_holds_the_entries_in_the_order_of_the_dict(venv_of):
    for action in FORMS:
        wide, flat = venv_of(action), venv_of(action, flat=True)
        if action == "steering":
            flat.env.network.load_state_dict(wide.env.network.state_dict())
        for venv in (wide, flat):
            venv.seed(0)
        seen = wide.reset()
        assert np.array_equal(flat.reset(), np.concatenate([seen[name].reshape(ROWS, -1) for name in wide.observation_space.spaces], 1))


def test_seeds_and_reset_options_reach_the_core(venv_of, noise):
    venv = venv_of()
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


def test_monitor_counts_glimpses_and_rewards(venv_of):
    venv = VecMonitor(venv_of("steering", reward=Delayed(0.5)))
    venv.reset()
    counted = 0
    for actions in drawn(venv, 20):
        for info in venv.step(actions)[3]:
            if "episode" in info:
                assert info["episode"]["l"] == info["glimpses"]
                assert info["episode"]["r"] == pytest.approx(0.5 ** info["glimpses"] * info["correct"])
                counted += 1
    assert counted > ROWS


def test_normalisation_reaches_terminal_observations(venv_of):
    inner = venv_of()
    venv = VecNormalize(inner, gamma=1.0)
    venv.reset()
    for actions in drawn(venv, 10):
        last = venv.get_original_obs()
        seen, _, dones, infos = venv.step(actions)
        assert set(seen) == set(inner.observation_space.spaces)
        for row in np.flatnonzero(dones):
            alone = venv.normalize_obs({name: value[row] for name, value in last.items()})
            assert all(np.allclose(infos[row]["terminal_observation"][name], value) for name, value in alone.items())
    assert not np.array_equal(seen["glimpse"], venv.get_original_obs()["glimpse"])


def test_a_stack_remembers_every_glimpse_or_is_refused(venv_of):
    with pytest.raises(ValueError, match=r"frame_stack=2: expected 1, or max_glimpses=4; a shorter stack forgets .* not Markov"):
        venv_of(frame_stack=2)
    venv = venv_of(flat=True, frame_stack=HORIZON)
    seen = [venv.reset()]
    size = seen[0].shape[1] // HORIZON
    for actions in drawn(venv, HORIZON - 1):
        actions[:, 2] = -1  # looks on
        seen.append(venv.step(actions)[0])
    for time, stack in enumerate(seen):
        assert np.array_equal(seen[-1][:, size * time : size * (time + 1)], stack[:, -size:])


@pytest.mark.parametrize("action", ["box", "multidiscrete"])
@pytest.mark.filterwarnings("ignore:It seems that your observation glimpse is an image but its `dtype`:UserWarning")
@pytest.mark.filterwarnings("ignore:It seems that your observation space glimpse is an image but the upper and lower:UserWarning")
@pytest.mark.filterwarnings("ignore:The minimal resolution for an image is 36x36:UserWarning")
def test_the_library_accepts_the_single_environment(noise, action):
    single = FlatSingleAction(gymnasium.make("GlimpseEnv-v0", dataset=noise, **LOOK), action)
    check_env(single)  # small floating-point glimpses are not what it takes for images: that is said, and no more
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.wrappers.FlattenObservation(single))


def test_forms_mean_what_they_say(venv_of):
    box = venv_of("box").form.decode(torch.tensor([[0.5, -0.25, 0.1, 1.0, -1.0, 0.0, -0.5, 0.5], [0.0, 0.0, -0.1, *[-1.0] * CLASSES]]))
    assert box["location"].tolist() == [[0.5, -0.25], [0.0, 0.0]]
    assert box["stop"].tolist() == [True, False]
    assert box["prediction"][0].tolist() == [1.0, 0.0, 0.5, 0.25, 0.75]
    cells = venv_of("multidiscrete").form.decode(torch.tensor([[0, 1, 4], [5, 0, 0]]))
    assert cells["location"].tolist() == [[-1.0, -1.0], [1.0, 0.0]]  # a grid of 3 x 3, row by row
    assert cells["stop"].tolist() == [True, False]
    assert cells["prediction"].tolist() == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    steering = venv_of("steering")
    steering.reset()
    belief = steering.env._told["belief"]
    steering.step(np.full((ROWS, 3), 0.5, np.float32))
    assert (belief.sum(1) - 1).abs().max() < 1e-5
    assert steering.core._state.step.tolist() == [1] * ROWS  # all stopped: the next episodes' first glimpse


def test_single_and_batched_forms_agree(noise, venv_of):
    venv = venv_of("multidiscrete", rows=1, order="once")
    single = FlatSingleAction(gymnasium.make("GlimpseEnv-v0", dataset=noise, order="once", **LOOK), "multidiscrete")
    venv.seed(0)
    shown, alone = venv.reset(), single.reset(seed=0)[0]
    for actions in drawn(venv, HORIZON - 1):
        actions[:, 1] = 0
        shown, alone = venv.step(actions)[0], single.step(actions[0])[0]
        assert np.array_equal(shown["glimpse"][0], alone["glimpse"])


@pytest.mark.parametrize("kind", [PPO, RecurrentPPO])
@pytest.mark.parametrize("action", FORMS)
def test_the_agent_does_what_the_policy_predicts(venv_of, kind, action):
    torch.manual_seed(0)
    venv = venv_of(action)
    recurrent = kind is RecurrentPPO
    policy = kind("MultiInputLstmPolicy" if recurrent else "MultiInputPolicy", venv, n_steps=8, batch_size=16, seed=0).policy
    for parameter in policy.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)  # away from the initial head, which says nearly the same to all
    classifier = venv.env.network if action == "steering" else None
    agent = PolicyAgent(policy, venv.core, action, classifier).eval()
    seen, memory, starts, state = venv.reset(), None, np.ones(ROWS, bool), agent.begin(ROWS)
    for _ in range(2 * HORIZON):
        expected, memory = policy.predict(seen, memory, starts, deterministic=True)
        tensors = {name: torch.from_numpy(seen[name]) for name in ("glimpse", "location", "step")}
        with torch.no_grad():
            heads, state = agent(tensors, state)
        meant = venv.form.decode(torch.from_numpy(expected))
        location, stop = (meant[:, :2], meant[:, 2] > 0) if action == "steering" else (meant["location"], meant["stop"])
        assert torch.allclose(heads.mean, location, atol=1e-5)
        assert torch.equal(heads.stop > 0, stop)
        if action == "steering":
            assert np.allclose(heads.logits.softmax(1), seen["belief"], atol=1e-5)
        elif action == "multidiscrete":
            assert torch.equal(heads.logits.argmax(1), meant["prediction"].argmax(1))
        else:
            assert torch.allclose(heads.logits.softmax(1), meant["prediction"] / meant["prediction"].sum(1, keepdim=True), atol=1e-5)
        seen, _, starts, _ = venv.step(expected)


def test_log_odds_of_stopping_are_the_gaussians():
    normal = torch.distributions.Normal(torch.tensor([[0.0, 0.0, 0.4]]), torch.tensor([0.2, 0.2, 0.5]))
    form = SteeringForm()
    drawn = normal.sample((20_000,))[:, 0, 2] > 0
    assert form.most_likely(normal).stop.sigmoid().item() == pytest.approx(drawn.float().mean().item(), abs=0.01)


def test_bad_input_says_what_is_allowed(noise, venv_of, unchecked):
    with pytest.raises(ValueError, match="action='continuous': expected one of box, multidiscrete, steering"):
        venv_of("continuous")
    with pytest.raises(ValueError, match="num_envs=0"):
        venv_of(rows=0)
    with pytest.raises(ValueError, match="autoreset_mode=NextStep: Stable-Baselines3 expects SAME_STEP"):
        venv_of(autoreset_mode="NextStep")
    with pytest.raises(ValueError, match="only action='steering' has a classifier"):
        sb3.make_sb3_env(2, noise, action="box", teaching=TINY, **LOOK)
    venv = venv_of()
    with pytest.raises(ValueError, match="action='steering' without a classifier"):
        PolicyAgent(torch.nn.Linear(1, 1), venv.core, "steering")
    stack = PPO("MlpPolicy", venv_of(flat=True, frame_stack=HORIZON), n_steps=8, batch_size=16).policy
    with pytest.raises(ValueError, match=r"the policy reads 76 values at a step: expected 19, those of one observation"):
        PolicyAgent(stack, venv.core, "box")
    venv.reset()
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


@pytest.mark.parametrize(
    ("library", "module"), [("stable_baselines3", "sb3"), ("sb3_contrib", "sb3_run"), ("stable_baselines3", "sb3_training")]
)
def test_an_absent_library_names_the_extra(monkeypatch, library, module):
    name = f"glimpse_env.adapters.{module}"
    importlib.import_module(name)
    monkeypatch.delitem(sys.modules, name)
    for loaded in [loaded for loaded in sys.modules if loaded == library or loaded.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf'{library}[a-z.]* is not installed: pip install -e ".\[sb3\]"'):
        importlib.import_module(name)


@pytest.mark.parametrize(
    ("algo", "action"), [("ppo", "steering"), ("a2c", "box"), ("recurrent_ppo", "steering"), ("recurrent_ppo", "multidiscrete")]
)
def test_a_run_leaves_the_files_of_every_agent(halves, tmp_path, monkeypatch, capsys, algo, action):
    monkeypatch.setattr(sys, "argv", ["agents/sb3_ppo.py"])
    pictures = halves((24, 10))
    given = {"algo": algo, "action": action, "dataset": pictures, "glimpses": 3, "image_size": 32, "threads": 1}
    sizes = {"num_envs": 8, "n_steps": 8, "batch_size": 32, "n_epochs": 2, "total_steps": 512, "lstm": 8}
    row = sb3_ppo.main(sb3_ppo.Sb3Options(**given, **sizes, classifier=TINY, out=tmp_path / "sb3"))
    options = Options(
        dataset=pictures, glimpses=3, image_size=32, epochs=1, batch=16, hidden=8, features=8, out=tmp_path / "ram", threads=1
    )
    other = execute("ram", options, lambda network, horizon: [lambda: look_stage(options, network, horizon)])
    assert set(row) == set(other)
    assert json.loads((tmp_path / "sb3" / "result.json").read_text()) == json.loads(json.dumps(row))
    left, usual = ({path.name for path in (tmp_path / name).iterdir() if "tfevents" not in path.name} for name in ("sb3", "ram"))
    assert left == usual - {"checkpoint.pt"} | {"model.zip", "run.pt"} | ({"classifier.pt"} if action == "steering" else set())
    assert row["images"] == 20
    assert 1 <= row["mean_glimpses"] <= 3
    assert {"stable-baselines3", "sb3-contrib"} <= set(row["versions"])
    summary.main(summary.Summary((tmp_path / "sb3" / "result.json", tmp_path / "ram" / "result.json")))
    assert f"sb3_{algo}" in capsys.readouterr().out


@pytest.mark.parametrize(("algo", "action"), [("ppo", "steering"), ("recurrent_ppo", "box")])
def test_an_interrupted_run_goes_on(halves, tmp_path, monkeypatch, capsys, algo, action):
    """Steps, history, policy, classifier and the order of the images go on; what does not belong together is refused."""
    sizes = {"num_envs": 8, "n_steps": 8, "batch_size": 32, "n_epochs": 1, "total_steps": 1280, "lstm": 8, "classifier": TINY}
    given = {"algo": algo, "action": action, "dataset": halves((24, 10)), "glimpses": 3, "image_size": 32, "threads": 1, "out": tmp_path}
    options, record = sb3_ppo.Sb3Options(**given, **sizes), sb3_training.Watch.record

    def stopped(self, found):
        record(self, found)
        if len(self.plan.progress.history) == 5:  # run.pt holds the fourth record
            raise KeyboardInterrupt

    monkeypatch.setattr(sb3_training.Watch, "record", stopped)
    with pytest.raises(SystemExit) as end:
        sb3_ppo.main(options)
    assert end.value.code == 130
    assert "as last recorded; go on with --resume" in capsys.readouterr().err
    before = sb3_run.saved_run(tmp_path, {"agent": f"sb3_{algo}", "options": {"seed": 0}})
    assert before["moment"][0] == before["progress"]["history"][-1]["steps"] == 256
    with pytest.raises(SystemExit, match=r"--resume: .*run.pt was made with --n-steps 8; give the same options"):
        sb3_ppo.main(replace(options, n_steps=16, resume=True))
    begun = []
    start = sb3_training.Watch._on_training_start
    monkeypatch.setattr(sb3_training.Watch, "record", record)
    monkeypatch.setattr(sb3_training.Watch, "_on_training_start", lambda self: (seen_at_start(self, begun), start(self)))
    row = sb3_ppo.main(replace(options, resume=True))
    after = sb3_run.saved_run(tmp_path, {"agent": f"sb3_{algo}", "options": {"seed": 0}})
    assert [row["steps"] for row in after["progress"]["history"]] == [64 * number for number in range(1, 21)]
    assert after["progress"]["history"][:4] == before["progress"]["history"]
    assert after["moment"][0] == 1280
    steps, core, classifier = begun[0]
    assert steps == 256
    assert core["seed"] == before["core"]["seed"]
    assert torch.equal(core["state"]["order_index"], before["core"]["state"]["order_index"] + 8)  # every row's next image
    if action == "steering":
        assert classifier == before["moment"][1] > 0
        assert after["moment"][1] > classifier
    assert sb3_ppo.main(replace(options, resume=True))["accuracy"] == row["accuracy"]  # nothing was left to do
    checkpoint.save(tmp_path / "run.pt", {**after, "moment": [64, 0]})
    with pytest.raises(SystemExit, match=r"at \[1280, .*run.pt is at \[64, 0\]: they were not written together; train anew"):
        sb3_ppo.main(replace(options, resume=True))


def seen_at_start(watch, begun):
    """Note where a run is when it begins to train."""
    updates = None if watch.plan.classifier is None else watch.plan.classifier.updates
    begun.append((watch.num_timesteps, watch.plan.venv.core.state_dict(), updates))


def test_a_price_is_paid_for_going_on():
    rows = {"glimpses": [1, 1], "stop": [False, True], "correct": [True, True], "loss": [0.5, 0.5], "previous_loss": [1.0, 1.0]}
    transition = Transition(**{name: torch.tensor(value) for name, value in rows.items()})
    plain, priced = (sb3_ppo.chosen_reward(sb3_ppo.Sb3Options(reward="information_gain", price=price)) for price in (0.0, 0.1))
    assert plain(transition).tolist() == [0.5, 0.5]
    assert priced(transition).tolist() == pytest.approx([0.4, 0.5])


def test_the_script_refuses_what_it_cannot_do(tmp_path, monkeypatch):
    def refused(pattern, **options):
        with pytest.raises(SystemExit, match=pattern):
            sb3_ppo.main(sb3_ppo.Sb3Options(**{"out": tmp_path, "threads": 1, **options}))

    refused("sb3_ppo.py: --split test", split="test")
    refused(r"no checkpoint at .*run.pt", resume=True)
    refused("--look-first 1", look_first=1.0)
    refused("--total-steps 0: expected at least 1", total_steps=0)
    refused("dataset='mnits'", dataset="mnits")
    refused("num_envs=0", num_envs=0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused("sb3_ppo.py runs in one process, and torchrun started 2: start it with python")


def test_the_race_steps_the_same_rows_through_both_environments(noise, capsys):
    options = sb3_collect.Collect(rows=(4,), seconds=0.01, turns=1, n_steps=4, threads=1)
    [row] = sb3_collect.measured(options, {"dataset": noise, **LOOK})
    assert row["rows"] == 4
    assert all(row[part][kind] > 0 for part in ("step", "collect_rollouts") for kind in ("ours", "dummy"))
    assert row["step"]["ratio"] == pytest.approx(row["step"]["ours"] / row["step"]["dummy"])
