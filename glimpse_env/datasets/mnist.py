"""MNIST: 60,000 training and 10,000 test digits of 28 x 28 pixels, embedded in the package.

`mnist.npz` holds the four arrays of Yann LeCun's and Corinna Cortes' MNIST database of handwritten digits
(derived from NIST Special Database 19), which they make available under the Creative Commons
Attribution-ShareAlike 3.0 licence (https://creativecommons.org/licenses/by-sa/3.0/); the file stays under
that licence. Images keep their original order and values; nothing was cropped, shifted or rescaled. It was
written from the original IDX files by
python -c "from glimpse_env.datasets.mnist import pack; pack('FOLDER_OF_IDX_GZ', 'mnist.npz')"
"""

from __future__ import annotations

import gzip
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch

from glimpse_env.datasets.base import DataSetSpec, ImageSet, Preset


def load(split: str) -> ImageSet:
    """Load "train" (60,000 images) or "test" (10,000)."""
    with as_file(files("glimpse_env.datasets") / "mnist.npz") as path, np.load(path) as packed:
        images, labels = packed[f"{split}_images"], packed[f"{split}_labels"]
    pixels, classes = torch.from_numpy(images)[:, None], tuple("0123456789")
    return ImageSet(pixels, torch.from_numpy(labels).long(), classes, key=f"mnist-{split}")


def pack(idx_folder: str | Path, target: str | Path) -> None:
    """Write the compressed file that `load` reads from the four `*-ubyte.gz` files of the MNIST database."""
    arrays = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        for part, kind, header in (("images", "idx3", 16), ("labels", "idx1", 8)):
            raw = gzip.decompress((Path(idx_folder) / f"{stem}-{part}-{kind}-ubyte.gz").read_bytes())
            values = np.frombuffer(raw, np.uint8, offset=header)
            arrays[f"{split}_{part}"] = values.reshape(-1, 28, 28) if part == "images" else values
    np.savez_compressed(target, **arrays)


SPEC = DataSetSpec(
    name="mnist",
    title="MNIST",
    short="MNIST",
    classes=10,
    kind="digits",
    # DT-RAM, section 4.2: 28 x 28 images, one 8 x 8 glimpse per step, 7 steps; its code limits locations to
    # 13 pixels from the centre.
    preset=Preset(28, 8, first_view="glimpse", location_range=13 / 14, max_glimpses=7),
    load=lambda split, *_: load(split),
    grey=True,
    dark_ground=True,
)
