"""The figures that README and docs quote of the older results are those of the files in benchmarks/results, as far as their digits go."""

import json
import math
import re
import statistics
from pathlib import Path

import pytest
import scipy.stats

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")
COUNTS = re.compile(r"CUB-50|(?:with|of) 3|\d x \d")  # numbers that are no figures


def results(name):
    """Return a file of results."""
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def by(name, rows):
    """Return rows by one of their entries."""
    return {row[name]: row for row in rows}


def table(page, heading):
    """Return the rows of the first table under a heading, as cells free of links and emphasis."""
    section = re.split(
        r"^#+ ", (ROOT / page).read_text(encoding="utf-8").split(f"# {heading}\n")[1], flags=re.MULTILINE
    )[0]
    lines = re.search(r"\|[-:| ]*\|\n((?:\|.*\n)+)", section)[1].replace("**", "")
    return [
        [cell.strip() for cell in re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line).strip("|").split("|")]
        for line in lines.splitlines()
    ]


def ours(agent):
    """Return what README's table of agents says that we reach."""
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
    """Return a mean over seeds and the half-width of its 95 % interval, which is left out where nothing varies."""
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return [statistics.fmean(values), *([half] if half else [])]


def mnist():
    """Return what the default commands reach on MNIST, over seeds: RAM's error, then DT-RAM's error and glimpses."""
    default = [
        run for run in results("runs.json") if run["command"].startswith("python agents/dtram_reinforce.py")
    ]
    assert [run["seed"] for run in default] == [0, 1, 2]
    late = [100 * (1 - run["per_step_accuracy"][-1]) for run in default]
    stopped = [100 * (1 - run["accuracy"]) for run in default]
    return over(late), [*over(stopped), statistics.fmean(run["mean_glimpses"] for run in default)]


