"""Checkpoints record preprocessing and backbone; others are refused by name, with both values."""

import copy
import sys
from pathlib import Path

import pytest
import torch

from glimpse_env import Backbone, GlimpseVectorEnv
from glimpse_env.deployment.trained_agent import load_agent
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import preprocessing, resume
from glimpse_env.training.options import Training

CROP = {"sensor": "crop", "backbone": "resnet18", "weights": None, "image_size": 32, "glimpse_size": 32}


@pytest.fixture(scope="module")
def folder(halves):
    return halves((4, 2))


@pytest.fixture(scope="module")
def saved(folder):
    """The content of a checkpoint of a RAM on photographs, as a run writes it."""
    env = GlimpseVectorEnv(2, folder, split="train", max_glimpses=2, **CROP)
    network = RecurrentAttention(Architecture(512, 2, 2, hidden=8, features=8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["test.py"])
        content = resume.describe("test", Training(dataset=folder, glimpses=2, **CROP), env, network)
    return content | {"network": network.state_dict(), "precision": "torch.float32"}


@pytest.fixture
def changed(saved, tmp_path):
    """Write a checkpoint that differs in one value; return its path."""

    def write(part, name, value):
        other = copy.deepcopy(saved)
        other[part][name] = value
        checkpoint.save(tmp_path / "checkpoint.pt", other)
        return tmp_path / "checkpoint.pt"

    return write


def test_a_checkpoint_holds_what_reaches_its_network(saved):
    assert saved["classes"] == ["left", "right"]
    assert saved["preprocessing"] == {
        "image_size": 32,
        "fit": "crop",
        "channels": 3,
        "height": 32,
        "width": 32,
        "mean": [0.485, 0.456, 0.406],
        "deviation": [0.229, 0.224, 0.225],
        "input_size": None,
    }
    assert saved["backbone"]["name"] == "resnet18"
    weights = dict(Backbone("resnet18", None).weights())
    assert saved["backbone"]["digest"] == checkpoint.digest(weights)


DIFFERENT = {
    ("backbone", "name", "resnet34"): "features of the backbone resnet34, and is given resnet18",
    ("backbone", "digest", "0" * 64): "weights have the SHA-256 0000000.*, and is given [0-9a-f]{64}",
    ("preprocessing", "mean", (0.5, 0.5, 0.5)): r"subtracts the colours .*0\.5.*, and is given .*0\.485.*",
    (
        "preprocessing",
        "deviation",
        (1.0, 1.0, 1.0),
    ): r"divides by .*1\.0.*, and is given .*0\.229.*",
    ("preprocessing", "input_size", (224, 224)): "images have the size .*224.*, and is given None",
}
ONLY_EVALUATED = {  # a prediction prepares images as the checkpoint says
    ("preprocessing", "channels", 1): "number of channels is 1, and is given 3",
    ("preprocessing", "fit", "stretch"): "made square by stretch, and is given crop",
    ("preprocessing", "image_size", 64): "resized to the side .*64, and is given 32",
}


@pytest.mark.parametrize(("change", "message"), (DIFFERENT | ONLY_EVALUATED).items())
def test_other_preprocessing_and_backbones_are_refused(change, message, changed, saved):
    path = changed(*change)
    with pytest.raises(ValueError, match=rf"checkpoint\.pt was trained on .*{message}; expected the same"):
        results.evaluate_checkpoint(path, "test")
    with pytest.raises(ValueError, match=f"--resume: .* was trained on .*{message}"):
        resume.check_data(path, checkpoint.load(path), saved)
    if change in DIFFERENT:
        with pytest.raises(ValueError, match=message):
            load_agent(path)


def test_classes_of_other_names_are_refused_on_resuming(saved):
    other = saved | {"classes": ["left", "up"]}
    with pytest.raises(ValueError, match=r"--resume: run .*: class 1 was 'up' and is 'right'"):
        resume.check_data(Path("run"), other, saved)


def test_weights_in_another_type_are_not_compared(changed):
    path = changed("backbone", "digest", "0" * 64)
    content = checkpoint.load(path)
    content["backbone"]["precision"] = "torch.bfloat16"
    checkpoint.save(path, content)
    load_agent(path, precision="float32")
    content["backbone"]["precision"] = "torch.float32"
    checkpoint.save(path, content)
    with pytest.raises(ValueError, match="SHA-256"):
        load_agent(path, precision="float32")


def test_checkpoints_of_earlier_versions_load(saved, tmp_path):
    older = {name: value for name, value in saved.items() if name not in ("preprocessing", "backbone")}
    checkpoint.save(tmp_path / "old.pt", older)
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert load_agent(tmp_path / "old.pt").predict(images).probabilities.shape == (1, 2)
    assert len(results.evaluate_checkpoint(tmp_path / "old.pt", "test")[2].labels) == 4
    preprocessing.check_view(older, saved, "old")


def test_sensors_without_a_network_record_the_images_alone():
    env = GlimpseVectorEnv(2, "mnist", split="test")
    found = preprocessing.describe_view(env, "mnist")
    assert found["backbone"] is None
    assert found["preprocessing"] == {
        "image_size": 28, "fit": "crop", "channels": 1, "height": 28, "width": 28,
    }  # fmt: skip


def test_of_a_changed_weights_file_both_digests_are_named(saved, tmp_path):
    file = tmp_path / "weights.pth"
    network = Backbone("resnet18", None).network.state_dict()
    torch.save(network, file)
    first = resume.weights_hash(CROP | {"weights": str(file)})
    network["conv1.weight"] = network["conv1.weight"] * 2
    torch.save(network, file)
    second = resume.weights_hash(CROP | {"weights": str(file)})
    given = saved["environment"] | {"weights": str(file)}
    with pytest.raises(ValueError, match=rf"changed since \(SHA-256 {first} in training, {second} now\)"):
        resume.check_weights(saved | {"weights_sha256": first}, given, "run")
