"""Command-line logging besides progress bars: the package's log, and expected errors in one line."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from glimpse_env.runtime import distributed, files

Options = TypeVar("Options")
# Measures on progress bars.
LIVE = {"reward": "reward {:.3f}", "train_accuracy": "accuracy {:.2%}", "mean_glimpses": "glimpses {:.2f}"}


def prepare(options: Options) -> Options:
    """Set threads and log; return the options with the device that --device auto stands for."""
    given: Any = options  # a dataclass with threads and device
    if isinstance(sys.stdout, io.TextIOWrapper):  # file and class names may have characters that it has not
        sys.stdout.reconfigure(errors="backslashreplace")
    use_threads(given.threads)
    use_log()
    return replace(given, device=distributed.device_of(given.device))


def use_log() -> None:
    """Show the package's log on the terminal; of processes that train together, the first one's."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("glimpse_env").setLevel(logging.INFO if distributed.first() else logging.WARNING)


def use_threads(threads: int) -> None:
    """Set the number of CPU threads of torch, which round denormal numbers to 0.

    The momentum of units that get no gradient any more decays to denormal numbers. Products of matrices with
    such numbers take some CPUs (Intel's) ten times longer.

    Raises:
        SystemExit: Fewer than 1 thread.
    """
    if threads < 1:
        raise SystemExit(f"--threads {threads}: expected a whole number of at least 1")
    torch.set_flush_denormal(True)  # before the other threads start, which inherit it
    torch.set_num_threads(threads)


def live(means: Mapping[str, float]) -> str:
    """Return the text after a progress bar, of those of its measures that `means` has."""
    return ", ".join(form.format(means[name]) for name, form in LIVE.items() if name in means)


@contextmanager
def interruptible(describe_saved: Callable[[], str]) -> Iterator[None]:
    """End the program after Ctrl-C with one sentence; `describe_saved` returns what remains."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped: {describe_saved()}", file=sys.stderr)
        raise SystemExit(130) from None


@contextmanager
def foreseen(program: str) -> Iterator[None]:
    """End the program with one sentence after an error of options, files or a missing optional package."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"{program}: {format_error(error)}" if distributed.first() else 1) from error


def format_error(error: Exception, folder: Path | None = None) -> str:
    """Return an expected error as one sentence.

    Args:
        error: Any; one of a full disk or of permissions that `files.explain` has not returned is given to it.
        folder: Where the program writes, for an error that names no file; default: the current folder.
    """
    if not isinstance(error, OSError) or error.strerror is None or error.errno not in files.LOCAL:
        return str(error)
    file = Path(error.filename if isinstance(error.filename, str) else (folder or Path.cwd()) / "file")
    return str(files.explain(error, file, f"{file if error.filename else file.parent} cannot be used"))
