"""Evaluate a checkpoint: one deterministic rollout for every image of a split; writes result.json, report.html and the plots again.

    python agents/evaluate.py mnist-dtram
    python agents/evaluate.py runs/dtram_reinforce-mnist-0/checkpoint.pt
    python agents/evaluate.py CHECKPOINT --split validation --device cuda

mnist-dtram is the trained DT-RAM of the package; it is copied to runs/mnist-dtram first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from glimpse_env import pretrained
from glimpse_env.reports import results
from glimpse_env.runtime import terminal


@dataclass(frozen=True)
class Evaluate:
    """Options of `evaluate.py`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """The checkpoint.pt of a run, or mnist-dtram; results are written beside it."""
    dataset: str | None = None
    """Another data set with the same classes and glimpses; default: that of training."""
    split: str | None = None
    """train, fit, validation, a fold such as validation:1/5, or test; default: the fold that training left out, else test. The files of
    another split carry its name."""
    root: str | None = None
    """Folder of the data sets; default: the folder used in training."""
    weights: str | None = None
    """Path of the backbone's weights file; default: the path used in training."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """Number of CPU threads for torch."""


if __name__ == "__main__":
    options = tyro.cli(Evaluate, description=__doc__)
    options = terminal.prepare(options)
    with terminal.foreseen("evaluate.py"):
        path = pretrained.find_checkpoint(options.checkpoint)
        results.write(path, options.split, options.dataset, options.root, options.device, options.weights)
