"""What the papers report for an agent on a data set, in percent; DT-RAM: arXiv 1703.10332, Sermanet: 1412.7054, FCAN: 1603.06765."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from glimpse_env import datasets

AGENTS = {"ram_reinforce": "RAM", "dtram_reinforce": "DT-RAM", "sermanet_rnn": "Sermanet", "fcan_greedy": "FCAN"}


class Figure(NamedTuple):
    """One published figure."""

    what: str  # whose
    accuracy: float
    glimpses: float | None  # mean glimpses; None = not a matter of glimpses
    source: str


# Agent and data set -> glimpses (RAM) or gamma (DT-RAM; None = not stated) -> figure.
RAM: dict[str, dict[int, Figure]] = {
    "mnist": {
        n: Figure(f"RAM, {n} glimpses", 100 - error, n, "DT-RAM, Table 2") for n, error in ((2, 3.79), (4, 1.54), (5, 1.34), (7, 1.07))
    },
    "cub": {1: Figure("ResNet-50", 84.5, 1, "DT-RAM, Table 3"), 3: Figure("RAM, 3 glimpses", 86.0, 3, "DT-RAM, Table 3")},
    "cars": {1: Figure("ResNet-50", 92.3, 1, "DT-RAM, Table 4"), 3: Figure("RAM, 3 glimpses", 93.1, 3, "DT-RAM, Table 4")},
}
DTRAM: dict[str, dict[float | None, Figure]] = {
    "mnist": {
        0.98: Figure("DT-RAM, gamma 0.98", 98.54, 3.6, "DT-RAM, Table 2"),
        0.99: Figure("DT-RAM, gamma 0.99", 98.88, 5.2, "DT-RAM, Table 2"),
    },
    "cub": {None: Figure("DT-RAM", 86.0, 1.9, "DT-RAM, Table 3")},
    "cars": {None: Figure("DT-RAM", 93.1, 1.9, "DT-RAM, Table 4")},
}
SERMANET = {  # resolutions -> accuracy after 1, 2, 3 glimpses
    ("high",): (43.5, 48.3, 49.6),
    ("medium",): (70.1, 72.3, 72.8),
    ("low",): (70.3, 70.1, 70.7),
    ("high", "medium"): (70.7, 72.6, 72.7),
    ("high", "medium", "low"): (76.3, 76.5, 76.8),
}
FCAN = {"dogs": 84.2, "cars": 89.1, "cub": 82.0}
FCAN_TABLES = {"dogs": "FCAN, Table 2", "cars": "FCAN, Table 4", "cub": "FCAN, Table 6"}
BASELINES = {
    "baseline-one-view": ("whole image", {"dogs": 76.7, "cars": 84.9, "cub": 77.6}),
    "baseline-multi-view": ("whole image and 2 random crops", {"dogs": 78.1, "cars": 85.9, "cub": 78.9}),
    "baseline-rigid": ("whole image and 2 central crops", {"dogs": 77.1, "cars": 86.3, "cub": 79.0}),
}


def figures(row: Mapping[str, Any]) -> list[Figure]:
    """Return what a paper reports of a result row's agent, data set and settings: the one figure that fits, else all there are."""
    agent, data, options = row["agent"], row["dataset"], row["options"]
    if agent == "ram_reinforce" and options.get("policy", "learned") == "learned":
        return chosen(RAM.get(data, {}), len(row["per_step_accuracy"]))
    if agent == "dtram_reinforce" and options.get("policy", "learned") == "learned":
        return chosen(DTRAM.get(data, {}), options.get("gamma"))
    if agent == "sermanet_rnn" and data == "dogs":
        seen, glimpses = tuple(options["resolutions"]), len(row["per_step_accuracy"])
        known = SERMANET.get(seen, ())[glimpses - 1 : glimpses]
        return [Figure(f"{' + '.join(seen)}, {glimpses} glimpses", value, glimpses, "Sermanet, Table 1") for value in known]
    if agent == "fcan_greedy" and data in FCAN:
        return [Figure("FCAN's final classifiers on crops (here: those on the map)", FCAN[data], None, FCAN_TABLES[data])]
    what, known = BASELINES.get(agent, ("", {}))
    return [Figure(what, known[data], None, FCAN_TABLES[data])] if data in known else []


def chosen(known: Mapping[Any, Figure], key: object) -> list[Figure]:
    """Return the figure under this key, or all where none is."""
    return [known[key]] if key in known else list(known.values())


def dataset_name(data: str, classes: int) -> str:
    """Return what a data set is called: a part of one by its number of classes, so that nobody takes it for the whole."""
    spec = datasets.NAMED.get(data)
    if spec is None:
        return data
    return spec.title if classes == spec.classes else f"{spec.short}-{classes}"


def caveat(row: Mapping[str, Any], classes: int) -> str:
    """Return why a row may not be compared with the papers' figures as it is; empty = it may."""
    spec = datasets.NAMED.get(row["dataset"])
    whole = spec.classes if spec else classes
    reasons = [f"on {classes} of the {whole} classes"] if classes != whole else []
    reasons += [] if row["split"] == "test" else [f"on the {row['split']} split, not the test images"]
    return " and ".join(reasons)
