"""The five commands of "Your own photographs" (docs/datasets/own-images.md): accuracy and minutes of each.

    python benchmarks/own_photographs.py FOLDER                    # train/CLASS/IMAGE, test/CLASS/IMAGE in it
    python benchmarks/own_photographs.py FOLDER --weights FILE     # fine-tune these: no download

The commands run one after another in --out, as a user types them; the accuracy is that of the files that they
write, on the folder's test images. Commands that have finished in --out are not run again. A run of all is a
line of JSON in --results.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import tyro
from timing import timed

from glimpse_env import checks, datasets
from glimpse_env.runtime import checkpoint, files, terminal

log = logging.getLogger("glimpse_env")
NAME = "own_photographs.jsonl"
# A small network on small images, and features that are computed once: minutes on a CPU.
NETWORK = "--backbone resnet18 --image-size 256"
GLIMPSES = f"{NETWORK} --view-size 128 --glimpse-size 128 --sensor bank --glimpses 3"
# By what a command adds to the table: its words, without python. DT-RAM learns to stop on images that the
# network was not fine-tuned on: on the others one view is nearly always right.
COMMANDS = {
    "one view": f"agents/finetune_backbone.py --dataset {{folder}} {NETWORK} --view-size 128 --split fit "
    "--epochs 20",
    "RAM": f"agents/ram_reinforce.py --dataset {{folder}} {GLIMPSES}",
    "DT-RAM": f"agents/dtram_reinforce.py --dataset {{folder}} {GLIMPSES} "
    "--ram runs/ram_reinforce-{name}-0/checkpoint.pt --stop-split validation",
    "FCAN": f"agents/fcan_greedy.py --dataset {{folder}} {NETWORK} --crop-size 128 --parts 4 2",
    "predictions": "agents/predict.py runs/dtram_reinforce-{name}-0/checkpoint.pt {photographs} "
    "--csv predictions.csv",
}


@dataclass(frozen=True)
class OwnPhotographs:
    """Options of `own_photographs.py`."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of photographs: train/CLASS/IMAGE and test/CLASS/IMAGE."""
    weights: str | None = None
    """Weights that are fine-tuned, a file; default: torchvision's, which are downloaded."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
    out: Path = Path("runs/own_photographs")
    """Folder in which the commands are run."""
    results: Path = timed.RESULTS
    """Folder of the rows, own_photographs.jsonl."""


def find_photographs(folder: Path) -> Path:
    """Return the first class folder of the test images, to predict.

    Raises:
        ValueError: The folder has no train, no test or no class in it.
    """
    for split in ("train", "test"):
        if not (folder / split).is_dir():
            raise ValueError(
                f"{folder}: expected the folders train and test in it, of a folder for each class"
            )
    classes = sorted(path for path in (folder / "test").iterdir() if path.is_dir())
    if not classes:
        raise ValueError(f"{folder / 'test'}: expected a folder of images for each class in it")
    return classes[0]


def show_command(name: str) -> str:
    """Return a command as a page shows it."""
    return "python " + COMMANDS[name].format(folder="FOLDER", name="FOLDER", photographs="PHOTOGRAPHS")


def list_words(options: OwnPhotographs, name: str) -> list[str]:
    """Return the words of a command for this folder, device and number of threads."""
    folder = options.folder.resolve()
    places = {"folder": folder, "name": folder.name, "photographs": find_photographs(folder)}
    words = [word.format(**places) for word in COMMANDS[name].split()]
    words += ["--device", options.device, "--threads", str(options.threads)]
    if name == "one view" and options.weights is not None:
        given = Path(options.weights)  # a path, or a name in GLIMPSE_WEIGHTS; the command runs in --out
        words += ["--weights", str(given.resolve()) if given.is_file() else options.weights]
    return words if name == "predictions" else [*words, "--overwrite"]  # what an interrupted command has left


def run(options: OwnPhotographs, name: str) -> float:
    """Run a command in `--out`, unless it has finished there; return its wall-clock seconds.

    Raises:
        SystemExit: It failed, with its exit status, after its own message.
    """
    file, words = options.out / "seconds.json", list_words(options, name)
    known: dict[str, float] = files.read_json(file) if file.is_file() else {}
    command = shlex.join(["python", *words])
    if command in known:
        return known[command]
    log.info("%s", command)
    paths = [str(timed.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    begin, script = perf_counter(), str(timed.ROOT / words[0])
    done = subprocess.run([sys.executable, script, *words[1:]], cwd=options.out, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    known[command] = perf_counter() - begin
    files.write_json(file, known)
    return known[command]


def read_figures(options: OwnPhotographs, name: str) -> dict[str, float]:
    """Return the accuracy of a finished command's agent and its mean glimpses; none for predictions."""
    if name == "predictions":
        return {}
    script = Path(COMMANDS[name].split()[0]).stem
    part = "-fit" if name == "one view" else ""  # whose script is usually for all training images
    folder = options.out / "runs" / f"{script}-{options.folder.resolve().name}{part}-0"
    if name != "FCAN":
        row = files.read_json(folder / "result.json")
        return {"accuracy": row["accuracy"], "mean_glimpses": row["mean_glimpses"]}
    rows = files.read_json(folder / "classify" / "result.json")["rows"]
    best = next(row for row in rows if row["row"] == "whole + all parts")
    return {"accuracy": best["accuracy"], "mean_glimpses": len(best["regions"])}


