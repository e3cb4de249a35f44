"""Archives of photographs: miniatures of the three official layouts, and every fault that one can have."""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import struct
import sys
import tarfile
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from glimpse_env import datasets
from glimpse_env.datasets import ImageSet, archive, cars, cub, dogs, load
from glimpse_env.datasets.decode import read_image
from glimpse_env.datasets.photographs import specify

REAL = Path(__file__).parents[3] / "shared" / "data" / "CUB_200_2011"
SIZE = 40
COUNTS = {"train": 2, "test": 1}  # photographs of each class
NUMBERS = (1, 2, 3)

Box = tuple[int, int, int, int]
Scene = tuple[int, str, Path, Box]  # class, split, file, box


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path) -> None:
    """Nothing of the user's is read or written."""
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GLIMPSE_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")


def write_scenes(file: Callable[[int, str, int], Path], numbers: tuple[int, ...]) -> list[Scene]:
    """Write photographs of several sizes, black but for a white object inside a random box."""
    dice, scenes = np.random.default_rng(0), []
    for number, (split, count) in product(numbers, COUNTS.items()):
        for index in range(count):
            width, height = (int(side) for side in dice.integers(60, 140, 2))
            left, top = (int(dice.integers(0, side // 2)) for side in (width, height))
            right, bottom = (int(dice.integers(20, side // 2)) for side in (width, height))
            box = (left, top, left + right, top + bottom)
            path = file(number, split, index)
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (width, height))
            ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="white")
            image.save(path, quality=95)
            scenes.append((number, split, path, box))
    return scenes


def write_cub(root: Path, numbers: tuple[int, ...] = NUMBERS) -> Path:
    """Write CUB's layout."""
    folder = root / "CUB_200_2011"
    images = folder / "images"
    scenes = write_scenes(lambda number, split, i: images / f"{number:03}.Bird/{split} {i}.jpg", numbers)
    lines: dict[str, list[str]] = defaultdict(list)
    for row, (number, split, path, (left, top, right, bottom)) in enumerate(scenes, start=7):
        lines["images.txt"].append(f"{row} {path.relative_to(images).as_posix()}")
        lines["image_class_labels.txt"].insert(0, f"{row} {number}")  # joined by number, not by line
        lines["train_test_split.txt"].append(f"{row} {int(split == 'train')}")
        lines["bounding_boxes.txt"].append(f"{row} {left}.0 {top}.0 {right - left}.0 {bottom - top}.0")
    lines["classes.txt"] = [f"{number} {number:03}.Bird" for number in numbers]
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n")
    return folder


def write_cars(root: Path, numbers: tuple[int, ...] = NUMBERS) -> Path:
    """Write Stanford Cars' layout."""
    from scipy.io import savemat

    folder = root / "stanford_cars"
    scenes = write_scenes(lambda number, split, i: folder / f"cars_{split}" / f"{number}{i}.jpg", numbers)
    (folder / "devkit").mkdir()
    fields = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for split, name in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        part = [(number, path.name, box) for number, of, path, box in scenes if of == split]
        rows = [(b[0] + 1, b[1] + 1, b[2], b[3], number, name) for number, name, b in part]
        savemat(folder / name, {"annotations": np.array(rows, dtype=fields)})
    names = np.array([f"Car {number}" for number in range(1, 6)], dtype=object)
    savemat(folder / "devkit/cars_meta.mat", {"class_names": names})
    return folder


def write_dogs(root: Path, numbers: tuple[int, ...] = NUMBERS) -> Path:
    """Write Stanford Dogs' layout; the box is that of two dogs in opposite corners."""
    from scipy.io import savemat

    folder = root / "stanford_dogs"
    images = folder / "Images"
    scenes = write_scenes(lambda number, split, i: images / f"n{number}-Dog/{split}_{i}.jpg", numbers)
    for _, _, path, (left, top, right, bottom) in scenes:
        note = folder / "Annotation" / path.parent.name / path.stem
        note.parent.mkdir(parents=True, exist_ok=True)
        dogs = ((left, top, left + 3, top + 3), (right - 3, bottom - 3, right, bottom))
        box = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
        objects = "".join(f"<object>{box.format(*dog)}</object>" for dog in dogs)
        note.write_text(f"<annotation>{objects}</annotation>")
    for split in COUNTS:
        part = [(f"{path.parent.name}/{path.name}", number) for number, of, path, _ in scenes if of == split]
        paths, labels = zip(*part, strict=True)
        columns = np.array(paths, dtype=object)[:, None], np.array(labels, dtype=np.uint8)[:, None]
        savemat(folder / f"{split}_list.mat", dict(zip(("file_list", "labels"), columns, strict=True)))
    return folder


WRITERS = {"cub": write_cub, "cars": write_cars, "dogs": write_dogs}
ARCHIVES = {"cub": cub.ARCHIVE, "cars": cars.ARCHIVE, "dogs": dogs.ARCHIVE}


@pytest.fixture(params=WRITERS)
def name(request) -> str:
    """Each archive's name in turn."""
    if request.param != "cub":
        pytest.importorskip("scipy", reason="reads MATLAB files")
    return request.param


def assert_boxes_fit(images: ImageSet) -> None:
    """The boxes are, to half a pixel, those around the white object of each photograph."""
    edges = []
    for mask in images.stack().float().mean(1) > 127:
        y, x = mask.nonzero().unbind(1)
        edges.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    assert images.boxes is not None
    assert (images.boxes - (torch.tensor(edges) / (SIZE / 2) - 1)).abs().max() < 2 / SIZE


# Layouts


@pytest.mark.parametrize(("split", "labels"), [("train", [0, 0, 1, 1, 2, 2]), ("test", [0, 1, 2])])
def test_each_layout_gives_labels_and_boxes_around_the_objects(name, split, labels, tmp_path):
    WRITERS[name](tmp_path)
    images = load(name, split, root=tmp_path, download=False, image_size=SIZE)
    assert images.images.shape == (len(labels), 3, SIZE, SIZE)
    assert images.labels.tolist() == labels
    expected = {"cub": "{:03}.Bird", "cars": "Car {}", "dogs": "n{}-Dog"}[name]
    assert images.classes == tuple(expected.format(number) for number in NUMBERS)
    assert_boxes_fit(images)


def test_parts_of_the_training_images_share_the_stored_pixels_and_keep_their_boxes(tmp_path):
    write_cub(tmp_path)
    for split, count in (("fit:1/3", 4), ("validation:1/3", 2)):
        part = load("cub", split, root=tmp_path, image_size=SIZE)
        assert (len(part), len(part.images)) == (count, 6)
        assert_boxes_fit(part)
        assert part.key == load("cub", root=tmp_path, image_size=SIZE).key


def test_an_archive_may_be_the_folder_itself_or_lie_in_glimpse_data_or_at_home(name, tmp_path, monkeypatch):
    folder = WRITERS[name](tmp_path / "data")
    assert len(load(name, root=folder, image_size=SIZE)) == 6
    other = folder.rename(tmp_path / "other")  # any name
    assert len(load(name, root=other, image_size=SIZE)) == 6
    again = WRITERS[name](tmp_path / "data")
    monkeypatch.setenv("GLIMPSE_DATA", str(tmp_path / "data"))
    assert len(load(name, image_size=SIZE)) == 6
    monkeypatch.delenv("GLIMPSE_DATA")
    shutil.copytree(again, tmp_path / "home/.cache/glimpse_env/data" / again.name)
    assert len(load(name, image_size=SIZE)) == 6


def test_a_part_with_fewer_classes_has_labels_without_gaps_and_is_counted_in_the_log(name, tmp_path, caplog):
    WRITERS[name](tmp_path, numbers=(2, 4))
    with caplog.at_level(logging.INFO, "glimpse_env"):
        images = load(name, root=tmp_path, image_size=SIZE)
    assert images.labels.tolist() == [0, 0, 1, 1]
    expected = {"cub": "{:03}.Bird", "cars": "Car {}", "dogs": "n{}-Dog"}[name]
    assert images.classes == (expected.format(2), expected.format(4))
    assert f"{name} (train): 2 of {datasets.NAMED[name].classes} classes, 4 photographs" in caplog.text


def test_dogs_lists_may_lie_in_a_folder(tmp_path):
    pytest.importorskip("scipy", reason="reads MATLAB files")
    folder = write_dogs(tmp_path)
    (folder / "lists").mkdir()
    for split in COUNTS:
        (folder / f"{split}_list.mat").rename(folder / "lists" / f"{split}_list.mat")
    assert len(load("dogs", root=folder.rename(tmp_path / "StanfordDogs").parent, image_size=SIZE)) == 6
    (tmp_path / "StanfordDogs/lists/train_list.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no train_list\.mat: .*lists\.tar"):
        load("dogs", root=tmp_path, image_size=SIZE)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no photographs at {REAL}")
def test_the_fifty_classes_at_hand():
    where = cub.ARCHIVE.layouts[0].locate(REAL, "train")
    parts = {split: cub.read_listing(REAL, where, split) for split in COUNTS}
    assert {split: len(part.images) for split, part in parts.items()} == {"train": 1500, "test": 1389}
    for part in parts.values():
        assert set(part.labels) == set(range(1, 51))
        boxes = part.boxes()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert [part.names[label] for label in part.labels] == [path.split("/")[1] for path in part.images]


# What can be wrong with an archive


def test_photographs_need_an_image_size():
    with pytest.raises(ValueError, match=r"dataset='cub': its photographs differ in size; give image_size="):
        load("cub")


LABELS, SPLITS, BOXES = "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (SPLITS, "15 0\n", "", f"{SPLITS} has 8 lines but .*images.txt has 9"),
        (LABELS, "15 3\n", "", f"{LABELS} has 8 lines but .*images.txt has 9"),
        (BOXES, "\n15 ", "\n", f"{BOXES}, line 9: .*expected a number"),
        (LABELS, "15 3", "99 3", f"{LABELS} has no line for image 15, which .*images.txt lists"),
        (LABELS, "15 3", "15 x", f"{LABELS}: row 15 has 'x', expected the number of a class"),
        (LABELS, "7 1\n", "7 4\n", "class 4 has no name; expected one of 1 to 3"),
        (SPLITS, "15 0", "15 2", f"{SPLITS}: image 15 has '2', expected 1"),
        (SPLITS, "8 1", "7 1", f"{SPLITS}, line 2: '7 1'; expected a number that no line before has"),
        ("images.txt", "7 001", "seven 001", "images.txt, line 1: 'seven 001"),
        (BOXES, ".0 ", "px ", f"{BOXES}: expected left, top, width and height"),
    ],
)
def test_lists_that_contradict_each_other_are_named(tmp_path, file, old, new, message):
    replace_text(write_cub(tmp_path) / file, old, new)
    with pytest.raises(ValueError, match=message):
        load("cub", root=tmp_path, image_size=SIZE)


def test_boxes_may_be_whole_pixels(tmp_path):
    replace_text(write_cub(tmp_path) / BOXES, ".0\n", "\n")
    assert len(load("cub", root=tmp_path, image_size=SIZE)) == 6


def replace_text(file: Path, old: str, new: str) -> None:
    """Replace a text that the file has."""
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new))


