"""Whole runs on a small folder of pictures: resume, Ctrl-C, results, bad input."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import dtram_reinforce
import numpy as np
import pytest
import ram_reinforce
import torch
from dtram_reinforce import StopOptions
from PIL import Image
from ram_reinforce import PAPER, Options
from tqdm import tqdm

from glimpse_env import datasets
from glimpse_env.networks.fixed_policies import Fixed, Uniform, build_unlearned
from glimpse_env.networks.location_policy import Gaussian
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import trainer
from glimpse_env.training.augment import distort
from glimpse_env.training.command_line import parse
from glimpse_env.training.environments import build_environment

SMALL = {"dropout": 0.2, "epochs": 2, "batch": 16, "hidden": 16, "features": 8, "threads": 1}
SMALL |= {"glimpses": 3, "precision": "float32", "image_size": 32, "glimpse_size": 8}


@pytest.fixture(scope="module")
def pictures(halves):
    return halves((24, 10))


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agent.py"])


ram, dtram = ram_reinforce.main, dtram_reinforce.main


def weights(out):
    return checkpoint.load(out / "checkpoint.pt")["network"]


def read_history(out):
    return checkpoint.load(out / "checkpoint.pt")["progress"]["history"]


def test_resume_continues_the_same_run(pictures, tmp_path, interrupt):
    whole = StopOptions(dataset=pictures, out=tmp_path / "whole", **SMALL, stop_epochs=2)
    dtram(whole)
    broken = StopOptions(dataset=pictures, out=tmp_path / "broken", **SMALL, stop_epochs=2)
    interrupt(2)  # after the first epoch
    with pytest.raises(SystemExit) as stop:
        dtram(broken)
    assert stop.value.code == 130
    results.write(broken.out / "checkpoint.pt")  # what Ctrl-C leaves can be evaluated
    again = StopOptions(**{**broken.__dict__, "resume": True})
    interrupt(4)  # within the second stage
    with pytest.raises(SystemExit):
        dtram(again)
    interrupt(0)
    dtram(again)
    expected = weights(whole.out)
    for name, value in weights(broken.out).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.usefixtures("with_figures")
def test_result_and_files(pictures, tmp_path, capsys):
    row = dtram(StopOptions(dataset=pictures, out=tmp_path / "run", **SMALL, stop_epochs=1))
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == json.loads(json.dumps(row))
    needed = "agent dataset split images accuracy mean_glimpses glimpse_histogram per_step_accuracy"
    needed += " threshold_curve train_seconds device seed"
    assert {*needed.split(), "command", "versions"} <= set(row)
    assert (row["images"], row["split"], len(row["per_step_accuracy"])) == (20, "test", 3)
    pictures_of_run = ("learning_curves", "stopping_histogram", "accuracy_against_glimpses")
    for picture in (*pictures_of_run, "fixation_paths", "fixation_heatmaps"):
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
    source = tmp_path / "ram" / "checkpoint.pt"
    dtram(StopOptions(dataset=pictures, out=tmp_path / "dtram", **SMALL, stop_epochs=1, ram=source))
    before, after = weights(tmp_path / "ram"), weights(tmp_path / "dtram")
    for name, value in before.items():
        assert torch.equal(value, after[name]) != name.startswith("stopper"), name


PAPER_LIKE = {"samples": 1, "core": "rnn", "location_encoding": "linear", "learned_start": True}
PAPER_LIKE |= {"first_view": "glimpse", "optimizer": "sgd"}


@pytest.mark.parametrize("stop_gradient", ["exact", "sampled"])
@pytest.mark.parametrize("finetune", ["stop", "all"])
@pytest.mark.parametrize("variant", [PAPER_LIKE, {"optimizer": "adamw"}])
def test_every_variant_trains(pictures, tmp_path, stop_gradient, finetune, variant):
    small = SMALL | {"epochs": 1, "stop_epochs": 1, "finetune": finetune} | variant
    small |= {"stop_gradient": stop_gradient, "stop_input": "state"}
    options = StopOptions(dataset=pictures, out=tmp_path, **small)
    assert 0 <= dtram(options)["accuracy"] <= 1
    history = read_history(tmp_path)
    assert [row["stage"] for row in history] == ["look", "stop"]
    assert all(np.isfinite(row["loss"]) for row in history)


@pytest.mark.parametrize(("finetune", "expected"), [("stop", 0.03), ("all", 0.001)])
def test_the_stop_head_has_a_rate_of_its_own_while_the_rest_is_frozen(pictures, finetune, expected):
    rates = {"finetune": finetune, "learning_rate": 0.001, "stop_rate": 0.03, "optimizer": "adamw"}
    run, env, network = stopping(pictures, **rates)
    dtram_reinforce.train_stopping(run, env, network, lambda *_: {})
    assert {peak for peaks in run.optimizer.peaks for peak in peaks} == {expected}


@pytest.mark.parametrize(
    ("policy", "expected"), [("learned", Uniform()), ("random", Uniform()), ("center", Fixed("center", 5))]
)
def test_exploring_first_changes_the_learned_policy_only(policy, expected):
    options = Options(explore=0.3, policy=policy)

    def behaviour(share):
        return ram_reinforce.behaviour(options, share, 3, build_unlearned(policy, 5) or Gaussian())

    assert behaviour(0.1).policy == expected
    if policy != "learned":
        assert behaviour(0.5).policy == expected
        return
    assert behaviour(0.3).policy.sigma == pytest.approx(options.sigma_start)
    assert behaviour(1.0).policy.sigma == pytest.approx(options.sigma_end)


class StoppedRun(trainer.Run):
    """A run that takes its one epoch without recording it, and stores it."""

    def __init__(self, options):
        """Stand where a new run stands."""
        self.options, self.precision, self.progress = options, torch.float32, trainer.Progress()
        self.device = torch.device("cpu")

    def epochs(self, count, stage, optimizer):
        """Yield one epoch."""
        self.optimizer = optimizer
        self.epoch = trainer.Epoch(self, stage, count, tqdm(disable=True))
        yield self.epoch


def stopping(pictures, **changes):
    """Return a run, an environment and a network for the second stage."""
    options = StopOptions(dataset=pictures, **SMALL | {"batch": 4} | changes)
    env = build_environment(options)
    return StoppedRun(options), env, RecurrentAttention(Architecture(glimpse=8 * 8 * 3, classes=2, horizon=3))


def test_stopping_is_learned_on_the_images_that_it_is_told_to(pictures):
    run, env, network = stopping(pictures, stop_split="validation")
    dtram_reinforce.train_stopping(run, env, network, lambda *_: {})
    updates = len(datasets.load(pictures, "validation", image_size=32)) // 4
    assert run.epoch.updates == updates < len(env.images) // 4
    assert not network.training
    for name, value in network.named_parameters():
        assert value.requires_grad == name.startswith("stopper"), name
    run, env, network = stopping(pictures, stop_split="test")
    with pytest.raises(ValueError, match="--split test: the test images are not for training"):
        dtram_reinforce.train_stopping(run, env, network, lambda *_: {})


def test_a_stop_split_that_is_too_small_is_refused_in_one_sentence(pictures, tmp_path):
    options = StopOptions(dataset=pictures, out=tmp_path, **SMALL | {"epochs": 1}, stop_split="validation")
    message = "dtram_reinforce: --batch 16: the data set has 4 training images; use a smaller batch"
    with pytest.raises(SystemExit, match=message):
        dtram(options)


@pytest.mark.parametrize("other", [{"split": "train"}, {"glimpse_size": 4}, {"policy": "random"}])
def test_a_ram_that_saw_other_images_or_looked_otherwise_is_no_start(pictures, tmp_path, other):
    ram(Options(dataset=pictures, out=tmp_path / "ram", **SMALL | {"epochs": 1}))
    source = tmp_path / "ram" / "checkpoint.pt"
    options = StopOptions(dataset=pictures, out=tmp_path, **SMALL | other, ram=source)
    [name] = other
    with pytest.raises(SystemExit, match=f"--ram: it was trained with --{name.replace('_', '-')}"):
        dtram(options)


def watch(forward, asked):
    """Note for every call in training whether the stop head is computed."""

    def call(self, *arguments):
        if self.training:
            asked.append(self.decides)
        return forward(self, *arguments)

    return call


def test_a_stage_that_learns_to_look_does_not_ask_the_stop_head(pictures, tmp_path, monkeypatch):
    assert ram_reinforce.behaviour(StopOptions(), 0.5, 3, Gaussian()).sure == StopOptions().sure < 1
    asked = []
    monkeypatch.setattr(RecurrentAttention, "forward", watch(RecurrentAttention.forward, asked))
    ram(Options(dataset=pictures, out=tmp_path, **SMALL | {"epochs": 1}))
    assert read_history(tmp_path)[0]["mean_glimpses"] <= 3
    assert asked
    assert not any(asked)


def test_runs_from_before_an_option_are_the_same_run():
    saved = {"epochs": 3}
    added = {"sure": 1.0, "location_discount": 1.0, "baseline": "learned"}
    assert checkpoint.different(saved, saved | added) == []
    assert checkpoint.different(saved, {"epochs": 3, "sure": 0.98}) == ["sure"]


def test_supervision_and_curriculum_can_be_switched_off(pictures, tmp_path):
    ram(Options(dataset=pictures, out=tmp_path, **SMALL | {"epochs": 3}, curriculum=0.9))
    grown = [row["mean_glimpses"] for row in read_history(tmp_path)]
    assert grown == sorted(grown)
    assert grown[0] < grown[-1]
    ram(Options(dataset=pictures, out=tmp_path, overwrite=True, **SMALL, curriculum=0, supervision=False))
    grown = [row["mean_glimpses"] for row in read_history(tmp_path)]
    assert grown == [3, 3]


@pytest.mark.parametrize("elastic", [0, 0.025])
def test_augmentation_is_small_and_seeded(elastic):
    images = datasets.load("mnist", "test").images[:64]
    moved = distort(images, torch.Generator().manual_seed(0), elastic=elastic)
    assert torch.equal(moved, distort(images, torch.Generator().manual_seed(0), elastic=elastic))
    assert not torch.equal(moved, distort(images, torch.Generator().manual_seed(1), elastic=elastic))
    ink = moved.float().sum((1, 2, 3)) / images.float().sum((1, 2, 3))
    assert 0.7 < ink.min() < ink.max() < 1.4


def test_elastic_augmentation_moves_pixels_by_its_fraction_of_the_side():
    side, elastic = 65, 0.02
    ramp = torch.arange(side).expand(2000, 2, side, side).clone()
    ramp[:, 1] = ramp[:, 1].mT.clone()
    original, images = ramp[0].float(), ramp.byte()
    still = distort(images, torch.Generator().manual_seed(0), shift=0).float()
    bent = distort(images, torch.Generator().manual_seed(0), shift=0, elastic=elastic).float()
    assert not torch.equal(bent, still)
    centre = (bent[:, :, 32, 32] - original[:, 32, 32]) / side  # a node of the grid, about which images turn
    assert centre.std(0).tolist() == pytest.approx([elastic, elastic], rel=0.1)
    assert abs(centre.mean()) < 0.002


def test_the_first_location_is_an_option():
    options = Options(dataset="mnist", first_view="glimpse", initial_location="random", batch=8, device="cpu")
    env = build_environment(options)
    assert env.preset.initial_location == "random"
    locations = env.reset(seed=0)[0]["location"]
    assert (locations.abs() > 0.1).any()
    with pytest.raises(ValueError, match="glimpse 1 shows the whole image: add --first-view glimpse"):
        build_environment(replace(options, first_view="image"))


def test_recipes_are_defaults_in_order_of_data_set_flag_and_hand():
    named, datasets = {"paper": PAPER}, {"cub": {"batch": 8, "dropout": 0.5, "encoder_layers": 2}}
    chosen = parse(Options, named, datasets, "", ["--paper", "--epochs", "3", "--dataset", "cub"])
    assert (chosen.paper, chosen.core, chosen.batch, chosen.epochs, chosen.dropout) == (True, "rnn", 28, 3, 0)
    expected = Options(dataset="cub", batch=8, dropout=0.5, encoder_layers=2)
    assert parse(Options, named, datasets, "", ["--dataset=cub"]) == expected
    message = "--paper is not available for --dataset clutter \\(available: mnist, cub, cars, dogs\\)"
    with pytest.raises(SystemExit, match=message):
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
