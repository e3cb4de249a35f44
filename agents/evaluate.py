"""Evaluate a checkpoint: every image of a split once, one deterministic rollout each; rewrites result.json, report.html and the plots.

    python agents/evaluate.py mnist-dtram
    python agents/evaluate.py runs/dtram_reinforce-mnist-0/checkpoint.pt
    python agents/evaluate.py CHECKPOINT --split validation --device cuda

mnist-dtram is a trained DT-RAM that comes with the package; it is copied to runs/mnist-dtram first.
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
    """Another data set with the same classes and glimpses; default: the one it was trained on."""
    split: str | None = None
    """train, fit, validation, a fold such as validation:1/5, or test; default: the one that the run answers for. Files of another
    split carry its name."""
    root: str | None = None
    """Folder in which a relative data set folder is looked for."""
    weights: str | None = None
    """Where the backbone's weights file lies now; default: where it lay in training."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""


if __name__ == "__main__":
    options = tyro.cli(Evaluate, description=__doc__)
    options = terminal.prepare(options)
    with terminal.foreseen("evaluate.py"):
        results.write(pretrained.found(options.checkpoint), options.split, options.dataset, options.root, options.device, options.weights)
