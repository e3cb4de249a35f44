"""Glimpse: learn where to look in an image, and when to stop. Registers `GlimpseEnv-v0` with Gymnasium."""

from typing import TYPE_CHECKING, Any

from gymnasium import register

from glimpse_env.backbone import Backbone, ModuleBackbone
from glimpse_env.datasets import ImageSet
from glimpse_env.env import GlimpseEnv, NumpyVectorEnv
from glimpse_env.presets import PRESETS, Preset
from glimpse_env.rewards import (
    Confidence,
    ConfidenceGain,
    Delayed,
    Greedy,
    InformationGain,
    Reward,
    Transition,
)
from glimpse_env.runtime import devices
from glimpse_env.sensors import BankSensor, Contextual, CropSensor, MapSensor, PixelSensor, Sensor
from glimpse_env.vector_env import GlimpseVectorEnv
from glimpse_env.wrappers.flat import FlatAction, FlatSingleAction
from glimpse_env.wrappers.statistics import EpisodeStatistics

if TYPE_CHECKING:
    from glimpse_env.deployment.trained_agent import load_agent

__version__ = "0.2.0"
__all__ = [
    "PRESETS",
    "Backbone",
    "BankSensor",
    "Confidence",
    "ConfidenceGain",
    "Contextual",
    "CropSensor",
    "Delayed",
    "EpisodeStatistics",
    "FlatAction",
    "FlatSingleAction",
    "GlimpseEnv",
    "GlimpseVectorEnv",
    "Greedy",
    "ImageSet",
    "InformationGain",
    "MapSensor",
    "ModuleBackbone",
    "NumpyVectorEnv",
    "PixelSensor",
    "Preset",
    "Reward",
    "Sensor",
    "Transition",
    "load_agent",
]


def __getattr__(name: str) -> Any:
    """Import `load_agent` at its first use: it needs the agents' networks, and environments do not."""
    if name != "load_agent":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from glimpse_env.deployment.trained_agent import load_agent

    return load_agent


devices.use_one_thread_after_fork()
# The environment checks every action itself, including values, so Gymnasium's passive checker is disabled.
register(
    id="GlimpseEnv-v0",
    entry_point="glimpse_env.env:GlimpseEnv",
    vector_entry_point="glimpse_env.env:NumpyVectorEnv",
    disable_env_checker=True,
)
