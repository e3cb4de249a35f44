"""From an official archive of photographs to an `ImageSet`: labels without gaps, boxes in [-1, 1], pixels in an image store."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env.datasets.archive import Archive, Listing, find
from glimpse_env.datasets.base import ImageSet
from glimpse_env.datasets.store import opened

log = logging.getLogger("glimpse_env")


def load_photographs(archive: Archive, split: str, root: str | Path | None, download: bool, image_size: int | None) -> ImageSet:
    """Load "train" or "test" of an archive or of a part of it, which has fewer classes or images.

    The classes are those of the training images, numbered from 0 in the archive's order. A photograph is resized to a square of
    `image_size` pixels with all of it in view, as the papers do ("resized to 512 x 512"), and its box with it.

    Args:
        archive: One of `datasets.PHOTOGRAPHS`.
        split: "train" or "test".
        root: Holds the archive's folder, or is it; None = GLIMPSE_DATA, else a folder in the user's home.
        download: Whether to fetch what is not there.
        image_size: Side in pixels.

    Raises:
        FileNotFoundError: The archive, a file of it or a listed photograph is missing.
        ValueError: No `image_size`, lists that contradict each other, or a photograph that cannot be decoded.
    """
    if image_size is None:
        raise ValueError(f"dataset={archive.name!r}: its photographs differ in size; give image_size=, such as 512 as in the papers")
    folder = find(archive, root, download)
    train = archive.listing(folder, "train")
    listing = train if split == "train" else archive.listing(folder, split)
    check(folder, listing, train, split)
    present = {number: label for label, number in enumerate(sorted(set(train.labels)))}
    found = f"{len(present)} of {archive.classes} classes, {len(listing.images):,} photographs"
    log.info("%s (%s): %s, from %s", archive.name, split, found, folder)
    store = opened(f"{archive.name}-{split}", folder, listing.images, image_size, "stretch")
    labels = torch.tensor([present[number] for number in listing.labels])
    names = tuple(train.names[number] for number in present)
    return ImageSet(store.images, labels, names, boxes=normalised(listing.boxes(), store.extents), key=store.key)


def check(folder: Path, listing: Listing, train: Listing, split: str) -> None:
    """Refuse a split without images, with nameless classes or classes that are never trained, or with photographs that are not there."""
    if not train.images or not listing.images:
        raise ValueError(f"{(listing if train.images else train).file} lists no image for split={split!r}: expected at least one")
    if unknown := sorted(set(listing.labels + train.labels) - set(train.names)):
        raise ValueError(f"{listing.file}: class {unknown[0]} has no name; expected one of {min(train.names)} to {max(train.names)}")
    if strange := sorted(set(listing.labels) - set(train.labels)):
        raise ValueError(f"{listing.file} has images of class {train.names[strange[0]]!r} for split={split!r}, but none to train on")
    if gone := [path for path in listing.images if not (folder / path).is_file()]:
        raise FileNotFoundError(
            f"{folder / gone[0]} is not there, though {listing.file} lists it ({len(gone)} of {len(listing.images)} photographs are "
            "missing): unpack the whole archive, or take them out of its lists"
        )


def normalised(boxes: Float[Tensor, "image 4"], extents: Int64[Tensor, "image 2"]) -> Float[Tensor, "image 4"]:
    """Turn boxes in pixels into boxes in [-1, 1]; where one reaches past its image it is cut."""
    return (2 * boxes / extents.repeat(1, 2) - 1).clamp(-1, 1)


def read_mat(file: Path, *variables: str) -> list[Any]:
    """Return variables of a MATLAB file, without axes of length one.

    Raises:
        ImportError: scipy is not installed.
        ValueError: It is not a MATLAB file, or it does not hold them.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(f"{file} is a MATLAB file, which takes scipy to read: run `pip install scipy`") from error
    try:
        content = loadmat(file, squeeze_me=True)
    except Exception as error:  # scipy raises many kinds on a damaged file; whichever it is, the user needs the path
        raise ValueError(f"{file} cannot be read as a MATLAB file ({error}): replace it") from error
    if absent := [name for name in variables if name not in content]:
        raise ValueError(f"{file} has no variable {absent[0]!r}: expected {', '.join(variables)}")
    return [content[name] for name in variables]