def list_cells(figures: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Return the cells of the table, the head first."""
    lines = [["", "accuracy %", "glimpses", "minutes"]]
    for name, row in figures.items():
        shown = ["", ""]
        if "accuracy" in row:
            shown = [f"{100 * row['accuracy']:.1f}", f"{row['mean_glimpses']:.2f}"]
        lines.append([name, *shown, f"{row['seconds'] / 60:.1f}"])
    return lines


def format_page(results: Path) -> str:
    """Return the commands and the table of the last row for a page."""
    rows = timed.read(results / NAME, ("figures", "images", "hardware", "versions"))
    commands = "\n".join(show_command(name) for name in COMMANDS)
    text = f"```\n{commands}\n```"
    if not rows:
        return f"{text}\n\nNo rows yet; `python benchmarks/own_photographs.py FOLDER` makes one."
    row = rows[-1]
    head, *lines = [f"| {' | '.join(cells)} |" for cells in list_cells(row["figures"])]
    images = " and ".join(f"{count:,} {split} images" for split, count in row["images"].items())
    about = f"{images} of {row['classes']} classes"
    machine = f"{timed.machine_name(row)}; torch {row['versions']['torch']}; rows: `{NAME}`"
    made = f"`python benchmarks/own_photographs.py FOLDER`; {about}; {machine}."
    return "\n".join([text, "", head, "|---|---:|---:|---:|", *lines, "", made])


def main(options: OwnPhotographs) -> dict[str, dict[str, float]]:
    """Run the commands, print the table and add the row; return the figures."""
    options = terminal.prepare(options)
    checks.device(options.device)
    find_photographs(options.folder)
    files.check_writable(options.results / NAME)
    options.out.mkdir(parents=True, exist_ok=True)
    seconds = {name: run(options, name) for name in COMMANDS}
    figures = {name: {"seconds": seconds[name], **read_figures(options, name)} for name in COMMANDS}
    print(timed.align(list_cells(figures)))
    splits = {split: datasets.load(str(options.folder), split, image_size=256) for split in ("train", "test")}
    images = {split: len(one) for split, one in splits.items()}
    row = {"command": checkpoint.command(), "figures": figures, "images": images}
    row["classes"] = len(splits["train"].classes)
    timed.append(options.results / NAME, row | timed.provenance(options.device))
    return figures


if __name__ == "__main__":
    with terminal.foreseen("own_photographs.py"):
        main(tyro.cli(OwnPhotographs, description=__doc__))
