"""An animation of an agent's glimpses on several images: frames drawn with Pillow, written as a GIF.

A card shows an image, lit where glimpses were taken, their boxes, a bar per class, at the end the prediction.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.rendering import frames
from glimpse_env.reports import gallery

FINE = 2  # frames are drawn so many times as large and shrunk, which smooths their edges
# Pixels: image, class bars, card's margin, space between cards, line of text.
STAGE, BARS, EDGE, GAP, HEAD = 140, 92, 12, 10, 26
# Frames of a move; milliseconds of one of them, of a glimpse, of the end.
MOVES, MOVING, GLIMPSE, RESTING = 5, 50, 650, 2800
COLUMNS, COLOURS = 3, 128
PAPER, CARD, TRACK, INK, SOFT = (19, 20, 25), (31, 33, 41), (50, 53, 64), (236, 238, 243), (150, 154, 168)
CORRECT, INCORRECT, BAR = (47, 199, 150), (255, 131, 80), (126, 139, 168)
WIDE, HIGH = STAGE + BARS + 3 * EDGE, STAGE + HEAD + 2 * EDGE  # of a card
DIM = 0.3  # brightness where no glimpse was taken
NEAREST, BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Clip:
    """One image's trajectory up to its prediction; boxes in pixels of the picture."""

    pixels: UInt8[np.ndarray, "height width 3"]
    seen: list[UInt8[np.ndarray, "height width 3"]]  # after each glimpse, dim where none was taken
    boxes: Float[np.ndarray, "time 4"]  # of the widest window: left, top, right, bottom
    probabilities: Float[np.ndarray, "time bar"]
    names: list[str]  # of the classes with a bar
    correct: bool
    prediction: str

    @property
    def steps(self) -> int:
        """How many glimpses were taken."""
        return len(self.boxes)


class Moment(NamedTuple):
    """What a frame shows of one image's trajectory."""

    now: int  # the glimpse that is on its way or was taken last, from 0; -1 = none yet
    share: float  # of the way to it
    ended: bool  # the prediction is shown

    @property
    def taken(self) -> int:
        """The last glimpse that was taken."""
        return self.now if self.share == 1 else self.now - 1


