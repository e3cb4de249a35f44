"""The retina: a crop is slicing at whole pixels, linear between them, and torch's grid_sample everywhere."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from glimpse_env import retina

PADDING = {"zero": "constant", "reflect": "reflect"}
fast = settings(max_examples=40, deadline=None)


def pictures(count: int = 3, channels: int = 2, height: int = 7, width: int = 9, seed: int = 0) -> Tensor:
    """Random images, uint8."""
    return torch.randint(
        0,
        256,
        (count, channels, height, width),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(seed),
    )


def centre_of(start: tuple[float, float], size: int, image: Tensor) -> Tensor:
    """The location (x, y) in [-1, 1] of the window whose top-left pixel is `start` = (x, y) of the image."""
    height, width = image.shape[-2:]
    return torch.tensor([[2 * (start[0] + size / 2) / width - 1, 2 * (start[1] + size / 2) / height - 1]])


def sliced(image: Tensor, start: tuple[int, int], size: int, margin: int, fill: str) -> np.ndarray:
    """The naive crop: numpy's padding, and a slice."""
    padded = np.pad(image.numpy(), ((0, 0), (margin, margin), (margin, margin)), PADDING[fill])
    x, y = start[0] + margin, start[1] + margin
    return padded[:, y : y + size, x : x + size]


def sampled(images: Tensor, centre: Tensor, size: int) -> Tensor:
    """The same crop by torch's grid_sample, with zeros off the image."""
    height, width = images.shape[-2:]
    offset = torch.arange(size) * 2 + 1 - size
    x = (centre[:, 0, None] + offset / width)[:, None, :].expand(-1, size, -1)
    y = (centre[:, 1, None] + offset / height)[:, :, None].expand(-1, -1, size)
    return functional.grid_sample(
        images.float(), torch.stack([x, y], -1), mode="bilinear", padding_mode="zeros", align_corners=False
    )


sides = st.integers(5, 12)


@fast
@given(
    st.sampled_from(["zero", "reflect"]),
    st.integers(1, 3),
    sides,
    sides,
    st.integers(1, 5),
    st.integers(1, 4),
    st.data(),
    st.integers(0, 99),
)
def test_crop_at_whole_pixels_is_slicing(fill, channels, height, width, size, margin, data, seed):
    images = pictures(2, channels, height, width, seed)
    start = tuple(data.draw(st.integers(-margin, side + margin - size - 1)) for side in (width, height))
    patch = retina.crop(
        retina.paint(images, margin, fill), torch.tensor([1]), centre_of(start, size, images), size
    )
    np.testing.assert_allclose(patch[0].numpy(), sliced(images[1], start, size, margin, fill), atol=0.01)


