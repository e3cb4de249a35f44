"""Seconds of `import glimpse_env`, and of every script's `--help`, against the libraries underneath.

    python benchmarks/startup.py

Every command runs in a process of its own, and all take turns; the best turn of each counts. An import is
compared with `import torch, torchvision, gymnasium`, a help with `import torch`. The aim: at most 1.2 and 1.5
times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from timing import timed

from glimpse_env import checks
from glimpse_env.runtime import files, terminal

TORCH, LIBRARIES, PACKAGE = "import torch", "import torch, torchvision, gymnasium", "import glimpse_env"


@dataclass(frozen=True)
class Startup:
    """Options of `startup.py`."""

    turns: int = 5
    """Turns of each command."""
    json: Path | None = None
    """Also write the seconds here."""


def main(options: Startup) -> None:
    """Time all commands, print the table and write it."""
    checks.count("--turns", options.turns)
    files.check_writable(options.json)
    scripts = [*sorted(timed.ROOT.glob("agents/*.py")), *sorted(timed.ROOT.glob("benchmarks/*.py"))]
    commands = {line: ["-c", line] for line in (TORCH, LIBRARIES, PACKAGE)}
    commands |= {path.relative_to(timed.ROOT).as_posix(): [str(path), "--help"] for path in scripts}
    turns = []
    for _ in range(options.turns + 1):
        turns.append({name: timed.start(words)[0] for name, words in commands.items()})
    best = {name: min(turn[name] for turn in turns[1:]) for name in commands}  # the first fills file caches
    lines = [["", "seconds", "ratio"]]
    for name, seconds in best.items():
        ratio = seconds / best[LIBRARIES if name == PACKAGE else TORCH]
        lines.append([name, f"{seconds:.2f}", "" if name in (TORCH, LIBRARIES) else f"{ratio:.2f}"])
    print(timed.align(lines))
    timed.write_json(options.json, "cpu", seconds=best)


if __name__ == "__main__":
    with terminal.foreseen("startup.py"):
        main(tyro.cli(Startup, description=__doc__))
