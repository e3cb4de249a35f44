"""Where fixations land, on hand-made trajectories."""

import pytest
import torch

from glimpse_env.evaluation.fixations import draw_uniform, measure_in_box, measure_on_patch

ALL = torch.ones(2, 2, dtype=torch.bool)


def test_landing_on_the_patch_by_hand():
    centres = torch.tensor([[0.5, 0.5], [-0.5, 0.0]])
    chosen = torch.tensor([[[0.4, 0.6], [0.0, 0.0]], [[0.5, 0.9], [0.0, 0.0]]])  # step, image, (x, y)
    measures = measure_on_patch(chosen, ALL, centres, reach=1.0, half=0.25)
    assert (measures["fixation"], measures["any"], measures["last"]) == (0.25, 0.5, 0.0)


def test_chance_is_the_share_of_locations_whose_glimpse_holds_the_patch():
    centres = torch.zeros(4000, 2)
    chosen, taken = torch.zeros(3, 4000, 2), torch.ones(3, 4000, dtype=torch.bool)
    measures = measure_on_patch(chosen, taken, centres, reach=0.8, half=0.2)
    assert measures["fixation"] == measures["any"] == 1
    assert measures["fixation_chance"] == pytest.approx((0.2 / 0.8) ** 2, rel=0.1)
    assert measures["any_chance"] == pytest.approx(1 - (1 - 1 / 16) ** 3, rel=0.1)


def test_share_inside_the_box_by_hand():
    boxes = torch.tensor([[0.1, -1.0, 1.0, 1.0], [-1.0, -1.0, 0.0, 0.0]])
    chosen = torch.tensor([[[0.5, 0.0], [0.5, 0.5]], [[0.0, 0.0], [-0.5, -0.5]]])
    measures = measure_in_box(chosen, ALL, boxes, reach=1.0)
    assert measures["fixation"] == 0.5
    assert measures["center"] == 0.5  # of the second box only, whose corner is the centre


def test_uniform_fixations_stay_within_reach_and_do_not_change():
    like = torch.zeros(2, 500, 2)
    assert draw_uniform(like, 0.5).abs().max() <= 0.5
    assert torch.equal(draw_uniform(like, 0.5), draw_uniform(like, 0.5))


def test_fixations_after_the_stop_do_not_count():
    centres = torch.tensor([[0.5, 0.5], [-0.5, 0.0]])
    chosen = torch.tensor([[[0.5, 0.5], [0.9, 0.9]], [[0.9, 0.9], [-0.5, 0.0]]])
    taken = torch.tensor([[True, True], [False, True]])
    measures = measure_on_patch(chosen, taken, centres, reach=1.0, half=0.25)
    assert measures["fixation"] == pytest.approx(2 / 3)
    assert measures["last"] == 1  # the first image's first fixation was its last
    boxes = torch.tensor([[0.4, 0.4, 0.6, 0.6], [0.8, 0.8, 1.0, 1.0]])
    first = torch.tensor([[True, True], [False, False]])
    assert measure_in_box(chosen, first, boxes, reach=1.0)["fixation"] == 1
