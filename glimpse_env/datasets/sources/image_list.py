"""A list of image files with labels as a data set: CSV with a header, or one JSON object in each line."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glimpse_env.datasets.base import ImageSet, ImageSize, partition
from glimpse_env.datasets.folder import name_split
from glimpse_env.datasets.image_files import warn_of_copies
from glimpse_env.datasets.sources.paths import divide, read_paths
from glimpse_env.datasets.torch_dataset import warn_of_gaps

ENDINGS = (".csv", ".jsonl")
NEEDED = ("path", "label")
WHOLE, NUMBER = re.compile(r"\d{1,18}"), re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?inf|nan", re.I)
LAYOUT = (
    'expected a header "path,label" (and "split", if it says so), or in each line {"path": ..., "label": ...}'
)

log = logging.getLogger("glimpse_env")


@dataclass(frozen=True)
class Row:
    """An image of a list."""

    where: str  # the list's file, the row's number (from 1, without the header) and its line
    path: str  # of an image file, complete
    label: str
    split: str  # "train", "validation" or "test"; "" = the list does not say


def is_list(path: str | Path) -> bool:
    """Tell whether a path is that of a list, by its ending."""
    return os.fspath(path).lower().endswith(ENDINGS)


def load_list(file: Path, split: str, image_size: ImageSize) -> ImageSet:
    """Load a split (see `datasets.load`) of the images of a list, as RGB, upright by their EXIF.

    The columns are `path`, relative to the list's folder, `label` (a name, or a whole number from 0 on), and
    `split` if the list divides its images: train, test and validation, or what folders of splits may be
    called. Without `test`, the images of `validation` are the test images. Without the column, 20 % of each
    class are, as in a folder. The classes are the labels of the training images, numbers in their order, else
    by name. `image_size` is as for `to_square` with "crop"; None: all images have one size.

    Raises:
        FileNotFoundError: A row's image does not exist.
        ValueError: The list or a row of it cannot be used; the message names the row. Or an image cannot be
            read, or the sizes differ without `image_size`.
    """
    rows = read_rows(file)
    check_rows(file, rows)
    parts = divide_rows(file, rows)
    classes = name_classes(file, parts["train"])
    check_trained(parts, classes)
    apart = "validation" in parts and split in ("fit", "validation")
    source = split if split == "test" or (apart and split == "validation") else "train"
    if not (chosen := parts.get(source)):
        raise ValueError(f"{file} has no images for split={split!r}: expected at least one")
    labels = {label: number for number, label in enumerate(classes)}
    if source == "train" and all(WHOLE.fullmatch(label) for label in classes):
        warn_of_gaps([int(label) for label in classes])
    folder = file.absolute().parent
    warn_of_copies(folder, {part: list({row.path: None for row in of}) for part, of in parts.items()})
    paths, numbers = [row.path for row in chosen], [labels[row.label] for row in chosen]
    images = read_paths(folder, f"{file.name}-{source}", paths, numbers, classes, image_size)
    return images if apart or split == "test" else partition(images, split)


def list_first(file: Path) -> Iterator[Path]:
    """Yield the paths of a list's images, those of the training images first."""
    rows = read_rows(file)
    yield from (Path(row.path) for row in sorted(rows, key=lambda row: row.split not in ("", "train")))


def read_rows(file: Path) -> list[Row]:
    """Return the rows of a list; a ValueError names the one that cannot be used."""
    read = read_json if file.name.lower().endswith(".jsonl") else read_csv
    rows, folder = [], file.absolute().parent
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            for number, (line, entry) in enumerate(read(file, stream), 1):
                where = f"{file}, row {number} (line {line})"
                rows.append(read_row(where, {str(key).strip().lower(): entry[key] for key in entry}, folder))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as a list of images ({error}): {LAYOUT}") from error
    if not rows:
        raise ValueError(f"{file} lists no image: {LAYOUT}")
    return rows