@fast
@given(st.integers(0, 99), sides, sides, st.integers(1, 6), st.floats(0, 1))
def test_crop_is_grid_sample_at_any_place_within_reach(seed, height, width, size, reach):
    images = pictures(8, 2, height, width, seed)
    centre = (torch.rand(8, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * reach
    centre[0], centre[1] = reach, -reach  # the ends: the margin must reach that far
    canvas = retina.paint(images, retina.margin_for(min(height, width), size, reach))
    torch.testing.assert_close(
        retina.crop(canvas, torch.arange(8), centre, size), sampled(images, centre, size), atol=0.01, rtol=0
    )


@fast
@given(st.floats(0, 1), st.floats(0, 1))
def test_crop_is_linear_between_pixels(right, down):
    images, size = pictures(), 3
    canvas = retina.paint(images, 2)

    def at(x: float, y: float) -> Tensor:
        return retina.crop(canvas, torch.tensor([2]), centre_of((x, y), size, images), size)

    top = (1 - right) * at(1, 2) + right * at(2, 2)
    bottom = (1 - right) * at(1, 3) + right * at(2, 3)
    torch.testing.assert_close(at(1 + right, 2 + down), (1 - down) * top + down * bottom, atol=0.01, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(7, 9), (8, 8)])
def test_a_row_does_not_depend_on_the_others(height, width):
    images = pictures(5, 3, height, width)
    canvas = retina.paint(images, 4, "reflect")
    index, centre = torch.tensor([4, 0, 4, 2]), torch.rand(4, 2) * 2 - 1
    together = retina.glimpse(canvas, index, centre, 3, (3, 6))
    for row in range(4):
        assert torch.equal(
            retina.glimpse(canvas, index[row : row + 1], centre[row : row + 1], 3, (3, 6))[0], together[row]
        )


def test_places_beyond_the_canvas_are_moved_to_its_edge():
    images = pictures()
    canvas = retina.paint(images, 2)
    far = retina.crop(canvas, torch.tensor([0, 0]), torch.tensor([[-9.0, -9.0], [9.0, 9.0]]), 4)
    np.testing.assert_allclose(far[0].numpy(), sliced(images[0], (-2, -2), 4, 2, "zero"))
    np.testing.assert_allclose(far[1].numpy(), sliced(images[0], (9 + 2 - 4, 7 + 2 - 4), 4, 2, "zero"))


@pytest.mark.parametrize(("height", "width"), [(7, 9), (8, 8)])
@pytest.mark.parametrize("size", [1, 4, 7])
def test_without_a_margin_every_corner_of_the_image_can_be_seen_whole(height, width, size):
    images = pictures(2, 3, height, width)
    canvas = retina.Canvas(images, 0)
    for y in (0, height - size):
        for x in (0, width - size):
            patch = retina.crop(canvas, torch.tensor([1]), centre_of((x, y), size, images), size)
            torch.testing.assert_close(
                patch[0], images[1, :, y : y + size, x : x + size].float(), atol=1e-3, rtol=0
            )


def test_glimpses_that_stay_inside_need_no_margin():
    for side in (28, 96, 512):
        for window in range(1, side + 1, 3):
            assert retina.margin_for(side, window, 1 - window / side) == 0
    assert retina.margin_for(28, 8, 1.0) == 4


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_scales_are_block_means_of_wider_windows_about_one_centre(channels, fill):
    images, size, margin = pictures(2, channels, 16, 16), 4, 13
    centre = centre_of((-1, 11), size, images)
    view = retina.glimpse(retina.paint(images, margin, fill), torch.tensor([1]), centre, size, (4, 8, 12))
    assert view.shape == (1, 3 * channels, size, size)
    for scale, window in enumerate((4, 8, 12)):
        shift = (window - size) // 2
        wide = sliced(images[1], (-1 - shift, 11 - shift), window, margin, fill)
        block = window // size
        mean = wide.reshape(channels, size, block, size, block).mean((2, 4)) / 255
        np.testing.assert_allclose(
            view[0, scale * channels : (scale + 1) * channels].numpy(), mean, atol=1e-4
        )


def test_a_scale_that_is_no_multiple_keeps_the_mean_of_an_even_window():
    images = torch.full((1, 1, 16, 16), 204, dtype=torch.uint8)
    view = retina.glimpse(retina.paint(images, 1), torch.tensor([0]), torch.zeros(1, 2), 4, (6,))
    torch.testing.assert_close(view, torch.full((1, 1, 4, 4), 0.8))


def test_noise_lies_only_off_the_image_and_is_always_the_same():
    images, margin = pictures(4, 1, 20, 20), 6
    first, second = retina.paint(images, margin, "noise"), retina.paint(images, margin, "noise")
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.pixels[:, :, margin:-margin, margin:-margin], images)
    outside = first.pixels[:, :, :margin].float()
    assert abs(outside.mean() - 127.5) < 10  # 768 uniform values: standard error 2.7
    assert abs(outside.std() - 73.9) < 6
    assert not torch.equal(outside[0], outside[1])


def test_noise_depends_on_the_image_and_the_place_beside_it_alone():
    images = pictures(4, 3, 20, 20)
    wide, narrow = retina.paint(images, 9, "noise").pixels, retina.paint(images, 4, "noise").pixels
    assert torch.equal(wide[:, :, 5:-5, 5:-5], narrow)
    assert torch.equal(retina.paint(images[[2, 0]], 9, "noise").pixels, wide[[2, 0]])


@pytest.mark.parametrize("fill", ["zero", "reflect", "noise"])
def test_canvas_knows_its_images_size(fill):
    canvas = retina.paint(pictures(), 3, fill)
    assert (canvas.image_height, canvas.image_width) == (7, 9)


@pytest.mark.parametrize(("height", "width", "size"), [(8, 8, 4), (8, 16, 4), (6, 9, 3)])
def test_whole_is_the_block_mean_of_the_image(height, width, size):
    images = pictures(3, 2, height, width)
    view = retina.whole(retina.paint(images, 5, "noise"), torch.tensor([2, 0]), size)
    expected = (
        images[[2, 0]].numpy().reshape(2, 2, size, height // size, size, width // size).mean((3, 5)) / 255
    )
    np.testing.assert_allclose(view.numpy(), expected, atol=1e-5)


def test_unknown_fill_is_refused(monkeypatch):
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # as for users, who run without the tests' type checks
    with pytest.raises(ValueError, match=r"fill='mirror': expected one of zero, reflect, noise"):
        retina.paint(pictures(), 1, "mirror")  # pyright: ignore[reportArgumentType]


def test_a_mirror_wider_than_the_image_is_refused():
    retina.paint(pictures(), 6, "reflect")
    with pytest.raises(ValueError, match=r"at most 6 pixels of a \(7, 9\) image.*reach 7 pixels"):
        retina.paint(pictures(), 7, "reflect")


def test_to_pixels_counts_from_the_outer_corner():
    result = retina.to_pixels(torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, -0.5]]), 8, 20)
    assert result.tolist() == [[0, 0], [20, 8], [10, 2]]
