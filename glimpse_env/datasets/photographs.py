"""From an official archive of photographs to an `ImageSet`: labels from 0, boxes in [-1, 1], pixels in an image store."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env.datasets.archive import Archive, Listing, find_archive
from glimpse_env.datasets.base import DataSetSpec, ImageSet, Preset
from glimpse_env.datasets.store import open_store

# DT-RAM, section 4.2: 512 x 512 images, 224 x 224 crops, ResNet-50, 3 steps. Its first view is a 448 x 448 crop (view_size=448 shows the
# whole image at that size); here it is the whole image at 224 x 224, a quarter of the work, so that detail costs a glimpse.
PRESET = Preset(image_size=512, glimpse_size=224, max_glimpses=3, sensor="crop", backbone="resnet50")

log = logging.getLogger("glimpse_env")


def specify(archive: Archive, short: str, preset: Preset = PRESET) -> DataSetSpec:
    """Return an archive's line in the table of data sets; `short` is its name in narrow tables."""
    load = functools.partial(load_photographs, archive)
    return DataSetSpec(
        archive.name, archive.title, short, archive.classes, "photographs", preset, load, fit="stretch"
    )


def load_photographs(
    archive: Archive, split: str, root: str | Path | None, download: bool, image_size: int | None
) -> ImageSet:
    """Load "train" or "test" of an archive, or of a part of one with fewer classes or images.

    The classes are those of the training images, numbered from 0 in the archive's order. A photograph and its box are resized to a square
    of `image_size` pixels that shows all of the photograph, as in the papers ("resized to 512 x 512").

    Args:
        archive: The archive.
        split: "train" or "test".
        root: The archive's folder, or the folder that holds it; None = GLIMPSE_DATA, else a folder in the user's home.
        download: Whether to download the archive if it is missing.
        image_size: Side in pixels.

    Raises:
        FileNotFoundError: The archive, one of its files or a listed photograph is missing.
        ValueError: No `image_size`, lists that contradict each other, or a photograph that cannot be decoded.
    """
    if image_size is None:
        raise ValueError(
            f"dataset={archive.name!r}: its photographs differ in size; give image_size=, such as 512 as in the papers"
        )
    folder = find_archive(archive, root, download)
    train = archive.read_listing(folder, "train")
    listing = train if split == "train" else archive.read_listing(folder, split)
    check_listing(folder, listing, train, split)
    present = {number: label for label, number in enumerate(sorted(set(train.labels)))}
    counts = f"{len(present)} of {archive.classes} classes, {len(listing.images):,} photographs"
    log.info("%s (%s): %s, from %s", archive.name, split, counts, folder)
    store = open_store(f"{archive.name}-{split}", folder, listing.images, image_size, "stretch")
    labels = torch.tensor([present[number] for number in listing.labels])
    names = tuple(train.names[number] for number in present)
    return ImageSet(
        store.images, labels, names, boxes=normalise_boxes(listing.boxes(), store.extents), key=store.key
    )


def check_listing(folder: Path, listing: Listing, train: Listing, split: str) -> None:
    """Refuse a split without images, with classes that have no name or no training image, or with missing photographs."""
    if not train.images or not listing.images:
        raise ValueError(
            f"{(listing if train.images else train).file} lists no image for split={split!r}: expected at least one"
        )
    if unknown := sorted(set(listing.labels + train.labels) - set(train.names)):
        raise ValueError(
            f"{listing.file}: class {unknown[0]} has no name; expected one of {min(train.names)} to {max(train.names)}"
        )
    if untrained := sorted(set(listing.labels) - set(train.labels)):
        raise ValueError(
            f"{listing.file} has images of class {train.names[untrained[0]]!r} for split={split!r}, but none to train on"
        )
    if missing := [path for path in listing.images if not (folder / path).is_file()]:
        raise FileNotFoundError(
            f"{folder / missing[0]} does not exist, though {listing.file} lists it ({len(missing)} of "
            f"{len(listing.images)} photographs are missing): unpack the whole archive, or remove them from its lists"
        )


def normalise_boxes(
    boxes: Float[Tensor, "image 4"], extents: Int64[Tensor, "image 2"]
) -> Float[Tensor, "image 4"]:
    """Convert boxes from pixels to [-1, 1], clipped to the image."""
    return (2 * boxes / extents.repeat(1, 2) - 1).clamp(-1, 1)


def read_mat(file: Path, *variables: str) -> list[Any]:
    """Return variables of a MATLAB file, without axes of length 1.

    Raises:
        ImportError: scipy is not installed.
        ValueError: It is not a MATLAB file, or lacks one of them.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            f"{file} is a MATLAB file, which takes scipy to read: run `pip install scipy`"
        ) from error
    try:
        content = loadmat(file, squeeze_me=True)
    except (
        Exception
    ) as error:  # scipy raises many kinds on a damaged file; the user needs the path in any case
        raise ValueError(f"{file} cannot be read as a MATLAB file ({error}): replace it") from error
    if missing := [name for name in variables if name not in content]:
        raise ValueError(f"{file} has no variable {missing[0]!r}: expected {', '.join(variables)}")
    return [content[name] for name in variables]
