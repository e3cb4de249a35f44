"""The arithmetic of the benchmarks on FCAN: its table over seeds, and the comparison of rewards."""

import fcan_regions
import pytest
import rewards
import torch
from fcan import table

from glimpse_env.reports import plots


def test_the_table_over_seeds_by_hand():
    """Four images of label 0; the learned part saves one image in the first seed, two in the second."""
    labels = torch.zeros(4, dtype=torch.int64)

    def sure(right: list[int]) -> torch.Tensor:
        share = torch.tensor(right) * 0.8 + 0.1
        return torch.stack((share, 1 - share), 1)

    whole, center = sure([1, 1, 0, 0]), sure([1, 1, 0, 0])
    random = sure([1, 0, 0, 0])

    def run(part: list[int]) -> dict[str, torch.Tensor]:
        found = {"whole": whole, "part1-4x4": 0.99 * sure(part) + 0.005, "random1-4x4": random, "center1-4x4": center}
        return fcan_regions.correctness(found, labels, (4,))

    seeds = [run([1, 1, 1, 0]), run([1, 1, 1, 1])]
    rows = {row["row"]: row for row in fcan_regions.rows_of({name: torch.stack([one[name] for one in seeds]) for name in seeds[0]})}
    assert rows["part1-4x4 alone"]["accuracy"] == [75, 100]
    assert rows["whole image"]["accuracy"] == [50, 50]
    mean, low, high = rows["part1-4x4 alone"]["differences"][table.KINDS["center"]]
    assert mean == pytest.approx(37.5)
    assert low < mean < high
    assert "whole image" not in rows["whole image"]["differences"]
    assert len(fcan_regions.printed(list(rows.values())).splitlines()) == 1 + len(rows)


def test_a_run_of_the_table_has_a_folder_of_its_own(tmp_path):
    given = fcan_regions.Table2(weights="w.pth", split="fit:1/4", measure="test", out=tmp_path)
    chosen = [fcan_regions.options_of(given, seed) for seed in range(3)]
    assert len({one.out for one in chosen}) == 3
    assert (chosen[2].seed, chosen[2].measure, chosen[2].final, chosen[2].resume) == (2, "test", "linear", True)


def epochs(accuracies: list[float]) -> list[dict]:
    return [
        {"epoch": number, "validation_accuracy": value, "entropy": 4.0 - number, "reward_of_parts": 0.5}
        for number, value in enumerate(accuracies, 1)
    ]


def test_how_soon_a_run_is_there_counts_from_where_it_stays():
    assert rewards.reached(epochs([0.5, 0.7, 0.6, 0.7, 0.8]), 0.65) == 4
    assert rewards.reached(epochs([0.7, 0.8]), 0.65) == 1
    assert rewards.reached(epochs([0.7, 0.8, 0.6]), 0.65) is None


def test_the_table_of_rewards_by_hand(capsys):
    found = {"greedy": [epochs([0.5, 0.8, 0.8]), epochs([0.5, 0.7, 0.8])], "delayed": [epochs([0.4, 0.4, 0.5]), epochs([0.4, 0.6, 0.7])]}
    rows = {row["row"]: row for row in rewards.table(found, 0.65)}
    assert rows["greedy"]["accuracy"] == pytest.approx([80, 80])
    assert rows["greedy"]["epochs"] == [2, 2]
    assert rows["delayed"]["epochs"] == [None, 3]
    assert rows["delayed"]["moves"] == pytest.approx([10, 10])
    assert rows["greedy"]["entropy"] == 1
    assert "- 3" in capsys.readouterr().out


def test_each_reward_and_the_random_places_are_runs_of_their_own(tmp_path):
    options = rewards.Rewards(weights="w.pth", out=tmp_path)
    chosen = [rewards.options_of(options, row, seed) for row in ("greedy", "delayed", rewards.RANDOM) for seed in (0, 1)]
    assert len({one.out for one in chosen}) == 6
    assert [one.reward for one in chosen[:4]] == ["greedy", "greedy", "delayed", "delayed"]
    assert chosen[4].where == "random"
    assert all(one.final == "none" and one.parts == (8, 4) for one in chosen)


def test_compared_curves_draw_every_setting_in_every_panel(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, target: drawn.append(figure))
    found = {name: [epochs([0.5, 0.8]), epochs([0.3, 0.6])] for name in ("greedy", "delayed")}
    plots.compared_curves(found, rewards.PANELS, tmp_path / "curves.png")
    (figure,) = drawn
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(rewards.PANELS.values())
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2]
    assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([40, 70])
