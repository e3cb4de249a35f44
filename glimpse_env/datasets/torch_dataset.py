"""Items of map-style data sets: images of any supported type, labels and class names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, IterableDataset, Subset

from glimpse_env import checks, tensor_checks
from glimpse_env.datasets.base import MapStyle, Preset
from glimpse_env.datasets.decode import from_pil
from glimpse_env.datasets.formats.notes import Notes

PRESET = Preset()  # sizes as the object has them
FLOATING = (np.float32, np.float64, np.float16)  # of arrays
CHANNELS = (1, 3, 4)  # by which the channel axis of an array is recognised
ROUNDING = 1e-4  # by which values of a floating image may exceed [0, 1]
KINDS = (
    "expected a PIL image, a uint8 tensor or array, or a floating one in [0, 1], shaped (H, W), (C, H, W), "
    "or (an array only) (H, W, C)"
)


IMAGE_KEYS = ("image", "img", "pixel_values")  # of items that are dicts; case does not matter
LABEL_KEYS = ("label", "labels", "target", "class")
SHOWN = 5  # labels that a message lists

log = logging.getLogger("glimpse_env")


def check_map_style(dataset: object) -> None:
    """Refuse what has no items 0, 1, ..., such as a stream, or a dict of splits (TypeError)."""
    expected = "expected a name, a folder or a map-style data set (__len__ and __getitem__)"
    if isinstance(dataset, Mapping) and 0 not in dataset:
        keys = ", ".join(repr(key) for key in list(dataset)[:SHOWN])
        advice = "give one of its values, such as its training images"
        raise TypeError(f"dataset: {expected}, got a {type(dataset).__name__} of {keys}; {advice}")
    if isinstance(dataset, IterableDataset | type) or not isinstance(dataset, MapStyle):
        raise TypeError(f"dataset: {expected}, got {type(dataset).__name__}")
    if getattr(dataset, "ndim", 1) == 0:
        raise TypeError(f"dataset: {expected}, got {checks.show(dataset)}")


def check_pair(item: Any, index: int) -> tuple[Any, Any]:
    """Return the image and the label of an item, or raise an error that names what the item is."""
    if isinstance(item, Mapping):
        return find_entry(item, IMAGE_KEYS, index), find_entry(item, LABEL_KEYS, index)
    length = len(item) if isinstance(item, tuple | list) else None
    if length == 2:
        return item[0], item[1]
    got = type(item).__name__ + ("" if length is None else f" of {length}")
    allowed = f"a dict with one of {', '.join(IMAGE_KEYS)} and one of {', '.join(LABEL_KEYS)} serves too"
    raise TypeError(f"dataset[{index}]: expected an (image, label) pair, got a {got}; {allowed}")


def find_entry(item: Mapping[Any, Any], keys: Sequence[str], index: int) -> Any:
    """Return the one entry of an item whose key is one of `keys`, whatever its case."""
    found = [key for key in item if isinstance(key, str) and key.lower() in keys]
    if len(found) != 1:
        had = ", ".join(repr(key) for key in item) or "none"
        advice = "name the keys: datasets.Keyed(dataset, image=..., label=...)"
        raise TypeError(f"dataset[{index}]: expected one of the keys {', '.join(keys)}, got {had}; {advice}")
    return item[found[0]]


def to_pixels(image: Any, index: int, notes: Notes) -> UInt8[Tensor, "channel height width"]:
    """Return an image of any supported type as uint8."""
    if isinstance(image, Image.Image):
        try:
            return from_pil(image, notes=notes)
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
    pixels = to_dense(image, index)
    if isinstance(image, np.ndarray) and pixels.ndim == 3 and pixels.shape[-1] in CHANNELS:
        pixels = pixels.permute(2, 0, 1)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    shape = pixels.shape
    if len(shape) != 3 or 0 in shape or (shape[0] not in CHANNELS and shape[2] in (2, *CHANNELS)):
        raise ValueError(f"image {index} has shape {tuple(image.shape)}: {KINDS}")
    if pixels.is_floating_point():
        low, high = pixels.aminmax()
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            advice = f"{KINDS}; remove normalising transforms"
            raise ValueError(f"image {index} has values from {low:g} to {high:g}: {advice}")
        return (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels


def to_dense(image: Any, index: int) -> Tensor:
    """Return an array or tensor, of a dtype that images may have, as a tensor on the CPU."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 and image.dtype.newbyteorder("=") not in FLOATING:
            raise TypeError(f"image {index} has dtype {image.dtype}: {KINDS}")
        if np.ma.is_masked(image):
            raise ValueError(f"image {index} is an array with masked entries: {KINDS}")
        return torch.from_numpy(np.array(image, image.dtype.newbyteorder("="), order="C"))
    if not isinstance(image, Tensor):
        raise TypeError(f"image {index} is a {type(image).__name__}: {KINDS}")
    if image.dtype not in (torch.uint8, *tensor_checks.FLOATING):
        raise TypeError(f"image {index} has dtype {image.dtype}: {KINDS}")
    if image.layout != torch.strided or image.is_meta:
        raise TypeError(f"image {index} is a tensor of layout {image.layout} on {image.device}: {KINDS}")
    return image.detach().cpu().as_subclass(Tensor)


