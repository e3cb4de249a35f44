"""Rows of results: one line of JSON each, in a file for every table and data set."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from glimpse_env.presets import resolve
from glimpse_env.runtime import checkpoint, files

FORMAT = 1
KEY = ("row", "part", "split", "measured", "seed")  # identifies a row, with its "setting" if it has one
# Options that do not change what is learned, or that a hash identifies better.
MACHINE = ("out", "threads", "device", "root", "weights", "ram", "resume")
NOT_COMPARED = (*MACHINE, "seed", "long", "paper")  # the last two name recipes, whose options are compared


def path_of(results: Path, table: str, dataset: str) -> Path:
    """Return the file of a table's rows on a data set."""
    return results / f"{table}-{checkpoint.dataset_name(dataset)}.jsonl"


def read(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; none if it does not exist.

    Raises:
        ValueError: A line is no row, or was written by another version, or two lines have the same key.
    """
    known, numbers, again = [], {}, "remove that line and make its row again"
    for number, line in enumerate(file.read_text().splitlines() if file.is_file() else [], start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
            version = row["format"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{where} is not a row of a result: it is damaged; {again}") from error
        if version != FORMAT:
            advice = "give another --results, or move the file away"
            raise ValueError(f"{where} has format {version}, this program reads {FORMAT}: {advice}")
        if lacking := [name for name in ("table", *KEY) if name not in row]:
            raise ValueError(f"{where} lacks {lacking[0]!r}: {again}")
        if (earlier := numbers.setdefault(find_key(row, *KEY), number)) != number:
            both = f"{file}, lines {earlier} and {number} are both {row['row']!r} of seed {row['seed']}"
            raise ValueError(f"{both}: remove one of them")
        known.append(row)
    return known


def find_key(row: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    """Return these entries of a row, and its setting: network and sizes, empty where none were given."""
    return (*(row[name] for name in names), row.get("setting", ""))


def add(file: Path, new: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to the file, all or none; one that is there already is left as it is.

    Raises:
        ValueError: As `read` and `has`.
    """
    with files.lock(file.with_name(f".{file.name}.lock")):
        known = read(file)
        if lacking := [dict(row) for row in new if not has(file, known, row)]:
            files.write_bytes(file, "".join(json.dumps(row) + "\n" for row in (*known, *lacking)).encode())


def has(file: Path, known: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> bool:
    """Tell whether a row is known, from its key, its requested options and the hash of its weights.

    Raises:
        ValueError: It was made with other options or weights, or other seeds of it with other options.
    """
    names = [name for name in KEY if name != "seed"]
    others = [other for other in known if find_key(other, *names) == find_key(row, *names)]
    for other in others:
        options, same_seed = other["options"], other["seed"] == row["seed"]
        differences = list_differences(options, row["options"])
        names = [f"--{name.replace('_', '-')} {options.get(name)}" for name in differences]
        names += ["other --weights"] if same_seed and other["weights_sha256"] != row["weights_sha256"] else []
        if names:
            made = f"{file} has {row['row']!r} of seed {other['seed']} made with {', '.join(names)}"
            raise ValueError(f"{made}: give the same options, or another --results")
    return any(other["seed"] == row["seed"] for other in others)


def list_differences(known: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """Return the names of the requested options that a run's differ from.

    Args:
        known: All options of the run, as its checkpoint or its row has them.
        requested: The options to compare; None is the data set's preset, on either side.
    """
    preset = resolve(requested.get("dataset", ""))

    def value(options: Mapping[str, Any], name: str) -> str:
        given = checkpoint.known_option(options, name)
        given = getattr(preset, name, None) if given is None else given
        return json.dumps(given, default=str)  # tuples are lists in a file

    compared = [name for name in requested if name not in NOT_COMPARED]
    return [name for name in compared if value(known, name) != value(requested, name)]


def pack_bits(correct: Bool[Tensor, " image"]) -> str:
    """Return which images were predicted correctly as a short text."""
    return base64.b64encode(zlib.compress(np.packbits(correct.numpy()).tobytes(), 9)).decode()


def unpack_bits(text: str, images: int) -> Bool[Tensor, " image"]:
    """Return the input of `pack_bits` from its output."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, count=images).astype(bool))
