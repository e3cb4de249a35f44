"""torchvision's data sets, read from small files in the layouts that torchvision's classes expect."""

from __future__ import annotations

import csv
import logging
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets as tv

from glimpse_env import GlimpseVectorEnv, datasets, presets
from glimpse_env.datasets import find_kind, find_preset, load, photographs, recognise
from glimpse_env.datasets.base import Preset
from glimpse_env.datasets.sources import paths
from glimpse_env.datasets.sources.torchvision_sets import SETS
from glimpse_env.training import options

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Stores go to a folder of the test."""
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))


def write(path: Path, *size: int, shade: int | None = None) -> None:
    """Write a noisy image of (width, height), or one of a shade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size or (120, 100)
    pixels = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels if shade is None else np.full_like(pixels, shade)).save(path)


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Write CIFAR10: 5 x 10 training images and 10 test images; return the test images."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    data = RANDOM.integers(0, 256, (10, 3 * 32 * 32), dtype=np.uint8)
    for name in (
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ):
        content = {"data": data, "labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(content))
    names = ["airplane", *"bcdefghij"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    monkeypatch.setattr(tv.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    return data.reshape(10, 3, 32, 32)


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write an IDX file of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = b"\0\0\x08" + bytes([values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def write_mnist(folder: Path, labels: np.ndarray, stem: str = "", test: str = "t10k") -> np.ndarray:
    """Write training and test images as MNIST has them; return the images, which are the same in both."""
    images = RANDOM.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    for part in ("train", test):
        write_idx(folder / f"{stem}{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{stem}{part}-labels-idx1-ubyte", labels)
    return images


def write_gtsrb(root: Path) -> None:
    """Write GTSRB: 3 classes of images that differ in size."""
    base = root / "gtsrb"
    for label in range(3):
        for number in range(3):
            path = base / "GTSRB" / "Training" / f"{label:05d}" / f"{number}.ppm"
            write(path, 20 + number, 30, shade=50 * label)
    with (base / "GT-final_test.csv").open("w") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(["Filename", "Width", "ClassId"])
        for label in range(3):
            write(base / "GTSRB" / "Final_Test" / "Images" / f"{label}.ppm", 40, 40, shade=50 * label)
            rows.writerow([f"{label}.ppm", 40, label])


def write_flowers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write Flowers102: 12 photographs of 2 of its classes, 6 to train, 2 to validate, 4 to test."""
    folder = root / "flowers-102"
    for number in range(1, 13):
        write(folder / "jpg" / f"image_{number:05d}.jpg", 130, 110)
    savemat(folder / "imagelabels.mat", {"labels": [1, 2] * 6})
    parts = {"trnid": list(range(1, 7)), "valid": [7, 8], "tstid": list(range(9, 13))}
    savemat(folder / "setid.mat", parts)
    monkeypatch.setattr(tv.Flowers102, "_check_integrity", lambda self: True)


def write_lists(folder: Path, images: Path, lists: dict[str, list[str]], ending: str = ".jpg") -> None:
    """Write lists of images, and the images that they name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
        for line in lines:
            write((images / line.split()[0]).with_suffix(ending))


def test_cifar10_is_read_from_its_arrays(tmp_path, monkeypatch):
    pixels = write_cifar(tmp_path, monkeypatch)
    train, test = (load("torchvision:CIFAR10", part, root=tmp_path) for part in ("train", "test"))
    assert (len(train), len(test)) == (50, 10)
    assert train.classes[0] == "airplane"
    assert test.labels.tolist() == list(range(10))
    assert torch.equal(test.stack(), torch.from_numpy(pixels))
    parts = [load("torchvision:CIFAR10", part, root=tmp_path) for part in ("fit", "validation")]
    assert [len(part) for part in parts] == [46, 4]
    env = GlimpseVectorEnv(2, "torchvision:CIFAR10", root=tmp_path)
    assert env.reset(seed=0)[0]["glimpse"].shape == (2, 3, 8, 8)


def test_fashion_mnist_keeps_one_channel(tmp_path, monkeypatch):
    images = write_mnist(tmp_path / "data" / "FashionMNIST" / "raw", np.arange(10) % 10)
    monkeypatch.setenv("GLIMPSE_DATA", str(tmp_path / "data"))
    test = load("torchvision:FashionMNIST", "test", download=False)
    assert torch.equal(test.stack(), torch.from_numpy(images)[:, None])
    assert test.classes[9] == "Ankle boot"
    assert find_preset("torchvision:FashionMNIST") == Preset(image_size=28)


def test_only_classes_that_training_images_have_count(tmp_path, caplog):
    """EMNIST's letters and digits, of which three occur: no class is left that cannot be predicted."""
    caplog.set_level(logging.INFO, "glimpse_env")
    write_mnist(tmp_path / "EMNIST" / "raw", np.array([1, 10, 46, 1]), "emnist-balanced-", "test")
    images = load("torchvision:EMNIST", root=tmp_path)
    assert images.classes == ("1", "A", "t")
    assert images.labels.tolist() == [0, 1, 2, 0]
    assert "3 of its classes have training images: their labels become 0 to 2" in caplog.text


def test_qmnist_has_labels_of_several_numbers(tmp_path):
    folder = tmp_path / "QMNIST" / "raw"
    images = RANDOM.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    labels = np.zeros((4, 8), ">i4")
    labels[:, 0] = [3, 1, 3, 0]
    write_idx(folder / "qmnist-train-images-idx3-ubyte", images)
    header = b"\0\0\x0c\x02" + (4).to_bytes(4, "big") + (8).to_bytes(4, "big")
    (folder / "qmnist-train-labels-idx2-int").write_bytes(header + labels.tobytes())
    found = load("torchvision:QMNIST", root=tmp_path)
    assert [found.classes[label].split()[0] for label in found.labels] == ["3", "1", "3", "0"]
    assert torch.equal(found.stack(), torch.from_numpy(images)[:, None])


def test_gtsrb_has_images_of_many_sizes(tmp_path):
    write_gtsrb(tmp_path)
    train, test = (
        load("torchvision:GTSRB", part, root=tmp_path, image_size=24) for part in ("train", "test")
    )
    assert train.classes == test.classes == ("0", "1", "2")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert test.stack().float().mean((1, 2, 3)).tolist() == [0, 50, 100]
    assert find_preset("torchvision:GTSRB").image_size == 48


def test_svhn_is_read_from_matlab_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tv.SVHN, "_check_integrity", lambda self: True)
    pixels = RANDOM.integers(0, 256, (32, 32, 3, 10), dtype=np.uint8)
    for part in ("train", "test"):
        (tmp_path / "svhn").mkdir(exist_ok=True)
        savemat(tmp_path / "svhn" / f"{part}_32x32.mat", {"X": pixels, "y": np.arange(1, 11)[:, None]})
    images = load("torchvision:SVHN", root=tmp_path)
    assert images.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]  # the file calls 0 ten
    assert torch.equal(images.stack(), torch.from_numpy(pixels.transpose(3, 2, 0, 1)))
    (tmp_path / "svhn" / "train_32x32.mat").rename(tmp_path / "train_32x32.mat")
    assert len(load("torchvision:SVHN", root=tmp_path)) == 10  # in the root itself, as torchvision puts it


def test_flowers_have_validation_images_of_their_own(tmp_path, monkeypatch):
    write_flowers(tmp_path, monkeypatch)
    expected = {"train": 6, "fit": 6, "validation": 2, "test": 4, "fit:1/3": 4, "validation:1/3": 2}
    for part, count in expected.items():
        images = load("torchvision:Flowers102", part, root=tmp_path, image_size=64)
        assert len(images) == count
        assert images.images.shape[1:] == (3, 64, 64)
        assert images.classes == ("pink primrose", "hard-leaved pocket orchid")
    assert (find_kind("torchvision:Flowers102"), find_preset("torchvision:Flowers102")) == (
        "photographs",
        photographs.PRESET,
    )


def test_pets_are_read_from_their_lists(tmp_path):
    base = tmp_path / "oxford-iiit-pet"
    lists = {"trainval.txt": [f"Abyssinian_{n} 1 1 1" for n in range(3)] + ["american_bulldog_1 2 2 1"]}
    lists["test.txt"] = ["american_bulldog_9 2 2 1"]
    write_lists(base / "annotations", base / "images", lists)
    (base / "annotations" / "trimaps").mkdir()
    train = load("torchvision:OxfordIIITPet", root=tmp_path, image_size=32)
    assert (train.classes, train.labels.tolist()) == (("Abyssinian", "American Bulldog"), [0, 0, 0, 1])
    assert load("torchvision:OxfordIIITPet", "test", root=tmp_path, image_size=32).labels.tolist() == [1]


def test_textures_are_read_from_their_lists(tmp_path):
    base = tmp_path / "dtd" / "dtd"
    kinds = ("banded", "dotted")
    lists = {f"{part}1.txt": [f"{kind}/{part}.jpg" for kind in kinds] for part in ("train", "val", "test")}
    write_lists(base / "labels", base / "images", lists)
    for part in ("train", "validation", "test"):
        images = load("torchvision:DTD", part, root=tmp_path, image_size=32)
        assert (images.classes, images.labels.tolist()) == (kinds, [0, 1])


def test_sets_without_a_test_split_are_divided_by_class(tmp_path, monkeypatch):
    """EuroSAT's files, and Caltech101, whose class has no list of files: many of its images get a store."""
    monkeypatch.setattr(paths, "MANY", 4)
    monkeypatch.setattr("glimpse_env.datasets.sources.torchvision_sets.MANY", 4)
    for kind in ("Forest", "River"):
        for number in range(1, 6):
            write(tmp_path / "eurosat" / "2750" / kind / f"{kind}_{number}.jpg", 64, 64)
            write(tmp_path / "caltech101" / "101_ObjectCategories" / kind / f"image_{number:04d}.jpg")
    (tmp_path / "caltech101" / "101_ObjectCategories" / "BACKGROUND_Google").mkdir()
    (tmp_path / "caltech101" / "Annotations").mkdir()
    for name in ("EuroSAT", "Caltech101"):
        parts = [
            load(f"torchvision:{name}", part, root=tmp_path, image_size=32) for part in ("train", "test")
        ]
        assert [part.labels.tolist() for part in parts] == [[0] * 4 + [1] * 4, [0, 1]]
        shown = {tuple(image.flatten().tolist()) for part in parts for image in part.stack()}
        assert len(shown) == 10
        assert parts[0].key is not None
        again = load(f"torchvision:{name}", root=tmp_path, image_size=32)
        assert again.key == parts[0].key


def test_a_store_of_items_is_kept_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("glimpse_env.datasets.sources.torchvision_sets.MANY", 4)
    folder = tmp_path / "caltech101" / "101_ObjectCategories"
    for kind in "ab":
        for number in range(1, 6):
            write(folder / kind / f"image_{number:04d}.jpg")
    (folder / "BACKGROUND_Google").mkdir()
    (tmp_path / "caltech101" / "Annotations").mkdir()
    opened = []
    read = tv.Caltech101.__getitem__

    def count(self: tv.Caltech101, index: int) -> tuple:
        opened.append(index)
        return read(self, index)

    monkeypatch.setattr(tv.Caltech101, "__getitem__", count)
    first = load("torchvision:Caltech101", root=tmp_path, image_size=16)
    decoded, _ = len(opened), opened.clear()
    assert load("torchvision:Caltech101", root=tmp_path, image_size=16).key == first.key
    assert len(opened) == 2 < decoded  # the first and the last item, to compare their labels
    write(folder / "b" / "image_0003.jpg")
    assert load("torchvision:Caltech101", root=tmp_path, image_size=16).key != first.key


def test_imagenet_is_measured_on_its_validation_images(tmp_path, caplog):
    caplog.set_level(logging.INFO, "glimpse_env")
    base = tmp_path / "imagenet"
    for part in ("train", "val"):
        for wnid in ("n01", "n02"):
            write(base / part / wnid / "1.JPEG", 200, 150)
    names = {"n01": ("tench", "Tinca tinca"), "n02": ("goldfish",)}
    torch.save((names, ["n01", "n02"]), base / "meta.bin")
    images = load("torchvision:ImageNet", "test", root=tmp_path, image_size=32)
    assert images.classes == ("tench, Tinca tinca", "goldfish")
    assert "torchvision:ImageNet: its validation images are the test images" in caplog.text


def test_what_is_missing_is_named_with_its_folder(tmp_path, monkeypatch):
    message = (
        r"dataset='torchvision:Flowers102': torchvision cannot read its files in .*flowers-102 \(.*not "
        r"found.*\)\. Put them there as torchvision\.datasets\.Flowers102\('.*'\) reads them; root= or"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load("torchvision:Flowers102", root=tmp_path, image_size=64, download=False)

    def offline(self: tv.Flowers102) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(tv.Flowers102, "download", offline)
    with pytest.raises(FileNotFoundError, match=message + r".*The download failed: OSError: Name or service"):
        load("torchvision:Flowers102", root=tmp_path, image_size=64)
    with pytest.raises(FileNotFoundError, match="stanford_cars"):
        load("torchvision:StanfordCars", root=tmp_path, image_size=64)


def test_a_set_is_downloaded_by_torchvision(tmp_path, monkeypatch):
    def fetch(self: tv.EuroSAT) -> None:
        for kind in "ab":
            for number in range(3):
                write(tmp_path / "eurosat" / "2750" / kind / f"{number}.jpg", 64, 64)

    monkeypatch.setattr(tv.EuroSAT, "download", fetch)
    assert len(load("torchvision:EuroSAT", root=tmp_path)) == 4


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("flowers102", "Flowers102"),
        ("CIFAR", "CIFAR10"),
        ("Food", "Food101"),
        ("xyz", "Expected torchvision:"),
    ],
)
def test_unknown_names_are_refused_with_near_ones(name, near):
    with pytest.raises(ValueError, match=rf"dataset='torchvision:{name}': .*{near}.*one of CIFAR10"):
        load(f"torchvision:{name}")
    assert recognise(f"torchvision:{name}") is None


def test_every_line_fits_torchvisions_class():
    """The names of the arguments, and of the splits where the class checks them before it reads."""
    for name, line in SETS.items():
        assert callable(getattr(tv, name))
        assert find_kind(f"torchvision:{name}") == ("photographs" if line.side is None else "digits")
        with pytest.raises(FileNotFoundError) as caught:
            load(f"torchvision:{name}", root="/nonexistent/folder", image_size=32, download=False)
        assert "unexpected keyword" not in str(caught.value)
        assert "Unknown value" not in str(caught.value)


def test_help_and_the_page_name_every_set():
    page = Path(__file__).parents[2].joinpath("docs", "datasets", "torchvision.md").read_text()
    code = Path(options.__file__).read_text()
    for name in SETS:
        assert f"`{name}`" in page
        assert re.search(rf"\b{name}\b", code)


def test_presets_hold_the_names(tmp_path):
    assert presets.resolve("torchvision:Food101", sensor="pixel").image_size == 512
    assert datasets.find_preset("torchvision:CIFAR10") == Preset(image_size=32)
