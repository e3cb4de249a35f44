"""Files in a user's folders: which of them count as images, and which are copies of others."""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's
# Names, in lower case, that operating systems, network storage and tools write into folders of images; so do
# all names that begin with a dot, such as ._a.jpg and .ipynb_checkpoints.
SYSTEM = frozenset({
    "__macosx", "__pycache__", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini",
    "$recycle.bin", "recycler", "system volume information", "found.000", "lost+found",
    "@eadir", "#recycle", "@recycle", "@tmp",
})  # fmt: skip
SAMPLE = 4096  # bytes from a file's middle that are compared before all of it is

log = logging.getLogger("glimpse_env")


def is_system(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden, or the system's own."""
    return name.startswith(".") or name.lower() in SYSTEM


def list_folders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, sorted, but for the system's; none if it is none."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in inside if not is_system(path.name) and path.is_dir())


def list_images(folder: Path) -> list[str]:
    """Return the paths of the images in `folder`, at any depth, sorted by folder, then by name.

    Hidden and system files and folders are passed over, and so is a folder that was already visited through
    another link.
    """
    found, visited = [], set()
    for root, folders, names in os.walk(folder, followlinks=True):
        visited.add(os.path.realpath(root))
        below = [name for name in folders if not is_system(name)]
        folders[:] = [name for name in below if os.path.realpath(os.path.join(root, name)) not in visited]
        images = [name for name in names if name.lower().endswith(EXTENSIONS) and not is_system(name)]
        found.append((root, sorted(images)))
    return [os.path.join(root, name) for root, names in sorted(found) for name in names]


def warn_of_copies(folder: Path, files: Mapping[str, Sequence[str]]) -> None:
    """Log how many files of a split are byte-identical to files of another split, or of the same "train".

    `files` holds the paths of each split's images.
    """
    owner = {path: split for split, paths in files.items() for path in paths}
    groups = [group_by(group, owner.__getitem__) for group in find_identical(list(owner))]
    for first, second in itertools.combinations(files, 2):
        shared = [(group[first][0], *group[second]) for group in groups if {first, second} <= group.keys()]
        log_copies(folder, shared, f"{len(files[second])} {second}", f"{first} images")
    copied = [group["train"] for group in groups if "train" in group]
    log_copies(folder, copied, f"{len(files.get('train', ()))} train", "other train images")


def log_copies(folder: Path, groups: Sequence[Sequence[str]], images: str, originals: str) -> None:
    """Log how many files are copies; a group is a file and its copies."""
    if count := sum(len(group) - 1 for group in groups):
        pair = next(group[:2] for group in groups if len(group) > 1)
        names = " and ".join(os.path.relpath(path, folder) for path in pair)
        text = "%s: %d of %s images are byte-identical to %s, such as %s"
        log.warning(text, folder, count, images, originals, names)


def find_identical(paths: Sequence[str]) -> list[list[str]]:
    """Return the groups of two files or more that hold the same bytes, in the order of `paths`.

    Files are compared by size, those of one size by a sample, and those of one sample by all their bytes. A
    file that cannot be read equals none.
    """
    groups = [list(paths)]
    for describe in (os.path.getsize, hash_middle, hash_all):
        key = functools.partial(try_read, describe)
        groups = [part for group in groups for part in group_by(group, key).values() if len(part) > 1]
    return groups


def group_by(paths: Sequence[str], key: Callable[[str], object]) -> dict[object, list[str]]:
    """Return paths in groups of equal keys, in order."""
    groups: dict[object, list[str]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return dict(groups)


def try_read(describe: Callable[[str], object], path: str) -> object:
    """Return a fact of a file, or, if it cannot be read, its path, which no other file shares."""
    try:
        return describe(path)
    except OSError:
        return path


def hash_middle(path: str) -> str:
    """Return a hash of a sample of a file."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - SAMPLE) // 2)
        return hashlib.sha256(file.read(SAMPLE)).hexdigest()


def hash_all(path: str) -> str:
    """Return a hash of all bytes of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
