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

import torch
import tyro

from glimpse_env import checks, datasets
from glimpse_env.learning import checkpoint, evaluation, results, terminal
from glimpse_env.learning.finetuning import Finetune, Finetuning, one_view
from glimpse_env.presets import resolve


def main(options: Finetune) -> None:
    """Fine-tune, evaluate once, and write weights, row and logs."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    preset = resolve(options.dataset, image_size=options.image_size, view_size=options.view_size)
    side = preset.view_size or preset.glimpse_size
    if preset.image_size is None or side is None:
        raise ValueError(
            f"dataset={options.dataset!r}: give --image-size (pixels a side to store) and --view-size (pixels a side to look at)"
        )
    device = checks.device(options.device)
    out = options.out or Path("runs") / checkpoint.run_name(
        "finetune_backbone", options.dataset, options.split, options.seed, usual="train"
    )
    run = Finetuning(options, load(options, options.split, preset.image_size), side, device, out)
    run.train()
    split = results.answers_for(options.split)
    looks = one_view(run.network, load(options, split, preset.image_size), side, device)
    row = {
        "agent": "finetune_backbone",
        "dataset": options.dataset,
        "split": split,
        **evaluation.summary(looks, dynamic=False),
        "train_seconds": round(run.seconds, 1),
        "device": str(device),
        "seed": options.seed,
        "command": checkpoint.command(),
        "versions": results.versions(),
        "options": checkpoint.plain(options),
    }
    # Matrices in half precision: the file is half as long. The vectors stay: variances may be beyond what half precision holds.
    half = {name: value.half() if value.ndim > 1 else value for name, value in run.network.state_dict().items()}
    checkpoint.write_torch(out / "weights.pth", half)
    checkpoint.write_json(out / "result.json", row)
    evaluation.save(looks, out / "looks.npz")
    print(results.line(row))
    print(f"weights: {out / 'weights.pth'}")


def load(options: Finetune, split: str, size: int) -> datasets.ImageSet:
    """Return the images of a split."""
    return datasets.load(options.dataset, split, root=options.root, image_size=size)


if __name__ == "__main__":
    options = tyro.cli(Finetune, description=__doc__)
    terminal.show_log()
    try:
        with terminal.foreseen("finetune_backbone.py"):
            main(options)
    except KeyboardInterrupt:
        sys.exit("\nstopped: checkpoint.pt in the output folder holds the last finished epoch; go on with --resume")
