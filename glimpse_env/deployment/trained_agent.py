"""`load_agent`: a trained agent for programs and notebooks, from a checkpoint or by its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from glimpse_env import checks, pretrained
from glimpse_env.datasets.formats.notes import Notes
from glimpse_env.datasets.torch_dataset import to_pixels
from glimpse_env.datasets.user_files import Side, prepare_like, read_like
from glimpse_env.evaluation import predictor
from glimpse_env.evaluation.predictor import Prediction
from glimpse_env.evaluation.stopping_rules import Rule, choose_rule
from glimpse_env.runtime import checkpoint
from glimpse_env.runtime.precision import Precision

CHUNK = 64  # images processed together


class Predictions(NamedTuple):
    """What an agent predicts of some images; all on the CPU."""

    labels: Int64[Tensor, " image"]  # of the most probable classes: positions in `TrainedAgent.classes`
    probabilities: Float[Tensor, "image class"]  # after each image's last glimpse
    # Of each image the locations of its glimpses, (glimpse, 2): (x, y) in [-1, 1] of the resized image. With
    # zoom (glimpse, 3): also the width of the widest window, in pixels of the resized image.
    trajectories: tuple[Float[Tensor, "glimpse axis"], ...]


class TrainedAgent:
    """A trained agent; see `load_agent`."""

    def __init__(self, saved: dict[str, Any], source: Path, agent: predictor.Predictor) -> None:
        """Join a checkpoint's content, where it came from, and the predictor built from it."""
        self.saved, self.source, self.predictor = saved, source, agent
        self.dataset = str(saved["environment"]["dataset"])
        self.image_size: Side = agent.arguments["image_size"]
        self.channels: int | None = saved.get("preprocessing", {}).get("channels")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.predictor.classes

    @property
    def max_glimpses(self) -> int:
        """The number of glimpses after which the agent stops in any case."""
        return self.predictor.arguments["max_glimpses"]

    @property
    def rule(self) -> Rule:
        """When it stops before."""
        return self.predictor.network.rule

    def __repr__(self) -> str:
        """Return one line."""
        what = f"{len(self.classes)} classes, at most {self.max_glimpses} glimpses; {self.rule}"
        return f"TrainedAgent({str(self.source)!r}: {self.saved['agent']} on {self.dataset}, {what})"

    def predict(self, images: Any) -> Predictions:
        """Return labels, probabilities and trajectories of one image or several, in their order.

        Args:
            images: One image, or a batch: a sequence of images, or a tensor or array (image, channel, height,
                width), or of an array (image, height, width, channel). An image is a path, a PIL image, or a
                tensor or array: uint8, or floating in [0, 1]; (height, width), (channel, height, width), or
                of an array (height, width, channel). It is resized and turned to grey or RGB as the images of
                the agent's data set are; sizes may differ within a sequence. One image is a batch of one.

        Raises:
            ValueError: No image; one of another shape, or with values outside [0, 1], NaN among them; or a
                file that cannot be decoded. The message names its position in the batch, or the file.
            TypeError: An image of another type.
            FileNotFoundError: There is no file at a path.
        """
        notes = Notes("your images")
        prepared = [self.prepare(image, index, notes) for index, image in enumerate(split_batch(images))]
        notes.report()
        found: list[Prediction] = []
        for start in range(0, len(prepared), CHUNK):
            found += self.predictor(prepared[start : start + CHUNK])
        labels = torch.tensor([prediction.index for prediction in found])
        zoomed = self.predictor.arguments["zoom"] is not None
        paths = tuple(trace_path(prediction, zoomed) for prediction in found)
        return Predictions(labels, torch.stack([prediction.probabilities for prediction in found]), paths)

    def prepare(
        self, image: Any, index: int = 0, notes: Notes | None = None
    ) -> UInt8[Tensor, "channel height width"]:
        """Return one image as the agent's data set has them; see `predict` for what it may be.

        `index` names it in messages; `notes` is as for `decode.read_image`.
        """
        if isinstance(image, str | os.PathLike):
            return read_like(self.dataset, Path(image), self.image_size, notes, self.channels)
        pixels = to_pixels(image, index, Notes("your images") if notes is None else notes)
        if len(pixels) not in (1, 3):
            expected = "expected 1 (grey) or 3 (RGB)"
            raise ValueError(f"image {index} has {len(pixels)} channels: {expected}")
        return prepare_like(self.dataset, pixels, self.image_size, self.channels)


