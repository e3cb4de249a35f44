"""Off-policy algorithms of Stable-Baselines3: the policy as an `Agent`, runs of `sb3_sac.py`, resuming."""

import itertools
import json
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("stable_baselines3", reason='Stable-Baselines3 is not installed: pip install -e ".[sb3]"')
pytest.importorskip("sb3_contrib", reason='sb3-contrib is not installed: pip install -e ".[sb3]"')

import sb3_sac
from sb3.policy import PolicyAgent
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import SAC

from glimpse_env.adapters.learned_classifier import Teaching
from glimpse_env.adapters.sb3 import make_sb3_env
from glimpse_env.runtime import checkpoint
from tests.conftest import HORIZON, SIDE

ROWS = 6
TINY = Teaching(hidden=8, features=8, depth=1, batch=16)
SIZES = {"num_envs": 8, "batch_size": 8, "memory": 400, "gradient_steps": 1, "classifier": TINY}


@pytest.fixture
def pictures(halves, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agents/sb3_sac.py"])
    return {"dataset": halves((24, 10)), "glimpses": 3, "image_size": 32, "threads": 1}


@pytest.mark.parametrize("kind", [SAC, TQC, CrossQ])
def test_the_agent_does_what_the_policy_predicts(noise, kind):
    view = {"image_size": SIDE, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": HORIZON}
    venv = make_sb3_env(ROWS, noise, action="steering", flat=True, teaching=TINY, **view)
    torch.manual_seed(0)
    policy = kind("MlpPolicy", venv, buffer_size=100, policy_kwargs={"net_arch": [16]}, seed=0).policy
    for parameter in policy.actor.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)  # away from the centre
    agent = PolicyAgent(policy, venv.core, "steering", venv.classifier.network).eval()
    observed, state = venv.reset(), agent.begin(ROWS)
    core = venv.core._observation
    for _ in range(HORIZON):
        expected, _ = policy.predict(observed, deterministic=True)
        with torch.no_grad():
            heads, state = agent(core, state)
        torch.testing.assert_close(heads.location_parameters, torch.from_numpy(expected[:, :2]))
        assert torch.equal(heads.stop > 0, torch.from_numpy(expected[:, 2] > 0))
        expected[:, 2] = -1  # no row restarts before the last glimpse
        observed, *_ = venv.step(expected)
        core = venv.core._observation


@pytest.mark.parametrize("algo", ["sac", "tqc", "crossq"])
def test_a_run_leaves_the_files_of_every_agent(pictures, tmp_path, algo):
    options = sb3_sac.SacOptions(**pictures, **SIZES, algo=algo, total_steps=400, out=tmp_path)
    row = sb3_sac.main(options)
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(row))
    assert {"model.zip", "run.pt", "classifier.pt", "looks.npz"} <= {path.name for path in tmp_path.iterdir()}
    assert (row["agent"], row["images"]) == (f"sb3_{algo}", 20)
    assert 1 <= row["mean_glimpses"] <= 3


def test_the_buffer_is_emptied_when_stops_begin_to_count(pictures, tmp_path, monkeypatch):
    emptied = []
    reset = sb3_sac.Sb3Run.is_due

    def is_due(run, done):
        emptied.append((run.venv.classifier.obeys_stop, run.model.replay_buffer.size()))
        return reset(run, done)

    monkeypatch.setattr(sb3_sac.Sb3Run, "is_due", is_due)
    sb3_sac.main(sb3_sac.SacOptions(**pictures, **SIZES, total_steps=800, ignore_stops=0.5, out=tmp_path))
    before, after = ([size for obeys, size in emptied if obeys is kind] for kind in (False, True))
    assert before[-1] > after[0]
    assert all(one < two for one, two in itertools.pairwise(before[:10]))


def test_an_interrupted_run_is_resumed(pictures, tmp_path, interrupt):
    options = sb3_sac.SacOptions(**pictures, **SIZES, total_steps=800, out=tmp_path)
    interrupt(5)
    with pytest.raises(SystemExit):
        sb3_sac.main(options)
    interrupt(0)
    steps = checkpoint.load(tmp_path / "run.pt", kind="Stable-Baselines3 run")["moment"][0]
    assert 0 < steps < 800
    row = sb3_sac.main(replace(options, resume=True))
    assert row["images"] == 20
    assert checkpoint.load(tmp_path / "run.pt", kind="Stable-Baselines3 run")["moment"][0] >= 800
