"""Algorithms on equal numbers of environment steps: error, glimpses, steps and seconds, from one command.

    python benchmarks/algorithms.py                             # all, on MNIST and cluttered MNIST, 3 seeds
    python benchmarks/algorithms.py --datasets mnist --algorithms REINFORCE SAC --seeds 1
    python benchmarks/algorithms.py --only-print                # from the rows

Every algorithm runs with its script's own settings, which were chosen on validation images, for about --steps
environment steps; test images are evaluated once. REINFORCE counts passes over the images, so its number of
steps is the nearest that whole passes give; the table has the steps that were really taken. A run whose row
is there is not made again.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from reproduction import runs
from timing import timed

from glimpse_env import checks
from glimpse_env.evaluation import intervals
from glimpse_env.runtime import checkpoint, files, terminal

NAME = "algorithms.jsonl"
IMAGES = 55_000  # of "fit", in both data sets
LENGTH = {"mnist": 3.6, "cluttered-mnist": 6.2}  # glimpses of a training episode of RAM, about
HEADS = ("", "seeds", "error %", "glimpses", "steps", "seconds")
Options = dict[str, Any]


def count_epochs(dataset: str, steps: int) -> Options:
    """Return the passes of DT-RAM's two stages that take about so many steps."""
    epochs = max(2, round(steps / (IMAGES * LENGTH[dataset])))
    return {"epochs": epochs - 1, "stop_epochs": 1}


def take_steps(**own: object) -> Callable[[str, int], Options]:
    """Return the options of a script that counts steps, with these others."""
    return lambda dataset, steps: {"total_steps": steps, **own}


# By name: the script, and its options for a data set and a number of steps.
ALGORITHMS: dict[str, tuple[str, Callable[[str, int], Options]]] = {
    "REINFORCE (RAM, DT-RAM)": ("dtram_reinforce", count_epochs),
    "PPO, LSTM": ("cleanrl_ppo", take_steps()),
    "PPO, transformer": ("cleanrl_ppo", take_steps(core="transformer")),
    "PPO (SB3)": ("sb3_ppo", take_steps()),
    "RecurrentPPO (SB3)": ("sb3_ppo", take_steps(algo="recurrent_ppo")),
    "SAC (SB3)": ("sb3_sac", take_steps()),
    "TQC (SB3)": ("sb3_sac", take_steps(algo="tqc")),
    "CrossQ (SB3)": ("sb3_sac", take_steps(algo="crossq")),
    "PPO (torchrl)": ("torchrl_ppo", take_steps()),
    "SAC (torchrl)": ("torchrl_sac", take_steps()),
}


@dataclass(frozen=True)
class Algorithms:
    """Options of `algorithms.py`."""

    datasets: tuple[str, ...] = tuple(LENGTH)
    """mnist, cluttered-mnist, or both."""
    algorithms: tuple[str, ...] = ()
    """Names, or their beginnings, such as SAC; default: all."""
    steps: int = 1_000_000
    """Environment steps of a run, summed over all rows."""
    seeds: int = 3
    """Runs of each."""
    seed: int = 0
    """The first seed."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 1
    """CPU threads that torch may use."""
    out: Path = Path("runs/algorithms")
    """Folder of the runs."""
    results: Path | None = None
    """Folder of the rows; default: benchmarks/results."""
    only_print: bool = False
    """Print the table from the rows that are there; run nothing."""


def choose(options: Algorithms) -> list[str]:
    """Return the algorithms that the options name.

    Raises:
        ValueError: An unknown data set or algorithm, or a count that is none.
    """
    for name, value in (("--seeds", options.seeds), ("--steps", options.steps)):
        checks.count(name, value)
    for dataset in options.datasets:
        if dataset not in LENGTH:
            raise ValueError(f"--datasets {dataset}: expected {' or '.join(LENGTH)}")
    for given in options.algorithms:
        if not any(name.startswith(given) for name in ALGORITHMS):
            raise ValueError(f"--algorithms {given!r}: expected {', '.join(map(repr, ALGORITHMS))}")
    return [name for name in ALGORITHMS if not options.algorithms or name.startswith(options.algorithms)]


def run(name: str, dataset: str, seed: int, options: Algorithms) -> dict[str, Any]:
    """Train and evaluate one algorithm by its command; return its row."""
    script, choose_options = ALGORITHMS[name]
    words = {"dataset": dataset, **choose_options(dataset, options.steps), "seed": seed}
    shown = ["python", f"agents/{script}.py", *runs.format_options(words)]
    out = options.out / checkpoint.file_name(f"{name}-{dataset}-{seed}")
    machine = {"device": options.device, "threads": options.threads, "out": out, "overwrite": True}
    command = [str(timed.ROOT / "agents" / f"{script}.py"), *runs.format_options(words | machine)]
    seconds, _ = timed.start(command)
    result = files.read_json(out / "result.json")
    return {
        "algorithm": name,
        "dataset": dataset,
        "seed": seed,
        "budget": options.steps,
        "command": shlex.join(shown),
        "error": 100 * (1 - result["accuracy"]),
        "mean_glimpses": result["mean_glimpses"],
        "images": result["images"],
        "steps": count_steps(out, result),
        "seconds": round(seconds, 1),
        **timed.provenance(options.device),
        "versions": result["versions"],
    }


def count_steps(out: Path, result: Mapping[str, Any]) -> int:
    """Return the environment steps that a finished run took."""
    if "total_steps" in result["options"]:
        return result["options"]["total_steps"]
    history = checkpoint.load(out / "checkpoint.pt")["progress"]["history"]
    glimpses = sum(epoch["mean_glimpses"] for epoch in history)
    return round(IMAGES * result["options"]["samples"] * glimpses)


def identify(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a run is known by."""
    return tuple(row[name] for name in ("algorithm", "dataset", "seed", "budget"))


