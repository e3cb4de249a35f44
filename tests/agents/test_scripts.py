"""The scripts' command lines: help, recipes, and options that are refused."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ram_reinforce
from dtram_reinforce import DATASETS, RECIPES, StopOptions, check_options
from fcan.plan import FcanOptions
from sb3_ppo import Sb3Options

from glimpse_env.runtime import terminal
from glimpse_env.training.command_line import parse
from glimpse_env.training.options import check_numbers

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
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.py")
)
SCRIPTS.remove("benchmarks/options.py")  # no script
NO_DEVICE = (
    "agents/export",
    "figures",
    "pages",
    "processes",
    "sb3_collect",
    "startup",
    "throughput",
    "probes/fcan_rewards",
    "probes/summary",
)  # that is chosen


@pytest.fixture(scope="module")
def printed():
    """What `printed_help.py` says of all scripts."""
    # wide enough for an option and the beginning of its explanation, too narrow for groups side by side
    environment = os.environ | {"COLUMNS": "125"}
    command = [sys.executable, "tests/agents/printed_help.py", *SCRIPTS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def explanations(text):
    """Return what a help says of each option, without its default."""
    entries = re.split(
        r"^(?=--[a-z])", re.sub(r"^[│ ]+|[│ ]+$", "", text, flags=re.MULTILINE), flags=re.MULTILINE
    )[1:]
    found = {}
    for entry in entries:
        name, _, rest = re.split(r"^[╭╰]", entry, maxsplit=1, flags=re.MULTILINE)[0].partition(" ")
        told = re.split(r"\s{2,}|\n", rest, maxsplit=1)  # the kind of value, then the explanation
        found[name] = re.sub(
            r"\((?:default|required|repeatable).*", "", told[1] if len(told) > 1 else "", flags=re.DOTALL
        ).strip()
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
        expected = (
            "cuda, cuda:1"
            if name == "benchmarks/gpu.py"
            else "auto (a CUDA GPU, else MPS, else the CPU; the log names it)"
        )
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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "--epochs=0: expected a whole number"),
        ({"stop_epochs": 0}, "--stop-epochs=0: expected"),
        ({"gamma": 2.0}, r"--gamma=2.0: expected a discount in \(0, 1\]"),
        ({"gamma": 0.0}, r"--gamma=0.0: expected a discount in \(0, 1\]"),
        ({"learning_rate": -1.0}, r"--learning-rate=-1.0: expected a number in \(0, inf\)"),
        ({"location_discount": 1.5}, r"--location-discount=1.5: expected a discount in \[0, 1\]"),
        ({"sure": 0.0}, r"--sure=0.0: expected a probability in \(0, 1\]"),
        (
            {"augment_shift": 0.7},
            r"--augment-shift=0.7: expected a fraction of the image's side in \[0, 0.5\]",
        ),
    ],
)
def test_numbers_that_train_nothing_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        check_numbers(StopOptions(**given))


def test_a_split_to_stop_on_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="split='foo': expected one of"):
        check_options(StopOptions(stop_split="foo"))


def test_no_thread_is_none_too_few():
    with pytest.raises(SystemExit, match="--threads 0: expected a whole number of at least 1"):
        terminal.use_threads(0)


@pytest.mark.parametrize(
    "recipe", [*DATASETS.values(), *RECIPES["paper"].values(), *RECIPES["long"].values()]
)
def test_recipes_name_options_only(recipe):
    assert StopOptions(**recipe)


@pytest.mark.parametrize(
    "recipe", [recipe for named in ram_reinforce.RECIPES.values() for recipe in named.values()]
)
def test_recipes_of_ram_name_its_options_only(recipe):
    assert ram_reinforce.Options(**recipe)


@pytest.mark.parametrize(
    ("kind", "old", "message"),
    [
        (ram_reinforce.Options, "--where", "--where is called --location-encoding now"),
        (FcanOptions, "--where", "--where is called --policy now"),
        (Sb3Options, "--look-first=0.5", "--look-first is called --ignore-stops now"),
        (Sb3Options, "--entropy", "--entropy is called --entropy-weight now"),
    ],
)
def test_old_names_are_refused_with_the_new_one(kind, old, message):
    with pytest.raises(SystemExit, match=f"^{message}$"):
        parse(kind, {}, {}, "", [old])


GROUPS = {
    "ram_reinforce": "run data glimpse network training policy",
    "dtram_reinforce": "run data glimpse network training policy stopping",
    "sermanet_rnn": "run data glimpse network training policy",
    "fcan_greedy": "run data stage localise classify",
    "baselines": "run data glimpse table classifier",
    "whole_image": "run data layer learning",
    "cleanrl_ppo": "run data glimpse ppo",
    "rllib_ppo": "run data glimpse ppo",
    "sb3_ppo": "run data glimpse episode algorithm classifier",
    "sb3_sac": "run data glimpse episode offpolicy classifier",
    "torchrl_ppo": "run data glimpse policy update classifier",
    "torchrl_sac": "run data glimpse policy update classifier",
    "finetune_backbone": "run data tuning",
}


@pytest.mark.parametrize("name", GROUPS)
def test_help_shows_groups(printed, name):
    text = printed["scripts"][f"agents/{name}.py"]["text"]
    titles = re.findall(r"^\W*(\w+) options\W*$", text, flags=re.MULTILINE)
    assert titles == GROUPS[name].split()
