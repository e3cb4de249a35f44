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
from glimpse_env.datasets.base import FirstView
from glimpse_env.sensors.base import build_geometry, vector_space
from glimpse_env.sensors.feature_cache import FeatureTable, all_stored
from glimpse_env.sensors.image_views import ImageViews

CHUNK = 256  # images per pass of the network, by default


class CropSensor:
    """Windows of `scales` x `glimpse_size` pixels, each resized to `glimpse_size` and passed through the backbone (DT-RAM, section 4.2).

    The first view is the whole image at a resolution of its own (`view_size`; DT-RAM: a 448 x 448 crop of 512 x 512, here all of it). The
    feature vectors of several scales are concatenated, and the first view's is repeated for each.

    Every row costs one pass of the network per step. With `view_size` = `glimpse_size` and one scale, a GPU processes all rows together,
    whatever their steps, without a host sync. Otherwise a batch is split into rows at step 1 and later ones, which costs a host sync per
    step. So does a GPU without enough memory for the images: their crops are then cut on the host and sent.

    The context is the whole image as the first view shows it, computed once for every stored image and cached as BankSensor's tables are.
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
        fill: retina.Fill = "zero",
        context: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        """Move the images to the backbone's device if they fit there.

        Args:
            images: The images.
            backbone: The frozen network; the sensor works on its device.
            glimpse_size: Side in pixels to which a window is resized.
            view_size: Side in pixels to which the whole image is resized; None = glimpse_size.
            scales: Window widths in units of glimpse_size.
            first_view: "image" (glimpse 1 is the whole image) or "glimpse".
            location_range: Where location +-1 lies, as a share of the half image; None = the smallest window stays inside.
            fill: Pixels beyond the image: "zero", "reflect" or "noise".
            context: Whether observations hold the whole image too, as `context`.
            chunk: Images per pass of the network, which limits the memory of a step.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed; the message names it.
        """
        geometry = build_geometry(
            min(images.images.shape[-2:]), glimpse_size, scales, first_view, location_range
        )
        checks.count("chunk", chunk)
        self.view_size = glimpse_size if view_size is None else view_size
        checks.count("view_size", self.view_size)
        self.windows, self.reach, self.whole_first = geometry
        self.backbone, self.size, self.chunk, self.shows_context = backbone, glimpse_size, chunk, context
        self.features = backbone.features * len(scales)
        self.views = ImageViews(images, geometry, fill, backbone.device)
        costs = [
            (side**2 * times, backbone.flops(side, side) * times)
            for side, times in ((self.view_size, 1), (glimpse_size, len(scales)))
        ]
        first, later = costs if self.whole_first else (costs[1], costs[1])
        whole = (self.view_size**2, backbone.flops(self.view_size, self.view_size)) if context else (0, 0)
        self.pixels, self.flops = (
            (one + more, other) for one, more, other in zip(first, whole, later, strict=True)
        )
        # Not on a CPU: there splitting a batch is cheap, and resizing images for both kinds of rows is not.
        self.together = self.view_size == glimpse_size and len(scales) == 1 and backbone.device.type != "cpu"
        size = str(self.view_size)
        self._contexts = (
            FeatureTable(images, (1, backbone.features), self._compute_context, "context", backbone, size)
            if context
            else None
        )

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row."""
        glimpse: dict[str, spaces.Space] = {"glimpse": vector_space(self.features)}
        return glimpse | {"context": vector_space(self.backbone.features)} if self.shows_context else glimpse

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Mirror these images (left-right) from now on; None = no image. Locations refer to the image as shown."""
        self.views.mirror(which)
        if self._contexts is not None:
            self._contexts.mirror(which)

    def copy_for(self, images: ImageSet, windows: tuple[int, ...], mirrored: bool) -> CropSensor:
        """Return this sensor for a few other images and other windows: tables are computed part by part, from these images' pixels only."""
        other = copy.copy(self)
        geometry = self.views.geometry._replace(windows=windows)
        other.views = ImageViews(images, geometry, self.views.fill, self.backbone.device, name="")
        other.views.mirror(torch.ones(len(images), dtype=torch.bool) if mirrored else None)
        return other

    def context(self, index: Int64[Tensor, " env"]) -> Float[Tensor, "env feature"]:
        """Return the features of the whole images; the sensor must have been built with context=True."""
        assert self._contexts is not None
        return self._contexts.at(index)

    def observe(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> dict[str, Tensor]:
        """Return {"glimpse": ...} and, with `shows_context`, "context"; with `whole_first`, rows at step 1 show the whole image."""
        glimpse = {"glimpse": self._glimpse(index, location, step)}
        return glimpse | {"context": self.context(index)} if self.shows_context else glimpse

    def _glimpse(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> Float[Tensor, "env feature"]:
        """Return the features of what every row shows at its step."""
        if not self.whole_first:
            return self.glimpses(index, location)
        if self.together:
            parts = zip(
                index.split(self.chunk), location.split(self.chunk), step.split(self.chunk), strict=True
            )
            return torch.cat([self._mixed(*part) for part in parts])
        first = step == 1
        now, later = first.nonzero().squeeze(1), (~first).nonzero().squeeze(1)
        features = torch.empty(len(index), self.features, device=index.device)
        features.index_copy_(0, now, self.wholes(index[now]))
        return features.index_copy_(0, later, self.glimpses(index[later], location[later]))

    def glimpses(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"]
    ) -> Float[Tensor, "env feature"]:
        """Return the features of the windows around `location`."""
        parts = zip(index.split(self.chunk), location.split(self.chunk), strict=True)
        return torch.cat([self._encode(self.views.glimpses(*part, self.size)) for part in parts])

    def wholes(self, index: Int64[Tensor, " env"]) -> Float[Tensor, "env feature"]:
        """Return the features of the whole images."""
        features = torch.cat(
            [self._encode(self.views.wholes(part, self.view_size)) for part in index.split(self.chunk)]
        )
        return features.repeat(1, self.features // features.shape[1])

    def _compute_context(
        self, index: Int64[Tensor, " image"], mirrored: bool
    ) -> Float[Tensor, "image 1 feature"]:
        """Compute the context of some images."""
        part = self.copy_for(all_stored(self.views.images).subset(index), self.windows, mirrored)
        return part.wholes(torch.arange(len(index), device=self.backbone.device))[
            :, None, : self.backbone.features
        ]

    def _mixed(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> Float[Tensor, "env feature"]:
        """Return the features of the whole image (step 1) or of the window: both have one size, so one pass computes both."""
        whole, patch = self.views.wholes(index, self.size), self.views.glimpses(index, location, self.size)
        return self._encode(torch.where((step == 1)[:, None, None, None], whole, patch))

    def _encode(
        self, patches: Float[Tensor, "env scale_channel height width"]
    ) -> Float[Tensor, "env feature"]:
        """Return the features of patches, those of several scales concatenated."""
        scales = patches.shape[1] // self.views.images.images.shape[1]
        if not len(patches):  # a network may refuse an empty batch
            return patches.new_empty(0, self.backbone.features * scales)
        return self.backbone(patches.unflatten(1, (scales, -1)).flatten(0, 1)).view(len(patches), -1)
