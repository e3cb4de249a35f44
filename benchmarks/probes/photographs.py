"""Do learned glimpses help on photographs? One table: one view, centre, random and learned glimpses, dynamic stopping, and two oracles.

    python agents/finetune_backbone.py --dataset cub                                        # once; then
    python benchmarks/photographs.py --weights runs/finetune_backbone-cub-0/weights.pth

Every row is trained anew for every seed on all training images and evaluated once on the test images; finished runs are found again.
Accuracies are means over seeds with the 95 % interval of that mean (Student's t); differences are paired over test images
(the mean over seeds of each image's correctness; bootstrap over images); all seeds share one fine-tuned network. With
`--split fit:1/5` the same is measured on a fold of the training images, which is how choices are made (the network must then be one that
was fine-tuned without that fold). The oracles are not agents: one knows the object's box, the other the label.

A network answers the images that it was tuned on without fault, so they do not show what a glimpse is worth. Tune it with
`--split fit:1/4`, and train agents with `--split fit:1/8 --measure test --stop-split validation:1/8`: on the same images and half of
the fold that it has not seen (fold 1 of 8 lies in fold 1 of 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from reproduction import found
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import intervals, trajectories
from glimpse_env.networks import registry
from glimpse_env.networks.base import Agent, Memory
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.sensors import lattice
from glimpse_env.training.options import Options, Several
from glimpse_env.training.recipes import DATASETS
from glimpse_env.training.rollout import Guide
from glimpse_env.training.stages import StopOptions

AGAINST = ("one view", "centre, 3", "centre, 6", "random, 3", "RAM, 3")  # rows that the others are compared with

# Row -> (agent, options beside the data set's recipe). DT-RAM starts from the RAM row of the same seed.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "one view": ("ram", {"glimpses": 1, "policy": "center"}),
    "centre, 3": ("ram", {"glimpses": 3, "policy": "center"}),
    "centre, 6": ("ram", {"glimpses": 6, "policy": "center"}),
    "random, 3": ("ram", {"glimpses": 3, "policy": "random"}),
    "RAM, 3": ("ram", {"glimpses": 3}),
    "RAM, 6": ("ram", {"glimpses": 6}),
    "DT-RAM": ("dtram", {"glimpses": 3}),
}


@dataclass(frozen=True)
class Photographs(Several):
    """Options of `photographs.py`."""

    sensor: str = "bank"
    """crop, map or bank."""
    measure: str | None = None
    """Images to measure on instead, such as test after training on fit:1/4."""
    stop_split: str | None = None
    """Images on which DT-RAM learns to stop; default: those of --split. Held-out ones, such as validation:1/4, are better."""
    rows: tuple[str, ...] = tuple(ROWS)
    """Rows to make."""
    out: Path = Path("runs/photographs")
    """Folder of the runs."""


def options_of(options: Photographs, row: str, seed: int) -> Options:
    """Return the options of one run: the data set's recipe, what all rows share, and the row's own."""
    shared = {name: getattr(options, name) for name in ("weights", "dataset", "root", "backbone", "sensor", "split", "device", "threads")}
    agent, own = ROWS[row]
    given = DATASETS.get(options.dataset, {}) | shared | own | {"seed": seed, "out": folder(options, row, seed)}
    if agent == "ram":
        return Options(**{name: value for name, value in given.items() if hasattr(Options, name)})
    ram = folder(options, f"RAM, {own['glimpses']}", seed) / "checkpoint.pt"
    return StopOptions(**given, stop_split=options.stop_split, ram=ram)


def folder(options: Photographs, row: str, seed: int) -> Path:
    """Return where a run lies."""
    return options.out / f"{options.dataset}-{checkpoint.file_name(options.split)}-{row.replace(', ', '-').replace(' ', '-')}-{seed}"


def made(options: Photographs, row: str, seed: int) -> Path:
    """Return the folder of a finished run, training it if it is not there."""
    chosen, out = options_of(options, row, seed), folder(options, row, seed)
    if not isinstance(chosen, StopOptions):
        return found.ram(chosen, out)
    made(options, f"RAM, {chosen.glimpses}", seed)
    return found.dtram(chosen, out)


def answered(out: Path, measure: str | None) -> tuple[Tensor, float]:
    """Return which images a run got right, and its mean glimpses."""
    saved = checkpoint.load(out / "checkpoint.pt")
    looks = results.looks_on(out / "checkpoint.pt", (measure or results.result_split(saved),))
    when = trajectories.answered(looks, saved["dynamic"])
    return looks.correct.gather(0, when[None])[0].float(), (when + 1).float().mean().item()


# What an oracle needs to choose the next place of every row: environment, network, state, images, number of the next glimpse -> places.
Oracle = Callable[[GlimpseVectorEnv, Agent, Memory, Tensor, int], Tensor]


def box_centre(env: GlimpseVectorEnv, network: Agent, state: Memory, index: Tensor, step: int) -> Tensor:
    """Look at the middle of the object's box."""
    del network, state, step
    assert env.images.boxes is not None
    boxes = env.images.boxes.to(env.device)[index]
    return ((boxes[:, :2] + boxes[:, 2:]) / 2 / env.sensor.reach).clamp(-1, 1)


