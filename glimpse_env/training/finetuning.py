"""Fine-tuning of torchvision classifiers: a new final layer, normalised images, class probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from glimpse_env.backbone import DEVIATION, MEAN, build_classifier
from glimpse_env.backbone.weights import find_final_layer
from glimpse_env.datasets import ImageSet

Probabilities = Float[Tensor, "image class"]
CHUNK = 64  # images that are classified at a time


def build_with_new_head(name: str, weights: str | None, classes: int) -> nn.Module:
    """Return a torchvision classifier such as "resnet50" with a new final layer for `classes` classes.

    `weights` are those of the other layers (see `backbone.build_classifier`). Raises a ValueError if the
    classifier does not end in a fully connected layer.
    """
    network = build_classifier(name, weights)
    final, layer = find_final_layer(network, name)
    network.set_submodule(final, nn.Linear(layer.in_features, classes))
    return network


def normalise(images: UInt8[Tensor, "image channel height width"]) -> Float[Tensor, "image 3 height width"]:
    """Return images as torchvision's weights expect them: standardised, with a grey channel three times."""
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    colours = v2.functional.to_dtype(images, torch.float32, scale=True).expand(-1, 3, -1, -1)
    return v2.functional.normalize(colours, list(MEAN), list(DEVIATION))


@torch.no_grad()
def predict(
    network: nn.Module, images: ImageSet, side: int, device: torch.device, crop: float = 1.0
) -> Probabilities:
    """Return the class probabilities (CPU, float32) of whole images, resized to `side` x `side` pixels.

    `crop`: of their sides, the share that is shown around the centre.
    """
    from torchvision.transforms import v2

    network.eval()
    probabilities = []
    chunks = torch.arange(len(images)).split(CHUNK)
    for index in tqdm(chunks, desc="evaluate", unit="batch", dynamic_ncols=True):
        stored = images.images[images.stored[index]].to(device)
        if crop != 1:
            stored = v2.functional.center_crop(stored, [round(crop * edge) for edge in stored.shape[-2:]])
        pixels = v2.functional.resize(stored, [side, side], antialias=True)
        probabilities.append(network(normalise(pixels)).softmax(1).cpu())
    return torch.cat(probabilities)