def test_a_class_without_training_images_and_an_empty_split_are_refused(tmp_path):
    splits = write_cub(tmp_path) / SPLITS
    content = splits.read_text()
    splits.write_text(content.replace("13 1", "13 0").replace("14 1", "14 0"))
    message = r"has images of class '003\.Bird' for split='test', but none to train on"
    with pytest.raises(ValueError, match=message):
        load("cub", "test", root=tmp_path, image_size=SIZE)
    splits.write_text(content.replace(" 0\n", " 1\n"))
    with pytest.raises(ValueError, match=r"images\.txt lists no image for split='test'"):
        load("cub", "test", root=tmp_path, image_size=SIZE)


def test_a_missing_and_a_damaged_photograph_are_named(name, tmp_path):
    folder = WRITERS[name](tmp_path)
    victim = min(path for path in folder.rglob("*.jpg") if "test" not in f"{path.parent.name}{path.name}")
    victim.write_bytes(victim.read_bytes()[:300])
    with pytest.raises(ValueError, match=rf"{victim.name} cannot be read as an image"):
        load(name, root=tmp_path, image_size=SIZE)
    assert not list((tmp_path / "cache").glob("*.images*[!k]")), "a half-built store was left behind"
    victim.unlink()
    message = rf"{victim.name} does not exist, though .* lists it \(1 of 6"
    with pytest.raises(FileNotFoundError, match=message):
        load(name, root=tmp_path, image_size=SIZE)


