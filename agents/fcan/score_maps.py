"""FCAN's figure: images with the boxes of their parts, and beside each image the score map of every part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from fcan.localise import load_network, read_maps
from fcan.plan import Plan
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.rendering import frames
from glimpse_env.reports import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#d55e00", "#0072b2", "#f0e442", "#009e73", "#cc79a7", "#56b4e9")  # Okabe and Ito's
ROWS = 8  # images in the figure
STYLES = ("-", "--", "-.", ":")


def draw_score_maps(plan: Plan, target: Path) -> None:
    """Draw the first images of the measured split, no two of one class while there are others."""
    env, network = load_network(plan, plan.measure)
    saved = target.with_name(target.name.replace("score_maps", "looks")).with_suffix(".npz")
    trajectories = Trajectories.load(saved)
    first: dict[int, int] = {}
    for image, label in enumerate(trajectories.labels.tolist()):
        first.setdefault(label, image)
    index = torch.tensor(list(first.values())[:ROWS])
    with torch.no_grad():
        maps = read_maps(env, index.to(env.device))
        shares = [log_prob.exp().cpu().numpy() for log_prob in network.attend(network.standardise(maps))]
        best = network.best(maps).cpu()
    side, parts = network.architecture.side, network.architecture.parts
    rows = [
        Example(
            image=env.images.image(image),
            places=tuple(best[row].tolist()),
            shares=tuple(share[row] for share in shares),
            title=env.images.classes[int(trajectories.predictions[-1, image])],
            correct=bool(trajectories.correct[-1, image]),
        )
        for row, image in enumerate(index.tolist())
    ]
    draw_examples(rows, parts, side, target)


@dataclass(frozen=True)
class Example:
    """What one row shows."""

    image: UInt8[Tensor, "channel height width"]
    places: tuple[int, ...]  # of each part
    shares: tuple[np.ndarray, ...]  # each part's probability of every place
    title: str  # the predicted class
    correct: bool


def draw_examples(examples: Sequence[Example], parts: Sequence[int], side: int, target: Path) -> None:
    """Draw one row an image: the image with its parts' boxes, then each part's score map, bright = probable.

    A score map has one cell a place, at the centre of the part there; it is grey where parts leave the image.
    """
    columns = 1 + len(parts)
    figure = plots.create_figure(2.1 * columns, 0.4 + 2.2 * len(examples))
    panels = figure.subplots(len(examples), columns, squeeze=False)
    for row, example in zip(panels, examples, strict=True):
        draw_image(row[0], example, parts, side)
        for number, axes in enumerate(row[1:]):
            draw_score_map(axes, example, number, parts[number], side)
    for axes, part in zip(panels[0, 1:], parts, strict=True):
        axes.set_title(f"score map of the {part} x {part} part", fontsize=8, loc="left")
    figure.suptitle("title: the prediction, green = correct, red = incorrect", fontsize=8)
    plots.save(figure, target)


def draw_image(axes: Axes, example: Example, parts: Sequence[int], side: int) -> None:
    """Draw an image with the boxes of its parts; both axes count cells of the feature map."""
    axes.imshow(frames.to_rgb(example.image), extent=(0, side, side, 0), interpolation="antialiased")
    for number, (place, part) in enumerate(zip(example.places, parts, strict=True)):
        draw_box(axes, place, part, side, number)
    title = example.title if len(example.title) <= 30 else example.title[:29] + "…"
    axes.set_title(title, fontsize=8, color=plots.GREEN if example.correct else plots.RED)
    set_frame(axes, side)


def draw_score_map(axes: Axes, example: Example, number: int, part: int, side: int) -> None:
    """Draw a score map at the centres of its places, with the box of the most probable."""
    start, across = (part - 1) / 2, side - part + 1
    shares = example.shares[number].reshape(across, across)
    axes.set_facecolor("#8c8c90")
    extent = (start, start + across, start + across, start)
    axes.imshow(shares, extent=extent, cmap="magma", vmin=0, vmax=shares.max(), interpolation="nearest")
    draw_box(axes, example.places[number], part, side, number)
    set_frame(axes, side)


def draw_box(axes: Axes, place: int, part: int, side: int, number: int) -> None:
    """Outline a part at its place."""
    top, left = divmod(place, side - part + 1)
    across, down = [left, left + part, left + part, left, left], [top, top, top + part, top + part, top]
    axes.plot(across, down, color="white", linewidth=3.2, solid_joinstyle="miter")
    colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
    axes.plot(across, down, color=colour, linewidth=1.8, linestyle=style)


def set_frame(axes: Axes, side: int) -> None:
    """Show the whole map, without numbers on the axes."""
    axes.set(xlim=(0, side), ylim=(side, 0), xticks=[], yticks=[])
    axes.set_aspect("equal")
