"""Checkpoints and results on disk: written whole or not at all, read back with an error that says what is wrong."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

FORMAT = "glimpse-checkpoint"
VERSION = 1
# Options that came later than some runs, and what runs before them did.
ADDED: dict[str, Any] = {
    "baseline": "learned",
    "location_discount": 1.0,
    "sure": 1.0,
    "augment_shift": 1 / 14,
    "location_policy": "gaussian",
}


def write_bytes(target: Path, content: bytes) -> None:
    """Write a file so that an interruption leaves the previous one whole: a neighbour first, then one rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    neighbour = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with neighbour.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(target)
    finally:
        neighbour.unlink(missing_ok=True)


def write_json(target: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_bytes(target, (json.dumps(content, indent=1) + "\n").encode())


def read_json(source: Path) -> dict[str, Any]:
    """Read a JSON file that `write_json` wrote.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return json.loads(source.read_text())
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"{source} is damaged: remove it, and it is made anew ({error})") from error


def write_torch(target: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values as a torch file atomically."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_bytes(target, buffer.getvalue())


def write_numpy(target: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed numpy archive atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(target, buffer.getvalue())


def save(target: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; `content` holds tensors and plain Python values only."""
    write_torch(target, {"format": FORMAT, "version": VERSION, **content})


def plain(options: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """Return a script's options as plain values for a checkpoint or a result."""
    values = {name: value for name, value in asdict(options).items() if name != "resume"}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def run_name(agent: str, dataset: str, split: str, seed: int, usual: str = "fit") -> str:
    """Return the name of a run's folder: runs on other images than the usual ones have their own."""
    part = "" if split == usual else f"-{file_name(split)}"
    return f"{agent}-{Path(dataset).name}{part}-{seed}"


def file_name(split: str) -> str:
    """Return a split's name without the signs that file names cannot have: fit:1/5 -> fit1of5."""
    return split.replace(":", "").replace("/", "of")


def command() -> str:
    """Return the command line of this process, without the machine's folders before the script's own."""
    return shlex.join(["python", "/".join(Path(sys.argv[0]).parts[-2:]), *sys.argv[1:]])


def different(saved: Mapping[str, Any], wanted: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """Return the options that differ, but for where a run is written, where it runs, and those that the caller compares otherwise."""
    ignored = {"out", "threads", "device", *but}
    return [name for name, value in wanted.items() if known_option(saved, name) != value and name not in ignored]


def known_option(saved: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - whatever an option may be
    """Return a run's option; one that there was not when it was made counts as what the run did without it."""
    return saved.get(name, ADDED.get(name))


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a network's state, wherever its file lies and whenever it was written."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def check_same(path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint whose options differ in more than where it is written and where it runs."""
    if names := different(saved, wanted):
        described = ", ".join(f"--{name.replace('_', '-')} {saved.get(name)}" for name in names)
        raise ValueError(f"--resume: {path} was made with {described}; give the same options, or another --out")


def load(source: Path, device: torch.device | str = "cpu", kind: str = "agent") -> dict[str, Any]:
    """Read a checkpoint of an agent, or of another kind that is asked for.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The file is not readable as a checkpoint, was made by something else, or by another version.
    """
    if not source.is_file():
        raise FileNotFoundError(f"no checkpoint at {source}: give the path of a checkpoint.pt that an agent script wrote")
    try:
        content = torch.load(source, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{source} is not readable as a checkpoint ({type(error).__name__}): it is damaged, or no torch file") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{source} is a torch file but no {FORMAT}: it was written by another program")
    if content["version"] != VERSION:
        raise ValueError(f"{source} has checkpoint version {content['version']}, this program reads version {VERSION}: train anew")
    if content.get("kind", "agent") != kind:
        raise ValueError(f"{source} is a checkpoint of a {content.get('kind', 'agent')}: expected one of a {kind}")
    return content
