"""Folders of class folders as people have them: system files, copies, names of splits, too few classes."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from glimpse_env.datasets import load
from glimpse_env.datasets.folder import name_split
from glimpse_env.datasets.image_files import find_identical
from glimpse_env.datasets.user_files import find_files


@pytest.fixture(autouse=True)
def logged(caplog) -> pytest.LogCaptureFixture:
    """What the package logs."""
    caplog.set_level(logging.INFO, "glimpse_env")
    return caplog


def draw(path: Path, *colour: int) -> None:
    """Write a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour or 0).save(path)


def write(folder: Path, red: int = 0, counts: tuple[int, ...] = (2, 2)) -> Path:
    """Write a class folder for each count: a, b, ...; red is as given, green by class, blue by image."""
    for label, count in enumerate(counts):
        for number in range(count):
            draw(folder / "abcdef"[label] / f"{number}.png", red, label, number)
    return folder


def reds(folder: Path, split: str) -> list[int]:
    """The red values of a split's images."""
    return load(folder, split).stack()[:, 0, 0, 0].tolist()


# Files that are no images


SYSTEM_FILES = (
    "a/._0.png",
    "a/.hidden.png",
    "a/.ipynb_checkpoints/0-checkpoint.png",
    "a/deep/.thumbnails/0.png",
    "a/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
    "__MACOSX/a/0.png",
    "a/__MACOSX/0.png",
    "b/$RECYCLE.BIN/0.png",
    ".Trash-1000/0.png",
    "System Volume Information/0.png",
    "lost+found/0.png",
    "a/Thumbs.db",
    "a/.DS_Store",
    "b/desktop.ini",
)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("inside", ["", "train", "test"])
def test_hidden_and_system_files_are_passed_over_at_every_depth(tmp_path, split, inside):
    if inside:
        write(tmp_path / "train")
        write(tmp_path / "test", 1)
    else:
        write(tmp_path, counts=(5, 5))
    before = load(tmp_path, split)
    for name in SYSTEM_FILES:
        target = tmp_path / inside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"no image")
    after = load(tmp_path, split)
    assert after.classes == before.classes == ("a", "b")
    assert torch.equal(after.images, before.images)
    assert torch.equal(after.labels, before.labels)


def test_system_files_in_a_folder_to_predict_are_passed_over(tmp_path):
    for name in ("a/0.png", *SYSTEM_FILES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert find_files([tmp_path])[0] == [tmp_path / "a/0.png"]


def test_images_deep_in_a_class_count_once_even_through_links(tmp_path):
    write(tmp_path)
    draw(tmp_path / "a" / "deep" / "er" / "2.png", 0, 0, 9)
    try:
        (tmp_path / "a" / "deep" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    except OSError:
        pytest.skip("no links on this file system")
    assert len(load(tmp_path)) + len(load(tmp_path, "test")) == 5


# Copies


def test_copies_across_splits_are_counted(tmp_path, logged):
    write(tmp_path / "train", counts=(3, 3))
    write(tmp_path / "test", 1, counts=(3, 3))
    load(tmp_path)
    assert "identical" not in logged.text
    for name, source in (("a/x.png", "a/0.png"), ("b/y.png", "b/1.png"), ("b/z.png", "b/1.png")):
        (tmp_path / "test" / name).write_bytes((tmp_path / "train" / source).read_bytes())
    message = f"3 of 9 test images are byte-identical to train images, such as {Path('train/a/0.png')} and"
    for split in ("train", "test", "fit"):
        logged.clear()
        load(tmp_path, split)
        assert [record.levelname for record in logged.records] == ["WARNING"]
        assert f"{message} {Path('test/a/x.png')}" in logged.text


def test_copies_that_the_division_of_a_class_takes_apart_are_counted(tmp_path, logged):
    write(tmp_path, counts=(5, 5))
    for number in range(5):
        copy = tmp_path / "a" / f"{number} (1).png"
        copy.write_bytes((tmp_path / "a" / f"{number}.png").read_bytes())
    train, test = load(tmp_path), load(tmp_path, "test")
    known = {tuple(image[:, 0, 0].tolist()) for image in train.images}
    leaked = sum(tuple(image[:, 0, 0].tolist()) in known for image in test.images)
    assert leaked > 0
    assert f"{leaked} of {len(test)} test images are byte-identical to train images" in logged.text
    assert f"of {len(train)} train images are byte-identical to other train images" in logged.text


def test_identical_files_are_told_from_those_of_one_size_or_one_middle(tmp_path):
    middle = bytes(5000)
    contents = (b"a" + middle, b"b" + middle, b"a" + middle, b"", b"a", b"b" + middle, b"b" + middle, b"")
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    paths = [str(tmp_path / str(number)) for number in range(len(contents))] + [str(tmp_path / "missing")]
    found = [[int(os.path.basename(path)) for path in group] for group in find_identical(paths)]
    assert sorted(found) == [[0, 2], [1, 5, 6], [3, 7]]


# Names of splits


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("training", "testing"),
        ("Training", "Test"),
        ("training_set", "test_set"),
        ("trainset", "testset"),
        ("train-images", "test images"),
        ("TrainData", "TestData"),
        ("seg_train", "seg_test"),
        ("train2017", "test2017"),
        ("birds_train", "birds_test"),
        ("train", "val"),
        ("train", "evaluation"),
        ("trainval", "test"),
        ("train", "valid"),
        ("Training", "Validation"),
        ("train/train", "test/test"),
    ],
)
def test_split_folders_have_the_names_that_people_give_them(tmp_path, train, test, logged):
    folder = tmp_path / "birds"
    write(folder / train, 1)
    write(folder / test, 2, counts=(0, 3))
    assert (reds(folder, "train"), reds(folder, "test")) == ([1] * 4, [2] * 3)
    assert load(folder, "test").labels.tolist() == [1] * 3
    assert load(folder, "test").classes == load(folder).classes == ("a", "b")
    assert len(load(folder, "fit")) == 3
    assert ("holds the test images" in logged.text) == test.lower().startswith(("val", "eval"))


