"""Where fixations land and how they are spread, on hand-made trajectories."""

from dataclasses import replace

import pytest
import torch

from glimpse_env.evaluation import fixations, fixed_paths
from glimpse_env.evaluation.fixations import Chosen, measure_in_box, measure_on_patch, measure_spread
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.sensors import lattice


def chosen_at(points, taken=None, **options):
    """Return fixations at points, (step, image, (x, y)), all of them taken by default."""
    points = torch.as_tensor(points)
    taken = torch.ones(points.shape[:2], dtype=torch.bool) if taken is None else torch.tensor(taken)
    return Chosen(points, taken, **options)


def looks_at(locations):
    """Return trajectories with these locations, and predictions that do not matter."""
    steps, images, _ = locations.shape
    none, zeros = torch.zeros(steps, images, dtype=torch.int64), torch.zeros(steps, images)
    return Trajectories(torch.arange(images), none[0], none, zeros, zeros, locations)


def test_landing_on_the_patch_by_hand():
    centres = torch.tensor([[0.5, 0.5], [-0.5, 0.0]])
    chosen = chosen_at([[[0.4, 0.6], [0.0, 0.0]], [[0.5, 0.9], [0.0, 0.0]]])
    measures = measure_on_patch(chosen, centres, half=0.25)
    assert (measures["fixation"], measures["any"], measures["last"]) == (0.25, 0.5, 0.0)


def test_landing_is_measured_in_half_images_whatever_the_reach():
    chosen = chosen_at([[[1.0, -1.0]]], reach=0.5)
    assert measure_on_patch(chosen, torch.tensor([[0.5, -0.5]]), half=0.01)["fixation"] == 1
    assert measure_on_patch(chosen, torch.tensor([[1.0, -1.0]]), half=0.4)["fixation"] == 0


def test_chance_is_the_share_of_locations_whose_glimpse_holds_the_patch():
    measures = measure_on_patch(chosen_at(torch.zeros(3, 4000, 2), reach=0.8), torch.zeros(4000, 2), half=0.2)
    assert measures["fixation"] == measures["any"] == 1
    assert measures["fixation_chance"] == pytest.approx((0.2 / 0.8) ** 2, rel=0.1)
    assert measures["any_chance"] == pytest.approx(1 - (1 - 1 / 16) ** 3, rel=0.1)


def test_share_inside_the_box_by_hand():
    boxes = torch.tensor([[0.1, -1.0, 1.0, 1.0], [-1.0, -1.0, 0.0, 0.0]])
    measures = measure_in_box(chosen_at([[[0.5, 0.0], [0.5, 0.5]], [[0.0, 0.0], [-0.5, -0.5]]]), boxes)
    assert measures["fixation"] == 0.5
    assert measures["center"] == 0.5  # of the second box only, whose corner is the centre
    assert (measures["any"], measures["last"]) == (1.0, 0.5)
    assert measures["found_by"] == [0.5, 1.0]


def test_uniform_fixations_stay_in_range_and_do_not_change():
    chosen = chosen_at(torch.zeros(2, 500, 2))
    assert chosen.draw_uniform().abs().max() <= 1
    assert torch.equal(chosen.draw_uniform(), chosen.draw_uniform())
    assert torch.equal(chosen.draw_possible(), chosen.draw_uniform())


def test_fixations_after_the_stop_do_not_count():
    centres = torch.tensor([[0.5, 0.5], [-0.5, 0.0]])
    points = [[[0.5, 0.5], [0.9, 0.9]], [[0.9, 0.9], [-0.5, 0.0]]]
    measures = measure_on_patch(chosen_at(points, [[True, True], [False, True]]), centres, half=0.25)
    assert measures["fixation"] == pytest.approx(2 / 3)
    assert measures["last"] == 1  # the first image's first fixation was its last
    boxes = torch.tensor([[0.4, 0.4, 0.6, 0.6], [0.8, 0.8, 1.0, 1.0]])
    first = chosen_at(points, [[True, True], [False, False]])
    assert measure_in_box(first, boxes)["fixation"] == 1


