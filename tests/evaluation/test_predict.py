"""A trained agent on a user's files: pixels, glimpses and predictions as in evaluation, no file left out."""

import csv
import io
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import dtram_reinforce
import numpy as np
import pytest
import torch
from dtram_reinforce import StopOptions
from PIL import Image

from glimpse_env import Backbone, CropSensor, PixelSensor, datasets
from glimpse_env.commands import predict
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

SMALL = {"epochs": 3, "batch": 8, "hidden": 16, "features": 8, "threads": 1, "glimpses": 3}
SMALL |= {"precision": "float32", "augment": False, "image_size": 32, "glimpse_size": 8, "stop_epochs": 1}
CORNERS = ("left", "right")


@pytest.fixture(scope="module")
def pictures(halves):
    return Path(halves((16, 9), (40, 32)))


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """The folder of a small DT-RAM."""
    out = tmp_path_factory.mktemp("run")
    options = StopOptions(dataset=str(pictures), out=out, **SMALL)
    argv, sys.argv = sys.argv, ["agent.py"]
    dtram_reinforce.main(options)
    saved = checkpoint.load(out / "checkpoint.pt")
    network = saved["network"]
    network["classifier.weight"] *= 10  # opinions
    for name in ("stopper.0.weight", "stopper.0.bias", "stopper.2.weight", "stopper.2.bias"):
        network[name].zero_()
    network["stopper.0.weight"][0, 0] = 0.3  # stops where the log-odds of the prediction are high
    network["stopper.2.weight"][0, 0] = 5.0
    checkpoint.save(out / "checkpoint.pt", saved)
    usual = predict.results.evaluate_checkpoint(out / "checkpoint.pt", "test")[2].stop[0].median().logit()
    network["stopper.2.bias"] -= usual  # half of the images at once
    checkpoint.save(out / "checkpoint.pt", saved)
    predict.results.write(out / "checkpoint.pt")
    sys.argv = argv
    return out


@pytest.fixture
def run_predict(trained, tmp_path, monkeypatch):
    """Run the script and return what it wrote as JSON."""
    monkeypatch.setattr(sys, "argv", ["predict.py"])

    def call(*images, **options):
        target = tmp_path / "predictions.json"
        paths = {"checkpoint": trained / "checkpoint.pt", "json": target, "out": tmp_path / "drawn"}
        predict.main(predict.Predict(images=images, threads=1, **paths | options))
        return json.loads(target.read_text())

    return call


def test_files_are_predicted_as_in_evaluation(pictures, trained, run_predict, tmp_path, capsys):
    rows = run_predict(pictures / "test", csv=tmp_path / "predictions.csv")["images"]
    evaluated = Trajectories.load(trained / "looks.npz")
    when = stopping_rules.LEARNED.find_stops(evaluated)
    paths = []
    for name in CORNERS:  # the order of the data set
        paths += sorted(str(path) for path in (pictures / "test" / name).iterdir())
    order = [paths.index(row["file"]) for row in rows]
    assert sorted(order) == list(range(18))
    for row, image in zip(rows, order, strict=True):
        step = int(when[image])
        assert row["glimpses"] == step + 1 == len(row["locations"])
        assert row["class"] == CORNERS[evaluated.predictions[step, image]]
        assert row["probability"] == pytest.approx(evaluated.confidence[step, image].item(), abs=1e-5)
    assert len({row["glimpses"] for row in rows}) > 1
    assert len({row["picture"] for row in rows}) == 18  # files of one name in two folders
    for row in rows:
        with Image.open(row["picture"]) as drawn:
            assert min(drawn.size) >= frames.HEIGHT
    with (tmp_path / "predictions.csv").open() as file:
        assert [line["class"] for line in csv.DictReader(file)] == [row["class"] for row in rows]
    assert "18 images" in capsys.readouterr().out


