"""Archives of photographs: miniatures of the three official layouts, and everything that can be wrong with one."""

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
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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
Scene = tuple[int, str, Path, tuple[int, int], Box]  # class, split, where, (width, height), box


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path) -> None:
    """Nothing of the user's is read or written."""
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GLIMPSE_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")


def scenes(place: Callable[[int, str, int], Path], numbers: tuple[int, ...] = NUMBERS) -> list[Scene]:
    """Write photographs of several sizes, black but for a white object inside a random box."""
    dice, made = np.random.default_rng(0), []
    for number in numbers:
        for split, count in COUNTS.items():
            for index in range(count):
                width, height = (int(side) for side in dice.integers(60, 140, 2))
                left, top = (int(dice.integers(0, side // 2)) for side in (width, height))
                box = (
                    left,
                    top,
                    left + int(dice.integers(20, width // 2)),
                    top + int(dice.integers(20, height // 2)),
                )
                path = place(number, split, index)
                path.parent.mkdir(parents=True, exist_ok=True)
                image = Image.new("RGB", (width, height))
                ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="white")
                image.save(path, quality=95)
                made.append((number, split, path, (width, height), box))
    return made


def make_cub(root: Path, numbers: tuple[int, ...] = NUMBERS) -> Path:
    """Write CUB's layout."""
    folder = root / "CUB_200_2011"
    made = scenes(
        lambda number, split, index: folder / "images" / f"{number:03}.Bird" / f"{split} {index}.jpg", numbers
    )
    rows = list(enumerate(made, start=7))
    lines = {
        "images.txt": [
            f"{row} {path.relative_to(folder / 'images').as_posix()}" for row, (_, _, path, _, _) in rows
        ],
        "image_class_labels.txt": [f"{row} {number}" for row, (number, *_) in rows][
            ::-1
        ],  # joined by number, not by line
        "train_test_split.txt": [f"{row} {int(split == 'train')}" for row, (_, split, *_) in rows],
        "bounding_boxes.txt": [
            f"{row} {b[0]}.0 {b[1]}.0 {b[2] - b[0]}.0 {b[3] - b[1]}.0" for row, (*_, b) in rows
        ],
        "classes.txt": [f"{number} {number:03}.Bird" for number in numbers],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n")
    return folder


def make_cars(root: Path, numbers: tuple[int, ...] = NUMBERS) -> Path:
    """Write Stanford Cars' layout."""
    from scipy.io import savemat

    folder = root / "stanford_cars"
    made = scenes(lambda number, split, index: folder / f"cars_{split}" / f"{number}{index}.jpg", numbers)
    (folder / "devkit").mkdir()
    fields = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for split, name in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = [
            (b[0] + 1, b[1] + 1, b[2], b[3], number, path.name)
            for number, part, path, _, b in made
            if part == split
        ]
        savemat(folder / name, {"annotations": np.array(rows, dtype=fields)})
    savemat(
        folder / "devkit/cars_meta.mat",
        {"class_names": np.array([f"Car {number}" for number in range(1, 6)], dtype=object)},
    )
    return folder


def make_dogs(root: Path, numbers: tuple[int, ...] = NUMBERS) -> Path:
    """Write Stanford Dogs' layout; the box is that of two dogs in opposite corners."""
    from scipy.io import savemat

    folder = root / "stanford_dogs"
    made = scenes(
        lambda number, split, index: folder / "Images" / f"n{number}-Dog" / f"{split}_{index}.jpg", numbers
    )
    for _, _, path, _, (left, top, right, bottom) in made:
        note = folder / "Annotation" / path.parent.name / path.stem
        note.parent.mkdir(parents=True, exist_ok=True)
        pair = ((left, top, left + 3, top + 3), (right - 3, bottom - 3, right, bottom))
        edges = [dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) for box in pair]
        boxes = ("".join(f"<{edge}>{value}</{edge}>" for edge, value in box.items()) for box in edges)
        note.write_text(
            "<annotation>"
            + "".join(f"<object><bndbox>{box}</bndbox></object>" for box in boxes)
            + "</annotation>"
        )
    for split in COUNTS:
        chosen = [
            (f"{path.parent.name}/{path.name}", number) for number, part, path, _, _ in made if part == split
        ]
        paths, labels = zip(*chosen, strict=True)
        cells = {
            "file_list": np.array(paths, dtype=object)[:, None],
            "labels": np.array(labels, dtype=np.uint8)[:, None],
        }
        savemat(folder / f"{split}_list.mat", cells)
    return folder


MAKERS = {"cub": make_cub, "cars": make_cars, "dogs": make_dogs}
ARCHIVES = {"cub": cub.ARCHIVE, "cars": cars.ARCHIVE, "dogs": dogs.ARCHIVE}


@pytest.fixture(params=MAKERS)
def name(request) -> str:
    """Each archive's name in turn."""
    if request.param != "cub":
        pytest.importorskip("scipy", reason="reads MATLAB files")
    return request.param


def bright(found: ImageSet) -> torch.Tensor:
    """The edges of what is white in each photograph, in [-1, 1]."""
    white = found.stack().float().mean(1) > 127
    edges = []
    for mask in white:
        y, x = mask.nonzero().unbind(1)
        edges.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    return torch.tensor(edges) / (SIZE / 2) - 1


# Layouts


@pytest.mark.parametrize(("split", "labels"), [("train", [0, 0, 1, 1, 2, 2]), ("test", [0, 1, 2])])
def test_each_layout_gives_labels_and_boxes_around_the_objects(name, split, labels, tmp_path):
    MAKERS[name](tmp_path)
    found = load(name, split, root=tmp_path, download=False, image_size=SIZE)
    assert found.images.shape == (len(labels), 3, SIZE, SIZE)
    assert found.labels.tolist() == labels
    expected = {"cub": "{:03}.Bird", "cars": "Car {}", "dogs": "n{}-Dog"}[name]
    assert found.classes == tuple(expected.format(number) for number in NUMBERS)
    assert found.boxes is not None
    assert (found.boxes - bright(found)).abs().max() < 2 / SIZE  # half a pixel


def test_parts_of_the_training_images_share_the_stored_pixels_and_keep_their_boxes(tmp_path):
    make_cub(tmp_path)
    for split, count in (("fit:1/3", 4), ("validation:1/3", 2)):
        found = load("cub", split, root=tmp_path, image_size=SIZE)
        assert (len(found), len(found.images)) == (count, 6)
        assert found.boxes is not None
        assert (found.boxes - bright(found)).abs().max() < 2 / SIZE
        assert found.key == load("cub", root=tmp_path, image_size=SIZE).key


def test_the_folder_itself_glimpse_data_and_the_home_are_places_for_an_archive(name, tmp_path, monkeypatch):
    folder = MAKERS[name](tmp_path / "data")
    assert len(load(name, root=folder, image_size=SIZE)) == 6
    assert (
        len(load(name, root=folder.rename(tmp_path / "other"), image_size=SIZE)) == 6
    )  # whatever it is called
    again = MAKERS[name](tmp_path / "data")
    monkeypatch.setenv("GLIMPSE_DATA", str(tmp_path / "data"))
    assert len(load(name, image_size=SIZE)) == 6
    monkeypatch.delenv("GLIMPSE_DATA")
    shutil.copytree(again, tmp_path / "home/.cache/glimpse_env/data" / again.name)
    assert len(load(name, image_size=SIZE)) == 6


def test_a_part_with_fewer_classes_has_labels_without_gaps_and_says_what_it_found(name, tmp_path, caplog):
    MAKERS[name](tmp_path, numbers=(2, 4))
    with caplog.at_level(logging.INFO, "glimpse_env"):
        found = load(name, root=tmp_path, image_size=SIZE)
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert [name[-1] if name[-1].isdigit() else name for name in found.classes] in (
        ["2", "4"],
        ["002.Bird", "004.Bird"],
        ["n2-Dog", "n4-Dog"],
    )
    assert f"{name} (train): 2 of {datasets.NAMED[name].classes} classes, 4 photographs" in caplog.text


def test_dogs_lists_may_lie_in_a_folder(tmp_path):
    pytest.importorskip("scipy", reason="reads MATLAB files")
    folder = make_dogs(tmp_path)
    (folder / "lists").mkdir()
    for split in COUNTS:
        (folder / f"{split}_list.mat").rename(folder / "lists" / f"{split}_list.mat")
    assert len(load("dogs", root=folder.rename(tmp_path / "StanfordDogs").parent, image_size=SIZE)) == 6
    (tmp_path / "StanfordDogs/lists/train_list.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_list\.mat does not exist.*lists\.tar"):
        load("dogs", root=tmp_path, image_size=SIZE)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no photographs at {REAL}")
def test_the_fifty_classes_at_hand():
    parts = {split: cub.read_listing(REAL, split) for split in COUNTS}
    assert {split: len(part.images) for split, part in parts.items()} == {"train": 1500, "test": 1389}
    for part in parts.values():
        assert set(part.labels) == set(range(1, 51))
        boxes = part.boxes()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert all(
            part.names[label] == path.split("/")[1]
            for label, path in zip(part.labels, part.images, strict=True)
        )


# What can be wrong with an archive


def test_photographs_need_an_image_size():
    with pytest.raises(ValueError, match=r"dataset='cub': its photographs differ in size; give image_size="):
        load("cub")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("train_test_split.txt", "15 0\n", "", r"train_test_split\.txt has 8 lines but .*images\.txt has 9"),
        (
            "image_class_labels.txt",
            "15 3\n",
            "",
            r"image_class_labels\.txt has 8 lines but .*images\.txt has 9",
        ),
        (
            "bounding_boxes.txt",
            "\n15 ",
            "\n",
            r"bounding_boxes\.txt, line 9: .*expected a number",
        ),
        (
            "image_class_labels.txt",
            "15 3",
            "99 3",
            r"image_class_labels\.txt has no line for image 15, which .*images\.txt lists",
        ),
        (
            "image_class_labels.txt",
            "15 3",
            "15 x",
            r"image_class_labels\.txt: row 15 has 'x', expected the number of a class",
        ),
        ("image_class_labels.txt", "7 1\n", "7 4\n", r"class 4 has no name; expected one of 1 to 3"),
        ("train_test_split.txt", "15 0", "15 2", r"train_test_split\.txt: image 15 has '2', expected 1"),
        (
            "train_test_split.txt",
            "8 1",
            "7 1",
            r"train_test_split\.txt, line 2: '7 1'; expected a number that no line before has",
        ),
        ("images.txt", "7 001", "seven 001", r"images\.txt, line 1: 'seven 001"),
        ("bounding_boxes.txt", ".0\n", "\n", ""),  # whole pixels are fine
        ("bounding_boxes.txt", ".0 ", "px ", r"bounding_boxes\.txt: expected left, top, width and height"),
    ],
)
def test_lists_that_contradict_each_other_are_named(tmp_path, file, old, new, message):
    list_file = make_cub(tmp_path) / file
    assert old in list_file.read_text()
    list_file.write_text(list_file.read_text().replace(old, new))
    if not message:
        assert len(load("cub", root=tmp_path, image_size=SIZE)) == 6
        return
    with pytest.raises(ValueError, match=message):
        load("cub", root=tmp_path, image_size=SIZE)


def test_a_class_without_training_images_and_an_empty_split_are_refused(tmp_path):
    splits = make_cub(tmp_path) / "train_test_split.txt"
    content = splits.read_text()
    splits.write_text(content.replace("13 1", "13 0").replace("14 1", "14 0"))
    with pytest.raises(
        ValueError, match=r"has images of class '003\.Bird' for split='test', but none to train on"
    ):
        load("cub", "test", root=tmp_path, image_size=SIZE)
    splits.write_text(content.replace(" 0\n", " 1\n"))
    with pytest.raises(ValueError, match=r"images\.txt lists no image for split='test'"):
        load("cub", "test", root=tmp_path, image_size=SIZE)


def test_a_missing_and_a_damaged_photograph_are_named(name, tmp_path):
    folder = MAKERS[name](tmp_path)
    victim = min(path for path in folder.rglob("*.jpg") if "test" not in f"{path.parent.name}{path.name}")
    victim.write_bytes(victim.read_bytes()[:300])
    with pytest.raises(ValueError, match=rf"{victim.name} cannot be read as an image"):
        load(name, root=tmp_path, image_size=SIZE)
    assert not list((tmp_path / "cache").glob("*.images*[!k]")), "a half-built store was left behind"
    victim.unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"{victim.name} does not exist, though .* lists it \(1 of 6"
    ):
        load(name, root=tmp_path, image_size=SIZE)


@pytest.mark.parametrize(
    "content", ["<annotation>", "<annotation></annotation>", "<a><bndbox><xmin>1</xmin></bndbox></a>", None]
)
def test_dogs_without_their_boxes_are_named(tmp_path, content):
    pytest.importorskip("scipy", reason="reads MATLAB files")
    note = make_dogs(tmp_path) / "Annotation/n1-Dog/train_0"
    note.unlink()
    if content is not None:
        note.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=r"n1-Dog/train_0"):
        load("dogs", root=tmp_path, image_size=SIZE)


def test_unlabelled_cars_and_damaged_matlab_files_are_named(tmp_path):
    scipy = pytest.importorskip("scipy.io", reason="reads MATLAB files")
    file = make_cars(tmp_path) / "cars_test_annos_withlabels.mat"
    scipy.savemat(
        file, {"annotations": np.array([(1, "a.jpg")], dtype=[("bbox_x1", object), ("fname", object)])}
    )
    with pytest.raises(
        ValueError,
        match=r"withlabels\.mat: its annotations have no 'bbox_y1'.*cars_test_annos\.mat has no labels",
    ):
        load("cars", "test", root=tmp_path, image_size=SIZE)
    file.write_bytes(b"no MATLAB file")
    with pytest.raises(ValueError, match=r"withlabels\.mat cannot be read as a MATLAB file"):
        load("cars", "test", root=tmp_path, image_size=SIZE)
    scipy.savemat(file, {"other": 1})
    with pytest.raises(ValueError, match=r"withlabels\.mat has no variable 'annotations'"):
        load("cars", "test", root=tmp_path, image_size=SIZE)


def test_without_scipy_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    pytest.importorskip("scipy", reason="writes MATLAB files")
    make_cars(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r"cars_train_annos\.mat is a MATLAB file.*`pip install scipy`"):
        load("cars", root=tmp_path, image_size=SIZE)


# Archives that are not there


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("cub", (r"CUB_200_2011\.tgz \(MD5 97ec", r"CUB_200_2011/images\.txt", r"GLIMPSE_DATA")),
        ("dogs", (r"annotation\.tar \(MD5 ", r"stanford_dogs/Images", r"StanfordDogs")),
        (
            "cars",
            (
                r"kaggle",
                r"stanford_cars/devkit/cars_train_annos\.mat",
                r"cars_test_annos_withlabels\.mat",
                r"GLIMPSE_DATA",
            ),
        ),
    ],
)
def test_a_missing_archive_is_named_with_its_files_places_and_source(tmp_path, name, parts):
    for download in (False, True) if name == "cars" else (False,):
        with pytest.raises(FileNotFoundError) as caught:
            load(name, root=tmp_path / "nothing", download=download, image_size=SIZE)
        for part in parts:
            caught.match(part)
    assert not (tmp_path / "nothing").exists()