def test_the_first_hit_and_the_images_found_by_each_glimpse():
    """Of four images glimpse 2 finds the first, glimpse 4 the second (after its own stop) and the third."""
    target, away = [0.5, 0.5], [-0.5, -0.5]
    points = [[target, away, away, away], [target, away, away, away], [away, target, target, away]]
    taken = [[True] * 4, [True, True, True, True], [True, False, True, True]]
    measures = measure_on_patch(chosen_at(points, taken, first=2), torch.full((4, 2), 0.5), half=0.1)
    assert measures["found_by"] == [0.0, 0.25, 0.25, 0.5]
    assert (measures["any"], measures["first_hit"]) == (0.5, 3.0)
    assert measures["fixation"] == pytest.approx(3 / 11)
    nothing = measure_on_patch(chosen_at(points, taken, first=2), torch.full((4, 2), 9.0), half=0.1)
    assert nothing["first_hit"] is nothing["first_hit_chance"] is nothing["first_hit_path"] is None


def test_differences_are_those_of_the_shares_of_images():
    chosen = chosen_at(torch.zeros(2, 300, 2))
    measures = measure_on_patch(chosen, torch.rand(300, 2, generator=torch.Generator().manual_seed(0)), 0.3)
    for name in ("chance", "path"):
        mean, low, high = measures[f"any_minus_{name}"]
        assert mean == pytest.approx(measures["any"] - measures[f"any_{name}"], abs=1e-6)
        assert low <= mean <= high


def test_the_covering_path_finds_what_is_missing_with_every_step():
    hits = torch.tensor(
        [
            [False, False, False, False, False],
            [True, True, True, False, False],
            [False, True, True, True, False],  # as many, but the first of equal ones is taken
            [False, False, True, True, False],
            [False, False, False, True, False],
        ]
    )
    assert fixed_paths.choose_cover(hits, torch.ones(3, 5, dtype=torch.bool)).tolist() == [1, 2, 1]
    once = torch.tensor([[True] * 5, [False, False, False, False, True]])
    assert fixed_paths.choose_cover(hits, once).tolist() == [1, 0]


def test_fixed_paths_are_fitted_on_the_other_half():
    """A target per half: the path of the other half never finds it; the same target for both: always."""
    images = 40
    first, second = fixed_paths.split_halves(images)
    assert torch.equal(first, ~second)
    assert first.sum() == 20
    points = torch.zeros(2, images, 2)
    points[:, first], points[:, second] = torch.tensor([0.5, 0.0]), torch.tensor([-0.5, 0.0])
    chosen = chosen_at(points)
    measures = measure_on_patch(chosen, points[0], half=0.1)
    assert (measures["any"], measures["any_path"]) == (1.0, 0.0)
    assert measures["any_minus_path"] == [1.0, 1.0, 1.0]
    mean = fixed_paths.fit_mean_paths(points, chosen.taken)
    assert torch.equal(mean, -points)
    measures = measure_on_patch(chosen, torch.full((images, 2), 0.5), half=0.1)
    assert (measures["any_path"], measures["first_hit_path"]) == (1.0, 1.0)


def test_one_image_has_no_other_to_fit_a_path_on():
    chosen = chosen_at([[[0.5, 0.0]]])
    assert measure_on_patch(chosen, torch.zeros(1, 2), half=0.1)["any_path"] == 0
    assert measure_spread(chosen, 5)["path_distance"] == 0.5  # from the centre


