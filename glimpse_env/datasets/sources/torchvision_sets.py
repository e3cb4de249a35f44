"""torchvision's classification data sets, as "torchvision:NAME": `SETS`, one line for each.

torchvision's classes read, check and download their own files; here their splits are mapped and their images
become an `ImageSet`. How to add one: a line in `SETS`.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from glimpse_env.datasets.archive import OTHER_ROOT, data_folder
from glimpse_env.datasets.base import ImageSet, ImageSize, MapStyle, Native, partition
from glimpse_env.datasets.formats.notes import Notes
from glimpse_env.datasets.sources.items import MANY, read_items, store_items
from glimpse_env.datasets.sources.paths import divide, read_paths
from glimpse_env.datasets.sources.recognition import Recognised
from glimpse_env.datasets.torch_dataset import to_label, to_pixels
from glimpse_env.runtime import files

PREFIX = "torchvision:"
# Attributes of torchvision's classes, by row: of files, and of labels.
PATHS = ("_image_files", "_images", "_samples", "samples", "imgs")
LABELS = ("targets", "_labels", "labels", "y", "_samples", "samples")
TO_CHANNELS_FIRST = (0, 3, 1, 2)

Arguments = Mapping[str, Any]

log = logging.getLogger("glimpse_env")


@dataclass(frozen=True)
class TorchvisionSet:
    """How a class of torchvision is called, and what its images are."""

    folder: str  # the files that it reads, in the data folder
    side: int | None  # pixels of small images; None = photographs
    train: Arguments = field(default_factory=dict)
    test: Arguments | None = None  # None: 20 % of each class are test images
    validation: Arguments | None = None  # None: it has no validation images of its own, or measures on them
    download: bool | None = True  # whether it can; None = it has no such argument
    parent: str = ""  # the root that it is given, in the data folder


def by_split(train: str, test: str, validation: str | None = None, **own: Any) -> dict[str, Any]:
    """Return the arguments of a class whose `split` has these names."""
    names = {"train": train, "test": test, "validation": validation}
    return {name: {"split": value, **own} for name, value in names.items() if value is not None}


BY_FLAG: dict[str, Any] = {"train": {"train": True}, "test": {"train": False}}
SETS: dict[str, TorchvisionSet] = {
    "CIFAR10": TorchvisionSet("cifar-10-batches-py", 32, **BY_FLAG),
    "CIFAR100": TorchvisionSet("cifar-100-python", 32, **BY_FLAG),
    "Caltech101": TorchvisionSet("caltech101", None),
    "Caltech256": TorchvisionSet("caltech256", None),
    "Country211": TorchvisionSet("country211", None, **by_split("train", "test", "valid")),
    "DTD": TorchvisionSet("dtd", None, **by_split("train", "test", "val")),
    "EMNIST": TorchvisionSet(
        "EMNIST/raw",
        28,
        train={"split": "balanced", "train": True},
        test={"split": "balanced", "train": False},
    ),
    "EuroSAT": TorchvisionSet("eurosat", 64),
    "FGVCAircraft": TorchvisionSet("fgvc-aircraft-2013b", None, **by_split("train", "test", "val")),
    "FashionMNIST": TorchvisionSet("FashionMNIST/raw", 28, **BY_FLAG),
    "Flowers102": TorchvisionSet("flowers-102", None, **by_split("train", "test", "val")),
    "Food101": TorchvisionSet("food-101", None, **by_split("train", "test")),
    "GTSRB": TorchvisionSet("gtsrb", 48, **by_split("train", "test")),  # 15 to 250 pixels, most of about 40
    "ImageNet": TorchvisionSet(
        "imagenet", None, **by_split("train", "val"), download=None, parent="imagenet"
    ),
    "Imagenette": TorchvisionSet("imagenette2", None, **by_split("train", "val")),
    "KMNIST": TorchvisionSet("KMNIST/raw", 28, **BY_FLAG),
    "MNIST": TorchvisionSet("MNIST/raw", 28, **BY_FLAG),
    "OxfordIIITPet": TorchvisionSet("oxford-iiit-pet", None, **by_split("trainval", "test")),
    "PCAM": TorchvisionSet("pcam", 96, **by_split("train", "test", "val")),
    "Places365": TorchvisionSet(
        "places365", None, **by_split("train-standard", "val", small=True), parent="places365"
    ),
    "QMNIST": TorchvisionSet("QMNIST/raw", 28, **BY_FLAG),
    "RenderedSST2": TorchvisionSet("rendered-sst2", None, **by_split("train", "test", "val")),
    "SEMEION": TorchvisionSet("semeion", 16, parent="semeion"),
    "STL10": TorchvisionSet("stl10_binary", 96, **by_split("train", "test")),
    "SUN397": TorchvisionSet("SUN397", None),
    "SVHN": TorchvisionSet("svhn", 32, **by_split("train", "test"), parent="svhn"),
    "StanfordCars": TorchvisionSet("stanford_cars", None, **by_split("train", "test"), download=False),
    "USPS": TorchvisionSet("usps", 16, **BY_FLAG, parent="usps"),
}


def is_torchvision(dataset: object) -> bool:
    """Tell whether a data set is given as "torchvision:NAME"."""
    return isinstance(dataset, str) and dataset.lower().startswith(PREFIX)


def find_set(dataset: str) -> tuple[str, TorchvisionSet]:
    """Return the class' name and line of "torchvision:NAME"; a ValueError names similar ones."""
    name = dataset[len(PREFIX) :]
    if name in SETS:
        return name, SETS[name]
    lower = {known.lower(): known for known in SETS}
    near = [lower[known] for known in difflib.get_close_matches(name.lower(), lower, 4, 0.5)]
    did_you = f"did you mean {' or '.join(PREFIX + one for one in near)}? " if near else ""
    raise ValueError(f"dataset={dataset!r}: {did_you}Expected {PREFIX} and one of {', '.join(SETS)}")


