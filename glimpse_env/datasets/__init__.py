"""Data sets by name, folder or object: `load` and the table it reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from glimpse_env.datasets import cars, clutter, cub, dogs, mnist
from glimpse_env.datasets.archive import Archive
from glimpse_env.datasets.base import ImageSet, MapStyle, Split, check_split, held_out, partition
from glimpse_env.datasets.folder import load_folder
from glimpse_env.datasets.photographs import load_photographs
from glimpse_env.datasets.torch_dataset import load_object

NAMED: dict[str, Callable[[str], ImageSet]] = {
    "mnist": mnist.load,
    "clutter": clutter.load,
}
PHOTOGRAPHS: dict[str, Archive] = {archive.name: archive for archive in (cub.ARCHIVE, cars.ARCHIVE, dogs.ARCHIVE)}

__all__ = ["NAMED", "PHOTOGRAPHS", "ImageSet", "MapStyle", "Split", "check_split", "held_out", "load"]


def load(
    dataset: str | Path | MapStyle,
    split: str = "train",
    *,
    root: str | Path | None = None,
    download: bool = True,
    image_size: int | None = None,
) -> ImageSet:
    """Load one split of a data set.

    Args:
        dataset: A name of `NAMED` or `PHOTOGRAPHS`; else the path of a folder of class folders; else a map-style torch data set object
            of (image, label) pairs, which is one split.
        split: "train", "test", or a fixed partition of the training images: "fit" (11/12) and "validation" (1/12), or fold K of N:
            "fit:K/N" and "validation:K/N".
        root: Where the archives of photographs lie, and a relative folder that is not in the working directory; None = the environment
            variable GLIMPSE_DATA, else (archives only) a folder in the user's home.
        download: Whether to fetch an archive of photographs that is not there and is still served.
        image_size: Side in pixels to resize the images to; None keeps the data set's own (which must then be one size, as photographs
            are not).

    Raises:
        ValueError: Unknown name or split, an image that cannot be read, labels outside the classes, differing sizes, or lists of an archive
            that contradict each other.
        TypeError: Neither a name nor a path nor a map-style data set of images with labels.
        FileNotFoundError: The folder or the archive does not exist, or an image of it.
    """
    check_split(split)
    if image_size is not None and (isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1):
        raise ValueError(f"image_size={image_size!r}: expected None or a whole number of at least 1, in pixels")
    source = "test" if split == "test" else "train"
    if not isinstance(dataset, str | Path):
        images = load_object(dataset, split, image_size)
    elif str(dataset) in NAMED:
        images = NAMED[str(dataset)](source)
    elif str(dataset) in PHOTOGRAPHS:
        images = load_photographs(PHOTOGRAPHS[str(dataset)], source, root, download, image_size)
    else:
        images = load_folder(find_folder(dataset, root), source, image_size)
    images = images if split == "test" else partition(images, split)
    return images if image_size is None else images.resized(image_size)


def find_folder(dataset: str | Path, root: str | Path | None) -> Path:
    """Return the folder that `dataset` names, from the working directory, else from `root` (None = GLIMPSE_DATA); ~ is the home.

    Raises:
        ValueError: A plain word that is neither a data set nor a folder.
        FileNotFoundError: A path that leads to no folder.
    """
    root = os.environ.get("GLIMPSE_DATA") if root is None else root
    name = os.path.expanduser(dataset)
    places = [Path(name)] if root in (None, "") else [Path(name), Path(os.path.expanduser(root), name)]
    for folder in places if name else []:
        if folder.is_dir():
            return folder
    word = isinstance(dataset, str) and Path(dataset).name == dataset
    tried = ", ".join(str(place.absolute()) for place in places)
    known = ", ".join(sorted(NAMED | PHOTOGRAPHS))
    raise (ValueError if word or not name else FileNotFoundError)(
        f"dataset={str(dataset)!r}: neither a known data set ({known}) nor a folder of class folders; looked for {tried}"
        + ("" if root else "; a folder to look in can be given as root= or in GLIMPSE_DATA")
    )
