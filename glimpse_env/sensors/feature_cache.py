"""Tables of float16 features, computed once: in memory, or in a mapped file of the cache folder.

The file is numpy's `.npy`, (image, cell, ...). It is written as `.partial`, flushed to disk and renamed, so
that a table is always complete. An interrupted build resumes where it stopped; processes that need the same
table wait for the one that builds it.
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
from jaxtyping import Bool, Float, Float16, Int64
from torch import Tensor
from tqdm import tqdm

from glimpse_env.backbone import FeatureExtractor
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.built_file import cache_folder, explain_cache
from glimpse_env.episode import Ints
from glimpse_env.runtime.files import FULL, choose_partial, lock, publish
from glimpse_env.sensors.image_views import Rows, check_flags, move_to_device

STEP = 16  # images computed between two writes

log = logging.getLogger("glimpse_env")

Compute = Callable[[Int64[Tensor, " image"]], Tensor]
Table = Float16[Tensor, "image cell ..."]


def compute_table(count: int, compute: Compute, step: int, what: str) -> Table:
    """Return the table in memory."""
    with tqdm(total=count, desc=what, unit="image", disable=count <= 1000) as progress:
        parts = []
        for part in torch.arange(count).split(step):
            parts.append(to_half(compute(part)))
            progress.update(len(part))
    return torch.cat(parts)


def open_or_build(file: Path, shape: tuple[int, ...], compute: Compute, step: int, what: str) -> Table:
    """Return the table in `file`, whose name identifies its content; build it if it is missing or damaged.

    `compute` returns the rows of some images, `step` at a time; `what` names the table in messages.

    Raises:
        OSError: The disk is full (a partial file is then removed), or the folder cannot be written to.
    """
    fault = ""
    try:
        table = open_table(file, shape)
        if table is None:
            fault = "is damaged or stale"
            log.info("%s: waiting for the lock of %s, to build it", what, file)
            with lock(file.with_name(f"{file.name}.lock")) as alone:
                if open_table(file, shape) is None:
                    build_table(file, shape, compute, step, what, alone)
            table = open_table(file, shape)
    except OSError as error:
        raise explain_cache(error, file, what, 2 * prod(shape), fault) from error
    if table is None:
        problem = f"{what}: {file} cannot be read right after it was written"
        raise OSError(f"{problem}: does another program change {file.parent}?")
    return table


def open_table(file: Path, shape: tuple[int, ...]) -> Table | None:
    """Map a table into memory; None = it is missing or damaged."""
    try:
        table = np.load(file, mmap_mode="r")
        if (table.shape, table.dtype) != (shape, np.float16):
            raise ValueError(f"it holds {table.dtype} {table.shape}, expected float16 {shape}")
    except FileNotFoundError:
        return None
    except (ValueError, EOFError) as error:  # numpy's errors for a file that is too short or not a table
        log.warning("%s is damaged or stale: %s", file, error)
        return None
    with warnings.catch_warnings():  # torch has no read-only tensors and warns; nothing writes to a table
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(table)


def build_table(
    file: Path, shape: tuple[int, ...], compute: Compute, step: int, what: str, alone: bool = True
) -> None:
    """Write the table to a partial file, slice by slice, then rename it; `alone`: under a lock."""
    partial = choose_partial(file, alone)
    if alone:
        file.unlink(missing_ok=True)  # damaged, and its disk space may be needed
    start, row = len(format_header(shape)), 2 * prod(shape[1:])
    written = max(0, partial.stat().st_size - start) // row if partial.exists() else 0
    done = max(0, written // step - 1) * step  # the last slice may not have reached the disk
    if shutil.disk_usage(file.parent).free < (shape[0] - written) * row + start:
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    try:
        with (
            partial.open("r+b" if done else "wb") as stream,
            tqdm(total=shape[0], initial=done, desc=what, unit="image") as progress,
        ):
            stream.write(format_header(shape))
            stream.truncate(start + done * row)
            stream.seek(0, os.SEEK_END)
            for part in torch.arange(done, shape[0]).split(step):
                append_rows(stream, to_half(compute(part)))
                progress.update(len(part))
        publish(partial, file)
    except OSError as error:
        if error.errno in FULL or not alone:  # where others may build it too, nobody resumes
            partial.unlink(missing_ok=True)
        raise


def format_header(shape: tuple[int, ...]) -> bytes:
    """Return the first bytes of a `.npy` file of this shape."""
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def append_rows(stream: BinaryIO, rows: Table) -> None:
    """Append rows and flush them to disk."""
    stream.write(rows.cpu().contiguous().numpy().data)
    stream.flush()
    os.fsync(stream.fileno())


def to_half(rows: Tensor) -> Table:
    """Return features as float16, or refuse those that are too large for it."""
    halved = rows.half()
    if not rows.is_meta and not halved.isfinite().all():
        most = f"features reach {rows.abs().max().item():g}: tables hold float16, at most 65504"
        raise ValueError(f"{most}; use sensor='crop', or other weights")
    return halved


def all_stored(images: ImageSet) -> ImageSet:
    """Return the images to compute features of: all stored ones if named, so a file serves every split."""
    if images.key is None or images.rows is None:
        return images
    labels = torch.zeros(len(images.images), dtype=torch.int64)
    return replace(images, labels=labels, rows=None, target_centers=None, boxes=None, composer=None)


class FeatureTable:
    """Float16 features (image, cell, ...) of images, and in a second table of the mirrored images."""

    def __init__(
        self,
        images: ImageSet,
        shape: tuple[int, ...],
        compute: Callable[[Int64[Tensor, " image"], bool], Tensor],
        kind: str,
        backbone: FeatureExtractor,
        recipe: str,
    ) -> None:
        """Open or build the table of `images` on the backbone's device, if it fits there; `kind` is its name.

        Rows are (cell, ...) = `shape`. `compute` returns those of some images of `all_stored(images)`, from
        their indices (on the host) and whether to mirror them. `recipe`: all that features depend on besides
        images and network; part of the file's name.
        """
        self.images, self.shape, self.compute, self.recipe = images, shape, compute, recipe
        self.kind, self.backbone, self.device = kind, backbone, backbone.device
        self._plain = self._open(False)
        self._mirrored: tuple[Tensor, Rows] | None = None
        self._which: Bool[Tensor, " image"] | None = None

    def _open(self, mirrored: bool) -> tuple[Tensor, Rows]:
        """Return a table, flat by image and cell, and its row of each image."""
        kind, key, backbone, source = self.kind, self.images.key, self.backbone, all_stored(self.images)
        what = f"{kind} of {backbone.name}{', images mirrored' if mirrored else ''}"

        def compute(part: Int64[Tensor, " image"]) -> Tensor:
            return self.compute(part, mirrored)

        if key is None:
            log.info("%s: the images have no name, so the table is in memory only", what)
            return compute_table(len(source), compute, STEP, what).flatten(0, 1), None
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{key}-{backbone.name}-{kind}{'-mirrored' * mirrored}")
        content = f"{key} {kind} {self.recipe} {backbone.digest()} {mirrored}"
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        file = cache_folder() / f"{name[-180:]}-{digest}.npy"
        table = open_or_build(file, (len(source), *self.shape), compute, STEP, what)
        table, rows = move_to_device(table, self.images.rows, self.device, what)
        return table.flatten(0, 1), rows

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Look up these images mirrored (left-right) from now on; None = no image."""
        device = self._plain[0].device
        self._which = None if which is None else check_flags(which, len(self.images)).to(device)
        if which is not None and self._mirrored is None:
            self._mirrored = self._open(True)

    def at(self, index: Ints, cell: Ints | None = None) -> Float[Tensor, "env ..."]:
        """Return the features of a cell of each image (None = its only one)."""
        features = self._look_up(*self._plain, index, cell)
        if self._which is not None and self._mirrored is not None:
            flip = self._which.index_select(0, index.to(self._which.device)).to(self.device)
            mirrored = self._look_up(*self._mirrored, index, cell)
            features = torch.where(flip.view(-1, *[1] * (features.ndim - 1)), mirrored, features)
        return features.float()

    def _look_up(self, values: Tensor, rows: Rows, index: Ints, cell: Ints | None) -> Tensor:
        """Return features of a table, float16 on the backbone's device; each has its own device and order."""
        index = index.to(values.device)
        row = index if rows is None else rows.index_select(0, index)
        if cell is not None:
            row = cell.to(values.device).add(row, alpha=self.shape[0])
        return values.index_select(0, row).to(self.device)
