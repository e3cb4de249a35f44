"""Regions of images at full resolution, a classifier for each, and FCAN's Tables 2, 4 and 6."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import finetune_backbone
import torch
from finetune_backbone import FinetuneRun
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from fcan.boxes import cut_boxes
from fcan.plan import FcanOptions, build_finetuning
from glimpse_env import CropSensor, ImageSet
from glimpse_env.backbone import FeatureExtractor, find_weights
from glimpse_env.backbone.weights import read_state
from glimpse_env.evaluation import intervals, metrics
from glimpse_env.networks import fcan
from glimpse_env.sensors import FeatureTable, all_stored
from glimpse_env.training.finetuning import predict

log = logging.getLogger("glimpse_env")
CHUNK = 64  # crops that the network sees at a time
ITERATIONS = 200  # of L-BFGS at most
KINDS = {"random": "multi-view: whole + random places", "center": "rigid: whole + central places"}
BOX = "box"  # the region that is the object's ground-truth box


Places = Int64[Tensor, " image"]  # numbers of windows on the feature map
Features = Float[Tensor, "image feature"]
Probabilities = Float[Tensor, "image class"]


# Regions


@dataclass(frozen=True)
class Region:
    """One window in every image; the whole image is a part of all cells."""

    name: str
    part: int | None  # cells a side; None: the object's box, whatever its size and place
    learn: Places  # in the training images
    measure: Places  # in the images that are measured


@dataclass(frozen=True)
class Crops:
    """The images that regions are cut out of, and the network that classifies them."""

    learn: ImageSet
    measure: ImageSet
    backbone: FeatureExtractor  # fine-tuned and frozen
    side: int  # cells a side of the feature map on which places are numbered
    size: int  # pixels a side to which a region is resized


def name_region(kind: str, number: int, part: int) -> str:
    """Return a region's name in files and rows: part1-4x4, random2-8x8."""
    return f"{kind}{number + 1}-{part}x{part}"


def build_regions(crops: Crops, options: FcanOptions, learn: Tensor, measure: Tensor) -> list[Region]:
    """Return the whole image, parts, parts of the same sizes at random and central places, and boxes.

    The objects' ground-truth boxes are left out, with a line in the log, where the data set has none.

    Args:
        crops: Their `side` counts, and whether their images have boxes.
        options: Sizes of the parts, seed of the random places.
        learn: Places of the parts in the training images, shape (image, part).
        measure: The same in the images that are measured.
    """
    generator = torch.Generator().manual_seed(options.seed)
    images = (len(learn), len(measure))
    zeros = [torch.zeros(count, dtype=torch.int64) for count in images]
    regions = [Region("whole", crops.side, *zeros)]
    for number, part in enumerate(options.parts):
        total, middle = fcan.places(crops.side, part), fcan.middle(crops.side, part)
        places = {
            "part": (learn[:, number], measure[:, number]),
            "random": [torch.randint(total, (count,), generator=generator) for count in images],
            "center": [torch.full((count,), middle) for count in images],
        }
        regions += [Region(name_region(kind, number, part), part, *both) for kind, both in places.items()]
    if crops.learn.boxes is None or crops.measure.boxes is None:
        log.info("%s has no ground-truth boxes: their rows are left out", options.dataset)
        return regions
    return [*regions, Region(BOX, None, *zeros)]


def build_sensor(crops: Crops, images: ImageSet, part: int) -> CropSensor:
    """Return the sensor that cuts a part out of images and resizes it."""
    cell = images.images.shape[-1] // crops.side
    window = {"glimpse_size": crops.size, "scales": (part * cell / crops.size,)}
    return CropSensor(images, crops.backbone, **window, first_view="glimpse", chunk=CHUNK)


