"""The map sensor: the network runs once per image; a glimpse is a region of its last feature map."""

from __future__ import annotations

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import checks
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView
from glimpse_env.sensors.base import build_geometry, unbounded_space, vector_space
from glimpse_env.sensors.feature_cache import FeatureTable, all_stored
from glimpse_env.sensors.image_views import ImageViews

CHUNK = 256  # maps in float32 at a time, by default
# Corners of a window are rounded to this share of a cell: a rounding error above a whole number of cells would add a sample.
FINEST = 1024


class MapSensor:
    """The windows of a glimpse pooled from the backbone's feature map to `roi` x `roi` values a channel (FCAN, section 3; RoIAlign).

    The first view is the whole map, pooled likewise. Maps are computed once for all stored images and cached as BankSensor's tables are.
    So a step runs no network: an episode costs one pass over the image, counted at its first glimpse.
    """

    def __init__(
        self,
        images: ImageSet,
        backbone: FeatureExtractor,
        *,
        glimpse_size: int,
        view_size: int | None = None,
        scales: tuple[float, ...] = (1.0,),
        first_view: FirstView = "image",
        location_range: float | None = None,
        roi: int = 1,
        show_map: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        """Open the maps, or compute them.

        Args:
            images: The images.
            backbone: The frozen network; the sensor works on its device.
            glimpse_size: Side in pixels of the image of a window at scale 1.
            view_size: Side in pixels to which the image is resized for the network; None = the image's own.
            scales: Window widths in units of glimpse_size; their features are concatenated.
            first_view: "image" (glimpse 1 is the whole map) or "glimpse".
            location_range: Where location +-1 lies, as a share of the half image; None = the smallest window stays inside. Beyond
                the image the map is zero.
            roi: Values per side to which a window is pooled; 1 = its mean.
            show_map: Whether observations hold the whole map too, as `map` (feature, rows, columns).
            chunk: Maps in float32 at a time, which limits the memory of a step.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed; the message names it.
            OSError: The maps cannot be written, for example because the disk is full.
        """
        height, width = images.images.shape[-2:]
        self.view_size = min(height, width) if view_size is None else view_size
        for name, value in (("view_size", self.view_size), ("roi", roi), ("chunk", chunk)):
            checks.count(name, value)
        geometry = build_geometry(min(height, width), glimpse_size, scales, first_view, location_range)
        self.windows, self.reach, self.whole_first = geometry
        self.backbone, self.roi, self.show_map, self.chunk = backbone, roi, show_map, chunk
        self.shape = backbone.map_shape(self.view_size, self.view_size)
        self.features = self.shape[0] * roi**2 * len(scales)
        self.pixels, self.flops = (
            (self.view_size**2, 0),
            (backbone.flops(self.view_size, self.view_size, of_map=True), 0),
        )
        self._cells = torch.tensor(
            [self.shape[2] / 2, self.shape[1] / 2], device=backbone.device
        )  # half the map's (columns, rows)
        half = [[window / width, window / height] for window in self.windows]  # in half images
        self._half = torch.tensor(half, device=backbone.device)
        inside = geometry._replace(
            windows=(1,), reach=0.0
        )  # only whole images are used, so no margin is needed
        self._views = ImageViews(all_stored(images), inside, "zero", backbone.device)
        self._table = FeatureTable(
            images, (1, *self.shape), self._compute, "maps", backbone, str(self.view_size)
        )
        self._views.release()

    def _compute(
        self, index: Int64[Tensor, " image"], mirrored: bool
    ) -> Float[Tensor, "image 1 feature rows columns"]:
        """Compute the maps of some images."""
        self._views.mirror(torch.ones(len(self._views.images), dtype=torch.bool) if mirrored else None)
        return self.backbone.map(self._views.wholes(index, self.view_size))[:, None]

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row."""
        glimpse: dict[str, spaces.Space] = {"glimpse": vector_space(self.features)}
        return glimpse | {"map": unbounded_space(self.shape)} if self.show_map else glimpse

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Mirror these images (left-right) from now on; None = no image. The first call with images computes their maps."""
        self._table.mirror(which)
        self._views.release()

    def maps(self, index: Int64[Tensor, " env"]) -> Float[Tensor, "env channel rows columns"]:
        """Return the whole maps of images, as `show_map` shows them."""
        return self._table.at(index)

    def observe(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> dict[str, Tensor]:
        """Return {"glimpse": ...} and, with `show_map`, "map"; with `whole_first`, rows at step 1 show all of the map."""
        parts = zip(index.split(self.chunk), location.split(self.chunk), step.split(self.chunk), strict=True)
        pooled, maps = zip(*(self._pool(*part) for part in parts), strict=True)
        glimpse = {"glimpse": torch.cat(pooled)}
        return glimpse | {"map": torch.cat(maps)} if self.show_map else glimpse

    def _pool(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> tuple[Float[Tensor, "env feature"], Float[Tensor, "env channel rows columns"]]:
        """Return the pooled windows of some rows, and their maps."""
        from torchvision.ops import roi_align  # slow to import: see backbone.weights

        maps = self.maps(index)
        centre, half = (location * self.reach)[:, None], self._half[None]
        if self.whole_first:
            first = (step == 1)[:, None, None]
            centre, half = centre.masked_fill(first, 0.0), half.masked_fill(first, 1.0)
        corners = torch.cat(((centre - half + 1) * self._cells, (centre + half + 1) * self._cells), 2)
        corners = (corners * FINEST).round() / FINEST
        rows = torch.arange(len(index), device=corners.device).repeat_interleave(len(self.windows))
        pooled = roi_align(maps, torch.cat((rows[:, None], corners.flatten(0, 1)), 1), self.roi, aligned=True)
        return pooled.reshape(len(index), self.features), maps
