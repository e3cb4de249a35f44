"""The table of algorithms: commands, rows that are kept, steps that were taken, and what is refused."""

import json

import algorithms
import pytest
from algorithms import Algorithms
from timing import timed

from glimpse_env.runtime import checkpoint, files


@pytest.fixture
def started(monkeypatch):
    """Replace the agents by one that writes a result; return the commands."""
    commands = []

    def start(words):
        commands.append(words)
        out = algorithms.Path(words[words.index("--out") + 1])
        options = {"samples": 2}
        if "--total-steps" in words:
            options = {"total_steps": int(words[words.index("--total-steps") + 1])}
        row = {
            "accuracy": 0.98,
            "mean_glimpses": 2.5,
            "images": 10,
            "options": options,
            "versions": {"torch": "2"},
        }
        files.write_json(out / "result.json", row)
        checkpoint.save(out / "checkpoint.pt", {"progress": {"history": [{"mean_glimpses": 3.0}] * 2}})
        return 1.5, ""

    monkeypatch.setattr(timed, "start", start)
    return commands


def test_every_algorithm_is_run_once(started, tmp_path, capsys):
    given = {"datasets": ("mnist",), "steps": 500_000, "seeds": 2, "device": "cpu"}
    options = Algorithms(**given, out=tmp_path / "runs", results=tmp_path)
    algorithms.main(options)
    assert len(started) == 2 * len(algorithms.ALGORITHMS)
    rows = [json.loads(line) for line in (tmp_path / algorithms.NAME).read_text().splitlines()]
    assert rows[0]["steps"] == 55_000 * 2 * 6  # what the history says
    assert {row["steps"] for row in rows[1:10]} == {500_000}
    assert rows[2]["command"].startswith("python agents/cleanrl_ppo.py --dataset mnist --total-steps 500000")
    assert "--core transformer" in rows[2]["command"]
    assert str(tmp_path) not in "".join(row["command"] for row in rows)
    algorithms.main(options)
    assert len(started) == 2 * len(algorithms.ALGORITHMS)  # all rows are there
    shown = capsys.readouterr().out
    assert all(name in shown for name in algorithms.ALGORITHMS)
    assert "2.00 +- 0.00" in shown
    assert "| SAC (SB3) | 2 | 2.00 +- 0.00 | 2.50 | 500,000 | 2 |" in algorithms.format_page(tmp_path)


def test_the_passes_of_reinforce_take_about_as_many_steps():
    found = algorithms.count_epochs("mnist", 1_000_000)
    assert found == {"epochs": 4, "stop_epochs": 1}
    assert algorithms.count_epochs("mnist", 10) == {"epochs": 1, "stop_epochs": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithms": ("DQN",)}, "--algorithms 'DQN': expected 'REINFORCE"),
        ({"datasets": ("cub",)}, "--datasets cub: expected mnist or cluttered-mnist"),
        ({"seeds": 0}, "--seeds=0: expected a whole number of at least 1"),
    ],
)
def test_bad_options(given, message):
    with pytest.raises(ValueError, match=message):
        algorithms.main(Algorithms(**given))


def test_without_rows_the_page_names_the_command(tmp_path):
    assert "python benchmarks/algorithms.py" in algorithms.format_page(tmp_path)
