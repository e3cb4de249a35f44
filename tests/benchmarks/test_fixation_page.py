"""The page of fixations: which rows it takes, and what its cells are."""

from pathlib import Path

from reproduction import fixation_page, rows

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def line(seed, **entries):
    """Return a row of RAM on cluttered MNIST with fixations on a target."""
    spread = {"per_image": 7.0, "grid": 5, "cells": 2.0, "cells_chance": 6.0, "border": 0.0}
    spread |= {"border_chance": 0.04, "path_distance": 0.4, "path_distance_chance": 0.6}
    hits = {"fixation": 0.5 + seed / 10, "fixation_chance": 0.1, "fixation_path": 0.2, "first_hit": 2.5}
    hits |= {"any": 0.9, "any_chance": 0.3, "any_path": 0.8, "first_hit_chance": None, "first_hit_path": 4.0}
    hits |= {"any_minus_chance": [0.6 + seed / 100, 0.5, 0.7]}
    about = {"format": rows.FORMAT, "table": "ram-2", "row": "RAM 8", "part": "cluttered", "split": "fit"}
    about |= {"measured": "test", "seed": seed, "options": {}, "weights_sha256": None}
    return about | {"fixations": spread, "on_patch": hits} | entries


def test_cells_are_means_over_seeds_of_agent_random_places_and_path(tmp_path):
    old = {name: value for name, value in line(2).items() if name != "fixations"}  # of a version without
    file = rows.path_of(tmp_path, "ram-2", "cluttered-mnist")
    rows.add(file, [line(0), line(1), old, line(3, measured="validation")])
    (cells,) = fixation_page.list_lines(tmp_path)
    assert cells[:5] == ["cluttered", "RAM 8", "2", "7.0", "55.0 / 10.0 / 20.0"]
    assert cells[5:7] == ["90.0 / 30.0 / 80.0", "60.50 +- 6.35"]
    assert cells[7:] == ["2.50 / - / 4.00", "2.00 / 6.00", "0.0 / 4.0", "0.40 / 0.60"]
    assert "| cluttered | RAM 8 | 2 |" in fixation_page.format_page(tmp_path)


def test_without_rows_it_says_what_makes_them(tmp_path):
    assert "reproduce.py ram-2" in fixation_page.format_page(tmp_path)


def test_every_task_has_rows():
    tasks = {cells[0] for cells in fixation_page.list_lines(RESULTS)}
    assert tasks == set(fixation_page.TASKS)
