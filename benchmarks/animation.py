"""An animation of an agent's glimpses: what it observes, its class probabilities, and when it stops.

    python benchmarks/animation.py            # the MNIST agent of the package: README's picture
    python benchmarks/animation.py --checkpoint runs/ram_reinforce-clutter-0/checkpoint.pt --out clutter.gif

Shows, for each number of glimpses from one on, the first image of the split whose class was not shown yet, so
predictions may be incorrect; where --images exceeds these numbers, it begins again at one glimpse.
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
    """Images to show; default: those that the run is evaluated on."""
    out: Path = Path("benchmarks/results/fixations.gif")
    """The GIF file."""
    device: str = "auto"
    """auto (a CUDA GPU, else MPS, else the CPU; the log names it), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""


def choose_images(looks: Trajectories, dynamic: bool, count: int) -> list[int]:
    """Return the images to show (see the top of this file)."""
    when, labels = stopping_rules.choose_rule(dynamic).find_stops(looks).tolist(), looks.labels.tolist()
    steps = range(len(looks.predictions))
    groups = [[image for image, stop in enumerate(when) if stop == step] for step in steps]
    chosen: list[int] = []
    while len(chosen) < min(count, len(labels)):
        for group in groups:
            shown = {labels[image] for image in chosen}
            if group and len(chosen) < count:
                chosen.append(next((image for image in group if labels[image] not in shown), group[0]))
                group.remove(chosen[-1])
    return sorted(chosen, key=lambda image: when[image])


def main(options: Animation) -> None:
    """Evaluate the agent on the split, and write the animation of the chosen images."""
    options = terminal.prepare(options)
    files.check_writable(options.out)
    if options.images < 1:
        raise ValueError(f"--images {options.images}: expected at least 1")
    path = pretrained.find_checkpoint(options.checkpoint)
    split = options.split or results.get_result_split(checkpoint.load(path))
    saved, env, looks = results.evaluate_checkpoint(path, split, device=options.device)
    when = stopping_rules.choose_rule(saved["dynamic"]).find_stops(looks)
    images = choose_images(looks, saved["dynamic"], options.images)
    clips = [animation.build_clip(env, looks, image, int(when[image])) for image in images]
    frames, durations = zip(*animation.draw_frames(clips), strict=True)
    content = animation.encode_gif(frames, durations)
    files.write_bytes(options.out, content)
    print(f"{options.out}: {len(clips)} images, {len(frames)} frames, {len(content) / 1e6:.2f} MB")


if __name__ == "__main__":
    with terminal.foreseen("animation.py"):
        main(tyro.cli(Animation, description=__doc__))
