"""Pictures of an episode, drawn with Pillow: image, fixation path and glimpse boxes, and class bars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from glimpse_env import retina

Colour = tuple[int, int, int]

SIDE = 320  # largest length in pixels of the image's longer side in the picture
PANEL = 260  # width in pixels of the class bars
HEIGHT = 264  # smallest height in pixels: space for all bars
BARS = 10  # at most; of more classes the most probable ones and the true one are drawn
DOT = 8  # radius in pixels of a fixation

PAPER, SURROUND, INK, DIM = (255, 255, 255), (222, 222, 226), (32, 32, 36), (236, 236, 240)
# First to last glimpse, distinct for colour-blind readers too.
RAMP = np.array([(100, 143, 255), (220, 38, 127), (255, 176, 0)])
BAR, TRUE_BAR = (120, 130, 150), (0, 158, 115)


@dataclass(frozen=True)
class Episode:
    """What one picture shows: an image, the glimpses so far, and the last prediction."""

    image: UInt8[Tensor, "channel height width"]
    path: Float[np.ndarray, "time 2"]  # centres (x, y) of the glimpses in the image's own [-1, 1]
    windows: tuple[int, ...]  # widths of a glimpse, in pixels of the image
    whole_first: bool  # glimpse 1 was the whole image
    prediction: Float[np.ndarray, " class"] | None  # class scores, divided by their sum here; None = none yet
    classes: tuple[str, ...]
    label: int | None  # None = unknown
    first_crop: float = 1.0  # share of the image's side that the "whole image" was
    factors: Float[np.ndarray, " time"] | None = None  # by which zoom narrowed `windows` each time; None = 1

    def __post_init__(self) -> None:
        """Check shapes, dtype and label."""
        image, path, classes = self.image, np.shape(self.path), len(self.classes)
        if image.dtype != torch.uint8 or image.ndim != 3:
            got = f"{image.dtype} {tuple(image.shape)}"
            raise ValueError(f"image: expected uint8 (channel, height, width), got {got}")
        if len(path) != 2 or path[1] != 2 or path[0] == 0:
            raise ValueError(f"path: expected (glimpses, 2) with at least one glimpse, got {path}")
        if self.factors is not None and np.shape(self.factors) != path[:1]:
            raise ValueError(f"factors: expected shape {path[:1]}, got {np.shape(self.factors)}")
        if self.label is not None and not 0 <= self.label < classes:
            raise ValueError(f"label={self.label}: expected 0 to {classes - 1} for {classes} classes")
        if self.prediction is not None and np.shape(self.prediction) != (classes,):
            raise ValueError(f"prediction: expected shape ({classes},), got {np.shape(self.prediction)}")

    def widths_at(self, step: int) -> list[float]:
        """Return the widths of the windows of a glimpse (from 0), in pixels of the image."""
        factor = 1.0 if self.factors is None else float(self.factors[step])
        return [window * factor for window in self.windows]

    @property
    def probabilities(self) -> Float[np.ndarray, " class"] | None:
        """The last prediction with sum 1 (an all-zero one is uniform); None before any."""
        if self.prediction is None:
            return None
        scores = np.asarray(self.prediction, np.float64)
        total = scores.sum()
        return scores / total if total > 0 else np.full(len(scores), 1 / len(scores))


def draw(episode: Episode) -> UInt8[np.ndarray, "height width 3"]:
    """Return the picture of the episode so far: image, path and boxes on the left, class bars on the right.

    Its size depends on the image and the windows only, and both sides are even, so that the pictures of an
    episode make a video.
    """
    view = draw_image(episode)
    height = max(view.shape[0], HEIGHT)
    picture = Image.new("RGB", (view.shape[1] + PANEL, height), PAPER)
    picture.paste(SURROUND, (0, 0, view.shape[1], height))
    picture.paste(Image.fromarray(view), (0, (height - view.shape[0]) // 2))
    draw_bars(ImageDraw.Draw(picture), episode, view.shape[1] + 12, (height - HEIGHT) // 2)
    return np.asarray(picture)


def draw_image(episode: Episode) -> UInt8[np.ndarray, "height width 3"]:
    """Return the enlarged image with the numbered path and boxes.

    Boxes are the smallest window of every glimpse, and the other windows of the last one.
    """
    height, width = episode.image.shape[1:]
    picture, zoom, margin = enlarge(episode.image, max(episode.windows))
    path = torch.as_tensor(np.asarray(episode.path, np.float64))
    centres = retina.to_pixels(path, height, width).numpy() * zoom + margin
    pen, colours, first = ImageDraw.Draw(picture), ramp(len(centres)), int(episode.whole_first)
    for step, centre in enumerate(centres):
        line = 4 if step == len(centres) - 1 else 2
        if step < first:
            near, far = (1 - episode.first_crop) / 2 * zoom, (1 + episode.first_crop) / 2 * zoom
            edges = (width * near, height * near, width * far, height * far)
            draw_box(pen, tuple(margin + edge for edge in edges), colours[0], line)
            centres[0] = margin + 1.5 * DOT  # its number goes to the corner, since it has no centre
            continue
        widths = episode.widths_at(step)
        for window in widths if step == len(centres) - 1 else [min(widths)]:
            half = window * zoom / 2
            draw_box(pen, (*(centre - half), *(centre + half)), colours[step], line)
    for start, end, colour in zip(centres[first:], centres[first + 1 :], colours[first + 1 :], strict=False):
        pen.line([*start, *end], INK, 5)
        pen.line([*start, *end], colour, 3)
    for step, centre in enumerate(centres):
        x, y = centre
        pen.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), colours[step], INK, 1)
        pen.text((x, y + 0.5), str(step + 1), INK, font(12 if step < 9 else 10), anchor="mm")
    return np.asarray(picture)


def enlarge(image: UInt8[Tensor, "channel height width"], window: int) -> tuple[Image.Image, float, int]:
    """Return the image at picture size on a surround for boxes beyond it, the zoom and the margin."""
    height, width = image.shape[1:]
    longest = max(height, width)
    small = longest <= SIDE // 2  # whole factors, so that pixels stay squares
    zoom = SIDE // longest if small else SIDE / longest
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    filter_ = Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR
    pixels = Image.fromarray(to_rgb(image)).resize(size, filter_)
    margin = round(min(window / 2, longest / 8) * zoom) + 3
    sides = (size[0] + 2 * margin + size[0] % 2, size[1] + 2 * margin + size[1] % 2)
    picture = Image.new("RGB", sides, SURROUND)
    picture.paste(pixels, (margin, margin))
    return picture, zoom, margin


def to_rgb(image: UInt8[Tensor, "channel height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Return an image's pixels as RGB: the first three channels, or the first channel three times."""
    channels = image.cpu() if image.shape[0] >= 3 else image[:1].cpu().expand(3, -1, -1)
    return np.ascontiguousarray(channels[:3].permute(1, 2, 0).numpy())


