"""Train an agent in children that are killed and resumed: `killed.py AGENT DATA OUT KILLS SEED`.

Prints JSON: the number of kills, how often a checkpoint was resumed, and what each finished run left behind;
the first is one that nobody killed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
SMALL = {
    "threads": 1,
    "device": "cpu",
    "precision": "float32",
    "image_size": 32,
    "glimpse_size": 8,
    "hidden": 16,
}
RAM = {"epochs": 6, "batch": 12, "features": 8, "glimpses": 3, "dropout": 0.2}
AGENTS = {
    "ram_reinforce": ("Options", RAM),
    "dtram_reinforce": ("StopOptions", RAM | {"epochs": 3, "stop_epochs": 3}),
    "cleanrl_ppo": ("Ppo", {"envs": 4, "steps": 6, "total_steps": 24 * 12}),
}


def start(train: Callable[[], Any], fatal_write: int) -> int:
    """Train in a child, which kills itself in its `fatal_write`-th write (0 = never); return its id."""
    if child := os.fork():
        return child
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    if not os.environ.get("GLIMPSE_KILLS_SHOWN"):
        os.dup2(quiet, 2)
    flush, left = os.fsync, [fatal_write]

    def flush_or_die(descriptor: int) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = flush_or_die
    try:
        train()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait(child: int, seconds: float) -> int:
    """Wait for a child, and kill it after some seconds; return how it ended, 0 = by itself."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.001)
    else:
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"a training ended with status {code}: set GLIMPSE_KILLS_SHOWN=1 to see why")
    return code


def describe(out: Path) -> dict[str, Any]:
    """Return what a run leaves behind, but for the time that it took."""
    from glimpse_env.runtime import checkpoint

    saved = checkpoint.load(out / "checkpoint.pt")
    history = [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in saved["progress"]["history"]
    ]
    with np.load(out / "looks.npz") as arrays:
        looks = hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()
    accuracy = json.loads((out / "result.json").read_text())["accuracy"]
    return {
        "weights": checkpoint.digest(saved["network"]),
        "history": history,
        "looks": looks,
        "accuracy": accuracy,
    }


def main(agent: str, data: str, out: Path, kills: int, seed: int) -> None:
    """Train once undisturbed, then with kills, in as many runs as it takes."""
    script = importlib.import_module(agent)
    name, sizes = AGENTS[agent]
    moments = random.Random(seed)

    def prepare(folder: Path) -> Callable[[], Any]:
        resume = (folder / "checkpoint.pt").is_file()
        options = getattr(script, name)(dataset=data, out=folder, resume=resume, **SMALL | sizes)
        return lambda: script.main(options)

    began = time.monotonic()
    wait(start(prepare(out / "whole"), 0), 1000)
    usual, killed, resumed, run = time.monotonic() - began, 0, 0, 0
    found = [describe(out / "whole")]
    while killed < kills:
        run += 1
        folder, ended = out / f"killed{run}", -signal.SIGKILL
        while ended:
            resumed += (folder / "checkpoint.pt").is_file()
            fatal = moments.choice([0, 0, moments.randint(1, 6)]) if killed < kills else 0
            limit = moments.uniform(0, 0.7 * usual) if killed < kills and not fatal else 1000
            ended = wait(start(prepare(folder), fatal), limit)
            killed += ended != 0
        found.append(describe(folder))
    print(json.dumps({"kills": killed, "resumed": resumed, "runs": found}))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "agents")]
    torch.set_num_threads(1)
    sys.argv[1:], given = [], sys.argv[1:]
    from glimpse_env.reports import run_report, svg

    run_report.write_plots = svg.render_chart = lambda *_, **__: ""  # drawing takes longer than training
    main(given[0], given[1], Path(given[2]), int(given[3]), int(given[4]))
