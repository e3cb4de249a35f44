"""The crop sensor: a glimpse is the features that a frozen network computes of a crop of the image."""

from __future__ import annotations

import copy

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import FirstView, GlimpseUnit
from glimpse_env.episode import Ints, Points
from glimpse_env.sensors.base import split_rows, unbounded_space
from glimpse_env.sensors.feature_cache import FeatureTable, all_stored
from glimpse_env.sensors.native_views import choose_geometry, make_views
from glimpse_env.sensors.view_maps import ViewMaps

CHUNK = 256  # images per pass of the network, by default

Features = Float[Tensor, "env feature"]


def name_crop(first_crop: float) -> str:
    """Return what the recipe of cached features says about the first view's crop; none if it is the image."""
    return "" if first_crop == 1 else f" first {first_crop:.9g}"


class CropSensor:
    """Windows of `scales` x `glimpse_size` pixels, resized to `glimpse_size`, through the backbone.

    (DT-RAM, section 4.2.) The first view is the whole image at a resolution of its own (`view_size`), or a
    crop of it (`first_crop`; DT-RAM: 448 x 448 of 512 x 512 pixels). The feature vectors of several scales
    are concatenated, and the first view's is repeated for each.

    Every row costs one pass of the network per step. With `view_size` = `glimpse_size` and one scale, a GPU
    processes all rows together, whatever their steps, without a host sync. Otherwise a batch is split into
    rows at step 1 and later ones, which costs a host sync per step. So does a GPU without enough memory for
    the images: their crops are then cut on the host and sent.

    The context is the whole image as the first view shows it, computed once for every stored image and cached
    as BankSensor's tables are; so is the map of the first view (`view_maps`).
    """

    def __init__(
        self,
        images: ImageSet,
        backbone: FeatureExtractor,
        *,
        glimpse_size: int,
        view_size: int | None = None,
        glimpse_unit: GlimpseUnit = "pixels",
        scales: tuple[float, ...] = (1.0,),
        zoom: tuple[float, float] | None = None,
        first_view: FirstView = "image",
        first_crop: float = 1.0,
        location_range: float | None = None,
        fill: retina.Fill = "zero",
        context: bool = False,
        show_map: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        """Move the images to the backbone's device if they fit there. Arguments as for `GlimpseVectorEnv`.

        view_size None = glimpse_size; location_range None = the smallest window stays inside the image;
        `chunk`: images per pass of the network, which limits the memory of a step. `show_map` adds `map`
        (feature, rows, columns) to observations: the backbone's map of the first view.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed.
        """
        options = (first_view, location_range, first_crop, zoom, glimpse_unit)
        geometry = choose_geometry(images, glimpse_size, scales, *options)
        sizes = dict(glimpse_size=glimpse_size, chunk=chunk, context=context, show_map=show_map)
        glimpse_size, chunk, context, show_map = checks.arguments(**sizes)
        self.view_size = glimpse_size if view_size is None else checks.argument("view_size", view_size)
        self.windows, self.reach, self.whole_first, self.first_crop, self.zoom = geometry[:5]
        self.backbone, self.size, self.chunk, self.shows_context = backbone, glimpse_size, chunk, context
        self.features = backbone.features * len(scales)
        self.space: dict[str, spaces.Space] = {"glimpse": unbounded_space(self.features)}
        if context:
            self.space["context"] = unbounded_space(backbone.features)
        self.view_maps, self.show_map = ViewMaps(images, backbone, self.view_size, self.first_crop), show_map
        if show_map:
            self.space["map"] = self.view_maps.build_space(first_view)
        self.views = make_views(images, geometry, fill, backbone.device)
        self.pixels, self.flops = self._count_costs()
        # Not on a CPU: there splitting a batch is cheap, and resizing images for both kinds of rows is not.
        self.together = self.view_size == glimpse_size and len(scales) == 1 and backbone.device.type != "cpu"
        self._contexts: FeatureTable | None = None
        if context:
            shape, recipe = (1, backbone.features), f"{self.view_size}{name_crop(first_crop)}"
            self._contexts = FeatureTable(images, shape, self._compute_context, "context", backbone, recipe)

    def _count_costs(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the pixels and the flops of the first view (and the context) and of a later glimpse."""
        one, scales = self.size, len(self.windows)
        view = (self.view_size**2, self.backbone.flops(self.view_size, self.view_size))
        later = (one**2 * scales, self.backbone.flops(one, one) * scales)
        first = view if self.whole_first else later
        pixels, flops = (a + b * self.shows_context for a, b in zip(first, view, strict=True))
        return (pixels, later[0]), (flops, later[1])

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Mirror these images (left-right) from now on; None = none. Locations are in the image as shown."""
        self.views.mirror(which)
        self.view_maps.mirror(which)
        if self._contexts is not None:
            self._contexts.mirror(which)

    def copy_for(
        self, index: Int64[Tensor, " image"], windows: tuple[int, ...], mirrored: bool
    ) -> CropSensor:
        """Return this sensor for some stored images and other windows, to compute a part of a table."""
        images = all_stored(self.views.images).subset(index)
        geometry = self.views.geometry._replace(windows=windows)
        other = copy.copy(self)
        other.views = make_views(images, geometry, self.views.fill, self.backbone.device, name="")
        other.views.mirror(torch.ones(len(images), dtype=torch.bool) if mirrored else None)
        return other

    def context(self, index: Ints) -> Features:
        """Return the features of the whole images; the sensor must have been built with context=True."""
        assert self._contexts is not None
        return self._contexts.at(index)

    def observe(self, index: Ints, location: Points, step: Ints) -> dict[str, Tensor]:
        """Return {"glimpse": ...}, with `whole_first` of the whole image at step 1, and what is shown too."""
        shown = {"glimpse": self._glimpse(index, location, step)}
        if self.shows_context:
            shown["context"] = self.context(index)
        if self.show_map:
            shown["map"] = self.view_maps.at(index)
        return shown

    def _glimpse(self, index: Ints, location: Points, step: Ints) -> Features:
        """Return the features of what every row shows at its step."""
        if not self.whole_first:
            return self.glimpses(index, location)
        if self.together:
            return torch.cat([self._mixed(*part) for part in split_rows(self.chunk, index, location, step)])
        first = step == 1
        now, later = first.nonzero().squeeze(1), (~first).nonzero().squeeze(1)
        features = torch.empty(len(index), self.features, device=index.device)
        features.index_copy_(0, now, self.wholes(index[now]).repeat(1, len(self.windows)))
        return features.index_copy_(0, later, self.glimpses(index[later], location[later]))

    def glimpses(self, index: Ints, location: Points) -> Features:
        """Return the features of the windows around `location`."""
        patches = (
            self.views.glimpses(*part, size=self.size) for part in split_rows(self.chunk, index, location)
        )
        return torch.cat([self._encode(patch) for patch in patches])

    def wholes(self, index: Ints) -> Features:
        """Return the features of the whole images."""
        views = (self.views.wholes(part, self.view_size) for part in index.split(self.chunk))
        return torch.cat([self._encode(view) for view in views])

    def _compute_context(
        self, index: Int64[Tensor, " image"], mirrored: bool
    ) -> Float[Tensor, "image 1 feature"]:
        """Compute the context of some images."""
        part = self.copy_for(index, self.windows, mirrored)
        return part.wholes(torch.arange(len(index), device=self.backbone.device))[:, None]

    def _mixed(self, index: Ints, location: Points, step: Ints) -> Features:
        """Return the features of whole images (step 1) and windows of the same size, in one pass."""
        whole, patch = self.views.wholes(index, self.size), self.views.glimpses(index, location, self.size)
        return self._encode(torch.where((step == 1)[:, None, None, None], whole, patch))

    def _encode(self, patches: Float[Tensor, "env scale_channel height width"]) -> Features:
        """Return the features of patches, those of several scales concatenated."""
        scales = patches.shape[1] // self.views.images.images.shape[1]
        if not len(patches):  # a network may refuse an empty batch
            return patches.new_empty(0, self.backbone.features * scales)
        return self.backbone(patches.unflatten(1, (scales, -1)).flatten(0, 1)).view(len(patches), -1)
