"""The grid's arithmetic: what a cell trains, what is found again, and the measure of what places alone tell."""

from dataclasses import replace

import pytest
import sermanet_grid
import sermanet_rnn
import torch
from gymnasium.vector import AutoresetMode
from sermanet_grid import Grid

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import trajectories
from glimpse_env.runtime import checkpoint


def test_a_cell_is_the_recipe_with_its_own_resolutions_and_glimpses(tmp_path):
    options = Grid(out=tmp_path, epochs=7, augment=False)
    cells = {(name, glimpses, seed) for name in options.sets for glimpses in options.glimpses for seed in range(2)}
    chosen = {cell: sermanet_grid.options_of(options, *cell) for cell in cells}
    assert len({run.out for run in chosen.values()}) == len(cells) == 5 * 3 * 2
    run = chosen["high+medium", 2, 1]
    assert (run.resolutions, run.glimpses, run.seed, run.epochs, run.augment) == (("high", "medium"), 2, 1, 7, False)
    assert (run.sensor, run.glimpse_size) == ("bank", 96)
    assert set(sermanet_grid.PAPER) == set(sermanet_grid.SETS)
    random = sermanet_grid.options_of(replace(options, policy="random"), "all", 3, 0)
    assert random.out != chosen["all", 3, 0].out


def test_a_run_with_other_options_is_not_taken_for_this_one(tmp_path):
    chosen = sermanet_grid.options_of(Grid(dataset="mnist", out=tmp_path), "high", 1, 0)
    other = sermanet_rnn.seen(replace(chosen, epochs=3))
    checkpoint.save(chosen.out / "checkpoint.pt", {"options": checkpoint.plain(other), "environment": {}})
    with pytest.raises(ValueError, match="holds a run with another --epochs: give another --out, or remove it"):
        sermanet_grid.made(chosen)


def test_elsewhere_is_another_images_glimpse_with_the_own_context():
    look = {"glimpse_size": 7, "scales": (1.0, 2.0), "location_range": 1.0, "fill": "noise", "context": True}
    env = GlimpseVectorEnv(4, "mnist", split="validation", autoreset_mode=AutoresetMode.DISABLED, **look)
    sensor = sermanet_grid.Elsewhere(env.sensor, len(env.images))
    index, location, step = torch.tensor([0, 7, 4999, 2500]), torch.rand(4, 2) * 2 - 1, torch.tensor([1, 2, 3, 1])
    other = torch.tensor([2500, 2507, 2499, 0])
    seen, expected = sensor.observe(index, location, step), env.sensor.observe(other, location, step)
    assert torch.equal(seen["glimpse"], expected["glimpse"])
    assert torch.equal(sensor.context(index), env.sensor.context(index))


def test_a_difference_is_of_the_same_cell_at_places_of_the_other_policy(tmp_path, monkeypatch, capsys):
    """Seeds 0 and 1 are right on 3 of 4 images at learned places and on 1 of 4 at random ones: 50 points."""
    options = Grid(sets=("high",), glimpses=(2,), seeds=2, against="random", out=tmp_path)

    def made(run):
        run.out.mkdir(parents=True)
        labels = torch.zeros(4, dtype=torch.long)
        answers = (torch.arange(4) >= (3 if run.policy == "learned" else 1)).long().expand(2, 4)
        looks = trajectories.Looks(torch.arange(4), labels, answers, torch.ones(2, 4), torch.zeros(2, 4), torch.zeros(2, 4, 2))
        trajectories.save(looks, run.out / "looks.npz")
        return run.out

    monkeypatch.setattr(sermanet_grid, "made", made)
    folders = [made(sermanet_grid.options_of(options, "high", 2, seed)) for seed in range(2)]
    found = sermanet_grid.difference(options, "high", 2, folders)
    assert found[0] == 50
    row = {"accuracy": [75.0, 75.0], "places_alone": [2.0, 4.0], "paper": None, "difference": found}
    sermanet_grid.table(options, {("high", 2): row})
    assert "high, 2 glimpses, learned - random: +50.0 [" in capsys.readouterr().out


def test_the_table_says_ours_the_places_and_the_papers(capsys):
    options = Grid(sets=("high",), glimpses=(1, 4))
    row = {"accuracy": [40.0, 42.0], "places_alone": [2.0, 4.0]}
    sermanet_grid.table(options, {("high", 1): row | {"paper": 43.5}, ("high", 4): row | {"paper": None}})
    lines = capsys.readouterr().out.splitlines()
    assert "41.00 +- 12.71 [3.0], 43.5" in lines[-1]
    assert lines[-1].endswith("[3.0], -")


@pytest.mark.parametrize(
    ("given", "message"), [({"sets": ("huge",)}, "--sets huge: expected some of high,"), ({"seeds": 0}, "at least one")]
)
def test_a_bad_part_of_the_grid_is_refused(given, message):
    with pytest.raises(SystemExit, match=message):
        sermanet_grid.main(Grid(**given))
