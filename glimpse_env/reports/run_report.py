"""The report of one training run: its result beside the paper's, charts, and single images; and its plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import fixations, intervals
from glimpse_env.evaluation.stopping_rules import choose_rule
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.reports import fixation_figures, fixation_table, gallery, page, plots, published, svg
from glimpse_env.reports.page import format_signed
from glimpse_env.reports.plots import Measure

Values = Mapping[str, Any]
# Options that name paths, or that are shown elsewhere.
HIDDEN = ("root", "out", "weights", "ram", "dataset", "resume", "device", "threads")


def write_plots(
    folder: Path, suffix: str, row: Values, saved: Values, env: GlimpseVectorEnv, trajectories: Trajectories
) -> None:
    """Write the run's plots as PNG files; their names end in `suffix` (arguments as `write_report`)."""

    def target(name: str) -> Path:
        return folder / f"{name}{suffix}.png"

    stops = choose_rule(saved["dynamic"]).find_stops(trajectories)
    groups = gallery.count_by_step(trajectories, stops)
    title = f"{row['agent']} on {row['dataset']}, {row['split']} split"
    plots.write_learning_curves(saved["progress"]["history"], target("learning_curves"))
    plots.write_chart(target("stopping_histogram"), title, plots.draw_stopping_histogram, groups)
    curve = (plots.draw_error_against_glimpses, row, choose_measure(row))
    plots.write_chart(target("accuracy_against_glimpses"), title, *curve)
    episodes = fixation_figures.select_episodes(env, trajectories, stops)
    fixation_figures.write_fixation_paths(episodes, target("fixation_paths"))
    fixation_figures.write_composites(env, episodes, target("foveal_composites"))
    if (chosen := select_chosen(row, saved, env, trajectories)) is not None:
        rows, columns = fixation_figures.arrange_maps(chosen)
        height, drawing = 0.9 + rows * 6.4 / columns, (fixation_figures.draw_heat_maps, chosen)
        plots.write_chart(target("fixation_heatmaps"), title, *drawing, height=height)


def select_chosen(
    row: Values, saved: Values, env: GlimpseVectorEnv, trajectories: Trajectories
) -> fixations.Chosen | None:
    """Return the fixations that the agent chose; None if it chose none, or the row does not tell."""
    if "cells" not in (known := row.get("fixations", {})):
        return None
    stops = choose_rule(saved["dynamic"]).find_stops(trajectories)
    return fixations.select_chosen(env, trajectories, stops, known["first_glimpse"] == 1)


def write_report(
    target: Path, row: Values, saved: Values, env: GlimpseVectorEnv, trajectories: Trajectories
) -> None:
    """Write the report of an evaluation as an HTML file.

    `row` is the result row, `saved` what was trained, as a checkpoint (dynamic, progress); the trajectories
    hold the probabilities.
    """
    folder = Path(row["dataset"])  # a folder of images may have the name of a paper's data set
    row = {**row, "dataset": folder.name if str(folder) == folder.name else f"the folder {folder.name}"}
    images = gallery.build_gallery(env, trajectories, saved["dynamic"])
    name: str = published.AGENTS.get(row["agent"], str(row["agent"]))
    classes = len(env.images.classes)
    title = f"{name} on {published.format_dataset_name(row['dataset'], classes)}"
    selection = gallery.describe_selection(images, row["images"])
    body = build_head(title, row) + build_comparison(row, name, classes)
    body += page.read_static("gallery.html").replace("$selection", escape(selection))
    body += build_charts(row, saved["progress"]["history"], images["groups"])
    body += build_fixations(row, select_chosen(row, saved, env, trajectories)) + build_details(row)
    page.write(target, title, body, ("viewer.js", "gallery.js", "controls.js"), images)


def build_head(title: str, row: Values) -> str:
    """Return the page's title and the three numbers that matter."""
    accuracy, glimpses, horizon = row["accuracy"], row["mean_glimpses"], len(row["per_step_accuracy"])
    margin = f"± {100 * intervals.compute_wilson_half_width(accuracy, row['images']):.2f}"
    error = f"{100 * (1 - accuracy):.2f} %, {margin} by the number of images"
    by_class = (
        f"; mean over classes {100 * row['mean_class_accuracy']:.2f} %" if compares_classes(row) else ""
    )
    tiles = [
        (f"{100 * accuracy:.2f}<small> %</small>", f"correct{by_class}; error {error}"),
        (f"{glimpses:.2f}", f"glimpses an image on average, of {horizon} at most"),
        (f"{row['images']:,}", f"{escape(row['split'])} images, each evaluated once"),
    ]
    boxes = "".join(f'<div class="tile"><b>{value}</b><span>{text}</span></div>' for value, text in tiles)
    kicker = "An agent that learned where to look" + (" and when to stop" if glimpses < horizon else "")
    head = f'<p class="kicker">{kicker}</p><h1>{escape(title)}</h1>'
    return f'<header>{head}<div class="tiles">{boxes}</div></header>'


