"""The probes: thresholds beside blind rules, oracles, locations alone, FCAN's rewards, means over seeds."""

import json

import fcan_rewards
import oracles
import pytest
import summary
import thresholds
import torch
from gymnasium.vector import AutoresetMode
from torch.nn import functional as F

from glimpse_env import Backbone, BankSensor, GlimpseVectorEnv, ImageSet
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.reports import plots
from glimpse_env.runtime import checkpoint, files
from tests.conftest import four_trajectories


def test_thresholds_are_compared_with_blind_rivals_at_equal_glimpses():
    found = four_trajectories()
    sure, last = thresholds.make_rows(found, False, (0.9, 1.0), True)
    assert (sure["mean_glimpses"], sure["accuracy"], sure["paper"]) == (1.5, 50, (81.3, 3.6))
    # Half of the answers after one glimpse (25 % right), half after two (75 %), whoever gets which.
    assert sure["random_stop"]["accuracy"] == sure["fixed_number"]["accuracy"] == 50
    same = {"accuracy": 75, "difference": 0, "interval": [0, 0]}
    assert last["random_stop"] == last["fixed_number"] == same
    assert "learned" in thresholds.format_row(thresholds.make_rows(found, True, (), False)[0])


@pytest.fixture(scope="module")
def env():
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=noise)
    boxes = torch.tensor([[-0.5, -0.5, 0.5, 0.0], [0.8, 0.8, 1.0, 1.0]]).repeat(3, 1)
    images = ImageSet(pixels, torch.arange(6) % 3, ("a", "b", "c"), boxes=boxes)
    sensor = BankSensor(images, Backbone("resnet18", None, precision="float32"), glimpse_size=32, grid=3)
    pairs = [(image, int(label)) for image, label in zip(pixels, images.labels, strict=True)]
    env = GlimpseVectorEnv(6, pairs, sensor=sensor, grid=3)
    env.images = images
    return env


def test_the_box_oracle_looks_at_the_middle_of_the_box_as_far_as_it_can(env):
    places = oracles.box_centre(env, None, None, torch.tensor([0, 1]), 2)
    assert torch.allclose(places, torch.tensor([[0.0, -0.25 / env.sensor.reach], [1.0, 1.0]]))


def test_the_loss_oracle_finds_no_better_place(env):
    torch.manual_seed(0)
    horizon = env.preset.max_glimpses
    network = RecurrentAttention(Architecture(glimpse=512, classes=3, horizon=horizon, hidden=8, features=8))
    network.eval()
    index = torch.arange(6)

    def loss(places):
        unit = {"location": places, "step": torch.full((6, 1), 2 / horizon)}
        seen = env.sensor.observe(index, places, torch.full((6,), 2))
        logits = network(unit | seen, network.begin(6))[0].logits
        return F.cross_entropy(logits, env.images.labels, reduction="none")

    with torch.no_grad():
        best = loss(oracles.least_loss(env, network, network.begin(6), index, 2))
        for place in env.sensor.locations:
            assert (best <= loss(place.expand(6, 2)) + 1e-5).all()


def test_elsewhere_is_another_images_glimpse_with_the_own_context():
    look = {"glimpse_size": 7, "scales": (1.0, 2.0), "location_range": 1.0, "fill": "noise", "context": True}
    env = GlimpseVectorEnv(4, "mnist", split="validation", autoreset_mode=AutoresetMode.DISABLED, **look)
    sensor = oracles.Elsewhere(env.sensor, len(env.images))
    index, other = torch.tensor([0, 7, 4999, 2500]), torch.tensor([2500, 2507, 2499, 0])
    location, step = torch.rand(4, 2) * 2 - 1, torch.tensor([1, 2, 3, 1])
    seen, expected = sensor.observe(index, location, step), env.sensor.observe(other, location, step)
    assert torch.equal(seen["glimpse"], expected["glimpse"])
    assert torch.equal(sensor.context(index), env.sensor.context(index))


def epochs(accuracies: list[float]) -> list[dict]:
    return [
        {"epoch": number, "validation_accuracy": value, "entropy": 4.0 - number, "reward_of_parts": 0.5}
        for number, value in enumerate(accuracies, 1)
    ]


