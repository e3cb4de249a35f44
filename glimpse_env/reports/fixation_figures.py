"""Figures of fixations as PNG files: paths on images, by stopping step, and foveal composites."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64
from PIL import Image
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.rendering import composites, frames
from glimpse_env.reports import plots
from glimpse_env.runtime import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER_GROUP = 8  # images of each stopping step
LEGEND = "above each image the prediction: solid green = correct, dashed red = incorrect"
LEGEND += "; glimpses from blue (first) to yellow (last)"
Stopped = tuple[int, bool, frames.Episode]  # glimpses, whether the prediction is correct, what to draw


def select_episodes(
    env: GlimpseVectorEnv, trajectories: Trajectories, stops: Int64[Tensor, " image"]
) -> list[Stopped]:
    """Return the first images that stopped at each step (from 0)."""
    sensor, classes, crop = env.sensor, env.images.classes, env.preset.first_crop
    factors = trajectories.compute_factors(env.preset.zoom)
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
