"""The figures of an evaluation: curves, stopping steps, and the episodes of some images."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import trajectories
from glimpse_env.rendering import composites, frames
from glimpse_env.reports import plots
from glimpse_env.runtime import files

PER_GROUP = 8  # images of each stopping step in the figure of fixation paths


def draw(
    folder: Path, suffix: str, row: Mapping[str, Any], saved: Mapping[str, Any], env: GlimpseVectorEnv, looks: trajectories.Looks
) -> None:
    """Write the run's plots; `suffix` ends their names."""
    plots.learning_curves(saved["progress"]["history"], folder / f"learning_curves{suffix}.png")
    plots.stopping_histogram(
        row["glimpse_histogram"], folder / f"stopping_histogram{suffix}.png", f"{row['agent']} on {row['dataset']}, {row['split']} split"
    )
    plots.accuracy_against_glimpses(row, folder / f"accuracy_against_glimpses{suffix}.png")
    shown = episodes(env, looks, saved["dynamic"])
    plots.fixation_paths(shown, folder / f"fixation_paths{suffix}.png", PER_GROUP)
    if not env.sensor.whole_first and env.sensor.pixels[1] and (len(env.sensor.windows) > 1 or env.preset.context):
        size = math.isqrt(env.sensor.pixels[1] // len(env.sensor.windows))  # to which the windows are resized
        sheet = Image.fromarray(composites.draw_sheet([(right, view) for _, right, view in shown], size))
        buffer = io.BytesIO()
        sheet.save(buffer, "png")
        files.write_bytes(folder / f"foveal_composites{suffix}.png", buffer.getvalue())


def episodes(env: GlimpseVectorEnv, looks: trajectories.Looks, dynamic: bool) -> list[tuple[int, bool, frames.Episode]]:
    """Return (glimpses, right, episode) of the first images that stopped at each step."""
    time = len(looks.answers)
    when = trajectories.answered(looks, dynamic)
    found = []
    for step in range(time):
        for image in (when == step).nonzero().flatten()[:PER_GROUP].tolist():
            answer = looks.answers[step, image]
            sure = np.zeros(len(env.images.classes), np.float32)
            sure[answer] = looks.confidence[step, image]
            view = frames.Episode(
                image=env.images.image(int(looks.index[image].item())),
                path=looks.locations[: step + 1, image].numpy() * env.sensor.reach,
                windows=env.sensor.windows,
                whole_first=env.sensor.whole_first,
                prediction=sure,
                classes=env.images.classes,
                label=int(looks.labels[image]),
            )
            found.append((step + 1, bool(answer == looks.labels[image]), view))
    return found
