"""Data sets without a name: photographs or small images, by the first image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from glimpse_env import datasets, presets
from glimpse_env.datasets import find_kind, find_preset, folder, photographs, recognise
from glimpse_env.datasets.base import ImageSet, Preset


def write(path: Path, width: int, height: int, mode: str = "RGB") -> None:
    """Write an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height)).save(path)


class Items(Dataset):
    """Items as a data set object."""

    def __init__(self, items: list) -> None:
        """Hold them."""
        self.items = items

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        """Return one."""
        return self.items[index]


@pytest.mark.parametrize(
    ("size", "mode", "kind", "side"),
    [
        ((97, 20), "RGB", "photographs", 512),
        ((20, 97), "RGBA", "photographs", 512),
        ((640, 480), "P", "photographs", 512),
        ((30_000, 1), "RGB", "photographs", 512),
        ((96, 96), "RGB", "digits", 96),
        ((60, 80), "RGB", "digits", 60),
        ((28, 28), "L", "digits", 28),
        ((640, 480), "L", "digits", 224),
        ((97, 20), "I;16", "digits", 224),
    ],
)
def test_three_channels_and_more_than_96_pixels_are_photographs(tmp_path, size, mode, kind, side):
    for path in ("train/b/1.png", "train/a/1.png", "test/a/1.png"):
        width, height = (8, 8) if path.startswith("test") else size
        write(tmp_path / path, width, height, mode)
    assert find_kind(tmp_path) == kind
    preset = find_preset(tmp_path)
    assert preset.image_size == side
    assert preset == (photographs.PRESET if kind == "photographs" else Preset(image_size=side))
    images = recognise(tmp_path)
    assert images is not None
    assert f"{tmp_path / 'train' / 'a' / '1.png'}, has {size[0]} x {size[1]} pixels" in images.reason


@pytest.mark.parametrize("layout", ["a", "train/a", "val/a", "Training Set/a"])
def test_the_first_image_is_found_in_every_layout(tmp_path, layout):
    write(tmp_path / layout / "deep" / "1.png", 200, 200)
    write(tmp_path / layout / ".hidden.png", 8, 8)
    assert find_kind(tmp_path) == "photographs"


def test_a_damaged_first_image_is_passed_over(tmp_path):
    write(tmp_path / "a" / "2.png", 200, 200)
    (tmp_path / "a" / "1.tif").touch()
    assert find_kind(tmp_path) == "photographs"


def test_a_relative_folder_is_found_in_root(tmp_path, monkeypatch):
    write(tmp_path / "data" / "mine" / "a" / "1.png", 200, 200)
    assert find_kind("mine", tmp_path / "data") == "photographs"
    assert presets.resolve("mine", tmp_path / "data").sensor == "crop"
    assert find_kind("mine") == "digits"
    monkeypatch.setenv("GLIMPSE_DATA", str(tmp_path / "data"))
    assert find_preset("mine") == photographs.PRESET


def test_what_cannot_be_found_gets_the_defaults_and_its_error_when_it_is_loaded(tmp_path):
    assert find_preset(tmp_path / "none") == folder.PRESET
    assert recognise("none") is None
    with pytest.raises(FileNotFoundError, match="neither a known data set"):
        datasets.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.new("RGB", (200, 100)), "photographs"),
        (Image.new("L", (200, 100)), "digits"),
        (torch.zeros(3, 200, 100, dtype=torch.uint8), "photographs"),
        (np.zeros((200, 100, 3), np.uint8), "photographs"),
        (torch.zeros(3, 96, 96), "digits"),
        (torch.zeros(300, 300), "digits"),
    ],
)
def test_objects_count_by_their_first_item(image, kind):
    for item in ((image, 0), {"image": image, "label": 0}):
        data = Items([item])
        assert find_kind(data) == kind
        assert find_preset(data) == (photographs.PRESET if kind == "photographs" else Preset())


@pytest.mark.parametrize("data", [Items([]), Items([3]), Items([{"picture": 1}]), 5, None, iter(())])
def test_objects_that_cannot_be_read_get_the_defaults(data):
    assert find_kind(data) == "digits"
    assert find_preset(data) == Preset()


def test_looking_at_an_object_draws_no_random_numbers():
    class Noise(Items):
        def __getitem__(self, index: int) -> object:
            return torch.rand(3, 8, 8), 0

    before = torch.random.get_rng_state()
    find_preset(Noise([0]))
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_image_set_is_taken_as_it_is():
    images = ImageSet(torch.zeros(2, 3, 200, 200, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"))
    assert find_preset(images) == Preset()


def test_named_data_sets_have_their_own():
    for name, spec in datasets.NAMED.items():
        assert (find_kind(name), find_preset(name)) == (spec.kind, spec.preset)


def test_complete_settings_need_no_data_set(tmp_path):
    """A checkpoint's settings are all of them: None among them is no question to the data set's preset."""
    write(tmp_path / "a" / "1.png", 200, 200)
    given: dict[str, Any] = dict(
        image_size=64, scales=(1.0,), first_view="image", initial_location="center", fill="zero"
    )
    given |= dict(max_glimpses=4, sensor="pixel", glimpse_size=None)
    for data in (tmp_path, tmp_path / "gone"):
        assert presets.resolve(data, **given) == Preset(image_size=64, max_glimpses=4)
    assert presets.resolve(tmp_path, sensor="pixel").glimpse_size == 224
