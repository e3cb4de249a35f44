"""A location head on the pixels of the first view, after FCAN's localiser (Liu et al. 2016, section 4)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

CHANNELS = 32
MARK_SIGMA = 1.5  # standard deviation of the mark that a glimpse leaves, in cells of the view

Marks = Float[Tensor, "env cell"]
Locations = Float[Tensor, "env 2"]


class MapLocator(nn.Module):
    """Score every cell of the first view and propose the mean location under the scores' softmax.

    The score map is FCAN's localiser (two 3 x 3 convolutions, a spatial softmax) on the pixels of the first
    view, which is the context of all later glimpses (as in Ba et al. 2014). Deviations: the proposal is the
    softmax's mean, for the Gaussian policy, and a second input marks the cells where glimpses were taken. A
    pattern that is learned in one corner is recognised in all of them.
    """

    centres: Tensor

    def __init__(self, channels: int, side: int, reach: float) -> None:
        """Build the convolutions, for views of `side` x `side` pixels whose location +-1 is at +-`reach`."""
        super().__init__()
        self.shape, self.reach = (channels + 1, side, side), reach
        first, last = nn.Conv2d(channels + 1, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, 1, 3, padding=1)
        self.scores = nn.Sequential(first, nn.ReLU(), last)
        axis = (torch.arange(side) + 0.5) * (2 / side) - 1
        self.register_buffer("centres", torch.cartesian_prod(axis, axis).flip(1), persistent=False)

    def forward(self, view: Float[Tensor, "env value"], visited: Marks) -> Locations:
        """Return the next location; it may lie beyond +-1 where the view reaches farther than glimpses do."""
        cells = torch.cat((view, visited), 1).unflatten(1, self.shape)
        share = self.scores(cells).flatten(1).float().softmax(1)
        # A sum and not a product of matrices, which autocast would compute in half precision.
        return (share[:, :, None] * self.centres).sum(1) / self.reach

    def mark(self, location: Locations) -> Marks:
        """Return the mark of a glimpse at `location` on the cells: 1 at its centre, less around it."""
        width = MARK_SIGMA * 2 / math.isqrt(len(self.centres))
        distance = (self.centres - (location * self.reach)[:, None]).square().sum(2)
        return (-0.5 * distance / width**2).exp()