def recognise_set(dataset: str) -> Recognised:
    """Return what the images of "torchvision:NAME" are; their files need not be there."""
    name, line = find_set(dataset)
    if line.side is None:
        return Recognised("photographs", None, f"{name} is listed as photographs")
    return Recognised("digits", line.side, f"{name} is listed with images of {line.side} pixels")


def load_set(
    dataset: str, split: str, root: str | Path | None, download: bool, image_size: ImageSize
) -> ImageSet:
    """Load a split (see `datasets.load`) of "torchvision:NAME".

    "fit" and "validation" are its train and validation images if it has both, else parts of the training
    images. Of a set without test images of its own, 20 % of each class are. The classes are those that
    training images have. Photographs are cropped to squares of `image_size` pixels.

    Raises:
        ValueError: An unknown name, or images that cannot be read.
        FileNotFoundError: The files are not there and cannot be downloaded.
    """
    name, line = find_set(dataset)
    apart = line.validation is not None and split in ("fit", "validation")
    source = split if split == "test" or (apart and split == "validation") else "train"
    train = open_set(name, line, "train", root, download)
    chosen = train if source == "train" else open_set(name, line, source, root, download)
    if source == "test" and line.test is not None and line.test.get("split") == "val":
        log.info("%s%s: its validation images are the test images", PREFIX, name)
    trained = read_labels(train)
    labels = trained if chosen is train else read_labels(chosen)
    rows = list(range(len(labels)))
    if line.test is None:
        rows, trained = divide(labels, source), [trained[row] for row in divide(trained, "train")]
    classes, numbers = name_classes(name, train, trained)
    if unknown := sorted({labels[row] for row in rows} - numbers.keys()):
        raise ValueError(
            f"{PREFIX}{name}: {source} images have the label {unknown[0]}, no training image does"
        )
    images = read_images(name, line, source, chosen, rows, image_size)
    labelled = torch.tensor([numbers[labels[row]] for row in rows])
    images = replace(images, labels=labelled, classes=classes)
    return images if apart or split == "test" else partition(images, split)


def open_set(
    name: str, line: TorchvisionSet, source: str, root: str | Path | None, download: bool
) -> MapStyle:
    """Return torchvision's object of a split, downloaded if it is missing and may be."""
    from torchvision import datasets  # slow to import: see backbone.weights

    kind, arguments = getattr(datasets, name), dict(getattr(line, source) or line.train)
    folder = data_folder(root)
    parents = [folder / line.parent, *([folder] if line.parent else [])]
    faults = []
    for parent in parents:
        given = {} if line.download is None else {"download": False}
        try:
            return kind(os.fspath(parent), **arguments, **given)
        except (RuntimeError, OSError, ValueError, KeyError, IndexError, EOFError) as error:
            faults.append(error)
    where = (folder / line.folder).absolute()
    absent = f"dataset={PREFIX + name!r}: torchvision cannot read its files in {where} ({faults[0]})"
    called = f"torchvision.datasets.{name}({os.fspath(parents[0])!r})"
    remedy = f"Put them there as {called} reads them{OTHER_ROOT}"
    if not (download and line.download):
        raise FileNotFoundError(f"{absent}. {remedy}") from faults[0]
    try:
        parents[0].mkdir(parents=True, exist_ok=True)
        with files.lock(folder / f".{name}.lock"):
            return kind(os.fspath(parents[0]), **arguments, download=True)
    except Exception as error:  # of the connection, of the archive, of its checksum: many kinds
        cause = f"{type(error).__name__}: {error}"
        raise FileNotFoundError(f"{absent}. {remedy}. The download failed: {cause}") from error


