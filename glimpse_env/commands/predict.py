"""Predict the classes of your own images: class, probability, glimpses, and a picture of the fixation path.

    glimpse-predict mnist-dtram digit.png
    glimpse-predict runs/dtram_reinforce-cub-0/checkpoint.pt bird.jpg holidays/
    glimpse-predict runs/ram_reinforce-mnist-0/checkpoint.pt digits/ --budget 1.8 --json table.json

mnist-dtram is the trained DT-RAM of the package; it is copied to runs/mnist-dtram first.

Files may have any format that Pillow decodes (grey, CMYK, palette, rotated by EXIF; 16 bits a channel are
scaled to 8, transparency is composed on white, metadata that cannot be read are ignored: a line in the log
counts them). Folders are searched at any depth; files in them that are not images are listed and skipped. A
file that is named and cannot be read ends the program with status 1, after the predictions of all others.

Images are resized as the agent's data set resizes its own: for cub, cars and dogs they are stretched to a
square; for all others the central square is kept, and converted to grey for mnist and clutter. MNIST's digits
are light on dark and fill the middle 20 of 28 pixels: a file whose border is light is inverted, and its digit
should have that size.

Agents with a stop head stop by it, others after the last glimpse. --budget stops by a threshold instead (on
the stop head's probability, or on the confidence): the one that gives the requested mean number of glimpses
on held-out images. On your images the mean may differ.

The data set itself is needed only for --budget where the checkpoint's folder holds no evaluation (looks.npz),
and for checkpoints of earlier versions, which do not hold the class names.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from PIL import Image
from tqdm import tqdm

from glimpse_env import checks, datasets, pretrained
from glimpse_env.datasets.formats.notes import Notes
from glimpse_env.datasets.user_files import find_files
from glimpse_env.deployment.trained_agent import CHUNK, TrainedAgent, load_agent
from glimpse_env.evaluation import predictor, stopping_rules
from glimpse_env.evaluation.predictor import Prediction
from glimpse_env.rendering import frames
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files, terminal
from glimpse_env.training.options import RunOptions, check_numbers

NAME = "glimpse-predict"


@dataclass(frozen=True)
class Predict(RunOptions):
    """Options of `glimpse-predict`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """The checkpoint.pt of a run, of any agent; or mnist-dtram."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, or folders that contain them."""
    budget: float | None = None
    """Mean number of glimpses per image; default: the agent's own stopping rule."""
    out: Path | None = None
    """Folder of the pictures; default: the folder predictions beside the checkpoint."""
    pictures: bool = True
    """Draw the fixation path of every image."""
    json: Path | None = None
    """JSON file for the predictions, with the locations of all glimpses."""
    csv: Path | None = None
    """CSV file for the table of predictions."""
    root: str | None = None
    """Folder of the data sets, if one is needed (see above); default: the folder used in training."""
    weights: str | None = None
    """Path of the backbone's weights file; default: the path used in training."""


def choose_rule(options: Predict, saved: dict[str, Any]) -> stopping_rules.Rule:
    """Return the rule by which the agent stops."""
    if options.budget is None:
        return stopping_rules.choose_rule(saved["dynamic"])
    held = datasets.held_out(saved["options"].get("split", "fit")) or "test"
    splits, place = (results.get_result_split(saved), held), (options.root, options.device, options.weights)
    trajectories = results.read_or_write_trajectories(options.checkpoint, splits, *place)
    return stopping_rules.choose_rule_for_budget(trajectories, saved["dynamic"], options.budget)


def read_images(
    files: Sequence[Path], agent: TrainedAgent, unreadable: dict[Path, str], notes: Notes
) -> Iterator[tuple[Path, torch.Tensor]]:
    """Yield the images, resized as the agent's data set; put errors of others into `unreadable`."""
    for file in files:
        try:
            yield file, agent.prepare(file, notes=notes)
        except (ValueError, FileNotFoundError) as error:
            unreadable[file] = str(error)
            tqdm.write(f"skipped: {error}", file=sys.stderr)


def predict(
    agent: TrainedAgent, paths: Sequence[Path], unreadable: dict[Path, str]
) -> Iterator[tuple[Path, Prediction]]:
    """Yield every image's file and prediction; put unreadable files and their errors into `unreadable`."""
    notes = Notes("your images")
    with tqdm(total=len(paths), desc="images", unit="image", disable=len(paths) <= CHUNK) as bar:
        for start in range(0, len(paths), CHUNK):
            part = paths[start : start + CHUNK]
            images = dict(read_images(part, agent, unreadable, notes))
            if images:
                yield from zip(images, agent.predictor(list(images.values())), strict=True)
            bar.update(len(part))
    notes.report()


