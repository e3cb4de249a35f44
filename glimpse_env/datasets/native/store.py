"""The store of images of different sizes: all of their pixels, unshrunk, in one flat memory-mapped file.

The file is a header (see `built_file`), `MARGIN` bytes, the levels of every image (see `pyramid`; uint8,
height width channel), `MARGIN` bytes, and for each image (position of its first byte, height, width, sum of
its values) as int64. A window that reaches beyond its image reads other bytes of the file, which are then
replaced. The header holds a fingerprint of the files and a digest of the pixels, as that of `datasets.store`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from tqdm import tqdm

from glimpse_env.datasets.built_file import HEADER, cache_folder, map_file, open_built, read_digest, shorten
from glimpse_env.datasets.decode import TooLargeError, read_image
from glimpse_env.datasets.formats.notes import Notes
from glimpse_env.datasets.native.pyramid import Pixels, build, locate_levels, stream
from glimpse_env.datasets.native.strips import measure, read_strips
from glimpse_env.datasets.store import fingerprint

VERSION = 1  # of the decoding and of the file's layout: a store of another one is rebuilt
MARGIN = 3 << 16  # bytes; so many pixels' worth may a window be wide
LARGE = 25_000_000  # pixels: images above it are decoded in strips, one at a time
THREADS = 8  # at most, since each holds an image


class Picture(NamedTuple):
    """An image to be stored: all of its levels, or, if it is large, its rows from top to bottom."""

    height: int
    width: int
    levels: list[Pixels]  # empty = it arrives in strips
    strips: Callable[[], Iterator[Pixels]] | None = None


@dataclass(frozen=True)
class NativeStore:
    """An open store; writing to `data` changes the memory of this process only, never the file."""

    data: UInt8[Tensor, " byte"]  # the whole file
    index: Int64[Tensor, "stored 4"]  # position of the first byte, height, width, sum of the values
    key: str  # names the pixels: equal keys, equal pixels

    @property
    def sizes(self) -> Int64[Tensor, "stored 2"]:
        """The (height, width) of every image."""
        return self.index[:, 1:3]

    def level(self, row: int, smallest: int) -> tuple[UInt8[Tensor, "channel height width"], int]:
        """Return the smallest level of an image that has at least `smallest` pixels a side, and its number.

        An image with fewer is returned as it is, level 0.
        """
        start, height, width, _ = self.index[row].tolist()
        level, starts = 0, locate_levels(start, height, width)[0]
        while min(height, width) // 2 >= smallest and level + 1 < len(starts):
            level, height, width = level + 1, (height + 1) // 2, (width + 1) // 2
        pixels = self.data[starts[level] : starts[level] + 3 * height * width]
        return pixels.view(height, width, 3).permute(2, 0, 1), level


@dataclass(frozen=True)
class NativePlan:
    """What a store is built from."""

    name: str
    source: str
    images: int
    fingerprint: str
    length: int  # of the file in bytes, about; 0 = unknown
    version: int = VERSION

    def header(self, pixels: str) -> bytes:
        """Return the first bytes of the file; `pixels` is the digest of the rest, and its length."""
        known = {name: value for name, value in asdict(self).items() if name != "length"}
        content = json.dumps({"native": True, **known, "pixels": pixels}, ensure_ascii=False)
        return content.encode(errors="backslashreplace").ljust(HEADER - 1) + b"\n"

    def measure(self, header: bytes) -> int:
        """Return the size in bytes of a file with this header."""
        length = read_digest(header).partition(":")[2]
        return int(length) if length.isdecimal() else -1

    def describe(self, length: int) -> str:
        """Return what a file of `length` bytes holds, in words."""
        return f"{self.images:,} images of their own sizes, {length / 1e9:.3g} GB"


def open_native_files(name: str, folder: Path, files: Sequence[str]) -> NativeStore:
    """Return the store of image files at their own sizes; build it if it is missing or stale.

    `name` is of the images; `files` are their paths in `folder`, in order.

    Raises:
        ValueError: An image cannot be decoded, or has too many pixels.
        OSError: The store cannot be written, for example because the disk is full. No partial file remains.
    """
    mark = hashlib.sha256(f"native {VERSION} {fingerprint(folder, files, 1, 'stretch')}".encode()).hexdigest()
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    threads = min(THREADS, os.cpu_count() or 1)
    areas: list[int] = []

    def read(index: int, notes: Notes) -> Picture:
        return read_file(folder / files[index], notes)

    file = name_file(name, digest[:8])
    if not file.exists():  # how large it will be: said, and compared with what is free, before it is written
        with ThreadPoolExecutor(threads) as pool:
            areas += pool.map(lambda path: measure_area(folder / path), files)
    length = HEADER + 2 * MARGIN + 4 * sum(areas) + 32 * len(files)
    plan = NativePlan(shorten(name), str(folder.absolute())[-500:], len(files), mark, length)
    return open_native(file, plan, read, threads)


def open_native_items(name: str, read: Callable[[int], Pixels], images: int) -> NativeStore:
    """Return the store of images without files; it is not kept, and ends with this process.

    `read` returns one of them. It is called once for each, in order, by one thread.
    """

    def levels(index: int, notes: Notes) -> Picture:
        pixels = read(index)
        return Picture(*pixels.shape[:2], levels=build(pixels))

    plan = NativePlan(shorten(name), "", images, "", HEADER + 2 * MARGIN)
    return open_native(name_file(name, secrets.token_hex(4)), plan, levels, 1, kept=False)


def name_file(name: str, unique: str) -> Path:
    """Return the file of a store."""
    return cache_folder() / f"{shorten(name)}-native-{unique}.images"


def open_native(
    file: Path, plan: NativePlan, read: Callable[[int, Notes], Picture], threads: int, kept: bool = True
) -> NativeStore:
    """Return a planned store; build it if it is missing or stale."""

    def write(target: BinaryIO) -> None:
        write_native(target, plan, read, threads)

    return open_built(file, plan, write, lambda: map_native(file, plan), kept)


def measure_area(path: Path) -> int:
    """Return the pixels of an image file; 0 = it cannot be read, as decoding it will say."""
    try:
        height, width = measure(path)
        return height * width
    except Exception:  # Pillow's readers raise many kinds
        return 0


def read_file(path: Path, notes: Notes) -> Picture:
    """Return an image file's pixels; of a large one how to read them."""
    if measure_area(path) <= LARGE:
        pixels = read_image(path, None, "stretch", notes)[0].permute(1, 2, 0).contiguous().numpy()
        return Picture(*pixels.shape[:2], levels=build(pixels))
    height, width = measure(path)

    def strips() -> Iterator[Pixels]:
        done: set[str] = set()
        try:
            yield from read_strips(path, done)
        except TooLargeError as error:
            raise ValueError(f"{path} {error}") from error
        except Exception as error:  # as in `read_image`
            cause = str(error) or type(error).__name__
            raise ValueError(f"{path} cannot be read as an image ({cause}): replace or remove it") from error
        notes.add(done)

    return Picture(height, width, [], strips)


