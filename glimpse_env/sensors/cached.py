"""Features of every image, and of every mirrored image when first asked for, kept in tables and looked up."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env.backbone import Backbone
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.store import cache_folder
from glimpse_env.sensors import table
from glimpse_env.sensors.pictures import flags, placed

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
            found, where = table.computed(len(source), rows, STEP, what), None
            return found.flatten(0, 1), where
        name = f"{source.key}-{self.backbone.name}-{self.kind}{'-mirrored' if mirrored else ''}"
        digest = hashlib.sha256(f"{source.key} {self.kind} {self.recipe} {self.backbone.digest} {mirrored}".encode()).hexdigest()[:16]
        file = cache_folder() / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[-180:]}-{digest}.npy"
        found = table.kept(file, (len(source), *self.shape), rows, STEP, what)
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
