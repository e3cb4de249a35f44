"""Sermanet's multi-resolution attention: glimpses at up to three resolutions (arXiv 1412.7054).

    python agents/sermanet_rnn.py                                          # MNIST on a CPU, minutes
    python agents/sermanet_rnn.py --dataset cub --weights WEIGHTS          # crops on a grid, computed once
    python agents/sermanet_rnn.py --dataset cub --resolutions high medium --glimpses 2
    python agents/sermanet_rnn.py --dataset dogs --paper                   # the paper's settings, on a GPU

A glimpse is a set of square patches around one centre, resized to one size and encoded by one frozen network;
outside the image they are filled with noise. A context image proposes the locations, and affects the class
scores only through them. Locations are learned by backpropagation through the location and by REINFORCE.

Deviations of the default settings from the paper, each undone by `--paper`: smaller decks, locations on a
grid and only in the middle of the image, supervision at every glimpse, dropout, label smoothing, the decrease
of the loss as reward, M samples of the locations with a leave-one-out baseline. docs/paper.md lists what
remains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import ram_reinforce

from glimpse_env import GlimpseVectorEnv, datasets
from glimpse_env.evaluation.validation import Validation
from glimpse_env.networks.double_decker import DeckSizes, DoubleDecker
from glimpse_env.networks.location_policy import LearnedName
from glimpse_env.presets import FirstView, resolve
from glimpse_env.reports import results
from glimpse_env.retina import Fill
from glimpse_env.runtime import terminal
from glimpse_env.sensors import shows_pixels
from glimpse_env.training import resume
from glimpse_env.training.command_line import parse
from glimpse_env.training.environments import build_environment, compile_update, count_glimpse_values
from glimpse_env.training.options import GlimpseOptions, NetworkOptions, Training, check_numbers
from glimpse_env.training.trainer import Run

AGENT = "sermanet_rnn"
Resolution = Literal["high", "medium", "low"]
SHARES: dict[str, float] = {"high": 1 / 4, "medium": 1 / 2, "low": 1.0}  # of the image's side


@dataclass(frozen=True)
class FoveaOptions(GlimpseOptions):
    """Glimpses: patches of several resolutions around one centre."""

    resolutions: tuple[Resolution, ...] = get_args(Resolution)
    """Patches of a glimpse, with a common centre and resized to --glimpse-size: high, medium and low span
    1/4, 1/2 and all of the image's side."""
    fill: Fill = "noise"
    """Pixels outside the image: noise (as in the paper), zero or reflect."""
    first_view: FirstView = "glimpse"
    """First view: glimpse, at the location that the context proposes; this agent accepts no other value."""
    location_range: float = 1.0
    """Distance of locations +-1 from the centre, as a fraction of half the image's side; 1 = anywhere."""
    glimpses: int | None = 3
    """Number of glimpses (T)."""


@dataclass(frozen=True)
class DeckOptions(NetworkOptions):
    """Sizes of the network's decks."""

    location_gradient: float = 1.0
    """Fraction of the class scores' gradient that reaches the location deck through the location; 1 as in the
    paper, 0 = REINFORCE alone. This gradient can also teach the deck to encode the class in the choice of
    locations; the composites show whether it does."""
    location_features: int = 128
    """Number of location features."""
    features: int = 128
    """Number of features of a patch that the network's own layers encode (--encoder-layers, pixel sensor)."""
    encoder_layers: int = 0
    """Number of ReLU layers that encode a patch; must be 0 for a sensor that runs a frozen network."""
    glimpse_encoder: Literal["mlp", "templates"] = "mlp"
    """Encoder of the pixels: fully connected layers (mlp), the same for all patches, or templates that are
    compared with every position (templates), others in every patch."""
    template: int = 14
    """Width of the templates in pixels of the image, for --glimpse-encoder templates: the pattern's, or a
    little more."""
    location_policy: LearnedName = "gaussian"
    """Distribution of learned locations: a Gaussian around the proposed one (gaussian; class scores teach the
    location deck through it), or a softmax over the cells of a --grid (grid_softmax)."""


@dataclass(frozen=True)
class SermanetOptions(DeckOptions, FoveaOptions, Training):
    """Options of `sermanet_rnn.py`."""

    context: ClassVar[bool] = True


