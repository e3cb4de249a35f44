"""A trained agent on a user's own images: predictions, their probabilities, and the fixation paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from jaxtyping import Float, UInt8
from torch import Tensor

from glimpse_env import GlimpseVectorEnv, datasets, presets, retina
from glimpse_env.backbone import FeatureExtractor, build_backbone
from glimpse_env.datasets.user_files import Unlabelled
from glimpse_env.evaluation.stopping_rules import Rule, RuledAgent
from glimpse_env.networks import registry
from glimpse_env.networks.fixed_policies import PolicyName, build_unlearned
from glimpse_env.rendering import frames
from glimpse_env.runtime.precision import Precision
from glimpse_env.sensors import SENSORS, OnGrid, measure_unit
from glimpse_env.training import preprocessing, resume
from glimpse_env.training.rollout import Behaviour, collect


@dataclass(frozen=True)
class Prediction:
    """What an agent predicts of one image."""

    index: int  # of the most probable class
    probabilities: Float[Tensor, " class"]
    view: frames.Episode  # its path holds one location for every glimpse taken

    @property
    def probability(self) -> float:
        """The probability of the predicted class."""
        return float(self.probabilities[self.index])

    @property
    def glimpses(self) -> int:
        """How many glimpses were taken."""
        return len(self.view.path)


@dataclass(frozen=True)
class Predictor:
    """A trained agent with what it needs to process any images."""

    network: RuledAgent
    arguments: Mapping[str, Any]  # of the environment
    backbone: FeatureExtractor | None
    policy: PolicyName
    classes: tuple[str, ...]
    device: str

    @torch.no_grad()
    def __call__(self, images: Sequence[UInt8[Tensor, "channel height width"]]) -> list[Prediction]:
        """Return a prediction for each image, of the data set's size; none is computed after a stop."""
        env = self.build_environment(images)
        sensor, zoom = env.sensor, env.preset.zoom
        policy = build_unlearned(self.policy, env.preset.grid, env.preset.axes)
        behaviour = Behaviour(env.preset.max_glimpses, policy, stop="likely")
        generator = torch.Generator(env.device).manual_seed(0)  # for policies that draw
        indices = torch.arange(len(images), device=env.device)
        rollout = collect(env, self.network, behaviour, generator, indices)
        logits, locations = rollout.logits.cpu(), rollout.locations.cpu()
        unit = measure_unit(env.images, indices, env.preset.glimpse_unit)
        predictions = []
        for row, (image, count) in enumerate(zip(images, rollout.active.sum(0).tolist(), strict=True)):
            probabilities = logits[count - 1, row].softmax(0)
            path, scores = locations[:count, row, :2].numpy() * sensor.reach, probabilities.numpy()
            view = frames.Episode(image, path, sensor.windows, sensor.whole_first, scores, self.classes, None)
            view = replace(view, first_crop=env.preset.first_crop)
            if zoom is not None or unit[row] != 1:
                scale = locations[:count, row, -1]
                factor = torch.ones(count) if zoom is None else retina.zoom_factor(scale, zoom)
                view = replace(view, factors=(factor * unit[row]).numpy())
            predictions.append(Prediction(int(probabilities.argmax()), probabilities, view))
        return predictions

    def build_environment(self, images: Sequence[UInt8[Tensor, "channel height width"]]) -> GlimpseVectorEnv:
        """Return these images' environment, which computes glimpses on a bank's grid instead of a bank."""
        spec = SENSORS[self.arguments["sensor"]]
        sensor = spec.without_table or self.arguments["sensor"]
        arguments = {**self.arguments, "sensor": sensor, "backbone": self.backbone, "device": self.device}
        arguments |= {"autoreset_mode": AutoresetMode.DISABLED, "compact": True}
        env = GlimpseVectorEnv(len(images), Unlabelled(images, self.classes), **arguments)
        if spec.on_grid:
            env.sensor = OnGrid(env.sensor, env.preset.grid)
        return env


def load_predictor(
    saved: Mapping[str, Any],
    source: Path,
    rule: Rule,
    root: str | None,
    weights: str | None,
    device: str,
    precision: Precision = "auto",
) -> Predictor:
    """Return the agent of a checkpoint, ready for images.

    `saved` is the content of the checkpoint at `source`; `root` the folder of the data set, for the class
    names of older checkpoints; `weights` the path of the backbone's weights file (None = the path in
    training); `precision` is the backbone's.

    Raises:
        ValueError: The class names are not known, or the weights or the backbone are not those of training.
        FileNotFoundError: There is no weights file.
    """
    options = saved["environment"] | ({} if weights is None else {"weights": weights})
    resume.check_weights(saved, options, source)
    given = {name: value for name, value in options.items() if name not in ("dataset", "root", "weights")}
    # Resolved, since checkpoints of earlier versions do not hold all arguments.
    arguments = asdict(presets.resolve(options["dataset"], root or options.get("root"), **given))
    name = arguments["backbone"]
    backbone = None if name is None else build_backbone(name, options["weights"], device, precision)
    if backbone is not None:
        preprocessing.check_view(saved, preprocessing.describe_backbone(backbone), source)
    return Predictor(
        network=RuledAgent(registry.rebuild(saved).to(device), rule).eval(),
        arguments=arguments,
        backbone=backbone,
        policy=saved["options"].get("policy", "learned"),
        classes=read_class_names(saved, source, root),
        device=device,
    )


def read_class_names(saved: Mapping[str, Any], source: Path, root: str | None) -> tuple[str, ...]:
    """Return a checkpoint's class names; those of its data set, if an earlier version wrote it."""
    if "classes" in saved:
        return tuple(saved["classes"])
    options = saved["environment"]
    reading = {"root": root or options["root"], "download": False, "image_size": options["image_size"]}
    try:
        return datasets.load(options["dataset"], "train", **reading).classes
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{source} was written by an earlier version, without the class names, and its data set cannot "
            f"be read ({error}): give the data set's folder as --root, or train again"
        ) from error


def build_row(file: Path, prediction: Prediction) -> dict[str, Any]:
    """Return a file's prediction as plain values; locations are (x, y) in [-1, 1] of the resized image.

    With zoom also `widths`: those of every glimpse's widest window, in pixels of that image.
    """
    view = prediction.view
    widths = [max(view.widths_at(step)) for step in range(prediction.glimpses)]
    return {
        "file": str(file),
        "class": prediction.view.classes[prediction.index],
        "probability": prediction.probability,
        "glimpses": prediction.glimpses,
        "locations": prediction.view.path.tolist(),
        **({} if view.factors is None else {"widths": widths}),
    }
