"""The table of fixations and their heat maps, of hand-made fixations."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from glimpse_env.evaluation import fixations
from glimpse_env.evaluation.fixations import Chosen
from glimpse_env.reports import fixation_figures, fixation_table, plots, results, run_report, svg
from tests.reports.test_report import HISTORY, looks_of, row_of

RUN = {"agent": "ram_reinforce", "dataset": "clutter", "split": "test", "seed": 3}


@pytest.fixture
def chosen():
    """Three steps of four images: always the same corner, then two sides, then (two images) the middle."""
    locations = torch.zeros(3, 4, 2)
    locations[0], locations[1, :2, 0], locations[1, 2:, 0] = -1.0, 0.5, -0.5
    taken = torch.ones(3, 4, dtype=torch.bool)
    taken[2, 2:] = False
    return Chosen(locations, taken, first=2, reach=0.8)


@pytest.fixture
def row(chosen):
    """The row of a run whose second fixations are on the target of half of the images."""
    hits = fixations.measure_on_patch(chosen, torch.tensor([[0.4, 0.0]]).expand(4, 2), half=0.1)
    return RUN | {"fixations": fixations.measure_spread(chosen, 5), "on_patch": hits}


def test_the_table_of_one_run_by_hand(row):
    heads, lines = fixation_table.build_table(row)
    assert heads == ["2.50 fixations an image, from glimpse 2", *fixation_table.HEADS[1:]]
    cells = {line[0]: line[1:] for line in lines}
    assert cells["fixations on the target, %"][0] == "20.0"
    assert cells["images with a fixation on the target, %"][0] == "50.0"
    assert cells["images with a fixation on the target, %"][2:5:2] == ["100.0", "-50.0 [-100.0, +0.0]"]
    assert cells["glimpse that first is on the target"][0] == "3.00"
    assert cells["glimpse that first is on the target"][2] == "2.00"  # the covering path is there at once
    assert cells["distinct cells of 5 x 5"][0] == "2.50"
    assert cells["on the border, %"][0] == "40.0"
    text = fixation_table.format_row(row).splitlines()
    assert len(text) == 1 + len(lines)
    assert text[2].endswith(" 100.0  " + "  ".join(cells["images with a fixation on the target, %"][3:]))
    assert "Fixed path" in fixation_table.describe(row)
    json.dumps(row, allow_nan=False)  # as it is written to result.json


def test_without_a_known_target_there_is_no_fixed_path(row):
    del row["on_patch"]
    heads, lines = fixation_table.build_table(row)
    assert heads[1:] == ["agent", "random places", "agent - random"]
    assert [line[0].split()[0] for line in lines] == ["distinct", "on", "distance"]
    assert "Fixed path" not in fixation_table.describe(row)


def test_rows_without_chosen_locations_and_of_earlier_versions_have_no_table():
    early = {"fixation": 0.1, "fixation_chance": 0.05, "any": 0.3, "any_chance": 0.2, "last": 0.1}
    for row in ({}, {"on_patch": early}, {"fixations": {"first_glimpse": 2, "per_image": 0.0}}):
        assert fixation_table.format_row(RUN | row) == ""


def test_several_runs_are_a_line_for_each_kind_of_target(row):
    hits = row["on_patch"]
    none = RUN | {"fixations": {"first_glimpse": 2, "per_image": 0.0}}
    blind = {name: value for name, value in row.items() if name != "on_patch"}
    lines = fixation_table.format_rows([row | {"in_box": hits}, blind, none]).splitlines()
    assert len(lines) == 1 + 2 + 1 + 1
    assert " target " in lines[1]
    assert " box " in lines[2]
    assert "20.0 | " in lines[1]
    assert "of 25" in lines[1]
    assert lines[3].split()[4:8] == ["2.50", "-", "-", "-"]
    assert lines[4].split()[4:] == ["0.00", *["-"] * 9]


def drawn(chosen):
    """Return axes with the heat maps."""
    axes = plots.create_figure(6, 4).subplots()
    fixation_figures.draw_heat_maps(axes, chosen)
    return axes


def test_heat_maps_have_a_panel_for_each_glimpse_on_one_scale(chosen):
    axes = drawn(chosen)
    maps = [artist for artist in axes.get_children() if isinstance(artist, AxesImage)]
    assert len(maps) == 3 + 1  # and the colour scale
    opacity = [np.asarray(image.get_array())[..., 3] for image in maps[:3]]
    assert [float(panel.max()) for panel in opacity] == pytest.approx([1, 0.5**0.5, 1])  # of the square root
    # -0.8 in both coordinates: the second of 15 cells from the top left.
    assert np.argwhere(opacity[0]).tolist() == [[1, 1]]
    assert np.argwhere(opacity[1]).tolist() == [[7, 4], [7, 10]]
    extents = [image.get_extent() for image in maps[:3]]
    assert [extent[1] - extent[0] for extent in extents] == pytest.approx([2, 2, 2])
    texts = [text.get_text() for text in axes.texts]
    assert texts[:3] == ["glimpse 2", "glimpse 3", "glimpse 4 (50.0 %)"]
    assert any(text.startswith("100 %") for text in texts)
    points = [np.asarray(line.get_xydata(), float)[0] for line in axes.lines]
    marks = [point - (extent[0] + 1, extent[3] + 1) for point, extent in zip(points, extents, strict=True)]
    np.testing.assert_allclose(marks, [[-0.8, -0.8], [0, 0], [0, 0]], atol=1e-6)
    shown = [patch.get_gid() for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_gid()]
    assert shown[1] == "glimpse 3: 4 fixations, mean (+0.00, +0.00), at most 50.0 % in a cell"


def test_steps_that_no_image_took_and_no_step_at_all(chosen):
    chosen.taken[2] = False
    assert [text.get_text() for text in drawn(chosen).texts][2] == "glimpse 4 (0.0 %)"
    chosen.taken[:] = False
    assert len(drawn(chosen).texts) == 0
    assert svg.render_chart("nothing", fixation_figures.draw_heat_maps, chosen) == ""


@pytest.mark.parametrize(
    ("steps", "shape"), [(1, (1, 3)), (3, (1, 3)), (5, (2, 3)), (8, (2, 4)), (9, (3, 3))]
)
def test_heat_maps_fill_their_rows(steps, shape):
    one = Chosen(torch.zeros(steps, 1, 2), torch.ones(steps, 1, dtype=torch.bool))
    assert fixation_figures.arrange_maps(one) == shape


def test_the_report_and_the_folder_show_where_it_looked(make, tmp_path, with_figures):
    env = make(4, order="once")
    looks, saved = looks_of(env), {"dynamic": True, "progress": {"history": HISTORY}}
    stops = torch.arange(23) % 4  # as `looks_of` stops
    env.images = replace(env.images, boxes=torch.tensor([[-0.5, -0.5, 0.5, 0.5]]).expand(23, 4))
    row = row_of(looks) | fixations.measure_fixations(env, looks, stops, learned_start=False)
    run_report.write_report(tmp_path / "report.html", row, saved, env, looks)
    html = (tmp_path / "report.html").read_text()
    section = html[html.index("Where it looked") :]
    assert section.count("<figure") == 2
    assert "distinct cells of 5 x 5" in section
    assert section.count("data:image/png") >= 4  # three glimpses and the scale
    assert "http" not in section.split("</section>")[0].replace("http://www.w3.org", "")
    run_report.write_plots(tmp_path, "", row, saved, env, looks)
    assert (tmp_path / "fixation_heatmaps.png").stat().st_size > 5000
    early = {name: value for name, value in row.items() if name not in ("fixations", "in_box")}
    run_report.write_report(tmp_path / "early.html", early, saved, env, looks)
    assert "Where it looked" not in (tmp_path / "early.html").read_text()
    assert "fixations" not in results.format_row(row | {"train_seconds": 1.0})
