"""FCAN's network (Liu et al. 2016): positions of parts on a feature map, their localisers and classifiers.

Sections are those of arXiv 1603.06765 in its versions of 2016 (1 and 2, "Fully Convolutional Attention
Localization Networks"); the last version (4, 2017) has another title and a fourth data set.

A part is a window of whole cells; the positions that it may take on the map are numbered row by row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from glimpse_env import checks
from glimpse_env.networks.base import NEVER, Agent, Heads
from glimpse_env.networks.location_policy import Multinomial, Random, Samples

Maps = Float[Tensor, "image channel rows columns"]
PositionValues = Float[Tensor, "image position"]
Regions = Float[Tensor, "*batch step channel"]
Positions = Int64[Tensor, "*batch"]


def check(parts: tuple[int, ...], side: int, what: str) -> None:
    """Raise a ValueError unless there are parts, each of 1 to `side` cells a side; `what` names the map."""
    if not parts:
        raise ValueError("--parts: expected at least one side in cells, such as --parts 8 4")
    for part in parts:
        checks.count("--parts", part)
        if part > side:
            given = " ".join(map(str, parts))
            cells = f"{what} has {side} x {side} cells; expected sides of 1 to {side} cells"
            raise ValueError(f"--parts {given}: {cells}")


def places(side: int, part: int) -> int:
    """Return the number of positions of a part of `part` x `part` cells."""
    return (side - part + 1) ** 2


def reach(side: int, parts: tuple[int, ...]) -> float:
    """Return where location +-1 lies in the image: the smallest part stays inside (as in the sensors)."""
    return max(0.0, 1 - min(parts) / side)


def corners(position: Positions, side: int, part: int) -> tuple[Positions, Positions]:
    """Return the top and the left cell of positions."""
    across = side - part + 1
    return position // across, position % across


def centres(position: Positions, side: int, part: int) -> Float[Tensor, "*batch 2"]:
    """Return the centres (x, y) of positions in the image's own [-1, 1]."""
    top, left = corners(position, side, part)
    return (2 * torch.stack((left, top), -1) + part) / side - 1


def locations(position: Positions, side: int, part: int, far: float) -> Float[Tensor, "*batch 2"]:
    """Return positions as the environment's locations, +-1 being +-`far` in the image; 0 where `far` is 0."""
    centre = centres(position, side, part)
    return centre / far if far else torch.zeros_like(centre)


def middle(side: int, part: int) -> int:
    """Return the position at the centre of the map, or the one above and left of it."""
    corner = (side - part) // 2
    return corner * (side - part + 1) + corner


def select_scores(scores: Float[Tensor, "image rows columns"], part: int) -> PositionValues:
    """Return the positions' scores: those of the cells in the (lower right) middle of each window."""
    before, across = part // 2, scores.shape[-1] - part + 1
    return scores[:, before : before + across, before : before + across].flatten(1)


def spread(shares: PositionValues, side: int, part: int) -> Float[Tensor, "image 1 rows columns"]:
    """Return an attention map of mean 1 over the positions: the inverse of `select_scores`, 0 elsewhere."""
    before, across = part // 2, side - part + 1
    after = side - across - before
    return F.pad(shares.view(-1, 1, across, across) * across**2, (before, after, before, after))


def windows(side: int, part: int, device: torch.device) -> Float[Tensor, "position cell"]:
    """Return the weights of the map's cells in the mean over the part at every position."""
    top, left = corners(torch.arange(places(side, part), device=device), side, part)
    line = torch.arange(side, device=device)
    inside = [(line >= start[:, None]) & (line < start[:, None] + part) for start in (top, left)]
    return (inside[0][:, :, None] & inside[1][:, None]).flatten(1) / part**2


def pool(maps: Maps, position: Samples, part: int) -> Float[Tensor, "env sample channel"]:
    """Return the mean of the map over the part at each position, as the map sensor's RoIAlign computes it."""
    weights = windows(maps.shape[-1], part, maps.device).index_select(0, position.flatten())
    # A product of matrices: faster than pooling every position and choosing.
    return weights.view(*position.shape, -1) @ maps.flatten(2).transpose(1, 2)


