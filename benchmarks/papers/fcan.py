"""Liu et al. 2016 (FCAN, arXiv 1603.06765): the whole image, its parts, and their combinations, on Dogs, Cars and CUB."""

from __future__ import annotations

from reproduction.spec import Row, Run, Table

RUN = Run("fcan")
RANDOM, CENTRAL = "multi-view: whole + random places", "rigid: whole + central places"
# As the agent's result names its rows; part1-8x8 is the part of 8 x 8 cells, which it looks for first.
ROWS = ("whole image", "part1-8x8 alone", "whole + part1-8x8", "whole + all parts", RANDOM, CENTRAL)


def table(title: str, datasets: tuple[str, ...], paper: tuple[float, ...], quoted: dict[str, float]) -> Table:
    """Return the table of a data set: all its rows come from one run of the agent a seed."""
    return Table(
        title,
        datasets,
        {name: Row(RUN, accuracy, regions=name) for name, accuracy in zip(ROWS, paper, strict=True)},
        against=("whole image", RANDOM, CENTRAL),
        quoted=quoted,
        note="parts of 8 x 8 and 4 x 4 cells; the network is ResNet-50, frozen after its fine-tuning, with linear classifiers for regions",
    )


TABLES = {
    "fcan-2": table("FCAN, Table 2 (Stanford Dogs)", ("dogs", "cub", "cars"), (76.7, 81.4, 84.0, 84.2, 78.1, 77.1), {}),
    "fcan-4": table(
        "FCAN, Table 4 (Stanford Cars)",
        ("cars", "cub", "dogs"),
        (84.9, 80.1, 88.3, 89.1, 85.9, 86.3),
        {"ground-truth boxes": 91.3},
    ),
    "fcan-6": table(
        "FCAN, Table 6 (CUB-200-2011)",
        ("cub", "cars", "dogs"),
        (77.6, 76.1, 81.6, 82.0, 78.9, 79.0),
        {"ground-truth boxes": 84.3},
    ),
}