def to_label(label: Any, index: int) -> int:
    """Return a label as a whole number."""
    single = isinstance(label, Tensor | np.ndarray | np.generic) and np.prod(label.shape) == 1
    value = label.item() if single and not (isinstance(label, Tensor) and label.is_meta) else label
    if isinstance(value, bool) or not isinstance(value, int):
        got, advice = checks.show(label), ""
        if isinstance(value, str):
            advice = "; number the names, and give them to the object as `classes`"
        raise TypeError(
            f"label of image {index} is {got}: expected a whole number, or a tensor of one{advice}"
        )
    return value


def number_labels(
    labels: Sequence[int], names: Mapping[int, str]
) -> tuple[tuple[str, ...], Int64[Tensor, " image"]]:
    """Return the class names, in the order of their labels, and the labels as their positions, from 0.

    `names` are the classes by label; empty = the classes are the labels that occur, and called so: (1, 2, 3)
    become 0, 1 and 2 with the names "1", "2" and "3". Then a log line says so, since another object in which
    other labels occur, such as a test set, has other classes.

    Raises:
        ValueError: A label without a class, or a negative one without `names`.
    """
    values = sorted(names or set(labels))
    allowed = describe_labels(values) if names else "from 0 on; a dict `classes` of the object can name it"
    for index, label in enumerate(labels):
        if label not in names if names else label < 0:
            raise ValueError(f"label {label} of image {index}: expected {allowed}")
    if not names:
        advice = "to give several data sets the same classes, give each a dict `classes` from label to name"
        warn_of_gaps(values, f"; {advice}")
    if len(values) == 1:
        log.warning(
            "all images are of one class, %s: there is nothing to classify", names.get(values[0], values[0])
        )
    if unused := sorted(set(values) - set(labels)):
        log.info("%d of %d classes have no image, such as %r", len(unused), len(values), names[unused[0]])
    rows = {label: row for row, label in enumerate(values)}
    classes = tuple(names[value] if names else str(value) for value in values)
    return classes, torch.tensor([rows[label] for label in labels])


def warn_of_gaps(values: Sequence[int], advice: str = "") -> None:
    """Log that labels (sorted) which are not 0, 1, 2, ... are numbered so."""
    if values != list(range(len(values))):
        text = "labels %s are not numbered from 0 without gaps: they become 0 to %d, and name the classes%s"
        log.warning(text, abbreviate(values), len(values) - 1, advice)


def describe_labels(values: Sequence[int]) -> str:
    """Return the labels that are allowed, as text."""
    if list(values) == list(range(len(values))):
        return f"0 to {len(values) - 1}, for {len(values)} classes"
    return f"one of {abbreviate(values)}"


def abbreviate(values: Sequence[int]) -> str:
    """Return numbers as text, at most `SHOWN` and the last of them."""
    shown = [str(value) for value in values]
    return ", ".join(shown if len(shown) <= SHOWN + 1 else [*shown[:SHOWN], "...", shown[-1]])


def find_class_names(dataset: object) -> dict[int, str]:
    """Return the data set's own class names by label; empty = it has none.

    They are its `classes`, a sequence (of the labels from 0 on) or a dict, else the names that Hugging Face's
    `features` hold for its labels, else those of the data sets that a Subset or ConcatDataset is made of.

    Raises:
        TypeError: `classes` is neither.
    """
    classes = getattr(dataset, "classes", None)
    if classes is None and isinstance(features := getattr(dataset, "features", None), Mapping):
        kinds = [kind for key, kind in features.items() if str(key).lower() in LABEL_KEYS]
        classes = getattr(kinds[0], "names", None) if kinds else None
    if classes is None:
        parts = [dataset.dataset] if isinstance(dataset, Subset) else []
        parts = dataset.datasets if isinstance(dataset, ConcatDataset) else parts
        names = [find_class_names(part) for part in parts]
        return names[0] if names and all(name == names[0] for name in names) else {}
    named = isinstance(classes, Mapping | Sequence | np.ndarray) and not isinstance(classes, str | bytes)
    if not named or getattr(classes, "ndim", 1) != 1:
        raise TypeError(
            f"classes={checks.show(classes)} of the data set: expected names, or a dict from label to name"
        )
    by_label = classes if isinstance(classes, Mapping) else dict(enumerate(classes))
    return {to_class(label): str(name) for label, name in by_label.items()}


def to_class(label: Any) -> int:
    """Return a key of `classes` as a whole number."""
    if isinstance(label, bool | np.bool_) or not isinstance(label, int | np.integer):
        raise TypeError(f"classes: {label!r} is no label: expected a dict from whole numbers to names")
    return int(label)