def read_labels(dataset: MapStyle) -> list[int]:
    """Return all labels, from an attribute of the object if its first and last items agree with it."""
    count = len(dataset)
    for name in LABELS:
        values = getattr(dataset, name, None)
        if values is None or len(values) != count or not count:
            continue
        try:
            labels = [int(value[1] if "samples" in name else value) for value in values]
        except (TypeError, ValueError, RuntimeError):  # several numbers each, such as QMNIST's
            continue
        if all(labels[row] == read_label(dataset, row) for row in {0, count - 1}):
            return labels
    return [read_label(dataset, row) for row in range(count)]


def read_label(dataset: MapStyle, row: int) -> int:
    """Return the label of an item, and close the file that its image may have open."""
    image, label = dataset[row]
    if isinstance(image, Image.Image):
        image.close()
    return to_label(label, row)


def name_classes(
    name: str, train: MapStyle, trained: Sequence[int]
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the names of the classes of the training images, and their numbers from 0 by label."""
    known = getattr(train, "classes", None) or getattr(train, "categories", None) or ()
    names = [entry if isinstance(entry, str) else ", ".join(map(str, entry)) for entry in known]
    present = sorted(set(trained))
    numbers = {label: number for number, label in enumerate(present)}
    if present != list(range(max(len(names), len(present)))):
        text = "%s%s: %d of its classes have training images: their labels become 0 to %d"
        log.info(text, PREFIX, name, len(present), len(present) - 1)
    return tuple(names[label] if label < len(names) else str(label) for label in present), numbers


def read_images(
    name: str, line: TorchvisionSet, source: str, dataset: MapStyle, rows: Sequence[int],
    image_size: ImageSize,
) -> ImageSet:  # fmt: skip
    """Return the images of some rows: out of memory, from their files, or item by item; labels are 0."""
    labels = [0] * len(rows)
    if not isinstance(image_size, Native) and (array := find_array(dataset)) is not None:
        whole = len(rows) == len(array)
        picked = array if whole else array[torch.tensor(rows)]
        return ImageSet(picked, torch.zeros(len(rows), dtype=torch.int64), ("",))
    if image_size is None and line.side is None and len(rows) > MANY:
        raise ValueError(f"{PREFIX}{name}: photographs differ in size; give image_size=, such as 512")
    if paths := find_files(dataset):
        folder = Path(os.path.commonpath(paths))
        return read_paths(folder, f"{name}-{source}", [paths[row] for row in rows], labels, ("",), image_size)
    root = Path(getattr(dataset, "root", "."))
    where = root if root.name == line.folder else root / line.folder
    mark = f"{name} {source} {len(rows)} {describe_files(where)}"  # once a file changes, it does

    def read(index: int) -> Any:
        return dataset[rows[index]][0]

    if isinstance(image_size, int) and len(rows) > MANY:
        stored = store_items(f"{name}-{source}", os.fspath(where), mark, read, len(rows), image_size)
    else:
        stored = read_items(f"{name}-{source}", read, len(rows), image_size)
    return ImageSet(stored.images, torch.tensor(labels), ("",), key=stored.key, native=stored.native)


def find_array(dataset: MapStyle) -> UInt8[Tensor, "image channel height width"] | None:
    """Return the images that an object holds in memory, if its first and last items agree with it."""
    data = getattr(dataset, "data", None)
    if isinstance(data, np.ndarray) and data.dtype == np.uint8:
        data = torch.from_numpy(np.ascontiguousarray(data))
    if not isinstance(data, Tensor) or data.dtype != torch.uint8 or len(data) != len(dataset):
        return None
    ends = {row: to_pixels(dataset[row][0], row, Notes("")) for row in (0, len(dataset) - 1)}
    shaped = [data[:, None]] if data.ndim == 3 else [data, data.permute(TO_CHANNELS_FIRST)]
    for images in shaped if data.ndim in (3, 4) else ():
        if all(torch.equal(images[row], pixels) for row, pixels in ends.items()):
            return images.contiguous()
    return None


def find_files(dataset: MapStyle) -> list[str]:
    """Return the paths of an object's images; none = it has no such list."""
    for name in PATHS:
        entries = getattr(dataset, name, None)
        if not isinstance(entries, list) or len(entries) != len(dataset) or not entries:
            continue
        paths = [os.fspath(entry[0] if isinstance(entry, tuple) else entry) for entry in entries]
        if all(os.path.isfile(paths[row]) for row in (0, -1)):
            return paths
    return []


def describe_files(folder: Path) -> str:
    """Return what changes whenever files in a folder do: paths, bytes, times, and torchvision's version."""
    import torchvision

    entries = [torchvision.__version__]
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        status = path.stat()
        entries.append(f"{path.relative_to(folder).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}")
    return "\0".join(entries)
