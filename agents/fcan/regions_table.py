"""Regions of images at full resolution, and a classifier for each of them (FCAN, section 3.4, third stage)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import finetune_backbone
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from fcan.plan import FcanOptions
from glimpse_env import Backbone, CropSensor, ImageSet
from glimpse_env.backbone import find_weights
from glimpse_env.networks import fcan
from glimpse_env.runtime import files
from glimpse_env.sensors import FeatureTable, all_stored
from glimpse_env.training.finetuning import Finetune, Finetuning, normalised

CHUNK = 64  # crops that the network sees at a time
ROUNDS = 200  # of L-BFGS at most


@dataclass(frozen=True)
class Region:
    """One window in every image; the whole image is a part of all cells."""

    name: str
    part: int  # cells a side
    learn: Int64[Tensor, " image"]  # place in every training image
    measure: Int64[Tensor, " image"]  # place in every image that is measured


@dataclass(frozen=True)
class Crops:
    """What regions are cut out of, and what looks at them."""

    learn: ImageSet
    measure: ImageSet
    backbone: Backbone  # the tuned network, frozen
    side: int  # cells a side of the feature map on which places are counted
    size: int  # pixels a side to which a region is resized


def sensor_of(crops: Crops, images: ImageSet, part: int) -> CropSensor:
    """Return the sensor that cuts a part out of images and resizes it."""
    cell = images.images.shape[-1] // crops.side
    scale = part * cell / crops.size
    return CropSensor(images, crops.backbone, glimpse_size=crops.size, scales=(scale,), first_view="glimpse", chunk=CHUNK)


def features(crops: Crops, images: ImageSet, part: int, place: Int64[Tensor, " image"]) -> Float[Tensor, "image feature"]:
    """Return the frozen network's features of a region of every image; those of the same place in all of them are kept, as banks are."""
    if images.key is None or bool((place != place[0]).any()):
        return seen(crops, images, part, place)

    def rows(index: Int64[Tensor, " image"], mirrored: bool) -> Float[Tensor, "image 1 feature"]:
        assert not mirrored  # nothing asks for mirrored images here
        return seen(crops, all_stored(images).subset(index), part, place[:1].expand(len(index)))[:, None]

    recipe = f"{crops.size} {part} of {crops.side} at {int(place[0])}"
    table = FeatureTable(images, (1, crops.backbone.features), rows, "window", crops.backbone, recipe)
    return table.at(torch.arange(len(images)))


def seen(crops: Crops, images: ImageSet, part: int, place: Int64[Tensor, " image"]) -> Float[Tensor, "image feature"]:
    """Pass a region of every image through the frozen network."""
    sensor = sensor_of(crops, images, part)
    where = fcan.locations(place, crops.side, part, sensor.reach).to(crops.backbone.device)
    index = torch.arange(len(images), device=crops.backbone.device)
    parts = list(zip(index.split(CHUNK), where.split(CHUNK), strict=True))
    shown = tqdm(parts, desc="crops", unit="batch", dynamic_ncols=True, disable=len(parts) == 1)
    return torch.cat([sensor.glimpses(*one) for one in shown])


def pixels(crops: Crops, images: ImageSet, part: int, place: Int64[Tensor, " image"]) -> ImageSet:
    """Return a region of every image, resized, as a data set of its own."""
    sensor = sensor_of(crops, images, part)
    where = fcan.locations(place, crops.side, part, sensor.reach).to(crops.backbone.device)
    index = torch.arange(len(images), device=crops.backbone.device)
    parts = zip(index.split(CHUNK), where.split(CHUNK), strict=True)
    cut = torch.cat([sensor.views.glimpses(*one, crops.size).mul(255).round().byte().cpu() for one in parts])
    return replace(images, images=cut, rows=None, key=None, target_centers=None, boxes=None)


class Linear(nn.Module):
    """A linear classifier on standardised features."""

    def __init__(self, features: Float[Tensor, "image feature"], classes: int) -> None:
        """Begin with the same score for all classes."""
        super().__init__()
        self.centre, self.deviation = features.mean(0), features.std(0).clamp_min(1e-3)
        self.layer = nn.Linear(features.shape[1], classes, device=features.device)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, features: Float[Tensor, "image feature"]) -> Float[Tensor, "image class"]:
        """Return the class scores."""
        return self.layer((features - self.centre) / self.deviation)


def fitted(found: Float[Tensor, "image feature"], labels: Int64[Tensor, " image"], classes: int, penalty: float) -> Linear:
    """Return the linear classifier of least cross-entropy plus `penalty` / 2 x its squared weights: convex, so one solution and no seed."""
    model = Linear(found, classes)
    search = torch.optim.LBFGS(model.layer.parameters(), max_iter=ROUNDS, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        loss = F.cross_entropy(model(found), labels) + penalty / 2 * model.layer.weight.square().sum()
        loss.backward()
        return loss

    search.step(closure)  # pyright: ignore[reportArgumentType] - torch declares it to return a float
    return model.requires_grad_(False)


def by_linear(crops: Crops, region: Region, options: FcanOptions) -> Float[Tensor, "image class"]:
    """Return the class probabilities of a region by a linear classifier on frozen features."""
    labels, classes = crops.learn.labels.to(crops.backbone.device), len(crops.learn.classes)
    model = fitted(features(crops, crops.learn, region.part, region.learn), labels, classes, options.final_penalty)
    return model(features(crops, crops.measure, region.part, region.measure)).softmax(1).cpu()


def by_network(crops: Crops, region: Region, options: FcanOptions, weights: str, folder: Path) -> Float[Tensor, "image class"]:
    """Return the class probabilities of a region by a network of its own, tuned further from the tuned one (as in the paper)."""
    chosen = Finetune(
        dataset=options.dataset,
        backbone=crops.backbone.name,
        weights=weights,
        epochs=options.final_epochs,
        whole=1.0,  # the region is what is looked at: nearly all of it, at random reversed
        seed=options.seed,
        device=options.device,
        threads=options.threads,
        out=folder,
        resume=options.resume and (folder / "checkpoint.pt").is_file(),
    )
    images, device = pixels(crops, crops.learn, region.part, region.learn), crops.backbone.device
    chosen = replace(chosen, batch=min(chosen.batch, len(images)))
    run = Finetuning(chosen, images, crops.size, device, folder)
    if not run.epoch:
        keep_head(run.network, weights, crops.backbone.name)
    run.train()
    files.write_torch(folder / "weights.pth", finetune_backbone.half(run.network.state_dict()))
    run.network.eval()
    seen = pixels(crops, crops.measure, region.part, region.measure).images.split(CHUNK)
    with torch.no_grad():
        return torch.cat([run.network(normalised(part.to(device))).softmax(1).cpu() for part in seen])


def keep_head(network: nn.Module, weights: str, name: str) -> None:
    """Take over the tuned network's final layer too where its classes are the same."""
    file, own = find_weights(name, weights), network.state_dict()
    saved = {} if file is None else torch.load(file, map_location="cpu", weights_only=True)
    network.load_state_dict({key: value for key, value in saved.items() if key in own and value.shape == own[key].shape}, strict=False)
