"""Foveal composites: what several glimpses at several resolutions add up to, and a sheet of them beside their images, drawn with Pillow.

Reference: Sermanet, Frome, Real 2015 (arXiv 1412.7054), the figures of glimpse composites.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from glimpse_env import retina
from glimpse_env.rendering import frames

TILE, FRAME, GAP, LINE = 180, 5, 12, 18  # pixels: side of a picture, width of its frame, space between pairs, height of a line of text
COLUMNS = 4  # images a row
SPOT = 4  # radius in pixels of a glimpse's centre
RIGHT, WRONG = (0, 158, 115), (213, 54, 0)


def composite(episode: frames.Episode, size: int) -> UInt8[Tensor, "channel height width"]:
    """Return the image with each pixel at the highest resolution at which any glimpse of the path saw it, and noise where none did.

    Args:
        episode: The image, where it was looked at, and how wide the windows are; glimpse 1 must not be the whole image.
        size: Pixels a side to which every window was resized.
    """
    if episode.whole_first:
        raise ValueError("whole_first=True: a composite is made of windows around places, expected an episode whose glimpse 1 is one")
    image = episode.image.cpu()
    height, width = image.shape[1:]
    shown = torch.randint(0, 256, image.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    centres = retina.to_pixels(torch.as_tensor(np.asarray(episode.path, np.float64)), height, width).tolist()
    for window in sorted(episode.windows, reverse=True):
        seen = resolved(image, window, size)
        for x, y in centres:
            rows, columns = span(y, window, height), span(x, window, width)
            shown[:, rows, columns] = seen[:, rows, columns]
    return shown


def resolved(image: UInt8[Tensor, "channel height width"], window: int, size: int) -> UInt8[Tensor, "channel height width"]:
    """Return the image with the detail that is left when a window of `window` pixels is shrunk to `size`."""
    if window <= size:
        return image
    height, width = image.shape[1:]
    small = (max(1, round(height * size / window)), max(1, round(width * size / window)))
    coarse = functional.interpolate(image[None].float(), small, mode="bilinear", antialias=True)
    return functional.interpolate(coarse, (height, width), mode="bilinear")[0].round().clamp(0, 255).byte()


def span(centre: float, window: int, side: int) -> slice:
    """Return the pixels of an axis that lie in a window, as far as the image goes."""
    start = round(centre - window / 2)
    return slice(min(side, max(0, start)), min(side, max(0, start + window)))


def sheet(episodes: Sequence[tuple[bool, frames.Episode]], size: int) -> UInt8[np.ndarray, "height width 3"]:
    """Return pairs of pictures: the image with the glimpses' centres, and its composite; framed green if the answer was right, else red.

    Args:
        episodes: (right, episode) of every image.
        size: Pixels a side to which every window was resized.
    """
    pair = (2 * TILE + 4 * FRAME + GAP, TILE + 2 * FRAME + LINE + GAP)
    columns = min(COLUMNS, max(1, len(episodes)))
    rows = max(1, -(-len(episodes) // columns))
    picture = Image.new("RGB", (pair[0] * columns + GAP, pair[1] * rows + GAP), frames.PAPER)
    pen = ImageDraw.Draw(picture)
    for number, (right, episode) in enumerate(episodes):
        left, top = GAP + number % columns * pair[0], GAP + number // columns * pair[1]
        pen.text((left, top), caption(episode, right), RIGHT if right else WRONG, frames.font(12))
        for image, place in ((dotted(episode), left), (tile(composite(episode, size)), left + TILE + 2 * FRAME)):
            pen.rectangle((place, top + LINE, place + TILE + 2 * FRAME - 1, top + LINE + TILE + 2 * FRAME - 1), RIGHT if right else WRONG)
            picture.paste(image, (place + FRAME, top + LINE + FRAME))
    return np.asarray(picture)


def caption(episode: frames.Episode, right: bool) -> str:
    """Return the answer, and the truth where it is another."""
    shares = episode.probabilities
    answer = "no answer" if shares is None else frames.clean(episode.classes[int(np.argmax(shares))])
    known = answer if right or episode.label is None else f"{answer} (is {frames.clean(episode.classes[episode.label])})"
    return frames.shorten(known, 2 * TILE, 12)


def tile(image: UInt8[Tensor, "channel height width"]) -> Image.Image:
    """Return the image as a square picture; small ones keep square pixels."""
    pixels = Image.fromarray(frames.coloured(image))
    small = max(image.shape[1:]) <= TILE // 2
    return pixels.resize((TILE, TILE), Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR)


def dotted(episode: frames.Episode) -> Image.Image:
    """Return the image with a dot at the centre of each glimpse, from the first colour of the ramp to the last, joined by a line."""
    picture = tile(episode.image)
    pen = ImageDraw.Draw(picture)
    points: Float[np.ndarray, "time 2"] = (np.asarray(episode.path, np.float64) + 1) * TILE / 2
    pen.line([tuple(point) for point in points], frames.INK, 2)
    for (x, y), colour in zip(points, frames.ramp(len(points)), strict=True):
        pen.ellipse((x - SPOT, y - SPOT, x + SPOT, y + SPOT), colour, frames.PAPER)
    return picture
