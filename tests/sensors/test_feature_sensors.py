"""Crop, bank and map sensors: what they show, what they cost, how a bank is cached; and what they refuse."""

from __future__ import annotations

import errno
import logging
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from torch import Tensor
from torch.nn import functional

import glimpse_env
from glimpse_env import GlimpseVectorEnv, ImageSet, PixelSensor, Preset, datasets, presets
from glimpse_env.backbone import Backbone
from glimpse_env.datasets.store import cache_folder
from glimpse_env.sensors import BankSensor, CropSensor, MapSensor, feature_cache, make_sensor

SIDE, SIZE = 64, 32
CLOSE = {"rtol": 2e-3, "atol": 2e-3}  # of features about 1 large; float16 keeps 11 bits


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """A ResNet-18 with random weights, in single precision."""
    return Backbone("resnet18", None, precision="float32")


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Seven random colour images of 64 x 64 pixels, coarse enough to differ at any size, without a name."""
    coarse = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = functional.interpolate(coarse, (SIDE, SIDE), mode="nearest").mul(255).byte()
    return ImageSet(pixels, torch.arange(7) % 2, ("cat", "dog"))


@pytest.fixture
def named(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """The same images with a name, and a cache folder for what is computed from them."""
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    return replace(images, key="blocks/64")


def crop_sensor(images: ImageSet, backbone: Backbone, **options: Any) -> CropSensor:
    return CropSensor(images, backbone, **({"glimpse_size": SIZE} | options))


def bank_sensor(images: ImageSet, backbone: Backbone, **options: Any) -> BankSensor:
    return BankSensor(images, backbone, **({"glimpse_size": SIZE, "grid": 2} | options))


def map_sensor(images: ImageSet, backbone: Backbone, **options: Any) -> MapSensor:
    return MapSensor(images, backbone, **({"glimpse_size": SIZE} | options))


KINDS = {"crop": crop_sensor, "bank": bank_sensor, "map": map_sensor}


def ask(sensor: Any, index: list[int], location: list[list[float]], step: list[int]) -> Tensor:
    """Return the glimpses of some images."""
    return sensor.observe(torch.tensor(index), torch.tensor(location), torch.tensor(step))["glimpse"]


def banks() -> list[Path]:
    """Return the finished and unfinished files of the cache folder."""
    return sorted(file for file in cache_folder().iterdir() if file.suffix != ".lock")


# What a glimpse is


def test_a_crop_is_the_backbone_on_the_sliced_image(images: ImageSet, backbone: Backbone) -> None:
    sensor = crop_sensor(images, backbone, first_view="glimpse")
    assert sensor.reach == 0.5
    result = ask(sensor, [4, 2], [[-1.0, -1.0], [1.0, 0.0]], [1, 2])
    pieces = torch.stack([images.images[4, :, :32, :32], images.images[2, :, 16:48, 32:]])
    torch.testing.assert_close(result, backbone(pieces), **CLOSE)


def test_windows_of_several_scales_stand_side_by_side(images: ImageSet, backbone: Backbone) -> None:
    sensor = crop_sensor(images, backbone, glimpse_size=16, scales=(1.0, 2.0), location_range=0.25)
    result = ask(sensor, [1, 1], [[1.0, -1.0], [0.0, 0.0]], [2, 1])
    near, wide = images.images[1:2, :, 16:32, 32:48], images.images[1:2, :, 8:40, 24:56] / 255
    expected = torch.cat([backbone(near), backbone(functional.avg_pool2d(wide, 2))], 1)
    torch.testing.assert_close(result[:1], expected, **CLOSE)
    whole = backbone(functional.avg_pool2d(images.images[1:2] / 255, 4))
    torch.testing.assert_close(result[1:], torch.cat([whole, whole], 1), **CLOSE)


@pytest.mark.parametrize("view_size", [None, 64])
def test_rows_at_step_one_see_the_whole_image_whatever_the_others_do(
    images: ImageSet, backbone: Backbone, view_size: int | None
) -> None:
    sensor = crop_sensor(images, backbone, view_size=view_size, chunk=2)
    locations, steps = [[0.5, -0.5]] * 5, [2, 1, 3, 1, 2]
    result = ask(sensor, [0, 1, 2, 3, 4], locations, steps)
    whole = backbone(
        images.images[[1, 3]] if view_size else functional.avg_pool2d(images.images[[1, 3]] / 255, 2)
    )
    torch.testing.assert_close(result[[1, 3]], whole, **CLOSE)
    plain = crop_sensor(images, backbone, first_view="glimpse")
    torch.testing.assert_close(result[[0, 2, 4]], ask(plain, [0, 2, 4], locations[:3], [2, 2, 2]), **CLOSE)


def test_rows_seen_together_as_on_a_gpu_are_those_seen_apart(images: ImageSet, backbone: Backbone) -> None:
    sensor = crop_sensor(images, backbone, chunk=2)
    asked = ([0, 1, 2, 3, 4], [[0.5, -0.5]] * 5, [2, 1, 3, 1, 1])
    apart = ask(sensor, *asked)
    sensor.together = True
    torch.testing.assert_close(ask(sensor, *asked), apart, **CLOSE)


def test_a_part_of_a_set_shares_the_stored_pixels(images: ImageSet, backbone: Backbone) -> None:
    part = images.subset(torch.tensor([5, 2]))
    for build in KINDS.values():
        whole, some = build(images, backbone), build(part, backbone)
        asked = ([[0.4, 0.1], [1.0, -1.0]], [2, 1])
        torch.testing.assert_close(ask(some, [0, 1], *asked), ask(whole, [5, 2], *asked), **CLOSE)
    sensor = crop_sensor(part, backbone)
    ask(sensor, [0], [[0.0, 0.0]], [1])
    assert (
        sensor.views.stored.canvas.pixels.data_ptr() == images.images.data_ptr()
    )  # not copied: it may be larger than memory


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scales": (0.5, 1.0)},
        {"view_size": 48},
        {"first_view": "glimpse"},
        {"grid": 1},
        {"fill": "noise", "location_range": 1.0},
        {
            "fill": "noise",
            "location_range": 1.0,
            "scales": (0.5, 1.0, 2.0),
            "first_view": "glimpse",
            "context": True,
        },
    ],
)
def test_a_bank_shows_what_crops_at_the_nearest_cell_show(
    images: ImageSet, backbone: Backbone, options: dict
) -> None:
    bank = bank_sensor(images, backbone, **({"grid": 3} | options))
    crop = crop_sensor(images, backbone, **{name: value for name, value in options.items() if name != "grid"})
    index, step = torch.arange(7), torch.tensor([1, 2, 3, 1, 2, 2, 2])
    location = torch.rand(7, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    observed = bank.observe(index, location, step)
    line = torch.linspace(-1, 1, bank.grid) if bank.grid > 1 else torch.zeros(1)
    snapped = line[(location[..., None] - line).abs().argmin(-1)]
    first = (step == 1)[:, None] & bank.whole_first
    torch.testing.assert_close(observed["location"], torch.where(first, location, snapped))
    torch.testing.assert_close(observed["glimpse"], crop.observe(index, snapped, step)["glimpse"], **CLOSE)
    assert (bank.pixels, bank.flops, bank.windows, bank.reach) == (
        crop.pixels,
        crop.flops,
        crop.windows,
        crop.reach,
    )


def test_every_cell_of_the_grid_is_its_own_nearest(images: ImageSet, backbone: Backbone) -> None:
    bank = bank_sensor(images, backbone, grid=4)
    assert bank.nearest(bank.locations).tolist() == list(range(16))


def test_a_map_glimpse_is_the_mean_of_the_windows_cells(images: ImageSet, backbone: Backbone) -> None:
    sensor = map_sensor(images, backbone, view_size=128, first_view="image", show_map=True)
    maps = backbone.map(
        functional.interpolate(images.images / 255, (128, 128), mode="bilinear", antialias=True)
    )
    assert maps.shape[2:] == (4, 4)
    observed = sensor.observe(
        torch.tensor([3, 6, 0]), torch.tensor([[-1.0, 1.0], [0.0, 0.0], [0.3, 0.3]]), torch.tensor([2, 3, 1])
    )
    expected = torch.stack(
        [maps[3, :, 2:, :2].mean((1, 2)), maps[6, :, 1:3, 1:3].mean((1, 2)), maps[0].mean((1, 2))]
    )
    torch.testing.assert_close(observed["glimpse"], expected, **CLOSE)
    torch.testing.assert_close(observed["map"], maps[[3, 6, 0]], **CLOSE)
    assert sensor.space["map"].shape == (512, 4, 4)


def test_a_map_window_may_be_pooled_to_more_values(images: ImageSet, backbone: Backbone) -> None:
    sensor = map_sensor(images, backbone, view_size=128, roi=2, scales=(1.0, 2.0), location_range=0.5)
    maps = backbone.map(
        functional.interpolate(images.images / 255, (128, 128), mode="bilinear", antialias=True)
    )
    result = ask(sensor, [2, 2], [[1.0, 1.0], [0.0, 0.0]], [2, 1])
    torch.testing.assert_close(result[0, :2048].view(512, 2, 2), maps[2, :, 2:, 2:], **CLOSE)
    torch.testing.assert_close(result[1, :2048].view(512, 2, 2), functional.avg_pool2d(maps[2], 2), **CLOSE)
    torch.testing.assert_close(result[1, 2048:], result[1, :2048])
    assert result.shape == (2, 4096)


@pytest.mark.parametrize("kind", KINDS)
def test_mirrored_images_are_seen_as_if_they_were_stored_so(
    images: ImageSet, backbone: Backbone, kind: str
) -> None:
    sensor, reversed_ = (
        KINDS[kind](images, backbone),
        KINDS[kind](replace(images, images=images.images.flip(3)), backbone),
    )
    asked = ([1, 1, 4, 5], [[1.0, -1.0], [0.0, 0.0], [-1.0, 1.0], [1.0, 1.0]], [2, 1, 3, 2])
    before, mirrored = ask(sensor, *asked), ask(reversed_, *asked)
    sensor.mirror(torch.arange(7) < 5)
    torch.testing.assert_close(ask(sensor, *asked), torch.cat([mirrored[:3], before[3:]]), **CLOSE)
    assert not torch.allclose(before, mirrored, **CLOSE)
    sensor.mirror(None)
    torch.testing.assert_close(ask(sensor, *asked), before)
    with pytest.raises(
        ValueError,
        match=r"mirror: expected one bool for each of the 7 images, got torch.bool of shape \(6,\)",
    ):
        sensor.mirror(torch.ones(6, dtype=torch.bool))


def test_costs_count_what_the_network_is_fed(images: ImageSet, backbone: Backbone) -> None:
    small, large = backbone.flops(SIZE, SIZE), backbone.flops(SIDE, SIDE)
    crop = crop_sensor(images, backbone, view_size=SIDE, scales=(1.0, 1.5))
    assert (crop.pixels, crop.flops) == ((SIDE**2, 2 * SIZE**2), (large, 2 * small))
    plain = crop_sensor(images, backbone, first_view="glimpse")
    assert (plain.pixels, plain.flops) == ((SIZE**2, SIZE**2), (small, small))
    observed = map_sensor(images, backbone)
    assert (observed.pixels, observed.flops) == ((SIDE**2, 0), (backbone.flops(SIDE, SIDE, of_map=True), 0))


# How a bank is cached


def test_a_bank_is_built_once_for_every_split(
    named: ImageSet, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bank_sensor(named, backbone)
    assert [file.suffix for file in banks()] == [".npy"]
    monkeypatch.setattr(feature_cache, "build_table", None)
    part = bank_sensor(named.subset(torch.tensor([6, 1])), backbone)
    asked = ([[0.9, 0.9], [0.0, 0.0]], [2, 1])
    torch.testing.assert_close(ask(part, [0, 1], *asked), ask(first, [6, 1], *asked), rtol=0, atol=0)


def test_banks_of_other_views_networks_or_images_are_others(named: ImageSet, backbone: Backbone) -> None:
    for options in (
        {},
        {"grid": 3},
        {"glimpse_size": 16},
        {"view_size": 16},
        {"location_range": 0.1},
        {"first_crop": 0.5},
        {"scales": (0.5,)},
    ):
        bank_sensor(named, backbone, **options)
    bank_sensor(named, Backbone("resnet18", None, precision="float32", node="layer3"))
    bank_sensor(replace(named, key="others"), backbone)
    map_sensor(named, backbone)
    assert len(banks()) == 10
    bank_sensor(named, backbone, first_view="glimpse")  # the same features
    assert len(banks()) == 10


def test_a_first_crop_is_what_the_network_sees_first(images: ImageSet, backbone: Backbone) -> None:
    """The features of the first view are those of a glimpse of the same pixels at the centre."""
    own = {"first_crop": SIZE / SIDE, "grid": 3}
    for sensor in (
        crop_sensor(images, backbone, first_crop=SIZE / SIDE),
        bank_sensor(images, backbone, **own),
    ):
        shown = ask(sensor, [4, 4], [[0.0, 0.0]] * 2, [1, 2])
        torch.testing.assert_close(shown[0], shown[1], **CLOSE)


def test_mirrored_images_have_a_bank_of_their_own_built_when_first_asked_for(
    named: ImageSet, backbone: Backbone
) -> None:
    sensor = bank_sensor(named, backbone)
    assert len(banks()) == 1
    for _ in range(2):
        sensor.mirror(torch.ones(7, dtype=torch.bool))
        assert len(banks()) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_a_damaged_bank_is_noticed_and_built_again(
    named: ImageSet, backbone: Backbone, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = ([0, 6], [[0.9, 0.9], [0.0, 0.0]], [2, 1])
    expected, (file,) = ask(bank_sensor(named, backbone), *asked), banks()
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[:-10], "empty": b"", "foreign": b"x" * len(whole)}[damage])
    with caplog.at_level(logging.WARNING, "glimpse_env"):
        result = ask(bank_sensor(named, backbone), *asked)
    assert f"{file} is damaged or stale" in caplog.text
    torch.testing.assert_close(result, expected, rtol=0, atol=0)
    assert file.read_bytes() == whole


def test_an_interrupted_build_resumes_where_it_stopped(tmp_path: Path) -> None:
    asked, file = [], tmp_path / "bank.npy"

    def compute(index: Tensor, last: int = 99) -> Tensor:
        asked.extend(index.tolist())
        if index[-1] > last:
            raise KeyboardInterrupt
        return (index[:, None, None] + torch.arange(3)[:, None] / 4).expand(-1, 3, 2)

    with pytest.raises(KeyboardInterrupt):
        feature_cache.open_or_build(file, (9, 3, 2), lambda index: compute(index, 5), 2, "bank")
    assert not file.exists()
    assert asked == [0, 1, 2, 3, 4, 5, 6, 7]
    asked.clear()
    result = feature_cache.open_or_build(file, (9, 3, 2), compute, 2, "bank")
    assert asked == [4, 5, 6, 7, 8]  # the last slice written may not have been whole
    torch.testing.assert_close(result.float(), compute(torch.arange(9)))
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix != ".lock"] == ["bank.npy"]


def test_a_full_disk_is_reported_before_and_while_a_bank_is_built(
    named: ImageSet, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1000))
        with pytest.raises(
            OSError, match=r"bank of resnet18 needs 3.58e-05 GB in .*cache \(No space left.*GLIMPSE_CACHE"
        ):
            bank_sensor(named, backbone)
    assert banks() == []

    def write(stream: Any, rows: Tensor) -> None:
        stream.write(b"half a row")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "append_rows", write)
        with pytest.raises(OSError, match=r"free some space in .*cache, or set .*GLIMPSE_CACHE"):
            bank_sensor(named, backbone)
    assert banks() == []
    bank_sensor(named, backbone)


def test_two_builders_of_one_bank_build_it_once(tmp_path: Path) -> None:
    calls, result, start = [], [], threading.Barrier(2)

    def compute(index: Tensor) -> Tensor:
        calls.append(len(index))
        return index.float().view(-1, 1, 1)

    def want() -> None:
        start.wait()
        result.append(feature_cache.open_or_build(tmp_path / "bank.npy", (4, 1, 1), compute, 4, "bank"))

    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [4]
    assert [part.flatten().tolist() for part in result] == [[0, 1, 2, 3]] * 2


def test_features_beyond_float16_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features reach 70000.*65504"):
        feature_cache.to_half(torch.tensor([1.0, -70000.0]))


# In the environment


@pytest.fixture
def env(images: ImageSet, backbone: Backbone) -> Callable[..., GlimpseVectorEnv]:
    """Build the core over the images."""
    pairs = [(image, int(label)) for image, label in zip(images.images, images.labels, strict=True)]

    def build(rows: int = 3, **options: Any) -> GlimpseVectorEnv:
        defaults = {"glimpse_size": SIZE, "max_glimpses": 3, "backbone": backbone, "grid": 2}
        return GlimpseVectorEnv(rows, pairs, **(defaults | options))

    return build


def action(rows: int, seed: int, device: str = "cpu") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        "location": torch.rand(rows, 2, generator=generator) * 2 - 1,
        "stop": (torch.rand(rows, generator=generator) < 0.3).long(),
        "prediction": torch.rand(rows, 2, generator=generator),
    }
    return {name: value.to(device) for name, value in drawn.items()}


@pytest.mark.parametrize("sensor", KINDS)
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_compact_shows_the_same(env: Callable, sensor: str, mode: AutoresetMode) -> None:
    full, compact = (env(4, sensor=sensor, autoreset_mode=mode, compact=value) for value in (False, True))
    pairs = [(full.reset(seed=0)[0], compact.reset(seed=0)[0])]
    pairs += [(full.step(action(4, time))[0], compact.step(action(4, time))[0]) for time in range(5)]
    for expected, result in pairs:
        for name, value in expected.items():
            torch.testing.assert_close(result[name], value, **CLOSE)


def test_compact_with_nothing_left_asks_the_network_nothing(env: Callable) -> None:
    for view_size in (None, SIDE):
        core = env(2, sensor="crop", compact=True, view_size=view_size, autoreset_mode=AutoresetMode.DISABLED)
        before, _ = core.reset(seed=0)
        done = action(2, 0) | {"stop": torch.ones(2, dtype=torch.int64)}
        torch.testing.assert_close(core.step(done)[0]["glimpse"], before["glimpse"], rtol=0, atol=0)


def test_the_bank_reports_the_location_of_its_cell(env: Callable) -> None:
    core = env(3, sensor="bank")
    first, _ = core.reset(seed=0)
    assert first["location"].tolist() == [[0.0, 0.0]] * 3
    locations = torch.tensor([[0.2, -0.9], [-0.1, -0.1], [0.7, 0.1]])
    observed = core.step(action(3, 0) | {"location": locations, "stop": torch.zeros(3, dtype=torch.int64)})[0]
    assert observed["location"].tolist() == [[1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]]
    assert core.single_observation_space.contains(
        {name: value[0].numpy() for name, value in observed.items()}
    )


@pytest.mark.parametrize("sensor", KINDS)
def test_step_and_reset_never_ask_the_device_for_a_value(env: Callable, sensor: str) -> None:
    """Tensors on `meta` have no values: `.item()`, `bool()`, `nonzero` and boolean indexing raise on them."""
    core = env(3, sensor=sensor, device="meta", backbone="resnet18", weights=None)
    core.reset(seed=0)
    core.sensor.mirror(torch.ones(7, dtype=torch.bool, device="meta"))
    observed = core.step(action(3, 0, "meta"))[0]
    assert observed["glimpse"].device.type == "meta"
    assert observed["glimpse"].shape == (3, 512)


def test_a_first_view_of_another_size_does_ask_the_device(env: Callable) -> None:
    core = env(3, sensor="crop", device="meta", backbone="resnet18", weights=None, view_size=SIDE)
    with pytest.raises((RuntimeError, NotImplementedError)):
        core.reset(seed=0)


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("sensor", KINDS)
def test_once_every_row_has_stopped_no_view_is_resized(
    env: Callable, sensor: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Backbone("resnet18", None, device, precision="float32")
    monkeypatch.setattr(network, "preprocessing", network.preprocessing._replace(size=(SIZE, SIZE)))
    options = {"compact": True, "autoreset_mode": AutoresetMode.DISABLED, "view_size": 2 * SIZE - 1}
    core = env(3, sensor=sensor, device=device, backbone=network, **options)

    def interpolate(pixels: Tensor, *words: Any, real: Any = functional.interpolate, **more: Any) -> Tensor:
        assert len(pixels)  # or CUDA's "invalid argument"
        return real(pixels, *words, **more)

    core.reset(seed=0)
    monkeypatch.setattr(functional, "interpolate", interpolate)
    last = core.step(action(3, 0, device) | {"stop": torch.ones(3, dtype=torch.int64, device=device)})
    again = core.step(action(3, 1, device))
    assert last[2].all() and torch.equal(again[0]["glimpse"], last[0]["glimpse"])


@pytest.mark.parametrize("sensor", KINDS)
def test_gymnasiums_checker_is_silent(images: ImageSet, backbone: Backbone, sensor: str) -> None:
    pairs = [(image, int(label)) for image, label in zip(images.images, images.labels, strict=True)]
    single = glimpse_env.GlimpseEnv(
        pairs, sensor=sensor, backbone=backbone, glimpse_size=SIZE, grid=2, max_glimpses=3
    )
    check_env(single, skip_render_check=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("sensor", KINDS)
def test_a_gpu_shows_the_same_without_a_sync(env: Callable, sensor: str) -> None:
    network = Backbone("resnet18", None, "cuda", precision="float32")
    core, reference = env(4, sensor=sensor, device="cuda", backbone=network), env(4, sensor=sensor)
    core.reset(seed=0)
    reference.reset(seed=0)
    core.step(action(4, 9, "cuda"))
    reference.step(action(4, 9))
    moves = [action(4, time, "cuda") for time in range(3)]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = [core.step(move)[0] for move in moves]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for time, observed in enumerate(result):
        torch.testing.assert_close(
            observed["glimpse"].cpu(), reference.step(action(4, time))[0]["glimpse"], rtol=0.02, atol=0.02
        )


# By name


def test_names_make_sensors_from_the_preset(images: ImageSet, backbone: Backbone) -> None:
    cpu, preset = (
        torch.device("cpu"),
        Preset(glimpse_size=16, scales=(0.5, 1.0), view_size=24, grid=2, max_glimpses=3, backbone="resnet18"),
    )
    made = {
        name: make_sensor(name, images, preset, backbone, "DEFAULT", cpu) for name in ("crop", "bank", "map")
    }
    assert [type(sensor) for sensor in made.values()] == [CropSensor, BankSensor, MapSensor]
    assert all(sensor.windows == (8, 16) and sensor.reach == 1 - 8 / 64 for sensor in made.values())
    assert made["crop"].view_size == made["map"].view_size == 24
    assert len(made["bank"].locations) == 4
    assert isinstance(make_sensor(None, images, preset, None, "DEFAULT", cpu), PixelSensor)
    named = make_sensor("crop", images, preset, None, None, cpu)
    assert isinstance(named, CropSensor)
    assert named.backbone.name == "resnet18"
    assert make_sensor(named, images, preset, None, "DEFAULT", cpu) is named


def test_photographs_have_presets_that_need_no_data() -> None:
    for name in ("cub", "cars", "dogs"):
        preset = presets.resolve(name)
        assert (preset.sensor, preset.backbone, preset.image_size, preset.glimpse_size) == (
            "crop",
            "resnet50",
            512,
            224,
        )
        other = presets.resolve(name, sensor="bank", backbone="resnet18", grid=7, view_size=448)
        assert (other.sensor, other.backbone, other.grid, other.view_size) == ("bank", "resnet18", 7, 448)
        assert presets.resolve(name, sensor="pixel").backbone is None


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensor": "crop", "backbone": None}, r"sensor='crop'.*give backbone="),
        ({"sensor": "crop", "weights": "mine.pth"}, r"weights='mine.pth'.*has its weights"),
        ({"sensor": "pixel"}, r"backbone=.*'pixel'.*runs no network"),
        ({"sensor": "lidar"}, r"sensor='lidar'.*pixel, crop, map, bank"),
        ({"sensor": "crop", "view_size": 0}, "view_size=0"),
        ({"sensor": "bank", "grid": 0}, "grid=0"),
        ({"sensor": "bank", "max_glimpses": 6}, "max_glimpses=6: sensor='bank' with grid=2 has 5 views"),
        (
            {"sensor": "bank", "first_view": "glimpse", "max_glimpses": 5},
            "max_glimpses=5: sensor='bank' with grid=2 has 4 views",
        ),
        ({"sensor": "bank", "grid": 2.5}, "grid=2.5"),
        ({"sensor": "map", "scales": ()}, "scales"),
    ],
)
def test_a_bad_argument_is_refused_by_name(env: Callable, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        env(**options)


@pytest.mark.usefixtures("unchecked")
def test_a_bad_option_of_a_sensor_is_refused_by_name(images: ImageSet, backbone: Backbone) -> None:
    for kind, name, value in (
        ("crop", "chunk", 0),
        ("map", "chunk", 0),
        ("map", "roi", 0),
        ("bank", "first_view", "map"),
    ):
        with pytest.raises(ValueError, match=f"{name}={value!r}"):
            KINDS[kind](images, backbone, **{name: value})
    four = replace(images, images=images.images[:, :1].repeat(1, 4, 1, 1))
    with pytest.raises(ValueError, match=r"4 channels.*1 \(grey\) or 3 \(RGB\)"):
        crop_sensor(four, backbone)


def test_features_of_all_stored_images_are_computed_from_a_part_of_a_generated_set():
    """A generated set composes new images for its own rows; the stored ones, of all splits, are more."""
    part = datasets.load("clutter", "fit")
    last = torch.tensor([len(part.images) - 1])
    stored = feature_cache.all_stored(part).subset(last)
    assert torch.equal(stored.stack(), part.images[-1:])
