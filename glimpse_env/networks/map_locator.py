"""A location head that reads the pixels of the first view, after FCAN's localiser (Liu et al. 2016, section 3.2)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

CHANNELS = 32
MARK_SIGMA = 1.5  # standard deviation of the mark that a glimpse leaves, in cells of the view


class MapLocator(nn.Module):
    """Score every cell of the first view and propose the mean location under the scores' softmax.

    The score map is FCAN's localiser (two 3 x 3 convolutions, a spatial softmax) on the pixels of the first view, which is the context of
    all later glimpses (as in Ba et al. 2014). Deviations: the proposal is the softmax's mean, for the Gaussian policy, and a second input
    marks the cells where glimpses were taken. A pattern that is learned in one corner is known in all of them.
    """

    centres: Tensor

    def __init__(self, channels: int, side: int, reach: float) -> None:
        """Build the two convolutions.

        Args:
            channels: Of the first view.
            side: Its height and width.
            reach: Where location +-1 lies in the image (`Sensor.reach`).
        """
        super().__init__()
        self.shape, self.reach = (channels, side, side), reach
        self.scores = nn.Sequential(
            nn.Conv2d(channels + 1, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, 1, 3, padding=1)
        )
        axis = (torch.arange(side) + 0.5) * (2 / side) - 1
        self.register_buffer(
            "centres",
            torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1),
            persistent=False,
        )

    def forward(
        self, view: Float[Tensor, "env value"], visited: Float[Tensor, "env cell"]
    ) -> Float[Tensor, "env 2"]:
        """Return the next location; it may lie beyond +-1 where the view reaches farther than glimpses do."""
        channels, height, width = self.shape
        cells = torch.cat((view, visited), 1).view(-1, channels + 1, height, width)
        share = self.scores(cells).flatten(1).float().softmax(1)
        return (share[:, :, None] * self.centres).sum(
            1
        ) / self.reach  # a sum, which autocast leaves in single precision

    def mark(self, location: Float[Tensor, "env 2"]) -> Float[Tensor, "env cell"]:
        """Return the mark that a glimpse at `location` leaves on the cells: 1 at its centre, less around it."""
        width = MARK_SIGMA * 2 / math.isqrt(len(self.centres))
        distance = (self.centres - (location * self.reach)[:, None]).square().sum(2)
        return (-0.5 * distance / width**2).exp()
