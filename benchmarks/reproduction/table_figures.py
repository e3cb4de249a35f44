"""The figures of the papers, from the rows of one part of a data set; False = these are not enough."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from papers.tables import TABLES
from reproduction.spec import Table
from reproduction.text_table import About, Rows, Runs, compare_rows, mean_glimpses, to_percent

from glimpse_env.evaluation import intervals
from glimpse_env.reports import plots
from glimpse_env.reports.plots import BLUE, COMPARED, GREEN, GREY, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Tables = Mapping[str, Rows]  # by table, of one part of a data set and one split
Points = list[tuple[float, Sequence[float]]]  # glimpses or cost, values by seed
PURPLE, ORANGE, LIGHT = "#cc79a7", "#e69f00", "#9a9aa2"
SIZES = {"*": 13, ".": 5, "o": 5, "x": 6, "s": 4.5, "D": 6, "v": 5}  # of markers
NEAR = 0.02  # of the largest number of glimpses: points closer than that share a label
WAYS = {  # to stop: marker, line, colour
    "fixed number of glimpses, one network": ("s", ":", GREY),
    "RAM trained with a fixed number": ("D", "none", ORANGE),
    "stop above a confidence": (".", "-", BLUE),
    "random stop, as many as DT-RAM": ("x", "--", PURPLE),
    "DT-RAM, several discounts": ("*", "-", RED),
    "random locations, fixed number": ("v", ":", GREEN),
    "the paper's RAM": ("D", "none", LIGHT),
    "the paper's DT-RAM": ("o", "none", LIGHT),
}
COSTS = (
    ("flops", 1e9, "operations per image (billions; 2 x multiply-adds)"),
    ("pixels", 1e3, "pixels per image (thousands)"),
)
SERIES = {  # of costs: tables, and how the names of their rows start
    "RAM, 1 to 6 glimpses": (["dtram-6"], tuple("123456")),
    "RAM 6, stopped above a confidence": (["dtram-7"], ">"),
    "DT-RAM": (["dtram-6", "dtram-7"], "DT-RAM"),
    "Sermanet, high, 1 to 3 glimpses": (["sermanet-1"], "high,"),
    "Sermanet, all, 1 to 3 glimpses": (["sermanet-1"], "all,"),
    "FCAN, whole image and parts": (
        ["fcan-2", "fcan-4", "fcan-6"],
        ("whole image", "whole + part1", "whole + all"),
    ),
}
ABLATIONS = {  # by table: legend, marker, line, colour
    "dtram-6": ("with curriculum and supervision (Table 6)", "o", "-", BLUE),
    "dtram-8": ("without curriculum (Table 8)", "s", "--", RED),
    "dtram-9": ("without supervision (Table 9)", "^", "-.", GREEN),
}
PANELS = {
    "validation_accuracy": "Error on held-out images (%)",
    "train_accuracy": "Error on training images, sampled places (%)",
}


def describe(about: About, group: Rows) -> str:
    """Return the title of a figure: the part of the data set, the numbers of images and seeds."""
    seeds = {len(runs) for runs in group.values()}
    count = str(*seeds) if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    images = next(iter(group.values()))[0]["images"]
    return f"{about.part}, {images:,} images ({about.measured}), {count} seed{'s' * (count != '1')}"


def set_title(axes: Axes, title: str, size: float = 11) -> None:
    """Write a title above the left end of the axes, without mathematics."""
    axes.set_title(title, fontsize=size, loc="left", parse_math=False)


def draw_means(axes: Axes, points: Points, **style: Any) -> None:
    """Draw the means over seeds with their 95 % intervals; a single seed has none."""
    ends = [intervals.compute_half_width(values) if len(values) > 1 else 0.0 for _, values in points]
    means = [statistics.fmean(values) for _, values in points]
    axes.errorbar([position for position, _ in points], means, yerr=ends, capsize=2, elinewidth=0.9, **style)


def draw_stopping(about: About, tables: Tables, target: Path) -> bool:
    """Draw accuracy or error against mean glimpses: RAMs, DT-RAMs and other ways to stop."""
    rows = {name: row for table in tables for name, row in TABLES[table].rows.items()}
    group = {name: runs for own in tables.values() for name, runs in own.items() if rows[name].after is None}
    if not any("rivals" in run for runs in group.values() for run in runs):
        return False
    table = replace(TABLES[next(iter(tables))], rows=rows)
    panels = list_costs(group)
    figure = plots.create_figure(*((7.6, 5.2) if len(panels) == 1 else (4.8 * len(panels), 5.0)))
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    learned = [runs for runs in group.values() if all("rivals" in run for run in runs)]
    learned.sort(key=mean_glimpses)
    for axes, (label, (first, later)) in zip(every, panels.items(), strict=True):
        for name, points in collect_stopping(table, group, learned).items():
            marker, line, colour = WAYS[name]
            style = {"marker": marker, "linestyle": line, "color": colour, "markersize": SIZES[marker]}
            style |= {"markerfacecolor": "white" if colour == LIGHT else colour}
            style |= {"markeredgecolor": "white" if marker == "*" else colour}
            spent = [(first + (glimpses - 1) * later, values) for glimpses, values in points]
            if points:
                draw_means(axes, spent, label=name, linewidth=1.4, zorder=5 if marker == "*" else 2, **style)
        axes.set_xlabel(label)
        if table.measure == "error":
            plots.set_log_scale(axes)
        plots.tidy(axes)
    label_discounts(every[0], table, learned)
    every[0].set_ylabel(f"{table.label} (%)")
    set_title(every[0], describe(about, group))
    every[-1].legend(fontsize=8.5, frameon=False)
    plots.save(figure, target)
    return True


def list_costs(group: Rows) -> dict[str, tuple[float, float]]:
    """Return the costs that rows are drawn against: of an image's first glimpse, and of each later one."""
    costs = {"mean glimpses per image": (1.0, 1.0)}
    timed = [run for runs in group.values() for run in runs if "milliseconds" in run]
    if timed:
        first, later = timed[0]["pixels"]
        costs["pixels per image, mean"] = first, later
        first, later = (statistics.fmean(run["milliseconds"][part] for run in timed) for part in (0, 1))
        costs["milliseconds per image, mean"] = first, later
    return costs


