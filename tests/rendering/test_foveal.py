"""Foveal composites: which pixel shows what."""

import numpy as np
import pytest
import torch

from glimpse_env.rendering import composites, frames

SIDE = 32


def episode(path, windows, image=None, whole_first=False, label=0):
    if image is None:
        image = torch.randint(
            0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)
        )
    return frames.Episode(
        image, np.array(path, float), windows, whole_first, np.array([1.0, 0.0]), ("a", "b"), label
    )


def test_a_pixel_is_as_sharp_as_the_sharpest_glimpse_that_saw_it():
    """Windows of 8 and 16 pixels at size 8: sharp in the small boxes, block means around them, else noise."""
    view = episode([[-0.5, -0.5], [0.5, 0.5]], (8, 16))
    shown = composites.draw_composite(view, 8)
    image, coarse = view.image, composites.reduce_detail(view.image, 16, 8)
    for centre in (8, 24):
        small, wide = slice(centre - 4, centre + 4), slice(centre - 8, centre + 8)
        assert torch.equal(shown[:, small, small], image[:, small, small])
        ring = torch.ones(16, 16, dtype=torch.bool)
        ring[4:12, 4:12] = False
        assert torch.equal(shown[:, wide, wide][:, ring], coarse[:, wide, wide][:, ring])
    unseen = composites.draw_composite(episode([[-1.0, -1.0]], (1,)), 1)  # the same noise, but for one corner
    assert torch.equal(shown[:, 16:, :16], unseen[:, 16:, :16])
    assert not torch.equal(coarse, image)


def test_the_order_of_glimpses_and_scales_does_not_matter():
    path = [[0.1, 0.2], [0.3, 0.1], [-0.6, 0.9]]
    assert torch.equal(
        composites.draw_composite(episode(path, (8, 32), None), 8),
        composites.draw_composite(episode(path[::-1], (32, 8)), 8),
    )


def test_a_glimpse_at_the_edge_shows_what_lies_on_the_image():
    view = episode([[1.0, 1.0]], (16,))
    shown = composites.draw_composite(view, 16)
    assert torch.equal(shown[:, 24:, 24:], view.image[:, 24:, 24:])
    assert not torch.equal(shown[:, :24], view.image[:, :24])


def test_resolution_is_what_shrinking_leaves():
    halves = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    halves[:, :, ::2] = 200  # stripes of one pixel vanish in windows of twice the size
    assert (composites.reduce_detail(halves, 64, 32).float() - 100).abs()[:, :, 2:-2].max() <= 30
    assert torch.equal(composites.reduce_detail(halves, 32, 32), halves)


def test_a_whole_first_view_has_no_composite():
    with pytest.raises(ValueError, match="whole_first=True"):
        composites.draw_composite(episode([[0.0, 0.0]], (8,), whole_first=True), 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_frames_correct_predictions_green_and_incorrect_ones_red(channels):
    image = torch.full((channels, SIDE, SIDE), 255, dtype=torch.uint8)
    right, wrong = (episode([[0.0, 0.0], [0.5, 0.5]], (8, 16), image, label=label) for label in (0, 1))
    sheet = composites.draw_sheet(
        [(True, right), (False, wrong), (True, right), (True, right), (False, wrong)], 8
    )
    pair = 2 * composites.TILE + 4 * composites.FRAME + composites.GAP
    top = composites.GAP + composites.LINE
    corners = [sheet[top, composites.GAP + column * pair].tolist() for column in range(4)]
    assert corners == [
        list(colour)
        for colour in (composites.CORRECT, composites.INCORRECT, composites.CORRECT, composites.CORRECT)
    ]
    below = top + composites.TILE + 2 * composites.FRAME + composites.LINE + composites.GAP
    assert sheet[below, composites.GAP].tolist() == list(composites.INCORRECT)
    colours = {tuple(colour) for colour in np.array(composites.draw_centres(right)).reshape(-1, 3).tolist()}
    assert set(frames.ramp(2)) <= colours  # a dot for each glimpse
