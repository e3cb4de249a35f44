"""The glimpse network: what was seen and where, fused into one vector."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env.learning.architecture import Architecture

FREQUENCIES = 4  # octaves of the Fourier features of a location


class GlimpseNetwork(nn.Module):
    """Fuse what was seen and where.

    where="linear" is Mnih et al. 2014 as in DT-RAM's code: ReLU layers on pixels and on (x, y), concatenated, ReLU. where="fourier"
    gates the pixel features by a linear map of the location's Fourier features (the product of what and where, after Larochelle & Hinton
    2010), which learns to place what it sees in far fewer updates. `depth` ReLU layers look at the pixels (the papers: one).
    """

    octaves: Tensor

    def __init__(self, a: Architecture) -> None:
        """Build the two branches and the fusing layer."""
        super().__init__()
        self.where = a.where
        self.dropout = nn.Dropout(a.dropout)
        self.what = Convolutions(a) if a.what == "conv" else layers(a)
        self.place = nn.Linear(2 if a.where == "linear" else 2 + 4 * FREQUENCIES, a.features)
        self.fuse = nn.Linear(2 * a.features if a.where == "linear" else a.features, a.hidden)
        self.register_buffer("octaves", math.pi / 2 * 2.0 ** torch.arange(FREQUENCIES), persistent=False)

    def forward(self, seen: Float[Tensor, "env feature"], location: Float[Tensor, "env 2"]) -> Float[Tensor, "env width"]:
        """Return the feature vector of what was seen (by `what`) and where."""
        if self.where == "linear":
            return self.dropout(self.fuse(torch.cat((seen, self.place(location).relu()), 1)).relu())
        waves = (location[:, :, None] * self.octaves).flatten(1)
        return self.dropout(self.fuse(seen * self.place(torch.cat((location, waves.sin(), waves.cos()), 1))).relu())


def layers(a: Architecture) -> nn.Sequential:
    """Return `depth` fully connected ReLU layers from the glimpse's values to features."""
    sizes = [a.glimpse] + [a.features] * a.depth
    return nn.Sequential(*(layer for size in sizes[:-1] for layer in (nn.Linear(size, a.features), nn.ReLU())))


class Convolutions(nn.Module):
    """See a pattern wherever it lies in the glimpse, and roughly where things are.

    Half of the features are the maxima of two convolutions over the whole glimpse, so that a pattern found at one place is known at
    all; the other half are fully connected layers, which keep the places that the maxima forget.
    """

    def __init__(self, a: Architecture) -> None:
        """Build both halves."""
        super().__init__()
        side, half = math.isqrt(a.glimpse // a.channels), a.features // 2
        if side < 12:
            raise ValueError(f"what='conv' needs glimpses of at least 12 x 12 pixels, got {side} x {side}: use what='mlp'")
        self.patterns = nn.Sequential(
            nn.Unflatten(1, (a.channels, side, side)),
            *(nn.Conv2d(a.channels, 32, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(32, half, 5, padding=1), nn.ReLU()),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        )
        self.places = layers(replace(a, features=a.features - half))

    def forward(self, glimpse: Float[Tensor, "env value"]) -> Float[Tensor, "env feature"]:
        """Return the features."""
        return torch.cat((self.patterns(glimpse), self.places(glimpse)), 1)
