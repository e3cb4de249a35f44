"""The pixel sensor: what it shows, what it costs, what it refuses; and a user's own sensor in its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from glimpse_env import GlimpseVectorEnv, ImageSet, PixelSensor, Sensor, presets, retina
from glimpse_env.sensors import SENSORS, SensorName, SensorSpec


@pytest.fixture
def images() -> ImageSet:
    """Six random colour images of 10 x 14 pixels."""
    pixels = torch.randint(
        0, 256, (6, 3, 10, 14), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return ImageSet(pixels, torch.arange(6) % 2, ("cat", "dog"))


def ask(sensor: Sensor, index: list[int], location: list[list[float]], step: list[int]) -> Tensor:
    """Return the glimpses of some images."""
    return sensor.observe(torch.tensor(index), torch.tensor(location), torch.tensor(step))["glimpse"]


def test_a_glimpse_is_the_retinas_at_the_reach(images: ImageSet) -> None:
    sensor = PixelSensor(images, glimpse_size=4, scales=(1.0, 2.0), location_range=0.5)
    location = torch.tensor([[0.3, -0.8], [1.0, 1.0]])
    index = torch.tensor([5, 2])
    expected = retina.glimpse(sensor.canvas, index, location * 0.5, 4, (4, 8))
    torch.testing.assert_close(sensor.observe(index, location, torch.tensor([2, 3]))["glimpse"], expected)
    assert expected.shape == (2, 6, 4, 4)


def test_by_default_the_smallest_window_just_stays_inside(images: ImageSet) -> None:
    sensor = PixelSensor(images, glimpse_size=4)
    assert sensor.reach == pytest.approx(1 - 4 / 10)
    corner = ask(sensor, [1], [[-0.0, -1.0]], [2])
    torch.testing.assert_close(corner[0], images.images[1, :, :4, 5:9] / 255)


def test_a_whole_first_view_is_shown_at_step_one_only(images: ImageSet) -> None:
    sensor = PixelSensor(images, glimpse_size=5, scales=(1.0, 2.0), first_view="image")
    result = ask(sensor, [0, 0, 3], [[0.1, 0.2]] * 3, [1, 2, 1])
    whole = retina.whole(sensor.canvas, torch.tensor([0, 3]), 5)
    torch.testing.assert_close(
        result[[0, 2]], torch.cat([whole, whole], 1), rtol=0, atol=0.501 / 255
    )  # stored as bytes
    plain = PixelSensor(images, glimpse_size=5, scales=(1.0, 2.0))
    torch.testing.assert_close(result[1:2], ask(plain, [0], [[0.1, 0.2]], [2]))
    assert sensor.whole_first
    assert not plain.whole_first


def test_pixels_count_what_the_network_is_fed(images: ImageSet) -> None:
    assert PixelSensor(images, glimpse_size=4, scales=(1.0, 2.0)).pixels == (32, 32)
    assert PixelSensor(images, glimpse_size=4, scales=(1.0, 2.0), first_view="image").pixels == (16, 32)


def test_a_repainted_sensor_is_one_made_of_the_other_images(images: ImageSet) -> None:
    other = replace(images, images=255 - images.images)
    options = {"glimpse_size": 5, "scales": (1.0, 2.0), "first_view": "image", "fill": "noise"}
    sensor, expected = PixelSensor(images, **options), PixelSensor(other, **options)
    asked = ([0, 4, 3], [[0.9, -0.9], [0.0, 0.3], [-1.0, 1.0]], [1, 2, 3])
    before = ask(sensor, *asked)
    sensor.repaint(other.images)
    torch.testing.assert_close(ask(sensor, *asked), ask(expected, *asked), rtol=0, atol=0)
    assert not torch.equal(before, ask(sensor, *asked))
    with pytest.raises(ValueError, match=r"expected 6 of 10 x 14 pixels, got \(5, 3, 10, 14\)"):
        sensor.repaint(other.images[:5])


def test_values_stay_in_the_space(images: ImageSet) -> None:
    for fill in ("zero", "reflect", "noise"):
        sensor = PixelSensor(images, glimpse_size=6, location_range=1.0, fill=fill)
        box = sensor.space["glimpse"]
        for corner in ([-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [0.123, -0.77]):
            assert box.contains(ask(sensor, [2], [corner], [2])[0].numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"glimpse_size": 11}, "glimpse_size=11.*10"),
        ({"glimpse_size": 0}, "glimpse_size=0"),
        ({"glimpse_size": 4, "scales": ()}, "scales"),
        ({"glimpse_size": 4, "scales": (0.0,)}, "scales"),
        ({"glimpse_size": 4, "scales": (1.0, math.nan)}, "scales"),
        ({"glimpse_size": 4, "location_range": -0.1}, "location_range=-0.1"),
        ({"glimpse_size": 4, "first_view": "map"}, "first_view='map'.*image, glimpse"),
        ({"glimpse_size": 4, "fill": "white"}, "fill='white'.*zero, reflect, noise"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_bad_option_is_refused_by_name(images: ImageSet, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PixelSensor(images, **options)


class Coordinates:
    """A sensor that shows the location of its glimpse only, and has costs."""

    reach, windows, whole_first = 1.0, (1,), False
    pixels, flops = (1, 2), (100, 10)
    space = {"where": spaces.Box(-1.0, 1.0, (2,), np.float32)}  # noqa: RUF012 - a protocol attribute

    def observe(self, index: Tensor, location: Tensor, step: Tensor) -> dict[str, Tensor]:
        """Return the location."""
        return {"where": location}


def test_a_users_sensor_takes_its_place(make: Callable[..., GlimpseVectorEnv], act: Callable) -> None:
    env = make(2, sensor=Coordinates())
    env.reset(seed=0)
    action = act(2, seed=0, stop=0)
    observation, _, _, _, info = env.step(action)
    assert set(env.single_observation_space) == set(observation) == {"where", "location", "step"}
    torch.testing.assert_close(observation["where"], action["location"])
    assert info["pixels"].tolist() == [3, 3]
    assert info["flops"].tolist() == [110, 110]


# Sensors by name


class Inverted(PixelSensor):
    """Pixels, light and dark swapped."""

    def observe(self, index: Tensor, location: Tensor, step: Tensor) -> dict[str, Tensor]:
        """Return the swapped glimpse."""
        return {"glimpse": 1 - super().observe(index, location, step)["glimpse"]}


def test_options_offer_every_sensor_of_the_table() -> None:
    assert get_args(SensorName) == tuple(SENSORS)


def test_a_sensor_needs_one_line_of_the_table(
    make: Callable[..., GlimpseVectorEnv], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SENSORS, "inverted", SensorSpec(Inverted, runs_network=False))
    plain, _ = make(3, glimpse_size=5).reset(seed=0)
    inverted, _ = make(3, sensor="inverted", glimpse_size=5).reset(seed=0)
    torch.testing.assert_close(inverted["glimpse"], 1 - plain["glimpse"])


def test_the_preset_fills_the_keyword_arguments_that_a_sensor_has() -> None:
    shared = {"glimpse_size", "scales", "first_view", "location_range"}
    own = {
        "pixel": {"fill", "context", "first_crop", "zoom"},
        "map": {"view_size", "show_map"},
        "crop": {"fill", "context", "first_crop", "view_size", "show_map", "zoom"},
    }
    own["bank"] = own["crop"] | {"grid"}
    own["crop"] = own["crop"] | {"glimpse_unit"}
    assert {name: set(spec.settings) for name, spec in SENSORS.items()} == {
        name: shared | extra for name, extra in own.items()
    }


@pytest.mark.parametrize(
    ("name", "able"), [("context", "'pixel', 'crop', 'bank'"), ("show_map", "'crop', 'map', 'bank'")]
)
def test_what_a_sensor_cannot_show_is_refused_before_data_is_loaded(name: str, able: str) -> None:
    sensor = {"context": "map", "show_map": "pixel"}[name]
    with pytest.raises(
        ValueError, match=f"{name}=True: sensor='{sensor}' cannot show it; expected one of {able}"
    ):
        presets.resolve("cub", **{"sensor": sensor, name: True})


def test_a_first_crop_is_the_centre_of_the_image(images: ImageSet) -> None:
    """Half of a side of 10 pixels is 5, from pixel 2 on, and is shown without resizing."""
    images = replace(images, images=images.images[..., :10].contiguous())
    sensor = PixelSensor(images, glimpse_size=5, first_view="image", first_crop=0.5)
    shown = ask(sensor, [1, 1], [[0.0, 0.0]] * 2, [1, 2])
    torch.testing.assert_close(shown[0], images.images[1, :, 2:7, 2:7] / 255)
    with pytest.raises(ValueError, match=r"first_crop=0\.5: sensor='map' cannot show it; expected one of"):
        presets.resolve("cub", sensor="map", first_crop=0.5)
