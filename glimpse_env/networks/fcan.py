"""FCAN's network (Liu et al. 2016): where parts may lie on a feature map, their location policies, localisers and classifiers.

A part is a window of whole cells; the places where it may lie are numbered row by row.
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
from glimpse_env.networks.base import Agent, Heads
from glimpse_env.networks.location_policy import Multinomial


def check(parts: tuple[int, ...], side: int, what: str) -> None:
    """Refuse parts that do not fit a map of `side` x `side` cells.

    Raises:
        ValueError: There are none, or one of them is smaller than a cell or larger than the map.
    """
    if not parts:
        raise ValueError("--parts: expected at least one side in cells, such as --parts 8 4")
    for part in parts:
        checks.count("--parts", part)
        if part > side:
            raise ValueError(
                f"--parts {' '.join(map(str, parts))}: {what} has {side} x {side} cells; expected sides of 1 to {side} cells"
            )


def places(side: int, part: int) -> int:
    """Return the number of places of a part of `part` x `part` cells."""
    return (side - part + 1) ** 2


def reach(side: int, parts: tuple[int, ...]) -> float:
    """Return where location +-1 lies in the image: the smallest part stays inside (as the sensors have it)."""
    return max(0.0, 1 - min(parts) / side)


def corners(
    place: Int64[Tensor, "*batch"], side: int, part: int
) -> tuple[Int64[Tensor, "*batch"], Int64[Tensor, "*batch"]]:
    """Return the top and the left cell of places."""
    across = side - part + 1
    return place // across, place % across


def centres(place: Int64[Tensor, "*batch"], side: int, part: int) -> Float[Tensor, "*batch 2"]:
    """Return the centres (x, y) of places in the image's own [-1, 1]."""
    top, left = corners(place, side, part)
    return (2 * torch.stack((left, top), -1) + part) / side - 1


def locations(place: Int64[Tensor, "*batch"], side: int, part: int, far: float) -> Float[Tensor, "*batch 2"]:
    """Return places as the environment's locations, of which +-1 lie at +-`far`; nothing can be chosen where `far` is 0."""
    found = centres(place, side, part)
    return found / far if far else torch.zeros_like(found)


def middle(side: int, part: int) -> int:
    """Return the place at the centre of the map, or the one above and left of it."""
    corner = (side - part) // 2
    return corner * (side - part + 1) + corner


def select_scores(scores: Float[Tensor, "image rows columns"], part: int) -> Float[Tensor, "image place"]:
    """Return the scores of the places: those of the cells that are the (lower right) middle of a window inside the map."""
    before, across = part // 2, scores.shape[-1] - part + 1
    return scores[:, before : before + across, before : before + across].flatten(1)


def spread(
    shares: Float[Tensor, "image place"], side: int, part: int
) -> Float[Tensor, "image 1 rows columns"]:
    """Return an attention map on the cells of the feature map, of mean 1 over the places (the inverse of `select_scores`, 0 elsewhere)."""
    before, across = part // 2, side - part + 1
    after = side - across - before
    return F.pad(shares.view(-1, 1, across, across) * across**2, (before, after, before, after))


def windows(side: int, part: int, device: torch.device) -> Float[Tensor, "place cell"]:
    """Return the weights of the map's cells in the mean over the part at every place."""
    top, left = corners(torch.arange(places(side, part), device=device), side, part)
    line = torch.arange(side, device=device)
    inside = [(line >= first[:, None]) & (line < first[:, None] + part) for first in (top, left)]
    return (inside[0][:, :, None] & inside[1][:, None]).flatten(1) / part**2


def pool(
    maps: Float[Tensor, "image channel rows columns"], place: Int64[Tensor, "image sample"], part: int
) -> Float[Tensor, "image sample channel"]:
    """Return the mean of the map over the part at each place, as the map sensor's RoIAlign computes it."""
    weights = windows(maps.shape[-1], part, maps.device).index_select(0, place.flatten())
    return weights.view(*place.shape, -1) @ maps.flatten(2).transpose(
        1, 2
    )  # a product: faster than pooling every place and choosing


Where = Literal["learned", "random", "center"]


