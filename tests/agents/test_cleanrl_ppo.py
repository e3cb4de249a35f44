"""The single-file PPO: its estimates by hand, its losses, and a whole run that the common tools read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cleanrl_ppo
import pytest
import summary
import torch
from cleanrl_ppo import Ppo
from gymnasium.vector import AutoresetMode

from glimpse_env import Delayed, EpisodeStatistics
from glimpse_env.networks.location_policy import Gaussian
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training.step_buffer import Now, Steps
from tests.conftest import CLASSES, HORIZON


def collected(make, **options):
    """Return options, a network, and the rectangle that it collects from 6 rows: before, steps, after."""
    torch.manual_seed(0)
    chosen = Ppo(**{"steps": 9, "envs": 6, "hidden": 16, "precision": "float32"} | options)
    env = EpisodeStatistics(make(6, autoreset_mode=AutoresetMode.SAME_STEP, reward=Delayed(0.5)))
    network = RecurrentAttention(Architecture(16, CLASSES, HORIZON, hidden=16, features=16))
    observation, info = env.reset(seed=0)
    before = Now(observation, info["label"], torch.ones(6, dtype=torch.bool), network.begin(6))
    return chosen, network, (before, *cleanrl_ppo.collect(env, network, before, chosen))


def test_advantages_are_the_hand_computed_ones():
    """Row 0 ends at step 1, row 1 never: with lambda = 1/2 and gamma = 1."""
    steps = Steps(
        *[{}] + [torch.zeros(3, 2)] * 5,
        torch.tensor([[0.5, 0], [0.25, 0.5], [0, 1]]),
        *[torch.zeros(3, 2)] * 2,
    )
    steps = steps._replace(
        reward=torch.tensor([[0.0, 0], [1, 0], [0, 0]]), done=torch.tensor([[0, 0], [1, 0], [0, 0]]).bool()
    )
    found = cleanrl_ppo.advantages(steps, torch.tensor([0.5, 2.0]), 0.5)
    errors = torch.tensor([[-0.25, 0.5], [0.75, 0.5], [0.5, 1.0]])
    later = errors[1] + 0.5 * errors[2] * torch.tensor([0, 1])
    torch.testing.assert_close(found, torch.stack((errors[0] + 0.5 * later, later, errors[2])))


def test_with_lambda_one_value_and_advantage_are_the_return(make):
    """With gamma = 1 only the reward discounts: discount^t of a correct one, at all earlier steps."""
    _, _, (_, steps, _) = collected(make)
    found = steps.value + cleanrl_ppo.advantages(steps, torch.zeros(6), 1.0)
    for row in range(6):
        coming = 0.0
        for t in reversed(range(9)):
            coming = steps.reward[t, row] + (0.0 if steps.done[t, row] else coming)
            torch.testing.assert_close(found[t, row], torch.as_tensor(coming), atol=1e-6, rtol=0)


def test_the_label_belongs_to_the_glimpse_that_is_seen(make, noise):
    """Each of the small set's pictures shows its class: a glimpse is a piece of one of the label's class."""
    _, _, (_, steps, _) = collected(make)
    env = make(6, autoreset_mode=AutoresetMode.SAME_STEP)
    for t in range(9):
        for row in range(6):
            location, step = (
                steps.observation["location"][t, row],
                steps.observation["step"][t, row] * HORIZON,
            )
            several = torch.arange(int(steps.label[t, row]), len(noise), CLASSES)
            views = env.sensor.observe(
                several, location.expand(len(several), 2), step.long().expand(len(several))
            )["glimpse"]
            assert (views == steps.observation["glimpse"][t, row]).flatten(1).all(1).any()


def test_replayed_from_where_it_began_the_policy_has_not_moved(make):
    """Episodes end at any step: the ratio is 1 only if memories are cleared at the same steps as before."""
    options, network, (before, steps, _) = collected(make)
    assert steps.done.any()
    assert not steps.done[-1].all()
    advantage = torch.randn(9, 6)
    found = cleanrl_ppo.losses(network, steps, before.memory, advantage, options)
    torch.testing.assert_close(
        found["policy"], torch.tensor(0.0), atol=1e-6, rtol=0
    )  # minus the mean of normalised advantages
    torch.testing.assert_close(found["value"], options.value_weight * 0.5 * advantage.square().mean())


def test_what_the_environment_ignores_is_no_choice(make):
    """At the last glimpse nothing is decided, after stopping no location is chosen: there is no gradient."""
    _, network, (_, steps, _) = collected(make)
    heads, _ = network({name: value[0] for name, value in steps.observation.items()}, network.begin(6))
    step = torch.tensor([[0.25], [0.25], [1.0], [1.0], [0.5], [0.5]])
    stop = torch.tensor([False, True, False, True, False, True])
    place = torch.zeros(6, 2)
    chosen = cleanrl_ppo.log_prob(Gaussian(0.15), heads, step, place, stop)
    mean, odds = torch.autograd.grad(chosen.sum(), (heads.location_parameters, heads.stop))
    assert mean.abs().sum(1).bool().tolist() == [True, False, False, False, True, False]
    assert odds.bool().tolist() == [True, True, False, False, True, True]


def test_the_class_head_learns_from_labels_alone(make):
    """No reward reaches the class scores: without its cross-entropy the classifier has no gradient."""
    options, network, (before, steps, _) = collected(make)
    found = cleanrl_ppo.losses(network, steps, before.memory, torch.randn(9, 6), options)
    rest = found["policy"] + found["value"] + found["entropy"]
    assert (
        torch.autograd.grad(rest, network.classifier.weight, retain_graph=True, allow_unused=True)[0] is None
    )
    assert torch.autograd.grad(found["class"], network.classifier.weight)[0].abs().sum() > 0


def test_a_run_is_read_by_the_common_tools(tmp_path, halves, capsys):
    """Two classes of pictures, bright on the left or on the right: learned in seconds."""
    folder = halves((24, 12), shape=(16, 16))
    options = Ppo(
        dataset=folder,
        image_size=16,
        glimpse_size=8,
        glimpses=3,
        split="train",
        total_steps=3_000,
        envs=24,
        steps=6,
        threads=1,
    )
    row = cleanrl_ppo.main(Ppo(**vars(options) | {"out": tmp_path, "hidden": 32, "precision": "float32"}))
    assert row["accuracy"] > 0.9
    assert row["images"] == 24
    assert 1 <= row["mean_glimpses"] <= 3
    assert json.loads((tmp_path / "result.json").read_text())["options"]["discount"] == 0.99
    assert results.read_or_write(tmp_path / "checkpoint.pt", "test") == json.loads(
        (tmp_path / "result.json").read_text()
    )
    capsys.readouterr()
    summary.main(summary.Summary((tmp_path / "result.json",)))
    assert "cleanrl_ppo" in capsys.readouterr().out


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, halves, interrupt, capsys):
    """Weights, history and result are those of an uninterrupted run: episodes and random numbers continue."""
    folder = halves((24, 12), shape=(16, 16))
    given = {
        "dataset": folder,
        "image_size": 16,
        "glimpse_size": 8,
        "glimpses": 3,
        "split": "train",
        "envs": 8,
        "steps": 4,
        "threads": 1,
    }
    given |= {"total_steps": 32 * 25, "hidden": 16, "precision": "float32"}
    whole = cleanrl_ppo.main(Ppo(**given, out=tmp_path / "whole"))

    options = Ppo(**given, out=tmp_path / "parts")
    interrupt(2)  # the checkpoint holds round 10
    with pytest.raises(SystemExit) as end:
        cleanrl_ppo.main(options)
    assert end.value.code == 130
    assert "checkpoint.pt holds the last finished epoch; resume with --resume" in capsys.readouterr().err
    interrupt(0)
    with pytest.raises(
        SystemExit,
        match=r"cleanrl_ppo: --resume: .*checkpoint.pt was made with --steps 4; give the same options",
    ):
        cleanrl_ppo.main(replace(options, steps=5, resume=True))
    again = cleanrl_ppo.main(replace(options, resume=True))
    one, two = (checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts"))
    assert all(torch.equal(value, two["network"][name]) for name, value in one["network"].items())
    for row, other in zip(one["progress"]["history"], two["progress"]["history"], strict=True):
        assert row | {"seconds": 0} == other | {"seconds": 0}
    assert [row["epoch"] for row in one["progress"]["history"]] == [10, 20, 25]
    assert again["accuracy"] == whole["accuracy"]


def test_several_processes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        SystemExit, match="cleanrl_ppo runs in one process, and torchrun started 2: start it with python"
    ):
        cleanrl_ppo.main(Ppo(out=tmp_path, threads=1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "test"}, "--split test: the test images are not for training"),
        ({"steps": 0}, "--steps=0: expected a whole number of at least 1"),
        ({"discount": 1.5}, r"--discount=1.5: expected a discount in \(0, 1\]"),
        ({"dataset": "nowhere"}, "nowhere"),
    ],
)
def test_options_that_cannot_be_end_with_one_sentence(tmp_path: Path, options: dict, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        cleanrl_ppo.main(Ppo(**{"out": tmp_path, "threads": 1} | options))


def test_a_run_with_a_transformer_is_evaluated_and_resumed_like_others(halves, tmp_path, interrupt):
    given = {"dataset": halves((24, 10)), "image_size": 32, "glimpses": 3, "threads": 1, "hidden": 8}
    given |= {"core": "transformer", "envs": 8, "steps": 4, "total_steps": 640, "precision": "float32"}
    whole, parts = Ppo(**given, out=tmp_path / "whole"), Ppo(**given, out=tmp_path / "parts")
    row = cleanrl_ppo.main(whole)
    interrupt(1)
    with pytest.raises(SystemExit):
        cleanrl_ppo.main(parts)
    interrupt(0)
    again = cleanrl_ppo.main(replace(parts, resume=True))
    assert again["accuracy"] == row["accuracy"]
    saved = [checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts")]
    assert saved[0]["architecture"]["core"] == "transformer"
    for name, value in saved[0]["network"].items():
        assert torch.equal(value, saved[1]["network"][name])
    evaluated = results.write(tmp_path / "whole" / "checkpoint.pt", device="cpu")
    assert evaluated["accuracy"] == row["accuracy"]
