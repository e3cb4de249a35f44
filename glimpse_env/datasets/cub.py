"""CUB-200-2011: 11,788 photographs of 200 bird species, 5,994 to train on and 5,794 to test.

Wah, Branson, Welinder, Perona & Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", report CNS-TR-2011-001,
2011. The archive: CUB_200_2011/ with `images/`, and lists of lines that begin with an image's (or a class')
number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env.datasets.archive import Archive, Layout, Listing
from glimpse_env.datasets.photographs import specify

IMAGES, CLASSES, BOXES = "images.txt", "classes.txt", "bounding_boxes.txt"
LABELS, SPLITS = "image_class_labels.txt", "train_test_split.txt"
LISTS = (IMAGES, LABELS, SPLITS, BOXES, CLASSES)
FOR_TRAINING = {"1": "train", "0": "test"}
TAR = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"


def read_listing(folder: Path, parts: Mapping[str, Path], split: str) -> Listing:
    """Read the archive's lists."""
    inside = parts["images"].relative_to(folder).as_posix()
    images, names = read_table(folder / IMAGES), read_table(folder / CLASSES)
    labels, splits, boxes = (
        read_aligned(folder / name, folder / IMAGES, list(images)) for name in (LABELS, SPLITS, BOXES)
    )
    if odd := [f"image {number} has {mark!r}" for number, mark in splits.items() if mark not in FOR_TRAINING]:
        raise ValueError(f"{folder / SPLITS}: {odd[0]}, expected 1 (to train on) or 0 (to test)")
    if odd := [f"row {number} has {label!r}" for number, label in labels.items() if not label.isdigit()]:
        raise ValueError(f"{folder / LABELS}: {odd[0]}, expected the number of a class")
    numbers = [number for number, mark in splits.items() if FOR_TRAINING[mark] == split]
    return Listing(
        file=folder / IMAGES,
        images=[f"{inside}/{images[number]}" for number in numbers],
        labels=[int(labels[number]) for number in numbers],
        names={int(number): name for number, name in names.items()},
        boxes=lambda: to_corners(folder / BOXES, [boxes[number] for number in numbers]),
    )


def read_table(file: Path) -> dict[str, str]:
    """Read lines that hold a number and a value."""
    rows = {}
    for position, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        number, _, value = line.strip().partition(" ")
        if not number.isdigit() or not value or number in rows:
            expected = "expected a number that no line before has, a space and a value"
            raise ValueError(f"{file}, line {position}: {line!r}; {expected}")
        rows[number] = value.strip()
    return rows


def read_aligned(file: Path, reference: Path, numbers: Sequence[str]) -> dict[str, str]:
    """Read a table that must have one row per image, and return it in the images' order."""
    rows = read_table(file)
    expected = "expected one per image; restore the file"
    if len(rows) != len(numbers):
        raise ValueError(f"{file} has {len(rows)} lines but {reference} has {len(numbers)}: {expected}")
    if missing := [number for number in numbers if number not in rows]:
        raise ValueError(f"{file} has no line for image {missing[0]}, which {reference} lists: {expected}")
    return {number: rows[number] for number in numbers}


def to_corners(file: Path, rows: Sequence[str]) -> Float[Tensor, "image 4"]:
    """Turn rows of left, top, width and height into corners."""
    try:
        numbers = torch.tensor([[float(part) for part in row.split()] for row in rows])
        left, top, width, height = numbers.unbind(1)
    except ValueError as error:
        expected = "expected left, top, width and height of every image in pixels"
        raise ValueError(f"{file}: {expected} ({error})") from error
    return torch.stack([left, top, left + width, top + height], 1)


ARCHIVE = Archive(
    name="cub",
    title="CUB-200-2011",
    folders=("CUB_200_2011",),
    layouts=(Layout(lambda _: {name: (name,) for name in LISTS}, lambda _: {"images": ("images",)}),),
    classes=200,
    read_listing=read_listing,
    sources=((TAR, "97eceeb196236b17998738112f37df78"),),
    inside="CUB_200_2011",
)
SPEC = specify(ARCHIVE, short="CUB")