def write_picture(prediction: Prediction, file: Path, out: Path, taken: set[str]) -> Path:
    """Write the picture of one image and return its path; files of the same name get numbers."""
    name, number = file.stem, 1
    while name in taken:
        number += 1
        name = f"{file.stem}-{number}"
    taken.add(name)
    buffer = io.BytesIO()
    Image.fromarray(frames.draw(prediction.view)).save(buffer, "png")
    files.write_bytes(out / f"{name}.png", buffer.getvalue())
    return out / f"{name}.png"


def print_table(rows: Sequence[dict[str, Any]], rule: stopping_rules.Rule) -> None:
    """Print the predictions."""
    width = max(len(row["file"]) for row in rows)
    names = max(5, *(len(row["class"]) for row in rows))
    print(f"{'file':<{width}}  {'class':<{names}}  probability  glimpses")
    for row in rows:
        start = f"{row['file']:<{width}}  {row['class']:<{names}}"
        print(f"{start}  {row['probability']:>11.3f}  {row['glimpses']:>8}")
    mean = sum(row["glimpses"] for row in rows) / len(rows)
    print(f"{len(rows)} image{'s' * (len(rows) > 1)}, {mean:.2f} glimpses on average; the agent {rule}")


def format_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return the table as a CSV file."""
    text = io.StringIO()
    columns = ["file", "class", "probability", "glimpses"]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors=sys.getfilesystemencodeerrors())  # file names need not be UTF-8


def write_outputs(options: Predict, rule: stopping_rules.Rule, rows: Sequence[dict[str, Any]]) -> None:
    """Write the predictions as JSON and as CSV, where these are asked for."""
    if options.json is not None:
        used = {"checkpoint": str(options.checkpoint), "rule": str(rule), "threshold": rule.threshold}
        files.write_json(options.json, used | {"expected_glimpses": rule.expected, "images": rows})
    if options.csv is not None:
        files.write_bytes(options.csv, format_csv(rows))


def check_outputs(options: Predict, out: Path, images: Sequence[Path]) -> None:
    """Refuse files to write that are one file, or an image (ValueError), or cannot be written (OSError)."""
    tables = [path.resolve() for path in (options.json, options.csv) if path is not None]
    if taken := {*tables} & {path.resolve() for path in images}:
        raise ValueError(f"{taken.pop()} is one of the images: give another file for the predictions")
    if len({*tables}) < len(tables):
        raise ValueError(f"--json {options.json} --csv {options.csv}: these are one file; give two")
    for target in (options.json, options.csv, out / "picture.png" if options.pictures else None):
        files.check_writable(target)


def refuse_named(errors: dict[Path, str], predicted: int) -> None:
    """Raise a ValueError if files that the command line named could not be read."""
    if errors:
        first, more = next(iter(errors.values())), len(errors) - 1
        others = f", and {more} more of the files that were named cannot be read" if more else ""
        raise ValueError(f"{first}{others}; the other {predicted} images are predicted")


def main(options: Predict) -> None:
    """Predict every image, then print and write the predictions.

    Raises:
        ValueError: Invalid options; or a file that was named is no image (after all others are predicted).
        OSError: Predictions or pictures cannot be written where the options say (before any prediction).
    """
    options = terminal.prepare(options)
    check_numbers(options)
    checks.device(options.device)
    if not options.images:
        raise ValueError("no images: give image files, or folders of them, after the checkpoint")
    if options.budget is not None:
        checks.argument("--budget", options.budget, checks.real(1))
    options = replace(options, checkpoint=pretrained.find_checkpoint(options.checkpoint))
    saved = checkpoint.load(options.checkpoint)
    out = options.out or options.checkpoint.parent / "predictions"
    paths, listed = find_files(options.images, without=out)
    check_outputs(options, out, paths)
    rule = choose_rule(options, saved)
    rows, taken, unreadable = [], set(), {}
    agent = load_agent(
        options.checkpoint,
        rule=rule,
        root=options.root,
        weights=options.weights,
        device=options.device,
    )
    for file, prediction in predict(agent, paths, unreadable):
        rows.append(predictor.build_row(file, prediction))
        if options.pictures:
            rows[-1]["picture"] = str(write_picture(prediction, file, out, taken))
    if not rows:
        first = next(iter(unreadable.values()))
        raise ValueError(f"{', '.join(map(str, options.images))}: none of the files is an image ({first})")
    print_table(rows, rule)
    if options.pictures:
        print(f"pictures: {out}")
    write_outputs(options, rule, rows)
    refuse_named({file: error for file, error in unreadable.items() if file not in listed}, len(rows))


def run(program: str = NAME) -> None:
    """Read the command line and run `main`; help and errors name the program as it was started."""
    description = str(__doc__).replace(NAME, program)
    options = tyro.cli(Predict, prog=program.removeprefix("python "), description=description)
    with terminal.foreseen(Path(program).name):
        main(options)
