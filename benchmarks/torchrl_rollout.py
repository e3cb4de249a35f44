"""Steps per second of torchrl's rollouts and collector: our `EnvBase`, and its `GymWrapper` around numpy.

    python benchmarks/torchrl_rollout.py                  # the table
    python benchmarks/torchrl_rollout.py --rows 64 4096   # other numbers of rows
    python benchmarks/torchrl_rollout.py --device cuda
    pip install -e ".[torchrl]"

All step the same digits with the same flat action (Box: x, y, stop, scores). "rollout" is torchrl's own
`env.rollout`, with random actions that were drawn before; "Collector" is its collector with a small network
as policy, whose time counts too. "compiled" is `env.compile(fullgraph=True)`, and in the collector
`compile_policy=True` too. "core" is the bare core (SAME_STEP) with the same actions and without TensorDicts:
what remains of its time in "native" is torchrl's; "compiled core" bounds what "compiled" can reach. All take
turns in one process, so whatever disturbs the machine disturbs them alike; the best turn counts.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import tyro
from gymnasium.vector import AutoresetMode
from reproduction import origin
from timing import timed

from glimpse_env import FlatAction, GlimpseVectorEnv
from glimpse_env.adapters.torchrl import make_torchrl_env
from glimpse_env.env import NumpyVectorEnv
from glimpse_env.runtime import files, terminal

Turns = dict[str, Callable[[], object]]  # by contender, a call that makes `n_steps` steps of every row
INFO = {"label": torch.int64, "correct": torch.bool, "loss": torch.float32}
INFO |= {"glimpses": torch.int64, "valid": torch.bool}
COLUMNS = ("GymWrapper", "native", "compiled", "core", "compiled core")


@dataclass(frozen=True)
class Rollout:
    """Options of `torchrl_rollout.py`."""

    rows: tuple[int, ...] = (256,)
    """Numbers of rows."""
    n_steps: int = 64
    """Steps of each row in a rollout."""
    seconds: float = 1.0
    """Length of a turn at least."""
    turns: int = 7
    """Turns of each; the best counts."""
    threads: int = 1
    """CPU threads that torch may use."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    json: Path | None = None
    """Also write the table here."""


def wrap_numpy(rows: int, options: dict[str, Any]) -> Any:
    """Return torchrl's `GymWrapper` on the numpy environment, with the info's entries that a loss needs."""
    from torchrl.data import Composite, Unbounded
    from torchrl.envs import GymWrapper, default_info_dict_reader

    entries = {name: Unbounded((rows,), dtype=dtype) for name, dtype in INFO.items()}
    reader = default_info_dict_reader(list(INFO), spec=Composite(entries, shape=(rows,)))
    env = NumpyVectorEnv(rows, autoreset_mode=AutoresetMode.DISABLED, **options)
    return GymWrapper(FlatAction(env)).set_info_dict_reader(reader)


def build_environments(rows: int, device: str) -> dict[str, Any]:
    """Return the environments that torchrl takes, by contender."""
    options: dict[str, Any] = {"dataset": "mnist", "device": device}
    compiled = make_torchrl_env(rows, **options).compile(warmup=2, fullgraph=True)
    native = make_torchrl_env(rows, **options)
    return {"GymWrapper": wrap_numpy(rows, options), "native": native, "compiled": compiled}


def draw_actions(env: Any, device: str) -> Callable[[], torch.Tensor]:
    """Return the next of a few batches of actions, drawn once."""
    following = cycle([env.action_spec.rand().to(device) for _ in range(32)])
    return lambda: next(following)


def roll(env: Any, n_steps: int, device: str) -> Callable[[], object]:
    """Return a call of torchrl's `rollout`, which begins with a reset of all rows."""
    act = draw_actions(env, device)

    def policy(tensordict: Any) -> Any:
        return tensordict.set("action", act())

    return lambda: env.rollout(n_steps, policy, break_when_any_done=False)


def step_core(rows: int, n_steps: int, native: Any, compiled: bool, device: str) -> Callable[[], object]:
    """Return `n_steps` steps of the core, or of the compiled one."""
    core = GlimpseVectorEnv(rows, "mnist", device=device, autoreset_mode=AutoresetMode.SAME_STEP)
    env, act = FlatAction(core), draw_actions(native, device)
    env.reset(seed=0)
    step = torch.compile(env.step, fullgraph=True) if compiled else env.step
    return lambda: [step(act()) for _ in range(n_steps)][-1][1].sum().item()


def collect(env: Any, n_steps: int, compiled: bool, device: str) -> Callable[[], object]:
    """Return the next batch of torchrl's collector, with a network of one hidden layer as policy."""
    from tensordict.nn import TensorDictModule
    from torchrl.collectors import Collector

    values = env.observation_spec["glimpse"].shape[1:].numel()
    layers = [torch.nn.Flatten(1), torch.nn.Linear(values, 64), torch.nn.Tanh()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(64, env.action_spec.shape[-1]), torch.nn.Tanh())
    policy = TensorDictModule(network.to(device), in_keys=["glimpse"], out_keys=["action"])
    frames = n_steps * env.batch_size[0]
    given = {"frames_per_batch": frames, "total_frames": -1, "compile_policy": compiled}
    batches = iter(Collector(env, policy, **given))
    return lambda: next(batches)


def measure(options: Rollout) -> list[dict[str, Any]]:
    """Return a row for each number of rows and part, and print them."""
    found, device = [], options.device
    lines = [["rows", "", *COLUMNS, "native / GymWrapper", "compiled / GymWrapper"]]
    for rows in options.rows:
        envs = build_environments(rows, device)
        rolled: Turns = {name: roll(env, options.n_steps, device) for name, env in envs.items()}
        for name in ("core", "compiled core"):
            rolled[name] = step_core(rows, options.n_steps, envs["native"], name == "compiled core", device)
        collected: Turns = {
            name: collect(env, options.n_steps, name == "compiled", device) for name, env in envs.items()
        }
        for part, calls in {"rollout": rolled, "Collector": collected}.items():
            for call in calls.values():
                call()  # compiles
            rates = timed.race(calls, options.turns, options.seconds, device)
            best = {name: rows * options.n_steps * max(rate) for name, rate in rates.items()}
            ratios = {name: best[name] / best["GymWrapper"] for name in ("native", "compiled")}
            found.append({"rows": rows, "part": part, "steps_per_second": best, "ratio": ratios})
            shown = [f"{best[name]:,.0f}" if name in best else "-" for name in COLUMNS]
            lines.append([str(rows), part, *shown, *(f"{ratio:.1f}" for ratio in ratios.values())])
    where = origin.find_cpu() if device == "cpu" else torch.cuda.get_device_name()
    print(f"environment steps per second on MNIST, best of {options.turns} turns, {where}")
    print(timed.align(lines))
    return found


def main(options: Rollout) -> None:
    """Measure, print and write the table."""
    options = terminal.prepare(options)
    files.check_writable(options.json)
    rows = measure(options)
    timed.write_json(options.json, options.device, ["torchrl"], rows=rows)


if __name__ == "__main__":
    with terminal.foreseen("torchrl_rollout.py"):
        main(tyro.cli(Rollout, description=__doc__))
