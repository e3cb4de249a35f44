"""The store of images at their own sizes: strips of large files, levels, damage, and what is refused."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glimpse_env import datasets
from glimpse_env.datasets.decode import read_image
from glimpse_env.datasets.native import pyramid, store, strips
from glimpse_env.datasets.native.store import NativeStore, open_native_files

PIXELS = np.cumsum(np.random.default_rng(0).integers(0, 7, (600, 83, 3)), axis=1).astype(np.uint8)
COMPRESSIONS = ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def save(path: Path, mode: str = "RGB", **options) -> Path:
    Image.fromarray(PIXELS).convert(mode).save(path, **options)
    return path


def write_files(folder: Path) -> Iterator[Path]:
    """Files of every kind that is cut, and of some that are not."""
    for mode in ("RGB", "L", "P"):
        yield save(folder / f"{mode}.png", mode)
        for compression in COMPRESSIONS[: 5 if mode == "RGB" else 4]:
            yield save(folder / f"{mode}-{compression}.tif", mode, compression=compression)
    yield save(folder / "cmyk.tif", "CMYK")
    yield save(folder / "predictor.tif", compression="tiff_lzw", tiffinfo={317: 2})
    yield save(folder / "transparent.png", "RGBA")
    yield save(folder / "photograph.jpg")
    turned = Image.Exif()
    turned[274] = 6
    yield save(folder / "turned.png", exif=turned)
    yield save(folder / "turned.tif", exif=turned)


def test_strips_are_what_decoding_at_once_gives(tmp_path):
    for path in write_files(tmp_path):
        expected = read_image(path, None, "stretch")[0].permute(1, 2, 0).numpy()
        parts = list(strips.read_strips(path, set()))
        assert np.array_equal(np.concatenate(parts), expected), path.name
        assert strips.measure(path) == expected.shape[:2]
        assert len(parts) > 1 or "turned" in path.name


def write_tiled(path: Path, side: int) -> Path:
    """An uncompressed TIFF of tiles: Pillow reads them, but writes none."""
    height, width = PIXELS.shape[:2]
    rows, columns = -(-height // side), -(-width // side)
    padded = np.zeros((rows * side, columns * side, 3), np.uint8)
    padded[:height, :width] = PIXELS
    tiles = padded.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(rows * columns, -1)
    count, length = len(tiles), tiles.shape[1]
    pixels = 8 + 2 + 12 * 10 + 4
    bits, places = pixels + tiles.size, pixels + tiles.size + 6
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(277, 3, 1, 3), (322, 4, 1, side), (323, 4, 1, side), (324, 4, count, places)]
    entries += [(325, 4, count, places + 4 * count)]
    with path.open("wb") as stream:
        stream.write(struct.pack("<2sHLH", b"II", 42, 8, len(entries)))
        for entry in entries:
            stream.write(struct.pack("<HHLL", *entry))
        stream.write(struct.pack("<L", 0) + tiles.tobytes() + struct.pack("<3H", 8, 8, 8))
        stream.write(struct.pack(f"<{count}L", *(pixels + length * tile for tile in range(count))))
        stream.write(struct.pack(f"<{count}L", *[length] * count))
    return path


def test_tiles_are_put_together(tmp_path):
    path = write_tiled(tmp_path / "tiled.tif", 32)
    parts = list(strips.read_strips(path, set()))
    assert len(parts) == 19
    assert np.array_equal(np.concatenate(parts), PIXELS)
    assert np.array_equal(read_image(path, None, "stretch")[0].permute(1, 2, 0).numpy(), PIXELS)


def test_levels_do_not_depend_on_how_the_rows_arrive():
    expected, got = pyramid.build(PIXELS), {}
    parts = iter(np.split(PIXELS, [100, 101, 333]))
    pyramid.stream(parts, *PIXELS.shape[:2], lambda level, rows: got.setdefault(level, []).append(rows))
    assert [level.shape[:2] for level in expected[-2:]] == [(2, 1), (1, 1)]
    assert len(got) == len(expected) == pyramid.count_levels(600, 83)
    for level, rows in got.items():
        assert np.array_equal(np.concatenate(rows), expected[level])


@pytest.fixture
def files(tmp_path) -> list[str]:
    for number, (height, width) in enumerate([(30, 40), (600, 50), (3, 3)]):
        Image.fromarray(PIXELS[:height, :width]).save(tmp_path / f"{number}.png")
    return ["0.png", "1.png", "2.png"]


def read_pixels(native: NativeStore, row: int) -> np.ndarray:
    return native.level(row, 10**6)[0].permute(1, 2, 0).numpy()


def test_a_store_holds_the_pixels_and_is_kept(tmp_path, files, monkeypatch):
    first = open_native_files("set", tmp_path, files)
    assert first.sizes.tolist() == [[30, 40], [600, 50], [3, 3]]
    for row, (height, width) in enumerate(first.sizes.tolist()):
        assert np.array_equal(read_pixels(first, row), PIXELS[:height, :width])
        assert first.index[row, 3] == PIXELS[:height, :width].sum(dtype=np.int64)
    monkeypatch.setattr(store, "write_native", None)  # it would be needed for building
    assert open_native_files("set", tmp_path, files).key == first.key


def test_large_images_are_stored_as_small_ones_are(tmp_path, files, monkeypatch, cache):
    small = open_native_files("set", tmp_path, files)
    shutil.rmtree(cache)
    monkeypatch.setattr(store, "LARGE", 100)
    large = open_native_files("set", tmp_path, files)
    assert large.key == small.key
    assert torch.equal(large.data[4096:], small.data[4096:])


def test_a_changed_file_and_a_cut_store_are_built_again(tmp_path, files, cache):
    first = open_native_files("set", tmp_path, files)
    Image.fromarray(PIXELS[:10, :10]).save(tmp_path / "2.png")
    second = open_native_files("set", tmp_path, files)
    assert second.key != first.key and second.sizes[2].tolist() == [10, 10]
    (file,) = cache.glob("*.images")
    os.truncate(file, file.stat().st_size - 8)
    assert open_native_files("set", tmp_path, files).key == second.key


@pytest.mark.parametrize("large", [10**9, 10])
def test_damaged_files_are_named_and_leave_nothing(tmp_path, files, cache, monkeypatch, large):
    monkeypatch.setattr(store, "LARGE", large)
    content = (tmp_path / "1.png").read_bytes()
    damaged = {"empty.tif": b"", "cut.png": content[: len(content) // 2], "words.png": b"no image"}
    for name, bad in damaged.items():
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image"):
            open_native_files("set", tmp_path, [*files, name])
        assert {path.suffix for path in cache.iterdir()} == {".lock"}


def test_pillows_limit_is_raised_by_ours(tmp_path, files, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert len(open_native_files("set", tmp_path, files).index) == 3
    monkeypatch.setenv("GLIMPSE_MAX_PIXELS", "5000")
    with pytest.raises(
        ValueError, match=r"1\.png has 50 x 600 = 30,000 pixels, more than 5,000: set .*GLIMPSE_MAX"
    ):
        open_native_files("other", tmp_path, files)


def test_a_full_disk_is_said(tmp_path, files, monkeypatch, cache):
    def full(*_) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(store, "write_picture", full)
    with pytest.raises(OSError, match=r"image store of set needs .* GB in .*GLIMPSE_CACHE"):
        open_native_files("set", tmp_path, files)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_items_of_other_channels_are_refused():
    pairs = [(torch.zeros(4, 9, 9, dtype=torch.uint8), 0), (torch.zeros(3, 9, 8, dtype=torch.uint8), 1)]
    with pytest.raises(ValueError, match="image 0 has 4 channels: expected 1 or 3"):
        datasets.load(pairs, image_size="native")


def test_parts_of_a_set_share_the_pixels_and_the_digest_does_not_depend_on_the_views():
    pairs = [(torch.full((1, 8 + row, 9), row, dtype=torch.uint8), row % 2) for row in range(24)]
    whole = datasets.load(pairs, image_size=datasets.Native(view=5))
    part = datasets.load(pairs, "validation", image_size=datasets.Native(view=5))
    assert whole.images.shape == (24, 3, 5, 5) and len(part) == 2
    assert part.picture(0)[0].shape == (3, 8 + int(part.stored[0]), 9)
    assert whole.digest() == datasets.load(pairs, image_size="native").digest()
