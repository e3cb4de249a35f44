"""The scripts as a user meets them: help, evaluation from the checkpoint alone, and the benchmarks' arithmetic."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dtram_reinforce import StopOptions

from glimpse_env.evaluation import metrics, stopping_rules
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.runtime import terminal
from glimpse_env.training.options import check_training
from glimpse_env.training.recipes import DATASETS, LONG, PAPER, PAPER_STOP

ROOT = Path(__file__).parents[2]


def script(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


FOLDERS = ("agents", "benchmarks", "benchmarks/probes")
SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.py"))
SCRIPTS.remove("benchmarks/options.py")  # no script
NO_DEVICE = ("figures", "pages", "sb3_collect", "startup", "throughput", "probes/fcan_rewards", "probes/summary")  # that is chosen


@pytest.fixture(scope="module")
def printed():
    """What `printed_help.py` says of all scripts."""
    environment = os.environ | {"COLUMNS": "200"}  # wide enough for an option and the beginning of its explanation in one line
    command = [sys.executable, "tests/agents/printed_help.py", *SCRIPTS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def explanations(text):
    """Return what a help says of each option, without its default."""
    entries = re.split(r"^(?=--[a-z])", re.sub(r"^[│ ]+|[│ ]+$", "", text, flags=re.MULTILINE), flags=re.MULTILINE)[1:]
    found = {}
    for entry in entries:
        name, _, rest = re.split(r"^[╭╰]", entry, maxsplit=1, flags=re.MULTILINE)[0].partition(" ")
        told = re.split(r"\s{2,}|\n", rest, maxsplit=1)  # the kind of value, then the explanation
        found[name] = re.sub(r"\((?:default|required|repeatable).*", "", told[1] if len(told) > 1 else "", flags=re.DOTALL).strip()
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_explains_every_option(printed, name):
    told = printed["scripts"][name]
    assert told["status"] == 0
    options = explanations(told["text"])
    assert options or "positional arguments" in told["text"]
    assert [option for option, explanation in options.items() if len(explanation) < 8] == []
    chooses = name.removeprefix("benchmarks/").removesuffix(".py") not in NO_DEVICE
    assert chooses == ("--device" in options)
    if chooses:
        assert "--threads" in options
        expected = "cuda, cuda:1" if name == "benchmarks/gpu.py" else "auto (a CUDA GPU where there is one, else MPS, else the CPU"
        assert options["--device"].startswith(expected)


def test_help_and_the_package_import_nothing_slow(printed):
    """Scripts run in turn in one process, so the first with a list that is not empty is the culprit."""
    assert printed["package"] == []
    assert {name: told["slow"] for name, told in printed["scripts"].items() if told["slow"]} == {}


def test_unknown_option_and_missing_checkpoint_are_refused():
    unknown = script("agents/ram_reinforce.py", "--epoch", "3")
    assert unknown.returncode == 2
    assert "--epoch" in unknown.stderr + unknown.stdout
    missing = script("agents/evaluate.py", "nowhere.pt")
    assert missing.returncode == 1
    assert "no checkpoint at nowhere.pt" in missing.stderr


def looks():
    """Four images, two steps; thresholds below .9 stop half of them at once."""
    return Trajectories(
        index=torch.arange(4),
        labels=torch.tensor([0, 0, 0, 0]),
        predictions=torch.tensor([[0, 1, 1, 1], [0, 0, 0, 1]]),
        confidence=torch.tensor([[0.95, 0.95, 0.4, 0.4], [1.0, 1.0, 1.0, 1.0]]),
        stop=torch.zeros(2, 4),
        locations=torch.zeros(2, 4, 2),
    )


def test_the_rule_mixes_neighbouring_thresholds():
    found = looks()

    def rule(glimpses: float) -> list[float]:
        return stopping_rules.score_mixture(found, stopping_rules.mix_thresholds(found, glimpses)).tolist()

    assert rule(1.5) == [1, 0, 1, 0]  # the two sure ones answer at once, one of them wrongly
    assert rule(2.0) == [1, 1, 1, 0]
    assert rule(1.75) == [1, 0.5, 1, 0]
    assert rule(1.25) == [1, 0, 0.5, 0]
    assert rule(1.0) == [1, 0, 0, 0]


def test_the_rule_spends_what_it_is_given_and_no_threshold_beats_it():
    """On noise every confidence is another threshold; the rule's curve goes through all of their points."""
    torch.manual_seed(0)
    answers = torch.randint(0, 2, (5, 200))
    noise = {"stop": torch.zeros(5, 200), "locations": torch.zeros(5, 200, 2)}
    found = Trajectories(torch.arange(200), torch.zeros(200, dtype=torch.int64), answers, torch.rand(5, 200), **noise)
    for glimpses in (1.0, 1.37, 3.0, 4.999, 5.0):
        mixture = stopping_rules.mix_thresholds(found, glimpses)
        assert sum(share * stopping_rules.compute_mean_glimpses(when) for share, when in mixture) == pytest.approx(glimpses)
        assert (
            stopping_rules.compute_mean_glimpses(mixture[1][1]) - stopping_rules.compute_mean_glimpses(mixture[0][1]) <= 4 / 200 + 1e-9
        )  # one image answers later
    for threshold in (0.2, 0.5, 0.9):
        when = stopping_rules.Rule("confidence", threshold).find_stops(found)
        at_once = (
            stopping_rules.score_mixture(found, stopping_rules.mix_thresholds(found, stopping_rules.compute_mean_glimpses(when)))
            .mean()
            .item()
        )
        assert at_once == pytest.approx(found.score_at(when)[0], abs=1 / 200)


