"""The environment's defaults for each data set, in one place; every field is an argument of `GlimpseVectorEnv`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from glimpse_env import checks
from glimpse_env.retina import Fill

FirstView = Literal["image", "glimpse"]
InitialLocation = Literal["center", "random"]


@dataclass(frozen=True)
class Preset:
    """How a data set is looked at."""

    image_size: int | None = None  # pixels a side; None = as the data set has it
    glimpse_size: int | None = None  # pixels a side of the observation; None = a quarter of the image's
    scales: tuple[float, ...] = (1.0,)  # window widths in units of glimpse_size, each shrunk to glimpse_size
    first_view: FirstView = "image"  # glimpse 1: the whole image, or a glimpse at initial_location
    initial_location: InitialLocation = "center"
    location_range: float | None = None  # location +-1 lies at +-location_range; None = the smallest window stays inside
    fill: Fill = "zero"  # pixels beyond the image
    max_glimpses: int = 6  # T, the horizon


PRESETS = {
    # DT-RAM, section 4.1: 28 x 28 images, one 8 x 8 glimpse a step, 7 steps; its code lets locations reach 13 pixels.
    "mnist": Preset(image_size=28, glimpse_size=8, first_view="glimpse", location_range=13 / 14, max_glimpses=7),
    "clutter": Preset(image_size=96, glimpse_size=20, scales=(1.6,)),
}
FOLDER = Preset(image_size=224)  # photographs of any size
OBJECT = Preset()  # as the object has them


def resolve(dataset: object, **given: object) -> Preset:
    """Return the data set's preset with the fields that were given (not None) put in, or refuse one of them by name."""
    known = PRESETS.get(str(dataset), FOLDER) if isinstance(dataset, str | Path) else OBJECT
    preset = replace(known, **{name: value for name, value in given.items() if value is not None})
    if preset.image_size is not None:
        checks.count("image_size", preset.image_size)
    if preset.glimpse_size is not None:
        checks.count("glimpse_size", preset.glimpse_size)
    checks.count("max_glimpses", preset.max_glimpses)
    checks.choice("first_view", preset.first_view, get_args(FirstView))
    checks.choice("initial_location", preset.initial_location, get_args(InitialLocation))
    checks.choice("fill", preset.fill, get_args(Fill))
    return preset
