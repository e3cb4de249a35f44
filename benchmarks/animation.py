"""An animation of an agent looking at images: where it looks, what it has seen by then, its class probabilities, and when it stops.

    python benchmarks/animation.py                                             # the MNIST agent of the package: README's picture
    python benchmarks/animation.py --checkpoint runs/ram_reinforce-clutter-0/checkpoint.pt --out clutter.gif

Shown is the first image of the split for each number of glimpses, from one on, whose class was not shown yet: nothing is picked by hand,
and an answer may be wrong. Where there are fewer numbers of glimpses than --images, it goes round again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from glimpse_env import pretrained
from glimpse_env.evaluation import stopping_rules
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.reports import animation, results
from glimpse_env.runtime import checkpoint, files, terminal


@dataclass(frozen=True)
class Animation:
    """Options of `animation.py`."""

    checkpoint: Path = Path("mnist-dtram")
    """The checkpoint.pt of a run, or mnist-dtram."""
    images: int = 6
    """Images side by side, three in a row."""
    split: str | None = None
    """Images to show; default: those that the run answers for."""
    out: Path = Path("benchmarks/results/fixations.gif")
    """The GIF file."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""


def choose_images(looks: Trajectories, dynamic: bool, count: int) -> list[int]:
    """Return the images to show (see the top of this file)."""
    when, labels = stopping_rules.choose_rule(dynamic).find_stops(looks).tolist(), looks.labels.tolist()
    groups = [
        [image for image, at in enumerate(when) if at == step] for step in range(len(looks.predictions))
    ]
    found: list[int] = []
    while len(found) < min(count, len(labels)):
        for group in groups:
            shown = {labels[image] for image in found}
            if group and len(found) < count:
                found.append(next((image for image in group if labels[image] not in shown), group[0]))
                group.remove(found[-1])
    return sorted(found, key=lambda image: when[image])


def main(options: Animation) -> None:
    """Let the agent look, and write what it did."""
    options = terminal.prepare(options)
    if options.images < 1:
        raise ValueError(f"--images {options.images}: expected at least 1")
    path = pretrained.find_checkpoint(options.checkpoint)
    split = options.split or results.get_result_split(checkpoint.load(path))
    saved, env, looks = results.evaluate_checkpoint(path, split, device=options.device)
    when = stopping_rules.choose_rule(saved["dynamic"]).find_stops(looks)
    shown = [
        animation.build_clip(env, looks, image, int(when[image]))
        for image in choose_images(looks, saved["dynamic"], options.images)
    ]
    drawn, stays = zip(*animation.draw_frames(shown), strict=True)
    content = animation.encode_gif(drawn, stays)
    files.write_bytes(options.out, content)
    print(f"{options.out}: {len(shown)} images, {len(drawn)} frames, {len(content) / 1e6:.2f} MB")


if __name__ == "__main__":
    with terminal.foreseen("animation.py"):
        main(tyro.cli(Animation, description=__doc__))
