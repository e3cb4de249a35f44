"""How long a user waits before anything happens: `import glimpse_env`, and `--help` of every script, against the libraries underneath.

    python benchmarks/startup.py

Every command runs in a process of its own, and all take turns; the best turn of each counts. An import is compared with
`import torch, torchvision, gymnasium`, a help with `import torch`. Wanted: at most 1.2 and 1.5 times as long.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro

from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files, terminal

ROOT = Path(__file__).parent.parent
TORCH, LIBRARIES, PACKAGE = "import torch", "import torch, torchvision, gymnasium", "import glimpse_env"


@dataclass(frozen=True)
class Startup:
    """Options of `startup.py`."""

    turns: int = 5
    """Turns of each command."""
    json: Path | None = None
    """Also write the seconds here."""


def commands() -> dict[str, list[str]]:
    """Return what is timed, by name: the imports, then every script's help."""
    scripts = sorted(path for folder in ("agents", "benchmarks") for path in (ROOT / folder).glob("*.py"))
    imports = {line: ["-c", line] for line in (TORCH, LIBRARIES, PACKAGE)}
    return imports | {path.relative_to(ROOT).as_posix(): [str(path), "--help"] for path in scripts}


def seconds(arguments: list[str]) -> float:
    """Return how long Python takes for these arguments, from its start to its end.

    Raises:
        ValueError: It fails.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]  # this tree, wherever it is started
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
    )
    spent = time.perf_counter() - start
    if done.returncode:
        raise ValueError(
            f"python {' '.join(arguments)} fails: {done.stderr.decode(errors='replace').strip()[-500:]}"
        )
    return spent


def table(best: Mapping[str, float]) -> str:
    """Lay out seconds, and how many times those of the libraries they are."""
    lines = [f"{'':<{max(map(len, best))}}  seconds  ratio"]
    for name, spent in best.items():
        base = LIBRARIES if name == PACKAGE else TORCH
        ratio = "" if name in (TORCH, LIBRARIES) else f"{spent / best[base]:7.2f}"
        lines.append(f"{name:<{max(map(len, best))}}  {spent:7.2f}{ratio}")
    return "\n".join(lines)


def main(options: Startup) -> None:
    """Time all commands, print the table and write it."""
    if options.turns < 1:
        raise ValueError(f"--turns {options.turns}: expected at least 1")
    timed = commands()
    for arguments in timed.values():  # files into memory
        seconds(arguments)
    turns = [{name: seconds(arguments) for name, arguments in timed.items()} for _ in range(options.turns)]
    best = {name: min(turn[name] for turn in turns) for name in timed}
    print(table(best))
    if options.json is not None:
        files.write_json(
            options.json,
            {"command": checkpoint.command(), "seconds": best, "versions": results.collect_versions()},
        )


if __name__ == "__main__":
    with terminal.foreseen("startup.py"):
        main(tyro.cli(Startup, description=__doc__))