def test_how_soon_a_run_is_there_counts_from_where_it_stays():
    assert fcan_rewards.reach(epochs([0.5, 0.7, 0.6, 0.7, 0.8]), 0.65) == 4
    assert fcan_rewards.reach(epochs([0.7, 0.8]), 0.65) == 1
    assert fcan_rewards.reach(epochs([0.7, 0.8, 0.6]), 0.65) is None


def test_the_table_of_rewards_by_hand(tmp_path, monkeypatch, capsys):
    """Means of 80, 60 and 50 %: the target is halfway from 50 to 80 %."""
    runs = [
        ("greedy", "learned", 0, [0.5, 0.8, 0.8]),
        ("greedy", "learned", 1, [0.5, 0.7, 0.8]),
        ("delayed", "learned", 0, [0.4, 0.4, 0.5]),
        ("delayed", "learned", 1, [0.4, 0.6, 0.7]),
        ("greedy", "random", 0, [0.4, 0.5, 0.5]),
    ]
    paths = []
    for reward, where, seed, values in runs:
        options = {"reward": reward, "where": where, "seed": seed}
        paths.append(tmp_path / f"{reward}-{where}-{seed}" / "checkpoint.pt")
        run = {"agent": "fcan_greedy", "options": options, "progress": {"history": epochs(values)}}
        checkpoint.save(paths[-1], run)
    monkeypatch.setattr(plots, "save", lambda figure, target: None)
    outputs = tmp_path / "curves.png", tmp_path / "rows.json"
    fcan_rewards.main(fcan_rewards.Rewards(tuple(reversed(paths)), *outputs))
    rows = {row["row"]: row for row in files.read_json(tmp_path / "rows.json")["rows"]}
    assert rows["greedy"]["accuracy"] == pytest.approx([80, 80])
    assert rows["greedy"]["epochs"] == [2, 2]
    assert rows["delayed"]["epochs"] == [None, 3]
    assert rows["delayed"]["moves"] == pytest.approx([10, 10])
    assert rows["random places"]["entropy"] == 1
    assert "- 3" in capsys.readouterr().out
    with pytest.raises(ValueError, match="seed 0 of --reward greedy is there twice"):
        fcan_rewards.read_curves([paths[0], paths[0]])


def test_compared_curves_draw_every_setting_in_every_panel(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, target: drawn.append(figure))
    found = {name: [epochs([0.5, 0.8]), epochs([0.3, 0.6])] for name in ("greedy", "delayed")}
    plots.write_compared_curves(found, fcan_rewards.PANELS, tmp_path / "curves.png")
    (figure,) = drawn
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(fcan_rewards.PANELS.values())
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2]
    assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([40, 70])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "at least one result.json"),
        ("no json", "is not a JSON file"),
        ('{"a": 1}', "does not hold rows of runs"),
    ],
)
def test_summary_refuses_what_is_no_result(tmp_path, content, message):
    file = tmp_path / "result.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=message):
        summary.main(summary.Summary(() if content is None else (file,)))


def test_summary_groups_seeds_and_gives_the_interval(tmp_path, capsys):
    for seed, accuracy in ((0, 0.98), (1, 0.99)):
        row = {"agent": "a", "dataset": "mnist", "split": "test", "seed": seed, "accuracy": accuracy}
        row |= {"mean_glimpses": 2.0, "per_step_accuracy": [0.5, accuracy], "train_seconds": 10}
        row |= {"options": {"seed": seed, "epochs": 3}}
        other = row | {"dataset": "dogs", "mean_class_accuracy": accuracy - 0.1}
        (tmp_path / f"dogs-{seed}.json").write_text(json.dumps(other))
        (tmp_path / f"{seed}.json").write_text(json.dumps(row))
    summary.main(summary.Summary(tuple(tmp_path.glob("*.json"))))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    old, new = sorted(lines[1:], key=lambda line: "dogs" in line)
    assert old.split()[4:7] == new.split()[4:7] == ["1.50", "+-", "6.35"]  # t(1) * 0.7071 / sqrt(2)
    assert new.split()[7:10] == ["11.50", "+-", "6.35"]
    assert old.split()[7] == "2.00"  # a row of an earlier version has no mean class accuracy
