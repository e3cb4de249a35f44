"""The papers' numbers, all of them and nowhere else; which of them belong beside a result row.

find("DT-RAM", "Table 2", "mnist", "RAM, 7 glimpses").value is 1.07, an error in percent; read_table("DT-RAM",
"Table 6", "cub") returns all rows of a table by name, in the paper's order. Names are those of `TABLES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from glimpse_env import datasets

AGENTS = {
    "ram_reinforce": "RAM",
    "dtram_reinforce": "DT-RAM",
    "sermanet_rnn": "Sermanet",
    "fcan_greedy": "FCAN",
    "whole_image": "Whole image",
}
Measure = Literal["error", "accuracy", "mean class accuracy"]
# By name: value in percent, mean glimpses (None = not stated, or no glimpses).
Rows = dict[str, tuple[float, float | None]]
REGIONS = ("whole image", "part alone", "whole image + part", "whole image + all parts")  # of FCAN's tables
REGIONS += ("multi-view", "rigid", "ground-truth boxes")


class Figure(NamedTuple):
    """One number of a paper."""

    row: str
    source: str  # "DT-RAM, Table 2"
    value: float  # in percent, as the paper has it
    measure: Measure
    glimpses: float | None  # mean glimpses; None = not stated, or no glimpses

    @property
    def error(self) -> float:
        """The error in percent; of a mean class accuracy, the mean over classes."""
        return self.value if self.measure == "error" else 100 - self.value


def count_up(*values: float) -> Rows:
    """Return the rows of a table with 1, 2, ... glimpses."""
    return {format_count(count): (value, count) for count, value in enumerate(values, start=1)}


def format_count(glimpses: int) -> str:
    """Return "1 glimpse", "2 glimpses"."""
    return f"{glimpses} glimpse{'s' * (glimpses > 1)}"


def combine_resolutions(**values: tuple[float, float, float]) -> Rows:
    """Return the rows of Sermanet's table: every set of resolutions with 1 to 3 glimpses."""
    rows: Rows = {}
    for name, accuracies in values.items():
        rows |= {
            f"{name.replace('_', ' + ')}, {row}": figure for row, figure in count_up(*accuracies).items()
        }
    return rows


def combine_regions(*values: float) -> Rows:
    """Return the rows of FCAN's tables, the first of `REGIONS`; the part is the one of 8 x 8 cells."""
    return {name: (value, None) for name, value in zip(REGIONS, values, strict=False)}