# Recipes: what differs from the defaults. Pixels: a patch at high resolution is not resized; the network sees
# patches through layers of its own.
PIXELS: dict[str, Any] = ram_reinforce.FORMER | (
    dict(encoder_layers=2, sigma_start=0.3, sigma_end=0.1, policy_weight=1.0)
)
# 96 x 96 patches of 512 x 512 images, centres in the middle three quarters (farther out, patches are mostly
# noise).
PHOTOGRAPHS: dict[str, Any] = ram_reinforce.FORMER | (
    dict(sensor="bank", glimpse_size=96, location_range=0.75, grid=5, epochs=60, batch=100, samples=4)
    | dict(curriculum=0.0, reward="information_gain", sigma_start=0.5, sigma_end=0.2, hidden=512, dropout=0.5)
    | dict(label_smoothing=0.1, optimizer="adamw", learning_rate=1e-3, weight_decay=0.1)
)
# As RAM's recipe: templates on a wide window, classes at random locations first, a softmax over cells.
CLUTTER: dict[str, Any] = PIXELS | (
    dict(glimpse_size=24, resolutions=("medium",), fill="zero", glimpses=6, batch=128, epochs=24)
    | dict(glimpse_encoder="templates", encoder_layers=1, features=256, location_policy="grid_softmax")
    | dict(explore=0.3, curriculum=0.0, augment_shift=0.0)
)
DATASETS = datasets.expand_kinds(
    {
        "digits": PIXELS | {"glimpse_size": 7},
        "canvas": PIXELS | {"augment_shift": 0.0},
        "clutter": CLUTTER,
        "photographs": PHOTOGRAPHS,
    }
)
# The paper's: GoogLeNet, decks of 4,096 units, three glimpses anywhere in the image, left-right reversal; and
# as in Ba et al. 2014, its basis, the last glimpse predicts, the reward is 0/1, the baseline is learned.
PAPER: dict[str, Any] = (
    dict(split="train", sensor="crop", backbone="googlenet", glimpse_size=96, location_range=1.0, hidden=4096)
    | dict(supervision=False, dropout=0.0, label_smoothing=0.0, curriculum=0.0, sure=1.0)
    | dict(reward="delayed", location_discount=1.0, samples=1, baseline="learned", policy_weight=0.3)
    | dict(epochs=60, batch=100, optimizer="adamw", learning_rate=1e-3, weight_decay=0.1)
    | dict(sigma_start=0.5, sigma_end=0.2)
)
RECIPES = {"paper": datasets.expand_kinds({"photographs": PAPER})}


def add_scales(options: SermanetOptions) -> SermanetOptions:
    """Return the options with the window widths (`scales`) of the resolutions.

    Raises:
        ValueError: The resolutions are empty, unknown or repeated, or another option contradicts them.
    """
    given = options.resolutions
    if not given or len(set(given)) < len(given) or not set(given) <= set(SHARES):
        allowed = f"expected at least one of {', '.join(SHARES)}, each once"
        raise ValueError(f"--resolutions {' '.join(given) or '(none)'}: {allowed}")
    if options.scales is not None:
        widths = " ".join(map(str, options.scales))
        raise ValueError(f"--scales {widths}: the widths follow from --resolutions; leave --scales out")
    if options.first_view != "glimpse":
        chosen = "this agent chooses the location of glimpse 1; expected glimpse"
        raise ValueError(f"--first-view {options.first_view}: {chosen}")
    side = resolve(options.dataset, options.root, image_size=options.image_size).image_size
    if not isinstance(side, int):  # None, or "native"
        raise ValueError("--image-size: expected the side of resized images, of which patches are fractions")
    size = options.glimpse_size or max(1, side // 4)
    ordered = tuple(name for name in SHARES if name in given)
    scales = tuple(SHARES[name] * side / size for name in ordered)
    return replace(options, resolutions=ordered, glimpse_size=size, scales=scales)


def build_network(env: GlimpseVectorEnv, options: SermanetOptions) -> DoubleDecker:
    """Return a new network for the environment's glimpses and classes."""
    if not shows_pixels(env.sensor):
        shown = f"{type(env.sensor).__name__} shows the features of a frozen network"
        if options.encoder_layers:
            raise ValueError(f"--encoder-layers {options.encoder_layers}: {shown}; expected 0")
        if options.glimpse_encoder != "mlp":
            raise ValueError(f"--glimpse-encoder {options.glimpse_encoder}: {shown}; expected mlp")
    both = DeckOptions.__dataclass_fields__.keys() & DeckSizes.__dataclass_fields__.keys()
    sizes = {name: getattr(options, name) for name in both}
    sizes |= {"glimpse": count_glimpse_values(env), "classes": len(env.images.classes)}
    sizes |= {"scales": len(options.resolutions), "axes": env.preset.axes, "grid": env.preset.grid}
    if options.glimpse_encoder == "templates":
        channels, *_, side = env.sensor.space["glimpse"].shape or (1, 1)
        windows = (*env.sensor.windows, env.images.images.shape[-1])  # the context shows all of the image
        sizes |= {"channels": channels // len(options.resolutions)}
        sizes |= {"templates": tuple(round(options.template * side / window) for window in windows)}
    return DoubleDecker(DeckSizes(**sizes))


def main(options: SermanetOptions) -> dict[str, Any]:
    """Train Sermanet's agent with RAM's loop, evaluate it once, and return the row of the result."""
    with terminal.foreseen(AGENT):
        check_numbers(options)
        options = add_scales(options)
    with Run.open(AGENT, options) as run:
        options = run.options
        env = build_environment(options, run.saved)
        network = build_network(env, options).to(env.device)
        run.start(network, resume.describe(AGENT, options, env, network), env.device)
        compile_update(env, network, options)
        ram_reinforce.train(run, env, network, Validation(env, options))
        run.finish()
        return results.write(run.checkpoint, device=options.device)


if __name__ == "__main__":
    main(parse(SermanetOptions, RECIPES, DATASETS, __doc__ or ""))
