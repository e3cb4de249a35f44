"""An exported file answers and stops as the package does, on 100 images, without the package."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from random_agents import HORIZON, PHOTOGRAPHS, build_ram, load, load_divided, pictures, run_episodes, save

from glimpse_env import datasets
from glimpse_env.commands import export
from glimpse_env.deployment import export_file
from glimpse_env.deployment.trained_agent import load_agent
from glimpse_env.evaluation import stopping_rules
from glimpse_env.runtime import checkpoint

PAGE = (Path(__file__).parents[2] / "docs" / "trained-agents.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1:]
RUN = """
import sys
sys.modules["glimpse_env"] = None  # as where it is not installed
exec(open("example.py").read())
import numpy
images = numpy.load("images.npy")
answers, glimpses = predict(torch.from_numpy(images) if "torch" in globals() else images)
numpy.savez("answers.npz", answers=numpy.asarray(answers), glimpses=numpy.asarray(glimpses))
assert about["classes"][4] == "4"
"""

pytestmark = [
    pytest.mark.usefixtures("unchecked"),  # torch.export's sizes are no ints
    pytest.mark.skipif(not export_file.can_export(torch.__version__), reason="needs torch 2.10 to export"),
]


@pytest.fixture(scope="module")
def digits():
    return datasets.load("mnist", "test").images[:100]


@pytest.fixture(scope="module")
def expected(digits):
    return load_agent("mnist-dtram", precision="float32").predict(digits)


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_the_page_s_examples_run_an_exported_file_without_the_package(
    ending, digits, expected, tmp_path, monkeypatch, capsys
):
    if ending == "onnx":
        pytest.importorskip("onnxruntime", reason="needs the packages of the extra onnx")
        pytest.importorskip("onnxscript", reason="needs the packages of the extra onnx")
    monkeypatch.chdir(tmp_path)
    export.main(export.Export(checkpoint=Path("mnist-dtram"), out=Path(f"agent.{ending}")))
    printed = capsys.readouterr().out
    assert re.search(r"agent\.\w+: 1\.\d MB, 10 classes; stops when .* differ .* at most", printed, re.S)
    [example] = [text for text in EXAMPLES if f"agent.{ending}" in text]
    Path("example.py").write_text(example)
    np.save("images.npy", digits.numpy())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", RUN], check=True, env=environment | {"OMP_NUM_THREADS": "1"})
    with np.load("answers.npz") as found:
        assert found["answers"].argmax(1).tolist() == expected.labels.tolist()
        assert found["glimpses"].tolist() == [len(path) for path in expected.trajectories]
        assert np.abs(found["answers"] - expected.probabilities.numpy()).max() < 1e-3
    assert len(set(map(len, expected.trajectories))) > 3


@pytest.fixture(scope="module")
def photographs():
    return pictures(100)


def test_photographs_through_a_backbone_are_answered_alike(photographs, tmp_path):
    agent = load_divided(build_ram(512), PHOTOGRAPHS, photographs)
    file = tmp_path / "agent.pt2"
    assert export_file.export_agent(agent, file) < 1e-4
    expected, function = agent.predict(photographs), export_file.build_step(agent)
    metadata = {export_file.METADATA: ""}
    program = torch.export.load(str(file), extra_files=metadata)
    about = json.loads(metadata[export_file.METADATA])
    assert about["image"] == {"dtype": "uint8", "channels": 3, "height": 32, "width": 32}
    assert (about["classes"], about["max_glimpses"]) == (list("abcd"), HORIZON)
    runs = {"pt2": program.module()}
    if all(map(find_spec, export_file.PACKAGES)):
        runs["onnx"] = export_file.to_onnx(program, about)[1]
    for name, run in runs.items():
        answers, glimpses, path = run_episodes(run, function, photographs)
        assert glimpses.tolist() == [len(taken) for taken in expected.trajectories], name
        assert answers.argmax(1).tolist() == expected.labels.tolist(), name
        assert torch.allclose(answers, expected.probabilities, atol=1e-4), name
        for row, taken in enumerate(expected.trajectories):
            assert torch.allclose(path[row, : len(taken)] * about["location_reach"], taken, atol=1e-4), name
    assert len(glimpses.unique()) > 1


@pytest.mark.parametrize(
    ("network", "view", "content", "message"),
    [
        ({}, {"fill": "noise", "location_range": 1.0}, {}, "fill='noise' draws the pixels beyond the image"),
        ({}, {}, {"options": {"policy": "random"}}, "its locations are random"),
        ({"map_shape": (512, 1), "locator": "map"}, {}, {}, "reads the backbone's feature map"),
        (
            {},
            {"sensor": "map", "backbone": "resnet18", "weights": None},
            {},
            "sensor='map' looks",
        ),
        ({}, {"context": True}, {}, "it begins with a context"),
        ({}, {"image_size": "native"}, {}, "image_size='native' gives it images of different sizes"),
    ],
)
def test_agents_that_cannot_be_exported_are_refused_with_the_reason(network, view, content, message):
    agent = load(build_ram(192, **network), {"glimpse_size": 8} | view, stopping_rules.HORIZON, **content)
    with pytest.raises(
        ValueError, match=rf"test\.pt cannot be exported: .*{message}.*; agents of the sensors"
    ):
        export_file.build_step(agent)


def test_an_agent_on_another_device_is_refused():
    agent = load(build_ram(192), {"glimpse_size": 8}, stopping_rules.HORIZON)
    agent.predictor = replace(agent.predictor, device="cuda")
    with pytest.raises(ValueError, match=r"loaded on cuda.*; expected load_agent\(..., device='cpu'"):
        export_file.build_step(agent)


def test_bad_targets_and_checkpoints_are_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(export_file, "trace", lambda *_: pytest.fail("the work began"))
    exists, blocked = tmp_path / "agent.pt2", tmp_path / "file"
    for file in (exists, blocked):
        file.write_text("mine")
    cases = {
        exists: (ValueError, r"agent\.pt2 exists: give another --out, or --overwrite"),
        tmp_path / "agent.zip": (ValueError, r"agent\.zip: expected a file that ends in \.pt2 or \.onnx"),
        blocked / "agent.pt2": (OSError, "file is a file where a folder is needed"),
    }
    for target, (kind, message) in cases.items():
        with pytest.raises(kind, match=message):
            export.main(export.Export(checkpoint=Path("mnist-dtram"), out=target))
    with pytest.raises(ValueError, match="no agent of the package is called 'mnist'"):
        export.main(export.Export(checkpoint=Path("mnist")))
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        export.main(export.Export(checkpoint=tmp_path / "none.pt"))
    with pytest.raises(ValueError, match="not readable as a checkpoint"):
        export.main(export.Export(checkpoint=blocked))
    assert exists.read_text() == "mine"


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match="pip install onnx onnxscript onnxruntime"):
        export.main(export.Export(checkpoint=Path("mnist-dtram"), out=tmp_path / "agent.onnx"))


def test_an_older_torch_is_refused_before_the_work(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    with pytest.raises(
        ValueError, match=r"exporting needs torch 2\.10 or newer, this is 2\.9\.1\+cu128: pip"
    ):
        export_file.check_target(Path("agent.pt2"))
    assert export_file.can_export("2.10.0")
    assert export_file.can_export("3.0.0a0+git1")


def test_what_onnx_does_not_have_is_named():
    pytest.importorskip("onnxruntime", reason="needs the packages of the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the packages of the extra onnx")

    class Odd(torch.nn.Module):
        def forward(self, values):
            return torch.linalg.svdvals(values)

    program = torch.export.export(Odd(), (torch.rand(3, 3),))
    with pytest.raises(ValueError, match=r"to ONNX, but to \.pt2 it can \(.*linalg_svd"):
        export_file.to_onnx(program, {"inputs": ["values"], "outputs": ["scores"]})


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export_file, "compare", lambda *_: float("nan"))
    monkeypatch.setattr(export_file, "trace", lambda *_: None)
    monkeypatch.setitem(export_file.FORMATS, ".pt2", lambda *_: (b"content", None))
    agent = load(build_ram(192), {"glimpse_size": 8}, stopping_rules.HORIZON)
    with pytest.raises(ValueError, match=r"agent\.pt2 is not written: its outputs differ .* by nan"):
        export_file.export_agent(agent, tmp_path / "agent.pt2")
    assert not (tmp_path / "agent.pt2").exists()


def test_checkpoints_of_earlier_versions_are_exported_if_they_tell_their_images(tmp_path):
    saved = save(build_ram(192), {"glimpse_size": 8})
    del saved["preprocessing"]
    checkpoint.save(tmp_path / "old.pt", saved)
    function = export_file.build_step(load_agent(tmp_path / "old.pt"))
    answers, glimpses, _ = run_episodes(function, function, pictures(2))
    assert answers.shape == (2, 4)
    assert glimpses.tolist() == [HORIZON] * 2
