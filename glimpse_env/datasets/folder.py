"""A folder of class folders as a data set: FOLDER/{train,test}/CLASS/IMAGE, or just FOLDER/CLASS/IMAGE."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import torch
from tqdm.contrib.concurrent import thread_map

from glimpse_env import checks
from glimpse_env.datasets.base import ImageSet, Preset
from glimpse_env.datasets.decode import read_image, stack
from glimpse_env.datasets.store import open_store

PRESET = Preset(image_size=224)  # photographs of any size
SPLITS = ("train", "test")
TEST_SHARE = 0.2  # of each class, if the folder has no `test`
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's
MANY = 1000  # images: above it there is a progress bar, or an image store if their size is given
LAYOUT = (
    "expected FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE, or FOLDER/CLASS/IMAGE (then 20 % of each "
    f"class are test images), with images ending in {', '.join(EXTENSIONS)}"
)


def load_folder(folder: Path, split: str, image_size: int | None) -> ImageSet:
    """Load "train" or "test" from a folder of class folders, as RGB, upright by their EXIF orientation.

    Without `train` and `test` folders, each class' files (sorted by path) are permuted in a fixed way, and
    the first 20 %, rounded and at least one, are its test images; the only image of a class is a training
    image. Names that begin with a dot are ignored. `image_size` is as for `to_square` with "crop"; None: all
    images have one size.

    Raises:
        FileNotFoundError: The folder, a class in it or the split holds no images.
        ValueError: An image cannot be read, the sizes differ without `image_size`, or "test" has a class that
            "train" lacks.
    """
    classes, samples = scan(folder, split)
    paths, targets = zip(*samples, strict=True)
    labels = torch.tensor(targets)
    many = len(paths) > MANY
    if image_size is not None and many:
        names = [os.path.relpath(path, folder) for path in paths]
        store = open_store(f"{folder.resolve().name}-{split}", folder, names, image_size, "crop")
        return ImageSet(store.images, labels, classes, key=store.key)
    if image_size is not None:
        checks.memory(f"image_size={image_size}", len(paths) * 3 * image_size**2, torch.device("cpu"))
    read, title = functools.partial(read_image, size=image_size, fit="crop"), f"{folder} ({split})"
    decoded = thread_map(read, paths, max_workers=os.cpu_count(), disable=not many, desc=title)
    return ImageSet(stack([pixels for pixels, _ in decoded], paths), labels, classes)


def scan(folder: Path, split: str) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """Return the class names and the (path, label) pairs of a split."""
    from torchvision.datasets.folder import make_dataset  # slow to import: see backbone.weights

    halves = [half for half in SPLITS if list_classes(folder / half)]
    if halves and split not in halves:
        present = f"{folder} has class folders in {halves[0]!r} but none in {split!r}"
        raise FileNotFoundError(f"{present}: {LAYOUT}")
    source, reference = (folder / split, folder / halves[0]) if halves else (folder, folder)
    classes = list_classes(reference)  # the labels are those of the training images
    if unknown := sorted(set(list_classes(source)) - set(classes)):
        lacks = f"which {reference} lacks: expected {', '.join(classes)}"
        raise ValueError(f"{source} has the classes {', '.join(unknown)}, {lacks}")
    labels = {name: label for label, name in enumerate(classes)}
    samples = make_dataset(source, labels, EXTENSIONS, allow_empty=True) if classes else []
    empty = set(labels.values()) - {label for _, label in samples}
    if not samples or (empty and source != folder / "test"):
        where = ", ".join(str(source / classes[label]) for label in sorted(empty)) or str(source)
        raise FileNotFoundError(f"no images in {where}: {LAYOUT}")
    if not halves:
        by_class = [[sample for sample in samples if sample[1] == label] for label in labels.values()]
        samples = [sample for part in by_class for sample in split_class(part, split)]
    if not samples:
        raise FileNotFoundError(f"{folder} has one image in each class, none to test: expected at least two")
    return classes, samples


def list_classes(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in `folder`, sorted; none if it does not exist."""
    folders = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return tuple(sorted(name for name in folders if not name.startswith(".")))


def split_class(samples: list[tuple[str, int]], split: str) -> list[tuple[str, int]]:
    """Return the part of one class' samples that belongs to a split."""
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist()
    count = min(max(1, round(len(samples) * TEST_SHARE)), len(samples) - 1)
    return [samples[index] for index in sorted(order[:count] if split == "test" else order[count:])]
