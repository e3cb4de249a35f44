"""Whole runs that train their backbone: from pixels to a checkpoint that needs no weights file."""

import sys
from dataclasses import replace

import dtram_reinforce
import pytest
import ram_reinforce
import torch
from dtram_reinforce import StopOptions
from ram_reinforce import Options

from glimpse_env.backbone.weights import build_random
from glimpse_env.evaluation import predictor
from glimpse_env.evaluation.stopping_rules import choose_rule
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import resume
from glimpse_env.training.augment import distort
from glimpse_env.training.options import check_backbone

NAME = "shufflenet_v2_x0_5"
SMALL = {"epochs": 1, "batch": 8, "hidden": 16, "features": 8, "encoder_layers": 1, "threads": 1}
SMALL |= {"glimpses": 2, "precision": "float32", "image_size": 40, "glimpse_size": 32, "first_view": "image"}
SMALL |= {"sensor": "pixel", "train_backbone": True, "backbone": NAME, "curriculum": 0, "augment_flip": True}
TRUNK = "glimpse.what.trunk."


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agent.py"])


@pytest.fixture(scope="module")
def trained(halves, tmp_path_factory):
    """A RAM and its options; its weights came from a file that is no longer there."""
    folder = tmp_path_factory.mktemp("trained")
    state = build_random(NAME).state_dict()
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, folder / "own.pth")
    options = Options(dataset=halves((24, 10)), out=folder / "ram", weights=str(folder / "own.pth"), **SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["agent.py"])
        ram_reinforce.main(options)
    return options, state


def trunk_of(folder):
    saved = checkpoint.load(folder / "checkpoint.pt")["network"]
    return {key: value for key, value in saved.items() if key.startswith(TRUNK)}


def test_all_its_weights_learn_and_no_statistics(trained):
    options, before = trained
    for key, value in trunk_of(options.out).items():
        fixed = "running" in key or "num_batches" in key
        assert torch.equal(value, before[key.removeprefix(f"{TRUNK}network.")]) == fixed, key


def test_a_resumed_run_must_start_from_the_same_weights(trained, tmp_path):
    options, state = trained
    saved = checkpoint.load(options.out / "checkpoint.pt")
    assert not resume.other_options(saved, options)
    torch.save({key: value + 1 for key, value in state.items()}, tmp_path / "other.pth")
    assert resume.other_options(saved, replace(options, weights=str(tmp_path / "other.pth"))) == ["weights"]
    assert resume.other_options(saved, replace(options, backbone="resnet18")) == ["backbone"]


def test_dtram_starts_from_it_and_the_checkpoint_alone_predicts(trained, tmp_path):
    given, _ = trained
    ram = given.out / "checkpoint.pt"
    options = StopOptions(**vars(given) | {"out": tmp_path / "dtram", "ram": ram, "stop_epochs": 1})
    other = replace(options, train_backbone=False, backbone=None, weights="DEFAULT")
    with pytest.raises(SystemExit, match="--train-backbone True"):
        dtram_reinforce.main(other)
    row = dtram_reinforce.main(options)
    before, after = trunk_of(given.out), trunk_of(options.out)
    assert all(torch.equal(value, after[key]) for key, value in before.items())  # --finetune stop
    (given.out.parent / "own.pth").rename(tmp_path / "elsewhere.pth")
    try:
        source = options.out / "checkpoint.pt"
        assert results.write(source)["accuracy"] == row["accuracy"]
        saved, rule = checkpoint.load(source), choose_rule(True)
        agent = predictor.load_predictor(saved, source, rule, None, None, "cpu")
        assert len(agent([torch.zeros(3, 40, 40, dtype=torch.uint8)])) == 1
    finally:
        (tmp_path / "elsewhere.pth").rename(given.out.parent / "own.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sensor": "crop"}, "--train-backbone: its glimpses are pixels; use --sensor pixel, got crop"),
        ({"sensor": None, "dataset": "cub"}, "use --sensor pixel, got crop"),
        ({"backbone": None}, "--train-backbone: give --backbone"),
        ({"scales": (1.0, 2.0)}, "--train-backbone: a glimpse has one window; give one of --scales 1.0 2.0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check_backbone(Options(**SMALL | changes))


def test_glimpses_that_are_too_small_are_refused(trained, tmp_path):
    options = replace(trained[0], out=tmp_path, glimpse_size=20)
    with pytest.raises(SystemExit, match="at least 32 x 32 pixels"):
        ram_reinforce.main(options)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_photographs_are_flipped_and_have_no_black_borders():
    ramp = torch.arange(100, 164).repeat(200, 3, 64, 1).byte()  # brighter to the right
    moved = distort(ramp, torch.Generator().manual_seed(0), flip=True).float()
    assert moved.min() >= 100
    assert (moved - moved[:, :, :1]).abs().max() <= 1  # neither rotated nor bent
    right = (moved[:, 0, 0, 48] > moved[:, 0, 0, 16]).float().mean()
    assert 0.35 < right < 0.65
    assert distort(ramp, torch.Generator().manual_seed(0)).min() == 0
