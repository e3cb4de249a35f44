"""Fine-tuning a backbone, and a RAM that looks through it, on a small folder of pictures."""

import json
import sys
from pathlib import Path

import finetune_backbone
import pytest
import torch
from glimpse_env.training.stages import look_stage
from tqdm import tqdm

from glimpse_env.backbone import Backbone
from glimpse_env.runtime import checkpoint
from glimpse_env.training import run
from glimpse_env.training.finetuning import Finetune, Finetuning, new_classifier, rate
from glimpse_env.training.options import Options

SMALL = {
    "backbone": "resnet18",
    "weights": None,
    "image_size": 48,
    "view_size": 32,
    "batch": 6,
    "learning_rate": 0.002,
    "head_rate": 0.01,
    "threads": 1,
}


@pytest.fixture(scope="module")
def pictures(painted) -> str:
    """Two classes of pictures, red and blue."""

    def paint(pixels, name, number):
        pixels[..., 0 if name == "red" else 2] += 180

    return painted(("red", "blue"), (6, 3), paint, (48, 48), 60)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["finetune_backbone.py"])
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "weights.pth", weights_only=True)


def test_the_weights_file_serves_a_frozen_backbone_and_the_row_is_its_one_view_accuracy(pictures, tmp_path):
    options = Finetune(dataset=pictures, out=tmp_path, epochs=8, **SMALL | {"learning_rate": 0.0003})
    finetune_backbone.main(options)
    row = json.loads((tmp_path / "result.json").read_text())
    assert (row["agent"], row["split"], row["images"], row["mean_glimpses"]) == ("finetune_backbone", "test", 6, 1)
    assert row["accuracy"] == 1  # red against blue
    frozen = Backbone("resnet18", tmp_path / "weights.pth", precision="float32")
    assert torch.equal(frozen.network.conv1.weight.half(), weights(tmp_path)["conv1.weight"])
    assert weights(tmp_path)["fc.weight"].shape == (2, 512)


def test_resume_continues_the_same_run(pictures, tmp_path):
    whole = Finetune(dataset=pictures, out=tmp_path / "whole", epochs=2, **SMALL)
    finetune_backbone.main(whole)
    halves = Finetune(dataset=pictures, out=tmp_path / "halves", epochs=2, **SMALL)
    torch.manual_seed(0)
    begun = Finetuning(halves, finetune_backbone.load(halves, "train", 48), 32, torch.device("cpu"), tmp_path / "halves")
    begun.run_epoch(tqdm(disable=True))
    begun.save()
    finetune_backbone.main(Finetune(**{**halves.__dict__, "resume": True}))
    for name, value in weights(tmp_path / "whole").items():
        assert torch.allclose(value.float(), weights(tmp_path / "halves")[name].float(), atol=1e-3), name


def test_a_fold_is_left_out_and_is_the_result(pictures, tmp_path):
    finetune_backbone.main(Finetune(dataset=pictures, out=tmp_path, epochs=1, split="fit:1/3", **SMALL))
    row = json.loads((tmp_path / "result.json").read_text())
    assert (row["split"], row["images"]) == ("validation:1/3", 4)


def test_the_final_layer_is_new_and_nothing_is_frozen():
    network = new_classifier("resnet18", None, 7)
    assert network.fc.out_features == 7
    assert all(value.requires_grad for value in network.parameters())


def test_bad_input_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="give --image-size"):
        finetune_backbone.main(Finetune(dataset=pictures, out=tmp_path, **SMALL | {"view_size": None}))
    with pytest.raises(ValueError, match="--batch 50: the data set has 12 training images"):
        finetune_backbone.main(Finetune(dataset=pictures, out=tmp_path, **SMALL | {"batch": 50}))
    finetune_backbone.main(Finetune(dataset=pictures, out=tmp_path, epochs=1, **SMALL))
    with pytest.raises(ValueError, match="was made with --zoom"):
        finetune_backbone.main(Finetune(dataset=pictures, out=tmp_path, epochs=1, zoom=0.3, resume=True, **SMALL))


@pytest.mark.parametrize("sensor", ["crop", "bank", "map"])
def test_a_ram_learns_through_each_sensor(pictures, tmp_path, sensor):
    look = {"sensor": sensor, "backbone": "resnet18", "weights": None, "image_size": 64, "glimpse_size": 32, "glimpses": 2, "grid": 2}
    learn = {
        "epochs": 15,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "batch": 4,
        "hidden": 16,
        "features": 16,
        "depth": 1,
        "threads": 1,
        "precision": "float32",
        "split": "train",
    }
    options = Options(dataset=pictures, out=tmp_path, policy="random", **look, **learn)
    row = run.execute("ram", options, lambda network, horizon: [lambda: look_stage(options, network, horizon)])
    assert row["accuracy"] == 1
    assert checkpoint.load(tmp_path / "checkpoint.pt")["environment"]["sensor"] == sensor
    assert (tmp_path / "looks.npz").is_file()


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 400])
def test_the_rate_warms_up_and_falls_whatever_the_number_of_steps(steps):
    rates = [rate(step, steps) for step in range(steps + 1)]
    assert max(rates) == 1
    assert all(0 <= value <= 1 for value in rates)
    assert rates[-1] < 0.01 or steps < 2
    peak = rates.index(1)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
