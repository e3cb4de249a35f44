"""Stanford Cars: 16,185 photographs of 196 car models, 8,144 to train on and 8,041 to test.

Krause, Stark, Deng & Fei-Fei, "3D Object Representations for Fine-Grained Categorization", 3dRR workshop,
2013. The archive's own site is gone. The layout is the one of `torchvision.datasets.StanfordCars`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from glimpse_env.datasets.archive import Archive, Listing
from glimpse_env.datasets.photographs import read_mat, specify

META = "devkit/cars_meta.mat"
LISTS = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
FOLDERS = {"train": "cars_train", "test": "cars_test"}
FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")


def read_listing(folder: Path, split: str) -> Listing:
    """Read the MATLAB files."""
    file = folder / LISTS[split]
    records = np.atleast_1d(read_mat(file, "annotations")[0])
    if missing := [field for field in FIELDS if field not in (records.dtype.names or ())]:
        expected = f"expected {', '.join(FIELDS)}; cars_test_annos.mat has no labels"
        raise ValueError(f"{file}: its annotations have no {missing[0]!r}, {expected}")
    names = np.atleast_1d(read_mat(folder / META, "class_names")[0])
    edges = np.stack([records[field].astype(np.float32) for field in FIELDS[:4]], axis=1)
    return Listing(
        file=file,
        images=[f"{FOLDERS[split]}/{name}" for name in records["fname"]],
        labels=[int(number) for number in records["class"]],
        names={number: str(name) for number, name in enumerate(names, start=1)},
        # MATLAB counts pixels from 1: a box that starts at pixel 1 starts at the image's edge, 0.
        boxes=lambda: torch.from_numpy(edges) - torch.tensor([1.0, 1.0, 0.0, 0.0]),
    )


ARCHIVE = Archive(
    name="cars",
    title="Stanford Cars",
    folders=("stanford_cars",),
    needed=(META, *LISTS.values(), *FOLDERS.values()),
    classes=196,
    read_listing=read_listing,
    advice=(
        "Its authors no longer serve it. Copies: the photographs at "
        "https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset (take the inner folders of "
        "cars_train and cars_test), links to car_devkit.tgz and to cars_test_annos_withlabels.mat at "
        "https://github.com/pytorch/vision/issues/7545. "
    ),
)
SPEC = specify(ARCHIVE, short="Cars")
