"""Li et al. 2017 (DT-RAM, arXiv 1703.10332): every run of its tables and figures, beside the paper's number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reproduction.spec import Row, Run, Table

from glimpse_env.datasets import list_names
from glimpse_env.reports import published

PHOTOGRAPHS = list_names("photographs")
STEPS = range(2, 7)
FROZEN = "the network is fine-tuned beforehand and frozen; one network serves all glimpses"
BANK = f"{FROZEN}; glimpses lie on a grid"
STEADY = f"{BANK}; no curriculum"
SMALL = f"{BANK}; the paper: ResNet-34, 256 x 256 images"


def ram(glimpses: int, **own: object) -> Run:
    """Return a RAM with this many glimpses."""
    return Run("ram", {"glimpses": glimpses, **own})


def dtram(start: Run, **own: object) -> Run:
    """Return a DT-RAM that is taught to stop on a RAM of the same seed."""
    return Run("dtram", own, start)


def name_discount(gamma: float) -> str:
    """Return what a DT-RAM with this discount is called: DT-RAM (gamma .98)."""
    return f"DT-RAM (gamma {f'{gamma:g}'[1:]})"


def read(table: str, dataset: str, row: str) -> tuple[float, float | None]:
    """Return the paper's number and its mean glimpses."""
    figure = published.find("DT-RAM", table, dataset, row)
    return figure.value, figure.glimpses


# DT-RAM on MNIST
RAM7 = ram(7)
MNIST_ERRORS = {
    glimpses: read("Table 2", "mnist", f"RAM, {glimpses} glimpses")[0] for glimpses in (2, 4, 5, 7)
}  # of RAM
GAMMAS = (0.95, 0.98, 0.99, 0.995)
TAUGHT = {
    0.98: ("DT-RAM-1 (gamma .98)", *read("Table 2", "mnist", "DT-RAM, gamma 0.98")),
    0.99: ("DT-RAM-2 (gamma .99)", *read("Table 2", "mnist", "DT-RAM, gamma 0.99")),
}
MNIST_STOPS = {
    TAUGHT[gamma][0] if gamma in TAUGHT else name_discount(gamma): Row(
        dtram(RAM7, gamma=gamma), *TAUGHT.get(gamma, ("", None, None))[1:]
    )
    for gamma in GAMMAS
}
MNIST = {
    **{f"RAM {glimpses}": Row(ram(glimpses), error, glimpses) for glimpses, error in MNIST_ERRORS.items()},
    **{
        f"RAM 7, answering after {glimpses}": Row(RAM7, error, glimpses, after=glimpses)
        for glimpses, error in MNIST_ERRORS.items()
        if glimpses < 7
    },
    **MNIST_STOPS,
}

# The same with the agents' own defaults, which are tuned for speed instead of accuracy.
FAST7 = Run("ram", {"glimpses": 7}, quick=True)
FAST = {
    **{
        f"RAM 7, answering after {glimpses}": Row(FAST7, error, glimpses, after=glimpses)
        for glimpses, error in MNIST_ERRORS.items()
        if glimpses < 7
    },
    "RAM 7": Row(FAST7, MNIST_ERRORS[7], 7),
    **{
        name: replace(row, run=Run("dtram", row.run.options, FAST7, quick=True))
        for name, row in MNIST_STOPS.items()
    },
}

# DT-RAM on photographs. RAM is trained with a growing number of glimpses (section 3.3), which the agent's own recipe leaves out.
ONE_VIEW = ram(1, policy="center")
GROWING = {"curriculum": 0.3}
CONSTANT = {"curriculum": 0.0}
LAST = {
    "scores": "state"
}  # the last state predicts, as in the paper; the recipe here: the mean of all glimpses' scores
GROWN = {1: ONE_VIEW} | {steps: ram(steps, **GROWING) for steps in STEPS}
TABLE6, TABLE8, TABLE9 = (
    tuple(read(table, "cub", f"{steps} glimpse{'s' * (steps > 1)}")[0] for steps in range(1, 7))
    for table in ("Table 6", "Table 8", "Table 9")
)
THRESHOLDS = {
    threshold: read("Table 7", "cub", f"> {threshold:g}") for threshold in (0.0, 0.4, 0.5, 0.6, 0.9, 1.0)
}
DTRAM6 = Row(dtram(GROWN[6]), *read("Table 6", "cub", "DT-RAM"))


