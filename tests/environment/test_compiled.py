"""`torch.compile(env.step, fullgraph=True)` and `reset`: one graph, and the numbers of the eager calls.

jaxtyping's hooks are installed in all tests. Dynamo refuses to trace their checks of tensors, so these are
switched off here, as a user would. The backend "eager" traces the graph and runs it operation by operation;
inductor, which writes code for it, takes longer to compile.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from glimpse_env import GlimpseVectorEnv

ROWS, STEPS, CLASSES = 6, 7, 5
NETWORK: dict[str, Any] = {"backbone": "resnet18", "weights": None, "image_size": 32, "view_size": 32}
SENSORS: dict[str, dict[str, Any]] = {
    "pixel": {},
    "whole first": {"first_view": "image", "context": True},
    "windows": {"scales": (1.0, 2.0, 3.0), "initial_location": "random"},
    "zoom": {"zoom": (1.0, 3.0)},
    "native": {"image_size": "native", "glimpse_size": 3},
    "crop": {**NETWORK, "sensor": "crop", "glimpse_size": 16},
    "bank": {**NETWORK, "sensor": "bank", "glimpse_size": 16, "grid": 2},
    "map": {**NETWORK, "sensor": "map", "glimpse_size": None, "scales": (1.0,)},
}
GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # a compiler rounds otherwise


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path, unchecked):
    """Compile for one test alone, and write banks elsewhere."""
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path))
    torch.compiler.reset()
    yield
    torch.set_grad_enabled(True)  # the backend "eager" leaves it off where a graph raises


def draw(env: GlimpseVectorEnv, generator: torch.Generator) -> dict[str, Tensor]:
    """Return random actions; a fifth of the rows stop."""
    uniform = torch.rand(ROWS, 4 + CLASSES, generator=generator).to(env.device)
    drawn = {"location": 2 * uniform[:, :2] - 1, "stop": uniform[:, 2] < 0.2, "prediction": uniform[:, 4:]}
    return drawn | ({"scale": 2 * uniform[:, 3:4] - 1} if env.preset.zoom else {})


def compare(eager: object, compiled: object) -> None:
    """Compare nested results, numbers up to rounding."""
    if isinstance(eager, Tensor):
        torch.testing.assert_close(compiled, eager, **CLOSE)
    elif isinstance(eager, dict):
        assert eager.keys() == compiled.keys()
        for name, value in eager.items():
            compare(value, compiled[name])
    else:
        for one, other in zip(eager, compiled, strict=True):
            compare(one, other)


def twice(make: Any, **options: Any) -> tuple[GlimpseVectorEnv, GlimpseVectorEnv]:
    """Return two equal environments."""
    return make(ROWS, **options), make(ROWS, **options)


def follow(eager: GlimpseVectorEnv, env: GlimpseVectorEnv, backend: str) -> None:
    """Step and reset two equal environments, the second compiled, and compare all results."""
    step = torch.compile(env.step, fullgraph=True, backend=backend)
    reset = torch.compile(env.reset, fullgraph=True, backend=backend)
    compare(eager.reset(seed=3), env.reset(seed=3))
    compare(eager.reset(), reset())
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        actions = draw(env, generator)
        before = eager.step(actions)
        compare(before, step(actions))
        if env.autoreset_mode == AutoresetMode.DISABLED:
            chosen = {"reset_mask": before[2]}
            compare(eager.reset(options=chosen), reset(options=chosen))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("name", SENSORS)
def test_step_and_reset_are_one_graph_for_every_sensor(make, name, device):
    if name == "crop" and torch.__version__.startswith("2.9."):
        pytest.skip("torch 2.9 cannot trace jaxtyping's hooks in a NamedTuple; without the hooks it can")
    follow(*twice(make, device=device, **SENSORS[name]), "eager")


@pytest.mark.parametrize("mode", MODES)
def test_step_and_reset_are_one_graph_in_every_autoreset_mode(make, mode):
    follow(*twice(make, autoreset_mode=mode), "eager")


@pytest.mark.parametrize("order", ["shuffle", "once"])
@pytest.mark.parametrize("reward", ["delayed", "greedy", "information_gain", "confidence_gain"])
def test_rewards_and_orders_are_compiled(make, reward, order):
    follow(*twice(make, reward=reward, order=order), "eager")


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("name", ["windows", "bank"])
def test_inductor_gives_the_same_numbers(make, name, monkeypatch, tmp_path):
    # Its cache does not tell code for other vector units apart (ATEN_CPU_CAPABILITY).
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    pair = twice(make, **SENSORS[name])
    # A process of its own: inductor imports setuptools, which depends on what other tests have imported.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        alone.submit(follow, *pair, "inductor").result()


def test_chosen_images_and_locations_are_compiled(make):
    eager, env = make(ROWS), make(ROWS)
    reset = torch.compile(env.reset, fullgraph=True, backend="eager")
    eager.reset(seed=0), env.reset(seed=0)
    chosen = {"indices": torch.arange(ROWS), "locations": torch.rand(ROWS, 2)}
    compare(eager.reset(options=chosen), reset(options=chosen))


def test_nan_is_refused_in_a_graph_too(make):
    env = make(ROWS)
    env.reset(seed=0)
    step = torch.compile(env.step, fullgraph=True, backend="eager")
    actions = draw(env, torch.Generator().manual_seed(0))
    step(actions)
    actions["location"][1, 0] = torch.nan
    with pytest.raises(RuntimeError, match="expected numbers, got nan"):
        step(actions)


def test_a_wrong_shape_is_refused_before_the_graph_runs(make):
    env = make(ROWS)
    env.reset(seed=0)
    step = torch.compile(env.step, fullgraph=True, backend="eager")
    actions = draw(env, torch.Generator().manual_seed(0))
    actions["location"] = actions["location"][:, :1]
    before = env.state_dict()["state"]["step"].clone()
    with pytest.raises(Exception, match="location"):
        step(actions)
    assert torch.equal(before, env.state_dict()["state"]["step"])
