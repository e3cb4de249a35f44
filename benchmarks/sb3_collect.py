"""Steps per second that Stable-Baselines3 collects: our adapter against its `DummyVecEnv` over single environments, in one run.

    python benchmarks/sb3_collect.py                    # the table
    python benchmarks/sb3_collect.py --rows 64 128 256  # other numbers of rows
    pip install -e ".[sb3]"

Both show the same digits to the same number of rows, with the same flat action (Box: x, y, stop, scores) and the same observations. "step":
the environment alone, random actions made beforehand. "collect_rollouts": PPO's own loop with its default policy, which both pay for. The
two take turns in one process, so whatever disturbs the machine disturbs them alike; the best of the turns counts. All show the first 1,000
test digits: every single environment holds its own copy of them.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro

from glimpse_env import PRESETS, FlatSingleAction, GlimpseVectorEnv
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files, terminal

DOORS = ("ours", "dummy")
DIGITS = 1000


@dataclass(frozen=True)
class Collect:
    """Options of `sb3_collect.py`."""

    rows: tuple[int, ...] = (64, 128, 256)
    """Numbers of rows."""
    seconds: float = 2.0
    """Length of a turn at least."""
    turns: int = 3
    """Turns of each; the best counts."""
    n_steps: int = 16
    """Steps of each row in a turn of collect_rollouts."""
    threads: int = 1
    """CPU threads that torch may use."""
    json: Path | None = None
    """Also write the table here."""


def doors(rows: int, look: dict[str, Any]) -> dict[str, Any]:
    """Return the same number of rows as our adapter and as single environments in a `DummyVecEnv`."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    from glimpse_env.adapters.sb3 import make_sb3_env

    def single() -> gymnasium.Env:
        return FlatSingleAction(gymnasium.make("GlimpseEnv-v0", **look))

    return {"ours": make_sb3_env(rows, **look), "dummy": DummyVecEnv([single] * rows)}


def stepping(venv: Any) -> Callable[[], int]:
    """Return a turn that steps the environment with random actions, and says how many steps that were."""
    random = np.random.default_rng(0)
    actions = cycle(
        [
            random.uniform(-1, 1, (venv.num_envs, *venv.action_space.shape)).astype(np.float32)
            for _ in range(32)
        ]
    )
    venv.reset()

    def turn() -> int:
        venv.step(next(actions))
        return venv.num_envs

    return turn


def collecting(venv: Any, n_steps: int) -> Callable[[], int]:
    """Return a turn of PPO's `collect_rollouts`, and how many steps that were."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import CallbackList

    model = PPO(
        "MultiInputPolicy",
        venv,
        n_steps=n_steps,
        batch_size=n_steps * venv.num_envs,
        gamma=1.0,
        seed=0,
        device="cpu",
    )
    _, callback = model._setup_learn(2**31, CallbackList([]))

    def turn() -> int:
        model.collect_rollouts(venv, callback, model.rollout_buffer, n_steps)
        return n_steps * venv.num_envs

    return turn


def race(turns: dict[str, Callable[[], int]], options: Collect) -> dict[str, float]:
    """Let all take turns after a warm-up; return the best steps per second of each, and the ratio."""
    best = dict.fromkeys(turns, 0.0)
    for repeat in range(options.turns + 1):
        for name, turn in turns.items():
            steps, start = turn(), time.perf_counter()  # the first step is not timed
            steps = 0
            while (spent := time.perf_counter() - start) < options.seconds or not steps:
                steps += turn()
            if repeat:
                best[name] = max(best[name], steps / spent)
    return best | {"ratio": best["ours"] / best["dummy"]}


def measured(options: Collect, look: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each number of rows, and print them."""
    print(f"{'rows':>5} {'':<17} {'ours, steps/s':>14} {'DummyVecEnv':>12} {'ratio':>6}")
    found = []
    for rows in options.rows:
        both = doors(rows, look)
        parts = {
            "step": race({name: stepping(both[name]) for name in DOORS}, options),
            "collect_rollouts": race(
                {name: collecting(both[name], options.n_steps) for name in DOORS}, options
            ),
        }
        for name, rate in parts.items():
            print(
                f"{rows:>5} {name:<17} {rate['ours']:>14,.0f} {rate['dummy']:>12,.0f} {rate['ratio']:>6.1f}"
            )
        found.append({"rows": rows, **parts})
    return found


def main(options: Collect) -> None:
    """Measure, print and write the table."""
    terminal.use_threads(options.threads)
    images = GlimpseVectorEnv(1, "mnist", split="test").images
    digits = [(images.image(number), int(images.labels[number])) for number in range(DIGITS)]
    found = measured(options, {"dataset": digits, **asdict(PRESETS["mnist"])})
    if options.json is not None:
        files.write_json(
            options.json,
            {"command": checkpoint.command(), "versions": results.collect_versions(), "rows": found},
        )


if __name__ == "__main__":
    with terminal.foreseen("sb3_collect.py"):
        main(tyro.cli(Collect, description=__doc__))