Where = Literal["learned", "random", "center"]


@dataclass(frozen=True)
class PartPolicy(Multinomial):
    """The multinomial of a part's score map: a cell is a position of the part (or random, or the centre)."""

    where: Where
    side: int  # cells a side of the map
    part: int  # of the part
    far: float  # where location +-1 lies (see `reach`)

    def sample(
        self, parameters: Tensor, generator: Random = None, index: int = 0, samples: int = 1
    ) -> Samples:
        """Draw `samples` positions in every row; random ones lie on the generator's device."""
        shape = (len(parameters), samples)
        if self.where == "center":
            return torch.full(shape, middle(self.side, self.part), device=parameters.device)
        if self.where == "random":
            device = parameters.device if generator is None else generator.device
            return torch.randint(places(self.side, self.part), shape, generator=generator, device=device)
        return super().sample(parameters, generator, index, samples)

    def locate(self, action: Positions) -> Float[Tensor, "*batch 2"]:
        """Return the environment's locations of positions."""
        return locations(action, self.side, self.part, self.far)


CHANNELS = 64  # of a localiser's hidden layer
TINY = 1e-30


@dataclass(frozen=True)
class FcanArchitecture:
    """Sizes and variants; saved with the weights, so that a checkpoint rebuilds its network."""

    glimpse: int  # values of one glimpse: the map's channels for every part
    classes: int
    channels: int  # of the feature map
    side: int  # cells a side of the feature map
    parts: tuple[int, ...]  # cells a side of each part, in the order of the glimpses
    see_earlier_maps: bool = False  # a localiser also reads the attention maps of the parts before
    where: Where = "learned"  # how positions are chosen; random and center to compare with
    learned_start: bool = False  # glimpse 1 is the whole image


class Memory(NamedTuple):
    """What the network carries from glimpse to glimpse."""

    locations: Float[Tensor, "env part 2"]  # of all parts, from the map of glimpse 1
    features: Float[Tensor, "env step channel"]  # standardised, of the whole image and the parts so far
    total: Float[Tensor, "env class"]  # sum of the probabilities so far


