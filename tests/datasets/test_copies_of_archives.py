"""Archives of photographs as people have them: parts of them, other places for their files, other names."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from glimpse_env.datasets import ImageSet, load
from tests.datasets.test_photographs import (
    COUNTS,
    SIZE,
    WRITERS,
    assert_boxes_fit,
    folders,
    write_cars,
    write_dogs,
)

__all__ = ["folders"]  # a fixture that keeps the user's folders untouched

scipy = pytest.importorskip("scipy.io", reason="reads and writes MATLAB files")


def read(name: str, split: str, root: Path) -> ImageSet:
    """A split, without a download."""
    return load(name, split, root=root, download=False, image_size=SIZE)


def assert_same(first: ImageSet, second: ImageSet) -> None:
    """Two splits hold the same images, labels, names and boxes."""
    assert first.classes == second.classes
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.images, second.images)
    assert first.boxes is not None
    assert second.boxes is not None
    assert torch.equal(first.boxes, second.boxes)


# A split needs its own files only


def remove_other_split(name: str, folder: Path, split: str) -> None:
    """Remove all that the other split has for itself."""
    other = "train" if split == "test" else "test"
    if name == "cub":
        for path in folder.glob(f"images/*/{other} *"):
            path.unlink()
    elif name == "dogs":
        (folder / f"{other}_list.mat").unlink()
        for path in (*folder.glob(f"Images/*/{other}_*"), *folder.glob(f"Annotation/*/{other}_*")):
            path.unlink()
    else:
        lists = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
        (folder / lists[other]).unlink()
        shutil.rmtree(folder / f"cars_{other}")


@pytest.mark.parametrize("split", COUNTS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_split_needs_its_own_files_only(tmp_path, name, split, caplog):
    caplog.set_level(logging.INFO, "glimpse_env")
    whole = WRITERS[name](tmp_path / "whole")
    part = WRITERS[name](tmp_path / "part")
    remove_other_split(name, part, split)
    first, second = read(name, split, whole.parent), read(name, split, part.parent)
    assert torch.equal(first.images, second.images)
    assert [first.classes[label] for label in first.labels] == [
        second.classes[label] for label in second.labels
    ]
    assert_boxes_fit(second)
    unlisted = split == "test" and name != "cub"
    assert ("the classes are all that have a name" in caplog.text) == unlisted
    if name == "cars" and split == "test":
        assert second.classes == tuple(f"Car {number}" for number in range(1, 6))
    else:
        assert first.classes == second.classes


@pytest.mark.parametrize("split", COUNTS)
@pytest.mark.parametrize("name", ["cars", "dogs"])
def test_the_files_of_a_split_that_lack_are_named(tmp_path, name, split):
    folder = WRITERS[name](tmp_path)
    remove_other_split(name, folder, "train" if split == "test" else "test")
    lists = {"cars": {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}}
    missing = lists.get(name, {}).get(split, f"{split}_list.mat")
    with pytest.raises(FileNotFoundError, match=rf"has no {missing}.*: the split {split} of Stanford"):
        read(name, split, tmp_path)


# Other places


def nest(folder: Path, *names: str) -> None:
    """Move folders into folders of their own names."""
    for name in names:
        (folder / name).rename(folder / "moved")
        (folder / name).mkdir()
        (folder / "moved").rename(folder / name / Path(name).name)


def move(folder: Path, moves: dict[str, str]) -> None:
    """Move files and folders inside a folder."""
    for source, target in moves.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / source).rename(folder / target)


TEST = "cars_test_annos_withlabels.mat"
LISTS = ("cars_meta.mat", "cars_train_annos.mat")
CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "cars: photographs in the folders of Kaggle": ("cars", lambda f: nest(f, "cars_train", "cars_test")),
    "cars: one split nested": ("cars", lambda f: nest(f, "cars_test")),
    "cars: the devkit unpacked twice": ("cars", lambda f: nest(f, "devkit")),
    "cars: lists beside the photographs": ("cars", lambda f: move(f, {f"devkit/{n}": n for n in LISTS})),
    "cars: car_devkit/devkit": ("cars", lambda f: move(f, {"devkit": "car_devkit/devkit"})),
    "cars: all in the devkit": ("cars", lambda f: move(f, {TEST: f"devkit/{TEST}"})),
    "cars: a second download": ("cars", lambda f: move(f, {TEST: TEST.replace(".mat", " (1).mat")})),
    "dogs: Kaggle": (
        "dogs",
        lambda f: move(f, {"Images": "images/Images", "Annotation": "annotations/Annotation"}),
    ),
    "dogs: lower case": ("dogs", lambda f: move(f, {"Images": "images", "Annotation": "annotation"})),
    "dogs: nested": ("dogs", lambda f: nest(f, "Images", "Annotation")),
    "cub: nested": ("cub", lambda f: nest(f, "images")),
}


@pytest.mark.parametrize("split", COUNTS)
@pytest.mark.parametrize("change", CHANGES)
def test_files_may_lie_where_copies_have_them(tmp_path, change, split):
    name, apply = CHANGES[change]
    expected = read(name, split, WRITERS[name](tmp_path / "official").parent)
    apply(WRITERS[name](tmp_path / "copy"))
    assert_same(read(name, split, tmp_path / "copy"), expected)


NAMES = {
    "cub": ("cub_200_2011", "CUB-200-2011", "CUB_200_2011/CUB_200_2011"),
    "cars": ("StanfordCars", "stanford-cars-dataset", "stanford_cars/stanford_cars", "Stanford Cars Dataset"),
    "dogs": ("StanfordDogs", "stanford-dogs-dataset", "stanford_dogs/StanfordDogs"),
}


@pytest.mark.parametrize(("name", "named"), [(name, named) for name, of in NAMES.items() for named in of])
def test_an_archives_folder_may_be_spelled_in_other_ways_or_lie_in_itself(tmp_path, name, named):
    folder = WRITERS[name](tmp_path / "data")
    folder.rename(tmp_path / "moved")
    (tmp_path / "data" / named).parent.mkdir(exist_ok=True)
    (tmp_path / "moved").rename(tmp_path / "data" / named)
    assert len(read(name, "train", tmp_path / "data")) == 6
    assert len(read(name, "test", tmp_path / "data" / named)) == 3
    assert len(read(name, "test", tmp_path / "data" / Path(named).parts[0])) == 3


# Cars in one list


def combine(folder: Path) -> None:
    """Turn Stanford Cars' layout into the one of car_ims and cars_annos.mat."""
    rows = []
    (folder / "car_ims").mkdir()
    names = scipy.loadmat(folder / "devkit/cars_meta.mat", squeeze_me=True)["class_names"]
    for split, file in (("test", TEST), ("train", "devkit/cars_train_annos.mat")):
        for record in scipy.loadmat(folder / file, squeeze_me=True)["annotations"]:
            path = f"car_ims/{len(rows):06}.jpg"
            (folder / f"cars_{split}" / str(record["fname"])).rename(folder / path)
            box = [int(record[edge]) for edge in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")]
            rows.append((path, *box, int(record["class"]), int(split == "test")))
        shutil.rmtree(folder / f"cars_{split}")
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    records = np.array(rows, dtype=[(field, object) for field in fields])
    scipy.savemat(folder / "cars_annos.mat", {"annotations": records, "class_names": names})
    shutil.rmtree(folder / "devkit")
    (folder / TEST).unlink()


@pytest.mark.parametrize("split", COUNTS)
def test_cars_in_one_list_are_the_same(tmp_path, split):
    expected = read("cars", split, write_cars(tmp_path / "official").parent)
    combine(write_cars(tmp_path / "copy"))
    assert_same(read("cars", split, tmp_path / "copy"), expected)


def test_the_list_of_all_cars_does_not_serve_the_photographs_of_the_splits(tmp_path):
    folder = write_cars(tmp_path)
    shutil.copytree(folder, tmp_path / "other" / folder.name)
    combine(tmp_path / "other" / folder.name)
    shutil.copy(tmp_path / "other" / folder.name / "cars_annos.mat", folder)
    assert len(read("cars", "train", tmp_path)) == 6
    shutil.rmtree(folder / "devkit")
    with pytest.raises(FileNotFoundError, match=r"has no .*: the split train .*car_devkit\.tgz"):
        read("cars", "train", tmp_path)


def test_cars_in_class_folders_are_said_to_be_a_data_set_by_their_path(tmp_path):
    for split in COUNTS:
        (tmp_path / "stanford_cars" / "car_data" / split / "Audi").mkdir(parents=True)
    with pytest.raises(
        FileNotFoundError, match="a copy of class folders, such as car_data, is loaded by its path"
    ):
        read("cars", "train", tmp_path)


@pytest.mark.parametrize(("split", "labels"), [("train", [1, 1, 2, 2, 3, 2_000_000]), ("test", [1, 2, 2])])
def test_a_breed_with_two_numbers_is_refused(tmp_path, split, labels):
    file = write_dogs(tmp_path) / f"{split}_list.mat"
    paths = scipy.loadmat(file, squeeze_me=True)["file_list"]
    scipy.savemat(file, {"file_list": paths[:, None], "labels": np.array(labels)[:, None]})
    message = (
        rf"{split}_list\.mat: n3-Dog/\w+\.jpg has class {labels[-1]}, but .*: expected one for each folder"
    )
    with pytest.raises(ValueError, match=message):
        read("dogs", split, tmp_path)
