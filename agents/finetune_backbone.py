"""Fine-tune a torchvision network on a data set: step 0 of DT-RAM, FCAN and most glimpse agents.

    python agents/finetune_backbone.py --dataset cub                                 # all training images; the test set once, at the end
    python agents/finetune_backbone.py --dataset cub --split fit:1/5                  # without fold 1, which is then the result
    python agents/ram_reinforce.py --dataset cub --weights runs/finetune_backbone-cub-0/weights.pth

Each update sees whole images (`--whole` of them) and zoomed crops, so that one frozen network serves the first view and the glimpses (the
papers tune on whole images alone). The result row is the one-view baseline: each image once, whole, no crop.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import tyro

from glimpse_env import checks, datasets
from glimpse_env.evaluation import metrics
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files, terminal
from glimpse_env.training.finetuning import Finetune, Finetuning, one_view


def tune(options: Finetune) -> dict[str, Any]:
    """Fine-tune, evaluate once, write weights, row and logs, and return the row."""
    options = terminal.prepare(options)
    torch.manual_seed(options.seed)
    preset = resolve(options.dataset, image_size=options.image_size, view_size=options.view_size)
    side = preset.view_size or preset.glimpse_size
    if preset.image_size is None or side is None:
        raise ValueError(
            f"dataset={options.dataset!r}: give --image-size (pixels a side to store) and --view-size (pixels a side to look at)"
        )
    device = checks.device(options.device)
    out = folder(options)
    run = Finetuning(options, load(options, options.split, preset.image_size), side, device, out)
    run.train()
    split = results.choose_result_split(options.split)
    looks = one_view(run.network, load(options, split, preset.image_size), side, device)
    row = {
        "agent": "finetune_backbone",
        "dataset": options.dataset,
        "split": split,
        **metrics.summarize(looks, dynamic=False),
        "train_seconds": round(run.seconds, 1),
        "device": str(device),
        "seed": options.seed,
        "command": checkpoint.command(),
        "versions": results.collect_versions(),
        "options": checkpoint.plain(options),
    }
    files.write_torch(out / "weights.pth", half(run.network.state_dict()))
    files.write_json(out / "result.json", row)
    looks.save(out / "looks.npz")
    return row


def folder(options: Finetune) -> Path:
    """Return where the files of a fine-tuning lie."""
    return options.out or Path("runs") / checkpoint.run_name(
        "finetune_backbone", options.dataset, options.split, options.seed, usual="train"
    )


def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return matrices in half precision, so that the file is half as long; vectors stay: variances may be beyond what that holds."""
    return {name: value.half() if value.ndim > 1 else value for name, value in state.items()}


def load(options: Finetune, split: str, size: int) -> datasets.ImageSet:
    """Return the images of a split."""
    return datasets.load(options.dataset, split, root=options.root, image_size=size)


def main(options: Finetune) -> None:
    """Fine-tune, evaluate once, and say where the weights are."""
    print(results.format_row(tune(options)))
    print(f"weights: {folder(options) / 'weights.pth'}")


if __name__ == "__main__":
    options = tyro.cli(Finetune, description=__doc__)
    try:
        with terminal.foreseen("finetune_backbone.py"):
            main(options)
    except KeyboardInterrupt:
        sys.exit("\nstopped: checkpoint.pt in the output folder holds the last finished epoch; go on with --resume")
