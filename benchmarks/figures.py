"""The figures of the papers from the rows that benchmarks/reproduce.py wrote: no data, no training, no checkpoints.

    python benchmarks/figures.py                       # every figure that there are rows for
    python benchmarks/figures.py stopping ablations

| figure | rows of | what it shows |
|---|---|---|
| stopping | dtram-2; dtram-6 with dtram-7 | error or accuracy against mean glimpses: DT-RAM, the threshold rule, fixed RAM, a random stop |
| cost | dtram-6, dtram-7, sermanet-1, fcan-2, -4, -6 | accuracy against operations and pixels |
| histogram | dtram-2, dtram-6 | stopping steps (DT-RAM, Figures 5 and 6) |
| ablations | dtram-6, dtram-8, dtram-9 | curriculum and intermediate supervision, beside the paper's |
| rewards | rewards | learning curves of RAM with different rewards |

Every part of a data set has a figure of its own, stopping-MNIST.png, stopping-CUB-50.png, and every split too, but for the costs. Bars are
95 % intervals.
Figures 7 and 8 show images: `reproduce.py dtram-figure-7`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from papers.tables import TABLES
from reproduction import rows, table_figures, text_table
from reproduction.text_table import About, Rows

from glimpse_env.reports import plots
from glimpse_env.runtime import checkpoint, terminal

Found = Mapping[str, Rows]  # by table, of one part of a data set and one split
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
    """Return all rows by the part of a data set and the splits, then by table, then by name."""
    found: dict[About, dict[str, Rows]] = {}
    for file in sorted(results.glob("*.jsonl")):
        if not any(file.name.startswith(f"{table}-") for table in TABLES):
            continue  # the rows of a benchmark, not of a table
        kept = rows.read(file)
        name = kept[0]["table"] if kept else ""
        if name in TABLES:
            for about, group in text_table.group_rows(TABLES[name], kept).items():
                found.setdefault(about, {})[name] = group
    return found


def describe(about: About, group: Rows) -> str:
    """Return what a figure is about: the part of the data set, how many images, how many seeds."""
    seeds = {len(runs) for runs in group.values()}
    count = str(*seeds) if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    first = next(iter(group.values()))[0]
    return f"{about[0]}, {first['images']:,} images ({about[2]}), {count} seed{'s' * (count != '1')}"


def draw_stopping(about: About, found: Found, target: Path) -> bool:
    """Draw who dominates whom."""
    group = {
        row: runs
        for name, every in found.items()
        for row, runs in every.items()
        if TABLES[name].rows[row].after is None
    }
    if not any("rivals" in run for runs in group.values() for run in runs):
        return False
    table = replace(
        TABLES[next(iter(found))], rows={row: one for name in found for row, one in TABLES[name].rows.items()}
    )
    table_figures.draw_stopping(table, group, describe(about, group), target)
    return True


def draw_cost(about: About, found: Found, target: Path) -> bool:
    """Draw what accuracy costs."""
    series = {}
    if "dtram-6" in found:
        group = found["dtram-6"]
        series["RAM, 1 to 6 glimpses"] = [runs for name, runs in group.items() if name != "DT-RAM"]
    if "dtram-7" in found:
        series["RAM 6, stopped above a confidence"] = [
            runs for name, runs in found["dtram-7"].items() if name.startswith(">")
        ]
    learned = {
        name: runs
        for table in ("dtram-6", "dtram-7")
        for name, runs in found.get(table, {}).items()
        if name.startswith("DT-RAM")
    }
    series["DT-RAM"] = list(learned.values())
    if "sermanet-1" in found:
        for kind in ("high", "all"):
            runs_of_kind = [runs for name, runs in found["sermanet-1"].items() if name.startswith(f"{kind},")]
            series[f"Sermanet, {kind}, 1 to 3 glimpses"] = runs_of_kind
    for name in ("fcan-2", "fcan-4", "fcan-6"):
        if name in found:
            series["FCAN, whole image and parts"] = [
                runs for row, runs in found[name].items() if row.startswith("whole")
            ]
    series = {name: points for name, points in series.items() if points}
    if not series or not any(
        run["flops"][0] for points in series.values() for runs in points for run in runs
    ):
        return False
    table_figures.draw_cost(
        series, describe(about, {name: points[0] for name, points in series.items()}), target
    )
    return True


def draw_histogram(about: About, found: Found, target: Path) -> bool:
    """Draw the stopping steps."""
    chosen = {"dtram-2": [row for row in TABLES["dtram-figure-5"].rows], "dtram-6": ["DT-RAM"]}
    group = {
        row: found[name][row] for name, names in chosen.items() for row in names if row in found.get(name, {})
    }
    if not group:
        return False
    table_figures.draw_histogram(group, describe(about, group), target)
    return True


def draw_ablations(about: About, found: Found, target: Path) -> bool:
    """Draw curriculum and supervision."""
    curves = {}
    for key, name, end in (
        ("grown, supervised", "dtram-6", ""),
        ("not grown", "dtram-8", "without"),
        ("not supervised", "dtram-9", "without"),
    ):
        group = found.get(name, {})
        lines = {
            row: TABLES[name].rows[row]
            for row in TABLES[name].rows
            if row.startswith("1 ") or (row.endswith(end) and row != "DT-RAM")
        }
        quoted = [row.paper for row in lines.values()]
        base = next((runs for row, runs in group.items() if row.startswith("1 ")), None)
        if base is None or len(group) < 2:
            continue
        gains = {
            int(row.paper_glimpses or 0): text_table.compare_rows(group[name], base)
            for name, row in lines.items()
            if name in group
        }
        curves[key] = ({number: gain for number, gain in gains.items() if gain is not None}, quoted)
    if not curves:
        return False
    table_figures.draw_ablations(curves, describe(about, next(iter(found.values()))), target)
    return True


def draw_rewards(about: About, found: Found, target: Path) -> bool:
    """Draw learning curves."""
    group = found.get("rewards", {})
    if not group:
        return False
    histories = {name: [run["history"] for run in runs] for name, runs in group.items()}
    panels = {
        key: title
        for key, title in PANELS.items()
        if all(key in row for runs in histories.values() for run in runs for row in run)
    }
    plots.write_compared_curves(histories, panels, target, errors=True)
    return True


@dataclass(frozen=True)
class Figure:
    """A figure that can be drawn."""

    draw: Callable[[About, Found, Path], bool]  # False = the rows are not enough
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


def select_rows(figure: Figure, found: Mapping[About, Found]) -> dict[About, dict[str, Rows]]:
    """Return the rows that a figure draws: of each part of a data set and each split, or of all splits measured on the same images."""
    groups: dict[About, dict[str, Rows]] = {}
    for about, every in found.items():
        tables = {name: every[name] for name in figure.tables if name in every}
        others = (
            at
            for at in groups
            if (at[0], at[2]) == (about[0], about[2]) and not groups[at].keys() & tables.keys()
        )
        groups.setdefault(next(others, about) if figure.together else about, {}).update(tables)
    return {about: tables for about, tables in groups.items() if tables}


def main(options: Figures) -> None:
    """Draw what there are rows for, and say so."""
    if unknown := [name for name in options.figures if name not in FIGURES]:
        raise ValueError(f"{unknown[0]!r}: expected some of {', '.join(FIGURES)}")
    if not options.results.is_dir():
        raise ValueError(f"--results {options.results}: there is no such folder")
    found, out = read_all(options.results), options.out or options.results
    out.mkdir(parents=True, exist_ok=True)
    for name in options.figures or FIGURES:
        drawn, groups = 0, select_rows(FIGURES[name], found)
        parts = Counter(part for part, _, _ in groups)
        for about, tables in groups.items():
            part, split, measured = about
            more = (
                "" if parts[part] == 1 else f"-{checkpoint.file_name(split)}-{checkpoint.file_name(measured)}"
            )
            target = out / f"{name}-{part}{more}.png"
            if FIGURES[name].draw(about, tables, target):
                print(f"{name}: {target}")
                drawn += 1
        if not drawn:
            print(f"{name}: {options.results} has no rows for it")


if __name__ == "__main__":
    with terminal.foreseen("figures.py"):
        main(tyro.cli(Figures, description=__doc__))
