"""Cards of an agent looking at images, as the frames of an animation: drawn with Pillow, written as a GIF.

A card shows the image, lit where a glimpse has seen it, the boxes of the glimpses, one bar a class, and in the end the answer.
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
from glimpse_env.evaluation import trajectories
from glimpse_env.rendering import frames
from glimpse_env.reports import gallery

FINE = 2  # frames are drawn so many times as large and shrunk, which smooths their edges
STAGE, BARS, EDGE, GAP, HEAD = 140, 92, 12, 10, 26  # pixels: image, class bars, card's margin, space between cards, line of text
MOVES, MOVING, LOOKING, RESTING = 5, 50, 650, 2800  # frames of a move; milliseconds of one of them, of a look, of the end
COLUMNS, COLOURS = 3, 128
PAPER, CARD, TRACK, INK, SOFT = (19, 20, 25), (31, 33, 41), (50, 53, 64), (236, 238, 243), (150, 154, 168)
RIGHT, WRONG, BAR = (47, 199, 150), (255, 131, 80), (126, 139, 168)
WIDE, HIGH = STAGE + BARS + 3 * EDGE, STAGE + HEAD + 2 * EDGE  # of a card
DIM = 0.3  # brightness of what was not seen


@dataclass(frozen=True)
class Look:
    """One image's trajectory up to its answer; pixels and places in those of the picture."""

    pixels: UInt8[np.ndarray, "height width 3"]
    seen: list[UInt8[np.ndarray, "height width 3"]]  # the picture after each glimpse, the rest dim
    boxes: Float[np.ndarray, "time 4"]  # of the widest window: left, top, right, bottom
    shares: Float[np.ndarray, "time bar"]
    names: list[str]
    right: bool
    answer: str

    @property
    def steps(self) -> int:
        """How many glimpses were taken."""
        return len(self.boxes)


class Moment(NamedTuple):
    """Where one image's look stands in a frame."""

    now: int  # the glimpse that is on its way or was made last, from 0; -1 = none yet
    share: float  # of the way to it
    ended: bool  # it is answered

    @property
    def made(self) -> int:
        """The last glimpse that was made."""
        return self.now if self.share == 1 else self.now - 1


