"""Bits a channel of JPEG 2000 and AVIF files, whose colours Pillow narrows to 8 bits without saying so."""

from __future__ import annotations

import struct
from typing import Any

BEGINNING = 2**20  # bytes of a file that are searched
CODESTREAM = b"\xff\x4f\xff\x51"  # JPEG 2000: start of the codestream, and its segment of sizes
COMPONENTS = 40  # bytes from there to the number of components; each then has 3, the first of them its depth
CONFIGURATION = b"av1C"  # AVIF: the box of the decoder's configuration
HIGH, TWELVE = 0x40, 0x20  # flags in its third byte: more than 8 bits; 12 instead of 10


def read_depth(format_name: str | None, file: Any) -> int | None:
    """Return the bits a channel that a file of these formats names; None = it is of another format.

    `file` is open for reading bytes, or None; it is left at the position where it was.
    """
    if format_name not in ("JPEG2000", "AVIF") or file is None:
        return None
    position = file.tell()
    file.seek(0)
    content = file.read(BEGINNING)
    file.seek(position)
    try:
        return jpeg2000_depth(content) if format_name == "JPEG2000" else avif_depth(content)
    except (struct.error, IndexError):  # it ends too early: to decode it says so
        return None


def jpeg2000_depth(content: bytes) -> int | None:
    """Return the largest depth of the components."""
    start = content.find(CODESTREAM)
    if start < 0:
        return None
    (count,) = struct.unpack_from(">H", content, start + COMPONENTS)
    first = start + COMPONENTS + 2
    return max((content[first + 3 * index] & 0x7F) + 1 for index in range(count))


def avif_depth(content: bytes) -> int | None:
    """Return the depth that the decoder is configured for."""
    start = content.find(CONFIGURATION)
    if start < 0:
        return None
    flags = content[start + len(CONFIGURATION) + 2]
    return (12 if flags & TWELVE else 10) if flags & HIGH else 8
