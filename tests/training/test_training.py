"""Whole runs on a small folder of pictures: resume, Ctrl-C, results, bad input."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glimpse_env import datasets
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import run, trainer
from glimpse_env.training.augment import affine
from glimpse_env.training.options import Options, parse
from glimpse_env.training.recipes import PAPER
from glimpse_env.training.stages import StopOptions, look_stage, stop_stage

SMALL = {"dropout": 0.2, "epochs": 2, "batch": 16, "hidden": 16, "features": 8, "threads": 1, "glimpses": 3, "precision": "float32"}
SMALL |= {"image_size": 32, "glimpse_size": 8}


@pytest.fixture(scope="module")
def pictures(halves):
    return halves((24, 10))


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agent.py"])


def ram(options):
    return run.execute("ram", options, lambda network, horizon: [lambda: look_stage(options, network, horizon)])


def dtram(options):
    stages = [look_stage] * (options.ram is None) + [stop_stage]
    plan = lambda network, horizon: [(lambda stage=stage: stage(options, network, horizon)) for stage in stages]  # noqa: E731
    return run.execute("dtram", options, plan, stop_input=options.stop_input, start=options.ram)


def weights(out):
    return checkpoint.load(out / "checkpoint.pt")["network"]


def test_resume_continues_the_same_run(pictures, tmp_path, monkeypatch):
    whole = StopOptions(dataset=pictures, out=tmp_path / "whole", **SMALL, stop_epochs=2)
    dtram(whole)
    broken = StopOptions(dataset=pictures, out=tmp_path / "broken", **SMALL, stop_epochs=2)
    real, calls = trainer.run_epoch, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) in (2, 4):
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(trainer, "run_epoch", interrupted)
    with pytest.raises(SystemExit) as stop:
        dtram(broken)
    assert stop.value.code == 130
    results.write(broken.out / "checkpoint.pt")  # what Ctrl-C leaves can be evaluated
    again = StopOptions(**{**broken.__dict__, "resume": True})
    with pytest.raises(SystemExit):
        dtram(again)
    dtram(again)
    expected = weights(whole.out)
    for name, value in weights(broken.out).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.usefixtures("with_figures")
def test_result_and_files(pictures, tmp_path, capsys):
    row = dtram(StopOptions(dataset=pictures, out=tmp_path / "run", **SMALL, stop_epochs=1))
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == json.loads(json.dumps(row))
    needed = (
        "agent dataset split images accuracy mean_glimpses glimpse_histogram per_step_accuracy threshold_curve train_seconds device seed"
    )
    assert {*needed.split(), "command", "versions"} <= set(row)
    assert (row["images"], row["split"], len(row["per_step_accuracy"])) == (20, "test", 3)
    for picture in ("learning_curves", "stopping_histogram", "fixation_paths", "accuracy_against_glimpses"):
        with Image.open(tmp_path / "run" / f"{picture}.png") as drawn:
            assert drawn.size[0] > 100
    report = (tmp_path / "run" / "report.html").read_text()
    assert f"{100 * row['accuracy']:.2f}<small> %</small>" in report
    assert str(tmp_path) not in report
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith("dtram")
    validation = results.write(tmp_path / "run" / "checkpoint.pt", split="validation")
    assert validation["images"] == 4


def test_stop_stage_leaves_the_frozen_ram_alone(pictures, tmp_path):
    ram(Options(dataset=pictures, out=tmp_path / "ram", **SMALL))
    options = StopOptions(dataset=pictures, out=tmp_path / "dtram", **SMALL, stop_epochs=1, ram=tmp_path / "ram" / "checkpoint.pt")
    dtram(options)
    before, after = weights(tmp_path / "ram"), weights(tmp_path / "dtram")
    for name, value in before.items():
        assert torch.equal(value, after[name]) != name.startswith("stopper"), name


@pytest.mark.parametrize("stop_gradient", ["exact", "sampled"])
@pytest.mark.parametrize("finetune", ["stop", "all"])
@pytest.mark.parametrize(
    "variant",
    [
        {"samples": 1, "core": "rnn", "where": "linear", "learned_start": True, "first_view": "glimpse", "optimizer": "sgd"},
        {"optimizer": "adamw"},
    ],
)
def test_every_variant_trains(pictures, tmp_path, stop_gradient, finetune, variant):
    small = SMALL | {"epochs": 1} | variant
    options = StopOptions(
        dataset=pictures, out=tmp_path, **small, stop_epochs=1, stop_gradient=stop_gradient, finetune=finetune, stop_input="state"
    )
    assert 0 <= dtram(options)["accuracy"] <= 1
    history = checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["history"]
    assert [row["stage"] for row in history] == ["look", "stop"]
    assert all(np.isfinite(row["loss"]) for row in history)


@pytest.mark.parametrize(("finetune", "expected"), [("stop", 0.03), ("all", 0.001)])
def test_the_stop_head_has_a_rate_of_its_own_while_the_rest_is_frozen(finetune, expected):
    options = StopOptions(finetune=finetune, learning_rate=0.001, stop_rate=0.03, optimizer="adamw")
    network = RecurrentAttention(Architecture(glimpse=4, classes=2, horizon=3, stop_input="confidence"))
    assert {peak for peaks in stop_stage(options, network, 3).optimizer.peaks for peak in peaks} == {expected}


@pytest.mark.parametrize(("policy", "expected"), [("learned", "random"), ("random", "random"), ("center", "center")])
def test_exploring_first_changes_the_learned_policy_only(policy, expected):
    options = Options(explore=0.3, policy=policy)
    behaviour = look_stage(options, RecurrentAttention(Architecture(glimpse=4, classes=2, horizon=3)), 3).behaviour
    assert behaviour(0.1).policy == expected
    assert behaviour(0.5).policy == policy
    assert behaviour(0.3).sigma == pytest.approx(options.sigma_start)
    assert behaviour(1.0).sigma == pytest.approx(options.sigma_end)


def test_stopping_is_learned_on_the_images_that_it_is_told_to(pictures, tmp_path):
    options = StopOptions(dataset=pictures, **SMALL | {"batch": 4}, stop_split="validation")
    network = RecurrentAttention(Architecture(glimpse=8 * 8 * 3, classes=2, horizon=3))
    stage = stop_stage(options, network, 3)
    held = datasets.load(pictures, "validation", image_size=32)
    assert torch.equal(stage.env.images.stack(), held.stack())
    assert stage.frozen
    assert stop_stage(StopOptions(dataset=pictures, **SMALL), network, 3).env is None
    with pytest.raises(ValueError, match="--split test: the test images are not for training"):
        stop_stage(StopOptions(dataset=pictures, **SMALL, stop_split="test"), network, 3)


@pytest.mark.parametrize("other", [{"split": "train"}, {"glimpse_size": 4}, {"policy": "random"}])
def test_a_ram_that_saw_other_images_or_looked_otherwise_is_no_start(pictures, tmp_path, other):
    ram(Options(dataset=pictures, out=tmp_path / "ram", **SMALL | {"epochs": 1}))
    options = StopOptions(dataset=pictures, out=tmp_path, **SMALL | other, ram=tmp_path / "ram" / "checkpoint.pt")
    [name] = other
    with pytest.raises(SystemExit, match=f"--ram: it was trained with --{name.replace('_', '-')}"):
        dtram(options)


def test_a_stage_that_learns_to_look_does_not_ask_the_stop_head(pictures, tmp_path):
    network = RecurrentAttention(Architecture(glimpse=4, classes=2, horizon=3))
    options = StopOptions()
    stages = look_stage(options, network, 3), stop_stage(options, network, 3)
    assert [stage.decides for stage in stages] == [False, True]
    assert stages[0].behaviour(0.5).sure == options.sure < 1
    assert stages[1].behaviour(0.5).sure == 1
    ram(Options(dataset=pictures, out=tmp_path, **SMALL | {"epochs": 1}))
    assert checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["history"][0]["mean_glimpses"] <= 3


def test_runs_from_before_an_option_are_the_same_run():
    saved = {"epochs": 3}
    assert checkpoint.different(saved, {"epochs": 3, "sure": 1.0, "location_discount": 1.0, "baseline": "learned"}) == []
    assert checkpoint.different(saved, {"epochs": 3, "sure": 0.98}) == ["sure"]


def test_supervision_and_curriculum_can_be_switched_off(pictures, tmp_path):
    ram(Options(dataset=pictures, out=tmp_path, **SMALL | {"epochs": 3}, curriculum=0.9))
    grown = [row["mean_glimpses"] for row in checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["history"]]
    assert grown == sorted(grown)
    assert grown[0] < grown[-1]
    ram(Options(dataset=pictures, out=tmp_path, **SMALL, curriculum=0, supervision=False))
    grown = [row["mean_glimpses"] for row in checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["history"]]
    assert grown == [3, 3]


def test_augmentation_is_small_and_seeded():
    images = datasets.load("mnist", "test").images[:64]
    moved = affine(images, torch.Generator().manual_seed(0))
    assert torch.equal(moved, affine(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(moved, affine(images, torch.Generator().manual_seed(1)))
    ink = moved.float().sum((1, 2, 3)) / images.float().sum((1, 2, 3))
    assert 0.7 < ink.min() < ink.max() < 1.4


def test_recipes_are_defaults_in_order_of_data_set_flag_and_hand():
    named, datasets = {"paper": PAPER}, {"cub": {"batch": 8, "dropout": 0.5, "depth": 2}}
    chosen = parse(Options, named, datasets, "", ["--paper", "--epochs", "3", "--dataset", "cub"])
    assert (chosen.paper, chosen.core, chosen.batch, chosen.epochs, chosen.dropout) == (True, "rnn", 28, 3, 0)
    assert parse(Options, named, datasets, "", ["--dataset=cub"]) == Options(dataset="cub", batch=8, dropout=0.5, depth=2)
    with pytest.raises(SystemExit, match="--paper: there are such settings for mnist, cub, cars, none for --dataset clutter"):
        parse(Options, named, datasets, "", ["--dataset", "clutter", "--paper"])
    assert parse(Options, named, datasets, "", []) == Options()


def test_bad_input_says_what_is_allowed(pictures, tmp_path):
    def refused(pattern, **options):
        with pytest.raises(SystemExit, match=pattern):
            ram(Options(out=tmp_path, **{**SMALL, "dataset": pictures, **options}))

    refused("dataset='mnits'", dataset="mnits")
    refused("cuda:9", device="cuda:9")
    refused("--batch 1000: the data set has 44 training images", batch=1000)
    refused("no checkpoint at", resume=True)
    ram(Options(dataset=pictures, out=tmp_path, **SMALL))
    refused("was made with --seed 0", resume=True, seed=1)
    (tmp_path / "checkpoint.pt").write_bytes(b"rubbish")
    refused("not readable as a checkpoint", resume=True)


def test_a_checkpoint_is_refused_on_another_kind_of_data(pictures, tmp_path):
    ram(Options(dataset=pictures, out=tmp_path, **SMALL))
    with pytest.raises(ValueError, match="2 classes; this data set has"):
        results.write(Path(tmp_path) / "checkpoint.pt", dataset="mnist")
