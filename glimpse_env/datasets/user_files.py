"""A user's own image files, prepared like the images of a data set, without that data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from glimpse_env.datasets import NAMED
from glimpse_env.datasets.decode import Fit, from_pil, read_image, to_square
from glimpse_env.datasets.formats.notes import Notes
from glimpse_env.datasets.image_files import is_system

Side = int | Literal["native"] | None  # of the images; "native" = their own, None = the data set's


@dataclass(frozen=True)
class Unlabelled:
    """Images without labels (every label is 0) as a map-style data set."""

    images: Sequence[UInt8[Tensor, "channel height width"]]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "channel height width"], int]:
        """Return an image and 0."""
        return self.images[index], 0


def read_like(
    dataset: str,
    path: Path,
    size: Side,
    notes: Notes | None = None,
    channels: int | None = None,
) -> UInt8[Tensor, "channel height2 width2"]:
    """Decode an image file as `datasets.load` does for this data set.

    MNIST's digits are light on dark: there a file with a light border (the median of its outermost pixels
    above one half) is inverted, so that dark ink on white paper can be read too.

    `dataset` is a name, or the folder that was the data set; `size` the side in pixels, None = the data set's
    preset (of a folder: the file's own size), "native" = the file's own. `notes` is as for
    `decode.read_image`. `channels`: 1 or 3, None = as a data set of this name has.

    Raises:
        FileNotFoundError: There is no file at `path`.
        ValueError: The file cannot be decoded, or has too many pixels.
    """
    side, fit = find_size(dataset, size)
    return convert(dataset, read_image(path, side, fit, notes)[0], channels)


def prepare_like(
    dataset: str, pixels: UInt8[Tensor, "channel height width"], size: Side, channels: int | None = None
) -> UInt8[Tensor, "channel2 height2 width2"]:
    """Return an image in memory, of 1 or 3 channels, as `read_like` returns that of a file."""
    return convert(dataset, to_square(pixels, *find_size(dataset, size)), channels)


def find_size(dataset: str, size: Side) -> tuple[int | None, Fit]:
    """Return the side to which images of a data set are resized (None = not), and how they become square."""
    spec = NAMED.get(dataset)
    if spec is None or size == "native":
        return size if isinstance(size, int) else None, "crop"
    side = spec.preset.image_size if size is None else size
    return side if isinstance(side, int) else None, spec.fit


def convert(
    dataset: str, pixels: UInt8[Tensor, "channel height width"], channels: int | None
) -> UInt8[Tensor, "channel2 height width"]:
    """Return an image in grey or in colour, as the data set has them, and light on dark where these are."""
    spec = NAMED.get(dataset)
    grey = channels == 1 if channels is not None else spec is not None and spec.grey
    if not grey:
        return pixels.expand(3, -1, -1)
    if len(pixels) != 1:
        pixels = from_pil(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).convert("L"))
    return 255 - pixels if spec is not None and spec.dark_ground and is_light(pixels[0]) else pixels


def is_light(plane: UInt8[Tensor, "height width"]) -> bool:
    """Tell whether the median of the outermost pixels is above one half."""
    border = torch.cat((plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]))
    return bool(border.median() > 127)


def find_files(paths: Sequence[Path], without: Path | None = None) -> tuple[list[Path], set[Path]]:
    """Return files, each once: those given, and those in given folders, at any depth, sorted by path.

    The second result is those that come from a folder: they need not be images. Hidden and system
    files and folders are ignored (see `image_files.is_system`), and so are all files in the folder `without`.

    Raises:
        FileNotFoundError: None of the paths exists, or one is a folder without files.
    """
    files: dict[Path, Path] = {}  # by resolved path
    listed: set[Path] = set()
    if paths and not any(path.exists() for path in paths):
        raise FileNotFoundError(f"{paths[0]} does not exist: expected an image file, or a folder of images")
    for given in paths:
        if not given.is_dir():  # one that is missing, or no image, is named when it is read
            listed.discard(files.setdefault(given.resolve(), given))
            continue
        inside = [path for path in sorted(given.rglob("*")) if is_listed(path, given, without)]
        if not inside:
            raise FileNotFoundError(f"{given} holds no files: expected images")
        for path in inside:
            if files.setdefault(path.resolve(), path) is path:
                listed.add(path)
    return list(files.values()), listed


def is_listed(path: Path, folder: Path, without: Path | None) -> bool:
    """Tell whether a path in a folder counts: a file, not hidden or the system's, and not in `without`."""
    hidden = any(is_system(part) for part in path.relative_to(folder).parts)
    excluded = without is not None and without.resolve() in path.resolve().parents
    return path.is_file() and not hidden and not excluded