def views(table: str, dataset: str) -> dict[str, Row]:
    """Return Table 3 or 4: one view, RAM and DT-RAM with at most three glimpses."""
    start = ram(3, **CONSTANT)
    rows = {
        "one view": Row(ONE_VIEW, *read(table, dataset, "ResNet-50")),
        "RAM 3": Row(start, *read(table, dataset, "RAM, 3 glimpses")),
        "DT-RAM": Row(dtram(start), *read(table, dataset, "DT-RAM")),
    }
    return rows | {name_discount(gamma): Row(dtram(start, gamma=gamma)) for gamma in (0.99, 0.995)}


def networks() -> dict[str, Row]:
    """Return Table 5: networks and sizes of the first view; small images have glimpses of 100 pixels (enlarged, as in the public code)."""
    small = {"image_size": 256, "view_size": 224, "glimpse_size": 224, "scales": (0.4464,)}
    large = {"image_size": 512, "view_size": 448, "glimpse_size": 224}
    one: dict[str, Any] = {"glimpses": 1, "policy": "center"}
    options = {
        "ResNet-34, 224": {"backbone": "resnet34", **small, **one},
        "RAM-34, 224": {"backbone": "resnet34", **small, **GROWING, "glimpses": 6},
        "ResNet-50, 224": {"backbone": "resnet50", **small, **one},
        "RAM-50, 224": {"backbone": "resnet50", **small, **GROWING, "glimpses": 6},
        "ResNet-101, 224": {"backbone": "resnet101", **small, **one},
        "ResNet-50, 448": {"backbone": "resnet50", **large, **one},
        "RAM-50, 448": {"backbone": "resnet50", **large, **CONSTANT, "glimpses": 3},
    }
    return {name: Row(Run("ram", own), *read("Table 5", "cub", name)) for name, own in options.items()}


def ablation(
    title: str, word: str, have: dict[int, Run], lack: dict[int, Run], paper: tuple[float, ...]
) -> Table:
    """Return Table 8 or 9: every number of glimpses with and without, the two of a pair compared."""
    rows, pairs = {"1 glimpse": Row(ONE_VIEW, paper[0], 1)}, {}
    for steps in STEPS:
        ours, other = f"{steps} glimpses, with {word}", f"{steps} glimpses, without"
        rows |= {
            ours: Row(have[steps], TABLE6[steps - 1], steps),
            other: Row(lack[steps], paper[steps - 1], steps),
        }
        pairs[ours] = other
    return Table(title, PHOTOGRAPHS, rows, against=("1 glimpse",), pairs=pairs, note=SMALL)


