"""Images of different sizes, unshrunk: what a glimpse shows, for one image and for a batch of them."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from PIL import Image

import glimpse_env
from glimpse_env import GlimpseVectorEnv, datasets, native_retina, presets, retina
from glimpse_env.datasets.native.pyramid import build, table_levels
from glimpse_env.native_retina import NativeCanvas
from glimpse_env.sensors import PixelSensor

SIZES = [(64, 48), (333, 70), (40, 200), (97, 101), (1, 300), (7, 5)]  # height, width


def draw(height: int, width: int, seed: int) -> np.ndarray:
    """Noise of an image's size."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Noise of several sizes in two classes, all of it in train/."""
    for number, size in enumerate(SIZES):
        for part in ("train", "test"):
            path = tmp_path / "pictures" / part / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(*size, number)).save(path)
    return tmp_path / "pictures"


def make(dataset, rows: int = 6, **options) -> GlimpseVectorEnv:
    given = dict(image_size="native", glimpse_size=16, first_view="glimpse", max_glimpses=4, sensor="pixel")
    return GlimpseVectorEnv(rows, dataset, autoreset_mode=AutoresetMode.DISABLED, **(given | options))


def act(env: GlimpseVectorEnv, location: torch.Tensor) -> torch.Tensor:
    """The glimpse at a location of every row."""
    stop, prediction = torch.zeros(env.num_envs, dtype=torch.int64), torch.zeros(env.num_envs, 2)
    return env.step({"location": location, "stop": stop, "prediction": prediction})[0]["glimpse"]


def slice_image(pixels: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """The window of whole pixels, zero outside the image."""
    window = np.zeros((size, size, 3), np.float32)
    for row in range(size):
        for column in range(size):
            if 0 <= top + row < pixels.shape[0] and 0 <= left + column < pixels.shape[1]:
                window[row, column] = pixels[top + row, left + column]
    return window.transpose(2, 0, 1) / 255


def test_a_row_of_a_batch_equals_slicing_and_the_single_environment(folder):
    order = [0, 2, 4, 1, 3, 5]  # class by class
    env = make(folder)
    single = gymnasium.make("GlimpseEnv-v0", dataset=str(folder), image_size="native", glimpse_size=16,
                            first_view="glimpse", max_glimpses=4, sensor="pixel")  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        env.reset(options={"indices": torch.arange(6)})
        corners = [
            [int(torch.randint(-12, side - 3, (), generator=generator)) for side in SIZES[number]]
            for number in order
        ]
        sides = torch.tensor([SIZES[number] for number in order])
        location = (2 * (torch.tensor(corners) + 8) / sides - 1).flip(1)
        inside = location.abs().amax(1) <= 1
        glimpse = act(env, location)
        for row, number in enumerate(order):
            if not inside[row]:
                continue
            expected = slice_image(draw(*SIZES[number], number), *corners[row], 16)
            np.testing.assert_allclose(glimpse[row], expected, atol=1e-4)
            single.reset(options={"indices": np.array([row])})
            action = {
                "location": location[row].numpy(),
                "stop": np.int64(0),
                "prediction": np.zeros(2, np.float32),
            }
            assert np.array_equal(single.step(action)[0]["glimpse"], glimpse[row].numpy())


@pytest.mark.parametrize("fill", ["zero", "noise", "reflect"])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 2.0, 2.5)])
def test_images_of_one_size_show_what_the_equal_sized_sensor_shows(fill, scales):
    images = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8)
    equal = datasets.ImageSet(images, torch.zeros(5, dtype=torch.int64), ("a",))
    sensor = PixelSensor(equal, glimpse_size=16, scales=scales, location_range=1.0, fill=fill)
    canvas = build_canvas(list(images), fill)
    location = torch.rand(200, 2) * 2 - 1
    index = torch.randint(0, 5, (200,))
    windows = tuple(round(16 * scale) for scale in scales)
    shown = native_retina.glimpse(canvas, index, location, 16, windows)
    torch.testing.assert_close(
        shown, retina.glimpse(sensor.canvas, index, location, 16, windows), atol=2e-4, rtol=0
    )


