"""Ray RLlib: PPO with two collecting processes on our environment, its policy as an agent, its absence.

It needs a Gymnasium of its own, so these tests run where it is installed (CONTRIBUTING.md), else are skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import rllib_ppo
import torch

from glimpse_env import GlimpseVectorEnv
from tests.conftest import CLASSES, HORIZON, SIDE

ROOT = Path(__file__).parents[2]
VIEW = {"image_size": SIDE, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": HORIZON, "grid": 3}
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray RLlib is not installed: pip install -e '.[rllib]'"
)


@pytest.fixture
def rllib():
    """The adapter; Ray warns of itself when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("glimpse_env.adapters.rllib")


@needs_ray
@pytest.mark.parametrize("action", ["dict", "multidiscrete"])
@pytest.mark.filterwarnings("ignore")
def test_the_agent_does_what_the_policy_would_send(rllib, noise, action):
    """RLlib's deterministic action, which it maps to its range, is the agent's choice."""
    from gymnasium.spaces.utils import flatten_space
    from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
    from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.rllib.utils.spaces.space_utils import get_base_struct_from_space, unsquash_action

    torch.manual_seed(0)
    single = rllib.make_single_env({"dataset": noise, "action": action, **VIEW})
    env = GlimpseVectorEnv(6, noise, **VIEW)
    module = DefaultPPOTorchRLModule(
        observation_space=flatten_space(single.observation_space),
        action_space=single.action_space,
        model_config=DefaultModelConfig(),
        catalog_class=PPOCatalog,
    )
    for parameter in module.parameters():  # away from the initial head, which hardly depends on its input
        parameter.data += 0.2 * torch.randn_like(parameter)
    observation, _ = env.reset(seed=0)
    with torch.no_grad():
        heads, _ = rllib.ModuleAgent(module, env, action)(observation, ())
        output = module.forward_inference({"obs": rllib.flatten_observation(observation)})
    inputs = output["action_dist_inputs"]
    drawn = module.get_inference_action_dist_cls().from_logits(inputs).to_deterministic().sample()
    for row in range(6):
        if action == "dict":
            sent = {name: value[row].numpy() for name, value in drawn.items()}
        else:
            sent = drawn[row].numpy()
        sent = unsquash_action(sent, get_base_struct_from_space(single.action_space))
        meant = sent if action == "dict" else single.action(sent)
        assert torch.allclose(heads.location_parameters[row], torch.as_tensor(meant["location"]), atol=1e-5)
        assert (heads.stop[row] > 0).item() == bool(meant["stop"])
        assert heads.logits[row].argmax().item() == meant["prediction"].argmax()
    assert heads.logits.shape == (6, CLASSES)


@needs_ray
def test_two_processes_collect_and_the_result_is_as_every_agents(halves, tmp_path):
    options = "--image-size 32 --glimpses 3 --threads 1 --workers 2 --envs 2 --total-steps 128 --batch 64"
    options += " --minibatch 32 --epochs 1"
    paths = ["--dataset", halves((24, 10)), "--out", str(tmp_path / "out")]
    command = [sys.executable, "agents/rllib_ppo.py", *paths, *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    row = json.loads((tmp_path / "out" / "result.json").read_text())
    assert row["images"] == 20
    assert 1 <= row["mean_glimpses"] <= 3
    assert "ray" in row["versions"]
    assert (tmp_path / "out" / "rllib").is_dir()
    assert "rllib_ppo" in done.stdout
    assert "mean glimpses" in done.stdout


def test_without_ray_the_error_names_the_extra(monkeypatch, tmp_path):
    for name in list(sys.modules):
        if name == "ray" or name.startswith(("ray.", "glimpse_env.adapters.rllib")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delattr("glimpse_env.adapters.rllib", raising=False)
    message = r"rllib_ppo: Ray RLlib could not be imported .*pip install -e '.\[rllib\]'"
    with pytest.raises(SystemExit, match=message):
        rllib_ppo.main(rllib_ppo.RllibOptions(out=tmp_path, threads=1))


def test_options_that_cannot_be_used_are_refused(monkeypatch):
    for options, message in (
        ({"split": "test"}, "--split test"),
        ({"workers": 0}, "--workers=0: expected a whole number of at least 1"),
        ({"batch": 64}, "--minibatch 512: expected at most --batch 64"),
    ):
        with pytest.raises(ValueError, match=message):
            rllib_ppo.check_options(rllib_ppo.RllibOptions(**options))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="rllib_ppo runs in one process, and torchrun started 2"):
        rllib_ppo.check_options(rllib_ppo.RllibOptions())


@needs_ray
def test_arguments_are_checked_before_ray_gets_them(rllib, noise, unchecked):
    view = {"dataset": noise, **VIEW}
    for config, kind, message in (
        (view | {"action": "dict", "order": "once"}, ValueError, "order='once': RLlib cannot know"),
        (view, ValueError, r"config\['action'\]=None: expected one of dict, multidiscrete"),
        (5, TypeError, "config=5: expected a dict"),
    ):
        with pytest.raises(kind, match=message):
            rllib.make_single_env(config)
    for workers, envs, seed, gpu, name in (
        ("2", 1, 0, False, "workers"),
        (1, 0, 0, False, "envs"),
        (1, 1, 1.5, False, "seed"),
        (1, 1, 0, "no", "gpu"),
    ):
        with pytest.raises(ValueError, match=f"{name}="):
            rllib.build_config(view, "dict", workers, envs, seed, gpu)
