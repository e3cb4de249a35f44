"""What a script says on the terminal besides its progress bar: the package's log, and foreseen errors in one line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch

from glimpse_env.runtime import distributed

Chosen = TypeVar("Chosen")


def prepare(options: Chosen) -> Chosen:
    """Set threads and log, and return a script's options with the device that its --device auto stands for, so that files name it.

    Raises:
        SystemExit: There is no such number of threads.
    """
    given: Any = options  # a dataclass with threads and device
    use_threads(given.threads)
    show_log()
    return replace(given, device=distributed.device_of(given.device))


def show_log() -> None:
    """Show what the package logs: how much of a data set was found, where images and banks lie, what is being waited for."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("glimpse_env").setLevel(logging.INFO if distributed.first() else logging.WARNING)


def use_threads(threads: int) -> None:
    """Let torch use so many CPU threads.

    Raises:
        SystemExit: There is no such number of threads.
    """
    if threads < 1:
        raise SystemExit(f"--threads {threads}: expected a whole number of at least 1")
    torch.set_num_threads(threads)


def live(means: Mapping[str, float]) -> str:
    """Return what stands behind a progress bar: means over the last episodes."""
    return f"reward {means['reward']:.3f}, accuracy {means['train_accuracy']:.2%}, glimpses {means['mean_glimpses']:.2f}"


@contextmanager
def interruptible(kept: str) -> Iterator[None]:
    """End the program after Ctrl-C with a sentence that says what was kept."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped: {kept}", file=sys.stderr)
        raise SystemExit(130) from None


@contextmanager
def foreseen(program: str) -> Iterator[None]:
    """End the program with one sentence where options, files, the disk or an optional package are not as they must be."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"{program}: {error}" if distributed.first() else 1) from error
