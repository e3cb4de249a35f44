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

from glimpse_env.presets import resolve
from glimpse_env.runtime import checkpoint, files

FORMAT = 1
KEY = ("row", "part", "split", "measured", "seed")  # what a row is about; there is one of each
# Options that do not change what is learned, or that a hash tells better.
MACHINE = ("out", "threads", "device", "root", "weights", "ram", "resume")
NOT_COMPARED = (*MACHINE, "seed", "long", "paper")  # the last two name recipes, whose options are compared


def path_of(results: Path, table: str, dataset: str) -> Path:
    """Return the file of a table's rows on a data set."""
    return results / f"{table}-{Path(dataset).name}.jsonl"


def read(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; none if it is not there.

    Raises:
        ValueError: A line is no row, or was written by another version, or two lines are about the same.
    """
    found, numbers = [], {}
    for number, line in enumerate(file.read_text().splitlines() if file.is_file() else [], start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            version = row["format"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file}, line {number} is not a row of a result: it is damaged; remove that line and make its row again"
            ) from error
        if version != FORMAT:
            raise ValueError(
                f"{file}, line {number} has format {version}, this program reads {FORMAT}: give another --results, or move the file away"
            )
        if lacking := [name for name in ("table", *KEY) if name not in row]:
            raise ValueError(
                f"{file}, line {number} lacks {lacking[0]!r}: remove that line and make its row again"
            )
        if (earlier := numbers.setdefault(tuple(row[name] for name in KEY), number)) != number:
            raise ValueError(
                f"{file}, lines {earlier} and {number} are both {row['row']!r} of seed {row['seed']}: remove one of them"
            )
        found.append(row)
    return found


def add(file: Path, new: Sequence[Mapping[str, Any]]) -> None:
    """Write rows to the end of the file, all or none; one that is there already is left as it is.

    Raises:
        ValueError: As `read` and `is_there`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        known = read(file)
        lacking = [dict(row) for row in new if not is_there(file, known, row)]
        if lacking:
            files.write_bytes(file, "".join(json.dumps(row) + "\n" for row in (*known, *lacking)).encode())


def is_there(file: Path, rows: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> bool:
    """Tell whether a row is there; `asked` has its key, the options that it is asked for with, and the hash of its weights.

    Raises:
        ValueError: It is there, but made otherwise; or other seeds of it were made with other options.
    """
    others = [row for row in rows if all(row[name] == asked[name] for name in KEY if name != "seed")]
    for row in others:
        same_seed = row["seed"] == asked["seed"]
        names = [
            f"--{name.replace('_', '-')} {row['options'].get(name)}"
            for name in list_differences(row["options"], asked["options"])
        ]
        names += ["other --weights"] if same_seed and row["weights_sha256"] != asked["weights_sha256"] else []
        if names:
            raise ValueError(
                f"{file} has {row['row']!r} of seed {row['seed']} made with {', '.join(names)}: give the same options, or another --results"
            )
    return any(row["seed"] == asked["seed"] for row in others)


def list_differences(known: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return the names of the options in which a run differs from what is asked for.

    Args:
        known: All options of the run, as its checkpoint or its row has them.
        asked: Those that are asked for; None stands for the data set's preset, on either side.
    """
    preset = resolve(asked.get("dataset", ""))

    def value(options: Mapping[str, Any], name: str) -> str:
        found = checkpoint.known_option(options, name)
        return json.dumps(
            getattr(preset, name, None) if found is None else found, default=str
        )  # tuples are lists in a file

    return [name for name in asked if name not in NOT_COMPARED and value(known, name) != value(asked, name)]


def pack_bits(correct: Bool[Tensor, " image"]) -> str:
    """Return which images were predicted correctly as a short text."""
    return base64.b64encode(zlib.compress(np.packbits(correct.numpy()).tobytes(), 9)).decode()


def unpack_bits(text: str, images: int) -> Bool[Tensor, " image"]:
    """Return what `pack_bits` made a text of."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, count=images).astype(bool))
