"""Evaluation, the same for every agent: each image once, one deterministic rollout to the horizon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import GlimpseVectorEnv, retina
from glimpse_env.networks.base import Agent
from glimpse_env.networks.fixed_policies import PolicyName, build_unlearned
from glimpse_env.runtime import distributed, files
from glimpse_env.sensors import measure_view
from glimpse_env.training.rollout import Behaviour, Guide, collect

EARLIER = {"answers": "predictions"}  # names of arrays in files of version 0.1, and today's


@dataclass(frozen=True)
class Trajectories:
    """What an agent did on every image of a split.

    Stopping does not change what comes before it, so one rollout to the horizon serves every stopping rule.
    """

    index: Int64[Tensor, " image"]  # in the data set
    labels: Int64[Tensor, " image"]
    predictions: Int64[Tensor, "time image"]  # most probable class after each glimpse
    confidence: Float[Tensor, "time image"]  # its probability
    stop: Float[Tensor, "time image"]  # probability of stopping, by the stop head
    locations: Float[Tensor, "time image 2"]  # (x, y) in [-1, 1], before the environment's location range
    probabilities: Float[Tensor, "time image class"] | None = None  # half precision; None if read from a file
    scales: Float[Tensor, "time image"] | None = None  # of the glimpses, in [-1, 1]; None without zoom

    @property
    def correct(self) -> Bool[Tensor, "time image"]:
        """Whether the prediction after each glimpse is correct."""
        return self.predictions == self.labels

    def correct_at(self, stops: Int64[Tensor, " image"]) -> Bool[Tensor, " image"]:
        """Return whether each image's prediction is correct when it is made at these steps (from 0)."""
        return self.correct.gather(0, stops[None])[0]

    def compute_factors(self, zoom: tuple[float, float] | None) -> Float[Tensor, "time image"] | None:
        """Return by which zoom narrowed the sensor's `windows` at every glimpse; None without zoom."""
        if zoom is None or self.scales is None:
            return None
        return retina.zoom_factor(self.scales, zoom)

    def compute_drawn_factors(self, env: GlimpseVectorEnv) -> Float[Tensor, "time image"] | None:
        """Return the width of the sensor's `windows` on `env.images.images`, as a share; None = no other."""
        factors = self.compute_factors(env.preset.zoom)
        view = measure_view(env.images, self.index, env.preset.glimpse_unit)
        if view is None:
            return factors
        return view.expand(self.locations.shape[:2]) if factors is None else view * factors

    def score_at(self, stops: Int64[Tensor, " image"]) -> tuple[float, float]:
        """Return accuracy and mean glimpses of predicting at these steps (from 0)."""
        return self.correct_at(stops).float().mean().item(), (stops + 1).float().mean().item()

    def save(self, path: Path) -> None:
        """Write a numpy archive, atomically, without `probabilities`, which would be most of it."""
        arrays = {name: value.numpy() for name, value in vars(self).items() if value is not None}
        files.write_numpy(path, {name: arrays[name] for name in arrays if name != "probabilities"})

    @classmethod
    def load(cls, path: Path) -> Trajectories:
        """Read what `save` wrote, here or in version 0.1; ValueError if the file is damaged."""
        try:
            with path.open("rb") as file, np.load(file) as archive:
                names = map(str, archive.files)
                return cls(**{EARLIER.get(name, name): torch.from_numpy(archive[name]) for name in names})
        except (BadZipFile, EOFError, ValueError) as error:
            raise ValueError(f"{path} is damaged: remove it, then evaluate again ({error})") from error


def evaluate(
    env: GlimpseVectorEnv,
    network: Agent,
    steps: int,
    precision: torch.dtype = torch.float32,
    policy: PolicyName = "learned",
    guide: Guide | None = None,
) -> Trajectories:
    """Show every image to the agent for `steps` glimpses.

    The agent takes its most probable actions; policy="random" draws locations from a fixed seed instead, and
    a `guide` chooses them. `env` has order="once" and the network's device; `precision` is that of the
    network. Processes that train together share the images, and each of them gets all trajectories.
    """
    network.eval()
    generator = torch.Generator(env.device)  # unused by a learned policy: its actions are deterministic
    unlearned = build_unlearned(policy, env.preset.grid, env.preset.axes)
    behaviour = Behaviour(steps, unlearned, guide=guide)
    parts, total = [], len(env.images)
    own = range(0, total, env.num_envs)[distributed.rank() :: distributed.count()]
    with torch.no_grad(), distributed.apart():
        for start in own:
            generator.manual_seed(start)
            count = min(env.num_envs, total - start)
            indices = torch.arange(start, start + env.num_envs, device=env.device).clamp(max=total - 1)
            rollout = collect(env, network, behaviour, generator, indices, precision)
            probabilities = rollout.logits.softmax(2)
            confidence, predictions = probabilities.max(2)
            part = (indices, rollout.labels, predictions, confidence, rollout.stop_logits.sigmoid())
            part += (rollout.locations[..., :2], probabilities.half(), *rollout.locations[..., 2:].unbind(2))
            parts.append([value.narrow(image_axis(value), 0, count).cpu() for value in part])
    columns = zip(*distributed.gathered(parts), strict=True)
    return Trajectories(*(torch.cat(column, image_axis(column[0])) for column in columns))


def image_axis(value: Tensor) -> int:
    """Return the axis of the images: the first of (image,), else the second, after time."""
    return min(value.ndim - 1, 1)
