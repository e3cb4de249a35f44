"""From an archive of photographs to an `ImageSet`: labels from 0, boxes in [-1, 1], pixels in a store."""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from glimpse_env.datasets.archive import Archive, Layout, Listing, find_archive
from glimpse_env.datasets.base import DataSetSpec, ImageSet, ImageSize, Native, Preset
from glimpse_env.datasets.native.store import open_native_files
from glimpse_env.datasets.native.views import open_views
from glimpse_env.datasets.store import open_store

# DT-RAM, section 4.2: 512 x 512 images, 224 x 224 crops, ResNet-50, 3 steps. Its first view is a 448 x 448
# crop (view_size=448, first_crop=0.875); here it is the whole image at 224 x 224, a quarter of the work, so
# that detail costs a glimpse.
PRESET = Preset(image_size=512, glimpse_size=224, max_glimpses=3, sensor="crop", backbone="resnet50")

log = logging.getLogger("glimpse_env")


def specify(archive: Archive, short: str) -> DataSetSpec:
    """Return an archive's line in the table of data sets; `short` is its name in narrow tables."""
    load = functools.partial(load_photographs, archive)
    name, title, classes = archive.name, archive.title, archive.classes
    return DataSetSpec(name, title, short, classes, "photographs", PRESET, load, fit="stretch")


def load_photographs(
    archive: Archive, split: str, root: str | Path | None, download: bool, image_size: ImageSize
) -> ImageSet:
    """Load "train" or "test" of an archive, or of a part of one with fewer classes or images.

    The classes are those of the training images, numbered from 0 in the archive's order; of an archive that
    lacks their list, all those that have a name. A photograph and its
    box are resized to a square of `image_size` pixels that shows all of the photograph, as in the papers
    ("resized to 512 x 512"). `root` and `download` are as for `find_archive`.

    Raises:
        FileNotFoundError: The archive, one of its files or a listed photograph is missing.
        ValueError: No `image_size`, lists that contradict each other, or a photograph that cannot be decoded.
    """
    name = archive.name
    if image_size is None:
        advice = "give image_size=, such as 512 as in the papers"
        raise ValueError(f"dataset={name!r}: its photographs differ in size; {advice}")
    folder, layout = find_archive(archive, split, root, download)
    listing = archive.read_listing(folder, layout.locate(folder, split), split)
    train = listing if split == "train" else read_training(archive, folder, layout, listing)
    check_listing(folder, listing, train, split)
    present = {number: label for label, number in enumerate(sorted(set(train.labels)))}
    counts = f"{len(present)} of {archive.classes} classes, {len(listing.images):,} photographs"
    log.info("%s (%s): %s, from %s", name, split, counts, folder)
    native, called = None, f"{name}-{split}"
    if isinstance(image_size, Native):
        native = open_native_files(called, folder, listing.images)
        store = open_views(called, native, image_size.view, kept=True)
    else:
        store = open_store(called, folder, listing.images, image_size, "stretch")
    labels = torch.tensor([present[number] for number in listing.labels])
    classes = tuple(train.names[number] for number in present)
    boxes = (2 * listing.boxes() / store.extents.repeat(1, 2) - 1).clamp(-1, 1)  # from pixels
    return ImageSet(store.images, labels, classes, boxes=boxes, key=store.key, native=native)


def read_training(archive: Archive, folder: Path, layout: Layout, listing: Listing) -> Listing:
    """Return the list of the training images; without one, that of the test images and every named class."""
    if layout.has_lists(folder, "train"):
        return archive.read_listing(folder, layout.locate(folder, "train"), "train")
    log.info("%s: the classes are all that have a name: no training images are listed", archive.name)
    return replace(listing, labels=list(listing.names))


def check_listing(folder: Path, listing: Listing, train: Listing, split: str) -> None:
    """Refuse a split without images, classes without a name or a training image, and missing photographs."""
    file, names = listing.file, train.names
    for part in (train, listing):
        if not part.images:
            raise ValueError(f"{part.file} lists no image for split={split!r}: expected at least one")
    if unknown := sorted(set(listing.labels + train.labels) - set(names)):
        expected = f"expected one of {min(names)} to {max(names)}"
        raise ValueError(f"{file}: class {unknown[0]} has no name; {expected}")
    if untrained := sorted(set(listing.labels) - set(train.labels)):
        images = f"images of class {names[untrained[0]]!r} for split={split!r}"
        raise ValueError(f"{file} has {images}, but none to train on")
    if missing := [path for path in listing.images if not (folder / path).is_file()]:
        counts = f"{len(missing)} of {len(listing.images)} photographs are missing"
        cause = f"{folder / missing[0]} does not exist, though {file} lists it ({counts})"
        raise FileNotFoundError(f"{cause}: unpack the whole archive, or remove them from its lists")


def read_mat(file: Path, *variables: str) -> list[Any]:
    """Return variables of a MATLAB file, without axes of length 1, or raise an error that names the file."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(f"{file} is a MATLAB file: run `pip install scipy` to read it") from error
    try:
        content = loadmat(file, squeeze_me=True)
    except Exception as error:  # scipy raises many kinds on a damaged file
        raise ValueError(f"{file} cannot be read as a MATLAB file ({error}): replace it") from error
    if missing := [name for name in variables if name not in content]:
        raise ValueError(f"{file} has no variable {missing[0]!r}: expected {', '.join(variables)}")
    return [content[name] for name in variables]
