"""Sermanet's agent: resolutions as windows, whole runs on a small folder of pictures, and what it refuses."""

import json
import sys

import pytest
import sermanet_rnn
import torch
from PIL import Image
from sermanet_rnn import DATASETS, RECIPES, SermanetOptions, add_scales

from glimpse_env.networks.double_decker import DoubleDecker
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training.command_line import parse

SMALL = {
    "image_size": 32,
    "epochs": 2,
    "batch": 16,
    "hidden": 16,
    "features": 8,
    "encoder_layers": 1,
    "threads": 1,
    "precision": "float32",
}


@pytest.fixture(scope="module")
def pictures(halves):
    return halves((24, 10))


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sermanet_rnn.py"])


@pytest.mark.parametrize(
    ("given", "windows"),
    [
        ({"dataset": "mnist"}, (7, 14, 28)),
        ({"dataset": "cub", "glimpse_size": 96}, (128, 256, 512)),
        (
            {"dataset": "cub", "glimpse_size": 96, "image_size": 384, "resolutions": ("high", "low")},
            (96, 384),
        ),
        (
            {"dataset": "clutter", "resolutions": ("low", "high")},
            (24, 96),
        ),  # in the papers' order whatever was given
    ],
)
def test_resolutions_are_shares_of_the_side(given, windows):
    options = add_scales(SermanetOptions(**given))
    assert tuple(round(scale * options.glimpse_size) for scale in options.scales) == windows


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"resolutions": ()},
            r"--resolutions \(none\): expected at least one of high, medium, low, each once",
        ),
        (
            {"resolutions": ("high", "huge")},
            "--resolutions high huge: expected at least one of high, medium, low",
        ),
        ({"resolutions": ("low", "low")}, "--resolutions low low: .* each once"),
        ({"scales": (1.0, 2.0)}, "--scales 1.0 2.0: the widths follow from --resolutions"),
        ({"first_view": "image"}, "--first-view image: this agent chooses the location of glimpse 1"),
    ],
)
def test_a_bad_fovea_is_refused_in_one_sentence(given, message):
    with pytest.raises(SystemExit, match=message):
        sermanet_rnn.main(SermanetOptions(**given))


def test_more_glimpses_than_the_grid_has_cells_are_refused():
    options = SermanetOptions(
        dataset="mnist", sensor="bank", backbone="resnet18", weights=None, grid=1, glimpses=3
    )
    with pytest.raises(
        SystemExit,
        match="max_glimpses=3: sensor='bank' with grid=1 has 1 views of an image; expected at most as many",
    ):
        sermanet_rnn.main(options)


def test_layers_of_its_own_are_for_pixels(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path))
    options = SermanetOptions(
        dataset=pictures,
        sensor="bank",
        backbone="resnet18",
        weights=None,
        grid=2,
        resolutions=("low",),
        **SMALL,
    )
    with pytest.raises(
        SystemExit, match="--encoder-layers 1: BankSensor shows the features of a frozen network; expected 0"
    ):
        sermanet_rnn.main(options)


def test_templates_are_for_pixels_too(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path))
    given = {"dataset": pictures, "sensor": "bank", "backbone": "resnet18", "weights": None, "grid": 2}
    given |= SMALL | {"resolutions": ("low",), "encoder_layers": 0, "glimpse_encoder": "templates"}
    with pytest.raises(SystemExit, match=r"--glimpse-encoder templates: BankSensor shows .* expected mlp"):
        sermanet_rnn.main(SermanetOptions(**given))


def test_templates_have_the_size_of_the_pattern_in_every_patch(pictures, tmp_path):
    given = SMALL | {"dataset": pictures, "out": tmp_path, "glimpse_encoder": "templates", "template": 4}
    given |= {"location_policy": "grid_softmax", "grid": 3, "glimpse_size": 16, "epochs": 1}
    sermanet_rnn.main(SermanetOptions(**given))
    saved = checkpoint.load(tmp_path / "checkpoint.pt")
    sizes = saved["architecture"]
    assert (sizes["templates"], sizes["channels"]) == ((8, 4, 2, 2), 3)


