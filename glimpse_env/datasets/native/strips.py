"""Large image files, a few rows of pixels at a time.

A part of a PNG or TIFF file is made a file of its own, which Pillow decodes: some rows of a PNG under the one
above them, which their filters refer to; a strip or a tile of a TIFF. Files of other formats are decoded at
once, at 4 bytes a pixel, and so are PNG and TIFF files whose rows cannot be told apart (interlaced ones, a
single compressed strip) or whose values depend on the whole image (transparency, more than 8 bits a channel).
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from glimpse_env.datasets.decode import ALONE, ON_THE_SIDE, UPRIGHT, check_pixels, read_orientation
from glimpse_env.datasets.formats.metadata import PNG
from glimpse_env.datasets.formats.modes import find_bits, to_plain
from glimpse_env.datasets.formats.notes import lenient
from glimpse_env.datasets.native.pyramid import STRIP, Pixels

PIECE = 1 << 20  # bytes of a file that are read, or inflated, at a time
CHANNELS = {0: 1, 2: 3, 3: 1}  # by the type of a PNG's colours: grey, RGB, palette
METADATA = (b"Raw profile type", b"XML:com.adobe.xmp")  # beginnings of a PNG's texts that can hold EXIF's
PLAIN = ("L", "P", "RGB", "CMYK", "YCbCr")  # modes of at most 8 bits a channel without transparency
# TIFF's tags that a part of a file shares with it: bits, compression, colours, fill order, samples, planes,
# FAX, predictor, palette, JPEG's tables, YCbCr. Then those of its size, its strips and its tiles.
SHARED = (258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 347, 530, 531)
WIDTH, HEIGHT, OFFSETS, ROWS, COUNTS = 256, 257, 273, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
BITS, COMPRESSION, SAMPLES, PLANES, EXTRA = 258, 259, 277, 284, 338  # EXTRA: such as transparency


def measure(path: Path) -> tuple[int, int]:
    """Return the (height, width) of an image file, upright, from its header."""
    with lenient(), Image.open(path) as image:
        tags = getattr(image, "tag_v2", None)  # the size that Pillow tells of a TIFF may be the upright one
        width, height = image.size if tags is None else (tags[WIDTH], tags[HEIGHT])
        return (width, height) if find_orientation(image, path, set()) in ON_THE_SIDE else (height, width)


def find_orientation(image: Image.Image, path: Path, done: set[str]) -> int:
    """Return EXIF's orientation of an image that is not loaded; see `read_orientation`, which loads a PNG."""
    if image.format == "PNG" and not may_be_turned(path):
        return 1
    return read_orientation(image, done)


def may_be_turned(path: Path) -> bool:
    """Tell whether a PNG file has metadata that can hold an orientation."""
    with path.open("rb") as stream:
        stream.seek(len(PNG))
        while len(head := stream.read(8)) == 8:
            length, name = int.from_bytes(head[:4], "big"), head[4:]
            start = stream.read(min(length, 32))
            if name == b"eXIf" or start.startswith(METADATA):
                return True
            stream.seek(length - len(start) + 4, os.SEEK_CUR)
    return False


def read_strips(path: Path, done: set[str]) -> Iterator[Pixels]:
    """Yield an image file's rows as RGB, upright by its EXIF orientation, some at a time.

    `done` gets what `formats` did.
    """
    with lenient(), Image.open(path) as image:
        check_pixels(*image.size)
        tags = getattr(image, "tag_v2", {})
        plain = image.mode in PLAIN and (find_bits(image) or 8) == 8 and "transparency" not in image.info
        plain = plain and find_orientation(image, path, done) not in UPRIGHT
        form, tags = image.format, {tag: tags[tag] for tag in tags}
    parts = None
    if plain and form in ("PNG", "TIFF"):
        parts = cut_png(path) if form == "PNG" else cut_tiff(path, tags)
    with ALONE:
        yield from read_whole(path, done) if parts is None else parts


def read_whole(path: Path, done: set[str]) -> Iterator[Pixels]:
    """Decode an image file at once, and yield its rows."""
    with lenient(), Image.open(path) as image:
        bits, shape = find_bits(image), image.size
        image.load()
        orientation = read_orientation(image, done)
        turned = image.size != shape  # Pillow turns TIFF upright by itself
        grey = image.mode == "L" and "transparency" not in image.info and bits in (None, 8)
        plain = image if grey else to_plain(image, bits, True, done)
        plain = plain.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT and not turned else plain
        for top in range(0, plain.height, STRIP):
            part = plain.crop((0, top, plain.width, min(top + STRIP, plain.height)))
            yield np.asarray(part.convert("RGB"))


def cut_png(path: Path) -> Iterator[Pixels] | None:
    """Return the rows of a PNG file; None = it cannot be cut."""
    with path.open("rb") as stream:
        head = stream.read(29)
    if head[:8] != PNG or len(head) < 29:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">LLBBBBB", head[16:29])
    if depth != 8 or colour not in CHANNELS or interlaced:
        return None
    return read_png(path, width, height, colour)