def build_canvas(images: list[torch.Tensor], fill="zero") -> NativeCanvas:
    """The canvas of images, without a file."""
    margin = np.zeros(3 * native_retina.WIDEST, np.uint8)
    parts, index, place = [margin], [], len(margin)
    for image in images:
        levels = build(image.permute(1, 2, 0).contiguous().numpy())
        index.append((place, *image.shape[1:], int(image.sum())))
        parts += [level.reshape(-1) for level in levels]
        place += sum(level.size for level in levels)
    table = torch.tensor(index)
    levels = table_levels(table[:, 0], table[:, 1:3])
    return NativeCanvas(torch.from_numpy(np.concatenate([*parts, margin])), table, levels, fill)


def test_shares_of_the_short_side_show_the_same_of_an_image_of_any_size():
    small = torch.from_numpy(draw(64, 96, 0)).permute(2, 0, 1)
    large = small.repeat_interleave(16, 1).repeat_interleave(16, 2)
    canvas = build_canvas([small, large])
    location = torch.rand(50, 2) * 1.4 - 0.7
    shown = [
        native_retina.glimpse(canvas, torch.full((50,), row), location, 16, (0.25, 0.5), unit="short_side")
        for row in (0, 1)
    ]
    torch.testing.assert_close(
        shown[0][:, 3:], shown[1][:, 3:], atol=2e-3, rtol=0
    )  # twice the glimpse's size


def test_a_window_of_a_share_is_the_mean_of_the_pixels_in_it():
    image = torch.from_numpy(draw(512, 512, 1)).permute(2, 0, 1)
    canvas = build_canvas([image])
    location = torch.tensor([[0.0, 0.0], [-0.5, 0.25]])
    shown = native_retina.glimpse(
        canvas, torch.zeros(2, dtype=torch.int64), location, 8, (0.25,), unit="short_side"
    )
    for row, (left, top) in enumerate(((192, 192), (64, 256))):
        window = image[:, top : top + 128, left : left + 128].float()
        expected = torch.nn.functional.avg_pool2d(window, 16) / 255
        torch.testing.assert_close(shown[row], expected, atol=2 / 255, rtol=0)


def test_zoom_shows_windows_of_any_width(folder):
    env = make(folder, zoom=(1, 4))
    env.reset(options={"indices": torch.arange(6)})
    assert torch.equal(env._observation["scale"], torch.ones(6, 1))
    assert env.sensor.windows == (64,)


def test_the_first_view_is_the_whole_image_shrunk(folder):
    env = make(folder, first_view="image")
    observation, _ = env.reset(options={"indices": torch.arange(6)})
    expected = datasets.decode.to_square(torch.from_numpy(draw(64, 48, 0)).permute(2, 0, 1), 16, "stretch")
    assert env.images.images.shape == (6, 3, 16, 16)
    difference = (observation["glimpse"][0] * 255 - expected).abs()
    assert difference.max() < 32 and difference.mean() < 8


def test_objects_of_different_sizes_work(folder):
    pairs = [
        (torch.from_numpy(draw(*size, number)).permute(2, 0, 1), number % 2)
        for number, size in enumerate(SIZES)
    ]
    pairs[0] = (Image.fromarray(draw(*SIZES[0], 0)), 0)
    env = make(pairs)
    env.reset(options={"indices": torch.arange(6)})
    location = torch.rand(6, 2) * 2 - 1
    other = make(folder)
    other.reset(options={"indices": torch.tensor([0, 3, 1, 4, 2, 5])})
    assert torch.equal(act(env, location), act(other, location))


