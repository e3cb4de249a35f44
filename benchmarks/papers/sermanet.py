"""Sermanet et al. 2015 (arXiv 1412.7054): resolutions against glimpses on Stanford Dogs, mean class accuracy."""

from __future__ import annotations

from reproduction.spec import Row, Run, Table

SETS = {
    "high": ("high",),
    "medium": ("medium",),
    "low": ("low",),
    "high+medium": ("high", "medium"),
    "all": ("high", "medium", "low"),
}
PAPER = {  # by glimpses, 1 to 3
    "high": (43.5, 48.3, 49.6),
    "medium": (70.1, 72.3, 72.8),
    "low": (70.3, 70.1, 70.7),
    "high+medium": (70.7, 72.6, 72.7),
    "all": (76.3, 76.5, 76.8),
}
ROWS = {
    f"{name}, {glimpses}": Row(Run("sermanet", {"resolutions": resolutions, "glimpses": glimpses}), PAPER[name][glimpses - 1], glimpses)
    for name, resolutions in SETS.items()
    for glimpses in (1, 2, 3)
}

TABLES = {
    "sermanet-1": Table(
        "Sermanet et al., Table 1 (Stanford Dogs): resolutions and glimpses",
        ("dogs", "cub", "cars"),
        ROWS,
        measure="mean_class_accuracy",
        pairs={f"{name}, {glimpses}": f"{name}, 1" for name in SETS for glimpses in (2, 3)},
        quoted={"whole image at 96 pixels": 58.8, "GoogLeNet at 224 pixels": 75.5},
        note="glimpses lie on a grid; the paper's network is a GoogLeNet of stride 1 that has not seen the images of Dogs",
    ),
}