@pytest.mark.parametrize(
    "content", ["<annotation>", "<annotation></annotation>", "<a><bndbox><xmin>1</xmin></bndbox></a>", None]
)
def test_dogs_without_their_boxes_are_named(tmp_path, content):
    pytest.importorskip("scipy", reason="reads MATLAB files")
    note = write_dogs(tmp_path) / "Annotation/n1-Dog/train_0"
    note.unlink()
    if content is not None:
        note.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=r"n1-Dog/train_0"):
        load("dogs", root=tmp_path, image_size=SIZE)


def test_unlabelled_cars_and_damaged_matlab_files_are_named(tmp_path):
    scipy = pytest.importorskip("scipy.io", reason="reads MATLAB files")
    file = write_cars(tmp_path) / "cars_test_annos_withlabels.mat"
    fields = [("bbox_x1", object), ("fname", object)]
    scipy.savemat(file, {"annotations": np.array([(1, "a.jpg")], dtype=fields)})
    message = r"withlabels\.mat: its annotations have no 'bbox_y1'.*cars_test_annos\.mat has no labels"
    with pytest.raises(ValueError, match=message):
        load("cars", "test", root=tmp_path, image_size=SIZE)
    file.write_bytes(b"no MATLAB file")
    with pytest.raises(ValueError, match=r"withlabels\.mat cannot be read as a MATLAB file"):
        load("cars", "test", root=tmp_path, image_size=SIZE)
    scipy.savemat(file, {"other": 1})
    with pytest.raises(ValueError, match=r"withlabels\.mat has no variable 'annotations'"):
        load("cars", "test", root=tmp_path, image_size=SIZE)


