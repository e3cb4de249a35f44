"""Fine-tuning a backbone, and a RAM that looks through it, on a small folder of pictures."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import finetune_backbone
import pytest
import ram_reinforce
import torch
from finetune_backbone import FinetuneOptions, scale_rate

from glimpse_env import ImageSet
from glimpse_env.backbone import Backbone, build_classifier
from glimpse_env.runtime import checkpoint
from glimpse_env.training.finetuning import normalise, predict

SMALL = {"backbone": "resnet18", "weights": None, "image_size": 48, "view_size": 32, "batch": 6}
SMALL |= {"learning_rate": 0.002, "head_rate": 0.01, "threads": 1}


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
    options = FinetuneOptions(dataset=pictures, out=tmp_path, epochs=8, **SMALL | {"learning_rate": 0.0003})
    finetune_backbone.main(options)
    row = json.loads((tmp_path / "result.json").read_text())
    found = [row[name] for name in ("agent", "split", "images", "mean_glimpses")]
    assert found == ["finetune_backbone", "test", 6, 1]
    assert row["accuracy"] == 1  # red against blue
    frozen = Backbone("resnet18", tmp_path / "weights.pth", precision="float32")
    assert torch.equal(frozen.network.conv1.weight.half(), weights(tmp_path)["conv1.weight"])
    assert weights(tmp_path)["fc.weight"].shape == (2, 512)


def test_resume_continues_the_same_run(pictures, tmp_path, interrupt):
    """Two epochs at once = one epoch, Ctrl-C, the other."""
    whole, halves = (
        FinetuneOptions(dataset=pictures, out=tmp_path / name, epochs=2, **SMALL)
        for name in ("whole", "halves")
    )
    finetune_backbone.main(whole)
    interrupt(2)  # the checkpoint before the first epoch, and that after it
    with pytest.raises(SystemExit) as stop:
        finetune_backbone.main(halves)
    interrupt(0)
    assert stop.value.code == 130
    assert checkpoint.load(halves.out / "checkpoint.pt", kind="classifier")["progress"]["epoch"] == 1
    assert not (halves.out / "weights.pth").is_file()
    finetune_backbone.main(replace(halves, resume=True))
    for name, value in weights(whole.out).items():
        assert torch.equal(value, weights(halves.out)[name]), name


def test_a_fold_is_left_out_and_is_the_result(pictures, tmp_path):
    finetune_backbone.main(
        FinetuneOptions(dataset=pictures, out=tmp_path, epochs=1, split="fit:1/3", **SMALL)
    )
    row = json.loads((tmp_path / "result.json").read_text())
    assert (row["split"], row["images"]) == ("validation:1/3", 4)


def test_the_final_layer_is_new_and_nothing_is_frozen():
    network = build_classifier("resnet18", None, 7).network
    assert network.fc.out_features == 7
    assert all(value.requires_grad for value in network.parameters())


def test_the_final_layer_alone_learns_at_the_head_rate():
    classifier = build_classifier("resnet18", None, 7)
    network = classifier.network
    optimizer = finetune_backbone.build_optimizer(
        classifier, FinetuneOptions(learning_rate=0.1, head_rate=0.2)
    )
    rest, head = optimizer.parts[0].param_groups
    assert (rest["lr"], head["lr"]) == (0.1, 0.2)
    assert [id(value) for value in head["params"]] == [id(value) for value in network.fc.parameters()]
    assert len(rest["params"]) + len(head["params"]) == len(list(network.parameters()))


def test_probabilities_are_those_of_the_resized_images_whatever_their_order():
    pixels = torch.randint(
        0, 256, (5, 1, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images = ImageSet(pixels, torch.arange(5) % 3, ("a", "b", "c"), rows=torch.tensor([4, 0, 1, 2, 3]))
    classifier = build_classifier("resnet18", None, 3)
    found = predict(classifier, images, 40, torch.device("cpu"))
    torch.testing.assert_close(found.sum(1), torch.ones(5))
    with torch.no_grad():
        expected = classifier.network.eval()(normalise(pixels, classifier.preprocessing)).softmax(1)
    torch.testing.assert_close(found, expected[[4, 0, 1, 2, 3]])


def test_bad_input_is_refused(pictures, tmp_path):
    def refuse(message: str, **change) -> None:
        options = FinetuneOptions(**{"dataset": pictures, "out": tmp_path, "epochs": 1, **SMALL, **change})
        with pytest.raises(SystemExit, match=message):
            finetune_backbone.main(options)

    refuse("give --image-size and --view-size", view_size=None)
    refuse("--batch 50: the data set has 12 training images", batch=50)
    refuse("--batch=0: expected a whole number of at least 1", batch=0)
    refuse("--split test: expected train, fit or fit:K/N", split="test")
    refuse("no checkpoint at", resume=True)
    finetune_backbone.main(FinetuneOptions(dataset=pictures, out=tmp_path, epochs=1, **SMALL))
    refuse("was made with --zoom-area 0.08; give the same options", zoom_area=0.3, resume=True)
    (tmp_path / "other").mkdir()
    torch.save(build_classifier("resnet18", None, 2).network.state_dict(), tmp_path / "other" / "weights.pth")
    refuse("was made with --weights None", weights=str(tmp_path / "other" / "weights.pth"), resume=True)


@pytest.mark.parametrize("sensor", ["crop", "bank", "map"])
def test_a_ram_learns_through_each_sensor(pictures, tmp_path, sensor):
    look = {"sensor": sensor, "backbone": "resnet18", "weights": None, "image_size": 64}
    look |= {"glimpse_size": 32, "glimpses": 2, "grid": 2, "policy": "random"}
    learn = {"epochs": 15, "optimizer": "adamw", "learning_rate": 0.01, "batch": 4, "split": "train"}
    learn |= {"hidden": 16, "features": 16, "encoder_layers": 1, "threads": 1, "precision": "float32"}
    row = ram_reinforce.main(ram_reinforce.Options(dataset=pictures, out=tmp_path, **look, **learn))
    assert row["accuracy"] == 1
    assert checkpoint.load(tmp_path / "checkpoint.pt")["environment"]["sensor"] == sensor
    assert (tmp_path / "looks.npz").is_file()


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 400])
def test_the_rate_warms_up_and_falls_whatever_the_number_of_steps(steps):
    rates = [scale_rate(step, steps) for step in range(steps + 1)]
    assert max(rates) == 1
    assert all(0 <= value <= 1 for value in rates)
    assert rates[-1] < 0.01 or steps < 2
    peak = rates.index(1)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_steps_without_warm_up_are_the_papers_schedule():
    assert [scale_rate(step, 90, step_decay=True) for step in (0, 29, 30, 60)] == pytest.approx(
        [1, 1, 0.1, 0.01]
    )


def test_a_centred_crop_is_measured():
    """Of 40 pixels the middle 20 decide: an edge of other images changes nothing."""
    pixels = torch.randint(0, 256, (2, 1, 40, 40), dtype=torch.uint8)
    framed = pixels.clone()
    framed[:, :, :10], framed[:, :, -10:] = 0, 255
    classifier = build_classifier("resnet18", None, 3)
    sets = [ImageSet(each, torch.arange(2), ("a", "b", "c")) for each in (pixels, framed)]
    whole, crop = (
        [predict(classifier, one, 32, torch.device("cpu"), part) for one in sets] for part in (1.0, 0.5)
    )
    assert torch.allclose(*crop, atol=1e-6)
    assert not torch.allclose(*whole, atol=1e-6)
