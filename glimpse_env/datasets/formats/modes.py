"""From an image of any of Pillow's modes to 8 bits a channel without transparency.

Channels of more than 8 bits keep their most significant 8, as Pillow does with 16-bit colours; floating
values are rounded. Transparency is composed on white; an image that shows nothing but white, on black.
"""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Bool
from PIL import Image

from glimpse_env.datasets.formats.depth import read_depth
from glimpse_env.datasets.formats.notes import ON_BLACK, ON_WHITE, SCALED

GREY = ("1", "L", "LA", "La")  # modes of one channel of at most 8 bits, with or without transparency
WIDE = ("I", "F")  # the beginnings of the modes of more than 8 bits a channel: I, I;16, I;16B, F
ALPHA = ("LA", "La", "PA", "P", "RGBA", "RGBa")  # modes that may be transparent; a palette's colours may be
MAXIMA = (1, 255, 65535)  # of the values of I and F, whose depth is unknown; 1 is for floating values
RAW_BITS = re.compile(r";(2|4|12|16)")  # bits a channel in Pillow's names of raw pixels, such as RGB;16B
ROUNDING = 1e-4  # by which values may exceed a maximum, as a share of it
INVISIBLE = 5  # by which pixels may differ from the ground and not be seen


def find_bits(image: Image.Image) -> int | None:
    """Return the bits a channel in the file of an image that is not loaded yet; None = 8, or unknown."""
    if (read_depth(image.format, getattr(image, "fp", None)) or 0) > 8:
        return 16  # Pillow scales grey ones to 16 bits, and colours to 8
    for codec, _, _, arguments in getattr(image, "tile", None) or ():
        wide = isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > 255
        if codec in ("ppm", "ppm_plain") and wide:
            return 16  # Pillow scales them to 16 bits, or as colours to 8
        name = arguments if isinstance(arguments, str) else str((arguments or ("",))[0])
        if name == "1":
            return 1
        if found := RAW_BITS.search(name):
            return int(found[1])
    return None


def to_plain(image: Image.Image, bits: int | None, colour: bool, done: set[str]) -> Image.Image:
    """Return a loaded image in mode L if it is grey, else (or with `colour`) RGB.

    `bits` is from `find_bits`; what was done is added to `done`.

    Raises:
        ValueError: No pixels, or mode I or F with values below 0 or above 65535.
    """
    if 0 in image.size:
        raise ValueError(f"it has {image.width} x {image.height} pixels: expected at least one")
    if image.mode.startswith(WIDE):
        image = scale(image, bits)
        done.add(SCALED)
    else:
        image = fit_key(image, bits)
        if bits is not None and bits > 8:
            done.add(SCALED)
    mode = "L" if image.mode in GREY and not colour else "RGB"
    image = compose(image, done)
    return image if image.mode == mode else image.convert(mode)


def scale(image: Image.Image, bits: int | None) -> Image.Image:
    """Return an image of mode I;16, I or F as L, or as LA if one of its values is transparent."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        pixels = values >> (bits or 16) - 8
    else:
        maximum = 65535 if bits == 16 else find_maximum(values, image.mode)
        pixels = values // 256 if maximum == 65535 else np.rint(values * (255 / maximum))
    plain = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        plain.putalpha(to_mask(values != key))
    return plain


def to_mask(opaque: Bool[np.ndarray, "height width"]) -> Image.Image:
    """Return an alpha channel."""
    return Image.fromarray(opaque.astype(np.uint8) * 255)


def find_maximum(values: np.ndarray, mode: str) -> int:
    """Return the smallest of `MAXIMA` that no value exceeds; refuse values below 0, above all, and NaN."""
    low, high = float(values.min()), float(values.max())
    maxima = MAXIMA if mode == "F" else MAXIMA[1:]
    for maximum in maxima:
        if low >= -ROUNDING and high <= (1 + ROUNDING) * maximum:
            return maximum
    expected = f"expected 0 to {', or 0 to '.join(map(str, maxima))}"
    raise ValueError(f"PIL mode {mode!r} with values from {low:g} to {high:g}: {expected}")


def fit_key(image: Image.Image, bits: int | None) -> Image.Image:
    """Return an image whose transparent grey or colour, if it names one, has the depth of its pixels.

    Pillow scales the pixels of 2, 4 and 16 bits to 8, but not that value. One of another mode is removed.
    """
    key = image.info.get("transparency")
    if key is None or image.mode not in ("1", "L", "RGB"):
        return image
    values = key if isinstance(key, tuple) else (key,)
    fits = len(values) == len(image.getbands()) and all(isinstance(value, int) for value in values)
    if fits and bits is None:
        return image
    image = image.copy()
    del image.info["transparency"]
    if fits and bits is not None:
        scaled = [value >> 8 if bits == 16 else min(255, value * 255 // (2**bits - 1)) for value in values]
        image.info["transparency"] = tuple(scaled) if isinstance(key, tuple) else scaled[0]
    return image


def compose(image: Image.Image, done: set[str]) -> Image.Image:
    """Return an image without transparency."""
    if image.mode not in ALPHA and "transparency" not in image.info:
        return image
    image = image.convert("LA" if image.mode in GREY else "RGBA")
    colours, alpha = image.convert(image.mode[:-1]), image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return colours
    white, black = (put(colours, alpha, ground) for ground in ("white", "black"))
    if is_blank(white, 255) and not is_blank(black, 0):
        done.add(ON_BLACK)
        return black
    done.add(ON_WHITE)
    return white


def put(colours: Image.Image, alpha: Image.Image, ground: str) -> Image.Image:
    """Return colours composed on a ground."""
    composed = Image.new(colours.mode, colours.size, ground)
    composed.paste(colours, mask=alpha)
    return composed


def is_blank(image: Image.Image, level: int) -> bool:
    """Tell whether all pixels resemble a grey level."""
    bands = [band.getextrema() for band in image.split()]
    return all(abs(value - level) <= INVISIBLE for extrema in bands for value in extrema)  # pyright: ignore[reportOperatorIssue, reportArgumentType]
