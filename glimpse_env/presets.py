"""The environment's defaults for each data set, in one place; every field is an argument of `GlimpseVectorEnv`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from glimpse_env import checks
from glimpse_env.retina import Fill

FirstView = Literal["image", "glimpse"]
InitialLocation = Literal["center", "random"]
SensorName = Literal["pixel", "crop", "map", "bank"]


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
    sensor: SensorName = "pixel"  # what a glimpse is
    backbone: str | None = None  # the network that the crop, map and bank sensors look through
    grid: int = 5  # places a side of the bank sensor
    view_size: int | None = None  # pixels a side at which the network sees the whole image; None = glimpse_size (map sensor: image_size)
    context: bool = False  # the whole image, small, may be seen before the place of glimpse 1 is chosen; it costs pixels, not a glimpse
    show_map: bool = False  # map sensor: observations hold the whole feature map too


# DT-RAM, section 4.2: 512 x 512 images, 224 x 224 crops, ResNet-50, 3 steps. Its first view is a 448 x 448 crop (view_size=448 shows the
# whole image at that size); here it is the whole image at 224 x 224, a quarter of the work, so that detail costs a glimpse.
PHOTOGRAPHS = Preset(image_size=512, glimpse_size=224, max_glimpses=3, sensor="crop", backbone="resnet50")

PRESETS = {
    # DT-RAM, section 4.1: 28 x 28 images, one 8 x 8 glimpse a step, 7 steps; its code lets locations reach 13 pixels.
    "mnist": Preset(image_size=28, glimpse_size=8, first_view="glimpse", location_range=13 / 14, max_glimpses=7),
    "clutter": Preset(image_size=96, glimpse_size=16),
    "cub": PHOTOGRAPHS,
    "cars": PHOTOGRAPHS,
    # Sermanet et al. 2015 (up to 3 glimpses of 96 x 96 through GoogLeNet) and FCAN (256 x 256 images through VGG-16) look otherwise:
    # image_size, glimpse_size and backbone set that. The images are ImageNet's, so torchvision's weights may have been trained on them.
    "dogs": PHOTOGRAPHS,
}
FOLDER = Preset(image_size=224)  # photographs of any size
OBJECT = Preset()  # as the object has them


def resolve(dataset: object, **given: object) -> Preset:
    """Return the data set's preset with the fields that were given (not None) put in, or refuse one of them by name."""
    known = PRESETS.get(str(dataset), FOLDER) if isinstance(dataset, str | Path) else OBJECT
    preset = replace(known, **{name: value for name, value in given.items() if value is not None})
    if preset.sensor == "pixel" and given.get("backbone") is None:
        preset = replace(preset, backbone=None)  # it runs no network
    if preset.image_size is not None:
        checks.count("image_size", preset.image_size)
    if preset.glimpse_size is not None:
        checks.count("glimpse_size", preset.glimpse_size)
    if preset.view_size is not None:
        checks.count("view_size", preset.view_size)
    checks.count("max_glimpses", preset.max_glimpses)
    checks.count("grid", preset.grid)
    checks.choice("sensor", preset.sensor, get_args(SensorName))
    if preset.show_map and preset.sensor != "map":
        raise ValueError(f"show_map=True: sensor={preset.sensor!r} has no feature map to show; expected sensor='map'")
    checks.choice("first_view", preset.first_view, get_args(FirstView))
    checks.choice("initial_location", preset.initial_location, get_args(InitialLocation))
    checks.choice("fill", preset.fill, get_args(Fill))
    views = preset.grid**2 + (preset.first_view == "image")
    if preset.sensor == "bank" and preset.max_glimpses > views:
        raise ValueError(
            f"max_glimpses={preset.max_glimpses}: a bank of grid={preset.grid} shows {views} views of an image; expected at most as many"
        )
    return preset
