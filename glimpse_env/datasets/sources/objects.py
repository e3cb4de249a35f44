"""Any map-style data set object of (image, label) pairs, or of dicts, as one split of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glimpse_env.datasets.base import ImageSet, ImageSize, MapStyle
from glimpse_env.datasets.sources.items import MANY, read_items, store_items
from glimpse_env.datasets.sources.recognition import recognise_object
from glimpse_env.datasets.torch_dataset import (
    check_map_style,
    check_pair,
    find_class_names,
    number_labels,
    to_label,
)


@dataclass(frozen=True)
class Keyed:
    """A map-style data set of dicts as one of (image, label) pairs; names of classes are its own.

    `load` finds the usual keys by itself (`torch_dataset.IMAGE_KEYS`, `LABEL_KEYS`); this names others:
    `Keyed(dataset, image="photo", label="species")`.
    """

    dataset: MapStyle
    image: str
    label: str

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.dataset)

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """Return the image and the label of an item; raise a TypeError that names a key it lacks."""
        item = self.dataset[index]
        for key in (self.image, self.label):
            if not isinstance(item, Mapping) or key not in item:
                had = ", ".join(map(repr, item)) if isinstance(item, Mapping) else f"a {type(item).__name__}"
                raise TypeError(f"dataset[{index}]: expected the key {key!r}, got {had}")
        return item[self.image], item[self.label]

    @property
    def classes(self) -> Any:
        """The class names: those of the object's `features` for its labels (Hugging Face), or its own."""
        features = getattr(self.dataset, "features", None)
        feature = features.get(self.label) if isinstance(features, Mapping) else None
        return getattr(feature, "names", None) or getattr(self.dataset, "classes", None)


def load_object(dataset: MapStyle, split: str, image_size: ImageSize) -> ImageSet:
    """Read all of a data set object, which is the split "train" ("fit" and "validation" are parts of it).

    Items are (image, label) pairs, or dicts with an image and a label (see `Keyed`). Images are PIL,
    uint8, or floating in [0, 1]; labels are whole numbers. Class names are those of `find_class_names`, else
    the labels themselves; see `number_labels`. `image_size` is as for `to_square` with "crop"; None: all
    images have one size. More than `MANY` photographs are read into a store, which this process alone uses:
    nothing shows whether an object still holds the same images.

    Raises:
        TypeError: Not a map-style data set, or an item, image or label of an unsupported type.
        ValueError: split="test", no images, sizes that differ without `image_size`, values out of range,
            labels without a class.
    """
    kind = type(dataset).__name__
    check_map_style(dataset)
    if split == "test":
        advice = "to evaluate on test images pass the test object with split='train'"
        raise ValueError(f"split='test': a {kind} object is one split; {advice}")
    if isinstance(dataset, ImageSet):
        return dataset
    count, labels = len(dataset), []
    if count == 0:
        raise ValueError(f"dataset: the {kind} object is empty, expected at least one (image, label) pair")
    names = find_class_names(dataset)

    def read(index: int) -> Any:
        image, label = check_pair(dataset[index], index)
        labels.append(to_label(label, index))
        return image

    images = recognise_object(dataset) if isinstance(image_size, int) and count > MANY else None
    if isinstance(image_size, int) and images is not None and images.kind == "photographs":
        stored = store_items(kind, f"a {kind} object", None, read, count, image_size)
    else:
        stored = read_items(kind, read, count, image_size)
    classes, numbered = number_labels(labels, names)
    return ImageSet(stored.images, numbered, classes, key=stored.key, native=stored.native)
