"""Figures of fixations as PNG files: images with the agent's path, grouped by stopping step, and foveal composites."""

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
Stopped = tuple[int, bool, frames.Episode]  # glimpses, whether the prediction is correct, what to draw


def select_episodes(
    env: GlimpseVectorEnv, trajectories: Trajectories, stops: Int64[Tensor, " image"]
) -> list[Stopped]:
    """Return the first images that stopped at each step (from 0)."""
    correct, found = trajectories.correct_at(stops), []
    for step in range(len(trajectories.predictions)):
        for image in (stops == step).nonzero().flatten()[:PER_GROUP].tolist():
            probabilities = np.zeros(len(env.images.classes), np.float32)
            probabilities[trajectories.predictions[step, image]] = trajectories.confidence[step, image]
            episode = frames.Episode(
                image=env.images.image(int(trajectories.index[image])),
                path=trajectories.locations[: step + 1, image].numpy() * env.sensor.reach,
                windows=env.sensor.windows,
                whole_first=env.sensor.whole_first,
                prediction=probabilities,
                classes=env.images.classes,
                label=int(trajectories.labels[image]),
            )
            found.append((step + 1, bool(correct[image]), episode))
    return found


def write_fixation_paths(episodes: Sequence[Stopped], target: Path, per_group: int = PER_GROUP) -> None:
    """Write images with their glimpse boxes and paths, grouped by stopping step (DT-RAM, Figure 7).

    Args:
        episodes: The images.
        target: The PNG file.
        per_group: How many images, the first of each group, get a place in its row.
    """
    ordered = sorted(episodes, key=lambda episode: episode[0])
    groups = {
        step: list(group)[:per_group] for step, group in groupby(ordered, key=lambda episode: episode[0])
    }
    rows, width, height = (
        max(1, len(groups)),
        max(5.4, 0.5 + 1.55 * per_group),
        0.6 + 1.75 * max(1, len(groups)),
    )
    # Margins in inches: to find them, matplotlib would lay out every panel's ticks and titles.
    figure = plots.create_figure(width, height, layout=None)
    margins = {
        "left": 0.4 / width,
        "right": 1 - 0.05 / width,
        "bottom": 0.1 / height,
        "top": 1 - 0.65 / height,
        "wspace": 0.06,
        "hspace": 0.2,
    }
    panels = figure.subplots(
        rows, per_group, squeeze=False, gridspec_kw=margins, subplot_kw={"xticks": [], "yticks": []}
    )
    for axes in panels.flat:
        axes.set_axis_off()
    for row, (step, group) in zip(panels, groups.items(), strict=False):
        for axes, (_, correct, episode) in zip(row, group, strict=False):
            draw_thumbnail(axes, episode, correct)
        row[0].set_ylabel(f"stopped at {step}", fontsize=10)
    legend = "above each image the prediction: solid green = correct, dashed red = incorrect; glimpses from blue (first) to yellow (last)"
    figure.suptitle(legend if per_group >= 6 else legend.replace("; ", "\n"), fontsize=9)
    plots.save(figure, target)


def draw_thumbnail(axes: Axes, episode: frames.Episode, correct: bool) -> None:
    """Draw one image with its path; the frame shows whether the prediction is correct, the title names it."""
    colour = plots.GREEN if correct else plots.RED
    axes.set_axis_on()
    axes.imshow(frames.draw_image(episode), interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.5, linestyle="-" if correct else (0, (3, 1.5)), capstyle="butt")
    probabilities = episode.probabilities
    prediction = "no prediction" if probabilities is None else episode.classes[int(np.argmax(probabilities))]
    title = (
        prediction
        if correct or episode.label is None
        else f"{prediction} (is {episode.classes[episode.label]})"
    )
    axes.set_title(
        title if len(title) <= 22 else title[:21] + "…", fontsize=8, color=colour, pad=3, parse_math=False
    )


def write_composites(env: GlimpseVectorEnv, episodes: Sequence[Stopped], target: Path) -> None:
    """Write foveal composites (Sermanet et al. 2015), of agents whose glimpses are pixels at several resolutions only."""
    resolutions = len(env.sensor.windows)
    if env.sensor.whole_first or not env.sensor.pixels[1] or (resolutions == 1 and not env.preset.context):
        return
    side = math.isqrt(env.sensor.pixels[1] // resolutions)  # to which the windows are resized
    sheet = Image.fromarray(
        composites.draw_sheet([(correct, episode) for _, correct, episode in episodes], side)
    )
    buffer = io.BytesIO()
    sheet.save(buffer, "png")
    files.write_bytes(target, buffer.getvalue())
