"""The step function computes what environment, sensor and network compute together, up to rounding."""

import pytest
import torch
from random_agents import CLASSES, HORIZON, PHOTOGRAPHS, SIDE, build_ram, load_divided, pictures, run_episodes

from glimpse_env.deployment.export_file import build_step
from glimpse_env.networks.averaged_views import AveragedViews, ViewsArchitecture
from glimpse_env.networks.whole_image import WholeImage, WholeImageArchitecture

SMALL, WINDOW = {"glimpse_size": 8}, 3 * 64
GLIMPSE = SMALL | {"first_view": "glimpse"}
ZOOM = {"zoom": (0.5, 2.0)}
BANK = PHOTOGRAPHS | {"sensor": "bank", "glimpse_size": 16, "grid": 3}
GRID = {"location_policy": "grid_softmax", "grid": 4}
MAP = {"locator": "map", "reach": 0.75}


def fixed(policy):
    """Return the content of a checkpoint whose locations are not learned."""
    return {"options": {"policy": policy}}


VIEWS = ViewsArchitecture(2 * WINDOW, CLASSES, HORIZON, windows=2)
WHOLE = WholeImageArchitecture(3 * SIDE**2, CLASSES, (3, SIDE, SIDE), channels=(4,))
CASES = {
    "whole image first": (SMALL, lambda: build_ram(WINDOW), {}),
    "glimpse first": (GLIMPSE, lambda: build_ram(WINDOW), {}),
    "several windows": (
        SMALL | {"scales": (1.0, 2.0, 3.5), "first_crop": 0.8},
        lambda: build_ram(3 * WINDOW, scores="mean"),
        {},
    ),
    "zoom": (SMALL | ZOOM, lambda: build_ram(WINDOW, axes=3), {}),
    "zoom beyond the border": (
        GLIMPSE | ZOOM | {"scales": (1.0, 2.0), "fill": "reflect", "location_range": 0.9},
        lambda: build_ram(2 * WINDOW, axes=3, core="rnn", location_encoding="linear"),
        {},
    ),
    "scores of the first view": (SMALL, lambda: build_ram(WINDOW, **MAP), {}),
    "cells": (SMALL, lambda: build_ram(WINDOW, **GRID), {}),
    "cells of the first view": (SMALL, lambda: build_ram(WINDOW, **MAP, **GRID), {}),
    "templates": (SMALL, lambda: build_ram(WINDOW, glimpse_encoder="templates", templates=(4,)), {}),
    "learned start": (GLIMPSE, lambda: build_ram(WINDOW, learned_start=True), {}),
    "centre": (GLIMPSE, lambda: build_ram(WINDOW), fixed("center")),
    "grid": (GLIMPSE | {"grid": 3}, lambda: build_ram(WINDOW), fixed("grid")),
    "averaged views": (
        SMALL | {"grid": 3, "scales": (1.0, 2.0)}, lambda: AveragedViews(VIEWS).eval(), fixed("raster"),
    ),
    "the image alone": ({"glimpse_size": SIDE, "max_glimpses": 1}, lambda: WholeImage(WHOLE).eval(), {}),
    "photographs": (PHOTOGRAPHS, lambda: build_ram(512), {}),
    "photographs, several windows": (
        PHOTOGRAPHS | {"glimpse_size": 16, "scales": (1.0, 1.5)}, lambda: build_ram(1024), {},
    ),
    "photographs, two sizes": (
        PHOTOGRAPHS | {"glimpse_size": 16, "view_size": 32}, lambda: build_ram(512), {},
    ),
    "bank": (BANK, lambda: build_ram(512), {}),
    "bank, glimpse first": (BANK | {"first_view": "glimpse"}, lambda: build_ram(512), {}),
    "bank with zoom": (BANK | ZOOM, lambda: build_ram(512, axes=3), {}),
}  # fmt: skip


def check(view, network, content, images):
    """Compare a step function with the package."""
    agent = load_divided(network, view, images, **content)
    function = build_step(agent)
    expected = agent.predictor(list(images))
    answers, glimpses, path = run_episodes(function, function, images)
    assert glimpses.tolist() == [prediction.glimpses for prediction in expected]
    # Some CPUs (Intel, AVX-512) round a matrix product by its number of rows, which differs where rows have
    # stopped. Photographs: weights in another order of memory.
    near = {"rtol": 0, "atol": 1e-5 if agent.predictor.backbone else 1e-6}
    assert torch.allclose(answers, torch.stack([each.probabilities for each in expected]), **near)
    for row, prediction in enumerate(expected):
        taken = path[row, : prediction.glimpses, :2] * function.sensor.geometry.reach
        assert torch.allclose(taken, torch.from_numpy(prediction.view.path), **near)
    return glimpses


@pytest.mark.parametrize("name", CASES)
def test_it_agrees_with_the_package(name):
    view, build, content = CASES[name]
    glimpses = check(view, build(), content, pictures(12))
    assert len(glimpses.unique()) > 1 or name == "the image alone"


def test_grey_images_reach_the_backbone_as_in_the_package():
    check(PHOTOGRAPHS, build_ram(512, channels=1), {}, pictures(6, channels=1))
