"""Evaluate a checkpoint: one deterministic rollout per image; writes result.json, report.html and plots.

    glimpse-evaluate mnist-dtram
    glimpse-evaluate runs/dtram_reinforce-mnist-0/checkpoint.pt
    glimpse-evaluate CHECKPOINT --split validation --device cuda

Prints error and mean glimpses, and how the fixations that the agent chose are spread, beside random places;
where the data set knows its targets (generated images, the boxes of photographs), also how many are on them.
mnist-dtram is the trained DT-RAM of the package; it is copied to runs/mnist-dtram first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from glimpse_env import pretrained
from glimpse_env.reports import fixation_table, results
from glimpse_env.runtime import terminal
from glimpse_env.training.options import RunOptions

NAME = "glimpse-evaluate"


@dataclass(frozen=True)
class Evaluate(RunOptions):
    """Options of `glimpse-evaluate`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """The checkpoint.pt of a run, or mnist-dtram; results are written beside it."""
    dataset: str | None = None
    """Another data set with the same classes and glimpses; default: that of training."""
    split: str | None = None
    """train, fit, validation, a fold such as validation:1/5, or test; default: training's held-out fold, or
    test. The files of another split carry its name."""
    root: str | None = None
    """Folder of the data sets; default: the folder used in training."""
    weights: str | None = None
    """Path of the backbone's weights file; default: the path used in training."""


def main(options: Evaluate) -> None:
    """Evaluate the checkpoint; print its row and the table of fixations, and write the files.

    Raises:
        ValueError: Invalid options, no checkpoint, or a data set that does not fit its network.
        OSError: A file that is missing or cannot be written.
    """
    options = terminal.prepare(options)
    path = pretrained.find_checkpoint(options.checkpoint)
    places = options.root, options.device, options.weights
    if table := fixation_table.format_row(results.write(path, options.split, options.dataset, *places)):
        print(table)


def run(program: str = NAME) -> None:
    """Read the command line and run `main`; help and errors name the program as it was started."""
    description = str(__doc__).replace(NAME, program)
    options = tyro.cli(Evaluate, prog=program.removeprefix("python "), description=description)
    with terminal.foreseen(Path(program).name):
        main(options)
