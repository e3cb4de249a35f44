"""Lists of image files with labels: CSV and JSONL."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glimpse_env import GlimpseVectorEnv
from glimpse_env.datasets import find_preset, load, photographs, recognise

HEADER = "path,label"
SPLITS = "path,label,split"


@pytest.fixture
def write(tmp_path):
    """Return a function: write a list beside twelve images, 0.png to 11.png, and return its path."""
    for number in range(12):
        Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")

    def to_file(*lines: str, name: str = "list.csv") -> Path:
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    return to_file


def shades(images) -> list[int]:
    """Return which of the images they are."""
    return [int(pixels[0, 0, 0]) // 20 for pixels in images.stack()]


def test_a_list_is_divided_like_a_folder(write):
    """20 % of each class are test images, and a twelfth of the others may be held out."""
    file = write(HEADER, *(f"{number}.png,{'ba'[number % 2]}" for number in range(12)))
    parts = {part: load(file, part) for part in ("train", "test", "fit", "validation")}
    assert {part: len(images) for part, images in parts.items()} == {
        "train": 10,
        "test": 2,
        "fit": 9,
        "validation": 1,
    }
    for images in parts.values():
        assert images.classes == ("a", "b")
        assert [1 - number % 2 for number in shades(images)] == images.labels.tolist()
    assert sorted(shades(parts["train"]) + shades(parts["test"])) == list(range(12))


def test_the_split_column_decides(write, caplog):
    caplog.set_level(logging.INFO, "glimpse_env")
    lines = ("0.png,x,train", "1.png,y,Training", "2.png,y,val", "3.png,x,test")
    file = write(SPLITS, *lines)
    expected = {"train": [0, 1], "fit": [0, 1], "validation": [2], "test": [3]}
    for part, images in expected.items():
        assert shades(load(file, part)) == images
    assert "measured" not in caplog.text
    file = write(SPLITS, *lines[:3])
    assert shades(load(file, "test")) == [2]
    assert "its validation images are the test images, since it has no others" in caplog.text
    assert len(load(file, "validation")) == 1  # a part of the training images now


def test_jsonl_quotes_and_absolute_paths(write, tmp_path):
    (tmp_path / "a,b").mkdir()
    (tmp_path / "0.png").rename(tmp_path / "a,b" / "0.png")
    rows = [("a,b/0.png", "é, x"), (str(tmp_path / "1.png"), 'say "y"')]
    lines = [json.dumps({"label": label, "path": path, "more": [1]}) for path, label in rows]
    by_json = load(write(lines[0], "", lines[1], name="list.jsonl"))
    (first, one), (second, other) = rows
    quoted = other.replace('"', '""')
    by_csv = load(write("\ufeffmore, Label ,PATH", f'1,"{one}","{first}"', f'2,"{quoted}",{second}'))
    for images in (by_json, by_csv):
        assert (images.classes, images.labels.tolist()) == (('say "y"', "é, x"), [1, 0])
        assert shades(images) == [0, 1]


def test_whole_numbers_are_mapped_with_a_word(write, caplog):
    images = load(write(HEADER, "0.png,10", "1.png,3", "2.png,5", "3.png,10"), "train")
    assert images.classes == ("3", "5", "10")
    assert "labels 3, 5, 10 are not numbered from 0 without gaps: they become 0 to 2" in caplog.text
    caplog.clear()
    assert load(write(HEADER, "0.png,1", "1.png,0")).classes == ("0", "1")
    assert load(write(HEADER, "0.png,1", "1.png,1st")).classes == ("1", "1st")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), r"list\.csv has no column 'path', its columns are none: expected a header"),
        ((HEADER,), r"list\.csv lists no image: expected a header"),
        (("file,label", "0.png,a"), r"has no column 'path', its columns are file, label"),
        (("path;label", "0.png;a"), r"has no column 'path', its columns are path;label"),
        (("path,class", "0.png,a"), r"has no column 'label'"),
        ((HEADER, "0.png,a", "1.png"), r"row 2 \(line 3\) has no label"),
        ((HEADER, "0.png,a", ",b"), r"row 2 \(line 3\) has no path"),
        ((HEADER, "0.png,a", "1.png, "), r"row 2 \(line 3\) has no label"),
        ((HEADER, "0.png,a,b"), r"line 2 has 3 fields, the header 2"),
        ((HEADER, "0.png,0", "1.png,1.5"), r"row 2 \(line 3\) has the label 1\.5: expected a whole number"),
        ((HEADER, "0.png,0", "1.png,-1"), r"row 2 \(line 3\) has the label -1: expected a whole number"),
        ((HEADER, "0.png,nan", "1.png,1"), r"row 1 \(line 2\) has the label nan"),
        ((HEADER, "0.png,a", "1.png,a"), r"training images of one class, 'a'"),
        ((HEADER, "0.png,a", "1.png,b", "0.png,b"), r"row 3 \(line 4\): .*0\.png is b, but a in .*row 1"),
        ((SPLITS, "0.png,a,train", "1.png,b,foo"), r"row 2 \(line 3\) has the split 'foo': expected train"),
        ((SPLITS, "0.png,a,test", "1.png,b,test"), r"has no image of the split train, only test"),
        (
            (SPLITS, "0.png,a,train", "1.png,b,train", "2.png,c,val"),
            r"row 3 \(line 4\) \(test\) has the label 'c', as no training image does",
        ),
    ],
)
def test_rows_that_cannot_be_used_are_named(write, lines, message):
    with pytest.raises(ValueError, match=message):
        load(write(*lines))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("[1]",), r"line 1 is a list"),
        (('{"path": "0.png"',), r"line 1 is no JSON"),
        (('{"path": 3, "label": 1}',), r"row 1 \(line 1\) has the path 3: expected a string"),
        (('{"path": "0.png", "label": 1.0}',), r"row 1 \(line 1\) has the label 1\.0: expected a name"),
        (('{"path": "0.png", "label": true}',), r"has the label True: expected a name"),
        (('{"path": "0.png", "label": null}',), r"has no label"),
        (
            (
                '{"path": "0.png", "label": 1, "split": "train"}',
                '{"path": "1.png", "label": 0}',
            ),
            r"row 2 \(line 2\) has no split, other rows do",
        ),
    ],
)
def test_lines_that_cannot_be_used_are_named(write, lines, message):
    with pytest.raises(ValueError, match=message):
        load(write(*lines, name="list.jsonl"))


def test_a_row_whose_file_is_missing_is_named(write):
    file = write(HEADER, "0.png,a", "1.png,b", "gone.png,a", "also.png,a")
    message = r"row 3 \(line 4\): .*gone\.png does not exist \(2 of 4 images are missing"
    with pytest.raises(FileNotFoundError, match=message):
        load(file)


def test_what_is_no_list_is_refused(write, tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00p")
    with pytest.raises(ValueError, match=r"list\.csv cannot be read as a list of images"):
        load(tmp_path / "list.csv")
    with pytest.raises(
        FileNotFoundError, match=r"'none\.csv': neither.*nor a list of images \(\.csv, \.jsonl\)"
    ):
        load("none.csv")
    with pytest.raises(FileNotFoundError, match="nor a list of images"):
        load(tmp_path / "0.png")
    (tmp_path / "list.csv").write_text(f"{HEADER}\n0.png,a\n1.png,b\n")
    with pytest.raises(ValueError, match=r"has no images for split='test'"):
        load(tmp_path / "list.csv", "test")


def test_a_list_in_root_has_its_preset_and_a_store(write, tmp_path, monkeypatch):
    file = write(HEADER, *(f"{number}.png,{number % 3}" for number in range(12)))
    assert find_preset("list.csv", tmp_path).image_size == 8
    monkeypatch.setattr("glimpse_env.datasets.sources.paths.MANY", 3)
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    env = GlimpseVectorEnv(2, "list.csv", root=tmp_path)
    assert env.images.key is not None
    assert len(list((tmp_path / "cache").glob("list.csv-train-8-crop-*.images"))) == 1
    for number in range(12):
        Image.new("RGB", (100, 100)).save(tmp_path / f"{number}.png")
    assert find_preset(file) == photographs.PRESET
    assert recognise(write("nonsense")) is None