def split_glimpses(
    crops: Crops, images: ImageSet, part: int, place: Places
) -> tuple[CropSensor, list[tuple[Tensor, Tensor]]]:
    """Return the sensor for a part, and images with their glimpses' locations, `CHUNK` at a time."""
    sensor, device = build_sensor(crops, images, part), crops.backbone.device
    locations = fcan.locations(place, crops.side, part, sensor.reach).to(device).split(CHUNK)
    return sensor, list(zip(torch.arange(len(place), device=device).split(CHUNK), locations, strict=True))


def compute_features(crops: Crops, images: ImageSet, part: int | None, place: Places) -> Features:
    """Pass a region of every image through the frozen network."""
    if part is None:
        chosen, device = torch.arange(len(place)).split(CHUNK), crops.backbone.device
        return torch.cat([crops.backbone(cut_boxes(images, one, crops.size).to(device)) for one in chosen])
    sensor, chunks = split_glimpses(crops, images, part, place)
    shown = tqdm(chunks, desc="crops", unit="batch", dynamic_ncols=True, disable=len(chunks) == 1)
    return torch.cat([sensor.glimpses(*chunk) for chunk in shown])


def load_features(crops: Crops, images: ImageSet, part: int | None, place: Places) -> Features:
    """Return `compute_features`, cached (as banks are) where the place is the same in all images."""
    if part is None or images.key is None or bool((place != place[0]).any()):
        return compute_features(crops, images, part, place)

    def rows(index: Places, mirrored: bool) -> Float[Tensor, "image 1 feature"]:
        assert not mirrored  # mirrored images are not used here
        chosen = all_stored(images).subset(index)
        return compute_features(crops, chosen, part, place[:1].expand(len(index)))[:, None]

    recipe = f"{crops.size} {part} of {crops.side} at {int(place[0])}"
    table = FeatureTable(images, (1, crops.backbone.features), rows, "window", crops.backbone, recipe)
    return table.at(torch.arange(len(images)))


def cut(crops: Crops, images: ImageSet, part: int | None, place: Places) -> ImageSet:
    """Return a region of every image, resized, as a data set of its own."""
    if part is None:
        pixels = cut_boxes(images, torch.arange(len(place)), crops.size)
    else:
        sensor, chunks = split_glimpses(crops, images, part, place)
        views = (sensor.views.glimpses(*chunk, crops.size) for chunk in chunks)
        pixels = torch.cat([view.mul(255).round().byte().cpu() for view in views])
    return replace(images, images=pixels, rows=None, key=None, target_centers=None, boxes=None)


# Classifiers


class Linear(nn.Module):
    """A linear classifier on standardised features."""

    def __init__(self, features: Features, classes: int) -> None:
        """Start with the same score for all classes."""
        super().__init__()
        self.centre, self.deviation = features.mean(0), features.std(0).clamp_min(1e-3)
        self.layer = nn.Linear(features.shape[1], classes, device=features.device)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, features: Features) -> Probabilities:
        """Return the class scores."""
        return self.layer((features - self.centre) / self.deviation)


def fit_linear(features: Features, labels: Places, classes: int, penalty: float) -> Linear:
    """Return the linear classifier that minimises cross-entropy + `penalty` / 2 x its squared weights."""
    model = Linear(features, classes)
    search = {"max_iter": ITERATIONS, "tolerance_change": 1e-7, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS(model.layer.parameters(), **search)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(features), labels) + penalty / 2 * model.layer.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType] - torch declares it to return a float
    return model.requires_grad_(False)


def predict_by_linear(crops: Crops, region: Region, options: FcanOptions) -> Probabilities:
    """Return a region's class probabilities in the measured images, by `fit_linear` on frozen features."""
    labels, classes = crops.learn.labels.to(crops.backbone.device), len(crops.learn.classes)
    features = load_features(crops, crops.learn, region.part, region.learn)
    model = fit_linear(features, labels, classes, options.final_penalty)
    return model(load_features(crops, crops.measure, region.part, region.measure)).softmax(1).cpu()


