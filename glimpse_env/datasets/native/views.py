"""The whole images of a store of different sizes, shrunk to squares once, in a store of their own."""

from __future__ import annotations

from glimpse_env.datasets.decode import to_square
from glimpse_env.datasets.formats.notes import Notes
from glimpse_env.datasets.native.store import NativeStore
from glimpse_env.datasets.store import Decoded, Store, open_items


def open_views(name: str, store: NativeStore, side: int, kept: bool) -> Store:
    """Return all of every image, stretched to `side` x `side` pixels.

    It is shrunk from the smallest half of it (see `pyramid`) that is larger.

    Args:
        name: Of the images.
        store: Holds them.
        side: Of the views.
        kept: Else the views end with this process.
    """

    def read(index: int, notes: Notes) -> Decoded:
        height, width = store.sizes[index].tolist()
        return to_square(store.level(index, side)[0], side, "stretch"), (width, height)

    mark = store.key if kept else None
    return open_items(f"{name}-views", f"whole images of {store.key}", mark, read, len(store.index), side)
