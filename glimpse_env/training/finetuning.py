"""Fine-tuning of classifiers: images as they expect them, class probabilities.

And `find_tuned`, which finds the weights that finetune_backbone.py wrote for a data set without a name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from glimpse_env import datasets
from glimpse_env.backbone import Classifier, Preprocessing
from glimpse_env.datasets import ImageSet
from glimpse_env.datasets.base import choose_result_split
from glimpse_env.presets import resolve
from glimpse_env.runtime import checkpoint, files
from glimpse_env.sensors import SENSORS

Probabilities = Float[Tensor, "image class"]
CHUNK = 64  # images that are classified at a time
RUNS = Path("runs")  # the default folder of all runs

Options = TypeVar("Options")

log = logging.getLogger("glimpse_env")


def replace_head(classifier: Classifier, classes: int) -> Classifier:
    """Return a classifier whose final layers are new, for `classes` classes.

    Raises:
        ValueError: It has no layer of such a name, or one of another kind.
    """
    for name in classifier.head:
        layer = dict(classifier.network.named_modules()).get(name)
        if isinstance(layer, nn.Linear):
            new = nn.Linear(layer.in_features, classes)
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            new = nn.Conv2d(layer.in_channels, classes, 1)
        else:
            found = "no such layer" if layer is None else type(layer).__name__
            expected = f"expected a fully connected layer of {type(classifier.network).__name__}"
            raise ValueError(f"head={name!r}: {expected}, or a 1 x 1 convolution, got {found}")
        classifier.network.set_submodule(name, new)
    return classifier


def normalise(
    images: UInt8[Tensor, "image channel height width"], expected: Preprocessing
) -> Float[Tensor, "image 3 rows columns"]:
    """Return images as a network expects them: of its size, standardised, with a grey channel three times."""
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    colours = v2.functional.to_dtype(images, torch.float32, scale=True).expand(-1, 3, -1, -1)
    return v2.functional.normalize(expected.resize(colours), list(expected.mean), list(expected.deviation))


@torch.no_grad()
def predict(
    classifier: Classifier, images: ImageSet, side: int, device: torch.device, crop: float = 1.0
) -> Probabilities:
    """Return the class probabilities (CPU, float32) of whole images, resized to `side` x `side` pixels.

    `crop`: of their sides, the share that is shown around the centre.
    """
    from torchvision.transforms import v2

    network = classifier.network.eval()
    probabilities = []
    chunks = torch.arange(len(images)).split(CHUNK)
    for index in tqdm(chunks, desc="evaluate", unit="batch", dynamic_ncols=True):
        stored = images.images[images.stored[index]].to(device)
        if crop != 1:
            stored = v2.functional.center_crop(stored, [round(crop * edge) for edge in stored.shape[-2:]])
        pixels = v2.functional.resize(stored, [side, side], antialias=True)
        probabilities.append(network(normalise(pixels, classifier.preprocessing)).softmax(1).cpu())
    return torch.cat(probabilities)


def choose_weights(options: Options, file: Path) -> Options:
    """Return a script's options with the weights that are meant by DEFAULT on a data set without a name.

    They are those of finetune_backbone.py on the same images (see `find_tuned`), if a glimpse runs a network
    and such a run is there; in a run that is resumed (its checkpoint is `file`), or starts from a RAM, those
    of that checkpoint.
    """
    given: Any = options
    if not needs_weights(given):
        return options
    backbone = given.backbone
    if not getattr(given, "train_backbone", False):
        preset = resolve(given.dataset, given.root, sensor=given.sensor, backbone=backbone)
        backbone = preset.backbone if SENSORS[preset.sensor].runs_network else None
    if backbone is None:
        return options
    start = file if getattr(given, "resume", False) else getattr(given, "ram", None)
    if start is not None and start.is_file():
        return replace(given, weights=checkpoint.read(start)["options"]["weights"])
    found = find_tuned(given.dataset, given.root, backbone, choose_result_split(given.split))
    return options if found is None else replace(given, weights=str(found))


def needs_weights(options: Any) -> bool:
    """Return whether options leave the weights of a sensor's network to a data set without a name."""
    dataset = options.dataset
    unnamed = isinstance(dataset, str | Path) and str(dataset) not in datasets.NAMED
    return unnamed and hasattr(options, "sensor") and getattr(options, "weights", None) == "DEFAULT"


def find_tuned(dataset: str | Path, root: str | Path | None, backbone: str, split: str) -> Path | None:
    """Return the weights that finetune_backbone.py wrote to its default folder for a data set and a network.

    Only a run that was measured on the images that `split` has now: they are then none of those on which it
    was tuned. Of several the newest; the log names it. None = there is none.
    """
    found = [file for file in RUNS.glob("finetune_backbone-*/result.json") if is_tuned(file)]
    for file in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        row, weights = files.read_json(file), file.with_name("weights.pth")
        options = row["options"]
        if options["backbone"] != backbone or not is_same(options, dataset, root):
            continue
        if row["split"] != split:
            measured = f"its images of {split} may be among those on which they were tuned"
            log.info("%s is not used: it was measured on %s, and %s", weights, row["split"], measured)
            continue
        size = resolve(dataset, root, image_size=options["image_size"]).image_size
        if datasets.load(dataset, split, root=root, image_size=size).digest() != row["data_sha256"]:
            log.info("%s is not used: the images of %s are not those of its result any more", weights, split)
            continue
        told = f"accuracy of one view {row['accuracy']:.1%}"
        log.info("weights: %s, %s fine-tuned on %s (%s)", weights, backbone, dataset, told)
        return weights
    return None


def is_tuned(file: Path) -> bool:
    """Return whether a result is that of a finished run of finetune_backbone.py, with its weights."""
    try:
        row = files.read_json(file)
    except (ValueError, OSError):
        return False
    known = {"data_sha256", "options", "split", "accuracy"} <= row.keys()
    return known and row.get("agent") == "finetune_backbone" and file.with_name("weights.pth").is_file()


def is_same(options: Mapping[str, Any], dataset: str | Path, root: str | Path | None) -> bool:
    """Return whether a run's options name this data set: the same folder or list, or torchvision's name."""
    try:
        return datasets.find_place(options["dataset"], options["root"]) == datasets.find_place(dataset, root)
    except (ValueError, OSError):
        return False