def compares_classes(row: Values) -> bool:
    """Return whether the row's mean class accuracy is what is compared; older rows have none."""
    return "mean_class_accuracy" in row and published.averages_classes(row["agent"], row["dataset"])


def choose_measure(row: Values) -> Measure:
    """Return the measure that is compared, as the row's entries name it."""
    return "mean_class_accuracy" if compares_classes(row) else "accuracy"


def build_comparison(row: Values, name: str, classes: int) -> str:
    """Return the result row beside the paper's figures, and beside other ways to stop."""
    measure, glimpses = choose_measure(row), row["mean_glimpses"]
    error = 100 * (1 - row[measure])
    reason, figures = published.explain_difference(row, classes), published.find_figures(row)
    own = f"<strong>{escape(name)}, this run</strong>"
    lines = [[own, f"{error:.2f}", f"{glimpses:.2f}", "", "this report"]]
    for figure in figures:
        spent = "" if figure.glimpses is None else f"{figure.glimpses:g}"
        difference = "" if reason else format_signed(error - figure.error)
        text = f"{escape(figure.row)}, paper"
        lines.append([text, f"{figure.error:.2f}", spent, difference, figure.source])
    for text, other, spent in compute_other_stops(row, measure):
        lines.append([text, f"{other:.2f}", spent, format_signed(error - other), "this run"])
    notes = [] if figures else ["No paper reports this agent on this data set."]
    if reason and figures:
        problem = "so it cannot be compared with the papers' figures directly."
        notes.append(f"This run was measured {reason}, {problem}")
    if measure == "mean_class_accuracy":
        over_images = f"{100 * (1 - row['accuracy']):.2f} %"
        notes.append(f"Errors are means over classes; over images, this run's error is {over_images}.")
    heads = ["", f"{plots.ERRORS[measure]}, %", "mean glimpses", "difference", "source"]
    table = page.format_table(heads, lines, "result")
    return page.format_section("Result", table + page.format_note(" ".join(notes)))


def compute_other_stops(row: Values, measure: Measure) -> list[tuple[str, float, str]]:
    """Return name, error in percent and mean glimpses of other ways to stop, for an agent that stops."""
    steps, glimpses = row[f"per_step_{measure}"], row["mean_glimpses"]
    if glimpses >= len(steps):
        return []
    random, last = 100 * (1 - row[f"random_stop_{measure}"]), 100 * (1 - steps[-1])
    return [
        ("same number of glimpses, stopped at random", random, f"{glimpses:.2f}"),
        ("always the last glimpse", last, str(len(steps))),
    ]


def build_charts(row: Values, history: plots.History, groups: Sequence[Mapping[str, int]]) -> str:
    """Return the charts of the evaluation and of training."""
    charts = [
        svg.render_chart("Images by number of glimpses", plots.draw_stopping_histogram, groups),
        svg.render_chart(
            "Error by mean glimpses", plots.draw_error_against_glimpses, row, choose_measure(row)
        ),
    ]
    for title in plots.CURVES:
        charts.append(svg.render_chart(f"{title} while training", plots.draw_learning_curves, history, title))
    return page.format_charts("Curves", charts)


def build_fixations(row: Values, chosen: fixations.Chosen | None) -> str:
    """Return the table of fixations and their heat maps; empty if the agent chose none."""
    if chosen is None:
        return ""
    table = page.format_table(*fixation_table.build_table(row))
    rows, columns = fixation_figures.arrange_maps(chosen)
    height, drawing = 0.6 + rows * svg.WIDTH / columns, (fixation_figures.draw_heat_maps, chosen)
    charts = [svg.render_chart("Fixations by glimpse", *drawing, height=height)]
    for entry, target in fixation_table.TARGETS.items():
        if "found_by_path" in (hits := row.get(entry, {})):
            name = f"Images with a fixation on the {target}"
            charts.append(svg.render_chart(name, fixation_figures.draw_found, hits))
    note = page.format_note(fixation_table.describe(row))
    return page.format_section("Where it looked", f'{table}{note}<div class="charts">{"".join(charts)}</div>')


def build_details(row: Values) -> str:
    """Return how the run was made."""
    settings = (item for item in row["options"].items() if item[0] not in HIDDEN and item[1] is not None)
    facts = {
        "trained": page.format_duration(row["train_seconds"]),
        "seed": row["seed"],
        "device": row["device"],
        "precision": str(row["precision"]).removeprefix("torch."),
        "versions": ", ".join(f"{name} {number}" for name, number in row["versions"].items()),
        "settings": ", ".join(f"{name} {page.shorten_paths(str(value))}" for name, value in settings),
    }
    lines = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    command = f"<pre><code>{escape(page.shorten_paths(row['command']))}</code></pre>"
    return page.format_section("How it was made", f"{command}<dl>{lines}</dl>")