def test_an_archive_that_is_not_whole_is_neither_used_nor_downloaded_over(name, tmp_path):
    folder = MAKERS[name](tmp_path)
    part = ARCHIVES[name].needed[-1]
    shutil.rmtree(folder / part) if (folder / part).is_dir() else (folder / part).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{folder.name} has no {part}: expected all of"):
        load(name, root=tmp_path, image_size=SIZE)


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder served on this machine, with CUB's tar file, from which `cub` is downloaded; its checksum is the right one."""
    site = tmp_path / "site"
    folder = make_cub(site)
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
        offer(
            monkeypatch, f"http://127.0.0.1:{server.server_port}/CUB_200_2011.tgz", site / "CUB_200_2011.tgz"
        )
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
def test_a_failed_download_says_so_and_leaves_nothing_to_be_used_later(served, tmp_path, monkeypatch, fault):
    tar = served / "CUB_200_2011.tgz"
    if fault == "checksum":
        tar.write_bytes(tar.read_bytes()[:-100])
    elif fault == "refused":
        offer(monkeypatch, "http://127.0.0.1:9/CUB_200_2011.tgz", tar)
    else:  # the right checksum of a tar file that ends early
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


def test_the_archive_that_another_process_fetched_meanwhile_is_taken(served, tmp_path):
    folder = make_cub(tmp_path / "root")
    assert archive.fetch(cub.ARCHIVE, tmp_path / "root") == folder


