"""What a checkpoint records of how images reach its network, and the refusal of anything else.

`preprocessing`: sizes, fit, channels and colours. `backbone`: the frozen network's name, and a digest of its
weights in the type in which it computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.backbone import FeatureExtractor, Preprocessing
from glimpse_env.backbone.frozen import FrozenNetwork
from glimpse_env.datasets import NAMED
from glimpse_env.runtime import checkpoint
from glimpse_env.sensors import Mapped

# In messages: what differs, by its name in the entries; the name of a network explains its other values.
TITLES = {
    "name": "features of the backbone",
    "digest": "a backbone whose weights have the SHA-256",
    "mean": "a backbone that subtracts the colours",
    "deviation": "a backbone that divides by the colours",
    "input_size": "a backbone whose images have the size (None: any)",
    "channels": "images whose number of channels is",
    "image_size": "images resized to the side (None: as they are)",
    "fit": "images made square by",
    "height": "images whose height in pixels is",
    "width": "images whose width in pixels is",
}


def describe_view(env: GlimpseVectorEnv, dataset: str) -> dict[str, Any]:
    """Return the entries `preprocessing` and `backbone` (None = no frozen network) of a checkpoint."""
    channels, height, width = env.images.images.shape[1:]
    spec = NAMED.get(str(dataset))
    shown: dict[str, Any] = {"image_size": env.preset.image_size, "fit": "crop" if spec is None else spec.fit}
    shown |= {"channels": channels, "height": height, "width": width}
    if not isinstance(env.sensor, Mapped):
        return {"preprocessing": shown, "backbone": None}
    given = describe_backbone(env.sensor.view_maps.backbone)
    return {**given, "preprocessing": shown | given["preprocessing"]}


def describe_backbone(backbone: FeatureExtractor) -> dict[str, Any]:
    """Return what these entries hold of a frozen network: its colours and input; name, numbers and digest.

    The digest is of the weights alone: unlike that of cached features it does not depend on versions of
    Python and libraries.
    """
    expected, colours = getattr(backbone, "preprocessing", None), {}
    if isinstance(expected, Preprocessing):
        size = None if expected.size is None else list(expected.size)
        colours = {"mean": list(expected.mean), "deviation": list(expected.deviation), "input_size": size}
    if isinstance(backbone, FrozenNetwork):
        weights = {name: value for name, value in backbone.weights() if isinstance(value, Tensor)}
        digest, precision = checkpoint.digest(weights), str(backbone.precision)
    else:  # another class that follows FeatureExtractor
        digest, precision = backbone.digest(), None
    identity = {"name": backbone.name, "precision": precision, "digest": digest}
    return {"preprocessing": colours, "backbone": identity}


def check_view(saved: Mapping[str, Any], current: Mapping[str, Any], source: object) -> None:
    """Refuse other preprocessing, or another backbone, than a checkpoint's (ValueError).

    Args:
        saved: The checkpoint's content; what those of earlier versions do not hold is not compared.
        current: What `describe_view` or `describe_backbone` returns now.
        source: The checkpoint in messages.
    """
    before, now = (
        {**(part.get("backbone") or {}), **part.get("preprocessing", {})} for part in (saved, current)
    )
    if before.get("precision") != now.get("precision"):  # the same weights, rounded otherwise
        before.pop("digest", None)
    for name, title in TITLES.items():
        if name in before and name in now and before[name] != now[name]:
            values = f"{title} {before[name]}, and is given {now[name]}"
            raise ValueError(f"{source} was trained on {values}; expected the same")
