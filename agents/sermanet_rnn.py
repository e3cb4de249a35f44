"""Sermanet's multi-resolution attention: glimpses at up to three resolutions; a context image proposes locations (arXiv 1412.7054).

    python agents/sermanet_rnn.py                                          # MNIST on a CPU, minutes
    python agents/sermanet_rnn.py --dataset cub --weights WEIGHTS          # photographs: crops on a grid, computed once
    python agents/sermanet_rnn.py --dataset cub --resolutions high medium --glimpses 2
    python agents/sermanet_rnn.py --dataset dogs --paper                   # the sizes that the paper states

A glimpse is a set of square patches around one centre, resized to one size and encoded by one frozen network; outside the image they are
filled with noise. The context affects the class scores only through the locations that it proposes. Locations are learned by
backpropagation through the location and by REINFORCE.

Deviations from the paper: the context is the whole image (in the paper's training, a low-resolution patch at a random
location); images are resized to squares (not cropped), and windows are square; locations are grid cells (--sensor bank); the class is
supervised at every glimpse (--no-supervision: at the last); M samples of the locations with a leave-one-out baseline; reward, optimiser
and rates are this project's (the paper states none); torchvision's GoogLeNet keeps the stride 2 of its first layer, and its weights were
trained on the images of Stanford Dogs.
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
SHARES: dict[str, float] = {
    "high": 1 / 4,
    "medium": 1 / 2,
    "low": 1.0,
}  # of the image's short side that a patch spans


@dataclass(frozen=True)
class FoveaOptions(GlimpseOptions):
    """Glimpses: patches of several resolutions around one centre."""

    resolutions: tuple[Resolution, ...] = get_args(Resolution)
    """Patches of a glimpse, with a common centre and resized to --glimpse-size: high, medium and low span 1/4, 1/2 and all of the image's
    side."""
    fill: Fill = "noise"
    """Pixels outside the image: noise (as in the paper), zero or reflect."""
    first_view: FirstView = "glimpse"
    """First view: glimpse (taken at the location that the context proposes); this agent accepts no other value."""
    location_range: float = 1.0
    """Distance of locations +-1 from the centre of the image, as a fraction of half its side; with 1, glimpses may be centred anywhere."""
    glimpses: int | None = 3
    """Number of glimpses (T)."""


@dataclass(frozen=True)
class DeckOptions(NetworkOptions):
    """Sizes of the network's decks."""

    location_gradient: float = 1.0
    """Fraction of the class scores' gradient that reaches the location deck through the location; 1 as in the paper, 0 = REINFORCE alone.
    This gradient can also teach the deck to encode the class in the choice of locations; the composites show whether it does."""
    location_features: int = 128
    """Number of location features."""
    features: int = 128
    """Number of features of a patch that is encoded by the network's own layers (--encoder-layers, pixel sensor)."""
    encoder_layers: int = 0
    """Number of ReLU layers that encode a patch; must be 0 for a sensor that runs a frozen network."""


@dataclass(frozen=True)
class SermanetOptions(DeckOptions, FoveaOptions, Training):
    """Options of `sermanet_rnn.py`."""

    context: ClassVar[bool] = True


def add_scales(options: SermanetOptions) -> SermanetOptions:
    """Return the options with the window widths (`scales`) of the resolutions.

    Raises:
        ValueError: The resolutions are empty, unknown or repeated, or another option contradicts them.
    """
    given, known = options.resolutions, tuple(SHARES)
    if not given or len(set(given)) < len(given) or not set(given) <= set(known):
        raise ValueError(
            f"--resolutions {' '.join(given) or '(none)'}: expected at least one of {', '.join(known)}, each once"
        )
    if options.scales is not None:
        raise ValueError(
            f"--scales {' '.join(map(str, options.scales))}: the widths follow from --resolutions; leave --scales out"
        )
    if options.first_view != "glimpse":
        raise ValueError(
            f"--first-view {options.first_view}: this agent chooses the location of glimpse 1; expected glimpse"
        )
    side = resolve(options.dataset, image_size=options.image_size).image_size
    if side is None:
        raise ValueError(
            "--image-size: expected the side in pixels to which images are resized, since patches are fractions of it"
        )
    size = options.glimpse_size or max(1, side // 4)
    ordered = tuple(name for name in known if name in given)
    return replace(
        options,
        resolutions=ordered,
        glimpse_size=size,
        scales=tuple(SHARES[name] * side / size for name in ordered),
    )


def build_network(env: GlimpseVectorEnv, options: SermanetOptions) -> DoubleDecker:
    """Return a new network for the environment's glimpses and classes."""
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
