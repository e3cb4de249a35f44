"""Frozen classifiers as feature extractors.

A backbone's name is "library:model"; without a library it is torchvision's. `ModuleBackbone` makes one of any
torch module.

How to add another library: write a module with a function that returns a `base.FeatureExtractor` by a
model's name, one that returns the file of its weights, and one that returns a `base.Classifier` to train;
put the three into `LIBRARIES` below.
"""

from __future__ import annotations

from pathlib import Path

import torch

from glimpse_env.backbone import timm as timm_library
from glimpse_env.backbone import weights as torchvision_weights
from glimpse_env.backbone.base import (
    DEVIATION,
    MEAN,
    Classifier,
    FeatureExtractor,
    Library,
    Preprocessing,
)
from glimpse_env.backbone.module import ModuleBackbone
from glimpse_env.backbone.torchvision import Backbone
from glimpse_env.backbone.weights import final_layer
from glimpse_env.runtime.precision import Precision

LIBRARIES: dict[str, Library] = {
    "torchvision": Library(Backbone, torchvision_weights.find_weights, torchvision_weights.build_tunable),
    "timm": Library(timm_library.build, timm_library.find_weights, timm_library.build_tunable),
}

__all__ = ["DEVIATION", "LIBRARIES", "MEAN", "Backbone", "Classifier", "FeatureExtractor", "Library",
           "ModuleBackbone", "Preprocessing", "build_backbone", "build_classifier", "final_layer",
           "find_weights"]  # fmt: skip


def build_backbone(
    name: str, weights: str | Path | None, device: torch.device | str, precision: Precision = "auto"
) -> FeatureExtractor:
    """Return the frozen network of a name such as "resnet50"; arguments as for `Backbone`.

    Raises:
        ValueError: An unknown library or name, or weights of another architecture.
        FileNotFoundError: The weights do not exist and cannot be downloaded.
        ModuleNotFoundError: The library is not installed.
    """
    library, model = split_name(name)
    return library.build(model, weights, device, precision)


def build_classifier(name: str, weights: str | Path | None, classes: int, *, warn: bool = True) -> Classifier:
    """Return a classifier to be trained, on the CPU, with a new final layer for `classes` classes.

    `weights` are those of the other layers. classes 0 = without the final layer: the network returns the
    features. warn: log a warning if the weights are random. Errors as for `build_backbone`; a ValueError also
    if the network has no final layer that can be replaced.
    """
    library, model = split_name(name)
    return library.build_classifier(model, weights, classes, warn)


def find_weights(name: str, weights: str | Path) -> Path | None:
    """Return the file that holds a backbone's weights; None = the library's own download."""
    library, model = split_name(name)
    return library.find_weights(model, weights)


def split_name(name: str) -> tuple[Library, str]:
    """Return the library and the model that a backbone's name stands for."""
    library, _, model = name.rpartition(":")
    if library and library not in LIBRARIES:
        raise ValueError(f"backbone={name!r}: expected one of {', '.join(LIBRARIES)} before the colon")
    return LIBRARIES[library or "torchvision"], model