def predict_by_network(
    crops: Crops, region: Region, options: FcanOptions, weights: str, folder: Path
) -> Probabilities:
    """Return the same by a network of the region's own, fine-tuned on the region (as in the paper)."""
    images, device = cut(crops, crops.learn, region.part, region.learn), crops.backbone.device
    own = {"weights": weights, "epochs": options.final_epochs, "whole": 1.0}  # nearly whole regions
    given = build_finetuning(options, folder, len(images), **own)
    with FinetuneRun.open(finetune_backbone.AGENT, given, finetune_backbone.check_options, alone=True) as run:
        tuned = finetune_backbone.build_network(run.options, None, len(images.classes), device)
        copy_head(tuned.network, weights, crops.backbone.name)
        run.start(tuned.network, finetune_backbone.describe(run.options, images, None), device)
        finetune_backbone.train(run, tuned, images, crops.size)
        finetune_backbone.write_weights(folder / "weights.pth", tuned.network)
        return predict(tuned, cut(crops, crops.measure, region.part, region.measure), crops.size, device)


def copy_head(network: nn.Module, weights: str, name: str) -> None:
    """Copy the fine-tuned network's final layer too where it has the same classes."""
    file, own = find_weights(name, weights), network.state_dict()
    saved = {} if file is None else read_state(file)
    same = {key: value for key, value in saved.items() if key in own and value.shape == own[key].shape}
    network.load_state_dict(same, strict=False)


# The table


def list_combinations(parts: Sequence[int], boxes: bool = False) -> dict[str, list[str]]:
    """Return the rows of the table: their names, and the regions whose probabilities are averaged.

    With `boxes`, rows of the objects' ground-truth boxes too.
    """
    learned = [name_region("part", number, part) for number, part in enumerate(parts)]
    rows = {"whole image": ["whole"]}
    rows |= {f"{name} alone": [name] for name in learned}
    rows |= {f"whole + {name}": ["whole", name] for name in learned}
    rows["whole + all parts"] = ["whole", *learned]
    fixed = {kind: [name_region(kind, number, part) for number, part in enumerate(parts)] for kind in KINDS}
    rows |= {row: ["whole", *fixed[kind]] for kind, row in KINDS.items()}
    own = {"ground-truth box alone": [BOX], "whole + ground-truth box": ["whole", BOX]}
    return rows | own if boxes else rows


def average(probabilities: Mapping[str, Probabilities], names: Sequence[str]) -> Probabilities:
    """Return the mean of regions' probabilities, as FCAN does."""
    return torch.stack([probabilities[name] for name in names]).mean(0)


def build_rows(
    probabilities: Mapping[str, Probabilities],
    labels: Places,
    parts: Sequence[int],
) -> list[dict[str, Any]]:
    """Return each combination's accuracies, and differences to the whole image, random and central places.

    Differences are in points of accuracy, with 95 % intervals, paired over images.
    """
    combinations, others = list_combinations(parts, BOX in probabilities), {"whole": "whole image"} | KINDS
    correct = {row: average(probabilities, names).argmax(1) == labels for row, names in combinations.items()}
    rows = []
    for row, names in combinations.items():
        rows.append({"row": row, "regions": names} | metrics.measure_accuracy(correct[row], labels))
        for key, other in others.items():
            if other != row:
                difference = 100 * (correct[row].float() - correct[other].float())
                rows[-1][f"minus_{key}"] = intervals.bootstrap_over_images(difference)
    return rows


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a table for the terminal."""
    heads = {"whole": "- whole image", "random": "- random places", "center": "- central places"}
    lines = [[f"{'':<36} {'accuracy %':>10} {'mean class %':>12}", *heads.values()]]
    for row in rows:
        differences = [row.get(f"minus_{key}") for key in heads]
        cells = ["" if one is None else intervals.format_interval(one) for one in differences]
        by_class = f"{100 * row['mean_class_accuracy']:.1f}" if "mean_class_accuracy" in row else ""
        lines.append([f"{row['row']:<36} {100 * row['accuracy']:>10.1f} {by_class:>12}", *cells])
    return "\n".join("  ".join(f"{cell:>20}" for cell in line) for line in lines)
