"""A trained agent on a user's files: the same pixels, glimpses and answers as in evaluation, and every file accounted for."""

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path

import dtram_reinforce
import numpy as np
import predict
import pytest
import torch
from dtram_reinforce import StopOptions
from PIL import Image

from glimpse_env import Backbone, CropSensor, PixelSensor, datasets
from glimpse_env.datasets.decode import read_image
from glimpse_env.datasets.user_files import find_files, read_like
from glimpse_env.evaluation import predictor, stopping_rules, trajectories
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.networks.double_decker import DeckSizes, DoubleDecker
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.rendering import frames
from glimpse_env.runtime import checkpoint
from glimpse_env.sensors import BankSensor, OnGrid
from glimpse_env.training import environments

SMALL = {
    "epochs": 3,
    "batch": 8,
    "hidden": 16,
    "features": 8,
    "threads": 1,
    "glimpses": 3,
    "precision": "float32",
    "augment": False,
}
CORNERS = ("left", "right")


@pytest.fixture(scope="module")
def pictures(halves):
    return Path(halves((16, 9), (40, 32)))


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """The folder of a small DT-RAM."""
    out = tmp_path_factory.mktemp("run")
    options = StopOptions(
        dataset=str(pictures), image_size=32, glimpse_size=8, out=out, stop_epochs=1, **SMALL
    )
    argv, sys.argv = sys.argv, ["agent.py"]
    dtram_reinforce.main(options)
    saved = checkpoint.load(out / "checkpoint.pt")
    network = saved["network"]
    network["classifier.weight"] *= 10  # opinions
    for name in ("stopper.0.weight", "stopper.0.bias", "stopper.2.weight", "stopper.2.bias"):
        network[name].zero_()
    network["stopper.0.weight"][0, 0], network["stopper.2.weight"][0, 0] = (
        0.3,
        5.0,
    )  # stops where the log-odds of the answer are high
    checkpoint.save(out / "checkpoint.pt", saved)
    usual = predict.results.evaluate_checkpoint(out / "checkpoint.pt", "test")[2].stop[0].median().logit()
    network["stopper.2.bias"] -= usual  # half of the images at once
    checkpoint.save(out / "checkpoint.pt", saved)
    predict.results.write(out / "checkpoint.pt")
    sys.argv = argv
    return out


@pytest.fixture
def told(trained, tmp_path, monkeypatch):
    """Run the script and return what it wrote as JSON."""
    monkeypatch.setattr(sys, "argv", ["predict.py"])

    def call(*images, **options):
        given = {
            "checkpoint": trained / "checkpoint.pt",
            "json": tmp_path / "told.json",
            "out": tmp_path / "drawn",
            "threads": 1,
        }
        predict.main(predict.Predict(images=images, **given | options))
        return json.loads((tmp_path / "told.json").read_text())

    return call


def test_files_are_predicted_as_in_evaluation(pictures, trained, told, tmp_path, capsys):
    rows = told(pictures / "test", csv=tmp_path / "told.csv")["images"]
    looks = Trajectories.load(trained / "looks.npz")
    when = stopping_rules.LEARNED.find_stops(looks)
    paths = []
    for name in CORNERS:  # the order of the data set
        paths += sorted(str(path) for path in (pictures / "test" / name).iterdir())
    order = [paths.index(row["file"]) for row in rows]
    assert sorted(order) == list(range(18))
    for row, image in zip(rows, order, strict=True):
        step = int(when[image])
        assert row["glimpses"] == step + 1 == len(row["locations"])
        assert row["class"] == CORNERS[looks.predictions[step, image]]
        assert row["probability"] == pytest.approx(looks.confidence[step, image].item(), abs=1e-5)
    assert len({row["glimpses"] for row in rows}) > 1
    assert len({row["picture"] for row in rows}) == 18  # files of one name in two folders
    for row in rows:
        with Image.open(row["picture"]) as drawn:
            assert min(drawn.size) >= frames.HEIGHT
    with (tmp_path / "told.csv").open() as file:
        assert [line["class"] for line in csv.DictReader(file)] == [row["class"] for row in rows]
    assert "18 images" in capsys.readouterr().out


def test_images_that_stopped_take_no_more_glimpses(pictures, trained, told, monkeypatch):
    real, seen = PixelSensor.observe, []

    def counted(self, index, location, step):
        seen.append(len(index))
        return real(self, index, location, step)

    monkeypatch.setattr(PixelSensor, "observe", counted)
    rows = told(pictures / "test", pictures=False)["images"]
    assert sum(seen) == sum(row["glimpses"] for row in rows)