def read_png(path: Path, width: int, height: int, colour: int) -> Iterator[Pixels]:
    """Yield `STRIP` rows at a time, each decoded under the last row of those before."""
    length, rows, above, waiting = 1 + width * CHANNELS[colour], 0, b"", bytearray()
    with path.open("rb") as stream:
        palette = find_palette(stream)
        for piece in inflate(stream):
            waiting += piece
            while (count := min(STRIP, height - rows)) and len(waiting) >= count * length:
                filtered = above + waiting[: count * length]
                del waiting[: count * length]
                file = make_png(width, len(filtered) // length, colour, palette, filtered)
                with Image.open(io.BytesIO(file)) as image:
                    skipped, above = bool(above), b"\0" + np.asarray(image)[-1].tobytes()
                    yield np.asarray(image.convert("RGB"))[int(skipped) :]
                rows += count
    if rows < height:
        raise OSError(f"image file is truncated: it ends after {rows:,} of {height:,} rows")


def inflate(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the filtered rows of a PNG file in pieces: a small file can hold gigabytes."""
    decompressor = zlib.decompressobj()
    for name, content in read_chunks(stream):
        while name == b"IDAT" and content:
            yield decompressor.decompress(content, PIECE)
            content = decompressor.unconsumed_tail
    yield decompressor.flush()


def find_palette(stream: BinaryIO) -> bytes:
    """Return the chunk of a PNG file that holds its palette; empty = none."""
    for name, content in read_chunks(stream):
        if name == b"PLTE":
            return make_chunk(name, content)
        if name == b"IDAT":
            break
    return b""


def read_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of a PNG file's chunks, in pieces."""
    stream.seek(len(PNG))
    while len(head := stream.read(8)) == 8:
        left, name = int.from_bytes(head[:4], "big"), head[4:]
        while left:
            content = stream.read(min(left, PIECE))
            if not content:
                return
            left -= len(content)
            yield name, content
        stream.read(4)  # the checksum


def make_chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    check = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">L", len(content)) + name + content + struct.pack(">L", check)


def make_png(width: int, height: int, colour: int, palette: bytes, filtered: bytes) -> bytes:
    """Return a PNG file of 8 bits a channel, not compressed."""
    head = make_chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, colour, 0, 0, 0))
    return PNG + head + palette + make_chunk(b"IDAT", zlib.compress(filtered, 0)) + make_chunk(b"IEND", b"")


def cut_tiff(path: Path, tags: dict[int, Any]) -> Iterator[Pixels] | None:
    """Return the rows of a TIFF file; None = it cannot be cut."""
    apart = tags.get(PLANES, 1) != 1 and tags.get(SAMPLES, 1) != 1
    if apart or EXTRA in tags or any(bits != 8 for bits in as_tuple(tags.get(BITS, 1))):
        return None
    if TILE_OFFSETS in tags:
        return read_tiles(path, tags)
    if OFFSETS in tags and (len(as_tuple(tags[OFFSETS])) > 1 or tags.get(COMPRESSION, 1) == 1):
        return read_tiff(path, tags)
    return None


def read_tiff(path: Path, tags: dict[int, Any]) -> Iterator[Pixels]:
    """Yield the strips of a TIFF file, those without compression `STRIP` rows at a time."""
    width, height, raw = tags[WIDTH], tags[HEIGHT], tags.get(COMPRESSION, 1) == 1
    each, length = min(height, tags.get(ROWS, height)), width * tags.get(SAMPLES, 1)
    starts = as_tuple(tags[OFFSETS])
    counts = as_tuple(tags.get(COUNTS, length * each))
    with path.open("rb") as stream:
        for number, (start, count) in enumerate(zip(starts, counts, strict=True)):
            rows = min(each, height - number * each)
            for top in range(0, rows, STRIP if raw else rows):
                part = min(STRIP, rows - top) if raw else rows
                stream.seek(start + top * length)
                content = stream.read(part * length if raw else count)
                yield decode_part(tags, width, part, content)


def read_tiles(path: Path, tags: dict[int, Any]) -> Iterator[Pixels]:
    """Yield the rows of tiles of a TIFF file."""
    width, height, across, down = (tags[tag] for tag in (WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT))
    places = list(zip(as_tuple(tags[TILE_OFFSETS]), as_tuple(tags[TILE_COUNTS]), strict=True))
    columns = -(-width // across)
    with path.open("rb") as stream:
        for first in range(0, len(places), columns):
            beside = []
            for start, count in places[first : first + columns]:
                stream.seek(start)
                beside.append(decode_part(tags, across, down, stream.read(count)))
            yield np.concatenate(beside, 1)[: height - first // columns * down, :width]


def decode_part(tags: dict[int, Any], width: int, height: int, content: bytes) -> Pixels:
    """Decode a strip or a tile of a TIFF file, given the file's tags."""
    with lenient(), Image.open(io.BytesIO(make_tiff(tags, width, height, content))) as image:
        return np.asarray(image.convert("RGB"))


def make_tiff(tags: dict[int, Any], width: int, height: int, content: bytes) -> bytes:
    """Return a TIFF file of one strip, with the tags of another whose values are bytes."""
    values = {tag: tags[tag] for tag in SHARED if tag in tags}
    values |= {WIDTH: width, HEIGHT: height, OFFSETS: 8, ROWS: height, COUNTS: len(content)}
    content += b"\0" * (len(content) % 2)
    begin, table, data = 8 + len(content), b"", b""
    behind = begin + 2 + 12 * len(values) + 4  # of the table
    for tag, value in sorted(values.items()):
        large, count = tag in (WIDTH, HEIGHT, OFFSETS, ROWS, COUNTS), len(as_tuple(value))
        if isinstance(value, bytes):
            kind, packed, count = 7, value, len(value)
        else:
            kind = 4 if large else 3
            packed = struct.pack(f"<{count}{'L' if large else 'H'}", *as_tuple(value))
        place = packed.ljust(4, b"\0")
        if len(packed) > 4:
            place, data = struct.pack("<L", behind + len(data)), data + packed + b"\0" * (len(packed) % 2)
        table += struct.pack("<HHL", tag, kind, count) + place
    head = struct.pack("<2sHL", b"II", 42, begin)
    return head + content + struct.pack("<H", len(values)) + table + struct.pack("<L", 0) + data


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return a tag's value, or values."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)
