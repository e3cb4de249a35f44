"""Data sets by name, folder or object: `load`, and `NAMED`, the table of those that have a name.

How to add one: write a module here that ends with `SPEC`, a `DataSetSpec`; for an archive of photographs,
`photographs.specify(Archive(...), ...)` builds it, and the module only reads the archive's lists. Put
`your_module.SPEC` into `SPECS` below. The environment's defaults, the agents' recipes (by kind) and the
titles in reports follow from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from glimpse_env import checks
from glimpse_env.datasets import archive, base, cars, cub, dogs, folder, mnist, torch_dataset
from glimpse_env.datasets.base import (
    DataSetSpec,
    ImageSet,
    ImageSize,
    MapStyle,
    Native,
    check_split,
    held_out,
    partition,
)
from glimpse_env.datasets.generated import canvas_digits, circle_square, clutter
from glimpse_env.datasets.sources import image_list, objects, torchvision_sets
from glimpse_env.datasets.sources.objects import Keyed
from glimpse_env.datasets.sources.recognition import Recognised, recognise_files, recognise_object

Value = TypeVar("Value")

GENERATED = (*canvas_digits.SPECS, clutter.SPEC, circle_square.SPEC)
SPECS = (mnist.SPEC, *GENERATED, cub.SPEC, cars.SPEC, dogs.SPEC)
NAMED: dict[str, DataSetSpec] = {spec.name: spec for spec in SPECS}

__all__ = ["NAMED", "DataSetSpec", "ImageSet", "Keyed", "MapStyle", "Native", "Recognised", "check_split",
           "expand_kinds", "find_kind", "find_place", "find_preset", "held_out", "list_names", "load",
           "recognise"]  # fmt: skip


def load(
    dataset: str | Path | MapStyle,
    split: str = "train",
    *,
    root: str | Path | None = None,
    download: bool = True,
    image_size: Literal["native"] | ImageSize = None,
) -> ImageSet:
    """Load one split of a data set.

    Args:
        dataset: A name of `NAMED`; or "torchvision:NAME", such as "torchvision:Flowers102" (see
            `sources.torchvision_sets.SETS`); else the path of a folder of class folders, or of a list of
            image files (.csv or .jsonl, see `sources.image_list`); else a map-style torch data set of
            (image, label) pairs, or of dicts with an image and a label (other keys: `Keyed`), which is one
            split. An `ImageSet`, such as one of `generated.canvas_digits.load`, is taken as it is.
        split: "train", "test", or a fixed partition of the training images: "fit" (11/12) and "validation"
            (1/12), or fold K of N: "fit:K/N" and "validation:K/N". Where a data set of torchvision, a folder
            or a list has train, validation and test images, "fit" and "validation" are the first two.
        root: Folder that holds the archives of photographs and the data sets of torchvision, and in which a
            relative folder or list is looked for if it is not in the working directory; None = the
            environment variable GLIMPSE_DATA, else (archives, torchvision) a folder in the user's home.
        download: Whether to download an archive of photographs, or a data set of torchvision, that is missing
            and still served.
        image_size: Side in pixels to resize the images to; None = the data set's own, which must be one size
            (photographs have several); "native" (or `Native`, with the size of the views of whole images):
            they keep their sizes, in a store.

    Raises:
        ValueError: Unknown name or split, an image that cannot be read, labels outside the classes, differing
            sizes, or lists of an archive that contradict each other.
        TypeError: Neither a name nor a path nor a map-style data set of images with labels.
        FileNotFoundError: The folder, the archive or one of its images does not exist.
    """
    check_split(split)
    root, download = checks.arguments(root=root, download=download)
    source = "test" if split == "test" else "train"
    if image_size is not None and not isinstance(image_size, Native):
        image_size = checks.argument("image_size", image_size)
        image_size = Native() if image_size == "native" else image_size
    if not isinstance(dataset, str | Path):
        images = partition(objects.load_object(dataset, split, image_size), split)
    elif torchvision_sets.is_torchvision(dataset):
        images = torchvision_sets.load_set(str(dataset), split, root, download, image_size)
    elif str(dataset) not in NAMED:
        path = find_path(dataset, root)
        read = image_list.load_list if image_list.is_list(path) else folder.load_folder
        images = read(path, split, image_size)
    else:
        refuse_native(str(dataset), image_size)
        images = NAMED[str(dataset)].load(source, root, download, image_size)
        images = images if split == "test" else partition(images, split)
    return images.resized(image_size) if isinstance(image_size, int) else images


def refuse_native(name: str, image_size: ImageSize) -> None:
    """Refuse the own sizes of images that all have the same."""
    if isinstance(image_size, Native) and NAMED[name].kind != "photographs":
        advice = "expected a side in pixels, or None"
        raise ValueError(f"image_size='native': the images of {name!r} have one size; {advice}")


def find_path(dataset: str | Path, root: str | Path | None) -> Path:
    """Return the folder or list `dataset` in the working directory, else in `root`; ~ is the home folder.

    `root` None = GLIMPSE_DATA.

    Raises:
        ValueError: A plain word that is neither a data set nor a folder nor a list.
        FileNotFoundError: There is nothing of that kind at this path.
    """
    root = os.environ.get("GLIMPSE_DATA") if root is None else root
    name = os.path.expanduser(dataset)
    paths = [Path(name), *([Path(os.path.expanduser(root), name)] if root else [])]
    for path in paths if name else []:
        # False for a name that no file can have, too
        if os.path.isfile(path) if image_list.is_list(path) else os.path.isdir(path):
            return path
    word = isinstance(dataset, str) and Path(dataset).name == dataset and not image_list.is_list(dataset)
    raise (ValueError if word else FileNotFoundError)(
        f"dataset={str(dataset)!r}: neither a known data set ({', '.join(sorted(NAMED))}) nor a folder of "
        f"class folders, nor a list of images ({', '.join(image_list.ENDINGS)}), nor one of torchvision's, "
        "such as torchvision:Flowers102; looked for "
        + ", ".join(str(path.absolute()) for path in paths)
        + ("" if root else "; a folder to look in can be given as root= or in GLIMPSE_DATA")
    )


def find_place(dataset: str | Path, root: str | Path | None) -> tuple[str, Path]:
    """Return what tells a data set without a name from others: torchvision's name, and where it lies.

    Raises:
        ValueError, FileNotFoundError: As `find_path` does.
    """
    if torchvision_sets.is_torchvision(dataset):
        return str(dataset), archive.data_folder(root).resolve()
    return "", find_path(dataset, root).resolve()


def recognise(dataset: object, root: str | Path | None = None) -> Recognised | None:
    """Return what the images of a data set without a name are; None = its first image cannot be read.

    `dataset` and `root` are as in `load`, which says what is wrong with a data set that cannot be read.
    """
    if not isinstance(dataset, str | Path):
        return recognise_object(dataset) if isinstance(dataset, MapStyle) else None
    try:
        if torchvision_sets.is_torchvision(dataset):
            return torchvision_sets.recognise_set(str(dataset))
        path = find_path(dataset, root)
        return recognise_files((image_list if image_list.is_list(path) else folder).list_first(path))
    except (ValueError, OSError):
        return None


def find_kind(dataset: object, root: str | Path | None = None) -> base.Kind:
    """Return the kind of a data set given as in `load`, by which agents have their recipes.

    A named data set has its own. Another one holds "photographs" if its first image has three channels and
    its longer side more than 96 pixels, else "digits": small images.
    """
    if isinstance(dataset, str | Path) and str(dataset) in NAMED:
        return NAMED[str(dataset)].kind
    images = recognise(dataset, root)
    return "digits" if images is None else images.kind


def find_preset(dataset: object, root: str | Path | None = None) -> base.Preset:
    """Return the environment's defaults for a data set given as in `load`.

    They are those of the named data sets, `photographs.PRESET` for other photographs, and for small images
    `Preset`'s with the size of the first one. An `ImageSet` is taken as it is.
    """
    if isinstance(dataset, str | Path) and str(dataset) in NAMED:
        return NAMED[str(dataset)].preset
    images = None if isinstance(dataset, ImageSet) else recognise(dataset, root)
    if images is not None:
        return images.preset
    return folder.PRESET if isinstance(dataset, str | Path) else torch_dataset.PRESET


def list_names(kind: base.Kind) -> tuple[str, ...]:
    """Return the names of the data sets of a kind."""
    return tuple(name for name, spec in NAMED.items() if spec.kind == kind)


def expand_kinds(values: Mapping[base.Kind, Value]) -> dict[str, Value]:
    """Return values by the names of the data sets that are given by their kinds, such as recipes."""
    return {name: values[spec.kind] for name, spec in NAMED.items() if spec.kind in values}
