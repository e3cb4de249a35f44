"""Li et al. 2017 (DT-RAM, arXiv 1703.10332): the runs of its tables and figures, with the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from reproduction.spec import Row, Run, Table

from glimpse_env.datasets import list_names
from glimpse_env.reports import published

PHOTOGRAPHS = list_names("photographs")
STEPS = range(2, 7)
BANK = (
    "the network is fine-tuned beforehand and frozen; one network serves all glimpses; glimpses lie on a grid"
)
STEADY = f"{BANK}; no curriculum"
SMALL = f"{BANK}; the paper: ResNet-34, 256 x 256 images"
# Data sets on which the whole network is learned anyway, with the notes of their tables.
LEARNED = {
    "mnist": "the whole network learns; first view and glimpses are 8 x 8 pixels; default settings of "
    "agents/ram_reinforce.py, with --sure 1",
    "clutter": "the whole network learns; recipe of agents/ram_reinforce.py",
}
WHOLE = (
    "the whole network learns (ResNet-18, BatchNorm statistics fixed, 256 x 256 images, view and glimpses at "
    "112 x 112); one network serves all glimpses; the last state predicts; the paper: ResNet-34"
)
# The images and glimpses of Tables 6 to 9: glimpses of 100 pixels, enlarged as in the public code.
SMALL_SIZES = {"image_size": 256, "view_size": 224, "glimpse_size": 224, "scales": (0.4464,)}
SETTINGS = {"paper": {"backbone": "resnet34", **SMALL_SIZES}}
SAME_RAM = (
    "answering after N: RAM 7's prediction after glimpse N; DT-RAM's stop head is trained on the frozen RAM "
    "7 of the same seed"
)


def ram(glimpses: int, **own: object) -> Run:
    """Return a RAM with this many glimpses."""
    return Run("ram", {"glimpses": glimpses, **own})


def short(glimpses: int, **own: object) -> Run:
    """Return such a RAM whose training on MNIST takes minutes; every episode has all its glimpses."""
    return Run("ram", {"glimpses": glimpses, **own}, quick=True, on_mnist={"sure": 1.0})


def dtram(start: Run, **own: object) -> Run:
    """Return a DT-RAM whose stop head is trained on a RAM of the same seed."""
    return Run("dtram", own, start, start.quick, start.on_mnist)


def read(table: int, row: str, dataset: str = "cub") -> tuple[float, float | None]:
    """Return the paper's number and its mean glimpses."""
    figure = published.find("DT-RAM", f"Table {table}", dataset, row)
    return figure.value, figure.glimpses


# DT-RAM on MNIST
RAM7 = ram(7)
FAST7 = Run("ram", {"glimpses": 7}, quick=True)  # with the agent's own defaults, tuned for speed
MNIST = {steps: read(2, f"RAM, {steps} glimpses", "mnist") for steps in (2, 4, 5, 7)}


def see_whole() -> dict[str, Row]:
    """Return the networks that see the whole image: without augmentation as in the paper, and with it."""
    layers = {
        "FC, 2 layers": {"widths": (256, 256)},
        "conv, 2 layers": {"channels": (16, 32), "widths": (256,)},
    }
    rows = {}
    for name, own in layers.items():
        rows[name] = Row(Run("whole_image", {**own, "augment": False}), *read(2, name, "mnist"))
        rows[f"{name}, augmented"] = Row(Run("whole_image", {**own, "augment": True}))
    return rows


def stop_early(start: Run) -> dict[str, Row]:
    """Return the rows that take a RAM's predictions before its last glimpse."""
    return {f"RAM 7, answering after {steps}": Row(start, *MNIST[steps], after=steps) for steps in (2, 4, 5)}


def learn_to_stop(start: Run) -> dict[str, Row]:
    """Return the rows of DT-RAMs with several discounts, two of which are the paper's."""
    return {
        "DT-RAM (gamma .95)": Row(dtram(start, gamma=0.95)),
        "DT-RAM-1 (gamma .98)": Row(dtram(start, gamma=0.98), *read(2, "DT-RAM, gamma 0.98", "mnist")),
        "DT-RAM-2 (gamma .99)": Row(dtram(start, gamma=0.99), *read(2, "DT-RAM, gamma 0.99", "mnist")),
        "DT-RAM (gamma .995)": Row(dtram(start, gamma=0.995)),
    }


# DT-RAM on photographs. The number of glimpses grows in training (section 3.4), unlike in the agent's recipe.
ONE_VIEW, FIRST = ram(1, policy="center"), short(1, policy="center")
GROWING, CONSTANT = {"curriculum": 0.3}, {"curriculum": 0.0}
# The last state predicts, as in the paper; in the agent's recipe the mean scores of all glimpses.
LAST = {**GROWING, "scores": "state"}