@dataclass(frozen=True)
class PartPolicy(Multinomial):
    """The multinomial of a part's score map: a cell is a place of the part."""

    side: int  # cells a side of the map
    part: int  # of the part
    far: float  # where location +-1 lies (see `reach`)

    def locate(self, action: Int64[Tensor, "*batch"]) -> Float[Tensor, "*batch 2"]:
        """Return the environment's locations of places."""
        return locations(action, self.side, self.part, self.far)


class RandomPart(PartPolicy):
    """Uniformly random places."""

    def sample(
        self, parameters: Tensor, generator: torch.Generator | None = None, index: int = 0, samples: int = 1
    ) -> Int64[Tensor, "env sample"]:
        """Draw `samples` places in every row, on the generator's device."""
        device = parameters.device if generator is None else generator.device
        return torch.randint(
            places(self.side, self.part), (len(parameters), samples), generator=generator, device=device
        )


class CentralPart(PartPolicy):
    """Always the place at the centre."""

    def sample(
        self, parameters: Tensor, generator: torch.Generator | None = None, index: int = 0, samples: int = 1
    ) -> Int64[Tensor, "env sample"]:
        """Return the place, `samples` times in every row."""
        return torch.full((len(parameters), samples), middle(self.side, self.part), device=parameters.device)


POLICIES: dict[Where, type[PartPolicy]] = {"learned": PartPolicy, "random": RandomPart, "center": CentralPart}
CHANNELS = 64  # of a localiser's hidden layer (FCAN, section 3.2)
NEVER = -10.0  # log-odds of stopping: the number of glimpses is fixed
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
    where: Where = "learned"  # how places are chosen; random and center to compare with
    learned_start: bool = False  # glimpse 1 is the whole image


class Memory(NamedTuple):
    """What the network carries from glimpse to glimpse."""

    places: Float[Tensor, "env part 2"]  # locations of all parts, found on the map of glimpse 1
    seen: Float[
        Tensor, "env step channel"
    ]  # standardised features of the whole image and of the parts so far; 0 for those to come
    total: Float[Tensor, "env class"]  # sum of the probabilities so far


