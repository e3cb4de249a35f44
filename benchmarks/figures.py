"""The figures of the papers from the rows that benchmarks/reproduce.py wrote, without data or checkpoints.

    python benchmarks/figures.py                       # every figure that there are rows for
    python benchmarks/figures.py stopping ablations

| figure | rows of | what it shows |
|---|---|---|
| stopping | dtram-2; dtram-6 with dtram-7 | error or accuracy against mean glimpses, for every way to stop |
| | ram-1; ram-2; ram-2-100 | the same, against pixels and milliseconds too |
| cost | dtram-6, dtram-7, sermanet-1, fcan-2, -4, -6 | accuracy against operations and pixels |
| histogram | dtram-2, dtram-6 | stopping steps (DT-RAM, Figures 5 and 6) |
| ablations | dtram-6, dtram-8, dtram-9 | curriculum and intermediate supervision, beside the paper's |
| rewards | rewards | learning curves of RAM with different rewards |

Every part of a data set has a figure of its own, such as stopping-CUB-50.png, and so has every split, except
for the costs. Bars are 95 % intervals. Figures 7 and 8 show images: `reproduce.py dtram-figure-7`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro
from papers.tables import TABLES
from reproduction import rows, table_figures, text_table
from reproduction.table_figures import Tables
from reproduction.text_table import About, Rows

from glimpse_env.runtime import terminal


@dataclass(frozen=True)
class Figures:
    """Options of `figures.py`."""

    figures: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Which figures; default: all."""
    results: Path = Path("benchmarks/results")
    """Folder of the rows."""
    out: Path | None = None
    """Folder of the figures; default: that of the rows."""


def read_all(results: Path) -> dict[About, dict[str, Rows]]:
    """Return all rows by the images that they are about, then by table, then by name; none of --paper."""
    found: dict[About, dict[str, Rows]] = {}
    for file in sorted(results.glob("*.jsonl")):
        if not any(file.name.startswith(f"{table}-") for table in TABLES):
            continue  # the rows of a benchmark, not of a table
        known = rows.read(file)
        name = known[0]["table"] if known else ""
        if name in TABLES and not known[0].get("options", {}).get("paper"):
            for about, group in text_table.group_rows(TABLES[name], known).items():
                found.setdefault(about, {})[name] = group
    return found


class Figure(NamedTuple):
    """A figure that can be drawn."""

    draw: Callable[[About, Tables, Path], bool]  # False = the rows are not enough
    tables: tuple[str, ...]  # whose rows it draws
    together: bool = False  # whether rows of several splits are drawn together


CANVAS = ("ram-1", "ram-2", "ram-2-100")
FIGURES = {
    "stopping": Figure(table_figures.draw_stopping, ("dtram-2", "dtram-6", "dtram-7", *CANVAS)),
    "cost": Figure(
        table_figures.draw_cost,
        ("dtram-6", "dtram-7", "sermanet-1", "fcan-2", "fcan-4", "fcan-6"),
        together=True,
    ),
    "histogram": Figure(table_figures.draw_histogram, ("dtram-2", "dtram-6")),
    "ablations": Figure(table_figures.draw_ablations, ("dtram-6", "dtram-8", "dtram-9")),
    "rewards": Figure(table_figures.draw_rewards, ("rewards",)),
}


def select_rows(figure: Figure, found: Mapping[About, Tables]) -> dict[About, dict[str, Rows]]:
    """Return the rows of a figure: of each part and split, or of all splits measured on the same images."""
    groups: dict[About, dict[str, Rows]] = {}
    for about, every in found.items():
        tables = {name: every[name] for name in figure.tables if name in every}
        others = [at for at in groups if at._replace(split=about.split) == about]
        free = [at for at in others if figure.together and not groups[at].keys() & tables.keys()]
        groups.setdefault(free[0] if free else about, {}).update(tables)
    return {about: tables for about, tables in groups.items() if tables}


def main(options: Figures) -> None:
    """Draw the figures that there are rows for, and name the others."""
    if unknown := [name for name in options.figures if name not in FIGURES]:
        raise ValueError(f"{unknown[0]!r}: expected some of {', '.join(FIGURES)}")
    if not options.results.is_dir():
        raise ValueError(f"--results {options.results}: there is no such folder")
    found, out = read_all(options.results), options.out or options.results
    out.mkdir(parents=True, exist_ok=True)
    for name in options.figures or FIGURES:
        drawn, groups = 0, select_rows(FIGURES[name], found)
        parts = Counter(about.part for about in groups)
        for about, tables in groups.items():
            stem = f"{name}-{about.part}" if parts[about.part] == 1 else about.name_file(name)
            target = out / f"{stem}.png"
            if FIGURES[name].draw(about, tables, target):
                print(f"{name}: {target}")
                drawn += 1
        if not drawn:
            print(f"{name}: {options.results} has no rows for it")


if __name__ == "__main__":
    with terminal.foreseen("figures.py"):
        main(tyro.cli(Figures, description=__doc__))
