"""A folder of class folders as a data set: FOLDER/{train,test}/CLASS/IMAGE, or just FOLDER/CLASS/IMAGE."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from glimpse_env.datasets.base import ImageSet, ImageSize, Preset, partition
from glimpse_env.datasets.image_files import EXTENSIONS, list_folders, list_images, warn_of_copies
from glimpse_env.datasets.sources.paths import pick, read_paths

PRESET = Preset(image_size=224)  # photographs of any size
WORDS = {
    "train": "train", "training": "train", "trainval": "train", "val": "validation", "valid": "validation",
    "validation": "validation", "validate": "validation", "dev": "validation", "eval": "validation",
    "evaluation": "validation", "test": "test", "testing": "test",
}  # fmt: skip
FILLERS = frozenset({"set", "data", "dataset", "image", "images", "img", "imgs", "seg", "split", "folder"})
GLUED = re.compile(
    r"(train|training|val|valid|validation|test|testing)(set|data|images)"
)  # such as "trainset"
LAYOUT = (
    "expected FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE, or FOLDER/CLASS/IMAGE (then 20 % of each "
    f"class are test images), with images ending in {', '.join(EXTENSIONS)}"
)

log = logging.getLogger("glimpse_env")


def load_folder(folder: Path, split: str, image_size: ImageSize) -> ImageSet:
    """Load a split (see `datasets.load`) from a folder of class folders, as RGB, upright by their EXIF.

    Without `train` and `test` folders, each class' files (sorted by path) are permuted in a fixed way, and
    the first 20 %, rounded and at least one, are its test images; the only image of a class is a training
    image. "fit" and "validation" are parts of the training images, unless there are three folders: train,
    validation and test. Hidden and system files are ignored. `image_size` is as for `to_square` with "crop";
    None: all images have one size.

    Raises:
        FileNotFoundError: The folder, a class in it or the split holds no images.
        ValueError: An image cannot be read, the sizes differ without `image_size`, there is one class only, a
            split has a class that "train" lacks, or folders of classes and of splits cannot be told apart.
    """
    folder = unnest(folder)
    parts = find_parts(folder)
    apart = "validation" in parts and split in ("fit", "validation")
    source = split if split == "test" or (apart and split == "validation") else "train"
    images = read_part(folder, parts, source, image_size)
    return images if apart or split == "test" else partition(images, split)


def read_part(folder: Path, parts: Mapping[str, Path], source: str, image_size: ImageSize) -> ImageSet:
    """Read the images of "train", "validation" or "test"; `parts` is as `find_parts` returns it."""
    classes = find_classes(folder, parts, source)
    files = list_parts(parts, classes, source) if parts else divide(folder, classes)
    paths = [path for name in classes for path in files[source][name]]
    if not paths:
        raise FileNotFoundError(f"{folder} has one image in each class, none to test: expected at least two")
    warn_of_copies(folder, {part: [*itertools.chain(*of.values())] for part, of in files.items()})
    labelled = (label for label, name in enumerate(classes) for _ in files[source][name])
    name = f"{folder.resolve().name}-{source}"
    return read_paths(folder, name, paths, labelled, classes, image_size)


def unnest(folder: Path) -> Path:
    """Return the folder inside a folder that holds nothing but a folder of folders with its own name."""
    name = folder.absolute().name
    return folder / name if list_folders(folder) == [name] and list_folders(folder / name) else folder


def find_parts(folder: Path) -> dict[str, Path]:
    """Return the folders of "train", "validation" and "test" that hold class folders; none = no such layout.

    Beside "train" alone, a folder such as `val` holds the test images; the log says so.
    """
    parts, other = match_parts(folder)
    if "validation" in parts and "test" not in parts:
        parts["test"] = parts.pop("validation")
        log.info("%s holds the test images: there is no test folder beside it", parts["test"])
    if parts and other:
        log.info("%s: no split with class folders, hence not read: %s", folder, ", ".join(other))
    return {split: parts[split] for split in ("train", "validation", "test") if split in parts}


def match_parts(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folders of splits by what their names mean, and the names of the other folders."""
    parts: dict[str, Path] = {}
    other = []
    for name in list_folders(folder):
        path, split = unnest(folder / name), name_split(name, folder.absolute().name)
        if split is None or not list_folders(path):
            other.append(name)
            continue
        if split in parts:
            two = f"{folder} holds both {parts[split].relative_to(folder)} and {path.relative_to(folder)}"
            raise ValueError(f"{two}, which are names of one split: expected one folder of each")
        parts[split] = path
    return parts, other


def list_first(folder: Path) -> Iterator[Path]:
    """Yield the images of a folder in the order of its training images, without reading more than needed."""
    folder = unnest(folder)
    parts = match_parts(folder)[0]
    reference = next((parts[split] for split in ("train", "validation", "test") if split in parts), folder)
    for name in list_folders(reference):
        yield from map(Path, list_images(reference / name))


