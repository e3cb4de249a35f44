"""Stanford Cars: 16,185 photographs of 196 car models, 8,144 to train on and 8,041 to test.

Krause, Stark, Deng & Fei-Fei, "3D Object Representations for Fine-Grained Categorization", 3dRR workshop,
2013. The archive's own site is gone. The layout is the one of `torchvision.datasets.StanfordCars`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from glimpse_env.datasets.archive import Archive, Layout, Listing
from glimpse_env.datasets.photographs import read_mat, specify

PLACES = ("devkit/", "", "car_devkit/devkit/", "car_devkit/", "devkit/devkit/")  # of the lists in copies
COMBINED = "cars_annos.mat"  # lists the photographs of both splits, which are in car_ims
TEST_LIST = "cars_test_annos_withlabels.mat"
FOLDERS = {"train": "cars_train", "test": "cars_test"}
FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class")


def list_separate(split: str) -> dict[str, tuple[str, ...]]:
    """Return where the lists of a split may lie if each split has its own."""
    names = tuple(f"{place}cars_meta.mat" for place in PLACES)
    if split == "train":
        return {"names": names, "list": tuple(f"{place}cars_train_annos.mat" for place in PLACES)}
    again = "cars_test_annos_withlabels (1).mat"  # a browser's second download, as it is in a known copy
    return {
        "names": names,
        "list": (TEST_LIST, *(place + name for name in (TEST_LIST, again) for place in PLACES)),
    }


def read_listing(folder: Path, parts: Mapping[str, Path], split: str) -> Listing:
    """Read the MATLAB files."""
    file = parts["list"]
    combined = file.name == COMBINED
    fields = (*FIELDS, "relative_im_path", "test") if combined else (*FIELDS, "fname")
    records = np.atleast_1d(read_mat(file, "annotations")[0])
    if missing := [field for field in fields if field not in (records.dtype.names or ())]:
        expected = f"expected {', '.join(fields)}; cars_test_annos.mat has no labels"
        raise ValueError(f"{file}: its annotations have no {missing[0]!r}, {expected}")
    if combined:
        records = records[records["test"].astype(int) == (split == "test")]
    names = np.atleast_1d(read_mat(parts["names"], "class_names")[0])
    files = [Path(str(name)).name for name in records[fields[5]]]
    edges = np.stack([records[field].astype(np.float32) for field in FIELDS[:4]], axis=1)
    return Listing(
        file=file,
        images=[(parts["images"] / name).relative_to(folder).as_posix() for name in files],
        labels=[int(number) for number in records["class"]],
        names={number: str(name) for number, name in enumerate(names, start=1)},
        # MATLAB counts pixels from 1: a box that starts at pixel 1 starts at the image's edge, 0.
        boxes=lambda: torch.from_numpy(edges) - torch.tensor([1.0, 1.0, 0.0, 0.0]),
    )


ARCHIVE = Archive(
    name="cars",
    title="Stanford Cars",
    folders=("stanford_cars",),
    layouts=(
        Layout(list_separate, lambda split: {"images": (FOLDERS[split],)}),
        Layout(lambda _: {"names": (COMBINED,), "list": (COMBINED,)}, lambda _: {"images": ("car_ims",)}),
    ),
    classes=196,
    read_listing=read_listing,
    advice=(
        "Its authors no longer serve it. Copies: the photographs at "
        "https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset, links to car_devkit.tgz and to "
        "cars_test_annos_withlabels.mat at https://github.com/pytorch/vision/issues/7545; car_ims with "
        "cars_annos.mat serves too; a copy of class folders, such as car_data, is loaded by its path as the "
        "data set. "
    ),
)
SPEC = specify(ARCHIVE, short="Cars")
