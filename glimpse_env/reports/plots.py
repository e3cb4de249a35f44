"""The pictures a run leaves behind: learning curves, stopping steps, error against glimpses, and fixation paths, as PNG files.

matplotlib is imported when a figure is drawn, since `--help` would wait for it. Figures are drawn on the Agg canvas directly, so no global
plotting state is touched. Colours are Okabe and Ito's, which colour-blind readers can tell apart; markers and line styles say the same
again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import cycle, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from glimpse_env.rendering import frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, GREEN, RED, GREY = "#0072b2", "#009e73", "#d55e00", "#5a5a60"
COMPARED = ((BLUE, "-"), (RED, "--"), (GREEN, "-."), ("#cc79a7", ":"), ("#e69f00", (0, (5, 1, 1, 1))), ("#56b4e9", (0, (1, 1))))
LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # keeps a number readable where a line crosses it


def learning_curves(history: Sequence[Mapping[str, float | None]], target: Path) -> None:
    """Write loss, reward, error and mean glimpses against the epoch, one panel each.

    Args:
        history: Rows with epoch, reward, train_accuracy, validation_accuracy, mean_glimpses, loss; a value may be missing or None.
        target: The PNG file.
    """
    figure = new_figure(9, 5.6)
    panels = figure.subplots(2, 2, sharex=True)
    curve(panels[0, 0], history, "loss", BLUE, "-")
    curve(panels[0, 1], history, "reward", BLUE, "-")
    curve(panels[1, 0], history, "train_accuracy", BLUE, "-", "training (sampled glimpses)")
    curve(panels[1, 0], history, "validation_accuracy", RED, "--", "validation")
    curve(panels[1, 1], history, "mean_glimpses", BLUE, "-")
    titles = ("Loss", "Reward per episode", "Error (%)", "Mean glimpses per image")
    for axes, title in zip(panels.flat, titles, strict=True):
        axes.set_title(title, fontsize=10, loc="left")
        tidy(axes)
    panels[1, 0].legend(fontsize=8, frameon=False)
    log_if_positive(panels[1, 0])
    for axes in panels[1]:
        axes.set_xlabel("epoch")
        whole_ticks(axes)
    save(figure, target)


def compared_curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float | None]]]], panels: Mapping[str, str], target: Path, errors: bool = False
) -> None:
    """Write curves of several settings side by side: the mean over seeds as a line, the range over seeds as a band.

    Args:
        histories: By setting, the rows of every seed's run; all have the same epochs.
        panels: By the row's key that a panel shows, its title; accuracies are drawn in percent.
        target: The PNG file.
        errors: Draw accuracies as errors, on a logarithmic scale.
    """
    figure = new_figure(4.6 * len(panels), 3.8)
    for axes, (key, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for (name, runs), (colour, style) in zip(histories.items(), cycle(COMPARED)):
            values = np.asarray([[row[key] for row in run] for run in runs], float)
            if key.endswith("accuracy"):
                values = 100 * (1 - values) if errors else 100 * values
            epochs = [row["epoch"] for row in runs[0]]
            axes.plot(epochs, values.mean(0), color=colour, linestyle=style, linewidth=1.6, label=name)
            axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.18, linewidth=0)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("epoch")
        whole_ticks(axes)
        if errors:
            log_if_positive(axes)
        tidy(axes)
    figure.axes[0].legend(fontsize=8, frameon=False)
    save(figure, target)


def stopping_histogram(histogram: Sequence[int], target: Path, title: str) -> None:
    """Write how many images stop after each number of glimpses (DT-RAM, Figure 5); `histogram[0]` counts those with one glimpse."""
    counts = np.asarray(histogram, float)
    total = max(counts.sum(), 1.0)
    steps = np.arange(1, len(counts) + 1)
    figure = new_figure(max(5.2, 0.55 * len(counts)), 3.6)
    axes = figure.subplots()
    shares = 100 * counts / total
    bars = axes.bar(steps, shares, width=0.8, color=BLUE)
    if len(counts) <= 20:
        axes.bar_label(bars, [f"{int(count):,}" for count in counts], fontsize=8, padding=3, color=GREY, bbox=LABEL)
    mean = float((steps * counts).sum() / total)
    if counts.any():
        axes.axvline(mean, color=RED, linestyle="--", linewidth=1.4, label=f"mean {mean:.2f} glimpses")
        axes.legend(fontsize=9, frameon=False)
    axes.set(xlabel="glimpses before stopping", ylabel="share of images (%)", ylim=(0, max(1.0, 1.12 * shares.max(initial=0))))
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    whole_ticks(axes)
    tidy(axes)
    save(figure, target)


def accuracy_against_glimpses(result: Mapping[str, Any], target: Path) -> None:
    """Write error against mean glimpses: the agent's own, a fixed number of steps, and a threshold on the largest probability.

    Args:
        result: With accuracy and mean_glimpses (the agent's own), per_step_accuracy (a list from step 1), and threshold_curve (a list of
            mappings with threshold, mean_glimpses, accuracy). Accuracies are fractions.
        target: The PNG file.
    """
    figure = new_figure(6.4, 4.4)
    axes = figure.subplots()
    fixed = result["per_step_accuracy"]
    axes.plot(range(1, len(fixed) + 1), errors(fixed), "s:", color=GREY, markersize=5, label="fixed number of steps")
    points = sorted(result["threshold_curve"], key=lambda point: point["mean_glimpses"])
    glimpses = [point["mean_glimpses"] for point in points]
    axes.plot(glimpses, errors([point["accuracy"] for point in points]), ".-", color=BLUE, label="stop above a confidence threshold")
    mean, error = result["mean_glimpses"], float(errors([result["accuracy"]])[0])
    own = "learned stop" if mean < len(fixed) else "this agent"
    axes.plot([mean], [error], "*", color=RED, markersize=15, markeredgecolor="white", zorder=3, label=own)
    axes.annotate(f"{error:.2f} % at {mean:.2f}", (mean, error), (8, 8), textcoords="offset points", fontsize=9, color=RED)
    axes.set(xlabel="mean glimpses per image", ylabel="error (%)")
    names = " on ".join(str(result[key]) for key in ("agent", "dataset") if key in result)
    axes.set_title(names or "Error against glimpses", fontsize=11, loc="left", parse_math=False)
    axes.legend(fontsize=9, frameon=False)
    log_if_positive(axes)
    tidy(axes)
    save(figure, target)


def fixation_paths(episodes: Sequence[tuple[int, bool, frames.Episode]], target: Path, per_group: int = 8) -> None:
    """Write images with their glimpse boxes and paths, grouped by stopping step (DT-RAM, Figure 7).

    Args:
        episodes: Of each image, the step at which it stopped, whether its answer was right, and what was looked at.
        target: The PNG file.
        per_group: How many images, the first of each group, get a place in its row.
    """
    ordered = sorted(episodes, key=lambda episode: episode[0])
    groups = {step: list(group)[:per_group] for step, group in groupby(ordered, key=lambda episode: episode[0])}
    rows, width, height = max(1, len(groups)), max(5.4, 0.5 + 1.55 * per_group), 0.6 + 1.75 * max(1, len(groups))
    figure = new_figure(
        width, height, layout=None
    )  # margins in inches: to find them, matplotlib would lay out every panel's ticks and titles
    margins = {
        "left": 0.4 / width,
        "right": 1 - 0.05 / width,
        "bottom": 0.1 / height,
        "top": 1 - 0.65 / height,
        "wspace": 0.06,
        "hspace": 0.2,
    }
    panels = figure.subplots(rows, per_group, squeeze=False, gridspec_kw=margins, subplot_kw={"xticks": [], "yticks": []})
    for axes in panels.flat:
        axes.set_axis_off()
    for row, (step, group) in zip(panels, groups.items(), strict=False):
        for axes, (_, right, episode) in zip(row, group, strict=False):
            thumbnail(axes, episode, right)
        row[0].set_ylabel(f"stopped at {step}", fontsize=10)
    meaning = "above each image the answer: solid green = right, dashed red = wrong; glimpses from blue (first) to yellow (last)"
    figure.suptitle(meaning if per_group >= 6 else meaning.replace("; ", "\n"), fontsize=9)
    save(figure, target)


def thumbnail(axes: Axes, episode: frames.Episode, right: bool) -> None:
    """Show one image with its path; the frame says whether the answer was right, the title which one it was."""
    axes.set_axis_on()
    axes.imshow(frames.draw_image(episode), interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=GREEN if right else RED, linewidth=2.5, linestyle="-" if right else (0, (3, 1.5)), capstyle="butt")
    shares = episode.probabilities
    answer = "no answer" if shares is None else episode.classes[int(np.argmax(shares))]
    title = answer if right or episode.label is None else f"{answer} (is {episode.classes[episode.label]})"
    axes.set_title(title if len(title) <= 22 else title[:21] + "…", fontsize=8, color=GREEN if right else RED, pad=3, parse_math=False)


def curve(axes: Axes, history: Sequence[Mapping[str, float | None]], key: str, colour: str, style: str, label: str | None = None) -> None:
    """Draw one quantity against the epoch, leaving out the rows that lack it; accuracies are drawn as errors in percent."""
    rows = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
    epochs, values = np.asarray(rows, float).reshape(-1, 2).T
    values = errors(values) if key.endswith("accuracy") else values
    marker = "o" if len(rows) <= 30 else ""
    axes.plot(epochs, values, color=colour, linestyle=style, marker=marker, markersize=3, linewidth=1.5, label=label)


def errors(accuracies: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return errors in percent from accuracies as fractions, free of the last digit's noise so that no error stays exactly 0."""
    return np.round(100 * (1 - np.asarray(accuracies, float)), 10)


def log_if_positive(axes: Axes) -> None:
    """Give the vertical axis a logarithmic scale with plain numbers, unless it holds a zero or nothing."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.zeros(0)])
    if not (values.size and np.nanmin(values) > 0):
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure of this size in inches, on its own Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def whole_ticks(axes: Axes) -> None:
    """Mark whole numbers alone on the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def tidy(axes: Axes) -> None:
    """Leave out the frame's empty sides and add a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e4e8", linewidth=0.7)
    axes.set_axisbelow(True)


def save(figure: Figure, target: Path) -> None:
    """Write the figure as PNG beside `target` and then move it there, so that an interruption leaves the previous file whole."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(draft, format="png")
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
