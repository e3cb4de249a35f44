"""--compile: a run is the same up to rounding, and its checkpoint is an ordinary one."""

import functools
import sys

import pytest
import ram_reinforce
import torch

from glimpse_env.runtime import checkpoint

SMALL = {"epochs": 1, "batch": 16, "hidden": 16, "features": 8, "threads": 1, "glimpses": 3}
SMALL |= {"precision": "float32", "image_size": 32, "glimpse_size": 8, "first_view": "glimpse"}
# Dynamo looks at the gradients of whatever is a network's input, and torch warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


@pytest.fixture(autouse=True)
def traced(monkeypatch, unchecked):
    """Trace alone: inductor takes longer."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch.compiler.reset()


def test_a_compiled_run_is_the_eager_one_up_to_rounding(halves, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agent.py"])
    rows = {}
    for compiled in (False, True):
        options = ram_reinforce.Options(
            dataset=halves((24, 10)), **SMALL, compile=compiled, out=tmp_path / str(compiled)
        )
        rows[compiled] = ram_reinforce.main(options)
    assert rows[True]["accuracy"] == rows[False]["accuracy"]
    saved = checkpoint.load(tmp_path / "True" / "checkpoint.pt")
    assert saved["options"]["compile"]
    assert not any("_orig_mod" in name for name in saved["network"])