def name_split(name: str, parent: str = "") -> str | None:
    """Return the split that a folder's name means, such as "train" for Train, training_set and seg-train.

    Words of the folder around it count for nothing: cars_train in a folder called cars.
    """
    words = split_words(name) - FILLERS - (split_words(parent) - WORDS.keys())
    return WORDS.get(words.pop()) if len(words) == 1 else None


def split_words(name: str) -> set[str]:
    """Return the words of a name in lower case, without numbers: those of "TrainSet2" are train and set."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return set(re.findall(r"[^\W\d_]+", GLUED.sub(r"\1 \2", spaced)))


def find_classes(folder: Path, parts: Mapping[str, Path], source: str) -> tuple[str, ...]:
    """Return the names of the classes: the folders of the training images, which the labels count."""
    if parts and source not in parts:
        present = f"{folder} has class folders in {next(iter(parts.values())).name!r} but none in {source!r}"
        raise FileNotFoundError(f"{present}: {LAYOUT}")
    reference = next(iter(parts.values()), folder)
    classes = tuple(list_folders(reference))
    if not classes:
        beside = f"{len(list_images(reference)):,} images outside of class folders and "
        raise FileNotFoundError(f"{beside}no images in class folders of {reference}: {LAYOUT}")
    if len(classes) == 1:
        raise ValueError(f"{reference} holds one class, {describe(reference / classes[0])}")
    if not parts:
        refuse_splits(folder, classes)
    elif unknown := sorted({*list_folders(parts[source])} - {*classes}):
        lacks = f"which {reference} lacks: expected {', '.join(classes)}"
        raise ValueError(f"{parts[source]} has the classes {', '.join(unknown)}, {lacks}")
    return classes


def describe(only: Path) -> str:
    """Return what a set's only class folder holds, and what is expected."""
    inner, count = list_folders(only), len(list_images(only))
    folders = f" and the folders {abbreviate(inner)}" if inner else ""
    found = f"{only.name!r}, with {count:,} images{folders}"
    advice = f"; if these are its classes or splits, give {only} as the data set" if len(inner) > 1 else ""
    return f"{found}: expected at least two class folders{advice}"


def refuse_splits(folder: Path, classes: tuple[str, ...]) -> None:
    """Refuse class folders that are splits, or that are divided into splits themselves (ValueError)."""
    splits = [name for name in classes if split_words(name) & WORDS.keys()]
    kinds = {WORDS[word] for name in splits for word in split_words(name) & WORDS.keys()}
    inner = [{*list_folders(folder / name)} for name in splits]
    if len(kinds) > 1 and (len(splits) == len(classes) or set.intersection(*inner)):
        found = f"{folder} holds {', '.join(splits)}, which look like splits and not like classes"
        raise ValueError(f"{found}: {LAYOUT}; rename a class, or move what is no class out of the folder")
    for name in classes:
        divided = [part for part in list_folders(folder / name) if name_split(part)]
        if len({name_split(part) for part in divided}) > 1:
            found = f"{folder / name} is divided into {', '.join(divided)}"
            raise ValueError(f"{found}, which would be mixed: {LAYOUT}")
    warn_of_other_splits(folder, classes)


def warn_of_other_splits(folder: Path, classes: tuple[str, ...]) -> None:
    """Log a warning if all class folders hold the same folders: these may be the classes."""
    inner = [list_folders(folder / name) for name in classes]
    if len(inner[0]) > 1 and all(names == inner[0] for names in inner):
        held = f"each of {abbreviate(classes)} holds the same folders, {abbreviate(inner[0])}"
        advice = "if these are the classes, and those the splits, call the splits train and test"
        log.warning("%s: %s, and is taken for a class; %s", folder, held, advice)


def abbreviate(names: Sequence[str]) -> str:
    """Return names as text, at most four of them."""
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def list_parts(
    parts: Mapping[str, Path], classes: tuple[str, ...], source: str
) -> dict[str, dict[str, list[str]]]:
    """Return the images of each class in the folder of each split; `source` must have some."""
    files = {part: {name: list_images(path / name) for name in classes} for part, path in parts.items()}
    refuse_empty(parts[source], classes if source == "train" else (), files[source])
    return files


def divide(folder: Path, classes: tuple[str, ...]) -> dict[str, dict[str, list[str]]]:
    """Return the training and the test images of each class of a folder without splits."""
    files = {name: list_images(folder / name) for name in classes}
    refuse_empty(folder, classes, files)
    return {part: {name: pick(files[name], part) for name in classes} for part in ("train", "test")}


def refuse_empty(folder: Path, needed: tuple[str, ...], files: Mapping[str, list[str]]) -> None:
    """Refuse classes without images, of those that need one, and a folder without images at all."""
    empty = [name for name in needed if not files[name]]
    if empty or not any(files.values()):
        where = ", ".join(str(folder / name) for name in empty) or str(folder)
        raise FileNotFoundError(f"no images in {where}: {LAYOUT}")