def look_of(env: GlimpseVectorEnv, looks: trajectories.Looks, position: int, last: int) -> Look:
    """Return one image's trajectory; `last` = the step (from 0) of its answer."""
    told = gallery.trajectory(env, looks, position, last)
    side = STAGE * FINE
    image = Image.fromarray(frames.to_rgb(env.images.image(told["number"])))
    pixels = np.asarray(image.resize((side, side), Image.Resampling.NEAREST if image.width <= side // 3 else Image.Resampling.BILINEAR))
    width = max(env.sensor.windows) / image.width * side
    centres = (np.asarray(told["path"]) + 1) / 2 * side
    boxes = np.concatenate((centres - width / 2, centres + width / 2), 1)
    if env.sensor.whole_first:
        boxes[0] = (0, 0, side, side)
    lit, seen = np.full((side, side, 1), DIM), []
    for left, top, right, bottom in boxes.round().astype(int).clip(0, side):
        lit[top:bottom, left:right] = 1
        seen.append((pixels * lit).astype(np.uint8))
    names = [gallery.spoken(env.images.classes[index]) for index in told["bars"]]
    answer = gallery.spoken(env.images.classes[told["says"][-1]])
    return Look(pixels, seen, boxes, np.asarray(told["shares"]), names, told["right"], answer)


def frame_sequence(looks: Sequence[Look]) -> Iterator[tuple[Image.Image, int]]:
    """Yield every frame and how many milliseconds it stays."""
    yield frame(looks, -1, 1.0), LOOKING
    for step in range(max(look.steps for look in looks)):
        for move in range(1, MOVES):
            if step:
                yield frame(looks, step, move / MOVES), MOVING
        yield frame(looks, step, 1.0), LOOKING
    yield frame(looks, max(look.steps for look in looks), 1.0), RESTING


def frame(looks: Sequence[Look], step: int, share: float) -> Image.Image:
    """Return the cards while glimpse `step` (from 0; -1 = before the first) is made, `share` of the way to it."""
    columns = min(COLUMNS, len(looks))
    rows = -(-len(looks) // columns)
    size = (columns * (WIDE + GAP) + GAP, rows * (HIGH + GAP) + GAP)
    picture = Image.new("RGB", (size[0] * FINE, size[1] * FINE), PAPER)
    for number, look in enumerate(looks):
        corner = (GAP + number % columns * (WIDE + GAP), GAP + number // columns * (HIGH + GAP))
        card(picture, look, moment(look, step, share), (corner[0] * FINE, corner[1] * FINE))
    return picture.resize(size, Image.Resampling.LANCZOS)


def moment(look: Look, step: int, share: float) -> Moment:
    """Return where this image's look stands while others may go on."""
    now, over = min(step, look.steps - 1), step >= look.steps
    return Moment(now, 1.0 if over else share, over or (now == look.steps - 1 and share == 1))


def card(picture: Image.Image, look: Look, at: Moment, corner: tuple[int, int]) -> None:
    """Draw one image's card."""
    pen = ImageDraw.Draw(picture)
    (x, y), edge, verdict = corner, EDGE * FINE, RIGHT if look.right else WRONG
    frame_colour = verdict if at.ended else None
    pen.rounded_rectangle((x, y, x + WIDE * FINE, y + HIGH * FINE), 10 * FINE, CARD, frame_colour, 2 * FINE)
    view = Image.fromarray(look.seen[at.made] if at.made >= 0 else (look.pixels * DIM).astype(np.uint8))
    if at.now >= 0:
        boxes(ImageDraw.Draw(view), look, at)
    picture.paste(view, (x + edge, y + edge))
    line = frames.shorten(caption(look, at), (WIDE - 2 * EDGE) * FINE, 15 * FINE)
    foot = y + (HIGH - EDGE - HEAD / 2 + 5) * FINE
    pen.text((x + edge, foot), line, verdict if at.ended else SOFT, frames.font(15 * FINE), anchor="lm")
    bars(pen, look, at, (x + 2 * edge + STAGE * FINE, y + edge))


def caption(look: Look, at: Moment) -> str:
    """Return the line below the image."""
    if at.ended:
        return f"{look.answer}: {'right' if look.right else 'wrong'} after {look.steps} glimpse{'s' * (look.steps > 1)}"
    return f"glimpse {at.now + 1}" if at.now >= 0 else "?"


def boxes(pen: ImageDraw.ImageDraw, look: Look, at: Moment) -> None:
    """Draw the boxes of the glimpses so far, the newest on its way."""
    colours = frames.ramp(max(2, look.steps))
    now, eased = at.now, at.share * at.share * (3 - 2 * at.share)
    for step in range(now):
        pen.rectangle(tuple(look.boxes[step]), None, colours[step], FINE)
    newest = look.boxes[now] if now == 0 else look.boxes[now - 1] + eased * (look.boxes[now] - look.boxes[now - 1])
    pen.rectangle(tuple(newest), None, colours[now if look.steps > 1 else -1], 3 * FINE)


def bars(pen: ImageDraw.ImageDraw, look: Look, at: Moment, corner: tuple[int, int]) -> None:
    """Draw one bar a class, the most probable one lit."""
    earlier, later = (look.shares[step] if step >= 0 else np.zeros(len(look.names)) for step in (at.now - 1, at.now))
    shares = earlier + at.share * (later - earlier)
    (left, top), high = corner, STAGE * FINE / max(10, len(look.names))
    label = 14 * FINE if max(map(len, look.names)) <= 2 else 52 * FINE
    for row, (name, share) in enumerate(zip(look.names, shares, strict=True)):
        y, best = top + (row + 0.5) * high, share == shares.max() > 0
        colour = (RIGHT if look.right else WRONG) if at.ended and best else INK if best else BAR
        pen.text((left, y), frames.shorten(name, label, 11 * FINE), colour if best else SOFT, frames.font(11 * FINE), anchor="lm")
        start, end = left + label, left + BARS * FINE
        pen.rounded_rectangle((start, y - 3.5 * FINE, end, y + 3.5 * FINE), 3.5 * FINE, TRACK)
        if share * (end - start) > 2:
            pen.rounded_rectangle((start, y - 3.5 * FINE, start + share * (end - start), y + 3.5 * FINE), 3.5 * FINE, colour)


def animated(drawn: Sequence[Image.Image], stays: Sequence[int]) -> bytes:
    """Return a GIF of frames that share their colours, so that only what moves is stored."""
    rare = np.array([PAPER, CARD, TRACK, INK, SOFT, RIGHT, WRONG, BAR, *frames.ramp(7)], np.uint8)  # thin lines would lose theirs
    swatches = np.broadcast_to(rare.repeat(40, 0)[:, None], (40 * len(rare), drawn[0].width, 3))
    sample = Image.fromarray(np.concatenate([swatches, *(np.asarray(picture) for picture in drawn[:: MOVES - 1])]))
    palette = sample.quantize(COLOURS, Image.Quantize.MEDIANCUT)
    flat = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in drawn]
    buffer = io.BytesIO()
    flat[0].save(buffer, "gif", save_all=True, append_images=flat[1:], duration=list(stays), loop=0, optimize=True)
    return buffer.getvalue()
