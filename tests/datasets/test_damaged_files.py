"""Damaged image files: each is read, or refused by an error with its name, and nothing hangs."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glimpse_env import datasets
from glimpse_env.datasets.decode import read_image
from glimpse_env.datasets.formats.notes import Notes, lenient
from glimpse_env.datasets.user_files import read_like

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


SIZES = [(1, 1), (1, 17), (23, 1), (9, 7)]
OPTIONS = {"webp": {"lossless": True}, "jpeg": {"quality": 80}}
KINDS = (
    "png",
    "jpeg",
    "tiff",
    "webp",
    "gif",
    "bmp",
    "ppm",
    "tga",
    "ico",
    "pcx",
    "sgi",
    "dds",
    "jpeg2000",
)
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")


def write_samples() -> list[bytes]:
    """Return small files of every kind and mode that Pillow writes, and those of the tests above."""
    samples = [
        b"",
        b"no image",
        save(PHOTO, "jpeg", exif=b"Exif\0\0MM\0*\0\0"),
        save(PHOTO, "mpo", save_all=True),
    ]
    samples += [
        save(PHOTO, "TIFF", compression=name)
        for name in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")
    ]
    for kind in KINDS:
        for mode in MODES:
            for size in SIZES:
                image = PHOTO.resize(size)
                levels = image.convert("L").convert("I") if mode == "I;16" else image
                try:
                    samples.append(save(levels.convert(mode), kind, **OPTIONS.get(kind, {})))
                except (OSError, ValueError, KeyError):  # this kind has no such mode
                    continue
    frames = [PHOTO.resize((9, 7)), PHOTO.resize((9, 7)).rotate(90)]
    samples += [
        save(frames[0], kind, save_all=True, append_images=frames[1:])
        for kind in ("gif", "png", "webp", "tiff")
    ]
    return samples


SAMPLES = write_samples()


def cut(content: bytes, draw: Callable[..., int]) -> bytes:
    """Return the beginning of a file."""
    return content[: draw(st.integers(0, len(content)))]


def overwrite(content: bytes, draw: Callable[..., int]) -> bytes:
    """Return a file with other bytes at some places, most in its first hundred."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        end = min(len(changed), draw(st.sampled_from([100, sys.maxsize])))
        if end:
            changed[draw(st.integers(0, end - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


def insert(content: bytes, draw: Callable[..., int]) -> bytes:
    """Return a file with bytes put in, or left out."""
    at, count = draw(st.integers(0, len(content))), draw(st.integers(0, 40))
    return (
        content[:at]
        + (bytes(count) if draw(st.booleans()) else b"")
        + content[at + draw(st.integers(0, 40)) :]
    )


@st.composite
def damaged(draw: Callable[..., object]) -> bytes:
    """Draw a file, whole or damaged in a few ways."""
    content = draw(st.sampled_from(SAMPLES))
    for damage in draw(st.lists(st.sampled_from([cut, overwrite, insert]), max_size=3)):
        content = damage(content, draw)
    return content


@given(content=damaged(), size=st.sampled_from([None, 1, 7]), fit=st.sampled_from(["crop", "stretch"]))
def test_any_file_is_read_or_refused_by_name(tmp_path_factory, content, size, fit):
    path = tmp_path_factory.getbasetemp() / "any.file"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIMPSE_MAX_PIXELS", "100000")
        try:
            pixels, extent = read_image(path, size, fit, Notes(""))
        except ValueError as error:
            assert "any.file" in str(error)
            return
        assert pixels.dtype == torch.uint8 and pixels.shape == (3, size or extent[1], size or extent[0])
        for dataset in ("mnist", "cub", "elsewhere"):
            assert read_like(dataset, path, 28, Notes("")).shape[1:] == (28, 28)


@given(content=damaged())
def test_any_opened_image_is_an_item_or_is_refused_by_its_number(content):
    with lenient(), pytest.MonkeyPatch.context() as patch:
        try:
            image = Image.open(io.BytesIO(content))
        except Exception:  # the user's own call
            return
        if image.width * image.height > 100_000:
            return
        patch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        try:
            loaded = datasets.load([(image, 0)], "train", image_size=7)
        except ValueError as error:
            assert "image 0" in str(error)
            return
        assert loaded.images.shape[2:] == (7, 7)


def test_what_is_not_there_or_no_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png does not exist"):
        read_image(tmp_path / "none.png", None, "crop")
    with pytest.raises(ValueError, match="it is not a file"):
        read_image(tmp_path, None, "crop")
    with pytest.raises(ValueError, match=r"image 0: .*0 x 5 pixels"):
        datasets.load([(Image.new("RGB", (0, 5)), 0)], "train", image_size=3)
