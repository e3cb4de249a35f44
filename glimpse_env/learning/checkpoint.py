"""Checkpoints and results on disk: written whole or not at all, read back with an error that says what is wrong."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

FORMAT = "glimpse-checkpoint"
VERSION = 1


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


def save(target: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; `content` holds tensors and plain Python values only."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **content}, buffer)
    write_bytes(target, buffer.getvalue())


def load(source: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

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
    return content
