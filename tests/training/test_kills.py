"""A training that is killed at random moments and resumed ends with the bits of an uninterrupted one.

`GLIMPSE_KILLS=20 pytest -n 0 -s tests/training/test_kills.py` kills every agent 20 times.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("GLIMPSE_KILLS", "0"))
AGENTS = ("dtram_reinforce", "ram_reinforce", "cleanrl_ppo") if KILLS else ("dtram_reinforce",)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked, so that each need not import torch")
@pytest.mark.parametrize("agent", AGENTS)
def test_a_run_killed_at_random_moments_and_resumed_has_the_same_bits(halves, tmp_path, agent):
    script, kills = Path(__file__).with_name("killed.py"), KILLS or 4
    words = [sys.executable, str(script), agent, halves((24, 10)), str(tmp_path), str(kills), "0"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=3000, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    whole, *others = found["runs"]
    print(f"{agent}: {found['kills']} kills in {len(others)} runs, {found['resumed']} times resumed")
    assert found["kills"] == kills
    assert others
    assert all(run == whole for run in others)