def test_a_budget_is_spent_on_the_held_out_images(pictures, trained, told):
    found = told(pictures / "test", pictures=False, budget=2.0)
    assert found["expected_glimpses"] == pytest.approx(
        2.0, abs=1 / 6
    )  # the evaluation beside the checkpoint is of these 18 images
    assert np.mean([row["glimpses"] for row in found["images"]]) == pytest.approx(found["expected_glimpses"])
    with pytest.raises(ValueError, match=r"--budget 3.5: this agent takes 1.00 to 3.00 glimpses"):
        told(pictures / "test", budget=3.5)


def test_digits_are_read_as_mnist_has_them_light_or_dark(tmp_path):
    digits = datasets.load("mnist", "test")
    for number in range(5):
        digit = digits.images[number, 0].numpy()
        for name, image in {
            "grey": Image.fromarray(digit),
            "paper": Image.fromarray(255 - digit),
            "palette": Image.fromarray(digit).convert("P"),
            "colour": Image.fromarray(digit).convert("RGB"),
        }.items():
            image.save(tmp_path / f"{name}.png")
            assert torch.equal(read_like("mnist", tmp_path / f"{name}.png", 28), digits.images[number]), name
        Image.fromarray(digit).convert("CMYK").save(tmp_path / "print.tiff")
        assert (
            read_like("mnist", tmp_path / "print.tiff", 28).int() - digits.images[number].int()
        ).abs().max() <= 1


def test_photographs_are_resized_as_their_data_set_resizes_its_own(pictures, tmp_path):
    whole = datasets.load(str(pictures), "test", image_size=24)
    for path, image in zip(sorted((pictures / "test" / "left").iterdir()), whole.images, strict=False):
        assert torch.equal(read_like(str(pictures), path, 24), image)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.open(path).convert("L").save(tmp_path / "turned.jpg", exif=exif)
    assert torch.equal(
        read_like("cub", tmp_path / "turned.jpg", 24), read_image(tmp_path / "turned.jpg", 24, "stretch")[0]
    )
    assert read_like("clutter", tmp_path / "turned.jpg", None).shape == (1, 96, 96)


def test_folders_are_searched_and_what_is_no_image_is_named(pictures, told, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    (mixed / "deep" / ".hidden").mkdir(parents=True)
    Image.new("L", (50, 70)).save(mixed / "deep" / "a.gif")
    Image.new("CMYK", (70, 50)).save(mixed / "b.tiff")
    Image.new("RGB", (9, 9)).save(mixed / "deep" / ".hidden" / "c.png")
    (mixed / "notes.txt").write_text("no image")
    for again in range(2):  # pictures drawn into the folder are not looked at the next time
        rows = told(mixed, out=mixed / "drawn")["images"]
        assert [row["file"] for row in rows] == [str(mixed / "b.tiff"), str(mixed / "deep" / "a.gif")], again
    assert "skipped:" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"notes\.txt cannot be read as an image"):
        told(mixed / "notes.txt")
    with pytest.raises(ValueError, match="none of the files is an image"):
        (tmp_path / "texts").mkdir()
        (tmp_path / "texts" / "a.txt").write_text("")
        told(tmp_path / "texts")