def split_batch(images: Any) -> Sequence[Any]:
    """Return the images of a batch; of one image, a batch of it."""
    single = isinstance(images, str | os.PathLike | Image.Image)
    if isinstance(images, Tensor | np.ndarray) and images.ndim != 4:
        single = True
    if single:
        return [images]
    if not isinstance(images, Sequence | Tensor | np.ndarray):
        expected = "expected a path, a PIL image, a tensor, an array, or a sequence of them"
        raise TypeError(f"images: {expected}, got {checks.show(images)}")
    if not len(images):
        raise ValueError("images: the batch is empty; expected at least one image")
    return list(images)


def trace_path(prediction: Prediction, zoomed: bool) -> Float[Tensor, "glimpse axis"]:
    """Return the locations of an image's glimpses, with zoom beside the widths of their widest windows."""
    view = prediction.view
    path = torch.from_numpy(view.path).float()
    if not zoomed:  # shares of each image's side have factors too
        return path
    widths = [max(view.widths_at(step)) for step in range(prediction.glimpses)]
    return torch.cat((path, torch.tensor(widths, dtype=torch.float32)[:, None]), 1)


def load_agent(
    checkpoint_or_name: str | Path,
    *,
    rule: Rule | None = None,
    root: str | None = None,
    weights: str | None = None,
    device: str = "cpu",
    precision: Precision = "auto",
) -> TrainedAgent:
    """Return a trained agent, whose `predict(images)` returns labels, probabilities and trajectories.

    Args:
        checkpoint_or_name: The path of a run's checkpoint.pt, or the name of an agent that comes with the
            package: "mnist-dtram".
        rule: When it stops; None = as it was trained: by its stop head, or after the last glimpse.
        root: Folder of the data set, for the class names of checkpoints of earlier versions.
        weights: Path of the backbone's weights file; None = the path in training.
        device: Where it runs: "cpu", "cuda", ...; "auto" = a GPU where there is one.
        precision: Of the backbone; "auto" = a half type where the device has units for it.

    Raises:
        FileNotFoundError: There is no checkpoint at the path, or no weights file.
        ValueError: An unknown name, no checkpoint of an agent, or another backbone than in training.
    """
    source, saved = read_checkpoint(checkpoint_or_name)
    chosen = choose_rule(saved["dynamic"]) if rule is None else rule
    place = (root, weights, str(checks.device(device)))
    return TrainedAgent(saved, source, predictor.load_predictor(saved, source, chosen, *place, precision))


def read_checkpoint(path_or_name: str | Path) -> tuple[Path, dict[str, Any]]:
    """Return a checkpoint's path and content; of an agent of the package, its file there."""
    checks.instance("checkpoint", path_or_name, (str, os.PathLike), "a path or a name")
    path, name = Path(path_or_name), str(path_or_name)
    if path.is_dir():
        path = path / "checkpoint.pt"
    elif name in pretrained.NAMES and not path.is_file():
        with resources.as_file(resources.files("glimpse_env.pretrained") / pretrained.NAMES[name]) as file:
            return Path(name), checkpoint.load(file)
    elif not path.exists() and path.name == name and not path.suffix:
        known = f"expected one of {', '.join(pretrained.NAMES)}, or the path of a checkpoint.pt"
        raise ValueError(f"no agent of the package is called {name!r}, and there is no such file: {known}")
    return path, checkpoint.load(path)
