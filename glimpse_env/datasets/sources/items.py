"""Images that are read item by item, from an object: into memory, or, all of one size, into a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from glimpse_env import checks
from glimpse_env.datasets.base import ImageSize, Native
from glimpse_env.datasets.decode import stack, to_square
from glimpse_env.datasets.formats.notes import Notes
from glimpse_env.datasets.native.pyramid import Pixels
from glimpse_env.datasets.native.store import NativeStore, open_native_items
from glimpse_env.datasets.native.views import open_views
from glimpse_env.datasets.store import Decoded, open_items
from glimpse_env.datasets.torch_dataset import to_pixels

MANY = 1000  # images: above it reading shows a progress bar, and photographs go into a store


class Items(NamedTuple):
    """Images, and what names their pixels; None = nothing does."""

    images: UInt8[Tensor, "image channel height width"]
    key: str | None
    native: NativeStore | None = None  # if they are not resized: all pixels of them


def read_items(name: str, read: Callable[[int], Any], count: int, image_size: ImageSize) -> Items:
    """Return images of any supported type, resized as by `to_square` with "crop"; None: all have one size.

    `Native`: they stay as they are, with three channels, in a store that this process alone uses.

    `read` returns one of the `count` images, which are called `name` in messages.
    """
    if isinstance(image_size, Native):
        return keep_items(name, read, count, image_size.view)
    if image_size is not None:
        checks.memory(f"image_size={image_size}", count * image_size**2, torch.device("cpu"))
    notes, images = Notes(f"data set {name}"), []
    for index in tqdm(range(count), desc=name, disable=count <= MANY):
        images.append(to_square(to_pixels(read(index), index, notes), image_size, "crop"))
    notes.report()
    return Items(stack(images, [f"image {index}" for index in range(count)]), None)


def keep_items(name: str, read: Callable[[int], Any], count: int, view: int) -> Items:
    """Return images at their own sizes, see `read_items`, and the whole ones at `view` pixels a side."""
    notes = Notes(f"data set {name}")

    def decode(index: int) -> Pixels:
        return to_colour(to_pixels(read(index), index, notes), index).permute(1, 2, 0).contiguous().numpy()

    native = open_native_items(name, decode, count)
    notes.report()
    views = open_views(name, native, view, kept=False)
    return Items(views.images, views.key, native)


def to_colour(pixels: UInt8[Tensor, "channel height width"], index: int) -> UInt8[Tensor, "3 height width"]:
    """Return pixels with three channels; refuse other numbers than 1 and 3."""
    if len(pixels) not in (1, 3):
        raise ValueError(f"image {index} has {len(pixels)} channels: expected 1 or 3")
    return pixels.expand(3, -1, -1)


def store_items(
    name: str, source: str, mark: str | None, read: Callable[[int], Any], count: int, size: int
) -> Items:
    """Return images as `read_items` does, with three channels, from a store; see `store.open_items`."""

    def decode(index: int, notes: Notes) -> Decoded:
        pixels = to_pixels(read(index), index, notes)
        extent = (pixels.shape[2], pixels.shape[1])
        return to_colour(to_square(pixels, size, "crop"), index), extent

    store = open_items(name, source, mark, decode, count, size)
    return Items(store.images, store.key)
