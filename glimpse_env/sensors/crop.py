"""The crop sensor: a glimpse is a crop of the image, seen through a frozen network."""

from __future__ import annotations

import copy

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import checks, retina
from glimpse_env.backbone import Backbone
from glimpse_env.datasets import ImageSet
from glimpse_env.presets import FirstView
from glimpse_env.sensors.base import sight, vector
from glimpse_env.sensors.feature_cache import Cached, everything
from glimpse_env.sensors.image_views import Pictures

CHUNK = 256  # images that the network sees at a time, unless told


class CropSensor:
    """Windows of `scales` x `glimpse_size` pixels, each resized to `glimpse_size` and seen through the backbone (DT-RAM, section 4.2).

    The first view is the whole image at its own resolution (`view_size`; DT-RAM: a 448 x 448 crop of 512 x 512, here all of it); with
    several scales their feature vectors stand side by side, and the first view's is repeated.

    Every row costs one pass of the network a step. With `view_size` = `glimpse_size` and one scale all rows go together on a GPU, whatever
    their steps, without a host sync. Else a batch is split into rows at step 1 and later ones, which costs a host sync a step. The same
    holds of a GPU that has no room for the images: their crops are cut on the host and sent.

    The context is the whole image as the first view would show it, computed once for every stored image and kept as banks are.
    """

    def __init__(
        self,
        images: ImageSet,
        backbone: Backbone,
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
        """Place the images beside the backbone.

        Args:
            images: What is looked at.
            backbone: The frozen network; the sensor works on its device.
            glimpse_size: Side in pixels at which the network sees a window.
            view_size: Side in pixels at which it sees the whole image; None = glimpse_size.
            scales: Window widths in units of glimpse_size.
            first_view: "image" (glimpse 1 is the whole image) or "glimpse".
            location_range: Where location +-1 lies, as a share of the half image; None = the smallest window stays inside.
            fill: What lies off the image: "zero", "reflect" or "noise".
            context: Show the whole image at every step too, beside the glimpse.
            chunk: Images that the network sees at a time, which bounds the memory that a step needs.

        Raises:
            ValueError: A size, scale, range or option outside what is allowed; the message names it.
        """
        look = sight(min(images.images.shape[-2:]), glimpse_size, scales, first_view, location_range)
        checks.count("chunk", chunk)
        self.view_size = glimpse_size if view_size is None else view_size
        checks.count("view_size", self.view_size)
        self.windows, self.reach, self.whole_first = look
        self.backbone, self.size, self.chunk, self.shows_context = backbone, glimpse_size, chunk, context
        self.features = backbone.features * len(scales)
        self.pictures = Pictures(images, look, fill, backbone.device)
        costs = [
            (side**2 * times, backbone.flops(side, side) * times) for side, times in ((self.view_size, 1), (glimpse_size, len(scales)))
        ]
        first, later = costs if self.whole_first else (costs[1], costs[1])
        whole = (self.view_size**2, backbone.flops(self.view_size, self.view_size)) if context else (0, 0)
        self.pixels, self.flops = ((one + more, other) for one, more, other in zip(first, whole, later, strict=True))
        # On a CPU sorting rows costs nothing, and resizing images that are not shown does.
        self.together = self.view_size == glimpse_size and len(scales) == 1 and backbone.device.type != "cpu"
        size = str(self.view_size)
        self._contexts = Cached(images, (1, backbone.features), self._context_row, "context", backbone, size) if context else None

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row."""
        glimpse: dict[str, spaces.Space] = {"glimpse": vector(self.features)}
        return glimpse | {"context": vector(self.backbone.features)} if self.shows_context else glimpse

    def mirror(self, which: Bool[Tensor, " image"] | None) -> None:
        """Show these images left-right reversed from now on; None = no image. Locations are places of the image as shown."""
        self.pictures.mirror(which)
        if self._contexts is not None:
            self._contexts.mirror(which)

    def of(self, images: ImageSet, windows: tuple[int, ...], mirrored: bool) -> CropSensor:
        """Return the same sensor of other images and windows: tables are computed a few images at a time, and need their pixels only."""
        other = copy.copy(self)
        look = self.pictures.look._replace(windows=windows)
        other.pictures = Pictures(images, look, self.pictures.fill, self.backbone.device, name="")
        other.pictures.mirror(torch.ones(len(images), dtype=torch.bool) if mirrored else None)
        return other

    def context(self, index: Int64[Tensor, " env"]) -> Float[Tensor, "env feature"]:
        """Return the features of the whole images; the sensor must have been made with `context`."""
        assert self._contexts is not None
        return self._contexts.at(index)

    def observe(self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]) -> dict[str, Tensor]:
        """Return {"glimpse": ...} and, if wanted, "context"; with `whole_first`, rows at step 1 see the whole image instead."""
        glimpse = {"glimpse": self._glimpse(index, location, step)}
        return glimpse | {"context": self.context(index)} if self.shows_context else glimpse

    def _glimpse(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> Float[Tensor, "env feature"]:
        """Return what every row sees at its step."""
        if not self.whole_first:
            return self.glimpses(index, location)
        if self.together:
            parts = zip(index.split(self.chunk), location.split(self.chunk), step.split(self.chunk), strict=True)
            return torch.cat([self._mixed(*part) for part in parts])
        first = step == 1
        now, later = first.nonzero().squeeze(1), (~first).nonzero().squeeze(1)
        seen = torch.empty(len(index), self.features, device=index.device)
        seen.index_copy_(0, now, self.wholes(index[now]))
        return seen.index_copy_(0, later, self.glimpses(index[later], location[later]))

    def glimpses(self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"]) -> Float[Tensor, "env feature"]:
        """Return the features of the windows around `location`."""
        parts = zip(index.split(self.chunk), location.split(self.chunk), strict=True)
        return torch.cat([self._see(self.pictures.glimpses(*part, self.size)) for part in parts])

    def wholes(self, index: Int64[Tensor, " env"]) -> Float[Tensor, "env feature"]:
        """Return the features of the whole images."""
        seen = torch.cat([self._see(self.pictures.wholes(part, self.view_size)) for part in index.split(self.chunk)])
        return seen.repeat(1, self.features // seen.shape[1])

    def _context_row(self, index: Int64[Tensor, " image"], mirrored: bool) -> Float[Tensor, "image 1 feature"]:
        """Compute the context of some images."""
        part = self.of(everything(self.pictures.images).subset(index), self.windows, mirrored)
        return part.wholes(torch.arange(len(index), device=self.backbone.device))[:, None, : self.backbone.features]

    def _mixed(
        self, index: Int64[Tensor, " env"], location: Float[Tensor, "env 2"], step: Int64[Tensor, " env"]
    ) -> Float[Tensor, "env feature"]:
        """Return the features of the whole image or of the window, by step: one size, so one pass."""
        whole, patch = self.pictures.wholes(index, self.size), self.pictures.glimpses(index, location, self.size)
        return self._see(torch.where((step == 1)[:, None, None, None], whole, patch))

    def _see(self, patches: Float[Tensor, "env scale_channel height width"]) -> Float[Tensor, "env feature"]:
        """Return the features of patches, those of several scales side by side."""
        scales = patches.shape[1] // self.pictures.images.images.shape[1]
        if not len(patches):  # a network may refuse an empty batch
            return patches.new_empty(0, self.backbone.features * scales)
        return self.backbone(patches.unflatten(1, (scales, -1)).flatten(0, 1)).view(len(patches), -1)