def write_native(
    target: BinaryIO, plan: NativePlan, read: Callable[[int, Notes], Picture], threads: int
) -> None:
    """Decode and write image by image; a few are in memory at a time. Write the header last."""
    notes, digest, index, place = Notes(plan.name), hashlib.sha256(), [], HEADER + MARGIN
    progress = tqdm(total=plan.images, desc=f"{plan.name}, unshrunk", unit="image")
    with ThreadPoolExecutor(threads) as pool, progress:
        waiting = deque(pool.submit(read, number, notes) for number in range(min(threads + 1, plan.images)))
        for number in range(plan.images):
            picture = waiting.popleft().result()
            if (following := number + threads + 1) < plan.images:
                waiting.append(pool.submit(read, following, notes))
            total, end = write_picture(target, picture, place, digest)
            index.append((place, picture.height, picture.width, total))
            place = end
            progress.update()
    notes.report()
    table = np.array(index, np.int64)
    digest.update(table.tobytes())
    place += MARGIN
    place += -place % 8
    target.seek(place)
    target.write(table.tobytes())
    length = place + table.nbytes
    target.seek(0)
    target.write(plan.header(f"{digest.hexdigest()}:{length}"))


def write_picture(target: BinaryIO, picture: Picture, place: int, digest: Any) -> tuple[int, int]:
    """Write an image's levels at `place`; return the sum of its values and the position behind them."""
    starts, end = locate_levels(place, picture.height, picture.width)
    total = 0

    def write(level: int, rows: Pixels) -> None:
        nonlocal total
        content = np.ascontiguousarray(rows)
        target.seek(starts[level])
        target.write(content.data)
        starts[level] += content.nbytes
        if level == 0:
            digest.update(content.data)
            total += int(content.sum(dtype=np.int64))

    for level, rows in enumerate(picture.levels):
        write(level, rows)
    if picture.strips is not None:
        stream(picture.strips(), picture.height, picture.width, write)
    return total, end


def map_native(file: Path, plan: NativePlan) -> NativeStore:
    """Map a store into memory: pages are read when they are used, and dropped when memory is short."""
    length = file.stat().st_size
    memory, header = map_file(file, length)
    data = torch.frombuffer(memory, dtype=torch.uint8)
    index = data[length - 32 * plan.images :].view(torch.int64).view(-1, 4)
    return NativeStore(data, index.clone(), f"{plan.name}-native-{read_digest(header)[:16]}")
