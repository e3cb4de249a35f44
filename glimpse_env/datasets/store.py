"""The image store: photographs decoded and resized once, in one memory-mapped file, maybe larger than memory.

A store is a file in the cache folder: one line of JSON padded to `HEADER` bytes, the original (width, height)
of every photograph (int32), then the pixels (uint8, image by image, channel height width). The header holds a
fingerprint of the photographs' paths, sizes in bytes and modification times, which shows whether the store is
stale, and a digest of the pixels, which names cached features: copied photographs are decoded again, which
takes seconds, but their features, which may take hours, are not computed again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from tqdm import tqdm

from glimpse_env.datasets.built_file import HEADER, cache_folder, map_file, open_built, read_digest, shorten
from glimpse_env.datasets.decode import Fit, read_image
from glimpse_env.datasets.formats.notes import Notes

VERSION = 3  # of the decoding and of the file's layout: a store of another one is rebuilt
SLICE = 64  # photographs in memory at a time during a build

Decoded = tuple[UInt8[Tensor, "3 height width"], tuple[int, int]]  # pixels, and (width, height) before

log = logging.getLogger("glimpse_env")


@dataclass(frozen=True)
class Store:
    """An open store; writing to `images` changes the memory of this process only, never the file."""

    images: UInt8[Tensor, "image 3 height width"]
    extents: Int64[Tensor, "image 2"]  # (width, height) of the upright photograph before resizing
    key: str  # names the pixels: equal keys, equal pixels


@dataclass(frozen=True)
class Plan:
    """What a store is built from."""

    name: str
    source: str  # folder
    images: int
    size: int
    fit: Fit
    fingerprint: str
    version: int = VERSION

    def header(self, pixels: str) -> bytes:
        """Return the first bytes of the file; `pixels` is the digest of the rest."""
        content = json.dumps(asdict(self) | {"pixels": pixels}, ensure_ascii=False)
        return content.encode(errors="backslashreplace").ljust(HEADER - 1) + b"\n"

    def measure(self, header: bytes) -> int:
        """Return the size in bytes of a file with this header."""
        return self.length

    def describe(self, length: int) -> str:
        """Return what a file of `length` bytes holds, in words."""
        return f"{self.images:,} photographs at {self.size} px, {length / 1e9:.3g} GB"

    @property
    def start(self) -> int:
        """Offset of the pixels in bytes."""
        return HEADER + 8 * self.images

    @property
    def length(self) -> int:
        """Size of the file in bytes."""
        return self.start + self.images * 3 * self.size**2


def open_store(name: str, folder: Path, files: Sequence[str], size: int, fit: Fit) -> Store:
    """Return the store of photographs at `size` x `size` pixels; build it if it is missing or stale.

    `name` is of the photographs, such as "cub-train"; `files` are their paths in `folder`, in order.
    Processes that need the same store wait for the one that builds it.

    Raises:
        ValueError: A photograph cannot be decoded.
        OSError: The store cannot be written, for example because the disk is full. No partial file remains.
    """
    mark, source = fingerprint(folder, files, size, fit), str(folder.absolute())
    plan = Plan(shorten(name), source[-500:], len(files), size, fit, mark)
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()  # two folders may have one name

    def read(index: int, notes: Notes) -> Decoded:
        return read_image(folder / files[index], size, fit, notes)

    return open_planned(plan, digest, read, os.cpu_count() or 1)


def open_items(
    name: str, source: str, mark: str | None, read: Callable[[int, Notes], Decoded], images: int, size: int
) -> Store:
    """Return the store of images that have no files of their own, at `size` x `size` pixels.

    Args:
        name: Of the images, such as "Caltech101-train".
        source: Where they come from, in words; with `name` it tells stores apart.
        mark: Changes whenever the images do; the store is kept, and built again if it is another's. None:
            nothing tells, so the store is not kept: its file has no name and ends with this process.
        read: Returns one of the images, and its width and height before it was resized. It is called once
            for each, in order, by one thread.
        images: How many there are.
        size: Side in pixels.
    """
    known = hashlib.sha256(f"{VERSION} {size} items\0{mark}".encode()).hexdigest()
    plan = Plan(shorten(name), source[-500:], images, size, "crop", known)
    digest = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()
    return open_planned(plan, digest, read, 1, kept=mark is not None)


def open_planned(
    plan: Plan, digest: str, read: Callable[[int, Notes], Decoded], threads: int, kept: bool = True
) -> Store:
    """Return a planned store; build it if it is missing or stale; see `open_store` and `open_items`.

    Stores of one name differ by the first characters of `digest`.
    """
    unique = digest[:8] if kept else secrets.token_hex(4)
    file = cache_folder() / f"{plan.name}-{plan.size}-{plan.fit}-{unique}.images"

    def write(stream: BinaryIO) -> None:
        write_store(stream, plan, read, threads)

    return open_built(file, plan, write, lambda: map_store(file, plan), kept)


def fingerprint(folder: Path, files: Sequence[str], size: int, fit: Fit) -> str:
    """Return a hash of the photographs' paths, sizes and times, and of how they are decoded."""
    digest = hashlib.sha256(f"{VERSION} {size} {fit}".encode())
    for path in files:
        status = (folder / path).stat()
        entry = f"\0{Path(path).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}"
        digest.update(entry.encode(errors="surrogateescape"))
    return digest.hexdigest()


def write_store(stream: BinaryIO, plan: Plan, read: Callable[[int, Notes], Decoded], threads: int) -> None:
    """Decode and write slice by slice, so that one slice is in memory at a time; write the header last."""
    extents: list[tuple[int, int]] = []
    digest = hashlib.sha256()
    stream.seek(plan.start)
    notes = Notes(plan.name)
    progress = tqdm(total=plan.images, desc=f"{plan.name} at {plan.size} px", unit="image")
    pool = ThreadPoolExecutor(threads)  # threads: Pillow and torch release the interpreter lock
    with pool, progress:
        for first in range(0, plan.images, SLICE):
            part = range(first, min(first + SLICE, plan.images))
            for pixels, extent in pool.map(lambda index: read(index, notes), part):
                content = pixels.contiguous().numpy().data
                stream.write(content)
                digest.update(content)
                extents.append(extent)
                progress.update()
    notes.report()
    sizes = torch.tensor(extents, dtype=torch.int32).numpy().data
    digest.update(sizes)
    stream.seek(0)
    stream.write(plan.header(digest.hexdigest()))
    stream.write(sizes)


def map_store(file: Path, plan: Plan) -> Store:
    """Map a store into memory: pages are read when they are used, and dropped when memory is short."""
    memory, header = map_file(file, plan.length)
    pixels = torch.frombuffer(memory, dtype=torch.uint8, offset=plan.start)
    extents = torch.frombuffer(memory, dtype=torch.int32, offset=HEADER, count=2 * plan.images).view(-1, 2)
    images = pixels.view(plan.images, 3, plan.size, plan.size)
    return Store(images, extents.long(), f"{plan.name}-{plan.size}-{read_digest(header)[:16]}")