def test_without_scipy_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    pytest.importorskip("scipy", reason="writes MATLAB files")
    write_cars(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r"cars_train_annos\.mat is a MATLAB file.*`pip install scipy`"):
        load("cars", root=tmp_path, image_size=SIZE)


# Archives that are not there


CARS = "kaggle, stanford_cars/devkit/cars_train_annos.mat, _withlabels.mat, GLIMPSE_DATA, car_data"


@pytest.mark.parametrize(
    ("name", "download", "parts"),
    [
        ("cub", False, "CUB_200_2011.tgz (MD5 97ec, CUB_200_2011/images.txt, GLIMPSE_DATA"),
        ("dogs", False, "annotation.tar (MD5 , stanford_dogs/Images, StanfordDogs"),
        ("cars", False, CARS),
        ("cars", True, CARS),
    ],
)
def test_a_missing_archive_is_named_with_its_files_folder_and_source(tmp_path, name, download, parts):
    with pytest.raises(FileNotFoundError) as caught:
        load(name, root=tmp_path / "nothing", download=download, image_size=SIZE)
    assert [part for part in parts.split(", ") if part not in str(caught.value)] == []
    assert not (tmp_path / "nothing").exists()


def test_an_archive_that_is_not_whole_is_neither_used_nor_downloaded_over(name, tmp_path):
    folder = WRITERS[name](tmp_path)
    layout = ARCHIVES[name].layouts[0]
    for part in (layout.locate(folder, split) for split in COUNTS):
        assert all(path.exists() for path in part.values())
    for split in COUNTS:
        part = list(layout.locate(folder, split).values())[-1]
        part.rename(tmp_path / "away")
        message = rf"{folder.name} has no {part.name}: the split {split} of {ARCHIVES[name].title} needs"
        with pytest.raises(FileNotFoundError, match=message):
            load(name, split, root=tmp_path, image_size=SIZE)
        (tmp_path / "away").rename(part)


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder served on this machine, with CUB's tar file, from which `cub` is downloaded."""
    site = tmp_path / "site"
    folder = write_cub(site)
    with tarfile.open(site / "CUB_200_2011.tgz", "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(site))  # pyright: ignore[reportArgumentType]

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/CUB_200_2011.tgz"
        offer(monkeypatch, url, site / "CUB_200_2011.tgz")
        yield site
        server.shutdown()
        thread.join()


def offer(monkeypatch, url: str, tar: Path) -> None:
    """Have `cub` downloaded from `url`, checked against `tar`."""
    md5 = hashlib.md5(tar.read_bytes()).hexdigest()
    offered = replace(cub.ARCHIVE, sources=((url, md5),))
    monkeypatch.setattr(cub, "ARCHIVE", offered)
    monkeypatch.setitem(datasets.NAMED, "cub", specify(offered, "CUB"))


def visible(folder: Path) -> list[str]:
    """What lies in a folder, but for lock files."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_missing_archive_is_downloaded_checked_and_unpacked_once(served, tmp_path):
    root = tmp_path / "new" / "root"
    assert len(load("cub", root=root, image_size=SIZE)) == 6
    assert visible(root) == ["CUB_200_2011"]
    (served / "CUB_200_2011.tgz").unlink()
    assert len(load("cub", "test", root=root, image_size=SIZE)) == 3


def test_a_tar_file_put_there_by_hand_is_unpacked(served, tmp_path, caplog):
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(served / "CUB_200_2011.tgz", root)
    whole = (served / "CUB_200_2011.tgz").read_bytes()
    (served / "CUB_200_2011.tgz").unlink()
    with pytest.raises(FileNotFoundError, match="download=True checks and unpacks it"):
        load("cub", root=root, download=False, image_size=SIZE)
    assert len(load("cub", root=root, image_size=SIZE)) == 6
    shutil.rmtree(root / "CUB_200_2011")
    (root / "CUB_200_2011.tgz").write_bytes(whole[:-100])  # half downloaded
    with pytest.raises(FileNotFoundError, match=r"The download failed: .*404"):
        load("cub", root=root, image_size=SIZE)
    assert "CUB_200_2011.tgz is not complete" in caplog.text


@pytest.mark.parametrize("fault", ["checksum", "refused", "unpacking"])
def test_a_failed_download_raises_an_error_and_leaves_no_file(served, tmp_path, monkeypatch, fault):
    tar = served / "CUB_200_2011.tgz"
    if fault == "checksum":
        tar.write_bytes(tar.read_bytes()[:-100])
    elif fault == "refused":
        offer(monkeypatch, "http://127.0.0.1:9/CUB_200_2011.tgz", tar)
    else:  # the checksum is that of a tar file that ends early
        tar.write_bytes(tar.read_bytes()[:-100])
        offer(monkeypatch, cub.ARCHIVE.sources[0][0], tar)
    root = tmp_path / "root"
    with pytest.raises(FileNotFoundError, match=r"CUB_200_2011/images\.txt.*The download failed: \w+"):
        load("cub", root=root, image_size=SIZE)
    assert visible(root) == []


@pytest.mark.parametrize("filtered", [True, False])
def test_a_tar_file_cannot_write_outside_its_folder(served, tmp_path, monkeypatch, filtered):
    if not filtered:  # as in Python before 3.11.4
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    tar = served / "CUB_200_2011.tgz"
    with tarfile.open(tar, "w:gz") as file:
        member = tarfile.TarInfo("../../escaped.txt")
        member.size = 1
        file.addfile(member, io.BytesIO(b"x"))
    offer(monkeypatch, cub.ARCHIVE.sources[0][0], tar)
    with pytest.raises(FileNotFoundError, match=r"OutsideDestinationError|ExtractError"):
        load("cub", root=tmp_path / "root", image_size=SIZE)
    assert not list(tmp_path.rglob("escaped.txt"))


def test_older_pythons_unpack_files_and_refuse_links(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with tarfile.open(tmp_path / "whole.tar", "w") as file:
        member = tarfile.TarInfo("inside/a.txt")
        member.size = 1
        file.addfile(member, io.BytesIO(b"x"))
    with tarfile.open(tmp_path / "whole.tar") as file:
        archive.unpack(file, tmp_path / "out")
    assert (tmp_path / "out" / "inside" / "a.txt").read_text() == "x"
    with tarfile.open(tmp_path / "link.tar", "w") as file:
        member = tarfile.TarInfo("inside/link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        file.addfile(member)
    with (
        tarfile.open(tmp_path / "link.tar") as file,
        pytest.raises(tarfile.ExtractError, match="'inside/link' is no file or folder"),
    ):
        archive.unpack(file, tmp_path / "links")
    assert not (tmp_path / "links").exists()


def test_the_archive_that_another_process_fetched_meanwhile_is_used(served, tmp_path):
    folder = write_cub(tmp_path / "root")
    assert archive.fetch(cub.ARCHIVE, tmp_path / "root") == folder


# Decoding


def gradient() -> Image.Image:
    """A picture in colours that change slowly, 96 x 64."""
    y, x = np.mgrid[:64, :96]
    return Image.fromarray(np.stack([2 * x, 3 * y, 255 - 2 * x], axis=2).astype(np.uint8))


KINDS = ("jpg L", "jpg CMYK", "png L", "png LA", "png P", "png RGBA", "tif CMYK", "gif P")


@pytest.mark.parametrize("kind", KINDS)
def test_every_mode_is_decoded_to_the_colours_it_shows(tmp_path, kind):
    suffix, mode = kind.split()
    shown = gradient().convert(mode)
    shown.save(tmp_path / f"image.{suffix}", **({"quality": 95} if suffix == "jpg" else {}))
    pixels, extent = read_image(tmp_path / f"image.{suffix}", None, "stretch")
    expected = torch.from_numpy(np.array(shown.convert("RGB"))).permute(2, 0, 1)
    assert (pixels.int() - expected.int()).abs().float().mean() < 3
    assert extent == (96, 64)


def test_colours_of_16_bits_keep_their_high_byte(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    row = b"\0" + struct.pack(">6H", 0x1234, 0xFF00, 0x0080, 0xABCD, 0, 0xFFFF)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "wide.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    pixels, _ = read_image(tmp_path / "wide.png", None, "stretch")
    assert pixels[:, 0].T.tolist() == [[0x12, 0xFF, 0x00], [0xAB, 0, 0xFF]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_rotation_is_applied_and_the_extent_is_that_of_the_upright_picture(tmp_path, orientation):
    upright = gradient()
    undo = (0, 3, 1, 5, 2, 6, 4)  # PIL's transpositions from the upright picture to the stored ones from 2 on
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation - 2]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.jpg", quality=95, exif=exif)
    pixels, extent = read_image(tmp_path / "turned.jpg", None, "stretch")
    assert extent == (96, 64)
    expected = torch.from_numpy(np.array(upright)).permute(2, 0, 1)
    assert pixels.shape == expected.shape
    assert (pixels.int() - expected.int()).abs().float().mean() < 3


def test_a_large_jpeg_decoded_at_a_fraction_looks_the_same(tmp_path, monkeypatch):
    image = gradient().resize((800, 600), Image.Resampling.BICUBIC)
    image.save(tmp_path / "large.jpg", quality=95)
    quick, extent = read_image(tmp_path / "large.jpg", 70, "stretch")
    assert extent == (800, 600)
    drafted = []
    monkeypatch.setattr(Image.Image, "draft", lambda *_: drafted.append(1))
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda *_: drafted.append(1))
    slow, _ = read_image(tmp_path / "large.jpg", 70, "stretch")
    assert drafted
    assert (quick.int() - slow.int()).abs().max() <= 4


def test_stretch_keeps_all_of_the_picture_and_crop_its_centre(tmp_path):
    image = Image.new("RGB", (90, 30))
    image.paste("white", (30, 0, 60, 30))
    image.save(tmp_path / "wide.png")
    whole, _ = read_image(tmp_path / "wide.png", 30, "stretch")
    centre, _ = read_image(tmp_path / "wide.png", 30, "crop")
    assert whole.float().mean() == pytest.approx(85, abs=1)
    assert centre.min() == 255
