"""Where fixations land, on hand-made trajectories."""

import pytest
import torch

from glimpse_env.evaluation.fixations import draw_uniform, measure_in_box, measure_on_patch

ALL = torch.ones(2, 2, dtype=torch.bool)


def test_landing_on_the_patch_by_hand():
    places = torch.tensor([[0.5, 0.5], [-0.5, 0.0]])
    chosen = torch.tensor([[[0.4, 0.6], [0.0, 0.0]], [[0.5, 0.9], [0.0, 0.0]]])  # step, image, (x, y)
    found = measure_on_patch(chosen, ALL, places, reach=1.0, half=0.25)
    assert (found["fixation"], found["any"], found["last"]) == (0.25, 0.5, 0.0)


def test_chance_is_the_share_of_places_from_which_the_patch_is_seen():
    places = torch.zeros(4000, 2)
    found = measure_on_patch(
        torch.zeros(3, 4000, 2), torch.ones(3, 4000, dtype=torch.bool), places, reach=0.8, half=0.2
    )
    assert found["fixation"] == found["any"] == 1
    assert found["fixation_chance"] == pytest.approx((0.2 / 0.8) ** 2, rel=0.1)
    assert found["any_chance"] == pytest.approx(1 - (1 - 1 / 16) ** 3, rel=0.1)


def test_share_inside_the_box_by_hand():
    boxes = torch.tensor([[0.1, -1.0, 1.0, 1.0], [-1.0, -1.0, 0.0, 0.0]])
    chosen = torch.tensor([[[0.5, 0.0], [0.5, 0.5]], [[0.0, 0.0], [-0.5, -0.5]]])
    found = measure_in_box(chosen, ALL, boxes, reach=1.0)
    assert found["fixation"] == 0.5
    assert found["center"] == 0.5  # of the second box only, whose corner is the centre


def test_uniform_fixations_stay_within_reach_and_do_not_change():
    like = torch.zeros(2, 500, 2)
    assert draw_uniform(like, 0.5).abs().max() <= 0.5
    assert torch.equal(draw_uniform(like, 0.5), draw_uniform(like, 0.5))


def test_fixations_after_the_answer_do_not_count():
    places = torch.tensor([[0.5, 0.5], [-0.5, 0.0]])
    chosen = torch.tensor([[[0.5, 0.5], [0.9, 0.9]], [[0.9, 0.9], [-0.5, 0.0]]])
    found = measure_on_patch(
        chosen, torch.tensor([[True, True], [False, True]]), places, reach=1.0, half=0.25
    )
    assert found["fixation"] == pytest.approx(2 / 3)
    assert found["last"] == 1  # the first image's first fixation was its last
    boxes = torch.tensor([[0.4, 0.4, 0.6, 0.6], [0.8, 0.8, 1.0, 1.0]])
    assert (
        measure_in_box(chosen, torch.tensor([[True, True], [False, False]]), boxes, reach=1.0)["fixation"]
        == 1
    )
