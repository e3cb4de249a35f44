"""Image files without their metadata: of JPEG, PNG, WebP and TIFF, only what decides the pixels.

Pillow refuses some files whose pixels are whole, because of a comment, a colour profile or a camera's notes
that are damaged. `strip` returns such a file without them.
"""

from __future__ import annotations

import re
import struct
import zlib

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
MARKER = re.compile(rb"\xff+([\xc0-\xfe])")
START = JPEG + b"\xff"
TABLES = re.compile(rb"\xff(?:\xdb|\xee\x00\x0eAdobe)")  # what a picture begins with
SCAN = 0xDA  # JPEG's marker in front of the pixels
COMMENTS = {*range(0xE0, 0xF0), 0xFE} - {0xEE}  # JPEG's segments of metadata; 0xEE says how colours are coded
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
ANCILLARY = (b"tRNS", b"eXIf")  # chunks of PNG that are kept if they are whole: transparency, orientation
KEY_BYTES = {0: 2, 2: 6}  # length of tRNS by the type of the colours, but for palettes
WEBP = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
# TIFF's tags: sizes, compression, colours, strips, planes, predictor, palette, tiles, extra samples, sample
# format, JPEG's and YCbCr's tables, and 274, the orientation.
TIFF = {*range(254, 260), 262, 266, 273, 274, *range(277, 280), 284, 292, 293, 317, 320, *range(322, 326),
        338, 339, 347, *range(512, 522), 529, 530, 531, 532}  # fmt: skip


def strip(content: bytes) -> bytes:
    """Return an image file without its metadata; one of another format, or too damaged, as it is."""
    try:
        if content.startswith(JPEG):
            return strip_jpeg(content)
        if content.startswith(PNG):
            return strip_png(content)
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return strip_webp(content)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return strip_tiff(content, "<" if content[:1] == b"I" else ">")
    except (struct.error, IndexError):  # it ends too early
        pass
    return content


def strip_jpeg(content: bytes) -> bytes:
    """Return a JPEG file without comments and application data, but for a whole EXIF segment.

    Where the length of such a segment is wrong, the tables of the picture are looked for behind it, unless
    there may be another picture inside: a thumbnail.
    """
    kept, position = [JPEG], 2
    while found := MARKER.match(content, position):
        kind, start = found[1][0], found.end()
        if kind == SCAN:
            return b"".join((*kept, content[position:]))
        end = start + struct.unpack_from(">H", content, start)[0]
        aligned = content[end : end + 1] == b"\xff"
        if kind not in COMMENTS or (aligned and content.startswith(b"Exif\0\0", start + 2)):
            kept.append(content[position:end])
        elif not aligned and content.count(START) == 1:
            tables = TABLES.search(content, start)
            end = tables.start() if tables else end
        position = end
    return content


def strip_png(content: bytes) -> bytes:
    """Return a PNG file's image, its palette, and what is whole of `ANCILLARY`."""
    kept, position, colours = [PNG], len(PNG), content[25]
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        data = content[position + 8 : end - 4]
        whole = content[end - 4 : end] == struct.pack(">I", zlib.crc32(kind + data))
        fits = kind != b"tRNS" or KEY_BYTES.get(colours, length) == length
        if kind in CRITICAL or (kind in ANCILLARY and whole and fits):
            kept.append(content[position:end])
        position = end
    return b"".join(kept)


def strip_webp(content: bytes) -> bytes:
    """Return a WebP file's images, and its EXIF if that is whole."""
    kept, position = [], 12
    while position + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, position)
        end = position + 8 + length + length % 2
        if kind in WEBP or (kind == b"EXIF" and end <= len(content)):
            kept.append(content[position:end])
        position = end
    chunks = b"".join(kept)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def strip_tiff(content: bytes, order: str) -> bytes:
    """Return a TIFF file whose first image has the tags of `TIFF` alone; nothing else moves."""
    start = struct.unpack_from(f"{order}I", content, 4)[0]
    count = struct.unpack_from(f"{order}H", content, start)[0]
    entries = [content[first : first + 12] for first in range(start + 2, start + 2 + 12 * count, 12)]
    kept = [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] in TIFF]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + b"\0\0\0\0"  # the last image
    return content[:start] + directory + content[start + len(directory) :]
