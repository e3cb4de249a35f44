"""Encoders of what a glimpse shows, before it is fused with the location (see `recurrent_attention`)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
