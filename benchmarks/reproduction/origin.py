"""How a run was made: command, hardware and commit, written into its folder when it starts."""

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
    """Write into a run's folder how and where it is made; a resumed run replaces it."""
    hardware = describe_hardware(threads, device)
    made = {"command": checkpoint.command(), "hardware": hardware, "commit": find_commit()}
    files.write_json(out / NAME, made)


def read(out: Path) -> dict[str, Any]:
    """Return how and where a run was made.

    Raises:
        ValueError: The folder lacks the file: the run was not made by a table.
    """
    if not (out / NAME).is_file():
        problem = f"{out} does not say on what hardware and commit it was made: {NAME} is not there"
        raise ValueError(f"{problem}; remove the folder, or give another --out")
    return files.read_json(out / NAME)


def describe_hardware(threads: int, device: str) -> dict[str, Any]:
    """Describe the machine, without names of hosts, users or folders."""
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {"cpu": find_cpu(), "cores": os.cpu_count(), "threads": threads, "gpu": gpu}


def find_cpu() -> str:
    """Return the processor's model, or its architecture where the system does not report one."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def find_commit() -> str | None:
    """Return the commit of this source tree, with "+" if tracked files differ; None = no git working copy."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True)

    try:
        tracked = git(
            "ls-files", "--error-unmatch", Path(__file__).name
        )  # else the commit is of a tree around it
        head, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:
        return None
    if tracked.returncode or head.returncode:
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")
