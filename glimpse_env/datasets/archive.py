"""Official archives of photographs: finding their folder, and downloading it."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from jaxtyping import Float
from torch import Tensor

from glimpse_env.datasets.image_files import list_folders
from glimpse_env.runtime import files

# Of downloading, checking and unpacking.
FAILURES = (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError, zlib.error)
OTHER_ROOT = "; root= or GLIMPSE_DATA can name another folder"

log = logging.getLogger("glimpse_env")


@dataclass(frozen=True)
class Listing:
    """One split, as the archive's own lists describe it."""

    file: Path  # the list, for error messages
    images: list[str]  # paths from the archive's folder
    labels: list[int]  # one per image, in the archive's numbering of classes
    names: dict[int, str]  # of the classes, by number
    # (left, top, right, bottom) around the object, in pixels of the upright photograph.
    boxes: Callable[[], Float[Tensor, "image 4"]]


Paths = tuple[str, ...]  # where a file or folder of an archive may lie in its folder, the official path first


@dataclass(frozen=True)
class Layout:
    """How an archive's folder may look: what each split ("train" or "test") needs, by name."""

    lists: Callable[[str], Mapping[str, Paths]]  # files that `read_listing` reads
    folders: Callable[[str], Mapping[str, Paths]]  # folders of photographs and notes

    def locate(self, folder: Path, split: str) -> dict[str, Path]:
        """Return where each part lies; a missing one is given at its official path."""
        parts = {**self.lists(split), **self.folders(split)}
        return {name: find_first(folder, paths) or folder / paths[0] for name, paths in parts.items()}

    def has_lists(self, folder: Path, split: str) -> bool:
        """Tell whether `read_listing` can read a split."""
        return all(find_first(folder, paths) for paths in self.lists(split).values())

    def find_missing(self, folder: Path, split: str) -> list[Path]:
        """Return the official paths of the parts that a split lacks."""
        return [path for path in self.locate(folder, split).values() if not path.exists()]


def find_first(folder: Path, paths: Paths) -> Path | None:
    """Return the first of the paths that exists; of a folder inside one of the same name, the inner one."""
    found = next((folder / path for path in paths if (folder / path).exists()), None)
    inner = found / found.name if found else None
    return inner if inner and inner.is_dir() else found


@dataclass(frozen=True)
class Archive:
    """An official archive."""

    name: str  # as `datasets.load` takes it
    title: str
    folders: tuple[str, ...]  # names that its folder may have; a download creates the first
    layouts: tuple[Layout, ...]  # the official one first
    classes: int  # of the complete archive
    # From its folder, where its layout's parts lie, and "train" or "test".
    read_listing: Callable[[Path, Mapping[str, Path], str], Listing]
    sources: tuple[tuple[str, str], ...] = ()  # (URL, MD5) of the tar files
    inside: str = ""  # the folder in the tar files that becomes folders[0]; "" = they are unpacked into it
    advice: str = ""  # where else it can be obtained


def find_archive(
    archive: Archive, split: str, root: str | Path | None, download: bool
) -> tuple[Path, Layout]:
    """Return the archive's folder and its layout, which has all that "train" or "test" needs.

    It is expected in `root`, else in GLIMPSE_DATA, else in the user's home, and downloaded if it is missing,
    `download` allows it and it is served.

    Raises:
        FileNotFoundError: It or a part of it is missing; the message names the files and their folder.
    """
    parent = data_folder(root)
    folder = locate(archive, parent, split)
    if folder is None:
        tried = [str(parent.absolute() / name) for name in archive.folders]
        absent = f"dataset={archive.name!r}: {archive.title} is not at {' and '.join(tried)}"
        remedy = describe_remedy(archive, Path(tried[0]), split) + OTHER_ROOT
        if not (download and archive.sources):
            raise FileNotFoundError(f"{absent}. {remedy}")
        try:
            folder = fetch(archive, parent)
        except FAILURES as error:
            if isinstance(error, OSError) and error.errno in files.LOCAL:
                there = "name another folder by root= or GLIMPSE_DATA"
                raise files.explain(
                    error, Path(tried[0]), f"{absent}, nor can it be put there", there
                ) from error
            cause = f"{type(error).__name__}: {error}"
            raise FileNotFoundError(f"{absent}. {remedy}. The download failed: {cause}") from error
    layout = choose_layout(archive, folder, split)
    if missing := [path.relative_to(folder).as_posix() for path in layout.find_missing(folder, split)]:
        absent = f"{folder} has no {', '.join(missing)}: the split {split} of {archive.title} needs them"
        remedy = describe_remedy(archive, folder.absolute(), split)
        raise FileNotFoundError(f"{absent}. Add them, or move the folder away. {remedy}")
    return folder, layout


