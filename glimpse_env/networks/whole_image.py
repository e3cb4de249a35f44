"""Networks that see the whole image at once, without recurrence (baselines of Mnih et al. 2014, Table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from glimpse_env.networks.base import NEVER, Agent, Heads
from glimpse_env.networks.glimpse_encoders import relu_layers


@dataclass(frozen=True)
class WholeImageArchitecture:
    """Sizes; saved with the weights."""

    glimpse: int  # values of the image
    classes: int
    shape: tuple[int, int, int]  # of the image: channels, height, width
    widths: tuple[int, ...] = (256, 256)  # units of the fully connected hidden layers
    channels: tuple[int, ...] = ()  # of the convolutions before them
    kernel: int = 5
    stride: int = 2
    dropout: float = 0.0  # before every fully connected layer
    horizon: int = 1


class Nothing(NamedTuple):
    """The memory of a network that sees one view."""


class WholeImage(Agent):
    """Convolutions, if any, fully connected layers, class scores; a ReLU after every hidden layer."""

    def __init__(self, architecture: WholeImageArchitecture) -> None:
        """Build the layers.

        Raises:
            ValueError: The image is smaller than a convolution's kernel.
        """
        super().__init__()
        self.architecture = a = architecture
        counts = (a.shape[0], *a.channels)
        pairs = [(nn.Conv2d(*pair, a.kernel, a.stride), nn.ReLU()) for pair in pairwise(counts)]
        self.convolutions = nn.Sequential(*(module for pair in pairs for module in pair))
        side = min(a.shape[1:])
        for _ in a.channels:
            if side < a.kernel:
                layers = f"{len(a.channels)} convolutions with --kernel {a.kernel} --stride {a.stride}"
                raise ValueError(f"{layers} do not fit an image of {min(a.shape[1:])} pixels a side")
            side = (side - a.kernel) // a.stride + 1
        with torch.no_grad():
            values = self.convolutions(torch.zeros(1, *a.shape)).numel()
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Dropout(a.dropout), relu_layers(*pair))
                for pair in pairwise((values, *a.widths))
            )
        )
        self.classifier = nn.Sequential(nn.Dropout(a.dropout), nn.Linear((values, *a.widths)[-1], a.classes))

    def begin(self, rows: int) -> Nothing:
        """Return an empty memory."""
        del rows
        return Nothing()

    def forward(self, observation: dict[str, Tensor], state: Nothing) -> tuple[Heads, Nothing]:
        """Classify the first view, of values in [0, 1]; there is no next location and no stop to learn."""
        image = observation["glimpse"]
        logits = self.classifier(self.hidden(self.convolutions(image).flatten(1))).float()
        none = logits.new_zeros(logits.shape[0])
        return Heads(logits, none[:, None].expand(-1, 2), none + NEVER, none), state
