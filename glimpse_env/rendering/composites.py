"""Foveal composites, drawn with Pillow: the image as glimpses at several resolutions show it, and a sheet.

Reference: Sermanet, Frome, Real 2015 (arXiv 1412.7054), the figures of glimpse composites.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from glimpse_env import retina
from glimpse_env.rendering import frames

# In pixels: side of a picture, width of its frame, space between pairs, height of a line of text.
TILE, FRAME, GAP, LINE = 180, 5, 12, 18
COLUMNS = 4  # images per row
SPOT = 4  # radius in pixels of a glimpse's centre
CORRECT, INCORRECT = (0, 158, 115), (213, 54, 0)


def draw_composite(episode: frames.Episode, size: int) -> UInt8[Tensor, "channel height width"]:
    """Return the image with each pixel at the highest resolution of a glimpse that shows it; noise elsewhere.

    `size`: side in pixels to which every window was resized. Glimpse 1 must not be the whole image.
    """
    if episode.whole_first:
        expected = "expected an episode whose glimpse 1 is a window"
        raise ValueError(f"whole_first=True: a composite shows windows only, {expected}")
    image, generator = episode.image.cpu(), torch.Generator().manual_seed(0)
    height, width = image.shape[1:]
    composite = torch.randint(0, 256, image.shape, dtype=torch.uint8, generator=generator)
    centres = retina.to_pixels(torch.as_tensor(np.asarray(episode.path, np.float64)), height, width).tolist()
    taken = [(round(window), step) for step in range(len(centres)) for window in episode.widths_at(step)]
    for window, same in groupby(sorted(taken, key=lambda one: -one[0]), key=lambda one: one[0]):
        reduced = reduce_detail(image, window, size)
        for x, y in (centres[step] for _, step in same):
            rows, columns = clip_window(y, window, height), clip_window(x, window, width)
            composite[:, rows, columns] = reduced[:, rows, columns]
    return composite


def reduce_detail(
    image: UInt8[Tensor, "channel height width"], window: int, size: int
) -> UInt8[Tensor, "channel height width"]:
    """Return the image with the detail that remains when a window of `window` pixels is shrunk to `size`."""
    if window <= size:
        return image
    height, width = image.shape[1:]
    small = (max(1, round(height * size / window)), max(1, round(width * size / window)))
    coarse = functional.interpolate(image[None].float(), small, mode="bilinear", antialias=True)
    return functional.interpolate(coarse, (height, width), mode="bilinear")[0].round().clamp(0, 255).byte()


def clip_window(centre: float, window: int, side: int) -> slice:
    """Return the pixels of an axis that lie in a window and in the image."""
    start = round(centre - window / 2)
    return slice(min(side, max(0, start)), min(side, max(0, start + window)))


def draw_sheet(
    episodes: Sequence[tuple[bool, frames.Episode]], size: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Return pairs of pictures, image with the glimpses' centres and composite, of (correct, episode).

    Frames are green if the prediction is correct, else red. `size`: side to which every window was resized.
    """
    pair = (2 * TILE + 4 * FRAME + GAP, TILE + 2 * FRAME + LINE + GAP)
    columns = min(COLUMNS, max(1, len(episodes)))
    rows = max(1, -(-len(episodes) // columns))
    picture = Image.new("RGB", (pair[0] * columns + GAP, pair[1] * rows + GAP), frames.PAPER)
    pen = ImageDraw.Draw(picture)
    for number, (correct, episode) in enumerate(episodes):
        left, top = GAP + number % columns * pair[0], GAP + number // columns * pair[1]
        colour = CORRECT if correct else INCORRECT
        pen.text((left, top), format_caption(episode, correct), colour, frames.font(12))
        composite = draw_tile(draw_composite(episode, size))
        for image, x in ((draw_centres(episode), left), (composite, left + TILE + 2 * FRAME)):
            y, side = top + LINE, TILE + 2 * FRAME - 1
            pen.rectangle((x, y, x + side, y + side), colour)
            picture.paste(image, (x + FRAME, y + FRAME))
    return np.asarray(picture)


def format_caption(episode: frames.Episode, correct: bool) -> str:
    """Return the predicted class, and the true class if it is another."""
    shares = episode.probabilities
    predicted = "no prediction" if shares is None else frames.clean(episode.classes[int(np.argmax(shares))])
    if not correct and episode.label is not None:
        predicted += f" (is {frames.clean(episode.classes[episode.label])})"
    return frames.shorten(predicted, 2 * TILE, 12)


def draw_tile(image: UInt8[Tensor, "channel height width"]) -> Image.Image:
    """Return the image as a square picture; the pixels of small images stay squares."""
    pixels = Image.fromarray(frames.to_rgb(image))
    small = max(image.shape[1:]) <= TILE // 2
    return pixels.resize((TILE, TILE), Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR)


def draw_centres(episode: frames.Episode) -> Image.Image:
    """Return the image with a dot at each glimpse's centre, in the colours of the ramp, joined by a line."""
    picture = draw_tile(episode.image)
    pen = ImageDraw.Draw(picture)
    points: Float[np.ndarray, "time 2"] = (np.asarray(episode.path, np.float64) + 1) * TILE / 2
    pen.line([tuple(point) for point in points], frames.INK, 2)
    for (x, y), colour in zip(points, frames.ramp(len(points)), strict=True):
        pen.ellipse((x - SPOT, y - SPOT, x + SPOT, y + SPOT), colour, frames.PAPER)
    return picture
