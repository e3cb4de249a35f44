"""Data set objects of dicts, as Hugging Face has them, and photographs by the thousand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import FakeData

from glimpse_env import GlimpseVectorEnv
from glimpse_env.datasets import Keyed, find_kind, load
from glimpse_env.datasets.sources import items, objects


class ClassLabel:
    """The feature of labels with names."""

    def __init__(self, *names: str) -> None:
        """Hold the names."""
        self.names = list(names)


class HuggingFace:
    """The interface of `datasets.Dataset`: rows that are dicts, and features by column."""

    def __init__(self, columns: dict[str, list[Any]], **features: Any) -> None:
        """Hold the columns."""
        self.columns = columns
        self.features = {name: features.get(name) for name in columns}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a row."""
        return {name: values[index] for name, values in self.columns.items()}


def pictures(count: int, side: int = 8) -> list[Image.Image]:
    """Return images, each of its own shade."""
    return [Image.new("RGB", (side, side), (number, 0, 0)) for number in range(count)]


def test_class_names_are_those_of_the_features():
    data = HuggingFace({"image": pictures(3), "label": [1, 0, 1]}, label=ClassLabel("cat", "dog"))
    images = load(data)
    assert (images.classes, images.labels.tolist()) == (("cat", "dog"), [1, 0, 1])


def test_other_keys_are_named_in_one_line():
    columns = {"photo": pictures(3), "species": [1, 0, 1], "label": ["x"] * 3}
    data = HuggingFace(columns, species=ClassLabel("cat", "dog"))
    images = load(Keyed(data, image="photo", label="species"))
    assert (images.classes, images.labels.tolist()) == (("cat", "dog"), [1, 0, 1])
    assert images.stack()[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert load(Keyed(data, "photo", "species"), "validation").labels.shape == (1,)
    plain = [{"a": torch.zeros(3, 200, 200), "b": number} for number in (4, 7)]
    assert load(Keyed(plain, "a", "b")).classes == ("4", "7")
    assert find_kind(Keyed(plain, "a", "b")) == "photographs"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            HuggingFace({"photo": pictures(1), "label": [0]}),
            r"dataset\[0\]: expected one of the keys image, img, pixel_values, got 'photo', 'label'; name "
            r"the keys: datasets\.Keyed\(dataset, image=\.\.\., label=\.\.\.\)",
        ),
        (
            HuggingFace({"image": pictures(1), "species": [0]}),
            r"one of the keys label, labels, target, class",
        ),
        (
            HuggingFace({"image": pictures(1), "label": ["cat"]}),
            r"label of image 0 is 'cat': .*number the names",
        ),
        (
            HuggingFace({"image": pictures(2), "label": [0, 1.0]}),
            r"label of image 1 is 1\.0: expected a whole",
        ),
        (HuggingFace({"image": pictures(2), "label": [0, None]}), r"label of image 1 is None"),
        (HuggingFace({"image": [*pictures(1), None], "label": [0, 1]}), r"image 1 is a NoneType"),
        (
            Keyed(HuggingFace({"a": pictures(1), "b": [0]}), "a", "c"),
            r"dataset\[0\]: expected the key 'c', got",
        ),
        (Keyed([(0, 1)], "a", "b"), r"dataset\[0\]: expected the key 'a', got a tuple"),
        ({"train": [0]}, r"got a dict of 'train'; give one of its values"),
    ],
)
def test_items_that_cannot_be_used_are_named(data, message):
    with pytest.raises(TypeError, match=message):
        load(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HuggingFace({"image": [], "label": []}), "the HuggingFace object is empty"),
        (Keyed([], "a", "b"), "the Keyed object is empty"),
        (HuggingFace({"image": pictures(2), "label": [0, -1]}), "label -1 of image 1: expected from 0 on"),
        (
            HuggingFace({"image": pictures(2), "label": [0, -1]}, label=ClassLabel("a", "b")),
            "label -1 of image 1: expected 0 to 1, for 2 classes",
        ),
        (
            HuggingFace({"image": pictures(2), "label": [0, 2]}, label=ClassLabel("a", "b")),
            "label 2 of image 1",
        ),
    ],
)
def test_labels_that_cannot_occur_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        load(data)


def test_labels_with_gaps_are_mapped_with_a_word(caplog):
    assert load(HuggingFace({"image": pictures(2), "label": [5, 3]})).classes == ("3", "5")
    assert "labels 3, 5 are not numbered from 0 without gaps" in caplog.text


def test_many_photographs_go_into_a_store_of_this_process(tmp_path, monkeypatch):
    """The file has no name any more; pixels, labels and key are those of a folder of the same images."""
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path))
    data = HuggingFace({"image": pictures(5, 120), "label": [0, 1, 1, 0, 1]})
    plain = load(data, image_size=32)
    for module in (items, objects):
        monkeypatch.setattr(module, "MANY", 4)
    stored = load(data, image_size=32)
    assert torch.equal(stored.images, plain.images)
    assert torch.equal(stored.labels, plain.labels)
    assert stored.key is not None
    assert load(data, image_size=32).key == stored.key
    assert list(tmp_path.iterdir()) == []
    small = HuggingFace(
        {"image": [image.resize((8, 8)).convert("L") for image in pictures(5)], "label": [0] * 5}
    )
    assert load(small, image_size=8).images.shape == (5, 1, 8, 8)
    with pytest.raises(ValueError, match="image 4 has 4 channels: expected 1 or 3"):
        load([*((image, 0) for image in pictures(4, 120)), (torch.zeros(4, 120, 120), 1)], image_size=32)


def test_torchvisions_fake_data_is_an_object():
    data = FakeData(size=12, image_size=(3, 24, 20), num_classes=3)
    env = GlimpseVectorEnv(2, data, image_size=16)
    assert env.images.images.shape == (12, 3, 16, 16)
    assert find_kind(FakeData(size=1)) == "photographs"  # of 224 x 224 pixels


def test_a_strip_of_one_pixel_is_read(tmp_path):
    strip = Image.fromarray(np.full((1, 30_000, 3), 90, np.uint8))
    images = load([(strip, 0), (strip.transpose(Image.Transpose.ROTATE_90), 1)], image_size=64)
    assert images.images.unique().tolist() == [90]
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            strip.save(tmp_path / label / f"{number}.png")
    assert load(tmp_path, image_size=512).images.unique().tolist() == [90]
    assert find_kind(tmp_path) == "photographs"


@pytest.mark.parametrize("name", ["1.tif", "1.jpg"])
def test_an_empty_file_is_named(tmp_path, name):
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(3):
            Image.new("RGB", (100, 100)).save(tmp_path / label / f"{number}.png")
    (tmp_path / "b" / name).touch()
    with pytest.raises(ValueError, match=rf"b/{name[0]}\.{name[2:]} cannot be read as an image"):
        for split in ("train", "test"):
            load(tmp_path, split, image_size=32)
    lines = ["path,label", "a/0.png,a", "b/0.png,b", f"b/{name},b"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"cannot be read as an image"):
        for split in ("train", "test"):
            load(tmp_path / "list.csv", split, image_size=32)
