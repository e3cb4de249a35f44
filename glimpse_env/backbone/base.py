"""What sensors require of a frozen network, and what a library must provide to build one by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Pixels = Float[Tensor, "image channel height width"] | UInt8[Tensor, "image channel height width"]


@runtime_checkable
class FeatureExtractor(Protocol):
    """A frozen network, from images to one feature vector or one feature map each.

    Frozen: in evaluation mode always, without gradients, statistics of BatchNorm unchanged. Images are RGB or
    grey (1 channel), uint8 or floating in [0, 1]; the network normalises their colours itself. Results are
    float32, on its device.
    """

    name: str  # in messages and in names of cached files
    device: torch.device
    features: int  # length of the feature vector, whatever the size of the image

    def __call__(self, images: Pixels) -> Float[Tensor, "image feature"]:
        """Return the features of images."""
        ...

    def map(self, images: Pixels) -> Float[Tensor, "image feature rows columns"]:
        """Return the last feature map of images.

        Raises:
            ValueError: The network has none; `map_shape` raises it too.
        """
        ...

    def map_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the (feature, rows, columns) of the map of a `height` x `width` image."""
        ...

    def flops(self, height: int, width: int, *, of_map: bool = False) -> int:
        """Return 2 x the multiply-adds of the features (or the map) of one `height` x `width` image."""
        ...

    def digest(self) -> str:
        """Return a short hash of all that features and maps depend on besides the image."""
        ...


class Library(NamedTuple):
    """What builds backbones by name: one line of `backbone.LIBRARIES`."""

    # From a model's name, its weights and the device.
    build: Callable[[str, str | Path | None, torch.device | str], FeatureExtractor]
    # The file that holds the weights of a model; None = the library's own download.
    find_weights: Callable[[str, str | Path], Path | None]
