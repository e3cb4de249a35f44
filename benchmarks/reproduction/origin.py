"""Where a run was made: command, hardware and commit, noted in its folder when it starts."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from glimpse_env.runtime import checkpoint, files

NAME = "origin.json"


def write(out: Path, threads: int, device: str) -> None:
    """Note in a run's folder how and where it is made; a resumed run is where it was made last."""
    made = {
        "command": checkpoint.command(),
        "hardware": describe_hardware(threads, device),
        "commit": find_commit(),
    }
    files.write_json(out / NAME, made)


def read(out: Path) -> dict[str, Any]:
    """Return how and where a run was made.

    Raises:
        ValueError: The run does not say; it was not made by a table.
    """
    if not (out / NAME).is_file():
        raise ValueError(
            f"{out} does not say on what hardware and commit it was made: {NAME} is not there; remove the folder, or give another --out"
        )
    return files.read_json(out / NAME)


def describe_hardware(threads: int, device: str) -> dict[str, Any]:
    """Describe the machine, without names of hosts, users or folders."""
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {"cpu": find_cpu(), "cores": os.cpu_count(), "threads": threads, "gpu": gpu}


def find_cpu() -> str:
    """Return the processor's model, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def find_commit() -> str | None:
    """Return the commit of this source tree, with "+" if tracked files differ from it; None = it is no git working copy."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        own = subprocess.run(
            [*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True
        )  # not of a tree around it
        found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    return (
        None
        if own.returncode or found.returncode
        else found.stdout.strip() + ("+" if changed.stdout.strip() else "")
    )
