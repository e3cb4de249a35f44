"""Sermanet et al. 2015 (arXiv 1412.7054): options, fovea and training of the agent with several resolutions and a context."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from glimpse_env import GlimpseVectorEnv, PixelSensor
from glimpse_env.learning import run, terminal
from glimpse_env.learning.double_decker import DeckSizes, DoubleDecker
from glimpse_env.learning.evaluation import glimpse_values
from glimpse_env.learning.options import Training
from glimpse_env.learning.stages import look_stage
from glimpse_env.presets import FirstView, resolve
from glimpse_env.retina import Fill

NAME = "sermanet_rnn"
Resolution = Literal["high", "medium", "low"]
SHARES: dict[str, float] = {"high": 1 / 4, "medium": 1 / 2, "low": 1.0}  # of the image's short side that a patch spans


@dataclass(frozen=True)
class SermanetOptions(Training):
    """Options of `sermanet_rnn.py`."""

    context: ClassVar[bool] = True

    resolutions: tuple[Resolution, ...] = get_args(Resolution)
    """Patches of a glimpse, all with its centre and resized to --glimpse-size: high, medium and low span 1/4, 1/2 and all of the image's
    side."""
    fill: Fill = "noise"
    """What lies off the image: noise (the paper's), zero or reflect."""
    first_view: FirstView = "glimpse"
    """Glimpse 1 is a glimpse, at the place that the context proposes."""
    location_range: float = 1.0
    """Where location +-1 lies, as a share of the half image: 1 lets a glimpse's centre range over all of it."""
    glimpses: int | None = 3
    """Glimpses (T)."""
    location_gradient: float = 1.0
    """Share of the class scores' gradient that reaches the location deck through the location; 1 is the paper's, 0 leaves it to REINFORCE
    alone. That gradient also teaches the deck to tell the class by where it looks, as a code: see how the composites look."""
    place: int = 128
    """Location features."""
    features: int = 128
    """Features of a patch of the pixel sensor, where the network sees it through layers of its own."""
    depth: int = 0
    """ReLU layers through which a patch is seen: 0 for a sensor that runs a frozen network."""


def seen(options: SermanetOptions) -> SermanetOptions:
    """Return the options with the resolutions as widths of windows.

    Raises:
        ValueError: The resolutions are none, unknown or given twice, or another option contradicts what the agent sees.
    """
    wanted, known = options.resolutions, tuple(SHARES)
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(known):
        raise ValueError(f"--resolutions {' '.join(wanted) or '(none)'}: expected at least one of {', '.join(known)}, each once")
    if options.scales is not None:
        raise ValueError(f"--scales {' '.join(map(str, options.scales))}: --resolutions says how wide the patches are; leave --scales out")
    if options.first_view != "glimpse":
        raise ValueError(f"--first-view {options.first_view}: this agent chooses the place of glimpse 1; expected glimpse")
    side = resolve(options.dataset, image_size=options.image_size).image_size
    if side is None:
        raise ValueError("--image-size: expected the side in pixels to which images are resized, since patches are shares of it")
    size = options.glimpse_size or max(1, side // 4)
    ordered = tuple(name for name in known if name in wanted)
    return replace(options, resolutions=ordered, glimpse_size=size, scales=tuple(SHARES[name] * side / size for name in ordered))


def build(env: GlimpseVectorEnv, options: SermanetOptions) -> DoubleDecker:
    """Return a new network for what the environment shows."""
    if not isinstance(env.sensor, PixelSensor) and options.depth:
        raise ValueError(f"--depth {options.depth}: {type(env.sensor).__name__} shows the features of a frozen network; expected 0")
    return DoubleDecker(
        DeckSizes(
            glimpse=glimpse_values(env),
            classes=len(env.images.classes),
            scales=len(options.resolutions),
            hidden=options.hidden,
            place=options.place,
            features=options.features,
            depth=options.depth,
            dropout=options.dropout,
            location_gradient=options.location_gradient,
        )
    )


def train(options: SermanetOptions) -> dict[str, Any]:
    """Train the agent, evaluate it once, write the results and return their row (see `run.execute`)."""
    with terminal.foreseen(NAME):
        chosen = seen(options)
    return run.execute(
        NAME,
        chosen,
        lambda network, horizon: [lambda: look_stage(chosen, network, horizon)],
        build=lambda env: build(env, chosen),
    )
