"""A user's own image files, made ready as a data set makes its images ready, without that data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from glimpse_env.datasets import PHOTOGRAPHS, clutter
from glimpse_env.datasets.decode import read

SIDES = {"mnist": 28, "clutter": clutter.SIDE}  # the grey data sets, and their pixels a side
GREY = (19595, 38470, 7471)  # weights of red, green and blue in 65536ths (ITU-R 601-2), as Pillow has them


@dataclass(frozen=True)
class Unlabelled:
    """Images without labels (all are given 0) as a map-style data set."""

    images: Sequence[UInt8[Tensor, "channel height width"]]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "channel height width"], int]:
        """Return an image and 0."""
        return self.images[index], 0


def read_like(dataset: str, path: Path, size: int | None) -> UInt8[Tensor, "channel height2 width2"]:
    """Decode an image file as `load` would for this data set.

    MNIST's digits are light on dark. A file whose border is light (the median of its outermost pixels above one half) is reversed there,
    so that dark ink on white paper is read too.

    Args:
        dataset: A name, or the folder that was a data set.
        path: The file, in any format that Pillow decodes; turned as its camera says.
        size: Pixels a side; None = the data set's own.

    Raises:
        ValueError: The file cannot be decoded.
    """
    side = SIDES.get(dataset) if size is None else size
    pixels, _ = read(path, side, "stretch" if dataset in PHOTOGRAPHS else "crop")
    if dataset not in SIDES:
        return pixels
    weights = torch.tensor(GREY, dtype=torch.int32)[:, None, None]
    grey = (((pixels * weights).sum(0, keepdim=True) + 2**15) >> 16).to(torch.uint8)
    return 255 - grey if dataset == "mnist" and is_light(grey) else grey


def is_light(image: UInt8[Tensor, "1 height width"]) -> bool:
    """Tell whether the median of the outermost pixels is above one half."""
    plane = image[0]
    border = torch.cat((plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]))
    return bool(border.median() > 127)


def found(given: Sequence[Path], without: Path | None = None) -> tuple[list[Path], set[Path]]:
    """Return the files that paths lead to, each once: files as given, then those in folders, at any depth, sorted by path.

    Names that begin with a dot are passed over, and so is all that lies in the folder `without`.

    Returns:
        The files, and which of them were found in a folder: those may be something else than images.

    Raises:
        FileNotFoundError: A path leads nowhere, or to a folder without files.
    """
    files: dict[Path, Path] = {}  # by resolved path
    listed: set[Path] = set()
    for place in given:
        if place.is_file():
            files.setdefault(place.resolve(), place)
            listed.discard(files[place.resolve()])
            continue
        if not place.is_dir():
            raise FileNotFoundError(f"{place} is not there: expected an image file, or a folder that holds some")
        inside = [path for path in sorted(place.rglob("*")) if path.is_file() and visible(path.relative_to(place), path, without)]
        if not inside:
            raise FileNotFoundError(f"{place} holds no files: expected images")
        for path in inside:
            if path.resolve() not in files:
                files[path.resolve()] = path
                listed.add(path)
    return list(files.values()), listed


def visible(name: Path, path: Path, without: Path | None) -> bool:
    """Tell whether a file in a folder counts."""
    hidden = any(part.startswith(".") for part in name.parts)
    return not hidden and (without is None or without.resolve() not in path.resolve().parents)
