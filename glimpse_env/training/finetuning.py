"""Fine-tuning of classifiers: images as they expect them, class probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from glimpse_env.backbone import Classifier, Preprocessing
from glimpse_env.datasets import ImageSet

Probabilities = Float[Tensor, "image class"]
CHUNK = 64  # images that are classified at a time


def replace_head(classifier: Classifier, classes: int) -> Classifier:
    """Return a classifier whose final layers are new, for `classes` classes.

    Raises:
        ValueError: It has no layer of such a name, or one of another kind.
    """
    for name in classifier.head:
        layer = dict(classifier.network.named_modules()).get(name)
        if isinstance(layer, nn.Linear):
            new = nn.Linear(layer.in_features, classes)
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            new = nn.Conv2d(layer.in_channels, classes, 1)
        else:
            found = "no such layer" if layer is None else type(layer).__name__
            expected = f"expected a fully connected layer of {type(classifier.network).__name__}"
            raise ValueError(f"head={name!r}: {expected}, or a 1 x 1 convolution, got {found}")
        classifier.network.set_submodule(name, new)
    return classifier


def normalise(
    images: UInt8[Tensor, "image channel height width"], expected: Preprocessing
) -> Float[Tensor, "image 3 rows columns"]:
    """Return images as a network expects them: of its size, standardised, with a grey channel three times."""
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    colours = v2.functional.to_dtype(images, torch.float32, scale=True).expand(-1, 3, -1, -1)
    return v2.functional.normalize(expected.resize(colours), list(expected.mean), list(expected.deviation))


@torch.no_grad()
def predict(
    classifier: Classifier, images: ImageSet, side: int, device: torch.device, crop: float = 1.0
) -> Probabilities:
    """Return the class probabilities (CPU, float32) of whole images, resized to `side` x `side` pixels.

    `crop`: of their sides, the share that is shown around the centre.
    """
    from torchvision.transforms import v2

    network = classifier.network.eval()
    probabilities = []
    chunks = torch.arange(len(images)).split(CHUNK)
    for index in tqdm(chunks, desc="evaluate", unit="batch", dynamic_ncols=True):
        stored = images.images[images.stored[index]].to(device)
        if crop != 1:
            stored = v2.functional.center_crop(stored, [round(crop * edge) for edge in stored.shape[-2:]])
        pixels = v2.functional.resize(stored, [side, side], antialias=True)
        probabilities.append(network(normalise(pixels, classifier.preprocessing)).softmax(1).cpu())
    return torch.cat(probabilities)
