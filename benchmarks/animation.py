"""An animation of an agent looking at images: where it looks, what it has seen by then, what it thinks, and when it answers.

    python benchmarks/animation.py                                             # the MNIST agent of the package: README's picture
    python benchmarks/animation.py --checkpoint runs/ram_reinforce-clutter-0/checkpoint.pt --out clutter.gif

Shown is the first image of the split for each number of glimpses, from one on, whose class was not shown yet: nothing is picked by hand, and
an answer may be wrong. Where the numbers of glimpses are fewer than --images, further images follow in the same manner.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from glimpse_env import GlimpseVectorEnv, render
from glimpse_env.learning import checkpoint, evaluation, results, terminal, trained
from glimpse_env.learning.report import gallery

FINE = 2  # frames are drawn so many times as large and shrunk, which smooths their edges
STAGE, BARS, EDGE, GAP, HEAD = 140, 92, 12, 10, 26  # pixels: image, class bars, card's margin, space between cards, line of text
MOVES, MOVING, LOOKING, RESTING = 5, 50, 650, 2800  # frames of a move; milliseconds of one of them, of a look, of the end
COLUMNS, COLOURS = 3, 128
PAPER, CARD, TRACK, INK, SOFT = (19, 20, 25), (31, 33, 41), (50, 53, 64), (236, 238, 243), (150, 154, 168)
RIGHT, WRONG, BAR = (47, 199, 150), (255, 131, 80), (126, 139, 168)
DIM = 0.3  # brightness of what was not seen


@dataclass(frozen=True)
class Animation:
    """Options of `animation.py`."""

    checkpoint: Path = Path("mnist-dtram")
    """The checkpoint.pt of a run, or mnist-dtram."""
    images: int = 6
    """Images side by side, three in a row."""
    split: str | None = None
    """Images to show; default: those that the run answers for."""
    out: Path = Path("benchmarks/results/fixations.gif")
    """The GIF file."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""


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


def chosen(looks: evaluation.Looks, dynamic: bool, count: int) -> list[int]:
    """Return the images to show (see the top of this file)."""
    when = evaluation.answered(looks, dynamic).tolist()
    labels, found = looks.labels.tolist(), []
    while len(found) < min(count, len(labels)):
        before = len(found)
        for step in range(len(looks.answers)):
            shown = {labels[image] for image in found}
            fresh = (i for i, at in enumerate(when) if at == step and i not in found and (labels[i] not in shown or len(shown) == len(set(labels))))
            found += [image for image in (next(fresh, None),) if image is not None and len(found) < count]
        if len(found) == before:
            break
    return sorted(found, key=lambda image: when[image])


def look_of(env: GlimpseVectorEnv, looks: evaluation.Looks, position: int, last: int) -> Look:
    """Return one image's trajectory; `last` = the step (from 0) of its answer."""
    told = gallery.trajectory(env, looks, position, last)
    side = STAGE * FINE
    image = Image.fromarray(render.coloured(env.images.image(told["number"])))
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