def collect_stopping(table: Table, group: Rows, learned: Sequence[Runs]) -> dict[str, Points]:
    """Return the points of every way to stop, by its name in `WAYS`; `learned` are the rows of DT-RAMs."""
    rows = {name: row for name, row in table.rows.items() if name in group}
    every = [group[name] for name, row in rows.items() if row.run.agent == "ram" and row.by_itself]
    rams = [runs for runs in every if runs[0]["options"].get("policy", "learned") == "learned"]
    blind = [runs for runs in every if runs not in rams]
    fixed: Points = []
    thresholds = [locate(table, group[name]) for name, row in rows.items() if row.threshold is not None]
    if rams:
        longest = max(rams, key=lambda runs: runs[0]["mean_glimpses"])
        fixed = count_steps(table, longest)
        curves = zip(*(run["threshold_curve"] for run in longest), strict=True)
        thresholds += [locate(table, runs, "accuracy") for runs in curves]
    papers = {"ram": [], "dtram": [], "whole_image": []}
    for row in rows.values():
        if row.by_itself and row.paper and row.paper_glimpses:
            papers[row.run.agent].append((row.paper_glimpses, [row.paper]))
    return {
        "fixed number of glimpses, one network": fixed,
        "RAM trained with a fixed number": [locate(table, runs) for runs in rams],
        "stop above a confidence": sorted(thresholds) if rams else [],
        "random stop, as many as DT-RAM": [locate(table, runs, "random_stop_accuracy") for runs in learned],
        "DT-RAM, several discounts": [locate(table, runs) for runs in learned],
        "random locations, fixed number": [point for runs in blind for point in count_steps(table, runs)],
        "the paper's RAM": papers["ram"],
        "the paper's DT-RAM": papers["dtram"],
    }


