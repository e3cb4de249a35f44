"""Learned stopping against the confidence threshold on the same network, at equal mean glimpses (DT-RAM, Table 7 and Figure 5).

    python benchmarks/stopping.py runs/ram_reinforce-mnist-0/checkpoint.pt

For every gamma, trains a stop head for the given RAM (a minute each; finished ones are found again), evaluates every test image
once, and compares with the rule "stop when max softmax > threshold" at the threshold that spends as many glimpses. Differences are paired
over images; the interval is a bootstrap. Over several seeds: benchmarks/reproduce.py dtram-2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from reproduction import found

from glimpse_env.evaluation import intervals, stopping_rules, trajectories
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.training.options import View
from glimpse_env.training.stages import StopOptions

RESAMPLES = 2000


@dataclass(frozen=True)
class Stopping:
    """Options of `stopping.py`."""

    ram: Annotated[Path, tyro.conf.Positional]
    """checkpoint.pt of a trained RAM."""
    gammas: tuple[float, ...] = (0.95, 0.98, 0.99, 0.995)
    """Discounts to train a stop head for."""
    out: Path = Path("runs/stopping")
    """Folder of the stop heads' runs, one per gamma."""
    split: str = "test"
    """Split to compare on."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
    json: Path | None = None
    """Also write the comparison here."""


def taught(options: Stopping, gamma: float) -> Path:
    """Return the checkpoint of the stop head for one gamma, training it if it is not there."""
    out = options.out / f"{options.ram.parent.name}-{gamma}"
    earlier = checkpoint.load(options.ram)["options"]
    same = {name: earlier[name] for name in (*View.__dataclass_fields__, "policy", "augment", "seed") if name in earlier}
    chosen = StopOptions(**same, gamma=gamma, ram=options.ram, out=out, device=options.device, threads=options.threads)
    return found.dtram(chosen, out) / "checkpoint.pt"


def compare(path: Path, split: str, device: str) -> dict[str, Any]:
    """Return error and mean glimpses of the learned stop, the rule's error there, and their paired difference in points."""
    saved, _, looks = results.looked(path, split, device=device)
    when = trajectories.learned_stops(looks)
    learned = looks.correct.gather(0, when[None])[0].float()
    glimpses = (when + 1).float().mean().item()
    worse = 100 * (stopping_rules.right(looks, stopping_rules.rule_at(looks, glimpses)) - learned)  # > 0: the rule is right more often
    mean, low, high = intervals.over_images(worse, RESAMPLES)
    return {
        "gamma": saved["options"]["gamma"],
        "mean_glimpses": glimpses,
        "learned_error": 100 * (1 - learned.mean().item()),
        "rule_error": 100 * (1 - learned.mean().item()) - mean,
        "difference": mean,
        "interval": [low, high],
        "images": len(worse),
    }


def main(options: Stopping) -> None:
    """Train what is missing, compare, print the table."""
    options = terminal.prepare(options)
    rows = [compare(taught(options, gamma), options.split, options.device) for gamma in options.gammas]
    print(f"{'gamma':>6} {'glimpses':>9} {'learned %':>10} {'rule %':>8} {'difference':>11}   95 % interval")
    for row in rows:
        low, high = row["interval"]
        print(
            f"{row['gamma']:>6} {row['mean_glimpses']:>9.2f} {row['learned_error']:>10.2f} {row['rule_error']:>8.2f} "
            f"{row['difference']:>+11.3f}   [{low:+.3f}, {high:+.3f}]"
        )
    print(f"mean difference {sum(row['difference'] for row in rows) / len(rows):+.3f} points (below 0: the learned stop errs less)")
    if options.json is not None:
        told = {"command": checkpoint.command(), "versions": results.versions(), "rows": rows}
        checkpoint.write_json(options.json, told | {"options": {name: str(value) for name, value in asdict(options).items()}})


if __name__ == "__main__":
    with terminal.foreseen("stopping.py"):
        main(tyro.cli(Stopping, description=__doc__))