# By paper, table and data set. RAM: Mnih et al. 2014, arXiv 1406.6247, with two versions of its tables: the
# errors with 4, 6 and 8 glimpses are the later one's, "older version" marks the other's, and an "independent
# run" is a RAM that others trained; DRAW: Gregor et al. 2015. DT-RAM: Li et al. 2017, arXiv 1703.10332;
# Sermanet et al. 2015, arXiv 1412.7054; FCAN: Liu et al. 2016, arXiv 1603.06765, whose baselines add 2 crops
# at random ("multi-view") or central ("rigid") locations to the whole image.
TABLES: dict[tuple[str, str, str], Rows] = {
    ("RAM", "Table 1", "translated-mnist"): {
        "FC 64, 2 layers": (6.8, None),
        "FC 256, 2 layers": (2.6, None),
        "conv, 2 layers": (1.6, None),
        "RAM, 4 glimpses": (1.54, 4),
        "RAM, 6 glimpses": (1.22, 6),
        "RAM, 8 glimpses": (1.2, 8),
        "independent run, 4 glimpses": (1.54, 4),
        "independent run, 6 glimpses": (1.08, 6),
        "independent run, 8 glimpses": (0.94, 8),
    },
    ("RAM", "Table 2", "cluttered-mnist"): {
        "FC 64, 2 layers": (28.6, None),
        "FC 256, 2 layers": (11.9, None),
        "conv, 2 layers": (8.1, None),
        "RAM, 4 glimpses": (4.96, 4),
        "RAM, 6 glimpses": (4.08, 6),
        "RAM, 8 glimpses": (4.04, 8),
        "random locations, 8 glimpses": (14.4, 8),
        "older version, 8 glimpses": (5.23, 8),
        "independent run, 4 glimpses": (5.15, 4),
        "independent run, 6 glimpses": (3.33, 6),
        "independent run, 8 glimpses": (2.63, 8),
    },
    ("RAM", "Table 2", "cluttered-mnist-100"): {
        "conv, 2 layers": (14.4, None),
        "RAM, 4 glimpses": (9.41, 4),
        "RAM, 6 glimpses": (8.31, 6),
        "RAM, 8 glimpses": (8.11, 8),
        "random locations, 8 glimpses": (28.4, 8),
        "older version, conv": (16.5, None),
        "older version, 8 glimpses": (10.83, 8),
        "independent run, 4 glimpses": (14.86, 4),
        "independent run, 6 glimpses": (8.3, 6),
        "independent run, 8 glimpses": (5.9, 8),
        "DRAW": (3.36, None),
        "conv, 6 layers": (0.92, None),
    },
    ("DT-RAM", "Table 2", "mnist"): {
        "FC, 2 layers": (1.69, None),
        "conv, 2 layers": (1.21, None),
        "RAM, 2 glimpses": (3.79, 2),
        "RAM, 4 glimpses": (1.54, 4),
        "RAM, 5 glimpses": (1.34, 5),
        "RAM, 7 glimpses": (1.07, 7),
        "DT-RAM, gamma 0.98": (1.46, 3.6),
        "DT-RAM, gamma 0.99": (1.12, 5.2),
    },
    ("DT-RAM", "Table 3", "cub"): {
        "ResNet-50": (84.5, 1),
        "RAM, 3 glimpses": (86.0, 3),
        "DT-RAM": (86.0, 1.9),
    },
    ("DT-RAM", "Table 4", "cars"): {
        "ResNet-50": (92.3, 1),
        "RAM, 3 glimpses": (93.1, 3),
        "DT-RAM": (93.1, 1.9),
    },
    ("DT-RAM", "Table 5", "cub"): {
        "ResNet-34, 224": (79.9, 1),
        "RAM-34, 224": (81.8, 6),  # its glimpses are those of Table 6
        "ResNet-50, 224": (81.5, 1),
        "RAM-50, 224": (82.8, 6),
        "ResNet-101, 224": (82.8, 1),
        "ResNet-50, 448": (84.5, 1),
        "RAM-50, 448": (86.0, 3),  # and those of Table 3
    },
    ("DT-RAM", "Table 6", "cub"): count_up(79.9, 80.7, 81.1, 81.5, 81.8, 81.8) | {"DT-RAM": (81.8, 3.6)},
    ("DT-RAM", "Table 7", "cub"): {
        "> 0": (79.9, 1.0),
        "> 0.4": (80.7, 1.4),
        "> 0.5": (81.0, 1.6),
        "> 0.6": (81.2, 1.9),
        "> 0.9": (81.3, 3.6),
        "> 1": (81.8, 6.0),
        "DT-RAM": (81.8, 3.6),
    },
    ("DT-RAM", "Table 8", "cub"): count_up(79.9, 80.7, 80.5, 80.9, 80.3, 80.0),
    ("DT-RAM", "Table 9", "cub"): count_up(79.9, 78.8, 76.1, 74.8, 74.9, 74.7),
    ("Sermanet", "Table 1", "dogs"): combine_resolutions(
        high=(43.5, 48.3, 49.6),
        medium=(70.1, 72.3, 72.8),
        low=(70.3, 70.1, 70.7),
        high_medium=(70.7, 72.6, 72.7),
        high_medium_low=(76.3, 76.5, 76.8),
    )
    | {"whole image at 96 pixels": (58.8, None), "GoogLeNet at 224 pixels": (75.5, None)},
    ("FCAN", "Table 2", "dogs"): combine_regions(76.7, 81.4, 84.0, 84.2, 78.1, 77.1),
    ("FCAN", "Table 4", "cars"): combine_regions(84.9, 80.1, 88.3, 89.1, 85.9, 86.3, 91.3),
    ("FCAN", "Table 6", "cub"): combine_regions(77.6, 76.1, 81.6, 82.0, 78.9, 79.0, 84.3),
}
# What a table measures, if not accuracy. Those on Stanford Dogs are means over classes, as its authors'.
MEASURES: dict[str, Measure] = {
    "RAM, Table 1": "error",
    "RAM, Table 2": "error",
    "DT-RAM, Table 2": "error",
    "Sermanet, Table 1": "mean class accuracy",
    "FCAN, Table 2": "mean class accuracy",
}
CANVAS = {"translated-mnist": "Table 1"} | dict.fromkeys(
    ("cluttered-mnist", "cluttered-mnist-100"), "Table 2"
)
DTRAM = {"mnist": "Table 2", "cub": "Table 3", "cars": "Table 4"}  # its tables of main results, by data set
FCAN = {"dogs": "Table 2", "cars": "Table 4", "cub": "Table 6"}
OF_FCAN = {  # the row of FCAN's tables that an agent stands for, and what a report calls it
    "fcan_greedy": ("whole image + all parts", "FCAN's final classifiers on crops (here: those on the map)"),
    "baseline-one-view": ("whole image", "whole image"),
    "baseline-multi-view": ("multi-view", "whole image and 2 random crops"),
    "baseline-rigid": ("rigid", "whole image and 2 central crops"),
}


