"""Files that are complete or absent: each is written under another name, flushed to disk and renamed."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def write_bytes(target: Path, content: bytes) -> None:
    """Write a file, and its folder if there is none; an interruption leaves the previous file as it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        publish(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def publish(draft: Path, target: Path) -> None:
    """Flush a complete file to disk, then rename it to `target` in the same folder."""
    with draft.open("r+b") as stream:
        os.fsync(stream.fileno())
    draft.replace(target)


def write_json(target: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    write_bytes(target, (json.dumps(content, indent=1) + "\n").encode())


def read_json(source: Path) -> dict[str, Any]:
    """Read a JSON file; raise a ValueError if it is damaged."""
    try:
        return json.loads(source.read_text())
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"{source} is damaged: remove it, and it is written again ({error})") from error


def write_torch(target: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values as a torch file."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_bytes(target, buffer.getvalue())


def write_numpy(target: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed numpy archive."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(target, buffer.getvalue())