class FullyConvolutionalAttention(Agent):
    """Score every place of every part on the feature map; classify the whole and each part from features pooled from the same map.

    Glimpse 1 is the whole image, glimpse t + 1 is part t at the best place of its score map. The classifier of a step is linear on the
    features of its own region and of all regions before it: so it "sees the earlier attention maps" through the places that they chose
    (this project's reading of section 4, which leaves the form open). The prediction is the mean of the probabilities of all steps so far
    (section 3.4). Features are standardised by the training images' means and deviations, which the paper does not mention.
    """

    centre: Tensor
    deviation: Tensor

    def __init__(self, architecture: FcanArchitecture) -> None:
        """Build the heads. Score maps are flat at first, so that all places are tried."""
        super().__init__()
        self.architecture = a = architecture
        self.horizon = len(a.parts) + 1
        self.policies = [POLICIES[a.where](a.side, part, reach(a.side, a.parts)) for part in a.parts]
        inputs = [a.channels + (part if a.see_earlier_maps else 0) for part in range(len(a.parts))]
        self.localisers = nn.ModuleList(localiser(channels) for channels in inputs)
        self.classifiers = nn.ModuleList(
            nn.Linear(a.channels * (step + 1), a.classes) for step in range(self.horizon)
        )
        for classifier in self.classifiers:
            nn.init.zeros_(classifier.get_parameter("weight"))
        self.register_buffer("centre", torch.zeros(a.channels))
        self.register_buffer("deviation", torch.ones(a.channels))

    def begin(self, rows: int) -> Memory:
        """Return an empty memory."""
        a, new = self.architecture, self.centre.new_zeros
        return Memory(new(rows, len(a.parts), 2), new(rows, self.horizon, a.channels), new(rows, a.classes))

    def standardise(
        self, maps: Float[Tensor, "image channel rows columns"]
    ) -> Float[Tensor, "image channel rows columns"]:
        """Return features of mean 0 and deviation 1 over the training images."""
        scale = 1 / self.deviation
        return torch.addcmul(
            -(self.centre * scale)[:, None, None], maps, scale[:, None, None]
        )  # one pass over the maps

    def attend(
        self, features: Float[Tensor, "image channel rows columns"]
    ) -> list[Float[Tensor, "image place"]]:
        """Return the log-probabilities of every part's places, from a standardised map.

        A part is rewarded by its own step alone, so earlier maps reach later localisers without gradient.
        """
        a = self.architecture
        found, earlier = [], []
        for part, head in zip(a.parts, self.localisers, strict=True):
            scores = head(torch.cat((features, *earlier), 1) if earlier else features).squeeze(1)
            found.append(select_scores(scores.float(), part).log_softmax(1))
            if a.see_earlier_maps:
                earlier.append(spread(found[-1].detach().exp(), a.side, part))
        return found

    def flat(self, images: int) -> list[Float[Tensor, "image place"]]:
        """Return the log-probabilities of equally probable places, without a convolution."""
        a = self.architecture
        counts = [places(a.side, part) for part in a.parts]
        return [self.centre.new_full((images, count), -math.log(count)) for count in counts]

    def best(self, maps: Float[Tensor, "image channel rows columns"]) -> Int64[Tensor, "image part"]:
        """Return the place of each part: the argmax of its score map, or one that was not learned.

        Random places are the same in every call: those of the first images of a fixed sequence.
        """
        if self.architecture.where == "learned":
            log_probs = self.attend(self.standardise(maps))
            return torch.stack(
                [policy.mode(log_prob) for policy, log_prob in zip(self.policies, log_probs, strict=True)], 1
            )
        generator, log_probs = torch.Generator().manual_seed(0), self.flat(len(maps))
        drawn = [
            policy.sample(log_prob, generator)
            for policy, log_prob in zip(self.policies, log_probs, strict=True)
        ]
        return torch.cat(drawn, 1).to(maps.device)

    def propose(self, maps: Float[Tensor, "image channel rows columns"]) -> Float[Tensor, "image part 2"]:
        """Return the parts' places as locations of the environment."""
        chosen = self.best(maps).unbind(1)
        return torch.stack(
            [policy.locate(place) for policy, place in zip(self.policies, chosen, strict=True)], 1
        )

    def scores(self, step: int, seen: Float[Tensor, "*batch step channel"]) -> Float[Tensor, "*batch class"]:
        """Return the class scores of a step (0 = the whole image) from the features of all regions; later ones are not read."""
        return self.classifiers[step](seen[..., : step + 1, :].flatten(-2)).float()

    def forward(self, observation: dict[str, Tensor], state: Memory) -> tuple[Heads, Memory]:
        """Take in one glimpse: its own part's features out of those of all window sizes."""
        a = self.architecture
        step = (observation["step"][:, 0] * self.horizon).round().long() - 1
        first = (step == 0)[:, None]
        views = observation["glimpse"].view(-1, len(a.parts), a.channels)
        own = views.gather(1, (step - 1).clamp(min=0)[:, None, None].expand(-1, 1, a.channels))
        own = (own - self.centre) / self.deviation
        seen = state.seen.masked_fill(first[:, :, None], 0.0).scatter(
            1, step[:, None, None].expand_as(own), own
        )
        every = torch.stack([self.scores(t, seen).softmax(1) for t in range(self.horizon)], 1)
        total = (
            state.total.masked_fill(first, 0.0)
            + every.gather(1, step[:, None, None].expand(-1, 1, a.classes))[:, 0]
        )
        # Rows of a rollout go in step, so the map is scored once an episode.
        found = (
            torch.where(first[:, :, None], self.propose(observation["map"]), state.places)
            if first.any()
            else state.places
        )
        ahead = torch.cat((found, torch.zeros_like(found[:, :1])), 1).gather(
            1, step[:, None, None].expand(-1, 1, 2)
        )[:, 0]
        logits = (total / (step + 1)[:, None]).clamp_min(TINY).log()
        nothing = torch.zeros_like(logits[:, 0])
        return Heads(logits, ahead, nothing + NEVER, nothing), Memory(found, seen, total)


def localiser(channels: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions, to 64 channels and to one score a cell."""
    last = nn.Conv2d(CHANNELS, 1, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType] - it has one
    return nn.Sequential(nn.Conv2d(channels, CHANNELS, 3, padding=1), nn.ReLU(), last)
