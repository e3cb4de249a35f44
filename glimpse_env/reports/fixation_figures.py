"""Figures of fixations: paths on images, by stopping step, foveal composites, and heat maps by step."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64
from PIL import Image
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation.fixations import Chosen, map_shares
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.rendering import composites, frames
from glimpse_env.reports import plots
from glimpse_env.runtime import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER_GROUP = 8  # images of each stopping step
LEGEND = "above each image the prediction: solid green = correct, dashed red = incorrect"
LEGEND += "; glimpses from blue (first) to yellow (last)"
CELLS = 15  # a side, of a heat map
GAP = 0.45  # between heat maps, in half images
MARKS = "square-root scale; +: mean; dotted: the border of what can be reached"
PARTS = "in brackets: the share of images that took this glimpse"
Stopped = tuple[int, bool, frames.Episode]  # glimpses, whether the prediction is correct, what to draw


def select_episodes(
    env: GlimpseVectorEnv, trajectories: Trajectories, stops: Int64[Tensor, " image"]
) -> list[Stopped]:
    """Return the first images that stopped at each step (from 0)."""
    sensor, classes, crop = env.sensor, env.images.classes, env.preset.first_crop
    factors = trajectories.compute_drawn_factors(env)
    correct, selected = trajectories.correct_at(stops), []
    for step in range(len(trajectories.predictions)):
        for image in (stops == step).nonzero().flatten()[:PER_GROUP].tolist():
            scores = np.zeros(len(classes), np.float32)
            scores[trajectories.predictions[step, image]] = trajectories.confidence[step, image]
            path = trajectories.locations[: step + 1, image].numpy() * sensor.reach
            label, pixels = int(trajectories.labels[image]), env.images.image(int(trajectories.index[image]))
            first = sensor.whole_first
            shown = (sensor.windows, first, scores, classes, label, crop)
            narrowed = None if factors is None else factors[: step + 1, image].numpy()
            episode = frames.Episode(pixels, path, *shown, narrowed)
            selected.append((step + 1, bool(correct[image]), episode))
    return selected


def write_fixation_paths(episodes: Sequence[Stopped], target: Path, per_group: int = PER_GROUP) -> None:
    """Write `per_group` images of each stopping step, with boxes and paths (DT-RAM, Figures 7, 8)."""
    ordered = sorted(episodes, key=lambda episode: episode[0])
    groups = {step: list(group) for step, group in groupby(ordered, key=lambda episode: episode[0])}
    rows = max(1, len(groups))
    width, height = max(5.4, 0.5 + 1.55 * per_group), 0.6 + 1.75 * rows
    # Margins in inches: to compute them, matplotlib would lay out every panel's ticks and titles.
    margins = {"left": 0.4 / width, "right": 1 - 0.05 / width, "wspace": 0.06, "hspace": 0.2}
    margins |= {"bottom": 0.1 / height, "top": 1 - 0.65 / height}
    figure = plots.create_figure(width, height, constrained=False)
    bare = {"xticks": [], "yticks": []}
    panels = figure.subplots(rows, per_group, squeeze=False, gridspec_kw=margins, subplot_kw=bare)
    for axes in panels.flat:
        axes.set_axis_off()
    for row, (step, group) in zip(panels, groups.items(), strict=False):
        for axes, (_, correct, episode) in zip(row, group, strict=False):
            draw_thumbnail(axes, episode, correct)
        row[0].set_ylabel(f"stopped at {step}", fontsize=10)
    figure.suptitle(LEGEND if per_group >= 6 else LEGEND.replace("; ", "\n"), fontsize=9)
    plots.save(figure, target)


def draw_thumbnail(axes: Axes, episode: frames.Episode, correct: bool) -> None:
    """Draw one image with its path; the frame shows whether the prediction is correct, the title names it."""
    colour = plots.GREEN if correct else plots.RED
    axes.set_axis_on()
    axes.imshow(frames.draw_image(episode), interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.5, linestyle="-" if correct else (0, (3, 1.5)), capstyle="butt")
    probabilities, label = episode.probabilities, episode.label
    assert probabilities is not None
    title = episode.classes[int(np.argmax(probabilities))]
    if not correct and label is not None:
        title += f" (is {episode.classes[label]})"
    title = title if len(title) <= 22 else f"{title[:21]}…"
    axes.set_title(title, fontsize=8, color=colour, pad=3, parse_math=False)


def write_composites(env: GlimpseVectorEnv, episodes: Sequence[Stopped], target: Path) -> None:
    """Write foveal composites (Sermanet et al. 2015) if glimpses are pixels at several resolutions."""
    resolutions, several = len(env.sensor.windows), env.preset.context or env.preset.zoom is not None
    if env.sensor.whole_first or not env.sensor.pixels[1] or (resolutions == 1 and not several):
        return
    side = math.isqrt(env.sensor.pixels[1] // resolutions)  # to which the windows are resized
    sheet = composites.draw_sheet([(correct, episode) for _, correct, episode in episodes], side)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "png")
    files.write_bytes(target, buffer.getvalue())


def arrange_maps(chosen: Chosen) -> tuple[int, int]:
    """Return rows and columns of the heat maps, at most four a row."""
    rows = max(1, math.ceil(len(chosen.taken) / 4))
    return rows, max(3, math.ceil(len(chosen.taken) / rows))


def draw_heat_maps(axes: Axes, chosen: Chosen) -> None:
    """Draw where the fixations of each glimpse are: a heat map of the image for each, on one colour scale.

    Fixations after an image's stop do not count. Nothing is drawn if the agent chose no location.
    """
    axes.set_axis_off()
    shares, counts = map_shares(chosen, CELLS), chosen.taken.sum(1).tolist()
    if not any(counts):
        return
    columns, top = arrange_maps(chosen)[1], float(shares.max())
    totals = (chosen.centres * chosen.taken[:, :, None]).sum(1).tolist()
    for number, (share, count, total) in enumerate(zip(shares, counts, totals, strict=True)):
        left, up = (2 + GAP) * (number % columns), (2 + GAP) * (number // columns)
        name, part = f"glimpse {chosen.first + number}", count / len(chosen.taken[number])
        text = name if part == 1 else f"{name} ({100 * part:.1f} %)"
        axes.text(left + 1, up - 0.06, text, ha="center", va="bottom", fontsize=8)
        draw_heat(axes, (share / top).numpy(), (left, left + 2, up + 2, up))
        add_frame(axes, (left, up), 2, edgecolor=plots.GREY, linewidth=0.8)
        edge = left + 1 - chosen.reach, up + 1 - chosen.reach
        add_frame(axes, edge, 2 * chosen.reach, edgecolor=plots.GREY, linewidth=0.8, linestyle=":")
        if count:
            x, y = total[0] / count, total[1] / count
            gid = f"{name}: {count:,} fixations, mean ({x:+.2f}, {y:+.2f}), at most "
            gid += f"{100 * float(share.max()):.1f} % in a cell"
            axes.plot([left + 1 + x], [up + 1 + y], "+", color=plots.RED, markersize=7, gid=gid)
            add_frame(axes, (left, up), 2, alpha=0, fill=True, gid=gid)  # shows the text on hover
    remarks = [MARKS] if chosen.taken.all() else [MARKS, PARTS]
    draw_scale(axes, (2 + GAP) * math.ceil(len(counts) / columns) - GAP, top, remarks)
    axes.set_aspect("equal")
    axes.set_xlim(-0.05, (2 + GAP) * columns - GAP + 0.05)


def draw_found(axes: Axes, hits: Mapping[str, Any]) -> None:
    """Draw the share of images found by each glimpse: the agent's, random places, the covering path.

    `hits` is an entry of a result row, as `fixations.measure_hits` returns it.
    """
    lines = {"": "agent", "_chance": "random places", "_path": "fixed path"}
    for (kind, name), (colour, style) in zip(lines.items(), plots.COMPARED, strict=False):
        shares = [100 * share for share in hits[f"found_by{kind}"]]
        steps = range(1, len(shares) + 1)
        axes.plot(steps, shares, marker="o", markersize=3, color=colour, linestyle=style, label=name)
    axes.set(xlabel="glimpses", ylabel="images found (%)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=9, frameon=False)
    plots.set_whole_ticks(axes)
    plots.tidy(axes)


def draw_heat(axes: Axes, heat: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    """Draw values from 0 to 1 as one colour, from transparent to opaque, so that it is read on any ground."""
    from matplotlib.colors import to_rgba_array

    colours = np.broadcast_to(to_rgba_array(plots.BLUE), (*heat.shape, 4)).copy()
    colours[..., 3] = np.sqrt(heat)
    axes.imshow(colours, extent=extent, interpolation="none")


def add_frame(
    axes: Axes, corner: tuple[float, float], side: float, fill: bool = False, **style: object
) -> None:
    """Add a square."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(corner, side, side, fill=fill, **style))  # pyright: ignore[reportArgumentType]


def draw_scale(axes: Axes, above: float, top: float, remarks: Sequence[str]) -> None:
    """Draw the colour scale, from 0 to the largest share, below the heat maps, and remarks below it."""
    up = above + 0.3
    draw_heat(axes, np.linspace(0, 1, 64)[None], (0.35, 1.65, up + 0.2, up))
    axes.text(0.28, up + 0.1, "0", ha="right", va="center", fontsize=8)
    axes.text(
        1.75, up + 0.1, f"{100 * top:.3g} % of a glimpse's fixations in a cell", va="center", fontsize=8
    )
    for number, remark in enumerate(remarks):
        axes.text(0, up + 0.55 + 0.32 * number, remark, va="center", fontsize=8)
    axes.set_ylim(up + 0.5 + 0.32 * len(remarks), -0.4)
