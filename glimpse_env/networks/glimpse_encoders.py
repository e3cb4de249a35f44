"""Encoders of what a glimpse shows, before it is fused with the location (see `recurrent_attention`)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

CELLS = 3  # a side, in which Templates keeps its maxima apart
GAIN = 4.0  # by which Templates multiplies pixels in [0, 1], so that their variance is about 1

Features = Float[Tensor, "env feature"]


def relu_layers(*widths: int) -> nn.Sequential:
    """Return fully connected layers from each width to the next, each followed by a ReLU."""
    layers = [(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(widths)]
    return nn.Sequential(*(module for layer in layers for module in layer))


class Convolutions(nn.Module):
    """Features of a large glimpse: what it shows anywhere, and roughly where.

    Half of the features are the maxima of two convolutions over the whole glimpse, which recognise a pattern
    at any position; the other half are fully connected layers, which keep the positions.
    """

    def __init__(self, glimpse: int, channels: int, features: int, layers: int) -> None:
        """Build both halves, for glimpses of `glimpse` values; `layers`: of the fully connected half."""
        super().__init__()
        side, half = math.isqrt(glimpse // channels), features // 2
        if layers < 1:
            raise ValueError(f"--encoder-layers {layers}: --glimpse-encoder conv needs at least 1")
        if side < 12:
            needed = "--glimpse-encoder conv needs glimpses of at least 12 x 12 pixels"
            raise ValueError(f"{needed}, got {side} x {side}: use --glimpse-encoder mlp")
        self.patterns = nn.Sequential(
            nn.Unflatten(1, (channels, side, side)),
            *(nn.Conv2d(channels, 32, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(32, half, 5, padding=1), nn.ReLU()),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        )
        self.places = relu_layers(glimpse, *[features - half] * layers)

    def forward(self, glimpse: Float[Tensor, "env value"]) -> Features:
        """Return the features."""
        return torch.cat((self.patterns(glimpse), self.places(glimpse)), 1)


class Templates(nn.Module):
    """Features of a retina's glimpse: which patterns of a known size it shows, and about where.

    Each window of the glimpse is compared with templates of its own (one convolution) at every position; what
    is kept are the maxima over the window, which recognise a pattern wherever it lies, and those in 3 x 3
    cells. Layers follow on both. A pattern is recognised after far fewer images than by `Convolutions`, whose
    kernels are smaller than it, at less cost.
    """

    def __init__(
        self, glimpse: int, channels: int, sides: tuple[int, ...], features: int, layers: int
    ) -> None:
        """Build the templates; `sides`: their side in each window, in the glimpse's pixels, finest first.

        `channels`: of all windows together; `layers`: ReLU layers after the maxima.
        """
        super().__init__()
        side, count = math.isqrt(glimpse // channels), features // 4
        if layers < 1:
            raise ValueError(f"--encoder-layers {layers}: --glimpse-encoder templates needs at least 1")
        if side < CELLS + 1:
            needed = f"needs glimpses of at least {CELLS + 1} x {CELLS + 1} pixels, got {side} x {side}"
            raise ValueError(f"--glimpse-encoder templates {needed}: use --glimpse-encoder mlp")
        if min(sides) < 2 or max(sides) > side - CELLS + 1:
            shown = f"{', '.join(map(str, sides))} pixels of the glimpse's windows, of {side} each"
            raise ValueError(f"--template covers {shown}: use one that covers 2 to {side - CELLS + 1}")
        own = channels // len(sides)
        self.split = nn.Unflatten(1, (channels, side, side))
        self.sides = sides
        self.templates = nn.ModuleList(nn.Linear(own * size**2, count) for size in sides)
        self.cells = nn.AdaptiveMaxPool2d(CELLS)
        kept, half = count * len(sides), features // 2
        self.patterns = relu_layers(kept, *[half] * layers)
        self.places = relu_layers(kept * CELLS**2, *[features - half] * layers)

    def forward(self, glimpse: Float[Tensor, "env value"]) -> Features:
        """Return the features."""
        windows = self.split(glimpse)
        windows = GAIN * (windows - windows.mean((2, 3), keepdim=True))
        windows = windows.chunk(len(self.templates), 1)
        parts = zip(windows, self.templates, self.sides, strict=True)
        cells = torch.cat([self.cells(compare(*part)) for part in parts], 1).relu().flatten(2)
        return torch.cat((self.patterns(cells.amax(2)), self.places(cells.flatten(1))), 1)


def compare(
    window: Float[Tensor, "env channel row column"], templates: nn.Module, side: int
) -> Float[Tensor, "env template down right"]:
    """Return the convolution of a window with templates.

    `templates` is their linear layer. A product of matrices and a channels-last result: on a CPU the
    convolution and the maxima after it are slower, since there are few channels.
    """
    patches = window.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5)
    return templates(patches.flatten(3)).permute(0, 3, 1, 2)