class FullyConvolutionalAttention(Agent):
    """Score the positions of every part on the feature map; classify regions by features pooled from it.

    Glimpse 1 is the whole image, glimpse t + 1 is part t at the best position of its score map. The
    classifier of a step is linear on the features of its own region and of all regions before it: so it "sees
    the earlier attention maps" through the positions that they chose (this project's reading of section 4,
    which leaves the form open). The prediction is the mean of the probabilities of all steps so far. Features
    are standardised by `centre` and `deviation`: the training images' (the paper does not mention it), or 0
    and 1.
    """

    centre: Tensor
    deviation: Tensor

    def __init__(self, architecture: FcanArchitecture) -> None:
        """Build the heads. Score maps are flat at first, so that all positions are tried."""
        super().__init__()
        self.architecture = a = architecture
        self.horizon = len(a.parts) + 1
        self.policies = [PartPolicy(a.where, a.side, part, reach(a.side, a.parts)) for part in a.parts]
        inputs = [a.channels + (part if a.see_earlier_maps else 0) for part in range(len(a.parts))]
        self.localisers = nn.ModuleList(localiser(channels) for channels in inputs)
        widths = [a.channels * (step + 1) for step in range(self.horizon)]
        self.classifiers = nn.ModuleList(nn.Linear(width, a.classes) for width in widths)
        for classifier in self.classifiers:
            nn.init.zeros_(classifier.get_parameter("weight"))
        self.register_buffer("centre", torch.zeros(a.channels))
        self.register_buffer("deviation", torch.ones(a.channels))

    def begin(self, rows: int) -> Memory:
        """Return an empty memory."""
        a, new = self.architecture, self.centre.new_zeros
        return Memory(new(rows, len(a.parts), 2), new(rows, self.horizon, a.channels), new(rows, a.classes))

    def standardise(self, maps: Maps) -> Maps:
        """Return features of mean 0 and deviation 1 over the training images, in one pass over the maps."""
        scale = 1 / self.deviation
        return torch.addcmul(-(self.centre * scale)[:, None, None], maps, scale[:, None, None])

    def attend(self, features: Maps) -> list[PositionValues]:
        """Return the log-probabilities of every part's positions, from a standardised map.

        A part is rewarded by its own step alone, so earlier maps reach later localisers without gradient.
        """
        a = self.architecture
        log_probs, earlier = [], []
        for part, head in zip(a.parts, self.localisers, strict=True):
            scores = head(torch.cat((features, *earlier), 1) if earlier else features).squeeze(1)
            log_probs.append(select_scores(scores.float(), part).log_softmax(1))
            if a.see_earlier_maps:
                earlier.append(spread(log_probs[-1].detach().exp(), a.side, part))
        return log_probs

    def flat(self, images: int) -> list[PositionValues]:
        """Return the log-probabilities of equally probable positions, without a convolution."""
        counts = [places(self.architecture.side, part) for part in self.architecture.parts]
        return [self.centre.new_full((images, count), -math.log(count)) for count in counts]

    def best(self, maps: Maps) -> Int64[Tensor, "image part"]:
        """Return the position of each part: the argmax of its score map, or one that was not learned.

        Random positions are the same in every call: those of the first images of a fixed sequence.
        """
        if self.architecture.where == "learned":
            pairs = zip(self.policies, self.attend(self.standardise(maps)), strict=True)
            return torch.stack([policy.mode(log_prob) for policy, log_prob in pairs], 1)
        generator = torch.Generator().manual_seed(0)
        pairs = zip(self.policies, self.flat(len(maps)), strict=True)
        drawn = [policy.sample(log_prob, generator) for policy, log_prob in pairs]
        return torch.cat(drawn, 1).to(maps.device)

    def propose(self, maps: Maps) -> Float[Tensor, "image part 2"]:
        """Return the environment's locations of the parts' positions."""
        pairs = zip(self.policies, self.best(maps).unbind(1), strict=True)
        return torch.stack([policy.locate(position) for policy, position in pairs], 1)

    def scores(self, step: int, regions: Regions) -> Float[Tensor, "*batch class"]:
        """Return a step's class scores (step 0: the whole image) from the features of the regions so far."""
        return self.classifiers[step](regions[..., : step + 1, :].flatten(-2)).float()

    def forward(self, observation: dict[str, Tensor], state: Memory) -> tuple[Heads, Memory]:
        """Process one glimpse: its own part's features out of those of all window sizes."""
        a = self.architecture
        step = (observation["step"] * self.horizon).round().long()[:, :, None] - 1
        first = step[:, 0] == 0
        views = observation["glimpse"].view(-1, len(a.parts), a.channels)
        own = (views.take_along_dim((step - 1).clamp(min=0), 1) - self.centre) / self.deviation
        features = state.features.masked_fill(step == 0, 0.0).scatter(1, step.expand_as(own), own)
        every = torch.stack([self.scores(t, features).softmax(1) for t in range(self.horizon)], 1)
        total = state.total.masked_fill(first, 0.0) + every.take_along_dim(step, 1)[:, 0]
        found = state.locations
        if first.any():  # rows of a rollout go in step, so the map is scored once an episode
            found = torch.where(step == 0, self.propose(observation["map"]), found)
        ahead = F.pad(found, (0, 0, 0, 1)).take_along_dim(step, 1)[:, 0]
        logits = (total / (step[:, 0] + 1)).clamp_min(TINY).log()
        zeros = torch.zeros_like(logits[:, 0])
        return Heads(logits, ahead, zeros + NEVER, zeros), Memory(found, features, total)


def localiser(channels: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions, to 64 channels and to one score a cell."""
    last = nn.Conv2d(CHANNELS, 1, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.get_parameter("bias"))
    return nn.Sequential(nn.Conv2d(channels, CHANNELS, 3, padding=1), nn.ReLU(), last)
