"""Fine-tune a torchvision network on a data set: step 0 of DT-RAM, FCAN and most glimpse agents.

    python agents/finetune_backbone.py --dataset cub                                 # all training images; the test set once, at the end
    python agents/finetune_backbone.py --dataset cub --split fit:1/5                  # without fold 1, which is then the result
    python agents/ram_reinforce.py --dataset cub --weights runs/finetune_backbone-cub-0/weights.pth

Each update sees whole images (`--whole` of them) and zoomed crops, so that one frozen network serves the first view and the glimpses (the
papers tune on whole images alone). The result row is the one-view baseline: each image once, whole, no crop.
"""

from __future__ import annotations

import sys

import tyro

from glimpse_env.learning import results, terminal
from glimpse_env.learning.finetuning import Finetune
from glimpse_env.learning.tuning import folder, tune


def main(options: Finetune) -> None:
    """Fine-tune, evaluate once, and say where the weights are."""
    print(results.line(tune(options)))
    print(f"weights: {folder(options) / 'weights.pth'}")


if __name__ == "__main__":
    options = tyro.cli(Finetune, description=__doc__)
    try:
        with terminal.foreseen("finetune_backbone.py"):
            main(options)
    except KeyboardInterrupt:
        sys.exit("\nstopped: checkpoint.pt in the output folder holds the last finished epoch; go on with --resume")
