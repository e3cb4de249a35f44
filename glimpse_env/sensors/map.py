"""The map sensor: the network runs once per image; a glimpse is a region of its last feature map."""

from __future__ import annotations

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float
from torch import Tensor

from glimpse_env import checks
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView
from glimpse_env.episode import Ints, Points
from glimpse_env.sensors.base import build_geometry, refuse_native, split_rows, unbounded_space
from glimpse_env.sensors.view_maps import Maps, ViewMaps

CHUNK = 256  # maps in float32 at a time, by default
# Corners are rounded to this share of a cell: a rounding error above a whole number of cells adds a sample.
FINEST = 1024


class MapSensor:
    """Windows pooled from the backbone's feature map to `roi` x `roi` values a channel (RoIAlign).

    (As in FCAN.) The first view is the whole map, pooled likewise. Maps are computed once for all stored
    images and cached as BankSensor's tables are. So a step runs no network: an episode costs one pass over
    the image, counted at its first glimpse.
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
        """Open the maps, or compute them, on the backbone's device. Arguments as for `GlimpseVectorEnv`.

        glimpse_size: side of a window at scale 1 in pixels of the image. view_size None = the image's own.
        location_range None = the smallest window stays inside; beyond the image the map is zero. `roi`:
        values per side to which a window is pooled; 1 = its mean. `chunk`: maps in float32 at a time, which
        limits the memory of a step. `show_map` adds `map` (feature, rows, columns) to observations.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed.
            OSError: The maps cannot be written, for example because the disk is full.
        """
        refuse_native(images, type(self).__name__)
        height, width = images.images.shape[-2:]
        side = min(height, width) if view_size is None else view_size
        given = dict(view_size=side, roi=roi, chunk=chunk, show_map=show_map)
        side, roi, chunk, show_map = checks.arguments(**given)
        geometry = build_geometry(min(height, width), glimpse_size, scales, first_view, location_range)
        self.windows, self.reach, self.whole_first = geometry[:3]
        self.view_size = side
        self.backbone, self.roi, self.show_map, self.chunk = backbone, roi, show_map, chunk
        self.view_maps = ViewMaps(images, backbone, side)
        _, rows, columns = self.shape = self.view_maps.shape
        self.features = self.shape[0] * roi**2 * len(scales)
        self.space: dict[str, spaces.Space] = {"glimpse": unbounded_space(self.features)}
        if show_map:
            self.space["map"] = unbounded_space(*self.shape)
        self.pixels, self.flops = (side**2, 0), (backbone.flops(side, side, of_map=True), 0)
        self._cells = torch.tensor([columns / 2, rows / 2], device=backbone.device)  # half the map
        half = [[window / width, window / height] for window in self.windows]  # in half images
        self._half = torch.tensor(half, device=backbone.device)
        self.view_maps.open()

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Mirror these images (left-right) from now on; None = none. The first call computes their maps."""
        self.view_maps.mirror(which)

    def maps(self, index: Ints) -> Maps:
        """Return the whole maps of images, as `show_map` shows them."""
        return self.view_maps.at(index)

    def observe(self, index: Ints, location: Points, step: Ints) -> dict[str, Tensor]:
        """Return {"glimpse": ...}, with `whole_first` of the whole map at step 1, and maybe "map"."""
        parts = [self._pool(*part) for part in split_rows(self.chunk, index, location, step)]
        pooled, maps = zip(*parts, strict=True)
        glimpse = {"glimpse": torch.cat(pooled)}
        return glimpse | {"map": torch.cat(maps)} if self.show_map else glimpse

    def _pool(self, index: Ints, location: Points, step: Ints) -> tuple[Float[Tensor, "env feature"], Maps]:
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