def test_of_three_folders_the_middle_one_is_the_validation_split(tmp_path):
    for red, (name, counts) in enumerate({"Train": (3, 3), "val": (1, 2), "test": (2, 2)}.items()):
        write(tmp_path / name, red, counts)
    assert reds(tmp_path, "train") == reds(tmp_path, "fit") == [0] * 6
    assert reds(tmp_path, "validation") == [1] * 3
    assert reds(tmp_path, "test") == [2] * 4
    assert reds(tmp_path, "validation:1/3") == [0] * 2
    assert load(tmp_path, "validation").labels.tolist() == [0, 1, 1]


def test_other_folders_beside_the_splits_are_named(tmp_path, logged):
    write(tmp_path / "train")
    write(tmp_path / "unlabelled")
    assert load(tmp_path).classes == ("a", "b")
    assert "hence not read: unlabelled" in logged.text


@pytest.mark.parametrize("names", [("train", "Training"), ("test", "test_set"), ("val", "validation")])
def test_two_folders_of_one_split_are_refused(tmp_path, names):
    for name in {"train", *names}:
        write(tmp_path / name)
    with pytest.raises(ValueError, match=r"holds both \w+ and \w+, which are names of one split"):
        load(tmp_path)


FLAT = (("Train", "Test", ""), ("training", "val", ""))
DEEP = (("flowers_train", "flowers_test", ""), ("flowers_train", "flowers_test", "a"))


@pytest.mark.parametrize(("train", "test", "inside"), FLAT + DEEP)
def test_splits_are_never_taken_for_classes(tmp_path, train, test, inside):
    for name in (train, test):
        draw(tmp_path / name / inside / "x.png")
    with pytest.raises(
        ValueError, match="look like splits and not like classes: expected FOLDER/train/CLASS"
    ):
        load(tmp_path)


def test_splits_inside_classes_are_refused(tmp_path):
    for name in ("cat/train", "cat/test", "dog/train", "dog/test"):
        draw(tmp_path / name / "x.png")
    with pytest.raises(ValueError, match=r"cat is divided into test, train, which would be mixed"):
        load(tmp_path)


@pytest.mark.parametrize(
    "name", ["train_station", "tested", "valley", "contest", "cat", "2", "data", "images"]
)
def test_other_names_are_no_splits(name):
    assert name_split(name) is None


# Too few classes


@pytest.mark.parametrize("split", ["train", "test", "fit"])
@pytest.mark.parametrize("inside", ["", "train"])
def test_a_single_class_is_refused_with_what_was_found(tmp_path, split, inside):
    write(tmp_path / inside, counts=(3,))
    write(tmp_path / "test" if inside else tmp_path / ".other", counts=(1,))
    message = r"holds one class, 'a', with 3 images: expected at least two class folders"
    with pytest.raises(ValueError, match=message):
        load(tmp_path, split)


def test_the_folder_that_was_meant_is_named(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / "car_data" / name)
    message = r"one class, 'car_data', with 8 images and the folders test, train: .*give \S+car_data as"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_a_folder_that_was_unpacked_into_its_own_name_is_found(tmp_path):
    write(tmp_path / "car_data" / "car_data" / "train", 1)
    write(tmp_path / "car_data" / "car_data" / "test", 2)
    assert reds(tmp_path / "car_data", "test") == [2] * 4
    write(tmp_path / "pets" / "pets")
    assert load(tmp_path / "pets").classes == ("a", "b")


def test_images_outside_of_class_folders_are_counted(tmp_path):
    for number in range(3):
        draw(tmp_path / f"{number}.png")
    with pytest.raises(FileNotFoundError, match="3 images outside of class folders and no images in class"):
        load(tmp_path)


def test_a_test_split_needs_no_training_images(tmp_path):
    write(tmp_path / "test", 2)
    assert reds(tmp_path, "test") == [2] * 4
    with pytest.raises(FileNotFoundError, match="class folders in 'test' but none in 'train'"):
        load(tmp_path)
    write(tmp_path / "train", 1, counts=(0, 2))
    (tmp_path / "train" / "a").mkdir()
    assert reds(tmp_path, "test") == [2] * 4
    with pytest.raises(FileNotFoundError, match=r"no images in .*a: expected"):
        load(tmp_path)


def test_folders_that_may_be_splits_of_another_name_are_reported(tmp_path, logged):
    for split in ("gallery", "query"):
        for name in ("cat", "dog"):
            draw(tmp_path / split / name / "0.png", 10)
            draw(tmp_path / split / name / "1.png", 20)
    assert load(str(tmp_path), "train", image_size=8).classes == ("gallery", "query")
    text = "each of gallery, query holds the same folders, cat, dog, and is taken for a class"
    assert sum(text in message for message in logged.messages) == 1
    logged.clear()
    draw(tmp_path / "query" / "bird" / "0.png", 10)
    load(str(tmp_path), "train", image_size=8)
    assert "each of" not in logged.text