def least_loss(env: GlimpseVectorEnv, network: Agent, state: Memory, index: Tensor, step: int) -> Tensor:
    """Look where the answer's loss will be least: every place is tried, with the label at hand."""
    places = lattice(env.preset.grid, env.device)
    labels, count = env.images.labels.to(env.device)[index], len(index)
    losses = []
    for place in places:
        seen = env.sensor.observe(index, place.expand(count, 2), torch.full_like(index, step))
        unit = {"location": place.expand(count, 2), "step": torch.full((count, 1), step / env.preset.max_glimpses, device=env.device)}
        logits = network(unit | seen, state)[0].logits
        losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none"))
    return places[torch.stack(losses).argmin(0)]


def guided(out: Path, oracle: Oracle, measure: str | None) -> Tensor:
    """Return which images the network of a run gets right when an oracle chooses the places."""
    saved = checkpoint.load(out / "checkpoint.pt")
    env = trajectories.environment(saved["environment"], measure or results.result_split(saved), saved["options"]["device"])
    network = registry.rebuilt(saved).to(env.device)
    guide: Guide = lambda state, index, step: oracle(env, network, state, index, step)  # noqa: E731
    return trajectories.look(env, network, env.preset.max_glimpses, guide=guide).correct[-1].float()


def measured(options: Photographs) -> dict[str, tuple[Tensor, list[float]]]:
    """Return every row's correctness (seed, image) and mean glimpses by seed."""
    found = {}
    for row in options.rows:
        runs = [answered(made(options, row, seed), options.measure) for seed in range(options.seeds)]
        found[row] = (torch.stack([right for right, _ in runs]), [glimpses for _, glimpses in runs])
    if "random, 3" in options.rows:
        for name, oracle in (("oracle: box centre", box_centre), ("oracle: least loss", least_loss)):
            rights = [guided(folder(options, "random, 3", seed), oracle, options.measure) for seed in range(options.seeds)]
            found[name] = (torch.stack(rights), [3.0] * options.seeds)
    return found


def table(found: Mapping[str, tuple[Tensor, list[float]]]) -> list[dict[str, Any]]:
    """Return the rows with intervals and paired differences, and print them."""
    rows = []
    against = [name for name in AGAINST if name in found]
    print(f"{'':<20} {'accuracy %':>15} {'glimpses':>9}  " + "  ".join(f"{'- ' + name:>22}" for name in against))
    for name, (right, glimpses) in found.items():
        accuracies = (100 * right.mean(1)).tolist()
        differences = {other: intervals.paired(right, found[other][0]) for other in against if other != name}
        cells = "  ".join(f"{'{:+.1f} [{:+.1f}, {:+.1f}]'.format(*differences[o]) if o in differences else '':>22}" for o in against)
        print(f"{name:<20} {intervals.over_runs(accuracies):>15} {sum(glimpses) / len(glimpses):>9.2f}  {cells}")
        rows.append({"row": name, "accuracy": accuracies, "mean_glimpses": glimpses, "differences": differences})
    return rows


def main(options: Photographs) -> None:
    """Make every run, then print and write the table."""
    options = terminal.prepare(options)
    if unknown := sorted(set(options.rows) - set(ROWS)):
        raise SystemExit(f"--rows {', '.join(unknown)}: expected some of {', '.join(ROWS)}")
    rows = table(measured(options))
    if options.json is not None:
        settings = checkpoint.plain(options_of(options, options.rows[0], 0))
        content = {
            "command": checkpoint.command(),
            "split": options.split,
            "measure": options.measure,
            "seeds": options.seeds,
            "settings": settings,
            "rows": rows,
        }
        checkpoint.write_json(options.json, content | {"versions": results.versions()})


if __name__ == "__main__":
    with terminal.foreseen("photographs.py"):
        main(tyro.cli(Photographs, description=__doc__))
