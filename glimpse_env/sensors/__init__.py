"""Sensors: what a glimpse is. One protocol, image indices + locations + step -> observation tensors."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch

from glimpse_env import checks
from glimpse_env.backbone import Backbone
from glimpse_env.datasets import ImageSet
from glimpse_env.presets import Preset, SensorName
from glimpse_env.sensors.bank import BankSensor, OnGrid, lattice
from glimpse_env.sensors.base import Contextual, Sensor
from glimpse_env.sensors.crop import CropSensor
from glimpse_env.sensors.feature_cache import Cached, everything
from glimpse_env.sensors.map import MapSensor
from glimpse_env.sensors.pixel import PixelSensor

__all__ = [
    "BankSensor",
    "Cached",
    "Contextual",
    "CropSensor",
    "MapSensor",
    "OnGrid",
    "PixelSensor",
    "Sensor",
    "everything",
    "lattice",
    "make_sensor",
]


def make_sensor(
    sensor: str | Sensor | None,
    images: ImageSet,
    preset: Preset,
    backbone: str | Backbone | None,
    weights: str | Path | None,
    device: torch.device,
) -> Sensor:
    """Return the sensor that a name stands for (None = the preset's), or the given object."""
    if sensor is not None and not isinstance(sensor, str):
        refuse_network(type(sensor).__name__, backbone, weights, "the object has its own")
        return sensor
    name = preset.sensor if sensor is None else sensor
    checks.choice("sensor", name, get_args(SensorName))
    size = preset.glimpse_size or max(1, min(images.images.shape[-2:]) // 4)
    look = {"glimpse_size": size, "scales": preset.scales, "first_view": preset.first_view, "location_range": preset.location_range}
    if name == "pixel":
        refuse_network("'pixel'", backbone, weights, "it runs no network")
        return PixelSensor(images, **look, fill=preset.fill, context=preset.context, device=device)
    look |= {"view_size": preset.view_size}
    network = made(backbone or preset.backbone, weights, device, name)
    if name == "map":
        if preset.context:
            raise ValueError("context=True: the map sensor has none to show; expected sensor 'pixel', 'crop' or 'bank'")
        return MapSensor(images, network, **look, show_map=preset.show_map)
    look |= {"fill": preset.fill, "context": preset.context}
    return CropSensor(images, network, **look) if name == "crop" else BankSensor(images, network, **look, grid=preset.grid)


def made(backbone: str | Backbone | None, weights: str | Path | None, device: torch.device, sensor: str) -> Backbone:
    """Return the network of a sensor that runs one."""
    if backbone is None:
        raise ValueError(f"sensor={sensor!r} looks through a network: give backbone=, such as 'resnet50'")
    if isinstance(backbone, str):
        return Backbone(backbone, weights, device)
    if weights != "DEFAULT" or backbone.device.type != device.type:
        raise ValueError(
            f"device={str(device)!r}, weights={weights!r}: the given backbone is on {backbone.device} and has its weights; expected that "
            "device, and no weights"
        )
    return backbone


def refuse_network(sensor: str, backbone: object, weights: object, why: str) -> None:
    """Refuse a network for a sensor that takes none."""
    if backbone is not None or weights != "DEFAULT":
        raise ValueError(f"backbone={backbone!r}, weights={weights!r}: sensor {sensor}: {why}; leave both at their defaults")
