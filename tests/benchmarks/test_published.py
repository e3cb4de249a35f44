"""The figures that README and docs quote of the older results are those of benchmarks/results, rounded."""

import json
import math
import re
import statistics
from pathlib import Path

import pytest
import scipy.stats

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")
MEAN = r"(\S+ \S+ \S+)"  # with its interval: 80.1 +- 0.3
RANDOM, CENTRAL = "multi-view: whole + random places", "rigid: whole + central places"
BASELINES = ("one-view", "random", "centre", "grid", "raster")
COUNTS = re.compile(r"CUB-50|(?:with|of) 3|\d x \d")  # numbers that are no figures


def results(name):
    """Return a file of results."""
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def lines(name):
    """Return the rows of a file of results with one on every line."""
    return list(
        map(json.loads, (ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8").splitlines())
    )


def text(page):
    """Return a page without line breaks."""
    return (ROOT / page).read_text(encoding="utf-8").replace("\n", " ")


def mean_accuracies(rows, *names):
    """Return the means over seeds of rows' accuracies, each with the half-width of its interval."""
    return [value for name in names for value in over(rows[name]["accuracy"])]


def by(name, rows):
    """Return rows by one of their entries."""
    return {row[name]: row for row in rows}


def table(page, heading):
    """Return the rows of the first table under a heading, as cells free of links and emphasis."""
    after = (ROOT / page).read_text(encoding="utf-8").split(f"# {heading}\n")[1]
    section = re.split(r"^#+ ", after, flags=re.MULTILINE)[0]
    lines = re.search(r"\|[-:| ]*\|\n((?:\|.*\n)+)", section)[1].replace("**", "")
    lines = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", lines).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def ours(agent):
    """Return our results in README's table of agents."""
    [row] = [row for row in table("README.md", "The agents") if row[0] == agent]
    return row[-1]


def assert_quoted(text, *values):
    """Assert that the numbers in a text are these values, rounded to as many digits as it has."""
    quoted = NUMBER.findall(COUNTS.sub("", text).replace("+- ", ""))
    assert len(quoted) == len(values), text
    for number, value in zip(quoted, values, strict=True):
        unit = 10 ** -len(number.partition(".")[2])
        assert float(number.replace(",", "")) == pytest.approx(value, abs=0.501 * unit), text


def over(values):
    """Return a mean over seeds and the half-width of its 95 % interval, unless nothing varies."""
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return [statistics.fmean(values), *([half] if half else [])]


def mnist():
    """Return RAM's error on MNIST by the default commands, then DT-RAM's error and glimpses."""
    command = "python agents/dtram_reinforce.py"
    default = [run for run in results("runs.json") if run["command"].startswith(command)]
    assert [run["seed"] for run in default] == [0, 1, 2]
    late = [100 * (1 - run["per_step_accuracy"][-1]) for run in default]
    stopped = [100 * (1 - run["accuracy"]) for run in default]
    return over(late), [*over(stopped), statistics.fmean(run["mean_glimpses"] for run in default)]


def accurate(name):
    """Return error and mean glimpses of a row of Table 2 over seeds."""
    rows = [row for row in lines("dtram-2-mnist.jsonl") if row["row"] == name]
    glimpses = statistics.fmean(row["mean_glimpses"] for row in rows)
    return over([100 * (1 - row["accuracy"]) for row in rows]), glimpses


def test_seconds_from_the_command_to_the_result():
    default, short, long = table("README.md", "How long it takes")
    runs = results("long_mnist.json")
    values = [[run["train_seconds"], 100 * (1 - run["accuracy"]), run["mean_glimpses"]] for run in runs]
    assert_quoted(
        " ".join(long[1:4]).replace(", ", " "),
        *(value for pair in zip(*values, strict=True) for value in pair),
    )
    for shown, schedule in ((default, "default"), (short, "--epochs 6")):
        own = [run for run in lines("time_to_accuracy.jsonl") if run["schedule"] == schedule]
        values = [*over([run["seconds"] for run in own]), *over([run["error"] for run in own])]
        assert_quoted(" ".join(shown[1:4]), *values, statistics.fmean(run["mean_glimpses"] for run in own))


def test_ram_and_dtram_in_the_table_of_agents():
    ram, dtram = mnist()
    cub = by("row", results("photographs_cub50.json")["rows"])
    error, _ = accurate("RAM 7")
    assert_quoted(ours("RAM"), *ram, *error, *mean_accuracies(cub, "RAM, 3", "one view", "random, 3"))
    error, glimpses = accurate("DT-RAM-2 (gamma .99)")
    photographs = [*over(cub["DT-RAM"]["accuracy"]), statistics.fmean(cub["DT-RAM"]["mean_glimpses"])]
    assert_quoted(ours("DT-RAM"), *dtram, *error, glimpses, *photographs)


def sermanet_places():
    """Return Sermanet's accuracies on CUB-50 by seed, learned and random: high resolution, then all three."""
    saved = results("sermanet_cub50.json")["three_seeds"]
    kinds = [by("set", saved[kind]["rows"]) for kind in ("learned", "random")]
    return [kind[name]["accuracy"] for name in ("high", "all") for kind in kinds]


def test_sermanet_beside_random_places():
    page, two = text("docs/agents/sermanet.md"), r"(\S+ \S+ \S+ +against +\S+ \S+ \S+)"
    alone, everything = re.search(rf"alone {two}, .*?all three {two},", page).groups()
    high, random_high, whole, random_whole = map(over, sermanet_places())
    assert_quoted(alone, *high, *random_high)
    assert_quoted(everything, *whole, *random_whole)
    mnist = re.search(rf"3 seeds: {MEAN} % with learned places, {MEAN} % +with random", page).groups()
    accuracies = [one["rows"][0]["accuracy"] for one in results("sermanet_mnist.json")]
    assert_quoted(" ".join(mnist), *over(accuracies[0]), *over(accuracies[1]))


def test_fcan_on_clutter_and_its_rewards():
    page, runs = text("docs/agents/fcan.md"), results("fcan_clutter.json")
    quoted = re.search(rf"3 seeds: {MEAN} % with learned parts, {MEAN} % with random", page).groups()
    learned = [100 * run["accuracy"] for run in runs if "random" not in run["command"]]
    random = [100 * run["accuracy"] for run in runs if "random" in run["command"]]
    assert_quoted(" ".join(quoted), *over(learned), *over(random))
    quoted = re.search(rf"greedy {MEAN} %, delayed {MEAN} %, random places {MEAN} %", page).groups()
    rewards = by("row", results("rewards_cub50.json")["rows"])
    assert_quoted(" ".join(quoted), *mean_accuracies(rewards, "greedy", "delayed", "random places"))


def test_fcan_sermanet_and_baselines_in_the_table_of_agents():
    fcan = by("row", results("fcan_cub50.json")["rows"])
    assert_quoted(ours("FCAN"), *mean_accuracies(fcan, "whole + all parts", "whole image", RANDOM, CENTRAL))
    learned, random, *others = sermanet_places()
    assert_quoted(ours("Sermanet"), *over(learned), *over(random), *map(statistics.fmean, others))
    rows = results("baselines_cub50.json")["rows"]
    kinds = [[100 * run["accuracy"] for run in rows[name]] for name in BASELINES]
    assert_quoted(ours("baselines"), *(value for kind in kinds for value in over(kind)))


def test_reinforce_beside_stable_baselines():
    [reinforce, recurrent, single] = table("README.md", "Any other algorithm")
    _, [error, half, glimpses, *_] = mnist()
    assert_quoted(" ".join(reinforce[2:4]), error, half, glimpses)
    runs = results("sb3_mnist.json")
    errors, glimpses = [100 * (1 - run["accuracy"]) for run in runs], [run["mean_glimpses"] for run in runs]
    assert_quoted(" ".join(recurrent[2:4]), *over(errors), statistics.fmean(glimpses))
    run = results("cleanrl_mnist.json")
    assert_quoted(" ".join(single[2:4]), 100 * (1 - run["accuracy"]), run["mean_glimpses"])
    page = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8")
    quoted = re.search(r"test images (.*?) % at (.*?) of 7 glimpses, after (.*?) s on", page).groups()
    quoted = " ".join(quoted).replace(" and ", ", ").replace(", ", " ")
    assert_quoted(quoted, *errors, *glimpses, *(run["train_seconds"] for run in runs))


def test_speed_of_several_processes_and_of_stable_baselines():
    page = text("README.md")
    small, large = results("processes.json")["rows"]
    quoted = re.search(r"thread each, are (\S+) times as fast .*? and (\S+) times .*? process (\S+) of", page)
    assert_quoted(" ".join(quoted.groups()), large["ratio"], small["ratio"], small["half"] / small["one"])
    rows, names = results("sb3_collect.json")["rows"], ("step", "collect_rollouts")
    ratios = [[row[name]["ratio"] for row in rows] for name in names]
    quoted = re.search(r"collects (\S+ to \S+) times as many .*? policy (\S+ to \S+) times", page).groups()
    assert_quoted(" ".join(quoted), *(end for kind in ratios for end in (min(kind), max(kind))))


def test_learned_stops_against_the_threshold():
    lines = table("docs/agents/dtram.md", "Learned stop against a confidence threshold")
    for shown, row in zip(lines, results("stopping.json")["rows"], strict=True):
        assert shown[0] == f"{row['gamma']:g}".removeprefix("0")
        quantities = [row[name] for name in ("mean_glimpses", "learned_error", "rule_error", "difference")]
        assert_quoted(" ".join(shown[1:]), *quantities, *row["interval"])


def differences(row, others):
    """Return a row's differences from others, with their intervals."""
    return [value for other in others for value in row["differences"].get(other, ())]


def test_photographs():
    names = ("one view", "random, 3", "centre, 3", "RAM, 3", "RAM, 6", "DT-RAM")
    names = (*names, "oracle: box centre", "oracle: least loss")
    rows = by("row", results("photographs_cub50.json")["rows"])
    lines = table("docs/datasets/cub.md", "Learned locations against others")
    for shown, name in zip(lines, names, strict=True):
        row = rows[name]
        values = [*over(row["accuracy"]), statistics.fmean(row["mean_glimpses"])]
        values += differences(row, ("one view", "random, 3", "centre, 3"))
        assert_quoted(" ".join(shown[1:]), *values)


def test_fcan():
    names = ("whole image", "part1-8x8 alone", "whole + part1-8x8", "whole + all parts", RANDOM, CENTRAL)
    rows = by("row", results("fcan_cub50.json")["rows"])
    for shown, name in zip(table("docs/agents/fcan.md", "Figures: CUB-50"), names, strict=True):
        values = [*over(rows[name]["accuracy"]), *differences(rows[name], ("whole image", RANDOM, CENTRAL))]
        assert_quoted(" ".join([shown[1], *shown[3:]]), *values)


def test_clutter():
    runs = [run for run in lines("clutter-clutter.jsonl") if run["row"] == "RAM"]
    against = r"(\S+) % of .*?against (\S+) %"
    quoted = re.search(
        rf"classifies (\S+) % of .*? correctly.*?: {against}.*?in {against}", text("docs/datasets/clutter.md")
    )
    names = ("fixation", "fixation_chance", "any", "any_chance")
    shares = [statistics.fmean(run["on_patch"][name] for run in runs) for name in names]
    accuracy = statistics.fmean(run["accuracy"] for run in runs)
    assert_quoted(" ".join(quoted.groups()), 100 * accuracy, *(100 * share for share in shares))


def test_speed():
    found = results("throughput.json")["steps_per_second"]
    for shown in table("docs/environment.md", "Speed"):
        best = {name: speed["best"] for name, speed in found[shown[0]].items()}
        speeds = [best[name] for name in ("single", "numpy", "core", "ap-gym vector") if name in best]
        shares = [best["core"] / best[name] for name in ("ap-gym vector", "crop bilinear")]
        assert_quoted(" ".join(cell for cell in shown[1:] if cell != "-"), *speeds, *shares)
