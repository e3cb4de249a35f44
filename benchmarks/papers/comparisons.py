"""Tables of no paper: locations, what proposes them, and rewards compared with each other."""

from __future__ import annotations

from collections.abc import Callable

from papers.dtram import CONSTANT, ONE_VIEW, PHOTOGRAPHS, STEADY, dtram, ram, short
from reproduction.spec import Row, Run, Table

OWN_STEP = {"location_discount": 0.0}  # credits a location with the next glimpse's reward alone, as in FCAN
ON_MAP = ram(3, locator="map", location_policy="grid_softmax", policy_weight=1.0, **CONSTANT)
BRIEF = {"epochs": 16}  # of digits on a canvas, whose recipe has 40: six rows in an hour or two
PART = "part1-2x2"  # FCAN's first part on clutter
CLUTTER_REGIONS = ("whole image", f"{PART} alone", "whole + all parts", "multi-view: whole + random places")
GAMMAS = ("98", "99", "995")  # of DT-RAM: the lower, the sooner it stops
ON_A_GRID = {"image_size": 256, "glimpse_size": 64, "grid": 4, **CONSTANT}  # 16 places for each width
ZOOM = {"scales": (1.0,), "zoom": (1.0, 3.0)}
ZOOMED = ram(3, **ZOOM, **ON_A_GRID)
STOPS_ON_MAP = {
    f"DT-RAM, from the map (gamma .{one})": Row(dtram(ON_MAP, gamma=float(f".{one}"))) for one in GAMMAS
}


def compare_rewards(build: Callable[..., Run], **shared: object) -> dict[str, Row]:
    """Return RAMs with seven glimpses that differ in their reward and its credit to locations."""
    rows = {
        name.replace("_", " "): Row(build(7, reward=name, **shared))
        for name in ("delayed", "greedy", "information_gain", "confidence")
    }
    own = ("greedy", "information_gain")
    return rows | {
        f"{name.replace('_', ' ')}, own step": Row(build(7, reward=name, **shared | OWN_STEP)) for name in own
    }


