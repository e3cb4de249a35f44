"""Image files with labels, as an `ImageSet`: decoded into memory, or, many of one size, into a store."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from tqdm.contrib.concurrent import thread_map

from glimpse_env import checks
from glimpse_env.datasets.base import ImageSet, ImageSize, Native
from glimpse_env.datasets.decode import read_image, stack
from glimpse_env.datasets.formats.notes import Notes
from glimpse_env.datasets.native.store import open_native_files
from glimpse_env.datasets.native.views import open_views
from glimpse_env.datasets.store import open_store

TEST_SHARE = 0.2  # of each class, where a data set does not say which images are to test
MANY = 1000  # images: above it there is a progress bar, or an image store if their size is given

Entry = TypeVar("Entry")


def read_paths(
    folder: Path, name: str, paths: Sequence[str], labels: Iterable[int], classes: tuple[str, ...],
    image_size: ImageSize,
) -> ImageSet:  # fmt: skip
    """Decode image files as RGB, upright by their EXIF.

    `folder` holds them, and `name` is of the store in which they are kept if there are many.
    `image_size` is as for `to_square` with "crop"; None: all images have one size; `Native`: they stay as
    they are, in a store.

    Raises:
        ValueError: An image cannot be read, or the sizes differ without `image_size`.
        FileNotFoundError: A file is missing.
    """
    numbered, many = torch.tensor(list(labels)), len(paths) > MANY
    if isinstance(image_size, Native):
        names = [os.path.relpath(path, folder) for path in paths]
        native = open_native_files(name, folder, names)
        views = open_views(name, native, image_size.view, kept=True)
        return ImageSet(views.images, numbered, classes, key=views.key, native=native)
    if image_size is not None and many:
        names = [os.path.relpath(path, folder) for path in paths]
        store = open_store(name, folder, names, image_size, "crop")
        return ImageSet(store.images, numbered, classes, key=store.key)
    if image_size is not None:
        checks.memory(f"image_size={image_size}", len(paths) * 3 * image_size**2, torch.device("cpu"))
    notes = Notes(name)
    read = functools.partial(read_image, size=image_size, fit="crop", notes=notes)
    decoded = thread_map(read, paths, max_workers=os.cpu_count(), disable=not many, desc=name)
    notes.report()
    return ImageSet(stack([pixels for pixels, _ in decoded], paths), numbered, classes)


def pick(entries: Sequence[Entry], split: str) -> list[Entry]:
    """Return the part of one class' images that belongs to "train" or "test", by a fixed permutation."""
    order = torch.randperm(len(entries), generator=torch.Generator().manual_seed(0)).tolist()
    count = min(max(1, round(len(entries) * TEST_SHARE)), len(entries) - 1)
    return [entries[index] for index in sorted(order[:count] if split == "test" else order[count:])]


def divide(labels: Sequence[int], split: str) -> list[int]:
    """Return the rows, in order, that belong to "train" or "test", dealt class by class (see `pick`)."""
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return sorted(row for part in rows.values() for row in pick(part, split))
