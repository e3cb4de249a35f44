"""Where an official archive of photographs lies, and how it gets there."""

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

from filelock import FileLock
from jaxtyping import Float
from torch import Tensor

FAILURES = (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError, zlib.error)  # of a download, its checksum, its unpacking

log = logging.getLogger("glimpse_env")


@dataclass(frozen=True)
class Listing:
    """What an archive's own lists say of one split."""

    file: Path  # the list
    images: list[str]  # paths from the archive's folder
    labels: list[int]  # one for each image, as the archive numbers its classes
    names: dict[int, str]  # of the classes
    boxes: Callable[[], Float[Tensor, "image 4"]]  # (left, top, right, bottom) around the object, in pixels of the upright photograph


@dataclass(frozen=True)
class Archive:
    """An official archive; `needed` are the paths that tell that a folder is it, and is whole."""

    name: str  # as `load` takes it
    title: str
    folders: tuple[str, ...]  # what its folder may be called; the first is what a download makes
    needed: tuple[str, ...]
    classes: int  # of the whole archive
    listing: Callable[[Path, str], Listing]  # of its folder and "train" or "test"
    sources: tuple[tuple[str, str], ...] = ()  # (URL, MD5) of the tar files
    inside: str = ""  # the folder in the tar files that becomes folders[0]; "" = they are unpacked into it
    advice: str = ""  # where else it is to be had


def data_root(root: str | Path | None) -> Path:
    """Return where archives lie: `root`, else the environment variable GLIMPSE_DATA, else a folder in the user's home."""
    return Path(root or os.environ.get("GLIMPSE_DATA") or "~/.cache/glimpse_env/data").expanduser()


def find(archive: Archive, root: str | Path | None, download: bool) -> Path:
    """Return the archive's folder, fetching it first if it is not there, `download` allows it and somebody still serves it.

    Raises:
        FileNotFoundError: It is not there, or a part of it is missing; the message says what to put where.
    """
    place = data_root(root)
    folder = located(archive, place)
    if folder is None and download and archive.sources:
        try:
            folder = fetch(archive, place)
        except FAILURES as error:
            raise FileNotFoundError(f"{absent(archive, place)}. The download failed: {type(error).__name__}: {error}") from error
    if folder is None:
        raise FileNotFoundError(absent(archive, place))
    if missing := [name for name in archive.needed if not (folder / name).exists()]:
        raise FileNotFoundError(
            f"{folder} has no {', '.join(missing)}: expected all of {archive.title}. Add what is missing, or move the folder away and "
            f"begin anew. {remedy(archive, folder.absolute())}"
        )
    return folder


def located(archive: Archive, place: Path) -> Path | None:
    """Return the archive's folder in `place`, or `place` if that is it."""
    for name in archive.folders:
        if (place / name).is_dir():
            return place / name
    itself = place.name in archive.folders or all((place / name).exists() for name in archive.needed)
    return place if itself and place.is_dir() else None


def absent(archive: Archive, place: Path) -> str:
    """Say that the archive is not there, and what would help."""
    tried = " and ".join(str(place.absolute() / name) for name in archive.folders)
    return (
        f"dataset={archive.name!r}: {archive.title} is not at {tried}. {remedy(archive, place.absolute() / archive.folders[0])}; "
        "another place for it can be given as root= or in GLIMPSE_DATA"
    )


def remedy(archive: Archive, folder: Path) -> str:
    """Say which file to put where."""
    parts = ", ".join(str(folder / name) for name in archive.needed)
    urls = " and ".join(f"{url} (MD5 {md5})" for url, md5 in archive.sources)
    tars = ", ".join(url.rpartition("/")[2] for url, _ in archive.sources)
    by_hand = f"Download {urls}, and put {tars} into {folder.parent} (download=True checks and unpacks it), or unpack it so that "
    return f"{archive.advice}{by_hand if urls else 'Put the files so that '}these are there: {parts}"


def fetch(archive: Archive, place: Path) -> Path:
    """Download the tar files, check them and unpack them; the archive's folder appears when all of it is there.

    Tar files that lie in `place` already are taken if their checksum is right. Two processes that fetch one archive take turns.
    """
    from torchvision.datasets.utils import check_integrity, download_url  # slow to import: see backbone.weights

    place.mkdir(parents=True, exist_ok=True)
    target = place / archive.folders[0]
    with FileLock(place / f".{archive.name}.lock"), TemporaryDirectory(prefix=f".{archive.name}-", dir=place) as temporary:
        if target.is_dir():  # by another process, meanwhile
            return target
        unpacked = Path(temporary, "unpacked")
        for url, md5 in archive.sources:
            file = place / url.rpartition("/")[2]
            if not check_integrity(file, md5):
                if file.exists():
                    log.warning("%s is not whole: its MD5 is not %s; downloading it anew", file, md5)
                log.info("downloading %s", url)
                file = Path(temporary, file.name)
                download_url(url, temporary, file.name, md5)
            with tarfile.open(file) as tar:
                unpack(tar, unpacked)
        (unpacked / archive.inside).rename(target)
    return target


def unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack a tar file; nothing in it may lie outside the folder, or be anything but a file or a folder.

    Raises:
        tarfile.TarError: A member would.
    """
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
        return
    for member in tar:  # Python before 3.11.4 would unpack whatever it finds, wherever it says
        place, source = folder / member.name, tar.extractfile(member) if member.isfile() else None
        if not place.resolve().is_relative_to(folder.resolve()) or (source is None and not member.isdir()):
            raise tarfile.ExtractError(f"{member.name!r} is no file or folder inside the archive")
        (place if source is None else place.parent).mkdir(parents=True, exist_ok=True)
        if source is not None:
            with source, place.open("wb") as file:
                shutil.copyfileobj(source, file)