TABLES: dict[str, Table] = {
    "places": Table(
        "Learned locations against others (no table of the paper)",
        (*PHOTOGRAPHS, "mnist", "clutter"),
        {
            "one view": Row(ONE_VIEW),
            "centre, 3": Row(ram(3, policy="center", **CONSTANT)),
            "centre, 6": Row(ram(6, policy="center", **CONSTANT)),
            "random, 3": Row(ram(3, policy="random", **CONSTANT)),
            "random, 6": Row(ram(6, policy="random", **CONSTANT)),
            "RAM, 3": Row(ram(3, **CONSTANT)),
            "RAM, 6": Row(ram(6, **CONSTANT)),
            "DT-RAM": Row(dtram(ram(3, **CONSTANT))),
        },
        against=("one view", "centre, 3", "random, 3", "RAM, 3"),
        note=STEADY,
    ),
    "locators": Table(
        "What proposes locations: the recurrent state or the feature map (no table of the paper)",
        PHOTOGRAPHS,
        {
            "one view": Row(ONE_VIEW),
            "centre": Row(ram(3, policy="center", **CONSTANT)),
            "random": Row(ram(3, policy="random", **CONSTANT)),
            "RAM, from the state": Row(ram(3, **CONSTANT)),
            "RAM, from the map": Row(ON_MAP),
        }
        | STOPS_ON_MAP,
        against=("one view", "centre", "random", "RAM, from the state", "RAM, from the map"),
        note=f"3 glimpses; {STEADY}",
    ),
    "agents": Table(
        "Every agent on one network (no table of a paper)",
        PHOTOGRAPHS,
        {
            "one view": Row(ONE_VIEW),
            "centre": Row(ram(3, policy="center", **CONSTANT)),
            "RAM": Row(ram(3, **CONSTANT)),
            "RAM, from the map": Row(ON_MAP),
        }
        | STOPS_ON_MAP
        | {f"FCAN, {name}": Row(Run("fcan"), regions=name) for name in ("whole image", "whole + all parts")},
        against=("one view", "centre"),
        note=f"3 glimpses; {STEADY}; FCAN has a linear classifier for each region",
    ),
    "rewards": Table(
        "Reward functions: RAM's learning curves (no table of the paper; its own reward is the delayed one)",
        ("mnist", "clutter", *PHOTOGRAPHS),
        compare_rewards(ram),
        measure="error",
        against=("delayed",),
        history=True,
    ),
    "rewards-default": Table(
        "Reward functions, with the other settings as the script has them (no table of the paper)",
        ("mnist",),
        compare_rewards(short, location_discount=1.0),
        measure="error",
        against=("delayed",),
        pairs={
            name: name.removesuffix(", own step")
            for name in ("greedy, own step", "information gain, own step")
        },
        note="a location is credited with the rewards of all later glimpses, or the next one (own step)",
        history=True,
    ),
    "clutter": Table(
        "Clutter: one glyph among distractors (no table of the paper)",
        ("clutter",),
        {
            "RAM": Row(ram(6)),
            "random": Row(ram(6, policy="random")),
            "RAM, answering after 4": Row(ram(6), after=4),
            "Sermanet": Row(Run("sermanet", {"glimpses": 6})),
            "Sermanet, random": Row(Run("sermanet", {"glimpses": 6, "policy": "random"})),
        }
        | {f"DT-RAM (gamma .{one})": Row(dtram(ram(6), gamma=float(f".{one}"))) for one in GAMMAS},
        measure="error",
        against=("RAM", "random"),
        note="recipes of the agents; RAM's glimpse 1 is at the centre, Sermanet's where the context proposes",
        times=True,
    ),
    "fcan-clutter": Table(
        "FCAN on clutter (no table of the paper)",
        ("clutter",),
        {name: Row(Run("fcan", {"view_size": 128}), regions=name) for name in CLUTTER_REGIONS},
        measure="error",
        against=("whole image",),
        note="4 x 4 cells of the map of a ResNet-18 that was fine-tuned on whole images of 128 pixels; parts "
        "of 2 x 2 cells and of one; a linear classifier for each region",
    ),
    "circle-square": Table(
        "Circle or square: a task of ap_gym, with relative moves (no table of a paper)",
        ("circle-square",),
        {
            "RAM": Row(ram(16)),
            "RAM, answering after 4": Row(ram(16), after=4),
            "RAM, answering after 8": Row(ram(16), after=8),
            "random moves": Row(ram(16, policy="random")),
        }
        | {f"DT-RAM (gamma .{one})": Row(dtram(ram(16), gamma=float(f".{one}"))) for one in ("98", "99")},
        measure="error",
        against=("RAM", "random moves"),
        note="recipe of agents/ram_reinforce.py; the first glimpse is at a random location",
    ),
    "zoom": Table(
        "Zoom against windows of a fixed width, at equal pixels (no table of the paper)",
        ("cluttered-mnist-100",),
        {f"window {width:g}": Row(ram(8, scales=(width,), **BRIEF)) for width in (1.0, 2.0, 4.0)}
        | {
            "4 windows, 2 glimpses": Row(ram(2, scales=(1.0, 2.0, 4.0, 8.0), **BRIEF)),
            "zoom 1 to 4": Row(ram(8, scales=(1.0,), zoom=(1.0, 4.0), **BRIEF)),
            "zoom 1 to 8": Row(ram(8, scales=(1.0,), zoom=(1.0, 8.0), **BRIEF)),
        },
        measure="error",
        against=("window 1", "window 2", "window 4"),
        note="every row: 8 windows of 12 x 12 pixels an image, 16 epochs, not 40; widths in units of 12",
        times=True,
    ),
    "zoom-photographs": Table(
        "Zoom on photographs, at equal pixels (no table of the paper)",
        PHOTOGRAPHS,
        {"one view": Row(ram(1, policy="center", image_size=256, glimpse_size=64, grid=1))}
        | {f"window {width:g}": Row(ram(3, scales=(width,), **ON_A_GRID)) for width in (1.0, 2.0, 3.0)}
        | {
            "zoom 1 to 3": Row(ZOOMED),
            "zoom 1 to 3, random": Row(ram(3, policy="random", **ZOOM, **ON_A_GRID)),
        }
        | {
            f"DT-RAM, zoom (gamma .{one})": Row(dtram(ZOOMED, gamma=float(f".{one}")))
            for one in ("99", "995")
        },
        against=("window 1", "window 2", "window 3"),
        note="the whole image, then 2 windows of 64 x 64 pixels of 256; widths in units of 64; "
        "one frozen network serves all glimpses, on a grid of places; no curriculum",
    ),
}
