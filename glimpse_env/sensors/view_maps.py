"""Feature maps of whole images, computed once: what the first view shows a backbone, cell by cell."""

from __future__ import annotations

import functools
from typing import Protocol, runtime_checkable

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env.backbone import FeatureExtractor
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView
from glimpse_env.episode import Ints
from glimpse_env.sensors.base import Geometry, unbounded_space
from glimpse_env.sensors.feature_cache import FeatureTable, all_stored
from glimpse_env.sensors.image_views import ImageViews

Maps = Float[Tensor, "env channel rows columns"]


@runtime_checkable
class Mapped(Protocol):
    """A sensor whose backbone has a map of the whole image.

    With `whole_first` the map is that of glimpse 1, from the same pass of the network: it costs nothing more.
    With `show_map` it is also an observation entry, `map`.
    """

    view_maps: ViewMaps


class ViewMaps:
    """The backbone's last feature map of every whole image at `side` x `side` pixels.

    The table is float16 and cached as BankSensor's tables are; it is opened, or built, at its first use, and
    sensors that show the same view share its file.
    """

    def __init__(self, images: ImageSet, backbone: FeatureExtractor, side: int, crop: float = 1.0) -> None:
        """Prepare the table; nothing is computed yet. `crop`: the sensor's `first_crop`."""
        self.images, self.backbone, self.side, self.crop = images, backbone, side, crop
        self._which: Bool[Tensor, " image"] | None = None

    @functools.cached_property
    def shape(self) -> tuple[int, int, int]:
        """The (channel, rows, columns) of a map; ValueError if the backbone has none, or not of that view."""
        if self.crop != 1:
            reason = "glimpse 1 shows a part of the image, but maps are of the whole image"
            raise ValueError(f"first_crop={self.crop}: {reason}; expected 1")
        return self.backbone.map_shape(self.side, self.side)

    def build_space(self, first_view: FirstView) -> spaces.Box:
        """Return the space of the observation entry `map`; ValueError if glimpse 1 is not the whole image."""
        if first_view != "image":
            reason = "the map is that of the whole image as glimpse 1 shows it"
            raise ValueError(f"show_map=True, first_view={first_view!r}: {reason}; expected 'image'")
        return unbounded_space(*self.shape)

    @functools.cached_property
    def _table(self) -> FeatureTable:
        """The table, opened or built."""
        recipe = str(self.side)
        table = FeatureTable(self.images, (1, *self.shape), self._compute, "maps", self.backbone, recipe)
        if self._which is not None:
            table.mirror(self._which)
        return table

    def _compute(
        self, index: Int64[Tensor, " image"], mirrored: bool
    ) -> Float[Tensor, "image 1 channel rows columns"]:
        """Compute the maps of some images."""
        images = all_stored(self.images).subset(index)
        inside = Geometry(windows=(1,), reach=0.0, whole_first=True)  # only whole images: no margin is needed
        views = ImageViews(images, inside, "zero", self.backbone.device, name="")
        views.mirror(torch.ones(len(images), dtype=torch.bool) if mirrored else None)
        shown = torch.arange(len(images), device=self.backbone.device)
        return self.backbone.map(views.wholes(shown, self.side))[:, None]

    def open(self) -> None:
        """Open the table, or build it, now instead of at its first use."""
        _ = self._table

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Show the maps of these images mirrored from now on; None = no image."""
        self._which = which
        if "_table" in self.__dict__:
            self._table.mirror(which)

    def at(self, index: Ints) -> Maps:
        """Return the maps of images."""
        return self._table.at(index)
