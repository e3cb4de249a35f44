"""The figures that README and docs quote of the older results are those of the files in benchmarks/results, as far as their digits go."""

import json
import math
import re
import statistics
from pathlib import Path

import pytest

from glimpse_env.learning import intervals

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?|[+-]?\.\d+")


def results(name):
    """Return a file of results."""
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def cells(page, *names):
    """Return the cells, free of emphasis, of the row of a table that begins with these."""
    lines = (ROOT / page).read_text(encoding="utf-8").replace("**", "").splitlines()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    [row] = [row for row in found if [re.sub(r"^\[(.*)\]\(.*\)$", r"\1", cell) for cell in row[: len(names)]] == list(names)]
    return row[len(names) :]


def assert_quoted(text, *values):
    """Assert that the numbers in a text are these values, rounded to the digits that it has."""
    quoted = NUMBER.findall(text.replace("+- ", ""))
    assert len(quoted) == len(values), text
    for number, value in zip(quoted, values, strict=True):
        digits = len(number.partition(".")[2])
        assert float(number.replace(",", "")) == pytest.approx(value, abs=0.5001 * 10**-digits), text


def over(values):
    """Return a mean over seeds and the half-width of its 95 % interval, None where nothing varies."""
    half = intervals.STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return [statistics.fmean(values), *([half] if half else [])]


def by_row(found):
    """Return rows by name."""
    return {row["row"]: row for row in found}


def test_mnist():
    runs = results("runs.json")
    default = [run for run in runs if run["agent"] == "dtram_reinforce" and "default" in run["command"] + run["options"].get("out", "")]
    default = [run for run in runs if run["command"].startswith("python agents/dtram_reinforce.py")]
    assert [run["seed"] for run in default] == [0, 1, 2]
    stopped, late = (over([100 * (1 - one) for one in found]) for found in zip(*((r["accuracy"], r["per_step_accuracy"][-1]) for r in default)))
    glimpses = statistics.fmean(run["mean_glimpses"] for run in default)
    [long] = [100 * (1 - run["accuracy"]) for run in runs if "ram_reinforce.py --long" in run["command"]]
    stops = {row["gamma"]: row for row in results("stopping.json")["rows"]}
    learned = [stops[0.99]["learned_error"], stops[0.99]["mean_glimpses"]]
    assert_quoted(cells("README.md", "RAM")[3].partition(";")[0], *late, long)
    assert_quoted(cells("README.md", "DT-RAM")[3].partition(";")[0], *stopped, glimpses, *learned)
    for gamma, row in stops.items():
        quoted = cells("docs/agents/dtram.md", f"{gamma:g}".removeprefix("0"))
        assert_quoted(" ".join(quoted), *(row[name] for name in ("mean_glimpses", "learned_error", "rule_error", "difference")), *row["interval"])


CUB = {
    ("one view", "77.8"): "one view",
    ("random glimpses",): "random, 3",
    ("centre glimpses",): "centre, 3",
}


def test_clutter():
    [run] = [run for run in results("runs.json") if run["dataset"] == "clutter"]
    page = (ROOT / "docs" / "datasets" / "clutter.md").read_text(encoding="utf-8").replace("\n", " ")
    told = re.search(r"answers (\S+) % of .*? rightly.*?: (\S+) % of .*?against (\S+) %.*?in (\S+) % of .*?against (\S+) %", page)
    found = run["on_patch"]
    names = ("fixation", "fixation_chance", "any", "any_chance")
    assert_quoted(" ".join(told.groups()), 100 * run["accuracy"], *(100 * found[name] for name in names))
