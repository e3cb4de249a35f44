"""The context: what it shows, what it costs, and that every sensor which has one shows the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from torch.nn import functional

from glimpse_env import Backbone, BankSensor, CropSensor, GlimpseEnv, GlimpseVectorEnv, ImageSet, PixelSensor
from glimpse_env.datasets.store import cache_folder
from glimpse_env.sensors import feature_cache

SIDE, SIZE, COUNT = 64, 32, 6
CLOSE = {"rtol": 2e-3, "atol": 2e-3}
LOOK = {
    "glimpse_size": SIZE,
    "first_view": "glimpse",
    "location_range": 1.0,
    "fill": "noise",
    "context": True,
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone("resnet18", None, precision="float32")


@pytest.fixture(scope="module")
def images() -> ImageSet:
    coarse = torch.rand(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = functional.interpolate(coarse, (SIDE, SIDE), mode="nearest").mul(255).byte()
    return ImageSet(pixels, torch.arange(COUNT) % 2, ("cat", "dog"))


def built(
    kind: str, images: ImageSet, backbone: Backbone, **options: object
) -> PixelSensor | CropSensor | BankSensor:
    given = LOOK | options
    if kind == "pixel":
        return PixelSensor(images, **given)
    return (
        CropSensor(images, backbone, **given)
        if kind == "crop"
        else BankSensor(images, backbone, grid=2, **given)
    )


@pytest.mark.parametrize("kind", ["pixel", "crop", "bank"])
def test_the_context_is_the_whole_image_beforehand_and_at_every_step(
    images: ImageSet, backbone: Backbone, kind: str
) -> None:
    sensor = built(kind, images, backbone, scales=(0.5, 1.0))
    index = torch.tensor([4, 1, 1])
    whole = functional.avg_pool2d(images.images[index] / 255, 2)
    expected = whole if kind == "pixel" else backbone(whole)
    result = sensor.context(index)
    torch.testing.assert_close(result, expected, rtol=5e-3, atol=5e-3)
    for step in (1, 2, 3):
        observed = sensor.observe(index, torch.rand(3, 2) * 2 - 1, torch.full((3,), step))
        torch.testing.assert_close(observed["context"], result, rtol=0, atol=0)
    assert sensor.space["context"].shape == result.shape[1:]


@pytest.mark.parametrize("kind", ["crop", "bank"])
def test_the_context_of_mirrored_images_is_mirrored(images: ImageSet, backbone: Backbone, kind: str) -> None:
    sensor = built(kind, images, backbone)
    reversed_ = built(kind, replace(images, images=images.images.flip(3)), backbone)
    which = torch.arange(COUNT) < 3
    sensor.mirror(which)
    index = torch.arange(COUNT)
    plain = built(kind, images, backbone)
    expected = torch.where(which[:, None], reversed_.context(index), plain.context(index))
    torch.testing.assert_close(sensor.context(index), expected, **CLOSE)


@pytest.mark.parametrize("kind", ["pixel", "crop", "bank"])
def test_a_context_costs_pixels_and_no_glimpse(images: ImageSet, backbone: Backbone, kind: str) -> None:
    blind, sensor = (
        built(kind, images, backbone, context=value, scales=(0.5, 1.0)) for value in (False, True)
    )
    assert "context" not in blind.space
    assert sensor.pixels == (blind.pixels[0] + SIZE**2, blind.pixels[1])
    assert sensor.flops == (
        blind.flops[0] + (0 if kind == "pixel" else backbone.flops(SIZE, SIZE)),
        blind.flops[1],
    )


@pytest.mark.parametrize("kind", ["pixel", "crop", "bank"])
def test_the_environment_shows_it_and_gymnasiums_checker_is_silent(
    images: ImageSet, backbone: Backbone, kind: str
) -> None:
    pairs = [(image, int(label)) for image, label in zip(images.images, images.labels, strict=True)]
    network = {} if kind == "pixel" else {"backbone": backbone, "sensor": kind, "grid": 2}
    single = GlimpseEnv(pairs, **LOOK, **network, max_glimpses=3)
    assert single.core.preset.context
    check_env(single, skip_render_check=True)
    assert single.reset(seed=0)[1]["pixels"] == 2 * SIZE**2


@pytest.mark.parametrize("kind", ["pixel", "crop", "bank"])
def test_a_context_asks_the_device_for_no_value(images: ImageSet, kind: str) -> None:
    pairs = [(image, int(label)) for image, label in zip(images.images, images.labels, strict=True)]
    network = {} if kind == "pixel" else {"backbone": "resnet18", "weights": None, "sensor": kind, "grid": 2}
    env = GlimpseVectorEnv(
        2, pairs, **LOOK, **network, max_glimpses=3, device="meta", autoreset_mode=AutoresetMode.DISABLED
    )
    first, _ = env.reset(seed=0)
    assert first["context"].device.type == "meta"
    action = {
        "location": torch.zeros(2, 2),
        "stop": torch.zeros(2, dtype=torch.int64),
        "prediction": torch.ones(2, 2),
    }
    assert (
        env.step({name: value.to("meta") for name, value in action.items()})[0]["context"].device.type
        == "meta"
    )


def test_the_map_sensor_has_no_context(images: ImageSet, backbone: Backbone) -> None:
    pairs = [(image, int(label)) for image, label in zip(images.images, images.labels, strict=True)]
    with pytest.raises(
        ValueError,
        match=r"context=True: sensor='map' cannot show it; expected one of 'pixel', 'crop', 'bank'",
    ):
        GlimpseVectorEnv(1, pairs, sensor="map", backbone=backbone, context=True)


def test_sets_of_scales_share_the_tables_of_each_scale(
    images: ImageSet,
    backbone: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path))
    named = replace(images, key="blocks/64")
    with caplog.at_level("INFO", "glimpse_env"):
        three = built("bank", named, backbone, scales=(0.5, 1.0, 2.0))
    assert "16, 32, 64 pixels wide" in caplog.text
    assert "with a margin" not in caplog.text  # it would be logged for every few images
    assert len([file for file in cache_folder().iterdir() if file.suffix == ".npy"]) == 3
    monkeypatch.setattr(feature_cache, "build_table", None)
    index, location, step = (
        torch.arange(COUNT),
        torch.rand(COUNT, 2) * 2 - 1,
        torch.ones(COUNT, dtype=torch.int64),
    )
    parts = three.observe(index, location, step)["glimpse"].chunk(3, 1)
    for scales, expected in (((1.0,), parts[1]), ((0.5, 2.0), torch.cat((parts[0], parts[2]), 1))):
        result = built("bank", named, backbone, scales=scales).observe(index, location, step)["glimpse"]
        torch.testing.assert_close(result, expected, rtol=0, atol=0)
