"""Separate views: each has its own classifier, predictions are means of probabilities; rows of the script."""

import json
import sys

import baselines
import pytest
import torch
from gymnasium.vector import AutoresetMode

from glimpse_env.evaluation import metrics, trajectories
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.networks import registry
from glimpse_env.networks.averaged_views import AveragedViews, ViewsArchitecture
from glimpse_env.networks.fixed_policies import Fixed
from glimpse_env.runtime import files
from glimpse_env.training.rollout import Behaviour, collect


def views(**changes):
    torch.manual_seed(0)
    return AveragedViews(
        ViewsArchitecture(**{"glimpse": 6, "classes": 3, "horizon": 4, "windows": 2} | changes)
    ).eval()


def seen(network, glimpses):
    """Show the glimpses (time, env, value) and return the answers."""
    state, answers = network.begin(glimpses.shape[1]), []
    for taken, glimpse in enumerate(glimpses, start=1):
        step = torch.full((len(glimpse), 1), taken / network.architecture.horizon)
        heads, state = network({"glimpse": glimpse, "step": step}, state)
        answers.append(heads.logits.softmax(1))
    return torch.stack(answers)


def by_hand(network, glimpses, order):
    """The mean of the probabilities of (classifier, part) pairs."""
    parts = [
        network.classifiers[kind](glimpse[:, 3 * part : 3 * part + 3])
        for glimpse, (kind, part) in zip(glimpses, order, strict=True)
    ]
    shares = torch.stack(parts).softmax(2)
    return shares.cumsum(0) / torch.arange(1, len(order) + 1)[:, None, None]


def test_after_the_whole_image_glimpses_look_through_the_windows_in_turn_and_probabilities_are_averaged():
    glimpses = torch.randn(4, 5, 6)
    network = views()
    assert torch.allclose(
        seen(network, glimpses), by_hand(network, glimpses, [(0, 0), (1, 0), (2, 1), (1, 0)]), atol=1e-6
    )
    network = views(whole_first=False)
    assert torch.allclose(
        seen(network, glimpses), by_hand(network, glimpses, [(0, 0), (1, 1), (0, 0), (1, 1)]), atol=1e-6
    )


def test_while_training_every_view_answers_for_itself_so_each_classifier_learns_from_its_own_views_alone():
    network = views().train()
    glimpses = torch.randn(2, 5, 6)
    state = network.begin(5)
    for taken in (1, 2):
        heads, state = network({"glimpse": glimpses[taken - 1], "step": torch.full((5, 1), taken / 4)}, state)
    heads.logits.sum(0)[0].backward()
    grads = [classifier.weight.grad for classifier in network.classifiers]
    assert grads[1].abs().sum() > 0
    assert all(grad is None or (grad == 0).all() for grad in (grads[0], grads[2]))
    assert torch.allclose(
        heads.logits.exp(), network.classifiers[1](glimpses[1, :, :3]).softmax(1), atol=1e-6
    )


def test_an_episode_begun_anew_forgets_the_one_before():
    network, glimpses = views(), torch.randn(2, 5, 6)
    state = network.begin(5)
    for glimpse in glimpses:  # both are first views
        heads, state = network({"glimpse": glimpse, "step": torch.full((5, 1), 0.25)}, state)
    assert torch.allclose(heads.logits.softmax(1), seen(network, glimpses[1:])[0])


def test_a_checkpoint_rebuilds_them(make):
    network = baselines.build_network(make(first_view="image", scales=(1.0, 2.0)), dropout=0.0)
    saved = {
        "network_name": registry.find_name(network),
        "architecture": vars(network.architecture),
        "network": network.state_dict(),
    }
    again = registry.rebuild(saved)
    assert (type(again), again.architecture) == (AveragedViews, network.architecture)
    assert (network.architecture.windows, network.architecture.whole_first) == (2, True)


def test_they_answer_on_the_common_environment_and_metric(make):
    env = make(23, first_view="image", autoreset_mode=AutoresetMode.DISABLED)
    network = baselines.build_network(env, dropout=0.0)
    looks = trajectories.evaluate(env, network, 4, policy="center")
    rollout = collect(env, network, Behaviour(4, Fixed("center", 5)), torch.Generator(), torch.arange(23))
    assert torch.equal(looks.predictions, rollout.logits.argmax(2))
    assert metrics.summarize(looks, dynamic=False)["mean_glimpses"] == 4


@pytest.fixture(scope="module")
def pictures(painted):
    """Two classes of pictures: what tells them is the brightness of the centre."""

    def paint(pixels, name, number):
        pixels[12:20, 12:20] = 250 * (name == "light")

    return painted(("dark", "light"), (16, 6), paint)


@pytest.fixture
def options(pictures, tmp_path, monkeypatch):
    """Small runs of every row."""
    monkeypatch.setattr(sys, "argv", ["baselines.py"])
    small = {
        "epochs": 10,
        "batch": 8,
        "glimpses": 3,
        "grid": 2,
        "image_size": 32,
        "glimpse_size": 8,
        "split": "train",
    }
    return lambda **given: baselines.Baselines(
        dataset=pictures, seeds=1, threads=1, dropout=0.0, out=tmp_path, **small | given
    )


def test_the_table_may_be_of_other_images(options, tmp_path):
    small = options(rows=("one-view",), json=tmp_path / "table.json", measure="validation")
    baselines.main(small)
    (row,) = files.read_json(tmp_path / "table.json")["rows"]["one-view"]
    assert row["split"] == "validation"
    assert (baselines.folder(small, "one-view", 0) / "result-validation.json").is_file()


def test_every_row_is_a_run_with_its_views_and_is_found_again(options, tmp_path, capsys):
    baselines.main(options(json=tmp_path / "table.json"))
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert list(rows) == list(baselines.ROWS)
    assert [row["mean_glimpses"] for [row] in rows.values()] == [1, 3, 3, 3, 3, 3, 3]
    assert rows["rigid"][0]["accuracy"] == rows["centre"][0]["accuracy"] == 1
    assert rows["rigid"][0]["options"]["scales"] == [1.0, 2.0]  # 8 and 16 of 32 pixels
    places = Trajectories.load(next(tmp_path.glob("multi-view*/looks.npz"))).locations
    assert (places[1] != places[2]).any(1).all()  # every crop at a place of its own
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoint.pt")}
    baselines.main(options(rows=("one-view", "rigid")))
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert "rigid" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("pattern", "given"),
    [
        ("--rows best: expected some of one-view, random", {"rows": ("best",)}),
        ("--parts 0.5 2: expected at least one fraction", {"rows": ("rigid",), "parts": (0.5, 2)}),
        ("--parts : expected at least one fraction", {"rows": ("rigid",), "parts": ()}),
    ],
)
def test_rows_that_cannot_be_made_are_refused_first(options, pattern, given):
    with pytest.raises(ValueError, match=pattern):
        baselines.main(options(**given))


def test_more_glimpses_than_the_grid_has_places_end_the_run(options):
    with pytest.raises(
        SystemExit, match="--policy raster: 5 locations are to be chosen, but the grid has 2 x 2 = 4 cells"
    ):
        baselines.main(options(rows=("raster",), glimpses=6))


def test_another_run_in_the_folder_is_refused(options):
    baselines.main(options(rows=("one-view",), epochs=1))
    with pytest.raises(ValueError, match="holds a run with another --epochs"):
        baselines.main(options(rows=("one-view",), epochs=2))
    baselines.main(options(rows=("one-view",), epochs=2, overwrite=True))
    baselines.main(options(rows=("one-view",), epochs=2))