@pytest.mark.parametrize("unit", ["pixels", "short_side"])
def test_a_mirrored_image_shows_the_mirrored_window(folder, unit):
    env = make(folder, glimpse_unit=unit, first_view="image")
    env.reset(options={"indices": torch.arange(6)})
    location = torch.rand(6, 2) * 2 - 1
    plain = act(env, location)
    env.sensor.mirror(torch.tensor([True, False] * 3))
    first = env.reset(options={"indices": torch.arange(6)})[0]["glimpse"]
    assert torch.equal(first, torch.where(is_even(6), env.sensor.context(torch.arange(6)), first))
    shown = act(env, torch.where(is_even(6)[:, 0, 0], location * torch.tensor([-1.0, 1.0]), location))
    torch.testing.assert_close(shown, torch.where(is_even(6), plain.flip(3), plain), atol=2e-3, rtol=0)


def is_even(count: int) -> torch.Tensor:
    return (torch.arange(count) % 2 == 0)[:, None, None, None]


def test_a_strip_of_one_by_thirty_thousand_pixels_is_an_image(tmp_path):
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / "strips" / part / name).mkdir(parents=True)
            Image.fromarray(draw(1, 30_000, 0)).save(tmp_path / "strips" / part / name / "1.png")
    for unit in ("pixels", "short_side"):
        env = make(tmp_path / "strips", rows=2, glimpse_unit=unit)
        env.reset(options={"indices": torch.arange(2)})
        glimpse = act(env, torch.tensor([[1.0, 0.0], [-0.5, 0.0]]))
        assert glimpse.isfinite().all() and glimpse.sum() > 0


def test_one_pixel_high_images_are_rendered(folder):
    for unit, scales in (("pixels", (1.0,)), ("short_side", (0.5,))):
        env = gymnasium.make(
            "GlimpseEnv-v0", dataset=str(folder), image_size="native", glimpse_size=16, first_view="image",
            max_glimpses=4, sensor="pixel", glimpse_unit=unit, scales=scales, render_mode="rgb_array",
        )  # fmt: skip
        for index in range(6):
            env.reset(options={"indices": np.array([index])})
            action = {
                "location": np.zeros(2, np.float32),
                "stop": np.int64(0),
                "prediction": np.zeros(2, np.float32),
            }
            env.step(action)
            assert env.render().ndim == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(sensor="bank", backbone="resnet18"), "sensor='bank' cannot show images of different sizes"),
        (dict(sensor="map", backbone="resnet18"), "sensor='map' cannot show images of different sizes"),
        (dict(image_size=32, glimpse_unit="short_side"), "give image_size='native'"),
        (dict(glimpse_unit="short_side", scales=(8.0,)), "expected at most 4"),
        (dict(scales=(1000.0,), glimpse_size=100), "expected at most 65534"),
    ],
)
def test_what_cannot_be_shown_is_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        make(folder, **options)


def test_other_words_are_refused(folder):
    with pytest.raises(ValueError, match="glimpse_unit='metres': expected one of pixels, short_side"):
        presets.resolve(folder, image_size="native", glimpse_size=16, glimpse_unit="metres")
    with pytest.raises(ValueError, match="image_size='own': expected a whole number"):
        presets.resolve(folder, image_size="own")


def test_a_glimpse_size_is_needed_and_images_of_one_size_are_not_native(tmp_path):
    for number in range(4):
        path = tmp_path / "small" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(20 + number, 20, 0)).save(path)
    with pytest.raises(ValueError, match="give glimpse_size= in pixels"):
        make(tmp_path / "small", glimpse_size=None)
    with pytest.raises(ValueError, match="images of 'mnist' have one size"):
        make("mnist")


def test_the_crop_sensor_shows_images_of_different_sizes(folder):
    backbone = glimpse_env.backbone.build_backbone("resnet18", None, torch.device("cpu"))
    env = make(folder, sensor="crop", backbone=backbone, glimpse_size=32, first_view="image")
    env.reset(options={"indices": torch.arange(6)})
    location = torch.zeros(6, 2)
    glimpse = act(env, location)
    assert glimpse.shape == (6, 512)
    env.sensor.mirror(torch.ones(6, dtype=torch.bool))
    env.reset(options={"indices": torch.arange(6)})
    assert not torch.allclose(act(env, location), glimpse)
