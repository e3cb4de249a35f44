"""Any map-style torch data set of (image, label) pairs as one split of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, Subset
from tqdm import tqdm

from glimpse_env import checks
from glimpse_env.datasets.base import ImageSet, MapStyle, Preset
from glimpse_env.datasets.decode import from_pil, stack, to_square

PRESET = Preset()  # sizes as the object has them
MANY = 1000  # images: above it reading shows a progress bar
CHANNELS = (1, 3, 4)  # by which the channel axis of an array is recognised
ROUNDING = 1e-4  # by which values of a floating image may exceed [0, 1]
KINDS = (
    "expected a PIL image, a uint8 tensor or array, or a floating one in [0, 1], shaped (H, W), (C, H, W), "
    "or (an array only) (H, W, C)"
)


def load_object(dataset: MapStyle, split: str, image_size: int | None) -> ImageSet:
    """Read all of a data set object, which is the split "train" ("fit" and "validation" are parts of it).

    Images are PIL, uint8, or floating in [0, 1]; labels are whole numbers. Class names are `dataset.classes`
    (for a Subset: those of its data set), else "0" to the largest label. `image_size` is as for `to_square`
    with "crop"; None: all images have one size.

    Raises:
        TypeError: Not a map-style data set, or a pair, image or label of an unsupported type.
        ValueError: split="test", no images, sizes that differ without `image_size`, values out of range.
    """
    kind = type(dataset).__name__
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, MapStyle):
        expected = "expected a name, a folder or a map-style data set (__len__ and __getitem__)"
        raise TypeError(f"dataset: {expected}, got {kind}")
    if split == "test":
        advice = "to evaluate on test images pass the test object with split='train'"
        raise ValueError(f"split='test': a {kind} object is one split; {advice}")
    if len(dataset) == 0:
        raise ValueError(f"dataset: the {kind} object is empty, expected at least one (image, label) pair")
    if image_size is not None:
        checks.memory(f"image_size={image_size}", len(dataset) * image_size**2, torch.device("cpu"))
    images, labels = [], []
    for index in tqdm(range(len(dataset)), desc=kind, disable=len(dataset) <= MANY):
        image, label = check_pair(dataset[index], index)
        images.append(to_square(to_pixels(image, index), image_size, "crop"))
        labels.append(to_label(label, index))
    classes = find_class_names(dataset) or tuple(str(label) for label in range(max(labels) + 1))
    for index, label in enumerate(labels):
        if not 0 <= label < len(classes):
            allowed = f"0 to {len(classes) - 1}, for {len(classes)} classes"
            raise ValueError(f"label {label} of image {index}: expected {allowed}")
    names = [f"image {index}" for index in range(len(images))]
    return ImageSet(stack(images, names), torch.tensor(labels), classes)


def check_pair(item: Any, index: int) -> tuple[Any, Any]:
    """Return (image, label), or raise an error that names what the item is."""
    length = len(item) if isinstance(item, tuple | list) else None
    if length == 2:
        return item[0], item[1]
    got = type(item).__name__ + ("" if length is None else f" of {length}")
    raise TypeError(f"dataset[{index}]: expected an (image, label) pair, got a {got}")


def to_pixels(image: Any, index: int) -> UInt8[Tensor, "channel height width"]:
    """Return an image of any supported type as uint8."""
    if isinstance(image, Image.Image):
        return from_pil(image)
    if isinstance(image, Tensor):
        pixels = image.detach().cpu().as_subclass(Tensor)
    elif isinstance(image, np.ndarray):
        pixels = torch.from_numpy(np.array(image, image.dtype.newbyteorder("="), order="C"))
        if pixels.ndim == 3 and pixels.shape[-1] in CHANNELS:
            pixels = pixels.permute(2, 0, 1)
    else:
        raise TypeError(f"image {index} is a {type(image).__name__}: {KINDS}")
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    shape = pixels.shape
    if len(shape) != 3 or 0 in shape or (shape[0] not in CHANNELS and shape[2] in CHANNELS):
        raise ValueError(f"image {index} has shape {tuple(image.shape)}: {KINDS}")
    if pixels.is_floating_point():
        low, high = pixels.aminmax()
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            advice = f"{KINDS}; remove normalising transforms"
            raise ValueError(f"image {index} has values from {low:g} to {high:g}: {advice}")
        return (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8)
    if pixels.dtype != torch.uint8:
        raise TypeError(f"image {index} has dtype {image.dtype}: {KINDS}")
    return pixels


def to_label(label: Any, index: int) -> int:
    """Return a label as a whole number."""
    value = label.item() if isinstance(label, Tensor | np.ndarray | np.generic) and label.ndim == 0 else label
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"label of image {index} is {label!r}: expected a whole number, or a tensor of one")
    return value


def find_class_names(dataset: MapStyle) -> tuple[str, ...]:
    """Return the data set's own class names; empty = it has none."""
    whole: Any = dataset
    while isinstance(whole, Subset):
        whole = whole.dataset
    return tuple(str(name) for name in getattr(whole, "classes", None) or ())
