"""The report of one training run: its result beside the paper's, its curves, when it stopped, and what it saw of single images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import trajectories
from glimpse_env.reports import charts, gallery, page, published
from glimpse_env.reports.charts import Series
from glimpse_env.reports.page import signed, text

HIDDEN = (
    "root",
    "out",
    "weights",
    "ram",
    "dataset",
    "resume",
    "device",
    "threads",
)  # options that name places of the machine, or nothing new


def write_run(target: Path, result: Mapping[str, Any], saved: Mapping[str, Any], env: GlimpseVectorEnv, looks: trajectories.Looks) -> None:
    """Write the report of an evaluation.

    Args:
        target: The HTML file.
        result: The result row.
        saved: What was trained, as in a checkpoint: dynamic, progress, options.
        env: The environment of the evaluation.
        looks: Every image's trajectory, with the probabilities of the classes.
    """
    folder = Path(result["dataset"])  # of images, whatever it is called, is no data set of a paper
    row: dict[str, Any] = {**result, "dataset": folder.name if str(folder) == folder.name else f"the folder {folder.name}"}
    shown = gallery.content(env, looks, saved["dynamic"])
    name: str = published.AGENTS.get(row["agent"], str(row["agent"]))
    title = f"{name} on {published.dataset_name(row['dataset'], len(env.images.classes))}"
    told = gallery.described(shown, row["images"])
    seen = page.resource("gallery.html").replace("$told", text(told))
    curves = figures(row, saved["progress"]["history"], shown["groups"])
    body = head(title, row) + compared(row, name, len(env.images.classes)) + seen + curves + details(row)
    page.write(target, title, body, ("viewer.js", "gallery.js", "controls.js"), shown)


def head(title: str, row: Mapping[str, Any]) -> str:
    """Return the page's title and the three numbers that matter."""
    horizon = len(row["per_step_accuracy"])
    tiles = [
        (f"{100 * row['accuracy']:.2f}<small> %</small>", f"right; error {100 * (1 - row['accuracy']):.2f} %, {margin(row)}"),
        (f"{row['mean_glimpses']:.2f}", f"glimpses an image on average, of {horizon} at most"),
        (f"{row['images']:,}", f"{text(row['split'])} images, each looked at once"),
    ]
    boxes = "".join(f'<div class="tile"><b>{number}</b><span>{what}</span></div>' for number, what in tiles)
    what = "An agent that learned where to look" + (" and when to stop" if row["mean_glimpses"] < horizon else "")
    return f'<header><p class="kicker">{what}</p><h1>{text(title)}</h1><div class="tiles">{boxes}</div></header>'


def margin(row: Mapping[str, Any]) -> str:
    """Return the 95 % interval that comes from the number of images (Wilson's half-width), in points."""
    share, count, z = row["accuracy"], row["images"], 1.96
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return f"± {100 * half:.2f} by the number of images"


def compared(row: Mapping[str, Any], name: str, classes: int) -> str:
    """Return the result row beside the paper's figures."""
    error = 100 * (1 - row["accuracy"])
    lines = [[f"<strong>{text(name)}, this run</strong>", f"{error:.2f}", f"{row['mean_glimpses']:.2f}", "", "this report"]]
    caveat = published.caveat(row, classes)
    for figure in published.figures(row):
        difference = "" if caveat else signed(error - (100 - figure.accuracy))
        glimpses = "" if figure.glimpses is None else f"{figure.glimpses:g}"
        lines.append([f"{text(figure.what)}, paper", f"{100 - figure.accuracy:.2f}", glimpses, difference, figure.source])
    note = f"This run was measured {caveat}, so the papers' figures stand here for orientation only." if caveat and len(lines) > 1 else ""
    note = note or ("" if len(lines) > 1 else "No paper reports this agent on this data set.")
    if row["mean_glimpses"] < len(row["per_step_accuracy"]):
        random = 100 * (1 - row["random_stop_accuracy"])
        lines.append(
            [
                "same number of glimpses, stopped at random",
                f"{random:.2f}",
                f"{row['mean_glimpses']:.2f}",
                signed(error - random),
                "this run",
            ]
        )
        last = 100 * (1 - row["per_step_accuracy"][-1])
        lines.append(["always to the last glimpse", f"{last:.2f}", str(len(row["per_step_accuracy"])), signed(error - last), "this run"])
    heads = ["", "error, %", "mean glimpses", "difference", "source"]
    return (
        f"<section><h2>Result</h2>{page.table(heads, lines, 'result')}"
        + (f'<p class="note">{text(note)}</p>' if note else "")
        + "</section>"
    )


def figures(row: Mapping[str, Any], history: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, int]]) -> str:
    """Return the charts."""
    stages = [str(past.get("stage", "")) for past in history]
    changes = [(place + 1.5, stages[place], stages[place + 1]) for place in range(len(history) - 1) if stages[place] != stages[place + 1]]

    def curve(key: str, name: str, colour: str = "a", mark: str = "line") -> Series:
        known = [(place + 1, past[key]) for place, past in enumerate(history) if past.get(key) is not None]
        return Series(name, [(place, 100 * (1 - value) if key.endswith("accuracy") else value) for place, value in known], colour, mark)

    right = [group["right"] for group in groups]
    drawn = [
        charts.histogram(
            "Images by number of glimpses", right, [group["images"] - good for group, good in zip(groups, right, strict=True)]
        ),
        against_glimpses(row),
        charts.plot(
            "Error while training, %",
            "epoch",
            [curve("train_accuracy", "training"), curve("validation_accuracy", "validation", "b", "dashed")],
            log=True,
            marks=changes,
        ),
        charts.plot("Loss while training", "epoch", [curve("loss", "loss")], marks=changes),
        charts.plot("Mean glimpses while training", "epoch", [curve("mean_glimpses", "mean glimpses")], marks=changes),
        charts.plot("Reward while training", "epoch", [curve("reward", "reward")], marks=changes),
    ]
    return f'<section><h2>Curves</h2><div class="charts">{"".join(drawn)}</div></section>'


def against_glimpses(row: Mapping[str, Any]) -> str:
    """Return the error against the mean number of glimpses, for three ways to stop."""
    fixed = [(step + 1.0, 100 * (1 - accuracy)) for step, accuracy in enumerate(row["per_step_accuracy"])]
    rule = sorted({(point["mean_glimpses"], 100 * (1 - point["accuracy"])) for point in row["threshold_curve"]})
    mine = [(row["mean_glimpses"], 100 * (1 - row["accuracy"]))]
    series = [
        Series("fixed number", fixed, "grey", "dots"),
        Series("confidence threshold", rule, "a"),
        Series("this run", mine, "b", "star"),
    ]
    return charts.plot("Error by mean glimpses, %", "mean glimpses", series, log=True)


def details(row: Mapping[str, Any]) -> str:
    """Return how the run was made."""
    facts = {
        "trained": page.told(row["train_seconds"]),
        "seed": row["seed"],
        "device": row["device"],
        "precision": str(row["precision"]).removeprefix("torch."),
        "versions": ", ".join(f"{name} {number}" for name, number in row["versions"].items()),
        "settings": ", ".join(
            f"{name} {page.portable(str(value))}" for name, value in row["options"].items() if name not in HIDDEN and value is not None
        ),
    }
    lines = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts.items())
    command = f"<pre><code>{text(page.portable(row['command']))}</code></pre>"
    return f"<section><h2>How it was made</h2>{command}<dl>{lines}</dl></section>"
