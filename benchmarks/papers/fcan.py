"""Liu et al. 2016 (FCAN, arXiv 1603.06765): the whole image, its parts and their combinations."""

from __future__ import annotations

from reproduction.spec import Row, Run, Table

from glimpse_env.datasets import NAMED
from glimpse_env.reports import published

RANDOM, CENTRAL = "multi-view: whole + random places", "rigid: whole + central places"
# By the names in the agent's result, the names in `published`; the number of a part is its place in --parts,
# which does not count here. Boxes, as parts, are averaged with the whole image; the paper does not say so.
ROWS = {
    "whole image": "whole image",
    "part1-8x8 alone": "part alone",
    "whole + part1-8x8": "whole image + part",
    "whole + all parts": "whole image + all parts",
    RANDOM: "multi-view",
    CENTRAL: "rigid",
    "whole + ground-truth box": "ground-truth boxes",
}
NOTE = (
    "parts of 8 x 8 and 4 x 4 cells; the network is ResNet-50, frozen after its fine-tuning, with linear "
    "classifiers for regions"
)


def table(number: str, *datasets: str) -> Table:
    """Return the paper's table of the first data set: all its rows come from one run of the agent a seed."""
    paper = published.read_table("FCAN", number, datasets[0])
    figures = {name: paper[row].value if row in paper else None for name, row in ROWS.items()}
    rows = {name: Row(Run("fcan"), figure, regions=name) for name, figure in figures.items()}
    title = f"FCAN, {number} ({NAMED[datasets[0]].title})"
    return Table(title, datasets, rows, against=("whole image", RANDOM, CENTRAL), note=NOTE)


TABLES = {
    "fcan-2": table("Table 2", "dogs", "cub", "cars"),
    "fcan-4": table("Table 4", "cars", "cub", "dogs"),
    "fcan-6": table("Table 6", "cub", "cars", "dogs"),
}
