"""The rows that runs leave: one line of JSON each, in one file a table and data set, that no two processes write at once."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Bool
from torch import Tensor

from glimpse_env.runtime import checkpoint

FORMAT = 1
KEY = ("row", "part", "split", "measured", "seed")  # what a row is about; there is one of each
MACHINE = (
    "out",
    "threads",
    "device",
    "root",
    "weights",
    "ram",
    "resume",
)  # options that do not change what is learned, or that a hash tells better


def path_of(results: Path, table: str, dataset: str) -> Path:
    """Return the file of a table's rows on a data set."""
    return results / f"{table}-{Path(dataset).name}.jsonl"


def read(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; none if it is not there.

    Raises:
        ValueError: A line is no row, or was written by another version, or two lines are about the same.
    """
    found, seen = [], {}
    for number, line in enumerate(file.read_text().splitlines() if file.is_file() else [], start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            version = row["format"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file}, line {number} is no row of a result: it is damaged; remove that line and make its run's row anew"
            ) from error
        if version != FORMAT:
            raise ValueError(
                f"{file}, line {number} has format {version}, this program reads {FORMAT}: give another --results, or move the file away"
            )
        if lacking := [name for name in ("table", *KEY) if name not in row]:
            raise ValueError(f"{file}, line {number} lacks {lacking[0]!r}: remove that line and make its run's row anew")
        if (earlier := seen.setdefault(key(row), number)) != number:
            raise ValueError(f"{file}, lines {earlier} and {number} are both {row['row']!r} of seed {row['seed']}: remove one of them")
        found.append(row)
    return found


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a row is about."""
    return tuple(row[name] for name in KEY)


def add(file: Path, new: Sequence[Mapping[str, Any]]) -> None:
    """Write rows to the end of the file, all or none; one that is there already is left as it is.

    Raises:
        ValueError: As `read`; or a row about the same was made with other options.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        known = read(file)
        lacking = [dict(row) for row in new if not there(file, known, row)]
        if lacking:
            checkpoint.write_bytes(file, "".join(json.dumps(row) + "\n" for row in (*known, *lacking)).encode())


def there(file: Path, rows: list[dict[str, Any]], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a row is there; `wanted` has its key, options and the hash of its weights.

    Raises:
        ValueError: It is there, but made otherwise.
    """
    for row in rows:
        if key(row) != key(wanted):
            continue
        names = [f"--{name.replace('_', '-')} {row['options'].get(name)}" for name in other_options(row["options"], wanted["options"])]
        names += ["other --weights"] if row["weights_sha256"] != wanted["weights_sha256"] else []
        if names:
            raise ValueError(
                f"{file} has {row['row']!r} of seed {row['seed']} made with {', '.join(names)}: give the same options, or another --results"
            )
        return True
    return False


def other_options(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the options that differ; one that there was not when the row was made counts as what the run did without it."""
    wanted = json.loads(json.dumps(wanted))  # tuples are lists in a file
    return [name for name, value in wanted.items() if checkpoint.known_option(known, name) != value and name not in MACHINE]


def packed(right: Bool[Tensor, " image"]) -> str:
    """Return which images were answered rightly as a short text."""
    return base64.b64encode(zlib.compress(np.packbits(right.numpy()).tobytes(), 9)).decode()


def unpacked(text: str, images: int) -> Bool[Tensor, " image"]:
    """Return what `packed` made a text of."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, count=images).astype(bool))
