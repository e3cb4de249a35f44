"""Backbones of several families and makers through the crop, bank and map sensors, with random weights."""

from __future__ import annotations

import functools
import importlib.util
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glimpse_env import Backbone, ImageSet, ModuleBackbone
from glimpse_env.backbone import FeatureExtractor, timm
from glimpse_env.sensors import BankSensor, CropSensor, MapSensor

SIDE, SIZE = 64, 32
needs_timm = pytest.mark.skipif(not importlib.util.find_spec("timm"), reason="needs the package timm")


class Plain(nn.Module):
    """Two convolutions and a classifier."""

    def __init__(self) -> None:
        """Draw its weights."""
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1))
        self.fc = nn.Linear(8, 5)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the map."""
        return self.body(pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return class scores."""
        return self.fc(self.forward_features(pixels).mean((2, 3)))


def build_plain() -> ModuleBackbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleBackbone(Plain(), head="fc", precision="float32")


# Name: features, the map of an image of 64 x 64 pixels, and the side of the images that the network takes.
TIMM = {
    "resnet10t": (512, (512, 2, 2), None),
    "efficientnet_lite0": (1280, (1280, 2, 2), None),
    "mobilenetv3_small_050": (1024, (288, 2, 2), None),
    "convnext_atto": (320, (320, 2, 2), None),
    "vit_tiny_patch16_224": (192, (192, 14, 14), 224),
    "vit_small_patch14_dinov2@56": (384, (384, 4, 4), 56),
    "swin_tiny_patch4_window7_224@64": (768, (768, 2, 2), 64),
}
TORCHVISION = {"resnet18": (512, (512, 2, 2), None), "mobilenet_v3_small": (1024, (576, 2, 2), None)}
BUILD = {name: functools.partial(Backbone, name, None, precision="float32") for name in TORCHVISION}
BUILD |= {name: functools.partial(timm.build, name, None, precision="float32") for name in TIMM}
BUILD = {name: functools.cache(build) for name, build in BUILD.items()} | {"module": build_plain}
EXPECTED = {"module": (8, (8, 8, 8), None)} | TORCHVISION | TIMM
CASES = [pytest.param(name, marks=[needs_timm] if name in TIMM else []) for name in EXPECTED]


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Three random colour images of 64 x 64 pixels, without a name."""
    coarse = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = F.interpolate(coarse, (SIDE, SIDE), mode="nearest").mul(255).byte()
    return ImageSet(pixels, torch.arange(3) % 2, ("cat", "dog"))


def ask(sensor: Any, index: list[int], location: list[list[float]], step: list[int]) -> Tensor:
    return sensor.observe(torch.tensor(index), torch.tensor(location), torch.tensor(step))["glimpse"]


def close(found: Tensor, expected: Tensor) -> None:
    """Features of random weights may be large, or too small for the tables' float16."""
    assert found.shape == expected.shape
    assert (found - expected).norm() < 5e-3 * expected.norm() + 1e-6


@pytest.mark.parametrize("name", CASES)
def test_a_glimpse_is_the_network_on_what_the_sensor_cut(name: str, images: ImageSet, caplog: Any) -> None:
    features, shape, takes = EXPECTED[name]
    with caplog.at_level(logging.INFO, "glimpse_env"):
        backbone = BUILD[name]()
        crop = CropSensor(images, backbone, glimpse_size=SIZE, view_size=SIDE)
    assert isinstance(backbone, FeatureExtractor)
    assert (backbone.features, backbone.map_shape(SIDE, SIDE)) == (features, shape)
    resized = [line for line in caplog.messages if f"of {takes} x {takes} pixels only" in line]
    assert len(resized) == (0 if takes is None else 1 if takes == SIDE else 2)  # of glimpses, of whole images

    # The corner of one image, and another image as a whole, resized to what the network takes.
    corner, whole = images.images[1:2, :, :SIZE, SIZE:], images.images[2:]
    size = {"size": (takes, takes), "mode": "bilinear", "antialias": True}
    if takes is not None:
        corner, whole = (F.interpolate(each / 255, **size) for each in (corner, whole))
    expected = torch.cat([backbone(corner), backbone(whole)])
    close(ask(crop, [1, 2], [[1.0, -1.0], [0.0, 0.0]], [2, 1]), expected)
    bank = BankSensor(images, backbone, glimpse_size=SIZE, view_size=SIDE, grid=2)
    close(ask(bank, [1, 2], [[0.9, -0.8], [0.0, 0.0]], [2, 1]), expected)
    regions, cells = MapSensor(images, backbone, glimpse_size=SIZE, show_map=True), backbone.map(whole)
    seen = regions.observe(torch.tensor([2]), torch.zeros(1, 2), torch.tensor([1]))
    close(seen["map"], cells)
    close(seen["glimpse"], cells.mean((2, 3)))

    # Costs are those of what the network computes, resized.
    small, large = (takes or SIZE), (takes or SIDE)
    assert crop.flops == (backbone.flops(large, large), backbone.flops(small, small))
    assert regions.flops == (backbone.flops(large, large, of_map=True), 0)


@needs_timm
@pytest.mark.parametrize("name", TIMM)
def test_features_and_maps_of_timm_are_its_own(name: str) -> None:
    """Features are what it returns without its final layer; the map is its last intermediate one."""
    _, shape, takes = TIMM[name]
    backbone = BUILD[name]()
    pixels, normalise = torch.rand(2, 3, takes or SIDE, takes or SIDE), backbone.preprocessing
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (normalise.mean, normalise.deviation))
    normal = (pixels - mean) / deviation
    with torch.no_grad():
        close(backbone(pixels), backbone.network(normal))
        last = backbone.network.forward_intermediates(normal, indices=1, norm=True, intermediates_only=True)[
            -1
        ]
    if last.shape[1:] == shape:  # networks with a convolution after their last stage have a later map
        close(backbone.map(pixels), last)
    else:
        assert name in ("efficientnet_lite0", "mobilenetv3_small_050")


@needs_timm
def test_transformers_cost_their_attention_too() -> None:
    tokens, width, layers = 1 + 16, 192, 12
    products = tokens * 12 * width**2 + 2 * tokens**2 * width
    embedding = 16 * 3 * 16**2 * width
    assert timm.build("vit_tiny_patch16_224@64", None).flops(20, 20) == 2 * (embedding + layers * products)