def build_clip(env: GlimpseVectorEnv, trajectories: Trajectories, position: int, last: int) -> Clip:
    """Return one image's trajectory; `last` = the step (from 0) at which it stopped."""
    shown = gallery.describe_image(env, trajectories, position, last)
    side = STAGE * FINE
    image = Image.fromarray(frames.to_rgb(env.images.image(shown["number"])))
    pixels = np.asarray(image.resize((side, side), NEAREST if image.width <= side // 3 else BILINEAR))
    width = max(env.sensor.windows) / image.width * side * np.asarray(shown["factors"] or 1.0).reshape(-1, 1)
    centres = (np.asarray(shown["path"]) + 1) / 2 * side
    boxes = np.concatenate((centres - width / 2, centres + width / 2), 1)
    if env.sensor.whole_first:
        near, far = ((1 + sign * env.preset.first_crop) / 2 * side for sign in (-1, 1))
        boxes[0] = (near, near, far, far)
    lit, seen = np.full((side, side, 1), DIM), []
    for left, top, right, bottom in boxes.round().astype(int).clip(0, side):
        lit[top:bottom, left:right] = 1
        seen.append((pixels * lit).astype(np.uint8))
    used = (*shown["bars"], shown["predictions"][-1])
    *names, prediction = (gallery.format_class_name(env.images.classes[index]) for index in used)
    return Clip(pixels, seen, boxes, np.asarray(shown["probabilities"]), names, shown["correct"], prediction)


def draw_frames(clips: Sequence[Clip]) -> Iterator[tuple[Image.Image, int]]:
    """Yield every frame and its duration in milliseconds."""
    yield draw_frame(clips, -1, 1.0), GLIMPSE
    steps = max(clip.steps for clip in clips)
    for step in range(steps):
        for move in range(1, MOVES if step else 1):
            yield draw_frame(clips, step, move / MOVES), MOVING
        yield draw_frame(clips, step, 1.0), GLIMPSE
    yield draw_frame(clips, steps, 1.0), RESTING


def draw_frame(clips: Sequence[Clip], step: int, share: float) -> Image.Image:
    """Return the cards at `share` of the move to glimpse `step` (from 0; -1 = before the first)."""
    columns = min(COLUMNS, len(clips))
    rows = -(-len(clips) // columns)
    size = (columns * (WIDE + GAP) + GAP, rows * (HIGH + GAP) + GAP)
    picture = Image.new("RGB", (size[0] * FINE, size[1] * FINE), PAPER)
    for number, clip in enumerate(clips):
        corner = (GAP + number % columns * (WIDE + GAP), GAP + number // columns * (HIGH + GAP))
        draw_card(picture, clip, find_moment(clip, step, share), (corner[0] * FINE, corner[1] * FINE))
    return picture.resize(size, Image.Resampling.LANCZOS)


def find_moment(clip: Clip, step: int, share: float) -> Moment:
    """Return what a frame shows of this image; it rests at its end while others continue."""
    now, over = min(step, clip.steps - 1), step >= clip.steps
    return Moment(now, 1.0 if over else share, over or (now == clip.steps - 1 and share == 1))


def draw_card(picture: Image.Image, clip: Clip, at: Moment, corner: tuple[int, int]) -> None:
    """Draw one image's card."""
    pen = ImageDraw.Draw(picture)
    (x, y), edge, verdict = corner, EDGE * FINE, CORRECT if clip.correct else INCORRECT
    frame_colour = verdict if at.ended else None
    pen.rounded_rectangle((x, y, x + WIDE * FINE, y + HIGH * FINE), 10 * FINE, CARD, frame_colour, 2 * FINE)
    view = Image.fromarray(clip.seen[at.taken] if at.taken >= 0 else (clip.pixels * DIM).astype(np.uint8))
    if at.now >= 0:
        draw_boxes(ImageDraw.Draw(view), clip, at)
    picture.paste(view, (x + edge, y + edge))
    line = frames.shorten(format_caption(clip, at), (WIDE - 2 * EDGE) * FINE, 15 * FINE)
    foot = y + (HIGH - EDGE - HEAD / 2 + 5) * FINE
    pen.text((x + edge, foot), line, verdict if at.ended else SOFT, frames.font(15 * FINE), anchor="lm")
    draw_bars(pen, clip, at, (x + 2 * edge + STAGE * FINE, y + edge))


def format_caption(clip: Clip, at: Moment) -> str:
    """Return the line below the image."""
    if at.ended:
        verdict, plural = "correct" if clip.correct else "incorrect", "s" * (clip.steps > 1)
        return f"{clip.prediction}: {verdict} after {clip.steps} glimpse{plural}"
    return f"glimpse {at.now + 1}" if at.now >= 0 else "?"


def draw_boxes(pen: ImageDraw.ImageDraw, clip: Clip, at: Moment) -> None:
    """Draw the boxes of the glimpses so far, the newest on its way."""
    colours = frames.ramp(max(2, clip.steps))
    now, eased = at.now, at.share * at.share * (3 - 2 * at.share)
    for box, colour in zip(clip.boxes[:now], colours, strict=False):
        pen.rectangle(tuple(box), None, colour, FINE)
    newest = clip.boxes[now]
    if now > 0:
        newest = clip.boxes[now - 1] + eased * (newest - clip.boxes[now - 1])
    pen.rectangle(tuple(newest), None, colours[now if clip.steps > 1 else -1], 3 * FINE)


def draw_bars(pen: ImageDraw.ImageDraw, clip: Clip, at: Moment, corner: tuple[int, int]) -> None:
    """Draw one bar a class, the most probable one bright."""
    none = np.zeros((2, len(clip.names)))  # before the first glimpse
    earlier, later = np.concatenate((none, clip.probabilities))[at.now + 1 : at.now + 3]
    shares = earlier + at.share * (later - earlier)
    (left, top), high = corner, STAGE * FINE / max(10, len(clip.names))
    label = 14 * FINE if max(map(len, clip.names)) <= 2 else 52 * FINE
    for row, (name, share) in enumerate(zip(clip.names, shares, strict=True)):
        y, best = top + (row + 0.5) * high, share == shares.max() > 0
        colour = (CORRECT if clip.correct else INCORRECT) if at.ended and best else INK if best else BAR
        text = frames.shorten(name, label, 11 * FINE)
        pen.text((left, y), text, colour if best else SOFT, frames.font(11 * FINE), anchor="lm")
        start, end, half = left + label, left + BARS * FINE, 3.5 * FINE
        pen.rounded_rectangle((start, y - half, end, y + half), half, TRACK)
        if (length := share * (end - start)) > 2:
            pen.rounded_rectangle((start, y - half, start + length, y + half), half, colour)


def encode_gif(pictures: Sequence[Image.Image], durations: Sequence[int]) -> bytes:
    """Return a GIF of frames that share one palette, so that only what moves is stored."""
    # Colours of thin lines, which would be lost.
    rare = np.array([PAPER, CARD, TRACK, INK, SOFT, CORRECT, INCORRECT, BAR, *frames.ramp(7)], np.uint8)
    swatches = np.broadcast_to(rare.repeat(40, 0)[:, None], (40 * len(rare), pictures[0].width, 3))
    sample = np.concatenate([swatches, *map(np.asarray, pictures[:: MOVES - 1])])
    palette = Image.fromarray(sample).quantize(COLOURS, Image.Quantize.MEDIANCUT)
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    buffer = io.BytesIO()
    timing = {"append_images": rest, "duration": list(durations), "loop": 0}
    first.save(buffer, "gif", save_all=True, optimize=True, **timing)
    return buffer.getvalue()