def test_random_stop_is_the_mean_of_shuffled_stops():
    found, generator = looks(), torch.Generator().manual_seed(0)
    when = torch.tensor([0, 1, 1, 1])
    draws = [found.score_at(when[torch.randperm(4, generator=generator)])[0] for _ in range(2000)]
    assert metrics.score_random_stop(found, when).mean().item() == pytest.approx(sum(draws) / 2000, abs=0.02)
    assert metrics.summarize(found, dynamic=False)["random_stop_accuracy"] == 0.75
    assert [
        stopping_rules.score_mixture(found, stopping_rules.mix_fixed_numbers(found, glimpses)).tolist() for glimpses in (1, 1.5, 2)
    ] == [
        [1, 0, 0, 0],
        [1, 0.5, 0.5, 0],
        [1, 1, 1, 0],
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "--epochs=0: expected a whole number"),
        ({"stop_epochs": 0}, "--stop-epochs=0: expected"),
        ({"gamma": 2.0}, r"--gamma 2.0: expected a discount in \(0, 1\]"),
        ({"gamma": 0.0}, r"--gamma 0.0: expected a discount in \(0, 1\]"),
        ({"learning_rate": -1.0}, "--learning-rate -1.0: expected a number above 0"),
        ({"location_discount": 1.5}, r"--location-discount 1.5: expected a discount in \[0, 1\]"),
        ({"sure": 0.0}, r"--sure 0.0: expected a probability in \(0, 1\]"),
        ({"augment_shift": 0.7}, r"--augment-shift 0.7: expected a share of the image's side in \[0, 0.5\]"),
        ({"stop_split": "foo"}, "split='foo': expected one of"),
    ],
)
def test_numbers_that_train_nothing_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        check_training(StopOptions(**given))


def test_no_thread_is_none_too_few():
    with pytest.raises(SystemExit, match="--threads 0: expected a whole number of at least 1"):
        terminal.use_threads(0)


@pytest.mark.parametrize("recipe", [*DATASETS.values(), *PAPER.values(), PAPER_STOP, *LONG.values()])
def test_recipes_name_options_only(recipe):
    assert StopOptions(**recipe)
