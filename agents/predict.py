"""Predict the classes of your own images: class, probability, glimpses taken, and a picture of the fixation path.

    python agents/predict.py mnist-dtram digit.png
    python agents/predict.py runs/dtram_reinforce-cub-0/checkpoint.pt bird.jpg holidays/
    python agents/predict.py runs/ram_reinforce-mnist-0/checkpoint.pt digits/ --budget 1.8 --json predictions.json

mnist-dtram is the trained DT-RAM of the package; it is copied to runs/mnist-dtram first.

Files may have any format that Pillow decodes (grey, CMYK, palette, rotated by EXIF; 16 bits a channel are scaled to 8, transparency is
composed on white, metadata that cannot be read are ignored: a line in the log counts them). Folders are searched at any depth;
files in them that are not images are listed and skipped. Images are resized as the agent's data set resizes its own: for cub, cars and dogs
they are stretched to a square; for all others the central square is kept, and converted to grey for mnist and clutter. MNIST's digits are
light on dark and fill the middle 20 of 28 pixels: a file whose border is light is inverted, and its digit should have that size.

Agents with a stop head stop by it, others after the last glimpse. --budget stops by a threshold instead (on the stop head's probability, or
on the confidence): the one that gives the requested mean number of glimpses on held-out images. On your images the mean may differ.

The data set itself is needed only for --budget where the checkpoint's folder holds no evaluation (looks.npz), and for checkpoints of
earlier versions, which do not hold the class names.
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
from glimpse_env.datasets.user_files import find_files, read_like
from glimpse_env.evaluation import predictor, stopping_rules
from glimpse_env.evaluation.predictor import Prediction
from glimpse_env.rendering import frames
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files, terminal

CHUNK = 64  # images processed together


@dataclass(frozen=True)
class Predict:
    """Options of `predict.py`."""

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
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """Number of CPU threads for torch."""


def choose_rule(options: Predict, saved: dict[str, Any]) -> stopping_rules.Rule:
    """Return the rule by which the agent stops."""
    if options.budget is None:
        return stopping_rules.choose_rule(saved["dynamic"])
    held = datasets.held_out(saved["options"].get("split", "fit")) or "test"
    splits = (results.get_result_split(saved), held)
    trajectories = results.read_or_write_trajectories(
        options.checkpoint, splits, options.root, options.device, options.weights
    )
    return stopping_rules.choose_rule_for_budget(trajectories, saved["dynamic"], options.budget)


def read_images(
    files: Sequence[Path], may_fail: set[Path], arguments: dict[str, Any], notes: Notes
) -> Iterator[tuple[Path, torch.Tensor]]:
    """Yield the files that are images, resized as the agent's data set; files in `may_fail` are skipped if they are not images."""
    for file in files:
        try:
            yield file, read_like(str(arguments["dataset"]), file, arguments["image_size"], notes)
        except ValueError as error:
            if file not in may_fail:
                raise
            tqdm.write(f"skipped: {error}", file=sys.stderr)


def predict(
    options: Predict, saved: dict[str, Any], rule: stopping_rules.Rule, out: Path
) -> Iterator[tuple[Path, Prediction]]:
    """Yield every image's file and prediction."""
    paths, listed = find_files(options.images, without=out)
    agent = predictor.load_predictor(
        saved, options.checkpoint, rule, options.root, options.weights, options.device
    )
    notes = Notes("your images")
    with tqdm(total=len(paths), desc="images", unit="image", disable=len(paths) <= CHUNK) as bar:
        for start in range(0, len(paths), CHUNK):
            part = paths[start : start + CHUNK]
            images = dict(read_images(part, listed, saved["environment"], notes))
            if images:
                yield from zip(images, agent(list(images.values())), strict=True)
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
        print(
            f"{row['file']:<{width}}  {row['class']:<{names}}  {row['probability']:>11.3f}  {row['glimpses']:>8}"
        )
    mean = sum(row["glimpses"] for row in rows) / len(rows)
    print(f"{len(rows)} image{'s' * (len(rows) > 1)}, {mean:.2f} glimpses on average; the agent {rule}")


def format_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return the table as a CSV file."""
    text = io.StringIO()
    columns: list[str] = ["file", "class", "probability", "glimpses"]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def main(options: Predict) -> None:
    """Predict every image, then print and write the predictions."""
    options = terminal.prepare(options)
    checks.device(options.device)
    if not options.images:
        raise ValueError("no images: give image files, or folders of them, after the checkpoint")
    options = replace(options, checkpoint=pretrained.find_checkpoint(options.checkpoint))
    saved = checkpoint.load(options.checkpoint)
    rule = choose_rule(options, saved)
    out = options.out or options.checkpoint.parent / "predictions"
    rows, taken = [], set()
    for file, prediction in predict(options, saved, rule, out):
        rows.append(predictor.build_row(file, prediction))
        if options.pictures:
            rows[-1]["picture"] = str(write_picture(prediction, file, out, taken))
    if not rows:
        raise ValueError(f"{', '.join(map(str, options.images))}: none of the files is an image")
    print_table(rows, rule)
    if options.pictures:
        print(f"pictures: {out}")
    if options.json is not None:
        used = {
            "checkpoint": str(options.checkpoint),
            "rule": str(rule),
            "threshold": rule.threshold,
            "expected_glimpses": rule.expected,
        }
        files.write_json(options.json, used | {"images": rows})
    if options.csv is not None:
        files.write_bytes(options.csv, format_csv(rows))


if __name__ == "__main__":
    options = tyro.cli(Predict, description=__doc__)
    with terminal.foreseen("predict.py"):
        main(options)