TABLES: dict[str, Table] = {
    "dtram-2": Table(
        "DT-RAM, Table 2 (MNIST)",
        ("mnist", "clutter"),
        MNIST,
        measure="error",
        against=("RAM 7",),
        quoted={name: read("Table 2", "mnist", name)[0] for name in ("FC, 2 layers", "conv, 2 layers")},
        note="DT-RAM's stop head is taught on the frozen RAM 7 of the same seed; recipe of agents/ram_reinforce.py",
    ),
    "dtram-2-default": Table(
        "DT-RAM, Table 2 (MNIST), with the scripts' own defaults",
        ("mnist",),
        FAST,
        measure="error",
        against=("RAM 7",),
        note="DT-RAM's stop head is taught on the frozen RAM 7 of the same seed; two minutes a network, see the time to accuracy",
    ),
    "dtram-3": Table(
        "DT-RAM, Table 3 (CUB-200-2011)",
        PHOTOGRAPHS,
        views("Table 3", "cub"),
        against=("one view", "RAM 3"),
        note=STEADY,
    ),
    "dtram-4": Table(
        "DT-RAM, Table 4 (Stanford Cars)",
        ("cars", "cub", "dogs"),
        views("Table 4", "cars"),
        against=("one view", "RAM 3"),
        note=STEADY,
    ),
    "dtram-5": Table(
        "DT-RAM, Table 5 (CUB-200-2011): networks and sizes",
        PHOTOGRAPHS,
        networks(),
        pairs={
            "RAM-34, 224": "ResNet-34, 224",
            "RAM-50, 224": "ResNet-50, 224",
            "RAM-50, 448": "ResNet-50, 448",
        },
        note=f"{BANK}; RAM has 6 glimpses at 224 and 3 at 448 (the numbers of Tables 6 and 3), at 448 without curriculum",
    ),
    "dtram-6": Table(
        "DT-RAM, Table 6 (CUB-200-2011): number of glimpses",
        PHOTOGRAPHS,
        {
            f"{steps} glimpse{'s' * (steps > 1)}": Row(run, TABLE6[steps - 1], steps)
            for steps, run in GROWN.items()
        }
        | {"DT-RAM": DTRAM6},
        against=("1 glimpse", "6 glimpses"),
        note=SMALL,
    ),
    "dtram-7": Table(
        "DT-RAM, Table 7 (CUB-200-2011): stop above a confidence",
        PHOTOGRAPHS,
        {
            f"> {threshold:g}": Row(GROWN[6], *paper, threshold=threshold)
            for threshold, paper in THRESHOLDS.items()
        }
        | {"DT-RAM": DTRAM6}
        | {name_discount(gamma): Row(dtram(GROWN[6], gamma=gamma)) for gamma in (0.9, 0.95, 0.995)},
        against=("> 1", "DT-RAM"),
        note=SMALL,
    ),
    "dtram-8": ablation(
        "DT-RAM, Table 8 (CUB-200-2011): curriculum",
        "curriculum",
        GROWN,
        {steps: ram(steps, **CONSTANT) for steps in STEPS},
        TABLE8,
    ),
    "dtram-9": ablation(
        "DT-RAM, Table 9 (CUB-200-2011): intermediate supervision",
        "supervision",
        GROWN,
        {steps: ram(steps, **GROWING, supervision=False) for steps in STEPS},
        TABLE9,
    ),
    "dtram-9-state": ablation(
        "DT-RAM, Table 9 (CUB-200-2011): intermediate supervision where the last state answers",
        "supervision",
        {steps: ram(steps, **GROWING, **LAST) for steps in STEPS},
        {steps: ram(steps, **GROWING, **LAST, supervision=False) for steps in STEPS},
        TABLE9,
    ),
    "dtram-figure-5": Table(
        "DT-RAM, Figure 5 (MNIST): stopping steps",
        ("mnist", "clutter"),
        {name: row for name, row in MNIST_STOPS.items() if name.startswith("DT-RAM-")},
        measure="error",
        kept_with="dtram-2",
        figure="histogram",
    ),
    "dtram-figure-6": Table(
        "DT-RAM, Figure 6 (CUB-200-2011): stopping steps",
        PHOTOGRAPHS,
        {"DT-RAM": DTRAM6},
        kept_with="dtram-6",
        figure="histogram",
        note=SMALL,
    ),
    "dtram-figure-7": Table(
        "DT-RAM, Figure 7 (MNIST): glimpses by stopping step",
        ("mnist", "clutter"),
        {TAUGHT[0.99][0]: MNIST_STOPS[TAUGHT[0.99][0]]},
        measure="error",
        kept_with="dtram-2",
        figure="paths",
    ),
    "dtram-figure-8": Table(
        "DT-RAM, Figure 8 (CUB-200-2011): glimpses by stopping step",
        PHOTOGRAPHS,
        {"DT-RAM": DTRAM6},
        kept_with="dtram-6",
        figure="paths",
        note=SMALL,
    ),
    "places": Table(
        "Learned places against others (no table of the paper)",
        (*PHOTOGRAPHS, "mnist", "clutter"),
        {"one view": Row(ONE_VIEW)}
        | {
            f"{name}, {steps}": Row(ram(steps, policy=policy, **CONSTANT))
            for name, policy in (("centre", "center"), ("random", "random"))
            for steps in (3, 6)
        }
        | {f"RAM, {steps}": Row(ram(steps, **CONSTANT)) for steps in (3, 6)}
        | {"DT-RAM": Row(dtram(ram(3, **CONSTANT)))},
        against=("one view", "centre, 3", "random, 3", "RAM, 3"),
        note=STEADY,
    ),
    "rewards": Table(
        "What RAM is paid for: learning curves (no table of the paper; its own reward is the delayed one)",
        ("mnist", "clutter", *PHOTOGRAPHS),
        {
            name.replace("_", " "): Row(ram(7, reward=name))
            for name in ("delayed", "greedy", "information_gain", "confidence")
        },
        measure="error",
        against=("delayed",),
        history=True,
    ),
}
