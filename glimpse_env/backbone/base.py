"""What sensors require of a frozen network, and what a library must provide to build one by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glimpse_env import retina
from glimpse_env.runtime.precision import Precision

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's colours, as most weights expect
DEVIATION = (0.229, 0.224, 0.225)

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


class Preprocessing(NamedTuple):
    """What a network expects of the images that it is given."""

    mean: tuple[float, ...] = MEAN  # of each channel, from which it is subtracted
    deviation: tuple[float, ...] = DEVIATION  # of each channel, which is then divided by it
    size: tuple[int, int] | None = None  # (height, width) of the only images that it takes; None = any

    def resize(
        self, pixels: Float[Tensor, "image channel height width"]
    ) -> Float[Tensor, "image channel rows columns"]:
        """Return images at the size that the network takes (bilinear, antialiased)."""
        if self.size is None or tuple(pixels.shape[2:]) == self.size:
            return pixels
        return retina.resize(pixels, self.size)


class Classifier(NamedTuple):
    """A classifier to be trained."""

    network: nn.Module  # from normalised images to class scores
    head: tuple[str, ...]  # names of its final layers, which give the scores
    preprocessing: Preprocessing = Preprocessing()


class Library(NamedTuple):
    """What builds networks by name: one line of `backbone.LIBRARIES`."""

    # A frozen network, from a model's name, its weights, the device, and the type of its numbers.
    build: Callable[[str, str | Path | None, torch.device | str, Precision], FeatureExtractor]
    # The file that holds the weights of a model; None = the library's own download.
    find_weights: Callable[[str, str | Path], Path | None]
    # A classifier with these weights and new final layers, from a model's name, its weights, the number of
    # classes (0 = the final layers are left out), and whether to warn of random weights.
    build_classifier: Callable[[str, str | Path | None, int, bool], Classifier]