def rams(**own: object) -> dict[int, Run]:
    """Return RAMs with the same options by their numbers of glimpses."""
    return {steps: short(steps, **own) for steps in STEPS}


GROWN = rams(**GROWING)
# The backbone learns with the recurrent network, as in the paper (section 3.4).
TRAINED = dict(
    sensor="pixel", train_backbone=True, backbone="resnet18", image_size=256, glimpse_size=112
) | dict(batch=32, samples=2, epochs=20, augment=True, scores="state")
TRAINED_STEPS = (2, 3, 6)


def trained(**own: object) -> dict[int, Run]:
    """Return RAMs that train their backbone, by their numbers of glimpses."""
    return {steps: ram(steps, **TRAINED, **own) for steps in TRAINED_STEPS}


def trained_ablation(table: int, title: str, lack: dict[int, Run]) -> Table:
    """Return Table 8 or 9 where the backbone learns too."""
    one_view = ram(1, policy="center", **TRAINED)
    return ablation(table, title, trained(**GROWING), lack, one_view, PHOTOGRAPHS, WHOLE)


THRESHOLDS = (0.0, 0.4, 0.5, 0.6, 0.9, 1.0)
DTRAM6 = Row(dtram(GROWN[6]), *read(6, "DT-RAM"))


def views(title: str, table: int, *datasets: str) -> Table:
    """Return Table 3 or 4: one view, RAM and DT-RAM with at most three glimpses."""
    start = Run("ram", {"glimpses": 3}, here=CONSTANT)
    rows = {
        "one view": Row(ONE_VIEW, *read(table, "ResNet-50", datasets[0])),
        "RAM 3": Row(start, *read(table, "RAM, 3 glimpses", datasets[0])),
        "DT-RAM": Row(dtram(start), *read(table, "DT-RAM", datasets[0])),
        "DT-RAM (gamma .99)": Row(dtram(start, gamma=0.99)),
        "DT-RAM (gamma .995)": Row(dtram(start, gamma=0.995)),
    }
    return Table(title, datasets, rows, against=("one view", "RAM 3"), note=STEADY)


def networks() -> dict[str, Row]:
    """Return Table 5, with a network that the paper does not have: ResNet-18."""
    large = {"image_size": 512, "view_size": 448, "glimpse_size": 224}
    one = {"glimpses": 1, "policy": "center"}
    options = {
        "ResNet-18, 224": {"backbone": "resnet18", **SMALL_SIZES, **one},
        "RAM-18, 224": {"backbone": "resnet18", **SMALL_SIZES, **GROWING, "glimpses": 6},
        "ResNet-34, 224": {"backbone": "resnet34", **SMALL_SIZES, **one},
        "RAM-34, 224": {"backbone": "resnet34", **SMALL_SIZES, **GROWING, "glimpses": 6},
        "ResNet-50, 224": {"backbone": "resnet50", **SMALL_SIZES, **one},
        "RAM-50, 224": {"backbone": "resnet50", **SMALL_SIZES, **GROWING, "glimpses": 6},
        "ResNet-101, 224": {"backbone": "resnet101", **SMALL_SIZES, **one},
        "ResNet-50, 448": {"backbone": "resnet50", **large, **one},
        "RAM-50, 448": {"backbone": "resnet50", **large, **CONSTANT, "glimpses": 3},
    }
    paper = published.read_table("DT-RAM", "Table 5", "cub")  # none with ResNet-18
    known = {name: (figure.value, figure.glimpses) for name, figure in paper.items()}
    return {name: Row(Run("ram", own), *known.get(name, (None, None))) for name, own in options.items()}


def ablation(
    table: int,
    title: str,
    have: dict[int, Run],
    lack: dict[int, Run],
    one_view: Run = FIRST,
    datasets: Sequence[str] = (*PHOTOGRAPHS, *LEARNED),
    note: str = SMALL,
) -> Table:
    """Return Table 8 or 9: every number of glimpses with and without, the two of a pair compared."""
    word = "curriculum" if table == 8 else "supervision"
    rows, pairs = {"1 glimpse": Row(one_view, *read(table, "1 glimpse"))}, {}
    for steps in have:
        name, other = f"{steps} glimpses, with {word}", f"{steps} glimpses, without"
        rows[name] = Row(have[steps], *read(6, f"{steps} glimpses"))
        rows[other] = Row(lack[steps], *read(table, f"{steps} glimpses"))
        pairs[name] = other
    title = f"DT-RAM, Table {table} (CUB-200-2011): {title}"
    own, compared = tuple(datasets), {"against": ("1 glimpse",), "pairs": pairs}
    return Table(title, own, rows, **compared, note=note, notes=LEARNED, settings=SETTINGS)