def ramp(steps: int) -> list[Colour]:
    """Return one colour per glimpse, from the first to the last."""
    positions = np.linspace(0, 2, steps) if steps > 1 else np.array([2.0])
    channels = [np.interp(positions, [0, 1, 2], RAMP[:, channel]) for channel in range(3)]
    return [(int(red), int(green), int(blue)) for red, green, blue in zip(*channels, strict=True)]


def draw_box(pen: ImageDraw.ImageDraw, corners: tuple[float, ...], colour: Colour, width: int) -> None:
    """Draw a box (left, top, right, bottom edge) with a dark line along it, so that it shows on any image."""
    left, top, right, bottom = (round(corner) for corner in corners)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    pen.rectangle((left - 1, top - 1, right, bottom), None, INK, width + 2)
    pen.rectangle((left, top, right - 1, bottom - 1), None, colour, width)


def draw_bars(pen: ImageDraw.ImageDraw, episode: Episode, left: int, top: int) -> None:
    """Draw one bar per class of `choose_bars`; above them the true class, else the predicted one."""
    shares = episode.probabilities
    count = len(episode.path)
    pen.text((left, top + 10), f"{count} glimpse{'s' * (count > 1)}", INK, font(13))
    title, colour = "", INK
    if episode.label is not None:
        title, colour = f"true class: {clean(episode.classes[episode.label])}", TRUE_BAR
    elif shares is not None:
        title = f"prediction: {clean(episode.classes[int(shares.argmax())])}"
    if title:
        pen.text((left, top + 28), shorten(title, PANEL - 24, 13), colour, font(13))
    longest = clean(max(episode.classes, key=len))
    start, end = left + 20 + round(min(104, font(12).getlength(longest))), left + PANEL - 68
    for row, index in enumerate(choose_bars(episode)):
        y = top + 58 + row * 20
        true = index == episode.label
        if true:
            pen.polygon([(left, y + 3), (left, y + 13), (left + 7, y + 8)], TRUE_BAR)
        name = shorten(clean(episode.classes[index]), start - left - 18, 12)
        pen.text((left + 12, y + 8), name, TRUE_BAR if true else INK, font(12), anchor="lm")
        pen.rectangle((start, y + 1, end, y + 15), DIM)
        if shares is None:
            continue
        length = round(float(shares[index]) * (end - start))
        if length > 0:
            pen.rectangle((start, y + 1, start + length, y + 15), TRUE_BAR if true else BAR)
        pen.text((left + PANEL - 24, y + 8), f"{100 * shares[index]:.0f} %", INK, font(12), anchor="rm")


def choose_bars(episode: Episode) -> list[int]:
    """Return the classes to draw: all in their order, or of many the most probable ones and the true one."""
    shares, every = episode.probabilities, list(range(len(episode.classes)))
    if len(every) <= BARS:
        return every
    first = every[:BARS] if shares is None else np.argsort(-shares, kind="stable")[:BARS].tolist()
    return first if episode.label is None or episode.label in first else [*first[:-1], episode.label]


def clean(name: str) -> str:
    """Return a class name on one line."""
    return " ".join(name.split())


def shorten(text: str, width: int, size: int) -> str:
    """Cut `text` to `width` pixels, ending with an ellipsis if it was cut."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's built-in font, which needs no file."""
    return ImageFont.load_default(size)