def test_each_file_counts_once_and_missing_ones_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    files, listed = find_files([tmp_path / "in", tmp_path / "in" / "a.png"])
    assert (files, listed) == (
        [tmp_path / "in" / "a.png"],
        set(),
    )  # it was given by name, so it must be an image
    with pytest.raises(
        FileNotFoundError, match="nowhere does not exist: expected an image file, or a folder"
    ):
        find_files([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no files"):
        find_files([tmp_path / "empty"])


def test_the_data_set_need_not_be_there_but_for_the_class_names_of_older_checkpoints(
    pictures, trained, tmp_path
):
    saved = checkpoint.load(trained / "checkpoint.pt")
    gone = saved | {"environment": saved["environment"] | {"dataset": str(tmp_path / "gone")}}
    assert predictor.read_class_names(gone, trained, None) == CORNERS
    older = {name: value for name, value in saved.items() if name != "classes"}
    assert predictor.read_class_names(older, trained, None) == CORNERS
    with pytest.raises(
        ValueError,
        match="was written by an earlier version, without the class names, and its data set cannot be read",
    ):
        predictor.read_class_names(
            {name: value for name, value in gone.items() if name != "classes"}, trained, None
        )


@pytest.mark.parametrize("sensor", ["crop", "map", "bank"])
def test_sensors_with_networks_see_unnamed_images_as_in_evaluation(pictures, tmp_path, sensor):
    look = {
        "dataset": str(pictures),
        "root": None,
        "image_size": 32,
        "glimpse_size": 32,
        "sensor": sensor,
        "grid": 3,
        "max_glimpses": 3,
    }
    look |= {"backbone": "resnet18", "weights": None, "location_range": 0.5}
    env = environments.build_evaluation_environment(look, "test", "cpu", rows=18)
    torch.manual_seed(0)
    network = RecurrentAttention(Architecture(glimpse=512, classes=2, horizon=3, hidden=8, features=8))
    torch.nn.init.normal_(network.locator.weight)  # glimpses all over the image
    expected = trajectories.evaluate(env, network, 3)
    saved = {
        "environment": look,
        "architecture": asdict(network.architecture),
        "network": network.state_dict(),
        "options": {},
    }
    agent = predictor.load_predictor(
        saved | {"classes": CORNERS}, tmp_path, stopping_rules.HORIZON, None, None, "cpu"
    )
    found = agent([env.images.image(number) for number in range(18)])
    assert [prediction.index for prediction in found] == expected.predictions[-1].tolist()
    path = torch.stack([torch.from_numpy(prediction.view.path) for prediction in found], 1)
    assert torch.allclose(path, expected.locations * env.sensor.reach, atol=1e-2)
    assert torch.allclose(torch.tensor([p.probability for p in found]), expected.confidence[-1], atol=1e-2)
    stopped = predictor.load_predictor(
        saved | {"classes": CORNERS}, tmp_path, stopping_rules.Rule("confidence", 0.0), None, None, "cpu"
    )
    assert [prediction.glimpses for prediction in stopped([env.images.image(0)])] == [1]


@pytest.mark.parametrize("sensor", ["pixel", "bank"])
def test_an_agent_that_begins_with_a_context_sees_unnamed_images_as_in_evaluation(pictures, tmp_path, sensor):
    look = {
        "dataset": str(pictures),
        "root": None,
        "image_size": 32,
        "glimpse_size": 16,
        "sensor": sensor,
        "grid": 3,
        "max_glimpses": 2,
    }
    look |= {
        "first_view": "glimpse",
        "context": True,
        "scales": (1.0, 2.0),
        "fill": "noise",
        "location_range": 0.5,
    }
    look |= (
        {"backbone": None, "weights": "DEFAULT"}
        if sensor == "pixel"
        else {"backbone": "resnet18", "weights": None}
    )
    env = environments.build_evaluation_environment(look, "test", "cpu", rows=18)
    torch.manual_seed(0)
    network = DoubleDecker(
        DeckSizes(glimpse=environments.count_glimpse_values(env), classes=2, scales=2, hidden=8)
    )
    torch.nn.init.normal_(network.locator.weight)  # glimpses all over the image
    expected = trajectories.evaluate(env, network, 2)
    saved = {
        "environment": look,
        "architecture": asdict(network.architecture),
        "network": network.state_dict(),
        "options": {},
    }
    saved |= {"network_name": "double_decker", "classes": CORNERS}
    agent = predictor.load_predictor(saved, tmp_path, stopping_rules.HORIZON, None, None, "cpu")
    found = agent([env.images.image(number) for number in range(18)])
    assert expected.locations[0].std() > 0.01  # chosen, image by image
    path = torch.stack([torch.from_numpy(prediction.view.path) for prediction in found], 1)
    assert torch.allclose(path, expected.locations * env.sensor.reach, atol=1e-2)
    assert torch.allclose(torch.tensor([p.probability for p in found]), expected.confidence[-1], atol=1e-2)


def test_on_the_grid_the_crop_sensor_shows_what_the_bank_holds():
    images = datasets.ImageSet(
        torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), torch.zeros(4).long(), ("a",)
    )
    network = Backbone("resnet18", None, precision="float32")
    crop, bank = (
        CropSensor(images, network, glimpse_size=16),
        BankSensor(images, network, glimpse_size=16, grid=3),
    )
    index, places, step = torch.arange(4), torch.rand(4, 2) * 2 - 1, torch.tensor([1, 2, 2, 3])
    ours, theirs = OnGrid(crop, 3).observe(index, places, step), bank.observe(index, places, step)
    assert torch.equal(ours["location"], theirs["location"])
    assert torch.allclose(ours["glimpse"], theirs["glimpse"], rtol=2e-3, atol=2e-3)  # the bank holds float16
