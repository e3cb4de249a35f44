"""What a recurrent attention network is made of: saved with its weights, so that a checkpoint rebuilds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Core = Literal["rnn", "lstm"]
Where = Literal["linear", "fourier"]
What = Literal["mlp", "conv"]
LocatorName = Literal["state", "map"]
Scores = Literal["state", "mean"]
StopInput = Literal["state", "confidence"]


@dataclass(frozen=True)
class Architecture:
    """Sizes and variants; saved with the weights, so that a checkpoint rebuilds its network."""

    glimpse: int  # values of one glimpse, flattened
    classes: int
    horizon: int  # max_glimpses, for the step feature of the stop head
    core: Core = "lstm"
    hidden: int = 256
    features: int = 256  # width of the glimpse network's two branches
    depth: int = 3  # layers of its branch for what is seen
    where: Where = "fourier"
    what: What = "mlp"
    channels: int = 1  # of the glimpse, for what="conv"
    locator: LocatorName = "state"  # where to look next: a linear head on the state, or a map over the first view
    reach: float = 1.0  # where location +-1 lies, for locator="map"
    shortcut: bool = False  # class scores also read the glimpse's own features, past the core
    dropout: float = 0.0  # share of the glimpse's values, and of the features, dropped while training
    scores: Scores = "state"  # the answer after glimpse t: scores of the state, or their mean over glimpses 1 to t
    stop_input: StopInput = "confidence"
    learned_start: bool = False  # glimpse 1 is taken at a learned place instead of the environment's initial_location
