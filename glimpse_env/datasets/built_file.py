"""A file of the cache folder that is built once, from data that may change, and mapped into memory.

It begins with one line of JSON padded to `HEADER` bytes, which shows whether the file is stale. It is written
to a partial file and renamed, so that it is always complete; processes that need the same file wait for the
one that builds it.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, runtime_checkable

from glimpse_env.runtime.files import FULL, choose_partial, explain, lock, publish

HEADER = 4096  # bytes
UNRESERVED = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Linux; Python names it from 3.13 on

Opened = TypeVar("Opened")

log = logging.getLogger("glimpse_env")


@runtime_checkable
class Planned(Protocol):
    """What `open_built` needs to know of a file that it builds."""

    @property
    def name(self) -> str:
        """Of the images."""
        ...

    @property
    def length(self) -> int:
        """Size of the file in bytes, or about that."""
        ...

    def header(self, pixels: str) -> bytes:
        """Return the first bytes of the file; `pixels` is the digest of the rest."""
        ...

    def measure(self, header: bytes) -> int:
        """Return the size in bytes of a file with this header."""
        ...

    def describe(self, length: int) -> str:
        """Return what a file of `length` bytes holds, in words."""
        ...


def cache_folder() -> Path:
    """Return the folder of stores and feature tables: GLIMPSE_CACHE, else a folder in the user's home."""
    return Path(os.environ.get("GLIMPSE_CACHE") or "~/.cache/glimpse_env").expanduser()


def shorten(name: str) -> str:
    """Return a name as a file name can hold it."""
    return re.sub(r"[^\w.-]+", "_", name)[-80:]


def open_built(
    file: Path,
    plan: Planned,
    write: Callable[[BinaryIO], None],
    map_built: Callable[[], Opened],
    kept: bool = True,
) -> Opened:
    """Return what `map_built` makes of a planned file; `write` it if it is missing or stale.

    Not `kept`: it has no name once it is open, and ends with this process.
    """
    fault = ""
    try:
        if fault := find_fault(file, plan):
            build_once(file, plan, write)
        store = map_built()
    except OSError as error:
        raise explain_cache(error, file, f"the image store of {plan.name}", plan.length, fault) from error
    if not kept:  # what is mapped stays until the process ends
        for path in (file, file.with_name(f"{file.name}.lock")):
            with suppress(OSError):  # some systems do not remove a file that is open
                path.unlink()
    return store


def explain_cache(error: OSError, file: Path, what: str, length: int, fault: str = "") -> OSError:
    """Return the error of a file of the cache folder in one sentence (see `files.explain`).

    Args:
        error: As it was raised.
        file: The file.
        what: It holds.
        length: Its size in bytes.
        fault: Why a file that exists is not used; "" = it is.
    """
    problem = f"{what} needs {length / 1e9:.3g} GB in {file.parent}"
    if error.errno not in FULL:
        problem = f"{what} cannot be {'written to' if fault else 'read from'} {file}"
        problem += f", which {fault}" if fault and os.path.exists(file) else ""
    return explain(error, file, problem, "set the environment variable GLIMPSE_CACHE to another folder")


def find_fault(file: Path, plan: Planned) -> str:
    """Return the fault of the file of a planned store; "" = none."""
    try:
        with file.open("rb") as stream:
            length, header = os.fstat(stream.fileno()).st_size, stream.read(HEADER)
    except FileNotFoundError:
        return "does not exist"
    if header != plan.header(read_digest(header)):
        return "is stale or damaged: it was built from other photographs, or by another version"
    expected = plan.measure(header)
    return "" if length == expected else f"is damaged: {length:,} bytes, expected {expected:,}"


def read_digest(header: bytes) -> str:
    """Return the digest of the pixels in a header; "" = none."""
    try:
        return str(json.loads(header)["pixels"])
    except (ValueError, KeyError, TypeError):
        return ""


def build_once(file: Path, plan: Planned, write: Callable[[BinaryIO], None]) -> None:
    """Build the store, unless another process is doing so: then wait for it."""
    busy = f"waiting for the process that builds the image store {file}"
    with lock(file.with_name(f"{file.name}.lock"), busy=busy) as alone:
        if fault := find_fault(file, plan):
            if file.exists():
                log.warning("image store %s %s; building it again", file, fault)
            build(file, plan, write, alone)


def build(file: Path, plan: Planned, write: Callable[[BinaryIO], None], alone: bool = True) -> None:
    """Write the store to a partial file, then rename it; not `alone`: another process may do the same."""
    partial = choose_partial(file, alone)
    if alone:
        file.unlink(missing_ok=True)  # stale, and its disk space may be needed
        partial.unlink(missing_ok=True)  # of a process that was killed
    if shutil.disk_usage(file.parent).free < plan.length:
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    try:
        with partial.open("wb") as stream:
            write(stream)
        publish(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    log.info("image store %s: %s", file, plan.describe(file.stat().st_size))


def map_file(file: Path, length: int) -> tuple[mmap.mmap, bytes]:
    """Map `length` bytes of a file into memory; the second result is its header."""
    with file.open("rb") as stream:
        header = stream.read(HEADER)
        if sys.platform == "linux":
            # Private, hence writable without changing the file (torch warns of read-only memory, and writing
            # to it would end the process); unreserved, because Linux refuses a private mapping that is larger
            # than memory and swap otherwise.
            flags, protection = mmap.MAP_PRIVATE | UNRESERVED, mmap.PROT_READ | mmap.PROT_WRITE
            return mmap.mmap(stream.fileno(), length, flags=flags, prot=protection), header
        return mmap.mmap(stream.fileno(), length, access=mmap.ACCESS_COPY), header
