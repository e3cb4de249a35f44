"""Files that are complete or absent: each is written under another name, flushed to disk and renamed.

Errors of writing name the file, the cause and what helps. A lock ends with the process that holds it, however
that ends. Where a network file system has no locks, the processes of one machine take turns by a lock in its
folder of temporary files, and a warning says so.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EACCES, EAGAIN, EDQUOT, EEXIST, EFBIG, EISDIR, ENOSPC, ENOTDIR, EPERM, EROFS, EWOULDBLOCK
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

if sys.platform != "win32":
    import fcntl

FULL = (ENOSPC, EDQUOT, EFBIG)
DENIED = (EACCES, EPERM)
LOCAL = (*FULL, *DENIED, EROFS, EEXIST, EISDIR, ENOTDIR)  # errors of this machine's folders, not of a network
HELD = (EACCES, EAGAIN, EWOULDBLOCK)  # errors of locking a file that another process has locked
ELSEWHERE = "write to another folder"

log = logging.getLogger("glimpse_env")


def write_bytes(target: Path, content: bytes) -> None:
    """Write a file, and its folder if there is none; an interruption leaves the previous file as it was.

    A link stays, and the file that it leads to is written. Devices and pipes, such as /dev/stdout, stay too.

    Raises:
        OSError: It cannot be written; the message names it, the cause and what helps (see `explain`).
    """
    try:
        if is_special(target):
            target.write_bytes(content)
            return
        file = Path(os.path.realpath(target))
        draft = file.with_name(f".{file.name[:50]}.{secrets.token_hex(4)}")
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(content)
            publish(draft, file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise explain(error, target) from error


def check_writable(target: Path | None) -> None:
    """Raise the OSError of `write_bytes` before the work if a file cannot be written; None = no file."""
    if target is None:
        return
    if target.is_dir():
        raise explain(OSError(EISDIR, os.strerror(EISDIR)), target)
    try:
        if is_special(target):
            return
        file = Path(os.path.realpath(target))
        trial = file.with_name(f".{file.name[:50]}.{secrets.token_hex(4)}")
        trial.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise explain(error, target) from error


def is_special(target: Path) -> bool:
    """Tell whether a path is a device or a pipe, which no file may replace (/dev/stdout: a link to one)."""
    return target.absolute().parent == Path("/dev") or (target.exists() and not target.is_file())


def explain(error: OSError, target: Path, problem: str = "", other: str = ELSEWHERE) -> OSError:
    """Return an error of writing a file, of its kind: in one sentence the problem, its cause, what helps.

    Args:
        error: As the system raised it, or as this function returned it.
        target: The file.
        problem: What cannot be done; default: the file cannot be written.
        other: What helps in any case.
    """
    while error.strerror is None and isinstance(error.__cause__, OSError):
        error = error.__cause__
    target = target.absolute()
    cause, remedy = error.strerror or str(error), find_remedy(error, target)
    problem = problem or f"{target} cannot be written"
    explained = type(OSError(error.errno, ""))(f"{problem} ({cause}): {remedy}{other}")
    explained.errno = error.errno
    return explained


def find_remedy(error: OSError, target: Path) -> str:
    """Return what removes the cause of an error of writing a file, and "or"; "" = unknown."""
    folder = target.parent
    above = (target, *target.parents) if error.errno in (EEXIST, ENOTDIR) else target.parents
    files = [path for path in above if os.path.exists(path) and not os.path.isdir(path)]
    if files:
        return f"{files[0]} is a file where a folder is needed: move it away, or "
    if os.path.isdir(target):
        return f"{target} is a folder where a file is needed: move it away, or "
    if error.errno in FULL:
        return f"free some space in {folder}, or "
    if error.errno == EROFS:
        return f"{folder} is on a read-only file system: "
    if error.errno in DENIED and os.path.exists(target) and not os.access(target, os.R_OK):
        return f"make {target} readable for this user, or "
    if error.errno in DENIED and os.path.exists(target) and os.access(folder, os.W_OK):
        return f"another program has {target.name} open, or it is protected: close that program, or "
    return f"make {folder} writable for this user, or " if error.errno in DENIED else ""


def publish(draft: Path, target: Path) -> None:
    """Flush a complete file to disk, then rename it to `target` in the same folder."""
    with draft.open("r+b") as stream:
        os.fsync(stream.fileno())
    draft.replace(target)


def choose_partial(file: Path, alone: bool) -> Path:
    """Return the path under which a file is built slice by slice.

    Args:
        file: The file.
        alone: No other process builds it: the path is then always the same, so what a killed process left is
            resumed or removed.
    """
    return file.with_name(f"{file.name}.partial" if alone else f"{file.name}.{secrets.token_hex(4)}.partial")


def write_json(target: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    write_bytes(target, (json.dumps(content, indent=1) + "\n").encode())


def read_json(source: Path) -> dict[str, Any]:
    """Read a JSON file; raise a ValueError if it is damaged."""
    try:
        return json.loads(source.read_text())
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"{source} is damaged: remove it, and it is written again ({error})") from error


def write_torch(target: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values as a torch file."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_bytes(target, buffer.getvalue())


def write_numpy(target: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed numpy archive."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(target, buffer.getvalue())


@contextmanager
def lock(file: Path, wait: bool = True, busy: str = "") -> Iterator[bool]:
    """Hold the lock of a lock file; yield whether it keeps the processes of other machines out too.

    Args:
        file: The lock file; it is created, with its folder, and stays.
        wait: Wait for the process that holds it.
        busy: Logged before waiting.

    Raises:
        Timeout: Another process, or another thread, holds it, and `wait` is False.
        OSError: The lock file cannot be created (see `explain`).
    """
    try:
        place, everywhere = choose_lock(file)
    except OSError as error:
        raise explain(error, file) from error
    if place is None:
        yield False
        return
    held = FileLock(place)
    try:
        held.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        if busy:
            log.info("%s", busy)
        held.acquire()
    try:
        yield everywhere
    finally:
        held.release()


def choose_lock(file: Path) -> tuple[Path | None, bool]:
    """Return the lock file to use (None = there are no locks), and whether it keeps other machines out."""
    if (fault := find_lock_fault(file)) is None:
        return file, True
    name = hashlib.sha256(os.fsencode(f"{getattr(os, 'getuid', int)()} {file.absolute()}")).hexdigest()[:16]
    local = Path(tempfile.gettempdir(), f"glimpse_env-{name}.lock")
    without = f"the file system of {file.parent} has no locks ({fault.strerror or fault})"
    try:
        local_fault = find_lock_fault(local)
    except OSError as error:
        local_fault = error
    if local_fault is None:
        log.warning(
            "%s: do not start processes on two machines that write there; those of this one take turns",
            without,
        )
        return local, False
    log.warning("%s, nor has that of %s: do not start two processes that write there", without, local.parent)
    return None, False


def find_lock_fault(file: Path) -> OSError | None:
    """Return why the file system cannot lock a file, which is created; None = it can.

    The system is asked directly: older versions of filelock take most of these errors for a held lock,
    and wait for ever.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        if sys.platform != "win32":
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                return None if error.errno in HELD else error
    return None
