"""What image files hold besides 8-bit pixels: metadata, transparency, depths, many pixels; damaged files."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from glimpse_env import datasets
from glimpse_env.datasets import store
from glimpse_env.datasets.decode import from_pil, read_image, to_square
from glimpse_env.datasets.formats.depth import avif_depth, jpeg2000_depth
from glimpse_env.datasets.formats.metadata import strip
from glimpse_env.datasets.formats.notes import NO_METADATA, ON_BLACK, ON_WHITE, SCALED, Notes, lenient
from glimpse_env.datasets.user_files import read_like

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8))
PIXELS = torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1)


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read(path: Path, content: bytes | None = None) -> tuple[torch.Tensor, set[str]]:
    """Return the pixels of a file as it is, and what was done to them."""
    if content is not None:
        path.write_bytes(content)
    notes = Notes("")
    return read_image(path, None, "crop", notes)[0], set(notes.seen)


def png(values: np.ndarray, bits: int, colours: int, *more: tuple[bytes, bytes]) -> bytes:
    """Return a PNG file of (height, width, channel) values, with chunks in front of the pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    samples = values.reshape(height, -1)
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        planes = np.unpackbits(samples.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
        rows = [np.packbits(row.ravel()).tobytes() for row in planes]
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *more, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


def tiff(order: str, size: tuple[int, int], bits: tuple[int, ...], samples: bytes, extra: int = 0) -> bytes:
    """Return an uncompressed TIFF file of interleaved samples; `extra` > 0: the last is transparency."""
    count = len(bits)
    data = struct.pack(f"{order}{count}H", *bits) + samples
    start = 8 + len(data) + len(data) % 2
    tags = [
        (256, 3, 1, size[0]),
        (257, 3, 1, size[1]),
        (258, 3, count, 8 if count > 2 else bits),
        (259, 3, 1, 1),
    ]
    tags += [
        (262, 3, 1, 2 if count > 2 else 1),
        (273, 4, 1, 8 + 2 * count),
        (277, 3, 1, count),
        (278, 3, 1, size[1]),
    ]
    tags += [(279, 4, 1, len(samples))] + [(338, 3, 1, extra)] * (extra > 0)
    directory = struct.pack(f"{order}H", len(tags))
    for tag, kind, number, value in tags:
        values = value if isinstance(value, tuple) else (value,)
        code = "I" if kind == 4 or number > 2 else "H"
        field = struct.pack(f"{order}{len(values)}{code}", *values).ljust(4, b"\0")
        directory += struct.pack(f"{order}HHI", tag, kind, number) + field
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return (head + data).ljust(start, b"\0") + directory + b"\0\0\0\0"


# Metadata


def tagged() -> dict[str, bytes]:
    """Return files of one picture with metadata of every kind, by the name of the format."""
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112], exif[0x010F], exif[0x011A] = 1, "a maker", 72.0
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    text.add_text("Comment", "plain " * 9)
    text.add_text("Compressed", "words " * 9, zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    common = {"exif": exif.tobytes(), "icc_profile": b"profile" * 30, "xmp": b"<x/>"}
    tags = {"dpi": (72, 72), "description": "of the picture" * 3, "software": "a camera"}
    return {
        "jpeg": save(PHOTO, "JPEG", comment=b"a comment", dpi=(72, 72), **common),
        "mpo": save(PHOTO, "MPO", exif=exif, save_all=True, append_images=[PHOTO]),
        "png": save(PHOTO, "PNG", pnginfo=text, dpi=(72, 72), **common),
        "webp": save(PHOTO, "WEBP", lossless=True, **common),
        "tiff": save(PHOTO, "TIFF", exif=exif, icc_profile=b"profile" * 30, **tags),
        "lzw": save(PHOTO, "TIFF", compression="tiff_lzw", icc_profile=b"profile" * 30, **tags),
    }


TAGGED = tagged()


def regions(name: str, content: bytes) -> list[tuple[int, int]]:
    """Return where the metadata of a file lie: first and last byte + 1."""
    found, position = [], {"png": 8, "webp": 12}.get(name, 2)
    while name in ("jpeg", "mpo") and content[position + 1] != 0xDA:
        end = position + 2 + struct.unpack_from(">H", content, position + 2)[0]
        if content[position + 1] >= 0xE0:
            found.append((position + 4, end))
        position = end
    while name in ("png", "webp") and position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if name == "webp":
            kind, length = struct.unpack_from("<4sI", content, position)
        end = position + 8 + length + (4 if name == "png" else length % 2)
        if kind not in (b"IHDR", b"IDAT", b"IEND", b"VP8X", b"VP8L"):
            found.append((position + 8, end))
        position = end
    if name in ("tiff", "lzw"):
        start = struct.unpack_from("<I", content, 4)[0]
        for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", content, start)[0], 12):
            if struct.unpack_from("<H", content, entry)[0] in (270, 271, 282, 283, 296, 305, 306, 34675):
                found.append((entry + 2, entry + 12))
    return found


@given(data=st.data(), name=st.sampled_from(sorted(TAGGED)))
def test_damaged_metadata_change_no_pixel(tmp_path_factory, data, name):
    content = bytearray(TAGGED[name])
    first, end = data.draw(st.sampled_from(regions(name, TAGGED[name])))
    damage = data.draw(
        st.lists(st.tuples(st.integers(0, end - first - 1), st.integers(0, 255)), min_size=1, max_size=9)
    )
    for offset, value in damage:
        content[first + offset] = value
    path = tmp_path_factory.getbasetemp() / f"tagged.{name}"
    expected, _ = read(path, TAGGED[name])
    pixels, done = read(path, bytes(content))
    assert torch.equal(pixels, expected)
    assert done <= {NO_METADATA}


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "lzw"])
def test_a_file_without_metadata_has_the_same_pixels(tmp_path, name):
    bare = strip(TAGGED[name])
    assert b"of the picture" not in bare[:8] and (
        name in ("tiff", "lzw") or len(bare) < len(TAGGED[name]) - 200
    )
    expected, done = read(tmp_path / "whole", TAGGED[name])
    assert done == set()
    assert torch.equal(read(tmp_path / "bare", bare)[0], expected)
    assert name == "jpeg" or torch.equal(expected, PIXELS)


