"""A run's folder: locked while the run writes to it, and replaced only with `--overwrite`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from glimpse_env.runtime import checkpoint, distributed, files

LOCK = ".lock"  # the system frees it when the process ends, in whatever way; the file may stay
MARKS = ("checkpoint.pt", "run.pt", "result.json", "rllib")  # any of them shows that there is a run
# All that a run leaves in its folder, without what its stages leave in folders of their own.
LEFT = (*MARKS, "model.zip", "classifier.pt", "weights.pth", "result-*.json", "looks*.npz", "report*.html")
LEFT += ("learning_curves*.png", "stopping_histogram*.png", "accuracy_against_glimpses*.png")
LEFT += (
    "fixation_paths*.png",
    "fixation_heatmaps*.png",
    "foveal_composites*.png",
    "score_maps*.png",
    "events.out.tfevents.*",
)
_held: set[Path] = set()  # folders that this process holds


@contextmanager
def claim(folder: Path, options: Any, marks: Sequence[str] = MARKS) -> Iterator[list[Path]]:
    """Hold a run's folder; yield the files of the run that it replaces, to `remove` when it begins.

    Of processes that train together the first holds it, and all of them raise the same error.

    Args:
        folder: The folder; it is created, and removed again if nothing was written to it.
        options: Options of the run: `overwrite`, and `resume` if it can be resumed.
        marks: Patterns of file names that show that there is a run.

    Raises:
        ValueError: The folder holds a run, and the options neither resume nor replace it; they do both; or
            another process holds the folder.
        OSError: The folder cannot be written to.
    """
    fault, old = None, []
    with ExitStack() as stack:
        if distributed.first():
            try:
                stack.enter_context(hold(folder))
                check_free(folder, options, marks)
                old = list_files(folder, LEFT) if options.overwrite else []
            except (ValueError, OSError) as error:
                fault = error
        if (fault := distributed.broadcast(fault)) is not None:
            raise fault
        yield old


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, once or several times in one process.

    Raises:
        ValueError: Another process holds it.
        OSError: The folder cannot be written to.
    """
    known = folder.resolve()
    if known in _held:
        yield
        return
    with ExitStack() as stack:
        new = not folder.exists()
        try:
            stack.enter_context(files.lock(folder / LOCK, wait=False))
        except Timeout:
            advice = "wait for its end, or give another --out"
            raise ValueError(f"another process runs in {folder}: {advice}") from None
        _held.add(known)
        try:
            yield
        finally:
            _held.remove(known)
            stack.close()
            if new:
                tidy(folder)


def tidy(folder: Path) -> None:
    """Remove a folder that holds nothing but its lock."""
    if all(path.name == LOCK for path in folder.iterdir()):
        (folder / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # another run has just begun there
            folder.rmdir()


def check_free(folder: Path, options: Any, marks: Sequence[str] = MARKS) -> None:
    """Refuse to write over a run (a ValueError, see `claim`)."""
    check_choice(options)
    found = list_files(folder, marks)
    if found and not options.overwrite and not getattr(options, "resume", False):
        ways = "write to another folder (--out), or replace it (--overwrite)"
        if hasattr(options, "resume"):
            ways = f"resume it (--resume), {ways}"
        raise ValueError(f"{folder} holds {describe(found[0])}: {ways}")


def check_choice(options: Any) -> None:
    """Refuse options that resume a run and replace it."""
    if options.overwrite and getattr(options, "resume", False):
        raise ValueError("--resume --overwrite: a run is resumed or replaced; give one of them")


def describe(file: Path) -> str:
    """Return what a file shows of its run."""
    if file.suffix not in (".pt", ".json"):
        return f"a run ({file.name})"
    try:
        saved = files.read_json(file) if file.suffix == ".json" else checkpoint.read(file)
    except ValueError:
        return f"a run whose {file.name} is damaged"
    return f"the run of `{saved['command']}`" if "command" in saved else f"a run ({file.name})"


def list_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files and folders whose names match, in the order of the patterns."""
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def remove(old: Sequence[Path]) -> None:
    """Remove files and folders of a run that is replaced."""
    for path in old:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