# Decoding


def gradient() -> Image.Image:
    """A picture in colours that change slowly, 96 x 64."""
    y, x = np.mgrid[:64, :96]
    return Image.fromarray(np.stack([2 * x, 3 * y, 255 - 2 * x], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        ("jpg", "L"),
        ("jpg", "CMYK"),
        ("png", "L"),
        ("png", "LA"),
        ("png", "P"),
        ("png", "RGBA"),
        ("tif", "CMYK"),
        ("gif", "P"),
    ],
)
def test_every_mode_is_decoded_to_the_colours_it_shows(tmp_path, mode, suffix):
    shown = gradient().convert(mode)
    shown.save(tmp_path / f"image.{suffix}", **({"quality": 95} if suffix == "jpg" else {}))
    pixels, extent = read_image(tmp_path / f"image.{suffix}", None, "stretch")
    expected = torch.from_numpy(np.array(shown.convert("RGB"))).permute(2, 0, 1)
    assert (pixels.int() - expected.int()).abs().float().mean() < 3
    assert extent == (96, 64)


def test_colours_of_16_bits_keep_their_high_byte(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    row = b"\0" + struct.pack(">6H", 0x1234, 0xFF00, 0x0080, 0xABCD, 0, 0xFFFF)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "wide.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    pixels, _ = read_image(tmp_path / "wide.png", None, "stretch")
    assert pixels[:, 0].T.tolist() == [[0x12, 0xFF, 0x00], [0xAB, 0, 0xFF]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_rotation_is_applied_and_the_extent_is_that_of_the_upright_picture(tmp_path, orientation):
    upright = gradient()
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # PIL's transpositions that lay the upright picture as the camera stored it
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
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
