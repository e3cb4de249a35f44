"""Zoom: windows of any width, cut for every row at once; the action, the observation, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from torch import Tensor
from torch.nn import functional

from glimpse_env import (
    Backbone,
    FlatAction,
    FlatSingleAction,
    GlimpseEnv,
    GlimpseVectorEnv,
    PixelSensor,
    retina,
    rewards,
)
from glimpse_env.adapters.learned_classifier import LearnedClassifier, Teaching
from glimpse_env.env import NumpyVectorEnv
from glimpse_env.rendering import composites, frames
from glimpse_env.sensors import count_levels, lattice
from glimpse_env.sensors.grid import nearest

NAN = float("nan")
SIDE, SIZE, ZOOM = 24, 4, (1.0, 4.0)
SHOWN: dict[str, Any] = {"glimpse_size": SIZE, "first_view": "glimpse", "max_glimpses": 4, "zoom": ZOOM}
GENERATOR = torch.Generator().manual_seed(0)
PIXELS = torch.randint(0, 256, (7, 3, SIDE, SIDE), dtype=torch.uint8, generator=GENERATOR)
DATA = [(image, index % 3) for index, image in enumerate(PIXELS)]
# Of values in [0, 1]: positions are rounded to float32.
CLOSE = {"rtol": 0, "atol": 2e-5}


def env_of(rows: int = 3, **options: Any) -> GlimpseVectorEnv:
    return GlimpseVectorEnv(rows, DATA, **(SHOWN | options))


def action(rows: int = 3, **changes: Any) -> dict[str, Tensor]:
    """Return an action that looks at the centre through the smallest window."""
    values = {"location": torch.zeros(rows, 2), "scale": -torch.ones(rows, 1)}
    values |= {"stop": torch.zeros(rows, dtype=torch.int64), "prediction": torch.ones(rows, 3)}
    return values | changes


def array_action(rows: tuple[int, ...] = (), **changes: Any) -> dict[str, np.ndarray]:
    values = {"location": np.zeros((*rows, 2)), "scale": np.zeros((*rows, 1))}
    values |= {"stop": np.zeros(rows, int), "prediction": np.full((*rows, 3), 1 / 3)}
    return values | changes


def scale_of(width: float) -> float:
    """Return the scale of a window of this width in units of glimpse_size."""
    return 2 * np.log(width / ZOOM[0]) / np.log(ZOOM[1] / ZOOM[0]) - 1


# Windows of any width


@pytest.mark.parametrize("fill", ["zero", "noise"])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 2.0)])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_whole_number_of_glimpse_sizes_shows_what_fixed_windows_show(width, scales, fill):
    images = env_of().images
    shown = {"glimpse_size": SIZE, "location_range": 0.9, "fill": fill}
    zoomed = PixelSensor(images, scales=scales, zoom=ZOOM, **shown)
    fixed = PixelSensor(images, scales=tuple(width * scale for scale in scales), **shown)
    index = torch.arange(7).repeat(20)
    location = torch.rand(140, 2, generator=GENERATOR) * 2 - 1
    scale, step = torch.full((140, 1), scale_of(width)), torch.full((140,), 2)
    seen = zoomed.observe(index, torch.cat((location, scale.float()), 1), step)["glimpse"]
    torch.testing.assert_close(seen, fixed.observe(index, location, step)["glimpse"], **CLOSE)


def integrate(image: np.ndarray, left: float, top: float, side: float) -> float:
    """Return the mean of an image over a square, pixel by pixel."""
    total = 0.0
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            across = max(0.0, min(left + side, column + 1) - max(left, column))
            down = max(0.0, min(top + side, row + 1) - max(top, row))
            total += across * down * image[row, column]
    return total / side**2


def test_a_pixel_is_the_mean_of_its_square_of_the_image():
    canvas = retina.paint(PIXELS[:, :, :, :20], 5)
    index, width = torch.tensor([4, 2]), torch.tensor([7.3, 9.0])
    centre = torch.tensor([[0.31, -0.42], [-0.2, 0.77]])
    patch = retina.resample(canvas, index, centre, width, SIZE, 9)
    for row in range(2):
        x, y = ((centre[row] + 1) * torch.tensor([20, SIDE]) / 2 + 5 - width[row] / 2).tolist()
        step = width[row].item() / SIZE
        for i in range(SIZE):
            for j in range(SIZE):
                image = canvas.pixels[index[row], 1].numpy().astype(float)
                expected = integrate(image, x + j * step, y + i * step, step)
                assert patch[row, 1, i, j].item() == pytest.approx(expected, abs=2e-3)


def test_a_window_smaller_than_the_glimpse_is_enlarged_by_bilinear_interpolation():
    canvas, index = retina.paint(PIXELS, 2), torch.arange(7)
    centre, width = torch.rand(7, 2, generator=GENERATOR) - 0.5, torch.full((7,), 2.5)
    patch = retina.resample(canvas, index, centre, width, SIZE, 6)
    offsets = (torch.arange(SIZE) + 0.5) / SIZE * 2.5 - 1.25
    grid = torch.stack(torch.meshgrid(offsets, offsets, indexing="xy"), -1) * (2 / SIDE)
    sampled = functional.grid_sample(
        PIXELS.float(), grid + centre[:, None, None], padding_mode="border", align_corners=False
    )
    torch.testing.assert_close(patch, sampled, rtol=0, atol=5e-3)


def test_windows_that_would_leave_the_canvas_are_moved_inside():
    canvas = retina.paint(PIXELS, 0)
    corner = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    index, width = torch.tensor([0, 0]), torch.tensor([4.0, 8.0])
    patch = retina.resample(canvas, index, corner, width, 4, 24)
    torch.testing.assert_close(patch[0], PIXELS[0, :, -4:, -4:].float())
    torch.testing.assert_close(patch[1], functional.avg_pool2d(PIXELS[0, :, :8, :8].float(), 2))
    whole = retina.resample(canvas, index[:1], corner[:1] * 0, torch.tensor([24.0]), 4, 24)
    torch.testing.assert_close(whole[0], functional.avg_pool2d(PIXELS[0].float(), 6))


def test_scales_are_logarithms_and_locations_are_as_of_the_smallest_window():
    env = env_of()
    assert env.sensor.windows == (16,)
    assert env.sensor.reach == pytest.approx(1 - 4 / SIDE)
    factors = retina.zoom_factor(torch.tensor([-1.0, 0.0, 1.0]), ZOOM)
    assert factors.tolist() == pytest.approx([1 / 4, 1 / 2, 1])


# The environment


def test_spaces_have_a_scale_only_with_zoom():
    unit = spaces.Box(-1.0, 1.0, (1,), np.float32)
    for zoom in (ZOOM, None):
        env = env_of(zoom=zoom)
        for space in (env.single_action_space, env.single_observation_space):
            assert isinstance(space, spaces.Dict)
            assert space.spaces.get("scale") == (unit if zoom else None)
        assert set(env.reset(seed=0)[0]) - {"scale"} == {"glimpse", "location", "step"}


@pytest.mark.parametrize("first_view", ["image", "glimpse"])
def test_gymnasiums_checker_is_silent(first_view):
    check_env(GlimpseEnv(DATA, **SHOWN | {"first_view": first_view}), skip_render_check=True)


def test_glimpse_1_is_the_widest_unless_an_option_says_otherwise():
    env = env_of()
    assert env.reset(seed=0)[0]["scale"].tolist() == [[1.0]] * 3
    chosen = torch.tensor([[-1.0], [0.5], [2.0]])
    observation, _ = env.reset(options={"scales": chosen})
    assert observation["scale"].tolist() == [[-1.0], [0.5], [1.0]]
    observation, *_ = env.step(action(scale=torch.tensor([[0.0], [-3.0], [0.25]])))
    assert observation["scale"].tolist() == [[0.0], [-1.0], [0.25]]


def test_the_whole_image_has_the_largest_scale():
    env = env_of(first_view="image")
    assert env.reset(seed=0)[0]["scale"].tolist() == [[1.0]] * 3


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_single_environment_is_a_row_of_the_batch(mode):
    many = env_of(5, autoreset_mode=mode)
    indices = torch.tensor([3, 1, 6, 0, 2])
    locations, scales = torch.rand(5, 2) * 2 - 1, torch.rand(5, 1) * 2 - 1
    start = {"indices": indices, "locations": locations, "scales": scales}
    seen = [many.reset(seed=0, options=start)[0]]
    actions = [action(5, location=torch.rand(5, 2) * 2 - 1, scale=torch.rand(5, 1) * 2 - 1) for _ in range(3)]
    results = [many.step(one) for one in actions]
    seen += [result[0] for result in results]
    for row in range(5):
        one = GlimpseEnv(DATA, **SHOWN)
        options = {name: value[row : row + 1].numpy() for name, value in start.items()}
        shown = [one.reset(seed=0, options=options)[0]]
        for step, taken in enumerate(actions):
            values = {name: value[row].numpy() for name, value in taken.items()}
            observation, reward, _, _, info = one.step(values)
            shown.append(observation)
            assert reward == results[step][1][row].item()
            assert info["pixels"] == results[step][4]["pixels"][row].item()
        for ours, batch in zip(shown, seen, strict=True):
            for name, value in ours.items():
                np.testing.assert_allclose(value, batch[name][row].numpy(), rtol=0, atol=1e-6)


def test_info_counts_the_pixels_that_the_network_is_fed_whatever_the_scale():
    env = env_of(scales=(1.0, 2.0))
    assert env.reset(seed=0)[1]["pixels"].tolist() == [2 * SIZE**2] * 3
    info = env.step(action(scale=torch.tensor([[-1.0], [0.0], [1.0]])))[4]
    assert info["pixels"].tolist() == [4 * SIZE**2] * 3


def test_finished_rows_keep_their_scale_and_compact_shows_the_same():
    results = []
    for compact in (False, True):
        env = env_of(autoreset_mode=AutoresetMode.DISABLED, compact=compact)
        env.reset(seed=0)
        env.step(action(scale=torch.full((3, 1), 0.5), stop=torch.tensor([0, 1, 0])))
        results.append(env.step(action())[0])
    assert results[0]["scale"].tolist() == [[-1.0], [1.0], [-1.0]]
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name])


def test_a_state_is_continued_and_one_without_zoom_is_refused():
    env, other = env_of(), env_of()
    env.reset(seed=0)
    env.step(action(scale=torch.full((3, 1), 0.3)))
    other.load_state_dict(env.state_dict())
    ours, theirs = env.step(action())[0], other.step(action())[0]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    fixed = env_of(zoom=None)
    with pytest.raises(ValueError, match=r"location.*\(3, 2\), got \(3, 3\)"):
        fixed.load_state_dict(env.state_dict())


def test_step_and_reset_never_ask_the_device_for_a_value():
    """Tensors on `meta` have no values: `.item()`, `bool()`, `nonzero` and boolean indexing raise on them."""
    env = env_of(device="meta", scales=(1.0, 2.0))
    env.reset(seed=0)
    observed, *_ = env.step({name: value.to("meta") for name, value in action().items()})
    assert observed["glimpse"].shape == (3, 6, SIZE, SIZE)


def test_no_row_depends_on_others():
    """Rows at different scales in one batch show what batches of one scale show."""
    env = env_of(3)
    locations, scales = torch.rand(3, 2) * 2 - 1, torch.tensor([[-1.0], [0.1], [1.0]])
    start = {"indices": torch.tensor([1, 1, 1]), "locations": locations, "scales": scales}
    mixed = env.reset(seed=0, options=start)[0]["glimpse"]
    for row in range(3):
        same = start | {"scales": scales[row].expand(3, 1), "locations": locations[row].expand(3, 2)}
        torch.testing.assert_close(env.reset(options=same)[0]["glimpse"][row], mixed[row])


# Bad input


@pytest.mark.parametrize(
    ("zoom", "message"),
    [
        ((4, 1), r"zoom=\(4, 1\): expected two numbers .* the smaller one first"),
        ((2, 2), r"zoom=\(2, 2\): .*smaller one first"),
        ((0, 1), r"zoom=\(0, 1\)"),
        ((-2, 1), r"zoom=\(-2, 1\)"),
        ((NAN, 1), r"zoom=\(nan, 1\)"),
        ((1, float("inf")), "zoom=.*inf"),
        ((1, 7), r"zoom=\(1.0, 7.0\).*28 pixels are wider than the image of 24; expected at most 6"),
        ((1,), r"zoom=\(1,\)"),
        ((1, 2, 3), r"zoom=\(1, 2, 3\)"),
        ("14", "zoom='14'"),
        (2, "zoom=2"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_range_without_a_meaning_is_refused(zoom, message):
    with pytest.raises(ValueError, match=message):
        env_of(zoom=zoom)


def test_sensors_that_cannot_zoom_are_refused():
    with pytest.raises(ValueError, match=r"zoom=.*sensor='map' cannot show it; .*'pixel', 'crop', 'bank'"):
        env_of(sensor="map", backbone="resnet18", weights=None)
    fixed = PixelSensor(env_of().images, glimpse_size=SIZE, first_view="glimpse")
    with pytest.raises(ValueError, match=r"zoom=\(1.0, 4.0\): the given PixelSensor has zoom=None"):
        env_of(sensor=fixed)
    zoomed = PixelSensor(env_of().images, glimpse_size=SIZE, first_view="glimpse", zoom=ZOOM)
    with pytest.raises(ValueError, match=r"zoom=None: the given PixelSensor has zoom=\(1.0, 4.0\)"):
        env_of(sensor=zoomed, zoom=None)
    assert env_of(sensor=zoomed).reset(seed=0)[0]["scale"].tolist() == [[1.0]] * 3


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda values: values.pop("scale"), ValueError, "keys location, scale, stop, prediction, got"),
        (lambda values: values.update(scale=values["scale"] * NAN), ValueError, "scale.*nan"),
        (lambda values: values.update(scale=values["scale"][..., 0]), ValueError, "scale.*shape"),
        (lambda values: values.update(scale=values["stop"][:, None]), TypeError, "scale.*floating"),
    ],
)
@pytest.mark.parametrize("numpy", [False, True])
def test_an_action_without_a_proper_scale_is_refused_and_changes_nothing(spoil, kind, message, numpy):
    core = env_of()
    env: Any = core
    values: Any = action()
    if numpy:
        env, values = NumpyVectorEnv(3, DATA, **SHOWN), array_action((3,))
        core = env.core
    env.reset(seed=0)
    before = core.state_dict()["state"]
    spoil(values)
    with pytest.raises(kind, match=message):
        env.step(values)
    assert all(torch.equal(value, before[name]) for name, value in core.state_dict()["state"].items())


def test_scales_out_of_range_are_refused_by_the_numpy_interface_and_with_validate():
    env = GlimpseEnv(DATA, **SHOWN)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action\['scale'\]: expected values in \[-1, 1\], got 1.5"):
        env.step(array_action(scale=np.array([1.5])))
    core = env_of(validate=True)
    core.reset(seed=0)
    with pytest.raises(ValueError, match=r"action\['scale'\].*got 2"):
        core.step(action(scale=torch.full((3, 1), 2.0)))


def test_a_scale_without_zoom_is_refused():
    env = env_of(zoom=None)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="keys location, stop, prediction, got location, scale"):
        env.step(action())
    with pytest.raises(ValueError, match=r"options\['scales'\].*fixed.*zoom="):
        env.reset(options={"scales": torch.ones(3, 1)})
    with pytest.raises(ValueError, match=r"options\['scales'\].*nan"):
        env_of().reset(options={"scales": torch.full((3, 1), NAN)})
    with pytest.raises(ValueError, match=r"options\['scales'\].*\(3, 1\), got \(3,\)"):
        env_of().reset(options={"scales": torch.ones(3)})


# Rewards


def test_a_reward_may_price_the_area_of_windows():
    env = env_of(reward=rewards.PricedArea(rewards.Confidence(), 0.01))
    env.reset(seed=0, options={"scales": torch.tensor([[-1.0], [0.0], [1.0]])})
    reward = env.step(action())[1]  # of glimpse 1
    assert reward.tolist() == pytest.approx([1 / 3 - 0.01, 1 / 3 - 0.04, 1 / 3 - 0.16])
    fixed = env_of(zoom=None, reward=rewards.PricedArea(rewards.Greedy(), 0.01))
    fixed.reset(seed=0)
    with pytest.raises(ValueError, match=r"PricedArea.*zoom="):
        fixed.step({name: value for name, value in action().items() if name != "scale"})


# Grids


def test_a_grid_has_a_level_for_each_factor_of_two():
    assert [count_levels(zoom) for zoom in (None, (1, 1.5), (1, 2), (1, 4), (0.5, 3))] == [0, 2, 2, 3, 4]
    cells = lattice(2, torch.device("cpu"), 3)
    assert cells[:, 2].tolist() == [-1.0] * 4 + [0.0] * 4 + [1.0] * 4
    assert torch.equal(cells[4:8, :2], lattice(2, torch.device("cpu")))
    noisy = cells + (torch.rand(12, 3, generator=GENERATOR) - 0.5) * 0.8
    assert nearest(noisy, 2, 3).tolist() == list(range(12))


@pytest.mark.parametrize("first_view", ["image", "glimpse"])
def test_a_bank_shows_the_crop_sensors_glimpse_at_the_nearest_cell_and_scale(first_view):
    network = {"backbone": "resnet18", "weights": None, "view_size": 32, "glimpse_size": 32}
    big = [(functional.interpolate(image[None].float(), 96)[0].byte(), label) for image, label in DATA]
    shown = SHOWN | network | {"first_view": first_view, "grid": 2, "zoom": (1.0, 3.0), "scales": (0.5, 1.0)}
    bank, crop = (GlimpseVectorEnv(3, big, sensor=name, **shown) for name in ("bank", "crop"))
    indices = torch.tensor([0, 5, 2])
    for env in (bank, crop):
        env.reset(seed=0, options={"indices": indices})
    asked = action(location=torch.tensor([[0.7, -0.2], [-1, 1], [0.1, 0.1]]))
    seen = bank.step(asked | {"scale": torch.tensor([[-0.4], [0.4], [0.9]])})[0]
    assert seen["location"].tolist() == [[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]
    assert seen["scale"].tolist() == [[0.0], [0.0], [1.0]]
    expected = crop.step(asked | {name: seen[name] for name in ("location", "scale")})[0]
    torch.testing.assert_close(seen["glimpse"], expected["glimpse"], rtol=5e-3, atol=5e-3)


def test_a_bank_with_zoom_has_more_views_than_cells():
    with pytest.raises(ValueError, match="grid=1 has 3 views"):
        env_of(sensor="bank", grid=1, max_glimpses=4, backbone="resnet18", weights=None)


def test_mirrored_images_are_seen_mirrored_at_every_scale():
    network = Backbone("resnet18", None, precision="float32")
    shown = SHOWN | {"sensor": "crop", "backbone": network, "glimpse_size": 6}
    env = env_of(**shown)
    env.sensor.mirror(torch.ones(7, dtype=torch.bool))
    flipped = GlimpseVectorEnv(3, [(image.flip(2), label) for image, label in DATA], **shown)
    start = {
        "indices": torch.tensor([2, 4, 6]),
        "locations": torch.rand(3, 2),
        "scales": torch.rand(3, 1) - 1,
    }
    ours, theirs = (one.reset(seed=0, options=start)[0]["glimpse"] for one in (env, flipped))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


# Interfaces on the same core


@pytest.mark.parametrize("form", ["box", "multidiscrete"])
def test_flat_actions_choose_the_scale(form):
    grid: dict[str, Any] = {"grid": 3} if form == "multidiscrete" else {}
    env = FlatAction(env_of(), form, **grid)
    env.reset(seed=0)
    if form == "box":
        assert env.single_action_space == spaces.Box(-1.0, 1.0, (4 + 3,), np.float32)
        flat = torch.tensor([[0.5, -0.5, 0.25, -1.0, 1.0, -1.0, -1.0]]).expand(3, -1)
        expected = ([0.5, -0.5], [0.25])
    else:
        assert env.single_action_space == spaces.MultiDiscrete([3 * 9, 2, 3])
        flat, expected = torch.tensor([[9 + 5, 0, 0]]).expand(3, -1), ([1.0, 0.0], [0.0])
    observation, *_ = env.step(flat)
    assert (observation["location"][1].tolist(), observation["scale"][1].tolist()) == expected
    single = FlatSingleAction(GlimpseEnv(DATA, **SHOWN), form, **grid)
    single.reset(seed=0)
    taken = single.step(flat[0].numpy())[0]
    assert (taken["location"].tolist(), taken["scale"].tolist()) == expected


def test_a_learned_classifier_takes_x_y_scale_stop():
    core = env_of(4, autoreset_mode=AutoresetMode.SAME_STEP)
    env = LearnedClassifier(core, Teaching(hidden=8, features=8, batch=4, updates=1))
    assert env.single_action_space == spaces.Box(-1.0, 1.0, (4,), np.float32)
    env.reset(seed=0)
    before = env.network.glimpse.place.weight.detach().clone()
    observation, *_ = env.step(torch.tensor([[0.5, 0.0, -0.5, -1.0]]).expand(4, -1))
    assert observation["scale"].tolist() == [[-0.5]] * 4
    _, _, terminated, _, info = env.step(torch.tensor([[0.5, 0.0, -0.5, 1.0]]).expand(4, -1))
    assert terminated.all()
    assert info["final_info"]["glimpses"].tolist() == [2] * 4
    assert env.updates == 1
    assert not torch.equal(before, env.network.glimpse.place.weight)
    with pytest.raises(ValueError, match=r"action: expected shape \(4, 4\), got \(4, 3\)"):
        env.step(torch.zeros(4, 3))


# Pictures


def test_boxes_are_those_of_the_windows_that_were_taken(monkeypatch):
    drawn = []
    monkeypatch.setattr(frames, "draw_box", lambda pen, corners, *_: drawn.append(corners))
    env = GlimpseEnv(DATA, render_mode="rgb_array", **SHOWN)
    env.reset(seed=0)
    env.step(array_action(scale=np.array([-1.0])))
    env.step(array_action(scale=np.array([0.0])))
    assert env.render() is not None
    sides = [(right - left) / (SIDE * 13) for left, _, right, _ in drawn]  # 24 pixels, 13 times enlarged
    assert sides == pytest.approx([16 / SIDE, 4 / SIDE, 8 / SIDE])


def test_a_composite_shows_each_window_at_its_own_resolution():
    path, narrow = np.zeros((2, 2)), np.array([1.0, 0.25])
    episode = frames.Episode(PIXELS[0], path, (16,), False, None, ("a",), None, factors=narrow)
    composite = composites.draw_composite(episode, SIZE)
    assert torch.equal(composite[:, 10:14, 10:14], PIXELS[0, :, 10:14, 10:14])
    assert not torch.equal(composite[:, 4:20, 4:20], PIXELS[0, :, 4:20, 4:20])


def test_gymnasiums_functions_take_the_argument():
    single = gymnasium.make("GlimpseEnv-v0", dataset="mnist", zoom=(0.5, 2))
    assert "scale" in single.observation_space.spaces  # pyright: ignore[reportAttributeAccessIssue]
    many = gymnasium.make_vec("GlimpseEnv-v0", num_envs=2, dataset="mnist", zoom=(0.5, 2))
    many.reset(seed=0)
    many.action_space.seed(0)
    observation = many.step(many.action_space.sample())[0]
    assert observation["scale"].shape == (2, 1)
