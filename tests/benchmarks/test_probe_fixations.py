"""The probe of fixations: one table of several runs, and their networks at other places than their own."""

import sys

import fixations
import pytest
import ram_reinforce
import torch
from ram_reinforce import Options

from glimpse_env.reports import results
from glimpse_env.runtime import files

SMALL = {"epochs": 1, "batch": 16, "hidden": 16, "features": 8, "threads": 1, "device": "cpu"}
SMALL |= {"glimpses": 3, "precision": "float32", "image_size": 32, "glimpse_size": 8}


@pytest.fixture(scope="module")
def trained(halves, tmp_path_factory):
    """The checkpoint of a small RAM."""
    out, argv = tmp_path_factory.mktemp("run"), sys.argv
    sys.argv = ["agent.py"]
    ram_reinforce.main(Options(dataset=halves((24, 10)), out=out, **SMALL))
    sys.argv = argv
    return out / "checkpoint.pt"


def test_the_table_of_runs_and_of_accuracies(trained, tmp_path, capsys):
    target = tmp_path / "rows.json"
    given = (trained, trained)
    fixations.main(fixations.FixationOptions(given, accuracy=True, json=target, device="cpu", threads=1))
    [one, other] = files.read_json(target)["rows"]
    assert one == other
    assert one["fixations"]["per_image"] == 2
    accuracies, own = one["accuracy_at"], results.read_or_write(trained)["accuracy"]
    assert accuracies["own"] == pytest.approx(100 * own)
    for name in ("random", "mean_path"):
        mean, low, high = accuracies[name]["own_minus"]
        assert mean == pytest.approx(accuracies["own"] - accuracies[name]["accuracy"], abs=1e-4)
        assert low <= mean <= high
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("ram_reinforce") for line in lines) == 4


def test_a_row_without_fixations_is_measured_again(trained):
    file = trained.with_name("result.json")
    row = files.read_json(file)
    old = {name: value for name, value in row.items() if name != "fixations"}
    files.write_json(file, old)
    again = fixations.read_row(trained, fixations.FixationOptions((trained,), device="cpu"))
    assert again["fixations"] == row["fixations"] == files.read_json(file)["fixations"]


def test_a_network_follows_the_given_places(trained):
    saved, env, looks = results.evaluate_checkpoint(trained, "test", "cpu")
    places = fixations.list_places(looks, torch.full((20,), 2))
    for name in ("random", "mean_path"):
        followed = fixations.follow(saved, env, places[name])
        assert torch.equal(followed.locations[1:], places[name][1:])
        assert torch.equal(followed.locations[0], looks.locations[0])
    assert len(places["mean_path"][1].unique(dim=0)) == 2  # of the two halves


def test_no_checkpoint_is_refused():
    with pytest.raises(ValueError, match="at least one checkpoint"):
        fixations.main(fixations.FixationOptions(()))
