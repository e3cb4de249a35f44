"""Steps per second that Stable-Baselines3 collects, with our adapter and with its `DummyVecEnv`.

    python benchmarks/sb3_collect.py                    # the table
    python benchmarks/sb3_collect.py --rows 64 128 256  # other numbers of rows
    pip install -e ".[sb3]"

Both show the first 1,000 test digits to the same number of rows, with the same flat action (Box: x, y, stop,
scores) and the same observations. "step" is the environment alone, with random actions. "collect_rollouts" is
PPO's own loop with its default policy, whose time counts in both. They take turns in one process, so whatever
disturbs the machine disturbs them alike; the best turn counts.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro
from timing import timed

from glimpse_env import PRESETS, FlatSingleAction, GlimpseVectorEnv
from glimpse_env.runtime import files, terminal

DIGITS = 1000  # every single environment holds its own copy of them


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


def stepping(venv: Any) -> Callable[[], object]:
    """Return a step of the environment with random actions, drawn beforehand."""
    random, shape = np.random.default_rng(0), (venv.num_envs, *venv.action_space.shape)
    actions = cycle([random.uniform(-1, 1, shape).astype(np.float32) for _ in range(32)])
    venv.reset()
    return lambda: venv.step(next(actions))


def collecting(venv: Any, n_steps: int) -> Callable[[], object]:
    """Return a call of PPO's `collect_rollouts`, which makes `n_steps` steps."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import CallbackList

    batch = n_steps * venv.num_envs
    model = PPO("MultiInputPolicy", venv, n_steps=n_steps, batch_size=batch, gamma=1.0, seed=0, device="cpu")
    _, callback = model._setup_learn(2**31, CallbackList([]))
    return lambda: model.collect_rollouts(venv, callback, model.rollout_buffer, n_steps)


def compare(calls: dict[str, Callable[[], object]], steps: int, options: Collect) -> dict[str, float]:
    """Return the steps per second of the best turn of both environments, and their ratio."""
    rates = timed.race(calls, options.turns, options.seconds)
    best = {name: steps * max(rate) for name, rate in rates.items()}
    return best | {"ratio": best["ours"] / best["dummy"]}


def measured(options: Collect, view: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each number of rows, and print them."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    from glimpse_env.adapters.sb3 import make_sb3_env

    def single() -> gymnasium.Env:
        return FlatSingleAction(gymnasium.make("GlimpseEnv-v0", **view))

    found, lines = [], [["rows", "", "ours, steps/s", "DummyVecEnv", "ratio"]]
    for rows in options.rows:
        envs = {"ours": make_sb3_env(rows, **view), "dummy": DummyVecEnv([single] * rows)}
        step = compare({name: stepping(env) for name, env in envs.items()}, rows, options)
        loops = {name: collecting(env, options.n_steps) for name, env in envs.items()}
        parts = {"step": step, "collect_rollouts": compare(loops, rows * options.n_steps, options)}
        found.append({"rows": rows, **parts})
        for part, rate in parts.items():
            both = [f"{rate[name]:,.0f}" for name in envs]
            lines.append([str(rows), part, *both, f"{rate['ratio']:.1f}"])
    print(timed.align(lines))
    return found


def main(options: Collect) -> None:
    """Measure, print and write the table."""
    terminal.use_threads(options.threads)
    files.check_writable(options.json)
    images = GlimpseVectorEnv(1, "mnist", split="test").images
    digits = [(images.image(number), int(images.labels[number])) for number in range(DIGITS)]
    rows = measured(options, {"dataset": digits, **asdict(PRESETS["mnist"])})
    timed.write_json(options.json, "cpu", rows=rows)


if __name__ == "__main__":
    with terminal.foreseen("sb3_collect.py"):
        main(tyro.cli(Collect, description=__doc__))
