"""The feature map of the first view: what it shows, how it is cached, and what the environment offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from glimpse_env import (
    Backbone,
    BankSensor,
    CropSensor,
    GlimpseEnv,
    GlimpseVectorEnv,
    ImageSet,
    MapSensor,
    Sensor,
)
from glimpse_env.datasets.store import cache_folder
from glimpse_env.sensors import Mapped, OnGrid, feature_cache

SIDE, VIEW, COUNT = 64, 96, 6
CLOSE = {"rtol": 2e-3, "atol": 2e-3}
KINDS = {"crop": CropSensor, "bank": BankSensor, "map": MapSensor}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone("resnet18", None, precision="float32")


@pytest.fixture(scope="module")
def images() -> ImageSet:
    coarse = torch.rand(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = functional.interpolate(coarse, (SIDE, SIDE), mode="nearest").mul(255).byte()
    return ImageSet(pixels, torch.arange(COUNT) % 2, ("cat", "dog"))


def build(kind: str, images: ImageSet, backbone: Backbone, **options: object) -> Sensor:
    grid = {"grid": 2} if kind == "bank" else {}
    return KINDS[kind](images, backbone, glimpse_size=32, view_size=VIEW, **grid | options)


def compute_maps(images: ImageSet, backbone: Backbone) -> torch.Tensor:
    pixels = functional.interpolate(images.images / 255, (VIEW, VIEW), mode="bilinear", antialias=True)
    return backbone.map(pixels)


def observe(sensor: Sensor, index: torch.Tensor, step: int = 1) -> dict[str, torch.Tensor]:
    return sensor.observe(index, torch.zeros(len(index), 2), torch.full((len(index),), step))


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_what_glimpse_1_showed_the_network_at_every_step(
    images: ImageSet, backbone: Backbone, kind: str
) -> None:
    sensor, index = build(kind, images, backbone, show_map=True), torch.tensor([4, 1, 1])
    assert isinstance(sensor, Mapped)
    assert sensor.space["map"].shape == sensor.view_maps.shape == (512, 3, 3)
    for step in (1, 2):
        shown = observe(sensor, index, step)
        torch.testing.assert_close(shown["map"], compute_maps(images, backbone)[index], **CLOSE)
    first = observe(sensor, index)
    torch.testing.assert_close(first["map"].mean((2, 3)), first["glimpse"], **CLOSE)  # as ResNets pool it


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_costs_nothing_more(images: ImageSet, backbone: Backbone, kind: str) -> None:
    plain, shown = (build(kind, images, backbone, show_map=show) for show in (False, True))
    assert (shown.pixels, shown.flops) == (plain.pixels, plain.flops)
    assert "map" not in plain.space
    assert "map" not in observe(plain, torch.tensor([0]))


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_mirrored_images_are_mirrored(
    images: ImageSet, backbone: Backbone, kind: str, opened: bool
) -> None:
    sensor, which, index = build(kind, images, backbone), torch.arange(COUNT) < 3, torch.arange(COUNT)
    plain, mirrored = (
        compute_maps(replace(images, images=pixels), backbone)
        for pixels in (images.images, images.images.flip(3))
    )
    if opened:
        torch.testing.assert_close(sensor.view_maps.at(index), plain, **CLOSE)
    sensor.mirror(which)
    expected = torch.where(which[:, None, None, None], mirrored, plain)
    torch.testing.assert_close(sensor.view_maps.at(index), expected, **CLOSE)
    sensor.mirror(None)
    torch.testing.assert_close(sensor.view_maps.at(index), plain, **CLOSE)


def test_the_table_is_built_at_its_first_use_and_shared_by_sensors(
    images: ImageSet, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path))
    named = replace(images, key="named", rows=torch.arange(COUNT))
    part = named.subset(torch.tensor([5, 2]))
    bank = build("bank", part, backbone)
    assert not list(cache_folder().glob("*maps*.npy"))
    shown = bank.view_maps.at(torch.tensor([1, 0]))
    torch.testing.assert_close(shown, compute_maps(images, backbone)[[2, 5]], **CLOSE)
    (file,) = cache_folder().glob("*maps*.npy")
    assert file.stat().st_size == 128 + 2 * COUNT * 512 * 9
    monkeypatch.setattr(feature_cache, "build_table", None)
    for kind in ("crop", "map"):
        other = build(kind, part, backbone)
        torch.testing.assert_close(other.view_maps.at(torch.tensor([1, 0])), shown, rtol=0, atol=0)


def test_on_a_grid_the_crop_sensor_has_its_maps(images: ImageSet, backbone: Backbone) -> None:
    crop, index = build("crop", images, backbone, show_map=True), torch.tensor([3, 0])
    sensor = OnGrid(crop, 2)
    assert isinstance(sensor, Mapped)
    torch.testing.assert_close(observe(sensor, index)["map"], crop.view_maps.at(index))


@pytest.mark.parametrize("kind", ["crop", "bank"])
def test_a_cropped_first_view_has_no_map(images: ImageSet, backbone: Backbone, kind: str) -> None:
    with pytest.raises(ValueError, match=r"first_crop=0.75: .* expected 1"):
        build(kind, images, backbone, show_map=True, first_crop=0.75)


@pytest.mark.parametrize("kind", ["crop", "bank"])
def test_a_first_view_that_is_no_whole_image_has_no_map(
    images: ImageSet, backbone: Backbone, kind: str
) -> None:
    with pytest.raises(ValueError, match=r"show_map=True, first_view='glimpse': .* expected 'image'"):
        build(kind, images, backbone, show_map=True, first_view="glimpse")


@pytest.mark.parametrize("sensor", ["crop", "bank"])
def test_environments_offer_the_map(halves: Callable[..., str], backbone: Backbone, sensor: str) -> None:
    given = {"image_size": 32, "glimpse_size": 32, "scales": (0.5,), "grid": 2, "max_glimpses": 2}
    given |= {"sensor": sensor, "backbone": backbone, "show_map": True}
    folder = halves((3, 2))
    envs = GlimpseVectorEnv(3, folder, **given)
    observation, _ = envs.reset(seed=0)
    assert observation["map"].shape == envs.observation_space["map"].shape == (3, 512, 1, 1)
    env = GlimpseEnv(folder, **given)
    alone, _ = env.reset(seed=0)
    assert env.observation_space.contains(alone)