def accurate(name):
    """Return error and mean glimpses of a row of Table 2 over seeds."""
    lines = (ROOT / "benchmarks" / "results" / "dtram-2-mnist.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["row"] == name]
    return over([100 * (1 - row["accuracy"]) for row in rows]), statistics.fmean(
        row["mean_glimpses"] for row in rows
    )


def test_seconds_from_the_command_to_the_result():
    lines = (
        (ROOT / "benchmarks" / "results" / "time_to_accuracy.jsonl").read_text(encoding="utf-8").splitlines()
    )
    runs = [json.loads(line) for line in lines]
    for shown, schedule in zip(
        table("README.md", "How long it takes"), ("default", "--epochs 6"), strict=True
    ):
        own = [run for run in runs if run["schedule"] == schedule]
        found = [*over([run["seconds"] for run in own]), *over([run["error"] for run in own])]
        assert_quoted(" ".join(shown[1:4]), *found, statistics.fmean(run["mean_glimpses"] for run in own))


def test_ram_and_dtram_in_the_table_of_agents():
    ram, dtram = mnist()
    cub = by("row", results("photographs_cub50.json")["rows"])
    accuracies = [
        value for name in ("RAM, 3", "one view", "random, 3") for value in over(cub[name]["accuracy"])
    ]
    error, _ = accurate("RAM 7")
    assert_quoted(ours("RAM"), *ram, *error, *accuracies)
    error, glimpses = accurate("DT-RAM-2 (gamma .99)")
    assert_quoted(
        ours("DT-RAM"),
        *dtram,
        *error,
        glimpses,
        *over(cub["DT-RAM"]["accuracy"]),
        statistics.fmean(cub["DT-RAM"]["mean_glimpses"]),
    )


def sermanet_places():
    """Return Sermanet's accuracies on CUB-50 by seed: high resolution at learned and random places, then all three."""
    saved = results("sermanet_cub50.json")["three_seeds"]
    return [
        by("set", saved[kind]["rows"])[name]["accuracy"]
        for name in ("high", "all")
        for kind in ("learned", "random")
    ]


def test_sermanet_beside_random_places():
    page = (ROOT / "docs" / "agents" / "sermanet.md").read_text(encoding="utf-8").replace("\n", " ")
    alone, everything = re.search(
        r"alone (\S+ \S+ \S+ against \S+ \S+ \S+), .*?all three (\S+ \S+ \S+ +against +\S+ \S+ \S+),", page
    ).groups()
    high, random_high, whole, random_whole = map(over, sermanet_places())
    assert_quoted(alone, *high, *random_high)
    assert_quoted(everything, *whole, *random_whole)
    mnist = re.search(
        r"3 seeds: (\S+ \S+ \S+) % with learned places, (\S+ \S+ \S+) % +with random", page
    ).groups()
    found = [value for one in results("sermanet_mnist.json") for value in over(one["rows"][0]["accuracy"])]
    assert_quoted(" ".join(mnist), *found)


def test_fcan_on_clutter_and_its_rewards():
    page = (ROOT / "docs" / "agents" / "fcan.md").read_text(encoding="utf-8").replace("\n", " ")
    told = re.search(
        r"3 seeds: (\S+ \S+ \S+) % with learned parts, (\S+ \S+ \S+) % with random", page
    ).groups()
    runs = results("fcan_clutter.json")
    kinds = [
        [100 * run["accuracy"] for run in runs if ("random" in run["command"]) is random]
        for random in (False, True)
    ]
    assert_quoted(" ".join(told), *(value for kind in kinds for value in over(kind)))
    told = re.search(
        r"greedy (\S+ \S+ \S+) %, delayed (\S+ \S+ \S+) %, random places (\S+ \S+ \S+) %", page
    ).groups()
    rewards = by("row", results("rewards_cub50.json")["rows"])
    assert_quoted(
        " ".join(told),
        *(
            value
            for name in ("greedy", "delayed", "random places")
            for value in over(rewards[name]["accuracy"])
        ),
    )


def test_fcan_sermanet_and_baselines_in_the_table_of_agents():
    fcan = by("row", results("fcan_cub50.json")["rows"])
    names = (
        "whole + all parts",
        "whole image",
        "multi-view: whole + random places",
        "rigid: whole + central places",
    )
    assert_quoted(ours("FCAN"), *(value for name in names for value in over(fcan[name]["accuracy"])))
    assert_quoted(
        ours("Sermanet"),
        *[value for row in sermanet_places()[:2] for value in over(row)],
        *map(statistics.fmean, sermanet_places()[2:]),
    )
    rows = results("baselines_cub50.json")["rows"]
    found = [
        value
        for name in ("one-view", "random", "centre", "grid", "raster")
        for value in over([100 * run["accuracy"] for run in rows[name]])
    ]
    assert_quoted(ours("baselines"), *found)


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
    told = re.search(r"test images (.*?) % at (.*?) of 7 glimpses, after (.*?) s on", page).groups()
    assert_quoted(
        " ".join(told).replace(" and ", ", ").replace(", ", " "),
        *errors,
        *glimpses,
        *(run["train_seconds"] for run in runs),
    )


def test_speed_of_several_processes_and_of_stable_baselines():
    page = (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    seconds = [run["train_seconds"] for run in results("processes.json")]
    told = re.search(r"thread each: (\S+) times as fast with .*?, (\S+) times with", page).groups()
    assert_quoted(" ".join(told), seconds[2] / seconds[3], seconds[0] / seconds[1])
    ratios = [
        [row[name]["ratio"] for row in results("sb3_collect.json")["rows"]]
        for name in ("step", "collect_rollouts")
    ]
    told = re.search(r"collects (\S+ to \S+) times as many .*? policy (\S+ to \S+) times", page).groups()
    assert_quoted(" ".join(told), *(end for kind in ratios for end in (min(kind), max(kind))))


def test_learned_stops_against_the_threshold():
    for shown, row in zip(
        table("docs/agents/dtram.md", "Learned stop against a confidence threshold"),
        results("stopping.json")["rows"],
        strict=True,
    ):
        assert shown[0] == f"{row['gamma']:g}".removeprefix("0")
        quantities = [row[name] for name in ("mean_glimpses", "learned_error", "rule_error", "difference")]
        assert_quoted(" ".join(shown[1:]), *quantities, *row["interval"])


def differences(row, others):
    """Return a row's differences from others, with their intervals."""
    return [value for other in others for value in row["differences"].get(other, ())]


def test_photographs():
    names = (
        "one view",
        "random, 3",
        "centre, 3",
        "RAM, 3",
        "RAM, 6",
        "DT-RAM",
        "oracle: box centre",
        "oracle: least loss",
    )
    found = by("row", results("photographs_cub50.json")["rows"])
    for shown, name in zip(
        table("docs/datasets/cub.md", "Learned places against other places"), names, strict=True
    ):
        row = found[name]
        others = differences(row, ("one view", "random, 3", "centre, 3"))
        assert_quoted(
            " ".join(shown[1:]), *over(row["accuracy"]), statistics.fmean(row["mean_glimpses"]), *others
        )


def test_fcan():
    random, central = "multi-view: whole + random places", "rigid: whole + central places"
    names = ("whole image", "part1-8x8 alone", "whole + part1-8x8", "whole + all parts", random, central)
    found = by("row", results("fcan_cub50.json")["rows"])
    for shown, name in zip(table("docs/agents/fcan.md", "Figures: CUB-50"), names, strict=True):
        row = found[name]
        assert_quoted(
            " ".join([shown[1], *shown[3:]]),
            *over(row["accuracy"]),
            *differences(row, ("whole image", random, central)),
        )


def test_sermanet():
    found = {(row["set"], row["glimpses"]): row for row in results("sermanet_cub50.json")["rows"]}
    sets = ("high", "medium", "low", "high+medium", "all")
    for shown, name in zip(table("docs/agents/sermanet.md", "Figures: CUB-50"), sets, strict=True):
        cells = [
            value
            for glimpses in (1, 2, 3)
            for value in (statistics.fmean(found[name, glimpses]["accuracy"]), found[name, glimpses]["paper"])
        ]
        assert_quoted(" ".join(shown[1:]), *cells)


def test_clutter():
    [run] = [run for run in results("runs.json") if run["dataset"] == "clutter"]
    page = (ROOT / "docs" / "datasets" / "clutter.md").read_text(encoding="utf-8").replace("\n", " ")
    told = re.search(
        r"answers (\S+) % of .*? rightly.*?: (\S+) % of .*?against (\S+) %.*?in (\S+) % of .*?against (\S+) %",
        page,
    )
    shares = (run["on_patch"][name] for name in ("fixation", "fixation_chance", "any", "any_chance"))
    assert_quoted(" ".join(told.groups()), 100 * run["accuracy"], *(100 * share for share in shares))


def test_speed():
    found = results("throughput.json")["steps_per_second"]
    for shown in table("docs/environment.md", "Speed"):
        best = {name: speed["best"] for name, speed in found[shown[0]].items()}
        doors = [best[name] for name in ("single", "numpy", "core", "ap-gym vector") if name in best]
        shares = [best["core"] / best[name] for name in ("ap-gym vector", "crop bilinear")]
        assert_quoted(" ".join(cell for cell in shown[1:] if cell != "-"), *doors, *shares)