def test_the_covering_path_beats_random_places_where_targets_are_uniform():
    targets = torch.rand(2000, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    measures = measure_on_patch(chosen_at(torch.zeros(4, 2000, 2)), targets, half=0.25)
    assert measures["any_path"] == pytest.approx(4 / 16, abs=0.03)  # four windows that do not overlap
    assert measures["any_chance"] < measures["any_path"]
    assert measures["found_by_path"][0] == pytest.approx(1 / 16, abs=0.02)


def test_spread_by_hand():
    """Two images: one moves between corners and the middle, the other stays; a third chose nothing."""
    points = [[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], [[0.05, 0.0], [0.0, 0.05], [0.0, 0.0]]]
    points.append([[-1.0, 0.99], [0.0, 0.0], [0.0, 0.0]])
    taken = [[True, True, False], [True, True, False], [True, False, False]]
    measures = measure_spread(chosen_at(points, taken, first=2), grid=5)
    assert (measures["first_glimpse"], measures["grid"]) == (2, 5)
    assert measures["per_image"] == pytest.approx(5 / 3)
    assert measures["cells"] == 2  # three cells and one
    assert measures["border"] == pytest.approx(2 / 5)
    assert measures["cells_minus_chance"][0] == pytest.approx(2 - measures["cells_chance"])


def test_the_distance_from_the_mean_path():
    same = torch.rand(3, 1, 2, generator=torch.Generator().manual_seed(0)).expand(3, 50, 2)
    assert measure_spread(chosen_at(same), 5)["path_distance"] == pytest.approx(0, abs=1e-6)
    sides = torch.zeros(2, 4000, 2)
    sides[:, ::2, 0], sides[:, 1::2, 0] = 0.5, -0.5
    measures = measure_spread(chosen_at(sides, reach=0.8), 5)
    assert measures["path_distance"] == pytest.approx(0.4, abs=0.02)
    # Of a square of side 2, uniform points are 0.765 from its centre on average.
    assert measures["path_distance_chance"] == pytest.approx(0.8 * 0.765, rel=0.02)
    assert measures["border_chance"] == pytest.approx(1 - fixations.BORDER**2, abs=0.01)


def test_random_places_are_cells_where_the_sensor_has_a_grid():
    chosen = chosen_at(torch.zeros(4, 1000, 2), grid=3)
    drawn = chosen.draw_possible().flatten(0, 1)
    assert (torch.cdist(drawn, lattice(3, drawn.device)).amin(1) == 0).all()
    measures = measure_spread(chosen, 3)
    assert measures["border_chance"] == pytest.approx(3 / 4, abs=0.03)  # a middle cell has half of a side
    # The covering path takes the cells of the grid alone: none of them is near this target.
    assert measure_on_patch(chosen, torch.full((1000, 2), 0.5), half=0.3)["any_path"] == 0


def test_without_a_chosen_location_there_is_nothing_to_measure(make):
    chosen = chosen_at(torch.zeros(2, 3, 2), [[False] * 3] * 2)
    assert measure_spread(chosen, 5) == {"first_glimpse": 1, "per_image": 0.0}
    env, looks = make(4, order="once"), looks_at(torch.zeros(1, 23, 2))
    env.images = replace(env.images, target_centers=torch.zeros(23, 2))
    measures = fixations.measure_fixations(env, looks, torch.zeros(23, dtype=torch.int64), False)
    assert measures == {"fixations": {"first_glimpse": 2, "per_image": 0.0}}


def test_measures_of_an_environment(make):
    """All stop after glimpse 3 of 4; glimpse 1 counts where the agent chose it. Windows are 4 x 4 pixels."""
    env, stops = make(4, order="once"), torch.full((23,), 2)
    locations = torch.zeros(4, 23, 2)
    locations[0], locations[3] = 1.0, -1.0
    looks = looks_at(locations)
    measures = fixations.measure_fixations(env, looks, stops, learned_start=False)
    assert set(measures) == {"fixations"}
    assert (measures["fixations"]["per_image"], measures["fixations"]["border"]) == (2.0, 0.0)
    boxes = torch.tensor([[0.5, 0.5, 1.0, 1.0]]).expand(23, 4)
    env.images = replace(env.images, target_centers=torch.full((23, 2), 0.3), boxes=boxes)
    measures = fixations.measure_fixations(env, looks, stops, learned_start=True)
    assert measures["fixations"]["per_image"] == 3
    assert measures["fixations"]["border"] == pytest.approx(1 / 3)
    assert measures["on_patch"]["fixation"] == pytest.approx(2 / 3)  # 0.3 < 4 / 12 from the centre
    assert measures["in_box"]["found_by"] == [1.0, 1.0, 1.0, 1.0]  # at 1 x reach = 2 / 3


def test_shares_of_the_cells_of_a_heat_map():
    points = [[[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]
    taken = [[True, True, True], [True, False, False]]
    shares = fixations.map_shares(chosen_at(points, taken, reach=0.9), 3)
    third = 1 / 3
    assert torch.allclose(shares[0], torch.tensor([[third, 0, third], [0, 0, 0], [0, 0, third]]))
    assert shares[1].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