def damaged_exif(kind: str) -> bytes:
    """Return a picture whose EXIF names an orientation and is damaged."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif += struct.pack(">HHII", 0x8769, 4, 1, 0xFFFFFFF0) + b"\0\0"
    return save(PHOTO, kind, exif=exif)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_that_can_be_read_beside_damaged_tags_is_applied(tmp_path, kind):
    expected, _ = read(tmp_path / "plain", save(PHOTO, kind))
    pixels, _ = read(tmp_path / "damaged", damaged_exif(kind))
    assert torch.equal(pixels, expected.rot90(-1, (1, 2)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0*\0\0", b"Exif\0\0no TIFF at all", b"Exif\0\0II*\0\xff\xff\xff\x7f"]
)
def test_exif_that_cannot_be_read_is_ignored_and_counted(tmp_path, kind, exif):
    expected, _ = read(tmp_path / "plain", save(PHOTO, kind))
    pixels, done = read(tmp_path / "damaged", save(PHOTO, kind, exif=exif))
    assert torch.equal(pixels, expected)
    assert done == {NO_METADATA}


@pytest.mark.parametrize("length", [0, 3, 20, 500, 60000])
def test_a_segment_of_a_wrong_length_is_passed_over(tmp_path, length):
    content = save(PHOTO, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", quality=90)
    at = content.index(b"\xff\xe1") + 2
    expected, _ = read(tmp_path / "whole", content)
    pixels, done = read(tmp_path / "wrong", content[:at] + struct.pack(">H", length) + content[at + 2 :])
    assert torch.equal(pixels, expected)
    assert done == {NO_METADATA} or (length < 20 and not done)  # Pillow itself passes over those


def test_metadata_that_end_too_early_are_ignored(tmp_path):
    pixels, done = read(tmp_path / "cut.webp", TAGGED["webp"][:-1])
    assert torch.equal(pixels, PIXELS)
    assert done == {NO_METADATA}


def test_damaged_pixels_are_refused_whatever_the_metadata(tmp_path):
    for name, content in TAGGED.items():
        with pytest.raises(ValueError, match=rf"cut\.{name} cannot be read as an image"):
            read(tmp_path / f"cut.{name}", content[: len(content) // 4])


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_the_extent_of_a_turned_file_is_that_of_the_upright_picture(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "x").write_bytes(save(PHOTO, kind, exif=exif))
    pixels, extent = read_image(tmp_path / "x", None, "crop")
    assert extent == (pixels.shape[2], pixels.shape[1]) == ((20, 30) if 5 <= orientation <= 8 else (30, 20))


# Transparency

GROUND = np.array([[255, 0], [100, 37]], dtype=np.uint8)  # alpha
LEVELS = np.array([[10, 20], [200, 90]], dtype=np.uint8)


def on_white(levels: np.ndarray, alpha: np.ndarray) -> list[list[int]]:
    """Return levels over white, rounded."""
    return np.rint((levels * alpha.astype(float) + 255.0 * (255 - alpha)) / 255).astype(int).tolist()


def see_through(mode: str) -> Image.Image:
    """Return a transparent image of `LEVELS`."""
    grey = Image.merge("LA", [Image.fromarray(LEVELS), Image.fromarray(GROUND)])
    if mode in ("LA", "RGBA"):
        return grey.convert(mode)
    palette = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2), "L").convert("L")
    palette = Image.frombytes("P", (2, 2), palette.tobytes())
    palette.putpalette(np.repeat(LEVELS.ravel(), 3).tobytes())
    palette.info["transparency"] = GROUND.tobytes()
    return palette


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "object", "lazy"])
def test_transparency_is_composed_on_white(tmp_path, mode, kind):
    expected, image = on_white(LEVELS, GROUND), see_through(mode)
    if kind == "object":
        notes = Notes("")
        pixels, done = from_pil(image, notes=notes), set(notes.seen)
    elif (mode, kind) == ("P", "tiff"):
        return  # has no transparent palettes
    elif kind == "lazy":
        pixels, done = from_pil(Image.open(io.BytesIO(save(image, "png")))), {ON_WHITE}
    else:
        options = {"lossless": True, "exact": True} if kind == "webp" else {}
        pixels, done = read(tmp_path / "x", save(image, kind, **options))
    assert len(pixels) == (1 if mode == "LA" and kind in ("object", "lazy") else 3)
    for plane in pixels:
        assert (plane - torch.tensor(expected)).abs().max() <= (1 if kind == "webp" else 0)
    assert done == {ON_WHITE}


def test_premultiplied_colours_and_palettes_with_alpha_are_composed_too():
    expected = torch.tensor(on_white(LEVELS, GROUND))
    for mode, source in (("RGBa", "RGBA"), ("La", "LA")):
        pixels = from_pil(see_through(source).convert(mode), colour=True)
        assert (pixels[0] - expected).abs().max() <= 2, mode
    grey = Image.fromarray(LEVELS).convert("RGB").convert("P").convert("PA")
    grey.putalpha(Image.fromarray(GROUND))
    palette = from_pil(grey)[0]
    assert palette[0, 1] == 255 and palette[0, 0] <= 20


@pytest.mark.parametrize(("bits", "key"), [(1, 1), (2, 2), (4, 9), (8, 200), (16, 0xABCD)])
def test_a_transparent_grey_of_a_png_becomes_white_at_every_depth(tmp_path, bits, key):
    values = np.array([[0, key, key - 1]])[..., None]
    pixels, done = read(tmp_path / "x.png", png(values, bits, 0, (b"tRNS", struct.pack(">H", key))))
    below = (key - 1) >> 8 if bits == 16 else (key - 1) * 255 // (2**bits - 1)
    assert pixels[0].tolist() == [[0, 255, below]]
    assert ON_WHITE in done


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_of_a_png_becomes_white(tmp_path, bits):
    scale = 257 if bits == 16 else 1
    values = np.array([[[10, 20, 30], [40, 50, 60]]]) * scale
    key = struct.pack(">3H", *(scale * level for level in (40, 50, 60)))
    pixels, done = read(tmp_path / "x.png", png(values, bits, 2, (b"tRNS", key)))
    assert pixels[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]
    assert ON_WHITE in done


def test_a_transparent_value_of_another_mode_changes_nothing():
    for mode, key in (("RGB", 3), ("L", (1, 2, 3)), ("L", b"\0"), ("RGB", b"\0\1")):
        image = PHOTO.convert(mode)
        image.info["transparency"] = key
        assert torch.equal(from_pil(image), from_pil(PHOTO.convert(mode)))


def test_a_white_picture_on_transparent_ground_is_composed_on_black():
    alpha = Image.new("L", (6, 6))
    alpha.paste(255, (2, 2, 4, 4))
    white = Image.new("RGB", (6, 6), "white")
    white.putalpha(alpha)
    notes = Notes("")
    assert torch.equal(from_pil(white, notes=notes)[0], torch.from_numpy(np.array(alpha)))
    assert notes.seen == [ON_BLACK]
    nothing = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    assert from_pil(nothing).min() == 255


def test_opaque_images_keep_their_pixels(tmp_path):
    opaque = PHOTO.copy()
    opaque.putalpha(255)
    for mode in ("RGBA", "LA", "P", "PA", "RGBa"):
        image = opaque.convert("P").convert("PA") if mode == "PA" else opaque.convert(mode)
        notes = Notes("")
        expected = torch.from_numpy(np.array(image.convert("RGBA" if mode != "LA" else "RGB")))[..., :3]
        assert torch.equal(from_pil(image, True, notes), expected.permute(2, 0, 1)), mode
        assert notes.seen == []


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_the_first_frame_of_an_animation_is_composed(tmp_path, kind):
    first, second = Image.new("RGBA", (4, 4), (0, 0, 0, 0)), Image.new("RGBA", (4, 4), (0, 0, 255, 255))
    first.paste((200, 30, 30, 255), (0, 0, 2, 4))
    content = save(first, kind, save_all=True, append_images=[second])
    pixels, done = read(tmp_path / "x", content)
    assert pixels[:, 0].T.tolist() == [[200, 30, 30]] * 2 + [[255, 255, 255]] * 2
    assert done == {ON_WHITE}


def test_a_dark_digit_on_transparent_ground_is_read_as_on_paper(tmp_path):
    digit = datasets.load("mnist", "test").images[0, 0]
    for ink in (0, 255):
        image = Image.new("LA", (28, 28), (ink, 0))
        image.putalpha(Image.fromarray(digit.numpy()))
        image.save(tmp_path / "digit.png")
        assert torch.equal(read_like("mnist", tmp_path / "digit.png", 28)[0], digit)


# Depth

WORDS = [0x0000, 0x1234, 0x80FF, 0xFFFF]


@pytest.mark.parametrize("colours", [0, 2, 4, 6])
def test_16_bits_of_a_png_keep_their_high_byte(tmp_path, colours):
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colours]
    values = np.repeat(np.array(WORDS)[None, :, None], channels, axis=2)
    if colours > 2:
        values[..., -1] = 0xFFFF
    pixels, done = read(tmp_path / "x.png", png(values, 16, colours))
    assert pixels[:, 0].tolist() == [[0x00, 0x12, 0x80, 0xFF]] * 3
    assert done == {SCALED}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_of_a_tiff_keep_their_high_byte(tmp_path, order, channels):
    samples = [0xFFFF if channel == 3 else word for word in WORDS for channel in range(channels)]
    content = tiff(
        order, (4, 1), (16,) * channels, struct.pack(f"{order}{len(samples)}H", *samples), channels // 4 * 2
    )
    pixels, done = read(tmp_path / "x.tiff", content)
    assert pixels[:, 0].tolist() == [[0x00, 0x12, 0x80, 0xFF]] * 3
    assert done == {SCALED}


def test_12_bits_of_a_tiff_are_scaled_by_their_own_maximum(tmp_path):
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x01, 0x23])  # 0x000, 0xFFF, 0x800, 0x123
    pixels, done = read(tmp_path / "x.tiff", tiff("<", (4, 1), (12,), packed))
    assert pixels[0].tolist() == [[0x00, 0xFF, 0x80, 0x12]]
    assert done == {SCALED}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"P5 2 1 65535\n\x12\x34\xff\xff", [0x12, 0xFF]),
        (b"P5 2 1 4095\n\x00\x0f\x0f\xff", [0x00, 0xFF]),
        (b"P2 2 1 1023\n3 1023\n", [0x00, 0xFF]),
        (b"P6 2 1 65535\n" + b"\x80\x80" * 3 + b"\xff\xff" * 3, [0x80, 0xFF]),
    ],
)
def test_pnm_files_of_more_than_8_bits_are_scaled(tmp_path, content, expected):
    pixels, done = read(tmp_path / "x.ppm", content)
    assert pixels[0].tolist() == [expected]
    assert done == {SCALED}


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_every_mode_of_16_bits_has_the_same_scale(mode):
    assert from_pil(Image.new(mode, (2, 1), 0x80FF)).tolist() == [[[0x80, 0x80]]]


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("I", [0, 7, 255], [0, 7, 255]),
        ("I", [0, 256, 65535], [0, 1, 255]),
        ("F", [0.0, 0.5, 1.0], [0, 128, 255]),
        ("F", [0.0, 0.25, 1.00001], [0, 64, 255]),
        ("F", [0.0, 99.6, 255.0], [0, 100, 255]),
        ("F", [0.0, 513.9, 65535.0], [0, 2, 255]),
    ],
)
def test_modes_of_unknown_depth_are_scaled_by_the_range_that_holds_their_values(
    tmp_path, mode, values, expected
):
    image = Image.fromarray(np.array([values], dtype=np.int32 if mode == "I" else np.float32))
    assert image.mode == mode
    assert from_pil(image).tolist() == [[expected]]
    assert read(tmp_path / "x.tiff", save(image, "tiff"))[0][2].tolist() == [expected]


OUTSIDE = [(np.int32, [-1, 5]), (np.int32, [0, 65536 * 2])]
OUTSIDE += [(np.float32, values) for values in ([np.nan, 0], [-1, 0], [0, np.inf])]


@pytest.mark.parametrize(("kind", "values"), OUTSIDE)
def test_values_outside_every_range_are_named(tmp_path, kind, values):
    image = Image.fromarray(np.array([values], dtype=kind))
    with pytest.raises(ValueError, match=r"with values from .* expected 0 to .*0 to 65535"):
        from_pil(image)
    with pytest.raises(ValueError, match=r"x\.tiff .* with values from"):
        read(tmp_path / "x.tiff", save(image, "tiff"))


# Large and narrow pictures


def test_pictures_beyond_pillows_limit_are_read_up_to_our_own(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    PHOTO.save(tmp_path / "x.png")
    assert torch.equal(read(tmp_path / "x.png")[0], PIXELS)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setenv("GLIMPSE_MAX_PIXELS", "599")
    with pytest.raises(
        ValueError, match=r"x\.png has 30 x 20 = 600 pixels, more than 599: set .*GLIMPSE_MAX_PIXELS"
    ):
        read(tmp_path / "x.png")
    monkeypatch.setenv("GLIMPSE_MAX_PIXELS", "600")
    assert torch.equal(read(tmp_path / "x.png")[0], PIXELS)
    for text in ("many", "-1", "0", "1e9"):
        monkeypatch.setenv("GLIMPSE_MAX_PIXELS", text)
        with pytest.raises(
            ValueError, match=f"GLIMPSE_MAX_PIXELS='{text}', expected a positive whole number"
        ):
            read(tmp_path / "x.png")


def test_what_a_jpeg_is_decoded_to_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSE_MAX_PIXELS", "5000")
    PHOTO.resize((300, 200)).save(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg", 30, "crop")[1] == (300, 200)
    with pytest.raises(ValueError, match="300 x 200 = 60,000 pixels"):
        read_image(tmp_path / "x.jpg", None, "crop")


def test_a_strip_is_cut_before_it_is_enlarged():
    strip = torch.zeros(1, 1, 60_000, dtype=torch.uint8)
    strip[..., 29_990:30_010] = 200
    assert to_square(strip, 300, "crop").tolist() == [[[200] * 300] * 300]
    assert to_square(strip.mT, 300, "crop").tolist() == [[[200] * 300] * 300]


# One log line


@pytest.fixture
def mixed(tmp_path) -> Path:
    """A folder with two transparent files, one of 16 bits and one with damaged metadata, among others."""
    folder = tmp_path / "mixed" / "train" / "bird"
    folder.mkdir(parents=True)
    clear = PHOTO.copy()
    clear.putalpha(100)
    for number in range(2):
        PHOTO.save(folder / f"plain{number}.png")
        clear.save(folder / f"clear{number}.png")
    (folder / "deep.png").write_bytes(png(np.full((20, 30, 1), 0x8000), 16, 0))
    (folder / "tagged.jpg").write_bytes(save(PHOTO, "JPEG", exif=b"Exif\0\0no TIFF"))
    (tmp_path / "mixed" / "train" / "crow").mkdir()
    PHOTO.rotate(90).save(tmp_path / "mixed" / "train" / "crow" / "plain.png")
    return tmp_path / "mixed"


COUNTS = [
    f"1 image {SCALED}",
    f"1 image {NO_METADATA}",
    f"2 images {ON_WHITE}",
]


@pytest.mark.parametrize("many", [1000, 3])
def test_a_folder_says_once_what_was_done_to_how_many(mixed, caplog, monkeypatch, tmp_path, many):
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("glimpse_env.datasets.sources.paths.MANY", many)
    datasets.load(mixed, "train", image_size=8)
    copies, line = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "2 of 7 train images are byte-identical" in copies
    assert "train" in line and all(count in line for count in COUNTS)


def test_an_object_says_once_what_was_done_to_how_many(mixed, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = [(Image.open(path), 0) for path in sorted((mixed / "train" / "bird").iterdir())]
    datasets.load([(image, label % 2) for label, (image, _) in enumerate(pairs)], "train", image_size=8)
    assert [record.message for record in caplog.records] == [
        f"data set list: 1 image {SCALED}; 2 images {ON_WHITE}"
    ]


def test_a_file_that_is_read_alone_says_so_itself(mixed, caplog):
    read_image(mixed / "train" / "bird" / "clear0.png", None, "crop")
    read_image(mixed / "train" / "bird" / "plain0.png", None, "crop")
    assert [record.message for record in caplog.records] == [
        f"{mixed}/train/bird/clear0.png: 1 image {ON_WHITE}"
    ]


def test_stores_of_versions_that_dropped_transparency_are_rebuilt():
    assert store.VERSION >= 3


def test_pillows_settings_are_restored_after_overlapping_readers(monkeypatch):
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with lenient():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with lenient() as heard:
        thread.start()
        assert entered.wait(10)
        warnings.warn_explicit("odd", UserWarning, "x.py", 1, module="PIL.TiffImagePlugin")
        assert heard == ["odd"]
    assert Image.MAX_IMAGE_PIXELS is None  # the other reader is at work
    leave.set()
    thread.join()
    assert before == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters


def test_jpeg_2000_colours_of_16_bits_are_scaled_and_counted(tmp_path, caplog):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 128, 0)).save(buffer, "JPEG2000", irreversible=False)
    content = bytearray(buffer.getvalue())
    assert jpeg2000_depth(bytes(content)) == 8
    start = content.find(b"\xff\x4f\xff\x51") + 42
    content[start : start + 9 : 3] = bytes(
        [15, 15, 15]
    )  # a value v of 8 bits is then 2**15 - 128 + v of 16, rounded
    file = tmp_path / "deep.jp2"
    file.write_bytes(content)
    assert jpeg2000_depth(bytes(content)) == 16
    assert read_image(file, None, "crop")[0][:, 0, 0].tolist() == [128, 128, 128]
    assert from_pil(Image.open(file))[:, 0, 0].tolist() == [128, 128, 128]
    assert caplog.messages == [f"{file}: 1 image {SCALED}"]


def test_jpeg_2000_grey_of_16_bits_keeps_its_high_byte(tmp_path, caplog):
    Image.fromarray(np.full((64, 64), 51400, np.uint16)).save(tmp_path / "grey.jp2")
    assert read_image(tmp_path / "grey.jp2", None, "crop")[0][:, 0, 0].tolist() == [200] * 3
    assert caplog.messages == [f"{tmp_path / 'grey.jp2'}: 1 image {SCALED}"]


def test_the_depth_of_an_avif_file_is_that_of_its_configuration():
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("Pillow before 11.3 writes no AVIF files")
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "AVIF")
    content = bytearray(buffer.getvalue())
    flags = content.find(b"av1C") + 6
    assert avif_depth(bytes(content)) == 8
    content[flags] |= 0x40
    assert avif_depth(bytes(content)) == 10
    content[flags] |= 0x20
    assert avif_depth(bytes(content)) == 12
