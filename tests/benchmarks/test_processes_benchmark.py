"""processes.py: its table, and what it refuses (trainings are too long for a test)."""

import json

import processes
import pytest


def test_the_best_turn_counts(monkeypatch, capsys, tmp_path):
    times = iter((40.0, 30.0, 24.0, 36.0, 20.0, 25.0))
    monkeypatch.setattr(processes, "time_update", lambda *_: next(times))
    processes.main(processes.Processes(batches=(256,), turns=2, json=tmp_path / "rows.json"))
    assert capsys.readouterr().out.splitlines()[1].split() == ["256", "36.0", "20.0", "1.80", "24.0", "1.50"]
    row = json.loads((tmp_path / "rows.json").read_text())["rows"][0]
    assert row == {"batch": 256, "one": 36.0, "two": 20.0, "half": 24.0, "ratio": 1.8, "bound": 1.5}


@pytest.mark.parametrize(
    ("given", "message"),
    [({"batches": (255,)}, "even number"), ({"epochs": 1}, "at least 2"), ({"turns": 0}, "--turns")],
)
def test_bad_options(given, message):
    with pytest.raises(ValueError, match=message):
        processes.main(processes.Processes(**given))
