"""A user's own image files, prepared like the images of a data set, without that data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from glimpse_env.datasets import NAMED
from glimpse_env.datasets.decode import read_image

GREY = (19595, 38470, 7471)  # weights of red, green and blue in 65536ths (ITU-R 601-2), as Pillow has them


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


def read_like(dataset: str, path: Path, size: int | None) -> UInt8[Tensor, "channel height2 width2"]:
    """Decode an image file as `datasets.load` does for this data set.

    MNIST's digits are light on dark: there a file with a light border (the median of its outermost pixels above one half) is inverted, so
    that dark ink on white paper can be read too.

    Args:
        dataset: A name, or the folder that was the data set.
        path: The file, in any format that Pillow decodes; turned upright by its EXIF orientation.
        size: Side in pixels; None = the data set's preset (of a folder: the file's own size).

    Raises:
        ValueError: The file cannot be decoded.
    """
    spec = NAMED.get(dataset)
    if spec is None:
        return read_image(path, size, "crop")[0]
    pixels, _ = read_image(path, spec.preset.image_size if size is None else size, spec.fit)
    if not spec.grey:
        return pixels
    weights = torch.tensor(GREY, dtype=torch.int32)[:, None, None]
    grey = (((pixels * weights).sum(0, keepdim=True) + 2**15) >> 16).to(torch.uint8)
    return 255 - grey if spec.dark_ground and is_light(grey) else grey


def is_light(image: UInt8[Tensor, "1 height width"]) -> bool:
    """Tell whether the median of the outermost pixels is above one half."""
    plane = image[0]
    border = torch.cat((plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]))
    return bool(border.median() > 127)


def find_files(paths: Sequence[Path], without: Path | None = None) -> tuple[list[Path], set[Path]]:
    """Return files, each once: those given, and those in given folders, at any depth, sorted by path.

    Names that begin with a dot are ignored, and so are all files in the folder `without`.

    Returns:
        The files, and those of them that come from a folder: they need not be images.

    Raises:
        FileNotFoundError: A path does not exist, or is a folder without files.
    """
    files: dict[Path, Path] = {}  # by resolved path
    listed: set[Path] = set()
    for given in paths:
        if given.is_file():
            files.setdefault(given.resolve(), given)
            listed.discard(files[given.resolve()])
            continue
        if not given.is_dir():
            raise FileNotFoundError(f"{given} does not exist: expected an image file, or a folder of images")
        inside = [
            path
            for path in sorted(given.rglob("*"))
            if path.is_file() and is_listed(path.relative_to(given), path, without)
        ]
        if not inside:
            raise FileNotFoundError(f"{given} holds no files: expected images")
        for path in inside:
            if path.resolve() not in files:
                files[path.resolve()] = path
                listed.add(path)
    return list(files.values()), listed


def is_listed(name: Path, path: Path, without: Path | None) -> bool:
    """Tell whether a file in a folder counts: it is not hidden, and not in `without`."""
    hidden = any(part.startswith(".") for part in name.parts)
    return not hidden and (without is None or without.resolve() not in path.resolve().parents)