@pytest.mark.parametrize("recipe", [*DATASETS.values(), *RECIPES["paper"].values()])
def test_recipes_name_options_only(recipe):
    assert SermanetOptions(**recipe)


def test_the_command_line_chooses_resolutions_and_recipes(capsys):
    words = ["--dataset", "dogs", "--paper", "--resolutions", "high", "low"]
    options = parse(SermanetOptions, RECIPES, DATASETS, "", words)
    assert (options.resolutions, options.hidden, options.backbone, options.glimpse_size) == (
        ("high", "low"),
        4096,
        "googlenet",
        96,
    )
    assert parse(SermanetOptions, RECIPES, DATASETS, "", ["--resolutions"]).resolutions == ()
    with pytest.raises(SystemExit):
        parse(SermanetOptions, RECIPES, DATASETS, "", ["--resolutions", "huge"])
    assert "high" in capsys.readouterr().err
    with pytest.raises(
        SystemExit, match="--paper is not available for --dataset mnist \\(available: cub, cars, dogs\\)"
    ):
        parse(SermanetOptions, RECIPES, DATASETS, "", ["--paper"])


def test_the_papers_settings_train(pictures, tmp_path):
    small = {"backbone": "resnet18", "weights": None, "image_size": 32, "glimpse_size": 8, "glimpses": 2}
    small |= {"dataset": pictures, "out": tmp_path, "hidden": 16, "epochs": 1, "batch": 16, "threads": 1}
    row = sermanet_rnn.main(SermanetOptions(**RECIPES["paper"]["dogs"] | small | {"precision": "float32"}))
    assert (row["split"], row["mean_glimpses"]) == ("test", 2)
    assert checkpoint.load(tmp_path / "checkpoint.pt")["environment"]["sensor"] == "crop"


@pytest.mark.usefixtures("with_figures")
def test_a_run_leaves_its_results_and_composites_and_is_evaluated_from_its_checkpoint(pictures, tmp_path):
    row = sermanet_rnn.main(SermanetOptions(dataset=pictures, out=tmp_path, **SMALL))
    assert (row["agent"], row["images"], row["mean_glimpses"]) == ("sermanet_rnn", 20, 3)
    with Image.open(tmp_path / "foveal_composites.png") as drawn:
        assert drawn.size[0] > 400
    saved = checkpoint.load(tmp_path / "checkpoint.pt")
    assert (saved["network_name"], saved["environment"]["context"], saved["environment"]["fill"]) == (
        "double_decker",
        True,
        "noise",
    )
    before = json.loads((tmp_path / "result.json").read_text())
    assert results.write(tmp_path / "checkpoint.pt")["accuracy"] == before["accuracy"] == row["accuracy"]


def test_resume_continues_the_same_run(pictures, tmp_path, interrupt):
    whole, broken = (
        SermanetOptions(dataset=pictures, out=tmp_path / name, resolutions=("high",), **SMALL)
        for name in ("whole", "broken")
    )
    sermanet_rnn.main(whole)
    interrupt(2)
    with pytest.raises(SystemExit) as stop:
        sermanet_rnn.main(broken)
    interrupt(0)
    assert stop.value.code == 130
    sermanet_rnn.main(SermanetOptions(**{**broken.__dict__, "resume": True}))
    first, second = (checkpoint.load(options.out / "checkpoint.pt")["network"] for options in (whole, broken))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_it_learns_from_telling_patches(pictures, tmp_path):
    options = SermanetOptions(
        dataset=pictures, out=tmp_path, **(SMALL | {"epochs": 12}), split="train", augment=False
    )
    assert sermanet_rnn.main(options)["accuracy"] >= 0.9
    saved = checkpoint.load(tmp_path / "checkpoint.pt")
    assert isinstance(results.registry.rebuild(saved), DoubleDecker)
