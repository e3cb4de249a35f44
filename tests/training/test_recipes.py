"""Recipes of data sets without a name: by what their images are, told in the first log line."""

from __future__ import annotations

import logging
import shlex

import dtram_reinforce
import fcan_greedy
import finetune_backbone
import pytest
import ram_reinforce
import sermanet_rnn
from PIL import Image

from glimpse_env.training.command_line import choose_recipe, parse
from glimpse_env.training.options import check_backbone

SCRIPTS = {
    "ram": (ram_reinforce, ram_reinforce.Options),
    "dtram": (dtram_reinforce, dtram_reinforce.StopOptions),
    "sermanet": (sermanet_rnn, sermanet_rnn.SermanetOptions),
}


@pytest.fixture
def folders(tmp_path):
    """Return a function: a folder of images of that width, in colour."""

    def make(width: int) -> str:
        for part in "ab":
            path = tmp_path / f"images{width}" / part / "1.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (width, 20)).save(path)
        return str(tmp_path / f"images{width}")

    return make


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("width", "like"), [(200, "cub"), (30, "mnist")])
def test_a_folder_gets_the_recipe_of_its_images(folders, script, width, like):
    module, kind = SCRIPTS[script]
    given = [choose_recipe(kind, {}, module.DATASETS, ["--dataset", name]) for name in (folders(width), like)]
    assert given[0] == given[1]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("width", [200, 30])
def test_the_log_tells_options_that_say_the_same(folders, caplog, script, width):
    """Parsed without any recipe, the options in the log give the options of the run."""
    module, kind = SCRIPTS[script]
    folder = folders(width)
    caplog.set_level(logging.INFO, "glimpse_env")
    options = parse(kind, module.RECIPES, module.DATASETS, "", ["--dataset", folder])
    (line,) = caplog.messages
    called = "photographs" if width == 200 else "small images"
    assert line.startswith(f"{folder}: the recipe of {called}, since its first image, {folder}/a/1.png,")
    assert f"has {width} x 20 pixels and 3 channels; as options: " in line
    told = shlex.split(line.partition("as options: ")[2])
    repeated = parse(kind, {}, {}, "", ["--dataset", folder, *told])
    preset = {"image_size", "glimpse_size", "glimpses", "sensor", "backbone"}
    for name, value in vars(options).items():
        assert getattr(repeated, name) == value or (value is None and name in preset)
    if width == 200:
        sensor = "bank" if script == "sermanet" else "crop"
        assert (repeated.backbone, repeated.image_size, repeated.sensor) == ("resnet50", 512, sensor)


@pytest.mark.parametrize(
    ("module", "kind", "told"),
    [
        (finetune_backbone, finetune_backbone.FinetuneOptions, "--backbone resnet50 --view-size 224"),
        (fcan_greedy, fcan_greedy.FcanOptions, "--backbone resnet50 --crop-size 224"),
    ],
)
def test_scripts_without_a_recipe_tell_the_preset(folders, caplog, module, kind, told):
    caplog.set_level(logging.INFO, "glimpse_env")
    parse(kind, module.RECIPES, getattr(module, "DATASETS", {}), "", ["--dataset", folders(200)])
    assert caplog.text.strip().endswith(f"--image-size 512 {told}")


def test_named_and_missing_data_sets_tell_nothing(tmp_path, caplog):
    caplog.set_level(logging.INFO, "glimpse_env")
    for name in ("mnist", "cub", str(tmp_path / "none")):
        parse(ram_reinforce.Options, ram_reinforce.RECIPES, ram_reinforce.DATASETS, "", ["--dataset", name])
    assert not caplog.messages


def test_a_relative_folder_in_root_is_found(folders, tmp_path):
    folders(200)
    given = ["--dataset", "images200", "--root", str(tmp_path)]
    assert choose_recipe(ram_reinforce.Options, {}, ram_reinforce.DATASETS, given)["dropout"] == 0.5
    options = ram_reinforce.Options(dataset="images200", root=tmp_path, train_backbone=True)
    with pytest.raises(ValueError, match="use --sensor pixel, got crop"):
        check_backbone(options)


def test_the_papers_settings_are_for_named_data_sets(folders):
    with pytest.raises(SystemExit, match=r"--paper is not available for --dataset .*images200"):
        parse(ram_reinforce.Options, ram_reinforce.RECIPES, {}, "", ["--dataset", folders(200), "--paper"])
