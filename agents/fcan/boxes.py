"""Ground-truth boxes as regions (FCAN, Tables 4 and 6): the object's box, cut out as a part is.

The paper does not state how a box becomes a square: here it is resized to one, as whole images are.
"""

from __future__ import annotations

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from glimpse_env import ImageSet


def cut_boxes(
    images: ImageSet, index: Int64[Tensor, " image"], size: int
) -> UInt8[Tensor, "image channel size size"]:
    """Return the objects' boxes in some images at `size` x `size` pixels, each of at least one whole pixel.

    Raises:
        ValueError: The data set has no boxes.
    """
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    if images.boxes is None:
        raise ValueError("the data set has no ground-truth boxes: expected ImageSet.boxes of every image")
    height, width = images.images.shape[-2:]
    sides = torch.tensor([width, height, width, height])
    corners = (images.boxes[index].cpu() + 1) / 2 * sides
    low = torch.minimum(corners[:, :2].floor().long(), sides[:2] - 1)
    extent = torch.maximum(corners[:, 2:].ceil().long() - low, torch.ones(2, dtype=torch.long))
    views = []
    for row, (left, top), (across, down) in zip(index.tolist(), low.tolist(), extent.tolist(), strict=True):
        image = images.image(row).cpu()
        views.append(v2.functional.resized_crop(image, top, left, down, across, [size, size], antialias=True))
    return torch.stack(views)
