"""Official archives of photographs: finding their folder, and downloading it."""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from jaxtyping import Float
from torch import Tensor

from glimpse_env.runtime import files

# Of downloading, checking and unpacking.
FAILURES = (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError, zlib.error)

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


@dataclass(frozen=True)
class Archive:
    """An official archive."""

    name: str  # as `datasets.load` takes it
    title: str
    folders: tuple[str, ...]  # names that its folder may have; a download creates the first
    needed: tuple[str, ...]  # paths that a complete folder has
    classes: int  # of the complete archive
    read_listing: Callable[[Path, str], Listing]  # from its folder and "train" or "test"
    sources: tuple[tuple[str, str], ...] = ()  # (URL, MD5) of the tar files
    inside: str = ""  # the folder in the tar files that becomes folders[0]; "" = they are unpacked into it
    advice: str = ""  # where else it can be obtained


def find_archive(archive: Archive, root: str | Path | None, download: bool) -> Path:
    """Return the archive's folder; download it first if it is missing, `download` allows it and it is served.

    It is expected in `root`, else in the environment variable GLIMPSE_DATA, else in the user's home.

    Raises:
        FileNotFoundError: It or a part of it is missing; the message names the files and their folder.
    """
    parent = Path(root or os.environ.get("GLIMPSE_DATA") or "~/.cache/glimpse_env/data").expanduser()
    folder = locate(archive, parent)
    if folder is None:
        tried = [str(parent.absolute() / name) for name in archive.folders]
        absent = f"dataset={archive.name!r}: {archive.title} is not at {' and '.join(tried)}"
        remedy = f"{describe_remedy(archive, Path(tried[0]))}; root= or GLIMPSE_DATA can name another folder"
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
    if missing := [name for name in archive.needed if not (folder / name).exists()]:
        remedy = f"Add them, or move the folder away. {describe_remedy(archive, folder.absolute())}"
        absent = f"{folder} has no {', '.join(missing)}"
        raise FileNotFoundError(f"{absent}: expected all of {archive.title}. {remedy}")
    return folder


def locate(archive: Archive, parent: Path) -> Path | None:
    """Return the archive's folder in `parent`, or `parent` itself if it is that folder; None = neither."""
    for name in archive.folders:
        if (parent / name).is_dir():
            return parent / name
    itself = parent.name in archive.folders or all((parent / name).exists() for name in archive.needed)
    return parent if itself and parent.is_dir() else None


def describe_remedy(archive: Archive, folder: Path) -> str:
    """Return which file to put where."""
    remedy = "Put the files so that "
    if archive.sources:
        urls = " and ".join(f"{url} (MD5 {md5})" for url, md5 in archive.sources)
        tars = ", ".join(url.rpartition("/")[2] for url, _ in archive.sources)
        put = f"put {tars} into {folder.parent} (download=True checks and unpacks it)"
        remedy = f"Download {urls}, and {put}, or unpack it so that "
    needed = ", ".join(str(folder / name) for name in archive.needed)
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
