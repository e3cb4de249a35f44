"""The agent that comes with the package: its name, its description, and an animation of it."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from animation import choose_images
from PIL import Image

from glimpse_env import pretrained
from glimpse_env.commands import predict
from glimpse_env.datasets import mnist
from glimpse_env.evaluation import stopping_rules, trajectories
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.networks import registry
from glimpse_env.reports import animation
from glimpse_env.runtime import checkpoint
from glimpse_env.training import environments
from glimpse_env.training.options import View
from glimpse_env.training.resume import load_resumable

NAME = Path("mnist-dtram")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["predict.py"])


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The environment and the agent's trajectories of 300 test images."""
    saved = checkpoint.load(pretrained.find_checkpoint(NAME, tmp_path_factory.mktemp("runs")))
    env = environments.build_evaluation_environment(saved["environment"], "test", "cpu", rows=100)
    env.images = env.images.subset(torch.arange(300))
    return env, trajectories.evaluate(env, registry.rebuild(saved), env.preset.max_glimpses)


def test_a_name_becomes_a_run_of_its_own(tmp_path):
    assert pretrained.find_checkpoint(Path("runs/mine.pt")) == Path("runs/mine.pt")
    path = pretrained.find_checkpoint(NAME)
    assert path == Path("runs/mnist-dtram/checkpoint.pt")
    assert path.stat().st_size < 5e6
    assert pretrained.find_checkpoint(NAME) == path
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"runs/mnist-dtram/checkpoint\.pt differs from the mnist-dtram"):
        pretrained.find_checkpoint(NAME)
    assert path.read_bytes() == b"mine"


def test_it_holds_nothing_of_the_machine_and_cannot_be_resumed():
    path = pretrained.find_checkpoint(NAME)
    saved = checkpoint.load(path)
    assert set(saved) >= {"classes", "command", "progress", "network", "options", "environment"}
    assert "optimizer" not in saved
    text = json.dumps({name: value for name, value in saved.items() if name != "network"})
    assert not re.search(r"/(?:home|root|work|tmp|Users)\b", text)
    with pytest.raises(ValueError, match="holds no optimizer state"):
        load_resumable(path, "dtram_reinforce", View())


def test_packing_keeps_the_network_and_drops_paths():
    saved = checkpoint.load(pretrained.find_checkpoint(NAME))
    saved["options"] |= {"out": "/a/b", "ram": "/c"}
    checkpoint.save(Path("run.pt"), saved | {"optimizer": {"state": {}}})
    pretrained.pack("run.pt", "packed.pt")
    packed = checkpoint.load(Path("packed.pt"))
    assert "optimizer" not in packed
    assert packed["environment"]["weights"] == packed["options"]["weights"] == "DEFAULT"  # a name, no path
    assert packed["options"]["out"] is packed["options"]["ram"] is None
    assert packed["options"]["gamma"] == 0.995
    assert all(torch.equal(value, saved["network"][name]) for name, value in packed["network"].items())


def test_it_classifies_a_digit_and_draws_its_glimpses(capsys):
    images = mnist.load("test")
    Image.fromarray(images.images[0, 0].numpy()).save("digit.png")
    predict.main(predict.Predict(NAME, (Path("digit.png"),), threads=1))
    assert re.search(r"digit\.png +7 +0\.9\d+ +2\n", capsys.readouterr().out)
    assert Path("runs/mnist-dtram/predictions/digit.png").is_file()


def test_its_accuracy_and_glimpses_are_as_described(evaluated):
    """On 300 test images; the whole split (1.35 % at 2.20 glimpses) takes too long here."""
    accuracy, glimpses = evaluated[1].score_at(stopping_rules.LEARNED.find_stops(evaluated[1]))
    assert accuracy > 0.97
    assert 1.8 < glimpses < 2.4


def test_the_animation_shows_the_glimpses_up_to_each_stop(evaluated):
    env, paths = evaluated
    stops = stopping_rules.LEARNED.find_stops(paths)
    images = choose_images(paths, True, 6)
    lengths = [int(stops[image]) + 1 for image in images]
    assert lengths == sorted(lengths)
    assert len({int(paths.labels[image]) for image in images}) == 6
    assert images[0] == int((stops == 0).nonzero()[0])
    clips = [animation.build_clip(env, paths, image, int(stops[image])) for image in images]
    for clip, image, length in zip(clips, images, lengths, strict=True):
        assert clip.steps == length
        assert clip.correct == bool(paths.correct[length - 1, image])
        ink = (clip.pixels > 0).any(2)
        lit = (clip.seen[-1] == clip.pixels).all(2) & ink
        left, top, right, bottom = clip.boxes[-1].round().astype(int).clip(0)
        newest = np.s_[top:bottom, left:right]
        assert lit[newest].sum() == ink[newest].sum()
        assert lit.sum() < ink.sum() or clip.steps > 4
    drawn, stays = zip(*animation.draw_frames(clips[:2]), strict=True)
    Path("a.gif").write_bytes(animation.encode_gif(drawn, stays))
    with Image.open("a.gif") as picture:
        assert picture.n_frames > clips[1].steps
        assert picture.info["loop"] == 0
        first = np.asarray(picture.convert("RGB"), int)
    assert np.abs(first - np.asarray(drawn[0], int)).mean() < 3  # few colours, the same picture


def test_the_animation_of_many_images_takes_classes_twice_when_there_are_too_few(evaluated):
    values = vars(replace(evaluated[1], probabilities=None)).values()
    given = [value for value in values if value is not None]
    few = Trajectories(*(value[..., :30, :] if value.ndim == 3 else value[..., :30] for value in given))
    assert len(set(choose_images(few, False, 12))) == 12
    assert len(choose_images(few, False, 100)) == 30


def test_the_committed_animation_is_small():
    file = ROOT / "benchmarks" / "results" / "fixations.gif"
    assert file.stat().st_size < 1.5e6
    with Image.open(file) as picture:
        assert picture.n_frames > 20
