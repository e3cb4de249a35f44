"""The environment's settings for a data set: its preset with the given fields, checked for the sensor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import get_args

from glimpse_env import checks, datasets
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.datasets.base import FirstView, ImageSize, InitialLocation, Moves, Native, Preset
from glimpse_env.retina import Fill
from glimpse_env.sensors import SENSORS, Sensor, count_levels

FIELDS = tuple(Preset.__dataclass_fields__)
# A checkpoint's settings of the environment hold them all: then the data set's preset has no say.
COMPLETE = ("image_size", "scales", "first_view", "initial_location", "fill", "max_glimpses", "sensor")
PRESETS = {name: spec.preset for name, spec in datasets.NAMED.items()}


def resolve(dataset: object, root: str | Path | None = None, **given: object) -> Preset:
    """Return the data set's preset with the fields that were given (not None) put in.

    `root` is as for `datasets.load`. A data set without a name is not looked at if all of `COMPLETE` are
    given, as by a checkpoint, whose data set need not be there: None is then a field's own default. A sensor
    or backbone that is an object, not a name, is no part of a preset and left out.

    Raises:
        ValueError: A value outside what is allowed, or that does not fit the sensor; the message names it.
        TypeError: A sensor or a backbone that is neither a name nor such an object.
    """
    advice = {"backbone": " (of a torch module: ModuleBackbone(module))"}
    for name, kind in (("sensor", Sensor), ("backbone", FeatureExtractor)):
        expected = f"a name or an object that follows {kind.__name__}{advice.get(name, '')}"
        checks.instance(name, given.get(name), (str, kind, NoneType), expected)
    changes = {name: value for name, value in given.items() if value is not None}
    changes = {
        name: checks.argument(name, value) if name in checks.ARGUMENTS else value
        for name, value in changes.items()
        if name not in ("sensor", "backbone") or isinstance(value, str)
    }
    named = isinstance(dataset, str) and dataset in PRESETS
    complete = not named and all(changes.get(name) is not None for name in COMPLETE)
    preset = replace(Preset() if complete else datasets.find_preset(dataset, root), **changes)
    checks.choice("first_view", preset.first_view, get_args(FirstView))
    checks.choice("initial_location", preset.initial_location, get_args(InitialLocation))
    checks.choice("fill", preset.fill, get_args(Fill))
    checks.choice("moves", preset.moves, get_args(Moves))
    checks.choice("sensor", preset.sensor, SENSORS)
    if not SENSORS[preset.sensor].runs_network and given.get("backbone") is None:
        preset = replace(preset, backbone=None)
    check_native(preset)
    check_sensor(preset)
    check_moves(preset)
    return preset


def image_size(preset: Preset) -> ImageSize:
    """Return the size at which `datasets.load` reads the images; of unshrunk ones, that of the first view."""
    if preset.image_size != "native":
        return preset.image_size
    view = preset.view_size or preset.glimpse_size or 1
    return Native(max(1, round(view / preset.first_crop)))


def check_native(preset: Preset) -> None:
    """Refuse what images of different sizes, or of one size, cannot be."""
    if preset.image_size != "native":
        if preset.glimpse_unit != "pixels":
            needs = "windows are shares of an image's side only if images keep their sizes"
            raise ValueError(f"glimpse_unit={preset.glimpse_unit!r}: {needs}; give image_size='native'")
        return
    if SENSORS[preset.sensor].native is None:
        able = ", ".join(repr(name) for name, spec in SENSORS.items() if spec.native is not None)
        shown = f"image_size='native': sensor={preset.sensor!r} cannot show images of different sizes"
        raise ValueError(f"{shown}; expected one of {able}")
    if preset.glimpse_size is None:
        reason = "a quarter of the image is no size of its own where images differ"
        raise ValueError(f"image_size='native', glimpse_size=None: {reason}; give glimpse_size= in pixels")


def check_moves(preset: Preset) -> None:
    """Refuse relative moves without a largest one, and a largest move of absolute locations."""
    if (preset.moves == "relative") != (preset.max_move is not None):
        given = f"moves={preset.moves!r}, max_move={preset.max_move}"
        raise ValueError(f"{given}: expected both moves='relative' and max_move=, a length, or neither")


def check_sensor(preset: Preset) -> None:
    """Refuse what the preset's sensor cannot show."""
    spec = SENSORS[preset.sensor]
    for name in ("context", "show_map", "first_crop", "zoom"):  # what not every sensor can show
        value = getattr(preset, name)
        if value != Preset.__dataclass_fields__[name].default and name not in spec.settings:
            able = ", ".join(repr(sensor) for sensor, other in SENSORS.items() if name in other.settings)
            shown = f"{name}={value}: sensor={preset.sensor!r} cannot show it"
            raise ValueError(f"{shown}; expected one of {able}")
    if preset.first_crop != 1 and preset.first_view != "image" and not preset.context:
        crops = (
            f"first_crop={preset.first_crop}: first_view={preset.first_view!r} shows no whole image to crop"
        )
        raise ValueError(f"{crops}; expected first_view='image', or 1")
    views = preset.grid**2 * max(1, count_levels(preset.zoom)) + (preset.first_view == "image")
    if spec.on_grid and preset.max_glimpses > views:
        raise ValueError(
            f"max_glimpses={preset.max_glimpses}: sensor={preset.sensor!r} with grid={preset.grid} "
            f"has {views} views of an image; expected at most as many glimpses"
        )
