"""Agents on a data set without a name find the weights that finetune_backbone.py wrote for it."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import finetune_backbone
import pytest
import ram_reinforce
from fcan.plan import FcanOptions, build_plan
from finetune_backbone import FinetuneOptions
from PIL import Image

from glimpse_env.runtime import checkpoint
from glimpse_env.training.finetuning import choose_weights, find_tuned

WEIGHTS = Path("runs") / "finetune_backbone-pictures-0" / "weights.pth"
TUNING: dict[str, Any] = {"backbone": "resnet18", "weights": None, "image_size": 32, "view_size": 32}
TUNING |= {"batch": 4, "epochs": 1, "threads": 1}
RAM: dict[str, Any] = {"sensor": "crop", "backbone": "resnet18", "image_size": 32, "glimpse_size": 32}
RAM |= {"glimpses": 2, "batch": 4, "epochs": 1, "hidden": 8, "features": 8, "threads": 1, "augment": False}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, painted):
    """A folder with the pictures, and the runs folder of a network that was tuned on them."""
    folder = tmp_path_factory.mktemp("here")

    def paint(pixels, name, number):
        pixels[..., 0 if name == "red" else 2] += 180

    shutil.copytree(painted(("red", "blue"), (6, 3), paint, (32, 32), 60), folder / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["finetune_backbone.py"])
        finetune_backbone.main(FinetuneOptions(dataset="pictures", **TUNING))
    return folder


@pytest.fixture
def here(tuned, tmp_path, monkeypatch):
    """A copy of that folder, the working directory of the test."""
    shutil.copytree(tuned, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["ram_reinforce.py"])
    return tmp_path / "here"


def choose(options: Any = None, **changes: Any) -> str | None:
    """Return the weights of a RAM with these options."""
    given = options or ram_reinforce.Options(**{"dataset": "pictures", **RAM, **changes})
    return choose_weights(given, Path("none")).weights


def test_a_run_uses_them_says_so_and_is_resumed_with_them(here, caplog):
    caplog.set_level(logging.INFO, "glimpse_env")
    row = ram_reinforce.main(ram_reinforce.Options(dataset="pictures", out=Path("ram"), **RAM))
    assert row["options"]["weights"] == str(WEIGHTS)
    assert f"weights: {WEIGHTS}, resnet18 fine-tuned on pictures (accuracy of one view " in caplog.text
    saved = checkpoint.load(Path("ram") / "checkpoint.pt")
    assert saved["environment"]["weights"] == str(WEIGHTS)
    shutil.copytree(WEIGHTS.parent, "runs/finetune_backbone-pictures-1")  # newer, but not this run's
    options = ram_reinforce.Options(dataset="pictures", out=Path("ram"), resume=True, **RAM)
    chosen = choose_weights(options, Path("ram") / "checkpoint.pt")
    assert chosen.weights == str(WEIGHTS)
    assert ram_reinforce.main(options)["options"]["weights"] == str(WEIGHTS)


def test_the_folder_counts_not_how_it_is_written(here, monkeypatch):
    assert choose() == str(WEIGHTS)
    assert choose(dataset=str(here / "pictures")) == str(WEIGHTS)
    assert choose(dataset="pictures", root=here.parent) == str(WEIGHTS)
    shutil.copytree("pictures", "other/pictures")
    assert choose(dataset="other/pictures") == "DEFAULT"


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": None},
        {"weights": "given.pth"},
        {"backbone": "resnet34"},
        {"sensor": "pixel"},
        {"dataset": "mnist"},
        {"dataset": "missing"},
    ],
)
def test_other_runs_keep_their_weights(here, changes):
    assert choose(**changes) == changes.get("weights", "DEFAULT")


def test_never_weights_that_were_tuned_on_measured_images(here, caplog):
    """A network tuned on all training images is no network for a run that is measured on a fold of them."""
    caplog.set_level(logging.INFO, "glimpse_env")
    assert choose(split="fit") == choose(split="train") == str(WEIGHTS)
    assert choose(split="fit:1/3") == "DEFAULT"
    assert f"{WEIGHTS} is not used: it was measured on test, and its images of validation:1/3" in caplog.text
    finetune_backbone.main(FinetuneOptions(dataset="pictures", split="fit:1/3", **TUNING))
    fold = WEIGHTS.parent.with_name("finetune_backbone-pictures-fit1of3-0") / "weights.pth"
    assert choose(split="fit:1/3") == str(fold)
    assert choose(split="fit:2/3") == "DEFAULT"
    assert choose(split="fit") == str(WEIGHTS)


def test_images_that_changed_since_are_noticed(here, caplog):
    caplog.set_level(logging.INFO, "glimpse_env")
    path = sorted(Path("pictures/test").rglob("*.png"))[0]
    Image.new("RGB", (32, 32)).save(path)
    assert choose() == "DEFAULT"
    assert f"{WEIGHTS} is not used: the images of test are not those of its result any more" in caplog.text


def test_unfinished_and_damaged_runs_are_passed_over(here):
    result = WEIGHTS.with_name("result.json")
    for content in ("{", "{}"):
        (WEIGHTS.parent.with_name("finetune_backbone-x-0")).mkdir(exist_ok=True)
        WEIGHTS.parent.with_name("finetune_backbone-x-0").joinpath("result.json").write_text(content)
        assert choose() == str(WEIGHTS)
    result.unlink()
    assert choose() == "DEFAULT"
    assert find_tuned("pictures", None, "resnet18", "test") is None


def test_fcan_uses_them_instead_of_its_stage_tune(here):
    options = FcanOptions(dataset="pictures", image_size=32, crop_size=32, backbone="resnet18", parts=(1,))
    plan = build_plan(replace(options, out=Path("fcan")))
    assert plan.options.weights == str(WEIGHTS)
    assert build_plan(replace(options, weights="given.pth")).options.weights == "given.pth"
    assert build_plan(replace(options, stage="tune")).options.weights is None
    (here / "fcan" / "tune").mkdir(parents=True)
    (here / "fcan" / "tune" / "checkpoint.pt").touch()  # it has begun with its own
    assert build_plan(replace(options, out=Path("fcan"))).options.weights is None