def test_images_that_stopped_take_no_more_glimpses(pictures, trained, run_predict, monkeypatch):
    real, seen = PixelSensor.observe, []

    def counted(self, index, location, step):
        seen.append(len(index))
        return real(self, index, location, step)

    monkeypatch.setattr(PixelSensor, "observe", counted)
    rows = run_predict(pictures / "test", pictures=False)["images"]
    assert sum(seen) == sum(row["glimpses"] for row in rows)


def test_a_budget_is_spent_on_the_held_out_images(pictures, trained, run_predict):
    found = run_predict(pictures / "test", pictures=False, budget=2.0)
    # The evaluation beside the checkpoint is of these 18 images.
    assert found["expected_glimpses"] == pytest.approx(2.0, abs=1 / 6)
    assert np.mean([row["glimpses"] for row in found["images"]]) == pytest.approx(found["expected_glimpses"])
    with pytest.raises(ValueError, match=r"--budget 3.5: this agent takes 1.00 to 3.00 glimpses"):
        run_predict(pictures / "test", budget=3.5)


def test_digits_are_read_as_mnist_has_them_light_or_dark(tmp_path):
    digits = datasets.load("mnist", "test")
    for number in range(5):
        digit = digits.images[number, 0].numpy()
        images = {"grey": Image.fromarray(digit), "paper": Image.fromarray(255 - digit)}
        images |= {"palette": images["grey"].convert("P"), "colour": images["grey"].convert("RGB")}
        for name, image in images.items():
            image.save(tmp_path / f"{name}.png")
            assert torch.equal(read_like("mnist", tmp_path / f"{name}.png", 28), digits.images[number]), name
        Image.fromarray(digit).convert("CMYK").save(tmp_path / "print.tiff")
        printed = read_like("mnist", tmp_path / "print.tiff", 28)
        assert (printed.int() - digits.images[number].int()).abs().max() <= 1


def test_photographs_are_resized_as_their_data_set_resizes_its_own(pictures, tmp_path):
    whole = datasets.load(str(pictures), "test", image_size=24)
    for path, image in zip(sorted((pictures / "test" / "left").iterdir()), whole.images, strict=False):
        assert torch.equal(read_like(str(pictures), path, 24), image)
    exif, turned = Image.Exif(), tmp_path / "turned.jpg"
    exif[0x0112] = 6  # turned by a quarter
    Image.open(path).convert("L").save(turned, exif=exif)
    assert torch.equal(read_like("cub", turned, 24), read_image(turned, 24, "stretch")[0])
    assert read_like("clutter", turned, None).shape == (1, 96, 96)


def test_folders_are_searched_and_what_is_no_image_is_named(pictures, run_predict, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    (mixed / "deep" / ".hidden").mkdir(parents=True)
    Image.new("L", (50, 70)).save(mixed / "deep" / "a.gif")
    Image.new("CMYK", (70, 50)).save(mixed / "b.tiff")
    Image.new("RGB", (9, 9)).save(mixed / "deep" / ".hidden" / "c.png")
    (mixed / "notes.txt").write_text("no image")
    for again in range(2):  # pictures drawn into the folder are not read the next time
        rows = run_predict(mixed, out=mixed / "drawn")["images"]
        assert [row["file"] for row in rows] == [str(mixed / "b.tiff"), str(mixed / "deep" / "a.gif")], again
    assert "skipped:" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"notes\.txt cannot be read as an image"):
        run_predict(mixed / "notes.txt")
    with pytest.raises(ValueError, match="none of the files is an image"):
        (tmp_path / "texts").mkdir()
        (tmp_path / "texts" / "a.txt").write_text("")
        run_predict(tmp_path / "texts")


