"""A trained agent on a user's own image files: what it answers, how sure it is, and where it looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from jaxtyping import Float, UInt8
from torch import Tensor

from glimpse_env import GlimpseVectorEnv, datasets, presets
from glimpse_env.backbone import FeatureExtractor, build_backbone
from glimpse_env.datasets.user_files import Unlabelled
from glimpse_env.evaluation.stopping_rules import Rule, Ruled
from glimpse_env.networks import registry
from glimpse_env.rendering import frames
from glimpse_env.sensors import SENSORS, OnGrid
from glimpse_env.training import resume
from glimpse_env.training.rollout import Behaviour, Policy, collect


@dataclass(frozen=True)
class Prediction:
    """What an agent makes of one image."""

    answer: int
    probabilities: Float[Tensor, " class"]
    view: frames.Episode  # its path holds one place for every glimpse taken

    @property
    def name(self) -> str:
        """The class that was answered."""
        return self.view.classes[self.answer]

    @property
    def probability(self) -> float:
        """How probable the agent holds its answer."""
        return float(self.probabilities[self.answer])

    @property
    def glimpses(self) -> int:
        """How often it looked."""
        return len(self.view.path)


@dataclass(frozen=True)
class Predictor:
    """A trained agent with what it needs to look at any images."""

    network: Ruled
    look: Mapping[str, Any]  # arguments of the environment
    backbone: FeatureExtractor | None
    policy: Policy
    classes: tuple[str, ...]
    device: str

    @torch.no_grad()
    def __call__(self, images: Sequence[UInt8[Tensor, "channel height width"]]) -> list[Prediction]:
        """Look at images of the data set's size; those that are answered cost nothing more."""
        env = self.environment(images)
        behaviour = Behaviour(env.preset.max_glimpses, stop="likely", policy=self.policy)
        generator = torch.Generator(env.device).manual_seed(0)  # for policies that draw
        rollout = collect(env, self.network, behaviour, generator, torch.arange(len(images), device=env.device))
        taken = rollout.active.sum(0).cpu()
        logits, places = rollout.logits.cpu(), rollout.locations.cpu() * env.sensor.reach
        return [
            self.told(env, image, logits[count - 1, row].softmax(0), places[:count, row])
            for row, (image, count) in enumerate(zip(images, taken.tolist(), strict=True))
        ]

    def environment(self, images: Sequence[UInt8[Tensor, "channel height width"]]) -> GlimpseVectorEnv:
        """Return the environment of these images. In place of a bank each glimpse is computed when it is taken, at the bank's places."""
        spec = SENSORS[self.look["sensor"]]
        env = GlimpseVectorEnv(
            len(images),
            Unlabelled(images, self.classes),
            **{**self.look, "sensor": spec.without_table or self.look["sensor"], "backbone": self.backbone},
            device=self.device,
            autoreset_mode=AutoresetMode.DISABLED,
            compact=True,
        )
        if spec.on_grid:
            env.sensor = OnGrid(env.sensor, env.preset.grid)
        return env

    def told(
        self, env: GlimpseVectorEnv, image: UInt8[Tensor, "channel height width"], shares: Float[Tensor, " class"], path: Tensor
    ) -> Prediction:
        """Return the prediction of one image."""
        view = frames.Episode(
            image=image,
            path=path.numpy(),
            windows=env.sensor.windows,
            whole_first=env.sensor.whole_first,
            prediction=shares.numpy(),
            classes=self.classes,
            label=None,
        )
        return Prediction(int(shares.argmax()), shares, view)


def predictor(saved: Mapping[str, Any], source: Path, rule: Rule, root: str | None, weights: str | None, device: str) -> Predictor:
    """Return the agent of a checkpoint, ready to look.

    Args:
        saved: The checkpoint's content.
        source: Where it lies, for errors.
        rule: When it stops.
        root: Where the data set lies, which is needed for the names of the classes of older checkpoints only.
        weights: Where the backbone's weights file lies now; None = where it lay in training.
        device: Where to run.

    Raises:
        ValueError: The classes have no names, or the weights are others.
        FileNotFoundError: The weights are not there.
    """
    found = saved["environment"] | ({} if weights is None else {"weights": weights})
    resume.check_weights(saved, found, source)
    given = {name: value for name, value in found.items() if name not in ("dataset", "root", "weights")}
    look = asdict(presets.resolve(found["dataset"], **given))  # checkpoints of earlier versions do not say all of it
    network = registry.rebuilt(saved).to(device).eval()
    return Predictor(
        network=Ruled(network, rule).eval(),
        look=look,
        backbone=None if look["backbone"] is None else build_backbone(look["backbone"], found["weights"], device),
        policy=saved["options"].get("policy", "learned"),
        classes=class_names(saved, source, root),
        device=device,
    )


def class_names(saved: Mapping[str, Any], source: Path, root: str | None) -> tuple[str, ...]:
    """Return the names of a checkpoint's classes: its own, or for checkpoints of earlier versions those of the data set."""
    if "classes" in saved:
        return tuple(saved["classes"])
    look = saved["environment"]
    try:
        images = datasets.load(look["dataset"], "train", root=root or look["root"], download=False, image_size=look["image_size"])
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{source} was written before checkpoints held the names of their classes, and its data set does not tell them ({error}): give "
            "its folder as --root, or train anew"
        ) from error
    return images.classes


def row(file: Path, prediction: Prediction) -> dict[str, Any]:
    """Return what is told of one file, as plain values; places are (x, y) in [-1, 1] of the image as the agent sees it."""
    return {
        "file": str(file),
        "class": prediction.name,
        "probability": prediction.probability,
        "glimpses": prediction.glimpses,
        "places": prediction.view.path.tolist(),
    }
