"""A location head on a map of the first view, after FCAN's localiser (Liu et al. 2016, section 4)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 32
MARK_SIGMA = 1.5  # standard deviation of the mark that a glimpse leaves, in pixels of the view
FEATURE_MARK_SIGMA = 1.0  # in cells of a feature map, which are larger

Marks = Float[Tensor, "env cell"]
Locations = Float[Tensor, "env 2"]


class MapLocator(nn.Module):
    """Score every cell of the first view, and propose the next location from the scores.

    The view is the first glimpse's pixels, or the backbone's feature map of it. The score map is FCAN's
    localiser (two 3 x 3 convolutions) on the view, which is the context of all later glimpses (as in Ba et
    al. 2014). A pattern that is learned in one corner is recognised in all of them. A second input marks the
    cells where glimpses were taken.

    `forward` proposes the mean location under the scores' spatial softmax, for the Gaussian policy;
    `score_locations` returns the scores at given locations, for a policy that chooses among these.
    """

    centres: Tensor

    def __init__(self, channels: int, side: int, reach: float, marked: float = MARK_SIGMA) -> None:
        """Build the convolutions.

        For views of `side` x `side` cells whose location +-1 is at +-`reach`; `marked`: the marks' standard
        deviation in cells.
        """
        super().__init__()
        self.shape, self.reach, self.width = (channels + 1, side, side), reach, marked * 2 / side
        first, last = nn.Conv2d(channels + 1, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, 1, 3, padding=1)
        self.sizes = channels * side**2, side**2  # values of a view, and cells
        self.scores = nn.Sequential(first, nn.ReLU(), last)
        axis = (torch.arange(side) + 0.5) * (2 / side) - 1
        self.register_buffer("centres", torch.cartesian_prod(axis, axis).flip(1), persistent=False)

    def score(self, view: Float[Tensor, "env value"], visited: Marks) -> Float[Tensor, "env 1 row column"]:
        """Return the score map."""
        return self.scores(torch.cat((view, visited), 1).unflatten(1, self.shape))

    def forward(self, view: Float[Tensor, "env value"], visited: Marks) -> Locations:
        """Return the next location; it may lie beyond +-1 where the view reaches farther than glimpses do."""
        share = self.score(view, visited).flatten(1).float().softmax(1)
        # A sum and not a product of matrices, which autocast would compute in half precision.
        return (share[:, :, None] * self.centres).sum(1) / self.reach

    def score_locations(
        self, view: Float[Tensor, "env value"], visited: Marks, locations: Float[Tensor, "location 2"]
    ) -> Float[Tensor, "env location"]:
        """Return the scores at `locations`, between cells by linear interpolation."""
        scores = self.score(view, visited).float()
        points = (locations * self.reach).expand(scores.shape[0], 1, -1, -1)
        return F.grid_sample(scores, points, padding_mode="border", align_corners=False)[:, 0, 0]

    def mark(self, location: Locations) -> Marks:
        """Return the mark of a glimpse at `location` on the cells: 1 at its centre, less around it."""
        distance = (self.centres - (location * self.reach)[:, None]).square().sum(2)
        return (-0.5 * distance / self.width**2).exp()


class MapEncoder(nn.Module):
    """A backbone's feature map of a view in fewer channels: a linear layer for every cell, and ReLU.

    Maps are divided by the root of their mean square, so that the scale of a backbone's features does not
    count; strong and weak cells remain so.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        """Build the layer for maps of `channels` channels; `dropout`: share of these left out in training."""
        super().__init__()
        self.dropout, self.project = nn.Dropout2d(dropout), nn.Linear(channels, CHANNELS)

    def forward(self, maps: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image value"]:
        """Return the encoded maps, flat."""
        size = maps[0].numel() ** 0.5
        scale = size / torch.linalg.vector_norm(maps, dim=(1, 2, 3)).clamp(min=1e-6)
        # Scaled after the product, which is linear: the maps are large.
        cells = self.project.weight @ self.dropout(maps).flatten(2) * scale[:, None, None]
        return (cells + self.project.bias[:, None]).relu().flatten(1)
