"""The figures of the papers from the rows that benchmarks/reproduce.py wrote, without data or checkpoints.

    python benchmarks/figures.py                       # every figure that there are rows for
    python benchmarks/figures.py stopping ablations

| figure | rows of | what it shows |
|---|---|---|
| stopping | dtram-2; dtram-6 with dtram-7 | error or accuracy against mean glimpses, for every way to stop |
| cost | dtram-6, dtram-7, sermanet-1, fcan-2, -4, -6 | accuracy against operations and pixels |
| histogram | dtram-2, dtram-6 | stopping steps (DT-RAM, Figures 5 and 6) |
| ablations | dtram-6, dtram-8, dtram-9 | curriculum and intermediate supervision, beside the paper's |
| rewards | rewards | learning curves of RAM with different rewards |

Every part of a data set has a figure of its own, such as stopping-CUB-50.png, and so has every split, except for
the costs. Bars are 95 % intervals. Figures 7 and 8 show images: `reproduce.py dtram-figure-7`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro
from papers.tables import TABLES
from reproduction import rows, table_figures, text_table
from reproduction.text_table import About, Rows, Runs

from glimpse_env.reports import plots
from glimpse_env.runtime import terminal

Tables = Mapping[str, Rows]  # by table, of one part of a data set and one split
PANELS = {
    "validation_accuracy": "Error on held-out images (%)",
    "train_accuracy": "Error on training images, sampled places (%)",
}


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
    """Return all rows by the images that they are about, then by table, then by name."""
    found: dict[About, dict[str, Rows]] = {}
    for file in sorted(results.glob("*.jsonl")):
        if not any(file.name.startswith(f"{table}-") for table in TABLES):
            continue  # the rows of a benchmark, not of a table
        known = rows.read(file)
        name = known[0]["table"] if known else ""
        if name in TABLES:
            for about, group in text_table.group_rows(TABLES[name], known).items():
                found.setdefault(about, {})[name] = group
    return found


def describe(about: About, group: Rows) -> str:
    """Return the title of a figure: the part of the data set, the numbers of images and seeds."""
    seeds = {len(runs) for runs in group.values()}
    count = str(*seeds) if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    images = next(iter(group.values()))[0]["images"]
    return f"{about.part}, {images:,} images ({about.measured}), {count} seed{'s' * (count != '1')}"


def select(tables: Tables, *names: str, start: str | tuple[str, ...]) -> list[Runs]:
    """Return the rows of some tables whose names start so; one that several tables have counts once."""
    chosen = {
        row: runs for name in names for row, runs in tables.get(name, {}).items() if row.startswith(start)
    }
    return list(chosen.values())


def draw_stopping(about: About, tables: Tables, target: Path) -> bool:
    """Draw accuracy or error against mean glimpses."""
    known = {row: one for name in tables for row, one in TABLES[name].rows.items()}
    group = {
        row: runs for every in tables.values() for row, runs in every.items() if known[row].after is None
    }
    if not any("rivals" in run for runs in group.values() for run in runs):
        return False
    table = replace(TABLES[next(iter(tables))], rows=known)
    table_figures.draw_stopping(table, group, describe(about, group), target)
    return True


def draw_cost(about: About, tables: Tables, target: Path) -> bool:
    """Draw accuracy against cost."""
    every = {
        "RAM, 1 to 6 glimpses": select(tables, "dtram-6", start=tuple("123456")),
        "RAM 6, stopped above a confidence": select(tables, "dtram-7", start=">"),
        "DT-RAM": select(tables, "dtram-6", "dtram-7", start="DT-RAM"),
        "Sermanet, high, 1 to 3 glimpses": select(tables, "sermanet-1", start="high,"),
        "Sermanet, all, 1 to 3 glimpses": select(tables, "sermanet-1", start="all,"),
        "FCAN, whole image and parts": select(tables, "fcan-2", "fcan-4", "fcan-6", start="whole"),
    }
    series = {name: points for name, points in every.items() if points}
    if not any(run["flops"][0] for points in series.values() for runs in points for run in runs):
        return False
    title = describe(about, {name: points[0] for name, points in series.items()})
    table_figures.draw_cost(series, title, target)
    return True


def draw_histogram(about: About, tables: Tables, target: Path) -> bool:
    """Draw the stopping steps."""
    chosen = {"dtram-2": TABLES["dtram-figure-5"].rows, "dtram-6": TABLES["dtram-figure-6"].rows}
    group = {
        row: runs for name, every in tables.items() for row, runs in every.items() if row in chosen[name]
    }
    if group:
        table_figures.draw_histogram(group, describe(about, group), target)
    return bool(group)


def draw_ablations(about: About, tables: Tables, target: Path) -> bool:
    """Draw the gains of glimpses with and without curriculum and supervision."""
    curves = {}
    for name in table_figures.ABLATIONS:
        group = tables.get(name, {})
        if "1 glimpse" not in group or len(group) < 2:
            continue
        gains, paper = {}, []
        for row, one in TABLES[name].rows.items():
            if row.endswith(("glimpse", "glimpses", "without")):  # of pairs, the half without
                paper.append(one.paper)
                gain = text_table.compare_rows(group.get(row, ()), group["1 glimpse"])
                gains |= {} if gain is None else {int(one.paper_glimpses or 0): gain}
        curves[name] = (gains, paper)
    if curves:
        table_figures.draw_ablations(curves, describe(about, next(iter(tables.values()))), target)
    return bool(curves)


def draw_rewards(about: About, tables: Tables, target: Path) -> bool:
    """Draw learning curves."""
    histories = {name: [run["history"] for run in runs] for name, runs in tables["rewards"].items()}
    epochs = [epoch for runs in histories.values() for history in runs for epoch in history]
    panels = {key: title for key, title in PANELS.items() if all(key in epoch for epoch in epochs)}
    plots.write_compared_curves(histories, panels, target, errors=True)
    return True


class Figure(NamedTuple):
    """A figure that can be drawn."""

    draw: Callable[[About, Tables, Path], bool]  # False = the rows are not enough
    tables: tuple[str, ...]  # whose rows it draws
    together: bool = False  # whether rows of several splits are drawn together


FIGURES = {
    "stopping": Figure(draw_stopping, ("dtram-2", "dtram-6", "dtram-7")),
    "cost": Figure(
        draw_cost, ("dtram-6", "dtram-7", "sermanet-1", "fcan-2", "fcan-4", "fcan-6"), together=True
    ),
    "histogram": Figure(draw_histogram, ("dtram-2", "dtram-6")),
    "ablations": Figure(draw_ablations, ("dtram-6", "dtram-8", "dtram-9")),
    "rewards": Figure(draw_rewards, ("rewards",)),
}


def select_rows(figure: Figure, found: Mapping[About, Tables]) -> dict[About, dict[str, Rows]]:
    """Return the rows of a figure: of each part and split, or of all splits measured on the same images."""
    groups: dict[About, dict[str, Rows]] = {}
    for about, every in found.items():
        tables = {name: every[name] for name in figure.tables if name in every}
        others = [at for at in groups if (at.part, at.measured) == (about.part, about.measured)]
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
