"""Tables of float16 features, computed once: in memory, or in a file of the cache folder that is mapped into memory.

The file is numpy's `.npy`, (image, cell, ...). It is written under the name `.partial`, flushed to disk and renamed, so that a table under
its own name is always whole. A build that was interrupted goes on where it was; processes that want the same table wait for the first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from errno import ENOSPC
from io import BytesIO
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Bool, Float, Float16, Int64
from torch import Tensor
from tqdm import tqdm

from glimpse_env.backbone import Backbone
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.store import cache_folder
from glimpse_env.runtime.files import publish
from glimpse_env.sensors.image_views import flags, placed

log = logging.getLogger("glimpse_env")

Compute = Callable[[Int64[Tensor, " image"]], Float16[Tensor, "image cell ..."]]


def computed(count: int, compute: Compute, step: int, what: str) -> Float16[Tensor, "image cell ..."]:
    """Return the table in memory."""
    with tqdm(total=count, desc=what, unit="image", disable=count <= 1000) as progress:
        parts = []
        for part in torch.arange(count).split(step):
            parts.append(half(compute(part)))
            progress.update(len(part))
    return torch.cat(parts)


def kept(file: Path, shape: tuple[int, ...], compute: Compute, step: int, what: str) -> Float16[Tensor, "image cell ..."]:
    """Return the table in `file`, building it if it is not there or not whole.

    Args:
        file: Its name says what is in it: another network or other images have another name.
        shape: (image, cell, ...).
        compute: From the numbers of some images to their rows.
        step: Images at a time.
        what: For the progress bar and messages.

    Raises:
        OSError: The disk is full, or the folder cannot be written to. What was built so far is removed if the disk is full.
    """
    try:
        table = opened(file, shape)
        if table is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            log.info("%s: waiting for the lock of %s, to build it", what, file)
            with FileLock(f"{file}.lock"):
                if opened(file, shape) is None:
                    build(file, shape, compute, step, what)
            table = opened(file, shape)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{what} needs {2 * prod(shape) / 1e9:.3g} GB in {file.parent} ({error.strerror or error}): make room there, or name another "
            "folder in the environment variable GLIMPSE_CACHE",
        ) from error
    if table is None:
        raise OSError(f"{what}: {file} is not readable right after it was written; is something else changing {file.parent}?")
    return table


def opened(file: Path, shape: tuple[int, ...]) -> Float16[Tensor, "image cell ..."] | None:
    """Map a table into memory; None = there is none, or it is damaged."""
    try:
        table = np.load(file, mmap_mode="r")
        if (table.shape, table.dtype) != (shape, np.float16):
            raise ValueError(f"it holds {table.dtype} {table.shape}, expected float16 {shape}")
    except FileNotFoundError:
        return None
    except (ValueError, EOFError) as error:  # numpy's words for a file that is too short or no table
        log.warning("%s is damaged or stale: %s", file, error)
        return None
    with warnings.catch_warnings():  # torch has no read-only tensors and says so; nobody writes to a table
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(table)


def build(file: Path, shape: tuple[int, ...], compute: Compute, step: int, what: str) -> None:
    """Write the table beside its place, slice by slice, then move it there."""
    partial = file.with_name(f"{file.name}.partial")
    file.unlink(missing_ok=True)  # damaged: of no use any more, and its room may be needed
    start, row = len(header(shape)), 2 * prod(shape[1:])
    written = max(0, partial.stat().st_size - start) // row if partial.exists() else 0
    done = max(0, written // step - 1) * step  # the last slice may not have reached the disk
    if shutil.disk_usage(file.parent).free < (shape[0] - written) * row + start:
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    try:
        with partial.open("r+b" if done else "wb") as stream, tqdm(total=shape[0], initial=done, desc=what, unit="image") as progress:
            stream.write(header(shape))
            stream.truncate(start + done * row)
            stream.seek(0, os.SEEK_END)
            for part in torch.arange(done, shape[0]).split(step):
                write(stream, half(compute(part)))
                progress.update(len(part))
        publish(partial, file)
    except OSError as error:
        if error.errno == ENOSPC:
            partial.unlink(missing_ok=True)
        raise


def header(shape: tuple[int, ...]) -> bytes:
    """Return the first bytes of a `.npy` file of this shape."""
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def write(stream: BinaryIO, rows: Float16[Tensor, "image cell ..."]) -> None:
    """Append rows and see them to the disk."""
    stream.write(rows.cpu().contiguous().numpy().data)
    stream.flush()
    os.fsync(stream.fileno())


def half(rows: Tensor) -> Float16[Tensor, "image cell ..."]:
    """Return features as float16, or say that they are too large for it."""
    small = rows.half()
    if not rows.is_meta and not small.isfinite().all():
        raise ValueError(
            f"features reach {rows.abs().max().item():g}: a bank holds float16, at most 65504; use sensor='crop', or other weights"
        )
    return small


STEP = 16  # images computed between two writes

log = logging.getLogger("glimpse_env")


def everything(images: ImageSet) -> ImageSet:
    """Return the set whose features are computed: all stored images if they have a name (the file then serves every split), else these."""
    if images.key is None or images.rows is None:
        return images
    labels = torch.zeros(len(images.images), dtype=torch.int64)
    return replace(images, labels=labels, rows=None, places=None, boxes=None)


class Cached:
    """Tables (image, cell, ...) of float16 features: one of the images, one of the mirrored images."""

    def __init__(
        self,
        images: ImageSet,
        shape: tuple[int, ...],
        compute: Callable[[Int64[Tensor, " image"], bool], Tensor],
        kind: str,
        backbone: Backbone,
        recipe: str,
    ) -> None:
        """Open or build the table of the images.

        Args:
            images: What will be looked up.
            shape: (cell, ...) of one image.
            compute: From the numbers (on the host) of some images of `everything(images)`, and whether to mirror them, to their rows.
            kind: What the table is called.
            backbone: The network; tables are moved to its device if they fit there.
            recipe: All that the features depend on besides the images and the network: names the file.
        """
        self.images, self.shape, self.compute, self.recipe = images, shape, compute, recipe
        self.kind, self.backbone, self.device = kind, backbone, backbone.device
        self._plain, self._rows = self._opened(False)
        self._mirrored: tuple[Tensor, Int64[Tensor, " image"] | None] | None = None
        self._which: Bool[Tensor, " image"] | None = None

    def _opened(self, mirrored: bool) -> tuple[Tensor, Int64[Tensor, " image"] | None]:
        """Return a table, flat by image and cell, and where each image lies in it (None = in order)."""
        what = f"{self.kind} of {self.backbone.name}{', images mirrored' if mirrored else ''}"
        source = everything(self.images)

        def rows(part: Int64[Tensor, " image"]) -> Tensor:
            return self.compute(part, mirrored)

        if source.key is None:
            log.info("%s: the images have no name, so it is kept in memory only", what)
            found, where = computed(len(source), rows, STEP, what), None
            return found.flatten(0, 1), where
        name = f"{source.key}-{self.backbone.name}-{self.kind}{'-mirrored' if mirrored else ''}"
        digest = hashlib.sha256(f"{source.key} {self.kind} {self.recipe} {self.backbone.digest} {mirrored}".encode()).hexdigest()[:16]
        file = cache_folder() / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[-180:]}-{digest}.npy"
        found = kept(file, (len(source), *self.shape), rows, STEP, what)
        found, where = placed(found, self.images.rows, self.device, what)
        return found.flatten(0, 1), where

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Look up these images left-right reversed from now on; None = no image."""
        self._which = None if which is None else flags(which, len(self.images)).to(self._plain.device)
        if which is not None and self._mirrored is None:
            self._mirrored = self._opened(True)

    def at(self, index: Int64[Tensor, " env"], cell: Int64[Tensor, " env"] | None = None) -> Float[Tensor, "env ..."]:
        """Return the features of a cell of each image (None = its only one)."""
        found = self._found(self._plain, self._rows, index, cell)
        if self._which is not None and self._mirrored is not None:
            flip = self._which.index_select(0, index.to(self._which.device)).to(self.device)
            other = self._found(*self._mirrored, index, cell)
            found = torch.where(flip.view(-1, *[1] * (found.ndim - 1)), other, found)
        return found.float()

    def _found(
        self, values: Tensor, rows: Int64[Tensor, " image"] | None, index: Int64[Tensor, " env"], cell: Int64[Tensor, " env"] | None
    ) -> Tensor:
        """Return the float16 features of one table, on the backbone's device; each table lies where it fits and in its own order."""
        index = index.to(values.device)
        row = index if rows is None else rows.index_select(0, index)
        if cell is not None:
            row = cell.to(values.device).add(row, alpha=self.shape[0])
        return values.index_select(0, row).to(self.device)