def list_lines(rows: Sequence[Mapping[str, Any]], dataset: str, budget: int) -> list[list[str]]:
    """Return the cells of the table of a data set, the head first."""
    lines: list[list[str]] = [list(HEADS)]
    for name in ALGORITHMS:
        own = [row for row in rows if identify(row) == (name, dataset, row["seed"], budget)]
        if own:
            error = intervals.format_mean([row["error"] for row in own])
            glimpses, steps, seconds = (
                statistics.fmean(row[key] for row in own) for key in ("mean_glimpses", "steps", "seconds")
            )
            lines.append([name, str(len(own)), error, f"{glimpses:.2f}", f"{steps:,.0f}", f"{seconds:,.0f}"])
    return lines


def format_page(folder: Path) -> str:
    """Return the tables for a page: of each data set, the budget of the last row."""
    rows = timed.read(folder / NAME, ("algorithm", "dataset", "budget", "hardware", "versions"))
    if not rows:
        return "No rows yet; `python benchmarks/algorithms.py` makes them."
    budget, texts = rows[-1]["budget"], []
    for dataset in LENGTH:
        head, *lines = list_lines(rows, dataset, budget)
        if lines:
            table = [f"| {' | '.join(cells)} |" for cells in (head, *lines)]
            table.insert(1, "|---|" + "---:|" * (len(HEADS) - 1))
            texts.append(f"**{dataset}**, about {budget:,} environment steps:\n\n" + "\n".join(table))
    machines = ", ".join(sorted({timed.machine_name(row) for row in rows}))
    seeds = ", ".join(map(str, sorted({row["seed"] for row in rows})))
    made = f"`python benchmarks/algorithms.py`; seeds {seeds}; {machines}; rows: `{NAME}`."
    return "\n\n".join([*texts, made])


def main(options: Algorithms) -> None:
    """Make the rows that are not there, then print the tables."""
    file = (options.results or timed.RESULTS) / NAME
    names = choose(options)
    if not options.only_print:
        options = terminal.prepare(options)
        files.check_writable(file)
        known = {identify(row) for row in timed.read(file, ("algorithm",))}
        for seed in range(options.seed, options.seed + options.seeds):
            for dataset in options.datasets:
                for name in names:
                    if (name, dataset, seed, options.steps) in known:
                        continue
                    row = run(name, dataset, seed, options)
                    timed.append(file, row)
                    reached = f"error {row['error']:.2f} % at {row['mean_glimpses']:.2f} glimpses"
                    print(f"{name}, {dataset}, seed {seed}: {reached}, {row['seconds']:.0f} s", flush=True)
    rows = timed.read(file, ("algorithm", "budget"))
    for dataset in options.datasets:
        print(f"\n{dataset}, about {options.steps:,} environment steps")
        print(timed.align(list_lines(rows, dataset, options.steps)))


if __name__ == "__main__":
    with terminal.foreseen("algorithms.py"):
        main(tyro.cli(Algorithms, description=__doc__))