TABLES = {
    "dtram-2": Table(
        "DT-RAM, Table 2 (MNIST)",
        ("mnist", "clutter"),
        see_whole()
        | {f"RAM {steps}": Row(ram(steps), *paper) for steps, paper in MNIST.items()}
        | stop_early(RAM7)
        | learn_to_stop(RAM7),
        measure="error",
        against=("RAM 7",),
        note=f"{SAME_RAM}; a slower recipe than the agents': an LSTM, two trajectories an image, 40 epochs",
    ),
    "dtram-2-default": Table(
        "DT-RAM, Table 2 (MNIST), with the scripts' own defaults",
        ("mnist",),
        stop_early(FAST7) | {"RAM 7": Row(FAST7, *MNIST[7])} | learn_to_stop(FAST7),
        measure="error",
        against=("RAM 7",),
        note=f"{SAME_RAM}; two minutes a network, see the time to accuracy",
    ),
    "dtram-3": views("DT-RAM, Table 3 (CUB-200-2011)", 3, *PHOTOGRAPHS),
    "dtram-4": views("DT-RAM, Table 4 (Stanford Cars)", 4, "cars", "cub", "dogs"),
    "dtram-5": Table(
        "DT-RAM, Table 5 (CUB-200-2011): networks and sizes",
        PHOTOGRAPHS,
        networks(),
        pairs={f"RAM-{size}": f"ResNet-{size}" for size in ("18, 224", "34, 224", "50, 224", "50, 448")},
        note=f"{BANK}; RAM has 6 glimpses at 224 and 3 at 448 (the numbers of Tables 6 and 3), at 448 "
        "without curriculum",
    ),
    "dtram-6": Table(
        "DT-RAM, Table 6 (CUB-200-2011): number of glimpses",
        (*PHOTOGRAPHS, *LEARNED),
        {"1 glimpse": Row(FIRST, *read(6, "1 glimpse"))}
        | {f"{steps} glimpses": Row(run, *read(6, f"{steps} glimpses")) for steps, run in GROWN.items()}
        | {"DT-RAM": DTRAM6},
        against=("1 glimpse", "6 glimpses"),
        note=SMALL,
        notes=LEARNED,
        settings=SETTINGS,
    ),
    "dtram-7": Table(
        "DT-RAM, Table 7 (CUB-200-2011): stop above a confidence",
        PHOTOGRAPHS,
        {f"> {one:g}": Row(GROWN[6], *read(7, f"> {one:g}"), threshold=one) for one in THRESHOLDS}
        | {"DT-RAM": DTRAM6}
        | {f"DT-RAM (gamma {one})": Row(dtram(GROWN[6], gamma=float(one))) for one in (".9", ".95", ".995")},
        against=("> 1", "DT-RAM"),
        note=SMALL,
        settings=SETTINGS,
    ),
    "dtram-8": ablation(8, "curriculum", GROWN, rams(**CONSTANT)),
    "dtram-9": ablation(9, "intermediate supervision", GROWN, rams(**GROWING, supervision=False)),
    "dtram-8-whole": trained_ablation(8, "curriculum where the backbone learns too", trained(**CONSTANT)),
    "dtram-9-whole": trained_ablation(
        9,
        "intermediate supervision where the backbone learns too",
        trained(**GROWING, supervision=False),
    ),
    "dtram-9-state": ablation(
        9,
        "intermediate supervision where the last state predicts",
        rams(**LAST),
        rams(**LAST, supervision=False),
    ),
}


def draw(
    kind: Literal["histogram", "paths"], table: str, title: str, *names: str, note: str = "", first: str = ""
) -> Table:
    """Return a figure of some rows of a table; `first` is the paper's data set, if not the table's."""
    of = TABLES[table]
    rows = {name: of.rows[name] for name in names}
    shared = {"rows_of": table, "figure": kind, "settings": of.settings}
    return Table(f"DT-RAM, {title}", of.datasets, rows, of.measure, note=note, **shared)


DTRAM1, DTRAM2 = "DT-RAM-1 (gamma .98)", "DT-RAM-2 (gamma .99)"
FIGURE6, FIGURE7 = (f"Figure {figure} (CUB-200-2011)" for figure in (6, 7))
PATHS = "glimpses by stopping step"
TABLES |= {
    "dtram-figure-5": draw("histogram", "dtram-2", "Figure 5 (MNIST): stopping steps", DTRAM1, DTRAM2),
    "dtram-figure-6": draw("histogram", "dtram-6", f"{FIGURE6}: stopping steps", "DT-RAM", note=SMALL),
    "dtram-figure-7": draw("paths", "dtram-6", f"{FIGURE7}: {PATHS}", "DT-RAM", note=SMALL),
    "dtram-figure-7-mnist": draw("paths", "dtram-2", f"as Figure 7, on MNIST: {PATHS}", DTRAM2),
    "dtram-figure-8": draw("paths", "dtram-4", f"Figure 8 (Stanford Cars): {PATHS}", "DT-RAM", note=STEADY),
}
