"""Liu et al. 2016 (FCAN, arXiv 1603.06765): the whole image, its parts, and their combinations, on Dogs, Cars and CUB."""

from __future__ import annotations

from reproduction.spec import Row, Run, Table

from glimpse_env.datasets import NAMED
from glimpse_env.reports import published

RUN = Run("fcan")
RANDOM, CENTRAL = "multi-view: whole + random places", "rigid: whole + central places"
# As the agent's result names its rows, and as `published` does; part1-8x8 is the part of 8 x 8 cells, which the agent looks for first.
ROWS = {
    "whole image": "whole image",
    "part1-8x8 alone": "part alone",
    "whole + part1-8x8": "whole image + part",
    "whole + all parts": "whole image + all parts",
    RANDOM: "multi-view",
    CENTRAL: "rigid",
}


def table(number: str, *datasets: str) -> Table:
    """Return the paper's table of the first data set: all its rows come from one run of the agent a seed."""
    paper = published.read_table("FCAN", number, datasets[0])
    quoted = {name: figure.value for name, figure in paper.items() if name not in ROWS.values()}
    return Table(
        f"FCAN, {number} ({NAMED[datasets[0]].title})",
        datasets,
        {name: Row(RUN, paper[row].value, regions=name) for name, row in ROWS.items()},
        against=("whole image", RANDOM, CENTRAL),
        quoted=quoted,
        note="parts of 8 x 8 and 4 x 4 cells; the network is ResNet-50, frozen after its fine-tuning, with linear classifiers for regions",
    )


TABLES = {
    "fcan-2": table("Table 2", "dogs", "cub", "cars"),
    "fcan-4": table("Table 4", "cars", "cub", "dogs"),
    "fcan-6": table("Table 6", "cub", "cars", "dogs"),
}