def test_named_files_that_cannot_be_read_leave_the_predictions_of_all_others(
    pictures, trained, tmp_path, run_predict, capsys
):
    good = sorted((pictures / "test" / "left").iterdir())[:3]
    bad = [tmp_path / "half.png", tmp_path / "empty.jpg", tmp_path / "words.txt"]
    missing, dangling = tmp_path / "none.png", tmp_path / "link.png"
    dangling.symlink_to("nowhere")
    bad[0].write_bytes(good[0].read_bytes()[:60])
    bad[1].write_bytes(b"")
    bad[2].write_text("no picture")
    expected = run_predict(*good, pictures=False)["images"]
    for named, message in (
        (bad[1:2], r"empty\.jpg cannot be read as an image"),
        (bad, r"half\.png .* and 2 more"),
        ([missing, dangling], r"none\.png does not exist.* and 1 more"),
    ):
        table, output = tmp_path / f"{len(named)}.csv", tmp_path / f"{len(named)}.json"
        mixed = [good[0], *named, *good[1:]]
        with pytest.raises(ValueError, match=f"{message}.*; the other 3 images are predicted"):
            run_predict(*mixed, csv=table, json=output, pictures=False)
        assert json.loads(output.read_text())["images"] == expected
        with table.open() as file:
            assert [row["file"] for row in csv.DictReader(file)] == [str(path) for path in good]
    assert capsys.readouterr().err.count("skipped:") == 6


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", [b"caf\xe9.png", b"\xff\xfe.png", "ä 日本.png".encode(), b"a\nb\x80.png"])
def test_file_names_need_not_be_utf_8(pictures, tmp_path, run_predict, name, monkeypatch):
    file = tmp_path / "images" / os.fsdecode(name)
    file.parent.mkdir()
    file.write_bytes((pictures / "test" / "left" / "0.png").read_bytes())
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    rows = run_predict(file, csv=tmp_path / "table.csv")["images"]
    assert [os.fsencode(row["file"]) for row in rows] == [os.fsencode(file)]
    assert Path(rows[0]["picture"]).is_file()
    with (tmp_path / "table.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as table:
        assert [row["file"] for row in csv.DictReader(table)] == [str(file)]
    assert name in (tmp_path / "table.csv").read_bytes()
    terminal.flush()
    assert b"1 image, " in terminal.buffer.getvalue()


def test_outputs_that_cannot_be_written_are_refused_before_any_image_is_read(
    pictures, tmp_path, run_predict, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(predict, "read_images", lambda *_: pytest.fail("an image was read"))
    cases = {
        "json": tmp_path / "file" / "a.json",
        "csv": tmp_path / "file" / "b" / "a.csv",
        "out": tmp_path / "file",
    }
    for option, target in cases.items():
        with pytest.raises(
            OSError, match=f"cannot be written .*{tmp_path}/file is a file where a folder is needed"
        ):
            run_predict(pictures / "test", **{option: target})
    with pytest.raises(OSError, match=f"{tmp_path} is a folder where a file is needed"):
        run_predict(pictures / "test", csv=tmp_path)
    image, table = next((pictures / "test" / "left").iterdir()), tmp_path / "table"
    content = image.read_bytes()
    with pytest.raises(ValueError, match=r"is one of the images"):
        run_predict(pictures / "test", csv=image)
    assert image.read_bytes() == content
    with pytest.raises(ValueError, match=r"these are one file"):
        run_predict(pictures / "test", csv=table, json=table)
    for budget in (float("nan"), 0.5):
        with pytest.raises(ValueError, match=rf"--budget={budget}: expected a number in \[1, inf\)"):
            run_predict(pictures / "test", budget=budget)


def test_each_file_counts_once_and_missing_ones_are_refused(tmp_path):
    file = tmp_path / "in" / "a.png"
    file.parent.mkdir()
    file.write_bytes(b"")
    assert find_files([file.parent, file]) == ([file], set())  # it was given by name, so it must be an image
    message = "nowhere does not exist: expected an image file, or a folder"
    with pytest.raises(FileNotFoundError, match=message):
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
    del gone["classes"]
    message = "was written by an earlier version, without the class names, and its data set cannot be read"
    with pytest.raises(ValueError, match=message):
        predictor.read_class_names(gone, trained, None)


def predict_and_compare(view, network, source, name=None):
    """Predict the test images without labels; the path and the probabilities are those of an evaluation.

    Return the environment, a function that loads the predictor with a rule, the predictions and the
    trajectories.
    """
    env = environments.build_evaluation_environment(view, "test", "cpu", rows=18)
    torch.nn.init.normal_(network.locator.weight)  # glimpses all over the image
    expected = trajectories.evaluate(env, network, view["max_glimpses"])
    saved = {"environment": view, "architecture": asdict(network.architecture), "options": {}}
    saved |= {"network": network.state_dict(), "classes": CORNERS} | ({"network_name": name} if name else {})

    def load(rule):
        return predictor.load_predictor(saved, source, rule, None, None, "cpu")

    predictions = load(stopping_rules.HORIZON)([env.images.image(number) for number in range(18)])
    path = torch.stack([torch.from_numpy(prediction.view.path) for prediction in predictions], 1)
    probabilities = torch.tensor([prediction.probability for prediction in predictions])
    assert torch.allclose(path, expected.locations * env.sensor.reach, atol=1e-2)
    assert torch.allclose(probabilities, expected.confidence[-1], atol=1e-2)
    return env, load, predictions, expected


@pytest.mark.parametrize("sensor", ["crop", "map", "bank"])
def test_sensors_with_networks_see_unnamed_images_as_in_evaluation(pictures, tmp_path, sensor):
    view = {"dataset": str(pictures), "root": None, "image_size": 32, "glimpse_size": 32, "sensor": sensor}
    view |= {"grid": 3, "max_glimpses": 3, "backbone": "resnet18", "weights": None, "location_range": 0.5}
    torch.manual_seed(0)
    network = RecurrentAttention(Architecture(glimpse=512, classes=2, horizon=3, hidden=8, features=8))
    env, load, predictions, expected = predict_and_compare(view, network, tmp_path)
    assert [prediction.index for prediction in predictions] == expected.predictions[-1].tolist()
    stopped = load(stopping_rules.Rule("confidence", 0.0))
    assert [prediction.glimpses for prediction in stopped([env.images.image(0)])] == [1]


@pytest.mark.parametrize("sensor", ["pixel", "bank"])
def test_an_agent_that_begins_with_a_context_sees_unnamed_images_as_in_evaluation(pictures, tmp_path, sensor):
    view = {"dataset": str(pictures), "root": None, "image_size": 32, "glimpse_size": 16, "sensor": sensor}
    view |= {"grid": 3, "max_glimpses": 2, "first_view": "glimpse", "context": True, "scales": (1.0, 2.0)}
    view |= {"fill": "noise", "location_range": 0.5, "backbone": None, "weights": "DEFAULT"}
    if sensor == "bank":
        view |= {"backbone": "resnet18", "weights": None}
    env = environments.build_evaluation_environment(view, "test", "cpu", rows=18)
    torch.manual_seed(0)
    glimpse = environments.count_glimpse_values(env)
    network = DoubleDecker(DeckSizes(glimpse=glimpse, classes=2, scales=2, hidden=8))
    *_, expected = predict_and_compare(view, network, tmp_path, "double_decker")
    assert expected.locations[0].std() > 0.01  # chosen, image by image


def test_on_the_grid_the_crop_sensor_shows_what_the_bank_holds():
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    images = datasets.ImageSet(pixels, torch.zeros(4).long(), ("a",))
    network = Backbone("resnet18", None, precision="float32")
    crop = OnGrid(CropSensor(images, network, glimpse_size=16), 3)
    bank = BankSensor(images, network, glimpse_size=16, grid=3)
    index, locations, step = torch.arange(4), torch.rand(4, 2) * 2 - 1, torch.tensor([1, 2, 2, 3])
    ours, theirs = crop.observe(index, locations, step), bank.observe(index, locations, step)
    assert torch.equal(ours["location"], theirs["location"])
    assert torch.allclose(ours["glimpse"], theirs["glimpse"], rtol=2e-3, atol=2e-3)  # the bank holds float16
