"""Sermanet's multi-resolution attention: glimpses at up to three resolutions, and a context that proposes where to look (arXiv 1412.7054).

    python agents/sermanet_rnn.py                                          # MNIST on a CPU, minutes
    python agents/sermanet_rnn.py --dataset cub --weights WEIGHTS          # photographs: crops on a grid, computed once
    python agents/sermanet_rnn.py --dataset cub --resolutions high medium --glimpses 2
    python agents/sermanet_rnn.py --dataset dogs --paper                   # the paper's sizes, as far as they are known

A glimpse is a set of square patches around one centre, resized to one size and seen through one frozen network; off the image lies noise.
The context reaches the class scores through the locations it proposes alone. Where to look is learned by backpropagation through
the location and by REINFORCE.

Deviations from the paper: the context is the whole image, in training too (the paper's is a low-resolution patch at a random place
then); images are squares (resized to, not cropped), and so are the windows; places are those of a grid (--sensor bank); the class is
supervised at every glimpse (--no-supervision: at the last); M samples of the locations with a leave-one-out baseline; reward, optimiser
and rates are this project's (the paper states none); torchvision's GoogLeNet keeps the stride 2 of its first layer, and its weights have
seen the images of Stanford Dogs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import ram_reinforce

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation.validation import Validation
from glimpse_env.networks.double_decker import DeckSizes, DoubleDecker
from glimpse_env.presets import FirstView, resolve
from glimpse_env.reports import results
from glimpse_env.retina import Fill
from glimpse_env.runtime import terminal
from glimpse_env.sensors import shows_pixels
from glimpse_env.training import resume
from glimpse_env.training.environments import build_environment, count_glimpse_values
from glimpse_env.training.options import GlimpseOptions, NetworkOptions, Training, check_training, parse
from glimpse_env.training.recipes import PAPER_SERMANET, SERMANET
from glimpse_env.training.trainer import Run

AGENT = "sermanet_rnn"
Resolution = Literal["high", "medium", "low"]
SHARES: dict[str, float] = {"high": 1 / 4, "medium": 1 / 2, "low": 1.0}  # of the image's short side that a patch spans


@dataclass(frozen=True)
class FoveaOptions(GlimpseOptions):
    """What a glimpse shows: patches of several resolutions around one centre."""

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


@dataclass(frozen=True)
class DeckOptions(NetworkOptions):
    """Sizes of the network's decks."""

    location_gradient: float = 1.0
    """Share of the class scores' gradient that reaches the location deck through the location; 1 is the paper's, 0 leaves it to REINFORCE
    alone. That gradient also teaches the deck to tell the class by where it looks, as a code: see how the composites look."""
    location_features: int = 128
    """Location features."""
    features: int = 128
    """Features of a patch of the pixel sensor, where the network sees it through layers of its own."""
    encoder_layers: int = 0
    """ReLU layers that encode a patch: 0 for a sensor that runs a frozen network."""


@dataclass(frozen=True)
class SermanetOptions(DeckOptions, FoveaOptions, Training):
    """Options of `sermanet_rnn.py`."""

    context: ClassVar[bool] = True


def add_scales(options: SermanetOptions) -> SermanetOptions:
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


def build_network(env: GlimpseVectorEnv, options: SermanetOptions) -> DoubleDecker:
    """Return a new network for what the environment shows."""
    if not shows_pixels(env.sensor) and options.encoder_layers:
        raise ValueError(
            f"--encoder-layers {options.encoder_layers}: {type(env.sensor).__name__} shows the features of a frozen network; expected 0"
        )
    return DoubleDecker(
        DeckSizes(
            glimpse=count_glimpse_values(env),
            classes=len(env.images.classes),
            scales=len(options.resolutions),
            hidden=options.hidden,
            location_features=options.location_features,
            features=options.features,
            encoder_layers=options.encoder_layers,
            dropout=options.dropout,
            location_gradient=options.location_gradient,
        )
    )


def main(options: SermanetOptions) -> dict[str, Any]:
    """Train Sermanet's agent with RAM's loop, evaluate it once, and return the row of the result."""
    with terminal.foreseen(AGENT):
        options = add_scales(options)
    with Run.open(AGENT, options, check_training) as run:
        options = run.options
        env = build_environment(options, run.saved)
        network = build_network(env, options).to(env.device)
        run.start(network, resume.describe(AGENT, options, env, network), env.device)
        ram_reinforce.train(run, env, network, Validation(env, options))
        run.finish()
        return results.write(run.checkpoint, device=options.device)


if __name__ == "__main__":
    main(parse(SermanetOptions, {"paper": PAPER_SERMANET}, SERMANET, __doc__ or ""))
