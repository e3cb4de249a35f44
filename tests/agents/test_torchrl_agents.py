"""torchrl's PPO and SAC: the policy as an `Agent`, the files of a run, refusals. Skipped without torchrl."""

from __future__ import annotations

import builtins
import json
import sys
import warnings

import pytest
import torch
import torchrl_ppo
import torchrl_sac
from steering.policy import SteeringAgent, build_actor
from steering.run import check_options

from glimpse_env import GlimpseVectorEnv
from glimpse_env.adapters.learned_classifier import Teaching
from glimpse_env.adapters.torchrl import make_torchrl_env
from glimpse_env.runtime import checkpoint
from tests.conftest import CLASSES, HORIZON, SIDE

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchrl warns of itself when it is imported
        import torchrl
        import torchrl.collectors
        import torchrl.objectives
except ImportError:
    torchrl = None
needs_torchrl = pytest.mark.skipif(
    torchrl is None, reason="torchrl is not installed: pip install -e '.[torchrl]'"
)
pytestmark = [pytest.mark.filterwarnings(f"ignore:::{name}") for name in ("torchrl", "tensordict")]

VIEW = {"image_size": SIDE, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": HORIZON}
TINY = Teaching(hidden=8, features=8, batch=8)
SCRIPTS = {"ppo": (torchrl_ppo, torchrl_ppo.PpoOptions), "sac": (torchrl_sac, torchrl_sac.SacOptions)}


@needs_torchrl
@pytest.mark.parametrize("zoom", [{}, {"zoom": (0.5, 1.0)}], ids=["", "zoom"])
def test_the_agent_does_what_the_policy_would_send(noise, zoom):
    """Torchrl's deterministic action is the agent's location and stop; the prediction is the classifier's."""
    torch.manual_seed(0)
    env = make_torchrl_env(6, noise, form="steering", teaching=TINY, **VIEW, **zoom)
    actor = build_actor(env, 16, 0.2, -0.3)
    for parameter in actor.parameters():  # away from the start, which hardly depends on its input
        parameter.data += 0.2 * torch.randn_like(parameter)
    agent, core = (
        SteeringAgent(actor, env.core, env.classifier.network),
        GlimpseVectorEnv(6, noise, **VIEW, **zoom),
    )
    env.set_seed(1)
    now, (observation, _) = env.reset(), core.reset(seed=1)
    with torch.no_grad(), torchrl.envs.set_exploration_type(torchrl.envs.ExplorationType.DETERMINISTIC):
        heads, _ = agent(observation, agent.begin(6))
        sent = actor(now)["action"]
    location = sent[:, : env.core.preset.axes]
    torch.testing.assert_close(heads.location_parameters, location, rtol=0, atol=1e-5)
    assert torch.equal(heads.stop > 0, sent[:, -1] > 0)
    torch.testing.assert_close(heads.logits.softmax(1), now["belief"])
    assert heads.logits.shape == (6, CLASSES)


@needs_torchrl
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_run_leaves_the_files_of_every_agent(halves, tmp_path, name):
    script, kind = SCRIPTS[name]
    given = {"dataset": halves((24, 10)), "image_size": 32, "glimpses": 3, "threads": 1, "device": "cpu"}
    given |= {"updates": 4} if name == "sac" else {}
    options = kind(
        **given, classifier=TINY, envs=8, steps=4, total_steps=128, batch=16, hidden=8, out=tmp_path / "run"
    )
    row = script.main(options)
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == json.loads(json.dumps(row))
    assert row["images"] == 20
    assert 1 <= row["mean_glimpses"] <= 3
    assert "torchrl" in row["versions"]
    saved = checkpoint.load(tmp_path / "run" / "policy.pt", "cpu", "torchrl policy")
    assert [line["steps"] for line in saved["progress"]["history"]] == [32, 64, 96, 128]
    assert saved["progress"]["history"][0]["mean_glimpses"] == 3  # stops are ignored at first
    assert (tmp_path / "run" / "classifier.pt").is_file()


@pytest.mark.parametrize("name", SCRIPTS)
def test_without_torchrl_the_error_names_the_extra(monkeypatch, tmp_path, name):
    imported = builtins.__import__

    def absent(name, *rest):
        if name.startswith("torchrl."):
            raise ImportError(f"No module named {name!r}")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.delitem(sys.modules, "glimpse_env.adapters.torchrl_env", raising=False)
    script, kind = SCRIPTS[name]
    with pytest.raises(SystemExit, match=rf"torchrl_{name}: make_torchrl_env needs torchrl.*pip install"):
        script.main(kind(out=tmp_path, threads=1))


def test_options_that_cannot_be_used_are_refused(monkeypatch):
    for options, message in (
        (torchrl_ppo.PpoOptions(split="test"), "--split test"),
        (torchrl_ppo.PpoOptions(envs=0), "--envs=0: expected a whole number of at least 1"),
        (torchrl_sac.SacOptions(buffer=0), "--buffer=0: expected a whole number of at least 1"),
        (torchrl_sac.SacOptions(classifier=TINY, temperature=0.0), "--temperature=0.0: expected a number in"),
    ):
        with pytest.raises(ValueError, match=message):
            check_options("torchrl_ppo", options)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="torchrl_ppo runs in one process, and torchrun started 2"):
        check_options("torchrl_ppo", torchrl_ppo.PpoOptions())
