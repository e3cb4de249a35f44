"""FCAN's figure: images with the boxes of their parts, and beside each image the score map of every part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fcan import localising
from fcan.localise import reopened
from fcan.setup import Plan
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
    env, network = reopened(plan, plan.measure)
    looks = Trajectories.load(target.with_name(target.name.replace("score_maps", "looks")).with_suffix(".npz"))
    first: dict[int, int] = {}
    for image, label in enumerate(looks.labels.tolist()):
        first.setdefault(label, image)
    index = torch.tensor(list(first.values())[:ROWS])
    with torch.no_grad():
        features = network.eval().standardised(localising.maps_of(env, index.to(env.device)))
        shares = [log_prob.exp().cpu().numpy() for log_prob in network.attend(features)]
        best = network.best(localising.maps_of(env, index.to(env.device))).cpu()
    side, parts = network.architecture.side, network.architecture.parts
    rows = [
        Found(
            image=env.images.image(image),
            places=tuple(best[row].tolist()),
            shares=tuple(share[row].reshape(side - part + 1, -1) for share, part in zip(shares, parts, strict=True)),
            title=env.images.classes[int(looks.predictions[-1, image])],
            right=bool(looks.correct[-1, image]),
        )
        for row, image in enumerate(index.tolist())
    ]
    score_maps(rows, parts, side, target)


@dataclass(frozen=True)
class Found:
    """What one row shows."""

    image: UInt8[Tensor, "channel height width"]
    places: tuple[int, ...]  # of each part
    shares: tuple[Float[np.ndarray, "down across"], ...]  # each part's probability of every place
    title: str
    right: bool


def score_maps(found: Sequence[Found], parts: Sequence[int], side: int, target: Path) -> None:
    """Write one row an image: the image with its parts' boxes, then each part's score map, brighter = more probable.

    A score map has one cell a place, drawn where the middle of a part at that place lies in the image; places whose part would leave the
    image do not exist and are grey.
    """
    columns = 1 + len(parts)
    figure = plots.create_figure(2.1 * columns, 0.4 + 2.2 * len(found))
    panels = figure.subplots(len(found), columns, squeeze=False)
    for row, one in zip(panels, found, strict=True):
        picture(row[0], one, parts, side)
        for axes, number in zip(row[1:], range(len(parts)), strict=True):
            heat(axes, one, number, parts[number], side)
    for axes, part in zip(panels[0, 1:], parts, strict=True):
        axes.set_title(f"score map of the {part} x {part} part", fontsize=8, loc="left")
    figure.suptitle("title: the answer, green = right, red = wrong", fontsize=8)
    plots.save(figure, target)


def picture(axes: Axes, one: Found, parts: Sequence[int], side: int) -> None:
    """Draw an image with the boxes of its parts; both axes count cells of the feature map."""
    axes.imshow(frames.to_rgb(one.image), extent=(0, side, side, 0), interpolation="antialiased")
    for number, (place, part) in enumerate(zip(one.places, parts, strict=True)):
        box(axes, place, part, side, number)
    axes.set_title(one.title if len(one.title) <= 30 else one.title[:29] + "…", fontsize=8, color=plots.GREEN if one.right else plots.RED)
    framed(axes, side)


def heat(axes: Axes, one: Found, number: int, part: int, side: int) -> None:
    """Draw a score map where its places' middles lie, with the box of the best."""
    start, across = (part - 1) / 2, side - part + 1
    shares = one.shares[number]
    axes.set_facecolor("#8c8c90")
    extent = (start, start + across, start + across, start)
    axes.imshow(shares, extent=extent, cmap="magma", vmin=0, vmax=shares.max(), interpolation="nearest")
    box(axes, one.places[number], part, side, number)
    framed(axes, side)


def box(axes: Axes, place: int, part: int, side: int, number: int) -> None:
    """Outline a part at its place."""
    top, left = divmod(place, side - part + 1)
    across, down = [left, left + part, left + part, left, left], [top, top, top + part, top + part, top]
    axes.plot(across, down, color="white", linewidth=3.2, solid_joinstyle="miter")
    axes.plot(across, down, color=COLOURS[number % len(COLOURS)], linewidth=1.8, linestyle=STYLES[number % len(STYLES)])


def framed(axes: Axes, side: int) -> None:
    """Show all of the map and no numbers."""
    axes.set(xlim=(0, side), ylim=(side, 0), xticks=[], yticks=[])
    axes.set_aspect("equal")