def count_steps(table: Table, runs: Runs) -> Points:
    """Return what the runs reach when all images stop after glimpse 1, 2, ..."""
    steps = zip(*(run["per_step_accuracy"] for run in runs), strict=True)
    return [
        (float(step), [to_percent(table, one) for one in reached]) for step, reached in enumerate(steps, 1)
    ]


def locate(table: Table, runs: Runs, accuracy: str = "") -> tuple[float, list[float]]:
    """Return the mean glimpses of runs, and their values of the table's measure, or of another accuracy."""
    return mean_glimpses(runs), [to_percent(table, run[accuracy or table.accuracy]) for run in runs]


def label_discounts(axes: Axes, table: Table, learned: Sequence[Runs]) -> None:
    """Write each point's discount beside it, on alternating sides; near points share a label."""
    falls = table.measure == "error"
    sides = ((-7, -13 if falls else 9), "right"), ((6, 9 if falls else -16), "left")
    style = {"fontsize": 8.5, "color": RED, "bbox": plots.LABEL, "zorder": 4}
    near = NEAR * max((len(runs[0]["per_step_accuracy"]) for runs in learned), default=0)
    groups: list[list[Runs]] = []
    for runs in learned:
        if groups and mean_glimpses(runs) - mean_glimpses(groups[-1][-1]) < near:
            groups[-1].append(runs)
        else:
            groups.append([runs])
    for group, place in zip(groups, cycle(sides), strict=False):
        offset, side = place if len(group) == 1 else ((6, -14), "left")  # a long one: away from the axis
        gammas = ", ".join(f"{runs[0]['options']['gamma']:g}" for runs in group)
        label, (glimpses, values) = rf"$\gamma$ {gammas}", locate(table, group[-1])
        point = (glimpses, statistics.fmean(values))
        axes.annotate(label, point, offset, textcoords="offset points", ha=side, **style)


def draw_cost(about: About, tables: Tables, target: Path) -> bool:
    """Draw accuracy against the cost of an image: operations and pixels of the sensor's network."""
    series: dict[str, list[Runs]] = {}
    for label, (names, start) in SERIES.items():
        rows = {name: runs for table in names for name, runs in tables.get(table, {}).items()}
        if chosen := [runs for name, runs in rows.items() if name.startswith(start)]:
            series[label] = chosen
    if not any(run["flops"][0] for rows in series.values() for runs in rows for run in runs):
        return False
    figure = plots.create_figure(10.4, 4.4)
    for axes, (key, unit, label) in zip(figure.subplots(1, 2, sharey=True), COSTS, strict=True):
        for (name, rows), (colour, line), marker in zip(series.items(), cycle(COMPARED), cycle("osD^v*")):
            points: Points = []
            for runs in rows:
                costs = [run[key][0] + (run["mean_glimpses"] - 1) * run[key][1] for run in runs]
                points.append((statistics.fmean(costs) / unit, [100 * run["accuracy"] for run in runs]))
            style = {"marker": marker, "linestyle": line, "color": colour, "markersize": 5, "linewidth": 1.3}
            draw_means(axes, sorted(points), label=name, **style)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        plots.tidy(axes)
    figure.axes[0].set_ylabel("accuracy (%)")
    set_title(figure.axes[0], describe(about, {name: rows[0] for name, rows in series.items()}))
    figure.axes[1].legend(fontsize=8.5, frameon=False)
    plots.save(figure, target)
    return True


def draw_histogram(about: About, tables: Tables, target: Path) -> bool:
    """Draw the stopping steps of the paper's DT-RAMs."""
    rows = {"dtram-2": TABLES["dtram-figure-5"].rows, "dtram-6": TABLES["dtram-figure-6"].rows}
    group = {name: runs for table, own in tables.items() for name, runs in own.items() if name in rows[table]}
    if group:
        write_histogram(group, describe(about, group), target)
    return bool(group)


