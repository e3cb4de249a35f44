"""The benchmark of Stable-Baselines3's collection measures what it says."""

import pytest

pytest.importorskip("stable_baselines3", reason='Stable-Baselines3 is not installed: pip install -e ".[sb3]"')

import sb3_collect

from tests.conftest import HORIZON, SIDE


def test_both_environments_are_timed_and_compared(noise):
    options = sb3_collect.Collect(rows=(4,), seconds=0.01, turns=1, n_steps=4, threads=1)
    view = {"dataset": noise, "image_size": SIDE, "glimpse_size": 4, "first_view": "glimpse"}
    view["max_glimpses"] = HORIZON
    [row] = sb3_collect.measured(options, view)
    assert row["rows"] == 4
    assert all(row[part][door] > 0 for part in ("step", "collect_rollouts") for door in ("ours", "dummy"))
    assert row["step"]["ratio"] == pytest.approx(row["step"]["ours"] / row["step"]["dummy"])