def frames(looks: Sequence[Look]) -> Iterator[tuple[Image.Image, int]]:
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
    wide, high = STAGE + BARS + 3 * EDGE, STAGE + HEAD + 2 * EDGE
    rows = -(-len(looks) // columns)
    size = (columns * (wide + GAP) + GAP, rows * (high + GAP) + GAP)
    picture = Image.new("RGB", (size[0] * FINE, size[1] * FINE), PAPER)
    for number, look in enumerate(looks):
        corner = (GAP + number % columns * (wide + GAP), GAP + number // columns * (high + GAP))
        card(picture, look, step, share, (corner[0] * FINE, corner[1] * FINE), (wide * FINE, high * FINE))
    return picture.resize(size, Image.Resampling.LANCZOS)


def card(picture: Image.Image, look: Look, step: int, share: float, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Draw one image's card."""
    pen = ImageDraw.Draw(picture)
    (x, y), edge = corner, EDGE * FINE
    ended = step >= look.steps or (step == look.steps - 1 and share == 1)
    verdict = RIGHT if look.right else WRONG
    pen.rounded_rectangle((x, y, x + size[0], y + size[1]), 10 * FINE, CARD, verdict if ended else None, 2 * FINE)
    now = min(step, look.steps - 1)
    arrived = now if share == 1 or step >= look.steps else now - 1
    stage = look.seen[arrived] if arrived >= 0 else (look.pixels * DIM).astype(np.uint8)
    view = Image.fromarray(stage)
    if now >= 0:
        boxes(ImageDraw.Draw(view), look, now, share if step < look.steps else 1.0)
    picture.paste(view, (x + edge, y + edge))
    told = "?" if step < 0 else f"glimpse {now + 1}"
    if ended:
        told = f"{look.answer}: {'right' if look.right else 'wrong'} after {look.steps} glimpse{'s' * (look.steps > 1)}"
    line = render.shorten(told, size[0] - 2 * edge, 15 * FINE)
    pen.text((x + edge, y + size[1] - edge - HEAD * FINE / 2 + 5 * FINE), line, verdict if ended else SOFT, render.font(15 * FINE), anchor="lm")
    before, after = (look.shares[max(0, index)] if index >= 0 else np.full(len(look.names), 0.0) for index in (now - 1, now))
    mixed = after if arrived == now else before + share * (after - before)
    bars(pen, look, mixed, (x + 2 * edge + STAGE * FINE, y + edge), ended)


def boxes(pen: ImageDraw.ImageDraw, look: Look, now: int, share: float) -> None:
    """Draw the boxes of the glimpses so far, the newest on its way."""
    colours = render.ramp(max(2, look.steps))
    for step in range(now):
        pen.rectangle(tuple(look.boxes[step]), None, colours[step], FINE)
    eased = share * share * (3 - 2 * share)
    newest = look.boxes[now] if now == 0 else look.boxes[now - 1] + eased * (look.boxes[now] - look.boxes[now - 1])
    pen.rectangle(tuple(newest), None, colours[now if look.steps > 1 else -1], 3 * FINE)


def bars(pen: ImageDraw.ImageDraw, look: Look, shares: np.ndarray, corner: tuple[int, int], ended: bool) -> None:
    """Draw one bar a class, the most probable one lit."""
    (left, top), high = corner, STAGE * FINE / max(10, len(look.names))
    label = 14 * FINE if max(map(len, look.names)) <= 2 else 52 * FINE
    for row, (name, share) in enumerate(zip(look.names, shares, strict=True)):
        y, best = top + (row + 0.5) * high, share == shares.max() > 0
        colour = (RIGHT if look.right else WRONG) if ended and best else INK if best else BAR
        pen.text((left, y), render.shorten(name, label, 11 * FINE), colour if best else SOFT, render.font(11 * FINE), anchor="lm")
        start, end = left + label, left + BARS * FINE
        pen.rounded_rectangle((start, y - 3.5 * FINE, end, y + 3.5 * FINE), 3.5 * FINE, TRACK)
        if share * (end - start) > 2:
            pen.rounded_rectangle((start, y - 3.5 * FINE, start + share * (end - start), y + 3.5 * FINE), 3.5 * FINE, colour)


def animated(drawn: Sequence[Image.Image], stays: Sequence[int]) -> bytes:
    """Return a GIF of frames that share their colours, so that only what moves is stored."""
    rare = np.array([PAPER, CARD, TRACK, INK, SOFT, RIGHT, WRONG, BAR, *render.ramp(7)], np.uint8)  # thin lines would lose theirs
    swatches = np.broadcast_to(rare.repeat(40, 0)[:, None], (40 * len(rare), drawn[0].width, 3))
    sample = Image.fromarray(np.concatenate([swatches, *(np.asarray(picture) for picture in drawn[:: MOVES - 1])]))
    palette = sample.quantize(COLOURS, Image.Quantize.MEDIANCUT)
    flat = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in drawn]
    buffer = io.BytesIO()
    flat[0].save(buffer, "gif", save_all=True, append_images=flat[1:], duration=list(stays), loop=0, optimize=True)
    return buffer.getvalue()


def main(options: Animation) -> None:
    """Let the agent look, and write what it did."""
    torch.set_num_threads(options.threads)
    if options.images < 1:
        raise ValueError(f"--images {options.images}: expected at least 1")
    path = trained.found(options.checkpoint)
    split = options.split or results.result_split(checkpoint.load(path))
    saved, env, looks = results.looked(path, split, device=options.device)
    when = evaluation.answered(looks, saved["dynamic"])
    shown = [look_of(env, looks, image, int(when[image])) for image in chosen(looks, saved["dynamic"], options.images)]
    drawn, stays = zip(*frames(shown), strict=True)
    content = animated(drawn, stays)
    checkpoint.write_bytes(options.out, content)
    print(f"{options.out}: {len(shown)} images, {len(drawn)} frames, {len(content) / 1e6:.2f} MB")


if __name__ == "__main__":
    with terminal.foreseen("animation.py"):
        main(tyro.cli(Animation, description=__doc__))
