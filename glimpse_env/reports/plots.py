"""Charts, drawn with matplotlib: those of a run as PNG files and as SVG in its report, others as PNG files.

matplotlib is imported when a figure is drawn, since `--help` would wait for it. Figures are drawn on the Agg
canvas directly, so no global plotting state is touched. Colours are Okabe and Ito's, which colour-blind
readers can tell apart; markers and line styles repeat the distinction.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from glimpse_env.runtime import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, GREEN, RED, GREY, GRID = "#0072b2", "#009e73", "#d55e00", "#5a5a60", "#e4e4e8"
COMPARED = ((BLUE, "-"), (RED, "--"), (GREEN, "-."), ("#cc79a7", ":"))
COMPARED += (("#e69f00", (0, (5, 1, 1, 1))), ("#56b4e9", (0, (1, 1))))
LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # keeps a number readable on a line
Measure = Literal["accuracy", "mean_class_accuracy"]  # an entry of result rows
ERRORS: dict[Measure, str] = {
    "accuracy": "error",
    "mean_class_accuracy": "mean class error",
}  # what 1 - an accuracy is called
# A row an epoch: reward, train_accuracy, validation_accuracy, mean_glimpses, loss; each may be missing or
# None.
History = Sequence[Mapping[str, Any]]

# Learning curves: the title of each chart, and its curves as (key of an epoch's row, name, colour, line
# style).
CURVES = {
    "Loss": (("loss", "loss", BLUE, "-"),),
    "Reward per episode": (("reward", "reward", BLUE, "-"),),
    "Error (%)": (
        ("train_accuracy", "training (sampled glimpses)", BLUE, "-"),
        ("validation_accuracy", "validation", RED, "--"),
    ),
    "Mean glimpses per image": (("mean_glimpses", "mean glimpses", BLUE, "-"),),
}


def write_chart(
    target: Path, title: str, draw: Callable[..., None], *content: object, height: float = 4.2
) -> None:
    """Write one chart as a PNG file, drawn by a function that takes axes and content; `height` in inches."""
    figure = create_figure(6.4, height)
    axes = figure.subplots()
    draw(axes, *content)
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    save(figure, target)


def write_learning_curves(history: History, target: Path) -> None:
    """Write all charts of `CURVES` as one PNG file."""
    figure = create_figure(9, 5.6)
    for axes, title in zip(figure.subplots(2, 2, sharex=True).flat, CURVES, strict=True):
        draw_learning_curves(axes, history, title)
        axes.set_title(title, fontsize=10, loc="left", pad=14)
    save(figure, target)


def draw_learning_curves(axes: Axes, history: History, title: str) -> None:
    """Draw one chart of `CURVES` against the epoch, counted through all stages, whose ends are marked."""
    for key, name, colour, linestyle in CURVES[title]:
        points = [(epoch, row[key]) for epoch, row in enumerate(history, start=1) if row.get(key) is not None]
        epochs, values = np.asarray(points, float).reshape(-1, 2).T
        values = to_errors(values) if key.endswith("accuracy") else values
        style: dict[str, Any] = {"color": colour, "linestyle": linestyle, "linewidth": 1.5, "markersize": 3}
        axes.plot(epochs, values, label=name, marker="o" if len(points) <= 30 else "", **style)
    if len(CURVES[title]) > 1:
        axes.legend(fontsize=9, frameon=False)
        set_log_scale(axes)
    stages = [str(row.get("stage", "")) for row in history]
    for epoch, (before, after) in enumerate(pairwise(stages), start=1):
        if before != after:
            axes.axvline(epoch + 0.5, color=GREY, linestyle=":", linewidth=1)
            text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9, "color": GREY}
            text["xycoords"] = ("data", "axes fraction")
            axes.annotate(before, (epoch + 0.5, 1), (-4, 2), ha="right", **text)
            axes.annotate(after, (epoch + 0.5, 1), (4, 2), ha="left", **text)
    axes.set_xlabel("epoch")
    set_whole_ticks(axes)
    tidy(axes)


def write_compared_curves(
    histories: Mapping[str, Sequence[History]], panels: Mapping[str, str], target: Path, errors: bool = False
) -> None:
    """Write curves of several settings: the mean over seeds as a line, the range over seeds as a band.

    `histories` holds, by setting, every seed's run, all with the same epochs; `panels` the title of each
    panel, by the key that it shows. Accuracies are drawn in percent; with `errors` as errors, on a
    logarithmic scale.
    """
    figure = create_figure(4.6 * len(panels), 3.8)
    grid = figure.subplots(1, len(panels), squeeze=False)
    for axes, (key, title) in zip(grid[0], panels.items(), strict=True):
        for (name, runs), (colour, style) in zip(histories.items(), cycle(COMPARED)):
            values = np.asarray([[row[key] for row in run] for run in runs], float)
            if key.endswith("accuracy"):
                values = 100 * (1 - values) if errors else 100 * values
            epochs = [row["epoch"] for row in runs[0]]
            axes.plot(epochs, values.mean(0), color=colour, linestyle=style, linewidth=1.6, label=name)
            axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.18, linewidth=0)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("epoch")
        set_whole_ticks(axes)
        if errors:
            set_log_scale(axes)
        tidy(axes)
    figure.axes[0].legend(fontsize=8, frameon=False)
    save(figure, target)


def draw_stopping_histogram(axes: Axes, groups: Sequence[Mapping[str, int]]) -> None:
    """Draw how many images stopped after each number of glimpses (DT-RAM, Figure 5), correct ones below.

    A group holds, for a number of glimpses `step`, how many `images` stopped there, and how many of them with
    a `correct` prediction.
    """
    columns = ([group[key] for group in groups] for key in ("step", "images", "correct"))
    steps, counts, correct = (np.asarray(column, float) for column in columns)
    total = max(counts.sum(), 1.0)
    heights, correct = 100 * counts / total, 100 * correct / total
    axes.bar(steps, correct, width=0.8, color=GREEN, label="correct")
    axes.bar(steps, heights - correct, width=0.8, bottom=correct, color=RED, label="incorrect")
    outlines = axes.bar(steps, heights, width=0.8, alpha=0)
    for group, bar in zip(groups, outlines, strict=True):
        share = f" ({100 * group['correct'] / group['images']:.1f} %)" if group["images"] else ""
        bar.set_gid(f"{group['step']}: {group['images']:,} images, {group['correct']:,} correct{share}")
    if len(steps) <= 12:
        numbers = [f"{int(count):,}" for count in counts]
        axes.bar_label(outlines, numbers, fontsize=8, padding=3, color=GREY, bbox=LABEL)
    if counts.any():
        mean = float((steps * counts).sum() / total)
        axes.axvline(mean, color=GREY, linestyle="--", linewidth=1.4, label=f"mean {mean:.2f} glimpses")
        axes.legend(fontsize=9, frameon=False)
    top = max(1.0, 1.12 * heights.max(initial=0))
    axes.set(xlabel="glimpses before stopping", ylabel="share of images (%)", ylim=(0, top))
    set_whole_ticks(axes)
    tidy(axes)


def draw_error_against_glimpses(axes: Axes, result: Mapping[str, Any], measure: Measure = "accuracy") -> None:
    """Draw error against mean glimpses: the agent's own, fixed numbers of glimpses, confidence thresholds.

    `result` holds accuracy and mean_glimpses (the agent's own), per_step_accuracy (a list from step 1), and
    threshold_curve (a list of mappings with mean_glimpses and accuracy). Accuracies are fractions; `measure`
    is which one is drawn, "accuracy" or "mean_class_accuracy".
    """
    fixed = result[f"per_step_{measure}"]
    steps = range(1, len(fixed) + 1)
    axes.plot(steps, to_errors(fixed), "s:", color=GREY, markersize=5, label="fixed number of glimpses")
    points = sorted(result["threshold_curve"], key=lambda point: point["mean_glimpses"])
    glimpses, accuracies = ([point[key] for point in points] for key in ("mean_glimpses", measure))
    axes.plot(glimpses, to_errors(accuracies), ".-", color=BLUE, label="stop above a confidence threshold")
    mean, error = result["mean_glimpses"], float(to_errors([result[measure]])[0])
    own = "learned stop" if mean < len(fixed) else "this agent"
    axes.plot([mean], [error], "*", color=RED, markersize=15, markeredgecolor="white", zorder=3, label=own)
    text = f"{error:.2f} % at {mean:.2f}"
    axes.annotate(text, (mean, error), (8, 8), textcoords="offset points", fontsize=9, color=RED)
    axes.set(xlabel="mean glimpses per image", ylabel=f"{ERRORS[measure]} (%)")
    axes.legend(fontsize=9, frameon=False)
    set_log_scale(axes)
    tidy(axes)


def to_errors(accuracies: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return errors in percent from accuracies as fractions, free of the last digit's noise."""
    return np.round(100 * (1 - np.asarray(accuracies, float)), 10)


def set_log_scale(axes: Axes) -> None:
    """Make the vertical axis logarithmic if values are positive and range over more than a factor of 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    if not (values.size and values.max() > 5 * values.min() > 0):
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def create_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """Return an empty figure of this size in inches, on its own Agg canvas; `constrained` = lay it out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def set_whole_ticks(axes: Axes) -> None:
    """Mark whole numbers alone on the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def tidy(axes: Axes) -> None:
    """Leave out the frame's empty sides and add a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def save(figure: Figure, target: Path) -> None:
    """Write the figure as a PNG file, atomically."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    files.write_bytes(target, buffer.getvalue())
