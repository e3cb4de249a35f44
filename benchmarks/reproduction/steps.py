"""Stopping steps and ablations, drawn from rows (DT-RAM, Figures 5 and 6, Tables 6, 8 and 9)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from reproduction.text_table import Rows

from glimpse_env.reports import plots
from glimpse_env.reports.plots import BLUE, COMPARED, GREEN, GREY, RED


def histogram(group: Rows, title: str, target: Path) -> None:
    """Write how many images stop after each number of glimpses (DT-RAM, Figures 5 and 6): means over seeds, and their ranges."""
    figure = plots.new_figure(6.4, 3.8)
    axes = figure.subplots()
    width = 0.8 / len(group)
    for position, ((name, runs), (colour, _)) in enumerate(zip(group.items(), COMPARED, strict=False)):
        shares = np.asarray([100 * np.asarray(run["glimpse_histogram"]) / run["images"] for run in runs])
        steps = np.arange(1, shares.shape[1] + 1) + (position - (len(group) - 1) / 2) * width
        ends = [shares.mean(0) - shares.min(0), shares.max(0) - shares.mean(0)]
        label = f"{name}: mean {statistics.fmean(run['mean_glimpses'] for run in runs):.2f}"
        hatch = "" if position == 0 else "///"
        bars = {"color": colour, "label": label, "hatch": hatch, "edgecolor": "white", "linewidth": 0.6}
        axes.bar(steps, shares.mean(0), width, yerr=ends, ecolor=GREY, capsize=2, **bars)
    axes.set(xlabel="glimpses before stopping", ylabel="share of test images (%)")
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    plots.whole_ticks(axes)
    axes.legend(fontsize=9, frameon=False)
    plots.tidy(axes)
    plots.save(figure, target)


ABLATIONS = {
    "grown, supervised": ("with curriculum and supervision (Table 6)", "o", "-", BLUE),
    "not grown": ("without curriculum (Table 8)", "s", "--", RED),
    "not supervised": ("without supervision (Table 9)", "^", "-.", GREEN),
}


def ablations(curves: Mapping[str, tuple[Mapping[int, tuple[float, float, float]], Sequence[float]]], title: str, target: Path) -> None:
    """Write what glimpses add to one view, with and without curriculum and intermediate supervision (DT-RAM, Tables 6, 8 and 9).

    Args:
        curves: By the key of `ABLATIONS`: the gain over one view in points with its interval, by number of glimpses; the paper's accuracies
            from one glimpse on.
        title: Of our panel.
        target: The PNG file.
    """
    from matplotlib.ticker import MaxNLocator  # not needed by --help

    figure = plots.new_figure(9.6, 4.2)
    ours, paper = figure.subplots(1, 2, sharey=True)
    for name, (found, quoted) in curves.items():
        label, marker, line, colour = ABLATIONS[name]
        style = {"label": label, "marker": marker, "linestyle": line, "color": colour, "markersize": 5, "linewidth": 1.5}
        steps = sorted(found)
        middle = np.asarray([found[step][0] for step in steps])
        ends = np.abs(np.asarray([found[step][1:] for step in steps]).T - middle)
        ours.errorbar(steps, middle, yerr=ends, capsize=2, elinewidth=0.9, **style)
        paper.plot(range(1, len(quoted) + 1), np.asarray(quoted) - quoted[0], **style)
    for axes, head in ((ours, title), (paper, "the paper: CUB-200-2011")):
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xlabel("glimpses")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(head, fontsize=10, loc="left", parse_math=False)
        plots.tidy(axes)
    ours.set_ylabel("accuracy above one view (points)")
    paper.legend(fontsize=8.5, frameon=False)
    plots.save(figure, target)