def write_histogram(group: Rows, title: str, target: Path) -> None:
    """Write the share of images that stop after each number of glimpses: means over seeds, with ranges."""
    figure = plots.create_figure(6.4, 3.8)
    axes = figure.subplots()
    width = 0.8 / len(group)
    for position, ((name, runs), (colour, _)) in enumerate(zip(group.items(), COMPARED, strict=False)):
        shares = np.asarray([100 * np.asarray(run["glimpse_histogram"]) / run["images"] for run in runs])
        steps = np.arange(1, shares.shape[1] + 1) + (position - (len(group) - 1) / 2) * width
        ends = [shares.mean(0) - shares.min(0), shares.max(0) - shares.mean(0)]
        hatch, label = "" if position == 0 else "///", f"{name}: mean {mean_glimpses(runs):.2f}"
        bars = {"color": colour, "label": label, "hatch": hatch, "edgecolor": "white", "linewidth": 0.6}
        axes.bar(steps, shares.mean(0), width, yerr=ends, ecolor=GREY, capsize=2, **bars)
    axes.set(xlabel="glimpses before stopping", ylabel="share of test images (%)")
    set_title(axes, title)
    plots.set_whole_ticks(axes)
    axes.legend(fontsize=9, frameon=False)
    plots.tidy(axes)
    plots.save(figure, target)


def draw_ablations(about: About, tables: Tables, target: Path) -> bool:
    """Draw the gains of glimpses over one view, with and without curriculum and intermediate supervision."""
    known = [name for name in ABLATIONS if len(tables.get(name, {})) > 1 and "1 glimpse" in tables[name]]
    if not known:
        return False
    figure = plots.create_figure(9.6, 4.2)
    ours, paper = figure.subplots(1, 2, sharey=True)
    for name in known:
        draw_gains(ours, paper, name, tables[name])
    title = describe(about, next(iter(tables.values())))
    for axes, head in ((ours, title), (paper, "the paper: CUB-200-2011")):
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xlabel("glimpses")
        plots.set_whole_ticks(axes)
        set_title(axes, head, 10)
        plots.tidy(axes)
    ours.set_ylabel("accuracy above one view (points)")
    paper.legend(fontsize=8.5, frameon=False)
    plots.save(figure, target)
    return True


def draw_gains(ours: Axes, paper: Axes, name: str, group: Rows) -> None:
    """Draw a table's gains over one view, with intervals, and the paper's."""
    # Of the tables that compare pairs, the half without.
    rows = [row for row in TABLES[name].rows if row.endswith(("glimpse", "glimpses", "without"))]
    quoted = [TABLES[name].rows[row].paper for row in rows]
    gains = [compare_rows(group.get(row, ()), group["1 glimpse"]) for row in rows]
    steps, known = zip(*[(step, gain) for step, gain in enumerate(gains, start=1) if gain], strict=True)
    middle, low, high = np.asarray(known).T
    label, marker, line, colour = ABLATIONS[name]
    style = {"marker": marker, "linestyle": line, "color": colour, "markersize": 5, "linewidth": 1.5}
    ends = (middle - low, high - middle)
    ours.errorbar(steps, middle, yerr=ends, capsize=2, elinewidth=0.9, label=label, **style)
    paper.plot(range(1, len(quoted) + 1), np.asarray(quoted) - quoted[0], label=label, **style)


def draw_rewards(about: About, tables: Tables, target: Path) -> bool:
    """Draw learning curves."""
    histories = {name: [run["history"] for run in runs] for name, runs in tables["rewards"].items()}
    epochs = [epoch for runs in histories.values() for history in runs for epoch in history]
    panels = {key: title for key, title in PANELS.items() if all(key in epoch for epoch in epochs)}
    plots.write_compared_curves(histories, panels, target, errors=True)
    return True