def data_folder(root: str | Path | None) -> Path:
    """Return the folder of data sets: `root`, else GLIMPSE_DATA, else a folder in the user's home."""
    return Path(root or os.environ.get("GLIMPSE_DATA") or "~/.cache/glimpse_env/data").expanduser()


def locate(archive: Archive, parent: Path, split: str) -> Path | None:
    """Return the archive's folder in `parent`, or `parent` itself if it is that folder; None = neither.

    It may have another spelling of its name, such as stanford-cars-dataset, and lie in a folder of its name.
    """
    spelled = {spell(name) for name in archive.folders}
    named = [parent / name for name in archive.folders if (parent / name).is_dir()]
    named += [parent / name for name in list_folders(parent) if spell(name) in spelled]
    nested = [folder / name for folder in named for name in list_folders(folder) if spell(name) in spelled]
    for folder in (*named, parent, *nested):
        if not choose_layout(archive, folder, split).find_missing(folder, split):
            return folder
    itself = spell(parent.name) in spelled and parent.is_dir()
    return named[0] if named else (parent if itself else None)


def spell(name: str) -> str:
    """Return a folder's name without what differs between copies: case, signs, and a final "dataset"."""
    return re.sub(r"[\W_]", "", name.lower()).removesuffix("dataset")


def choose_layout(archive: Archive, folder: Path, split: str) -> Layout:
    """Return the layout of which a folder lacks the fewest parts; the first of several."""
    return min(archive.layouts, key=lambda layout: len(layout.find_missing(folder, split)))


def describe_remedy(archive: Archive, folder: Path, split: str) -> str:
    """Return which file to put where."""
    remedy = "Put the files so that "
    if archive.sources:
        urls = " and ".join(f"{url} (MD5 {md5})" for url, md5 in archive.sources)
        tars = ", ".join(url.rpartition("/")[2] for url, _ in archive.sources)
        put = f"put {tars} into {folder.parent} (download=True checks and unpacks it)"
        remedy = f"Download {urls}, and {put}, or unpack it so that "
    parts = {**archive.layouts[0].lists(split), **archive.layouts[0].folders(split)}
    needed = ", ".join(str(folder / paths[0]) for paths in parts.values())
    return f"{archive.advice}{remedy}these are there: {needed}"


def fetch(archive: Archive, parent: Path) -> Path:
    """Download the tar files, check and unpack them; the archive's folder appears when it is complete.

    Tar files in `parent` are used if their checksum matches. Only one process at a time fetches an archive.
    """
    from torchvision.datasets import utils  # slow to import: see backbone.weights

    target = parent / archive.folders[0]
    lock = files.lock(parent / f".{archive.name}.lock")
    with lock, TemporaryDirectory(prefix=f".{archive.name}-", dir=parent) as temporary:
        if target.is_dir():  # another process was faster
            return target
        unpacked = Path(temporary, "unpacked")
        for url, md5 in archive.sources:
            file = parent / url.rpartition("/")[2]
            if not utils.check_integrity(file, md5):
                if file.exists():
                    log.warning("%s is not complete: its MD5 is not %s; downloading it again", file, md5)
                log.info("downloading %s", url)
                file = Path(temporary, file.name)
                utils.download_url(url, temporary, file.name, md5)
            with tarfile.open(file) as tar:
                unpack(tar, unpacked)
        (unpacked / archive.inside).rename(target)
    return target


def unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack a tar file, or raise `TarError` if a member is not a file or folder inside `folder`."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
        return
    for member in tar:  # Python before 3.11.4 has no filter: it unpacks any member to any path
        path, source = folder / member.name, tar.extractfile(member) if member.isfile() else None
        if not path.resolve().is_relative_to(folder.resolve()) or (source is None and not member.isdir()):
            raise tarfile.ExtractError(f"{member.name!r} is no file or folder inside the archive")
        (path if source is None else path.parent).mkdir(parents=True, exist_ok=True)
        if source is not None:
            with source, path.open("wb") as file:
                shutil.copyfileobj(source, file)