def read_csv(file: Path, stream: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the line and the entries of each row of a CSV file that is not empty."""
    reader = csv.DictReader(stream)
    columns = [str(name).strip().lower() for name in reader.fieldnames or ()]
    if missing := [name for name in NEEDED if name not in columns]:
        had = ", ".join(columns) or "none"
        raise ValueError(f"{file} has no column {missing[0]!r}, its columns are {had}: {LAYOUT}")
    for entry in reader:
        if None in entry:
            extra = f"has {len(columns) + len(entry[None])} fields, the header {len(columns)}"
            raise ValueError(f"{file}, line {reader.line_num} {extra}: put a path with a comma in quotes")
        yield reader.line_num, entry


def read_json(file: Path, stream: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the line and the object of each line that is not empty."""
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{file}, line {number} is no JSON ({error}): {LAYOUT}") from error
        if not isinstance(entry, Mapping):
            raise ValueError(f"{file}, line {number} is a {type(entry).__name__}: {LAYOUT}")
        yield number, entry


def read_row(where: str, entry: Mapping[str, Any], folder: Path) -> Row:
    """Return a row, or raise a ValueError that names it and what is wrong."""
    for name in NEEDED:
        if entry.get(name) in (None, "") or not str(entry[name]).strip():
            raise ValueError(f"{where} has no {name}: {LAYOUT}")
    path, label, split = entry["path"], entry["label"], entry.get("split")
    if not isinstance(path, str):
        raise ValueError(f"{where} has the path {path!r}: expected a string")
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise ValueError(f"{where} has the label {label!r}: expected a name or a whole number")
    known = name_split(split) if isinstance(split, str) else None
    if "split" in entry and known is None:
        raise ValueError(f"{where} has the split {split!r}: expected train, validation or test")
    return Row(where, os.path.join(folder, path.strip()), str(label).strip(), known or "")


def check_rows(file: Path, rows: Sequence[Row]) -> None:
    """Refuse images that are missing, or listed twice with other labels or splits, and other numbers."""
    missing = [row for row in rows if not os.path.isfile(row.path)]
    if missing:
        counts = f"{len(missing):,} of {len(rows):,} images are missing"
        relative = "relative paths start at the list's folder"
        raise FileNotFoundError(
            f"{missing[0].where}: {missing[0].path} does not exist ({counts}; {relative})"
        )
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(row.path, row)
        if (other.label, other.split) != (row.label, row.split):
            two = f"{row.label} {row.split}".strip(), f"{other.label} {other.split}".strip()
            raise ValueError(f"{row.where}: {row.path} is {two[0]}, but {two[1]} in {other.where}")
    if all(NUMBER.fullmatch(row.label) for row in rows):
        for row in rows:
            if not WHOLE.fullmatch(row.label):
                expected = "expected a whole number from 0 on, or a name"
                raise ValueError(f"{row.where} has the label {row.label}: {expected}")


def divide_rows(file: Path, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each split."""
    if not any(row.split for row in rows):
        labels = [row.label for row in rows]
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        numbered = [numbers[label] for label in labels]
        return {part: [rows[row] for row in divide(numbered, part)] for part in ("train", "test")}
    parts: dict[str, list[Row]] = {}
    for row in rows:
        if not row.split:
            raise ValueError(f"{row.where} has no split, other rows do: give one to every row, or to none")
        parts.setdefault(row.split, []).append(row)
    if "train" not in parts:
        raise ValueError(f"{file} has no image of the split train, only {', '.join(parts)}")
    if "validation" in parts and "test" not in parts:
        parts["test"] = parts.pop("validation")
        log.info("%s: its validation images are the test images, since it has no others", file)
    return parts


def name_classes(file: Path, train: Sequence[Row]) -> tuple[str, ...]:
    """Return the labels of the training images, in order."""
    labels = {row.label for row in train}
    if len(labels) == 1:
        raise ValueError(
            f"{file} has training images of one class, {train[0].label!r}: expected two at least"
        )
    numbers = all(WHOLE.fullmatch(label) for label in labels)
    return tuple(sorted(labels, key=lambda label: (int(label), label) if numbers else (0, label)))


def check_trained(parts: Mapping[str, Sequence[Row]], classes: tuple[str, ...]) -> None:
    """Refuse a label that no training image has."""
    known = {*classes}
    for split, rows in parts.items():
        for row in rows:
            if row.label not in known:
                raise ValueError(
                    f"{row.where} ({split}) has the label {row.label!r}, as no training image does"
                )
