"""Baselines that see the whole image: fully connected or convolutional networks (Mnih et al. 2014, Table 1).

    python agents/whole_image.py                                    # MNIST: two hidden layers of 256 units
    python agents/whole_image.py --channels 16 32 --widths 256      # two convolutions and a hidden layer

The image's pixels are the first and only glimpse of the same environment, and the files are those of every
agent. DT-RAM's Table 2 quotes both networks on MNIST. The paper names the layers ("FC, 2 layers",
"convolutional, 2 layers") and not how they were trained: here AdamW, a rate that decreases linearly, without
augmentation unless --augment is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import baselines

from glimpse_env import GlimpseVectorEnv, datasets
from glimpse_env.evaluation.validation import Validation
from glimpse_env.networks.whole_image import WholeImage, WholeImageArchitecture
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.training import resume
from glimpse_env.training.command_line import parse
from glimpse_env.training.environments import build_environment, count_glimpse_values
from glimpse_env.training.options import DataOptions, ResumableOptions, Training
from glimpse_env.training.trainer import Run

AGENT = "whole_image"


@dataclass(frozen=True)
class LayerOptions:
    """Image and layers."""

    image_size: int | None = None
    """Side in pixels to which images are resized; default: the data set's preset."""
    widths: tuple[int, ...] = (256, 256)
    """Units of the fully connected hidden layers."""
    channels: tuple[int, ...] = ()
    """Channels of convolutions before them; default: no convolution."""
    kernel: int = 5
    """Side in pixels of the convolutions' filters."""
    stride: int = 2
    """Their step in pixels."""
    dropout: float = 0.3
    """Dropout rate before every fully connected layer."""


@dataclass(frozen=True)
class LearningOptions:
    """Training of the network."""

    epochs: int = 20
    """Number of passes over the training images."""
    batch: int = 250
    """Images per update."""
    learning_rate: float = 2e-3
    """Peak learning rate of AdamW; it decreases linearly."""
    weight_decay: float = 0.1
    """Decoupled weight decay of the weight matrices."""
    augment: bool = False
    """Random augmentation: small rotations, scalings and shifts."""


@dataclass(frozen=True)
class WholeImageOptions(ResumableOptions, DataOptions, LayerOptions, LearningOptions):
    """Options of `whole_image.py`."""


@dataclass(frozen=True)
class WholeImageTraining(Training):
    """Options of a run, as its checkpoint has them."""

    widths: tuple[int, ...] = (256, 256)
    channels: tuple[int, ...] = ()
    kernel: int = 5
    stride: int = 2


# Digits on a canvas: new images in every epoch, so nothing is learned by heart, and longer training helps.
CANVAS: dict[str, Any] = dict(epochs=200, dropout=0.0, weight_decay=0.01)
DATASETS = datasets.expand_kinds({"canvas": CANVAS})


def build_options(options: WholeImageOptions) -> WholeImageTraining:
    """Return the options of the run: one glimpse, which is the image at its own size."""
    side = resolve(options.dataset, options.root, image_size=options.image_size).image_size
    if not isinstance(side, int):
        raise ValueError(f"--dataset {options.dataset}: give --image-size, the side of the whole image")
    view: dict[str, Any] = {"sensor": "pixel", "glimpse_size": side, "scales": (1.0,)}
    view |= {"first_view": "image", "location_range": 0.0, "glimpses": 1, "policy": "center"}
    same = {"samples": 1, "optimizer": "adamw", "precision": "float32", "curriculum": 0.0, "sure": 1.0}
    return WholeImageTraining(**vars(options) | view | same)


def check(options: WholeImageTraining) -> None:
    """Refuse layers without units."""
    for name in ("widths", "channels"):
        if not all(count >= 1 for count in getattr(options, name)):
            given = " ".join(map(str, getattr(options, name)))
            raise ValueError(f"--{name} {given}: expected whole numbers of at least 1")


def build_network(env: GlimpseVectorEnv, options: WholeImageTraining) -> WholeImage:
    """Return a new network for the environment's images."""
    shape = env.sensor.space["glimpse"].shape or ()
    layers = {name: getattr(options, name) for name in ("widths", "channels", "kernel", "stride", "dropout")}
    sizes = {"glimpse": count_glimpse_values(env), "classes": len(env.images.classes), "shape": shape}
    return WholeImage(WholeImageArchitecture(**sizes, **layers))


def main(options: WholeImageOptions) -> dict[str, Any]:
    """Train a network, evaluate it once, and return the row of the result."""
    with Run.open(AGENT, build_options(options), check) as run:
        env = build_environment(run.options, run.saved)
        network = build_network(env, run.options).to(env.device)
        run.start(network, resume.describe(AGENT, run.options, env, network), env.device)
        baselines.train(run, env, network, Validation(env, run.options))
        run.finish()
        return results.write(run.checkpoint, device=run.options.device)


if __name__ == "__main__":
    main(parse(WholeImageOptions, {}, DATASETS, __doc__ or ""))
