"""The comparison of training times: its arithmetic (a run is too long for a test)."""

import pytest
import training_time


def test_times_are_counted_up_by_hand(capsys):
    ram = {"row": "RAM", "update": 0.5, "once": 0.0, "images": 100, "test": 0.1}
    fcan = {"row": "FCAN", "update": 0.01, "once": 0.2, "images": 100, "test": 0.05}
    rows = training_time.table([ram, fcan], 30)
    assert rows[0]["epoch"] == 50
    assert rows[0]["total"] == 1500
    assert rows[1]["total"] == pytest.approx(20 + 30)
    assert rows[0]["times_an_epoch"] == pytest.approx(50)
    assert rows[0]["times_in_all"] == pytest.approx(30)
    assert rows[1]["times_in_all"] == 1
    assert len(capsys.readouterr().out.splitlines()) == 3
