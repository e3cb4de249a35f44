"""Checkpoints: tensors and plain values of one run in a torch file, with its options; damaged and foreign files are refused by name."""

from __future__ import annotations

import hashlib
import pickle
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from glimpse_env.runtime.files import write_torch

FORMAT = "glimpse-checkpoint"
VERSION = 1
# Options that did not exist in earlier versions, with the values that describe what runs did then.
ADDED: dict[str, Any] = {
    "baseline": "learned",
    "location_discount": 1.0,
    "sure": 1.0,
    "augment_shift": 1 / 14,
    "location_policy": "gaussian",
}


# Options under their names in version 0.1, and today's.
OLD_NAMES = {
    "what": "glimpse_encoder",
    "where": "location_encoding",
    "depth": "encoder_layers",
    "shortcut": "skip_connection",
    "place": "location_features",
    "look_first": "ignore_stops",
    "rate": "learning_rate",
    "entropy": "entropy_weight",
}


def save(target: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; `content` holds tensors and plain Python values only."""
    write_torch(target, {"format": FORMAT, "version": VERSION, **content})


def plain(options: Any) -> dict[str, Any]:
    """Return a script's options as plain values for a checkpoint or a result."""
    values = {name: value for name, value in asdict(options).items() if name != "resume"}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def run_name(agent: str, dataset: str, split: str, seed: int, usual: str = "fit") -> str:
    """Return the name of a run's folder; it holds the split if that is not the usual one."""
    part = "" if split == usual else f"-{file_name(split)}"
    return f"{agent}-{Path(dataset).name}{part}-{seed}"


def file_name(split: str) -> str:
    """Return a split's name without characters that file names cannot have: fit:1/5 -> fit1of5."""
    return split.replace(":", "").replace("/", "of")


def command() -> str:
    """Return the command line of this process; of the script's path only the last folder is kept."""
    return shlex.join(["python", "/".join(Path(sys.argv[0]).parts[-2:]), *sys.argv[1:]])


def different(saved: Mapping[str, Any], requested: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """Return the options that differ, except where a run writes and runs, and those in `but`."""
    ignored = {"out", "threads", "device", *but}
    return [
        name
        for name, value in requested.items()
        if known_option(saved, name) != value and name not in ignored
    ]


def known_option(saved: Mapping[str, Any], name: str) -> Any:
    """Return a run's option; for an option newer than the run, the value that describes what the run did."""
    before = {now: old for old, now in OLD_NAMES.items()}.get(name, name)
    return saved.get(name, saved.get(before, ADDED.get(name)))


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a network's state; it does not depend on the file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_same(path: Path, saved: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Refuse to resume a checkpoint whose options differ in more than where it writes and runs."""
    if names := different(saved, requested):
        described = ", ".join(f"--{name.replace('_', '-')} {saved.get(name)}" for name in names)
        raise ValueError(
            f"--resume: {path} was made with {described}; give the same options, or another --out"
        )


def load(source: Path, device: torch.device | str = "cpu", kind: str = "agent") -> dict[str, Any]:
    """Read a checkpoint of an agent, or of another kind.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not readable as a checkpoint, or was written by another program or version.
    """
    if not source.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {source}: give the path of a checkpoint.pt that an agent script wrote"
        )
    try:
        content = torch.load(source, map_location=device, weights_only=True)
    except (
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise ValueError(
            f"{source} is not readable as a checkpoint ({type(error).__name__}): it is damaged, or no torch file"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{source} is a torch file but no {FORMAT}: it was written by another program")
    if content["version"] != VERSION:
        raise ValueError(
            f"{source} has checkpoint version {content['version']}, this program reads version {VERSION}: train again"
        )
    if content.get("kind", "agent") != kind:
        raise ValueError(
            f"{source} is a checkpoint of a {content.get('kind', 'agent')}: expected one of a {kind}"
        )
    return content
