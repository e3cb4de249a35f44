"""Stable-Baselines3: the policy as an `Agent`, and runs of `sb3_ppo.py`: files, resuming, refusals."""

import itertools
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3", reason='Stable-Baselines3 is not installed: pip install -e ".[sb3]"')
pytest.importorskip("sb3_contrib", reason='sb3-contrib is not installed: pip install -e ".[sb3]"')

import ram_reinforce
import sb3_ppo
from sb3.policy import PolicyAgent
from sb3.run import Sb3Run, unpack
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from glimpse_env import Transition
from glimpse_env.adapters.learned_classifier import Teaching
from glimpse_env.adapters.sb3 import make_sb3_env
from glimpse_env.runtime import checkpoint, files
from tests.conftest import HORIZON, SIDE

ROWS = 6
TINY = Teaching(hidden=8, features=8, depth=1, batch=16)
SIZES = {"num_envs": 8, "n_steps": 8, "batch_size": 32, "lstm": 8, "classifier": TINY}  # 64 steps an update


@pytest.fixture
def build_venv(noise):
    view = {
        "image_size": SIDE,
        "glimpse_size": 4,
        "first_view": "glimpse",
        "max_glimpses": HORIZON,
        "grid": 3,
    }

    def build(action="box", **options):
        return make_sb3_env(
            ROWS, noise, action=action, teaching=TINY if action == "steering" else None, **view, **options
        )

    return build


@pytest.fixture
def pictures(halves):
    return {"dataset": halves((24, 10)), "glimpses": 3, "image_size": 32, "threads": 1}


@pytest.mark.parametrize("kind", [PPO, RecurrentPPO])
@pytest.mark.parametrize("action", ["box", "multidiscrete", "steering"])
def test_the_agent_does_what_the_policy_predicts(build_venv, kind, action):
    torch.manual_seed(0)
    venv = build_venv(action)
    recurrent = kind is RecurrentPPO
    policy = kind(
        "MultiInputLstmPolicy" if recurrent else "MultiInputPolicy", venv, n_steps=8, batch_size=16, seed=0
    ).policy
    for parameter in policy.parameters():
        parameter.data += 0.3 * torch.randn_like(
            parameter
        )  # away from the initial head, which hardly depends on its input
    agent = PolicyAgent(policy, venv.core, action, venv.classifier and venv.classifier.network).eval()
    observed, memory, starts, state = venv.reset(), None, np.ones(ROWS, bool), agent.begin(ROWS)
    for _ in range(2 * HORIZON):
        expected, memory = policy.predict(observed, memory, starts, deterministic=True)
        tensors = {name: torch.from_numpy(observed[name]) for name in ("glimpse", "location", "step")}
        with torch.no_grad():
            heads, state = agent(tensors, state)
        decoded = venv.form.decode(torch.from_numpy(expected))
        location, stop = (
            (decoded[:, :2], decoded[:, 2] > 0)
            if action == "steering"
            else (decoded["location"], decoded["stop"])
        )
        assert torch.allclose(heads.location_parameters, location, atol=1e-5)
        assert torch.equal(heads.stop > 0, stop)
        if action == "steering":
            assert np.allclose(heads.logits.softmax(1), observed["belief"], atol=1e-5)
        elif action == "multidiscrete":
            assert torch.equal(heads.logits.argmax(1), decoded["prediction"].argmax(1))
        else:
            scores = decoded["prediction"]
            assert torch.allclose(heads.logits.softmax(1), scores / scores.sum(1, keepdim=True), atol=1e-5)
        observed, _, starts, _ = venv.step(expected)


def test_an_agent_of_parts_that_do_not_fit_is_refused(build_venv):
    core = build_venv().core
    with pytest.raises(
        ValueError, match="action='steering' without a classifier: expected one with action='steering' only"
    ):
        PolicyAgent(torch.nn.Linear(1, 1), core, "steering")
    stack = PPO("MlpPolicy", build_venv(flat=True, frame_stack=HORIZON), n_steps=8, batch_size=16).policy
    with pytest.raises(
        ValueError, match=r"the policy reads 76 values at a step: expected 19, those of one observation"
    ):
        PolicyAgent(stack, core, "box")


