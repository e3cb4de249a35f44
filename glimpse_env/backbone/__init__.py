"""Frozen classifiers as feature extractors.

How to add another library: write a module with a class that follows `base.FeatureExtractor` and a function
that returns the file of its weights, and put both into `LIBRARIES` below. A backbone's name is then
"library:model"; without a library it is torchvision's.
"""

from __future__ import annotations

from pathlib import Path

import torch

from glimpse_env.backbone import weights as torchvision_weights
from glimpse_env.backbone.base import FeatureExtractor, Library
from glimpse_env.backbone.torchvision import DEVIATION, MEAN, Backbone
from glimpse_env.backbone.weights import build_classifier, final_layer

LIBRARIES: dict[str, Library] = {"torchvision": Library(Backbone, torchvision_weights.find_weights)}

__all__ = ["DEVIATION", "LIBRARIES", "MEAN", "Backbone", "FeatureExtractor", "Library", "build_backbone",
           "build_classifier", "final_layer", "find_weights"]  # fmt: skip


def build_backbone(name: str, weights: str | Path | None, device: torch.device | str) -> FeatureExtractor:
    """Return the frozen network of a name such as "resnet50"; arguments as for `Backbone`.

    Raises:
        ValueError: An unknown library or name, or weights of another architecture.
        FileNotFoundError: The weights do not exist and cannot be downloaded.
    """
    library, model = split_name(name)
    return library.build(model, weights, device)


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