def read_table(paper: str, table: str, dataset: str) -> dict[str, Figure]:
    """Return the rows of a paper's table on a data set, by name; KeyError if there is no such table."""
    source, rows = f"{paper}, {table}", TABLES[paper, table, dataset]
    measure = MEASURES.get(source, "accuracy")
    return {name: Figure(name, source, value, measure, spent) for name, (value, spent) in rows.items()}


def find(paper: str, table: str, dataset: str, row: str) -> Figure:
    """Return one number of a paper; KeyError if there is no such table, or no such row in it."""
    return read_table(paper, table, dataset)[row]


def averages_classes(agent: str, data: str) -> bool:
    """Return whether results of an agent on a data set are compared as mean class accuracies.

    Those of Sermanet's agent are, as in its paper, and all on Stanford Dogs.
    """
    return agent == "sermanet_rnn" or data == "dogs"


def find_figures(row: Mapping[str, Any]) -> list[Figure]:
    """Return the paper's figure for a result row's settings; if none fits, all for agent and data set."""
    agent, data, options = row["agent"], row["dataset"], row["options"]
    glimpses, learned = len(row["per_step_accuracy"]), options.get("policy", "learned") == "learned"
    if agent in ("ram_reinforce", "dtram_reinforce") and data in DTRAM and learned:
        stops = agent == "dtram_reinforce"
        figures = read_table("DT-RAM", DTRAM[data], data).values()
        known = [one for one in figures if one.glimpses and one.row.startswith("DT-RAM") == stops]
        if stops:
            fitting = [one for one in known if one.row.endswith(f"gamma {options.get('gamma')}")]
        else:
            fitting = [one for one in known if one.glimpses == glimpses]
        return fitting or known
    if agent in ("ram_reinforce", "dtram_reinforce") and data in CANVAS and learned:
        figures = read_table("RAM", CANVAS[data], data)
        known = [figures[f"RAM, {format_count(count)}"] for count in (4, 6, 8)]
        return [one for one in known if one.glimpses == glimpses] or known
    if agent == "sermanet_rnn" and data == "dogs":
        name = f"{' + '.join(options['resolutions'])}, {format_count(glimpses)}"
        figure = read_table("Sermanet", "Table 1", "dogs").get(name)
        return [figure] if figure else []
    if agent in OF_FCAN and data in FCAN:
        name, title = OF_FCAN[agent]
        return [find("FCAN", FCAN[data], data, name)._replace(row=title)]
    return []


def format_dataset_name(data: str, classes: int) -> str:
    """Return the name of a data set; that of a part has its number of classes: CUB-50."""
    spec = datasets.NAMED.get(data)
    if spec is None:
        return data
    return spec.title if classes == spec.classes else f"{spec.short}-{classes}"


def explain_difference(row: Mapping[str, Any], classes: int) -> str:
    """Return why a row cannot be compared with the papers' figures as it is; empty = it can."""
    spec = datasets.NAMED.get(row["dataset"])
    whole = spec.classes if spec else classes
    reasons = [f"on {classes} of the {whole} classes"] if classes != whole else []
    reasons += [] if row["split"] == "test" else [f"on the {row['split']} split, not the test images"]
    return " and ".join(reasons)