@pytest.mark.parametrize(
    ("algo", "action"),
    [("ppo", "steering"), ("a2c", "box"), ("recurrent_ppo", "steering"), ("recurrent_ppo", "multidiscrete")],
)
def test_a_run_leaves_the_files_of_every_agent(pictures, tmp_path, monkeypatch, algo, action):
    monkeypatch.setattr(sys, "argv", ["agents/sb3_ppo.py"])
    options = sb3_ppo.Sb3Options(
        **pictures, **SIZES, algo=algo, action=action, total_steps=512, out=tmp_path / "sb3"
    )
    row = sb3_ppo.main(options)
    other = ram_reinforce.main(
        ram_reinforce.Options(**pictures, epochs=1, batch=16, hidden=8, features=8, out=tmp_path / "ram")
    )
    assert set(row) == set(other)
    assert json.loads((tmp_path / "sb3" / "result.json").read_text()) == json.loads(json.dumps(row))
    files, usual = (
        {path.name for path in (tmp_path / name).iterdir() if "tfevents" not in path.name}
        for name in ("sb3", "ram")
    )
    assert files == usual - {"checkpoint.pt"} | {"model.zip", "run.pt"} | (
        {"classifier.pt"} if action == "steering" else set()
    )
    assert row["images"] == 20
    assert 1 <= row["mean_glimpses"] <= 3
    assert {"stable-baselines3", "sb3-contrib"} <= set(row["versions"])
    assert row["options"]["classifier"]["hidden"] == 8


@pytest.mark.parametrize(("algo", "action"), [("ppo", "steering"), ("recurrent_ppo", "box")])
def test_an_interrupted_run_is_resumed(pictures, tmp_path, interrupt, capsys, algo, action):
    """Steps, history, policy, classifier, image order are those of the last save; other files are refused."""
    options = sb3_ppo.Sb3Options(
        **pictures, **SIZES, algo=algo, action=action, total_steps=1280, out=tmp_path
    )
    interrupt(5)  # at the start, and after each of four rounds of 64 steps
    with pytest.raises(SystemExit) as end:
        sb3_ppo.main(options)
    interrupt(0)
    assert end.value.code == 130
    assert "run.pt holds the last finished epoch; resume with --resume" in capsys.readouterr().err
    before = checkpoint.load(tmp_path / "run.pt", kind=Sb3Run.kind)
    assert before["moment"][0] == before["progress"]["history"][-1]["steps"] == 256
    with pytest.raises(SystemExit, match=r"holds the run of .*: resume it \(--resume\), write to another"):
        sb3_ppo.main(options)
    with pytest.raises(
        SystemExit, match=r"--resume: .*run.pt was made with --n-steps 8; give the same options"
    ):
        sb3_ppo.main(replace(options, n_steps=16, resume=True))
    with pytest.raises(
        SystemExit, match=r"--resume: .*run.pt was made with --classifier .*; give the same options"
    ):
        sb3_ppo.main(replace(options, classifier=replace(TINY, hidden=16), resume=True))
    with Sb3Run.open(f"sb3_{algo}", replace(options, resume=True)) as run:
        run.venv = sb3_ppo.build_environment(run.options)
        run.model = sb3_ppo.build_model(run)
        run.restore(before)
        run.model.learn(0, reset_num_timesteps=False)
        core = run.venv.core.state_dict()
    assert run.moment == before["moment"]
    assert (run.moment[1] > 0) == (action == "steering")
    assert core["seed"] == before["core"]["seed"]
    assert torch.equal(
        core["state"]["order_index"], before["core"]["state"]["order_index"] + 8
    )  # every row's next image
    row = sb3_ppo.main(replace(options, resume=True))
    after = checkpoint.load(tmp_path / "run.pt", kind=Sb3Run.kind)
    assert [row["steps"] for row in after["progress"]["history"]] == [64 * number for number in range(1, 21)]
    assert after["progress"]["history"][:4] == before["progress"]["history"]
    assert after["moment"][0] == 1280
    assert (after["moment"][1] > before["moment"][1]) == (action == "steering")
    assert (
        sb3_ppo.main(replace(options, resume=True))["accuracy"] == row["accuracy"]
    )  # nothing was left to do
    old = {name: value for name, value in after.items() if name not in ("model", "classifier")}
    checkpoint.save(tmp_path / "run.pt", old)  # as earlier versions wrote it
    assert sb3_ppo.main(replace(options, resume=True))["accuracy"] == row["accuracy"]
    checkpoint.save(tmp_path / "run.pt", {**old, "moment": [64, 0]})
    with pytest.raises(
        SystemExit, match=r"at \[1280, .*run.pt is at \[64, 0\]: they were not written together; train again"
    ):
        sb3_ppo.main(replace(options, resume=True))
    (tmp_path / "model.zip").unlink()
    with pytest.raises(SystemExit, match=r"--resume: .*model.zip is missing; train again with --overwrite"):
        sb3_ppo.main(replace(options, resume=True))


