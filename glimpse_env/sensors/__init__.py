"""Sensors: what a glimpse is. Protocol `Sensor`: image indices + locations + step -> observation tensors.

How to add one: write a class that follows `Sensor` in a module here; keyword-only arguments that are named
like fields of `Preset` get the preset's values. Put it into `SENSORS` below, and its name into `SensorName`
(the choices of `--sensor`). For one experiment, `GlimpseVectorEnv(sensor=...)` takes an unnamed object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from glimpse_env.backbone import FeatureExtractor, build_backbone
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import Preset
from glimpse_env.sensors.bank import BankSensor
from glimpse_env.sensors.base import (
    Contextual,
    Mirrorable,
    Repaintable,
    Sensor,
    SensorSpec,
    Zoomable,
    list_settings,
    row_bytes,
    row_spaces,
    shows_pixels,
    window_width,
)
from glimpse_env.sensors.crop import CropSensor
from glimpse_env.sensors.feature_cache import FeatureTable, all_stored
from glimpse_env.sensors.grid import OnGrid, count_levels, lattice
from glimpse_env.sensors.map import MapSensor
from glimpse_env.sensors.native_pixel import NativePixelSensor
from glimpse_env.sensors.native_views import measure_unit, measure_view
from glimpse_env.sensors.pixel import PixelSensor
from glimpse_env.sensors.view_maps import Mapped, ViewMaps

SensorName = Literal["pixel", "crop", "map", "bank"]
SENSORS: dict[str, SensorSpec] = {
    "pixel": SensorSpec(PixelSensor, runs_network=False, native=NativePixelSensor),
    "crop": SensorSpec(CropSensor, native=CropSensor),
    "map": SensorSpec(MapSensor),
    "bank": SensorSpec(BankSensor, on_grid=True, without_table="crop"),
}

__all__ = [
    "SENSORS",
    "BankSensor",
    "Contextual",
    "CropSensor",
    "FeatureTable",
    "MapSensor",
    "Mapped",
    "Mirrorable",
    "NativePixelSensor",
    "OnGrid",
    "PixelSensor",
    "Repaintable",
    "Sensor",
    "SensorName",
    "SensorSpec",
    "ViewMaps",
    "Zoomable",
    "all_stored",
    "count_levels",
    "lattice",
    "make_sensor",
    "measure_unit",
    "measure_view",
    "row_bytes",
    "row_spaces",
    "shows_pixels",
    "window_width",
]


def make_sensor(
    sensor: str | Sensor | None,
    images: ImageSet,
    preset: Preset,
    backbone: str | FeatureExtractor | None,
    weights: str | Path | None,
    device: torch.device,
) -> Sensor:
    """Return the sensor of a name (None = the preset's), or the given object."""
    if sensor is not None and not isinstance(sensor, str):
        refuse_network(type(sensor).__name__, backbone, weights, "the object has its own")
        zoom = sensor.zoom if isinstance(sensor, Zoomable) else None
        if zoom != preset.zoom:
            given = f"the given {type(sensor).__name__} has zoom={zoom}"
            raise ValueError(f"zoom={preset.zoom}: {given}; expected the same")
        return sensor
    name = preset.sensor if sensor is None else sensor
    spec = SENSORS[name]
    build = spec.build if images.native is None else spec.native
    if build is None:
        raise ValueError(f"sensor={name!r} cannot show images of different sizes; give image_size= in pixels")
    settings = {field: getattr(preset, field) for field in list_settings(build)}
    settings["glimpse_size"] = preset.glimpse_size or max(1, min(images.images.shape[-2:]) // 4)
    if not spec.runs_network:
        refuse_network(repr(name), backbone, weights, "it runs no network")
        return build(images, **settings, device=device)
    return build(images, choose_backbone(backbone or preset.backbone, weights, device, name), **settings)


def choose_backbone(
    backbone: str | FeatureExtractor | None, weights: str | Path | None, device: torch.device, sensor: str
) -> FeatureExtractor:
    """Return the network of a sensor that runs one: built by its name, or the given object."""
    if backbone is None:
        raise ValueError(f"sensor={sensor!r} runs a network: give backbone=, such as 'resnet50'")
    if isinstance(backbone, str):
        return build_backbone(backbone, weights, device)
    if weights != "DEFAULT" or backbone.device.type != device.type:
        given = f"the given backbone is on {backbone.device} and has its weights"
        raise ValueError(
            f"device={str(device)!r}, weights={weights!r}: {given}; expected that device, and no weights"
        )
    return backbone


def refuse_network(sensor: str, backbone: object, weights: object, why: str) -> None:
    """Refuse a network for a sensor that takes none."""
    if backbone is not None or weights != "DEFAULT":
        given = f"backbone={backbone!r}, weights={weights!r}"
        raise ValueError(f"{given}: sensor {sensor}: {why}; leave both at their defaults")