@pytest.mark.parametrize("fatal", [1, 2, 3])
def test_a_kill_between_any_two_files_of_a_save_can_be_resumed(pictures, tmp_path, monkeypatch, fatal):
    """The process ends when it flushes the first, second or third file of the third save."""
    options = sb3_ppo.Sb3Options(**pictures, **SIZES, total_steps=256, out=tmp_path)
    publish, count = files.publish, itertools.count(1)

    def publish_or_end(draft, target):
        if target.suffix in (".pt", ".zip") and next(count) == 6 + fatal:
            raise KeyboardInterrupt  # nothing is written after it, as after a kill
        publish(draft, target)

    monkeypatch.setattr(files, "publish", publish_or_end)
    with pytest.raises(SystemExit):
        sb3_ppo.main(options)
    monkeypatch.setattr(files, "publish", publish)
    saved = checkpoint.load(tmp_path / "run.pt", kind=Sb3Run.kind)
    assert saved["moment"][0] == (64 if fatal == 1 else 128)
    sb3_ppo.main(replace(options, resume=True))
    saved = checkpoint.load(tmp_path / "run.pt", kind=Sb3Run.kind)
    assert [row["steps"] for row in saved["progress"]["history"]] == [64, 128, 192, 256]
    assert PPO.load(tmp_path / "model.zip").num_timesteps == saved["moment"][0] == 256
    assert unpack(saved["model"]).getvalue() == (tmp_path / "model.zip").read_bytes()


def test_the_price_is_subtracted_where_the_episode_goes_on():
    rows = {
        "glimpses": [1, 1],
        "stop": [False, True],
        "correct": [True, True],
        "loss": [0.5, 0.5],
        "previous_loss": [1.0, 1.0],
    }
    transition = Transition(**{name: torch.tensor(value) for name, value in rows.items()})
    plain, priced = (
        sb3_ppo.build_reward(sb3_ppo.Sb3Options(reward="information_gain", price=price))
        for price in (0.0, 0.1)
    )
    assert plain(transition).tolist() == [0.5, 0.5]
    assert priced(transition).tolist() == pytest.approx([0.4, 0.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "sb3_ppo: --split test"),
        ({"resume": True}, r"no checkpoint at .*run.pt"),
        ({"ignore_stops": 1.0}, r"--ignore-stops=1.0: expected a fraction in \[0, 1\)"),
        ({"total_steps": 0}, "--total-steps=0: expected a whole number of at least 1"),
        ({"num_envs": 0}, "--num-envs=0: expected a whole number of at least 1"),
        ({"dataset": "mnits"}, "dataset='mnits'"),
    ],
)
def test_options_that_cannot_be_used_end_with_one_sentence(tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        sb3_ppo.main(sb3_ppo.Sb3Options(**{"out": tmp_path, "threads": 1, **options}))


def test_several_processes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        SystemExit, match="sb3_ppo runs in one process, and torchrun started 2: start it with python"
    ):
        sb3_ppo.main(sb3_ppo.Sb3Options(out=tmp_path, threads=1))


@pytest.mark.parametrize("library", ["stable_baselines3", "sb3_contrib"])
def test_an_absent_library_names_the_extra(pictures, tmp_path, monkeypatch, library):
    for name in [name for name in sys.modules if name == library or name.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        SystemExit, match=rf'sb3_ppo: {library}[a-z.]* is not installed: pip install -e ".\[sb3\]"'
    ):
        sb3_ppo.main(sb3_ppo.Sb3Options(**pictures, **SIZES, out=tmp_path))
