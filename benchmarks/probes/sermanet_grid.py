"""Resolutions against glimpses: the grid of Sermanet et al. 2015 (arXiv 1412.7054), each cell trained anew for several seeds.

    python benchmarks/sermanet_grid.py --weights runs/finetune_backbone-cub-0/weights.pth
    python benchmarks/sermanet_grid.py --sets high low --glimpses 1 --seeds 2 --no-augment        # a part of it

Every cell is trained on the images of --split and evaluated once on what that answers for (the test images, after train); finished runs are
found again. Printed: accuracy in %, mean over seeds with the 95 % interval of that mean (Student's t), beside the paper's (Stanford Dogs,
mean class accuracy, GoogLeNet); and `places alone`, the accuracy when every glimpse is another image's, taken at the same places. What
that is above chance the context has told through where it looks, and not the glimpses.

The sets share the tables of each resolution, so that a bank is computed three times (and three times more with --augment) at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from gymnasium import spaces
from papers.sermanet import PAPER, SETS
from reproduction import found
from sermanet_rnn import SermanetOptions
from torch import Tensor

from glimpse_env import Contextual, Sensor
from glimpse_env.evaluation import intervals, trajectories
from glimpse_env.networks import registry
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.training.options import Several
from glimpse_env.training.recipes import SERMANET
from glimpse_env.training.rollout import Guide, Policy

PHOTOGRAPHS = ("cub", "cars", "dogs")  # beside which the paper's figures are printed


@dataclass(frozen=True)
class Grid(Several):
    """Options of `sermanet_grid.py`."""

    sets: tuple[str, ...] = tuple(SETS)
    """Sets of resolutions: high, medium, low, high+medium, all."""
    glimpses: tuple[int, ...] = (1, 2, 3)
    """Numbers of glimpses."""
    augment: bool = True
    """Left-right reversal (the paper's); a bank then needs a second table for each resolution."""
    grid: int | None = None
    """Places a side of the bank sensor; default: the recipe's."""
    epochs: int | None = None
    """Passes over the training images; default: the recipe's."""
    policy: Policy = "learned"
    """learned; or, to compare with, random or center."""
    against: Policy | None = None
    """Also train every cell at places of this policy, such as random, and print the difference."""
    out: Path = Path("runs/sermanet_grid")
    """Folder of the runs."""


def options_of(options: Grid, name: str, glimpses: int, seed: int) -> SermanetOptions:
    """Return the options of one run: the data set's recipe, what all cells share, and the cell's own."""
    shared = ("weights", "dataset", "root", "backbone", "split", "augment", "policy", "device", "threads")
    given = {key: getattr(options, key) for key in shared}
    given |= {key: getattr(options, key) for key in ("grid", "epochs") if getattr(options, key) is not None}
    policy = "" if options.policy == "learned" else f"-{options.policy}"
    out = options.out / f"{options.dataset}-{checkpoint.file_name(options.split)}{policy}-{name}-{glimpses}-{seed}"
    own = {"resolutions": SETS[name], "glimpses": glimpses, "seed": seed, "out": out}
    return SermanetOptions(**SERMANET.get(options.dataset, {}) | given | own)


def made(options: SermanetOptions) -> Path:
    """Return the folder of a finished run, training it if it is not there."""
    return found.sermanet(options, options.out or Path())


class Elsewhere:
    """A sensor that shows every image the glimpses of another one, half a data set away, but its own context."""

    whole_first = False
    shows_context = True

    def __init__(self, sensor: Sensor, images: int) -> None:
        """Take the sensor, and how many images it has."""
        self.sensor, self.images = sensor, images
        self.reach, self.windows, self.pixels, self.flops = sensor.reach, sensor.windows, sensor.pixels, sensor.flops

    @property
    def space(self) -> dict[str, spaces.Space]:
        """Observation entries of one row."""
        return self.sensor.space

    def observe(self, index: Tensor, location: Tensor, step: Tensor) -> dict[str, Tensor]:
        """Return what the other image shows at this place."""
        return self.sensor.observe((index + self.images // 2) % self.images, location, step)

    def context(self, index: Tensor) -> Tensor:
        """Return the image's own context."""
        assert isinstance(self.sensor, Contextual)
        return self.sensor.context(index)


def places_alone(out: Path) -> float:
    """Return the accuracy of a run's network on the places it chose, with the glimpses of other images."""
    saved = checkpoint.load(out / "checkpoint.pt")
    env = trajectories.environment(saved["environment"], results.result_split(saved), saved["options"]["device"])
    places = trajectories.saved(out / "looks.npz").locations.to(env.device)
    env.sensor = Elsewhere(env.sensor, len(env.images))
    guide: Guide = lambda state, index, step: places[step - 1, index]  # noqa: E731
    network = registry.rebuilt(saved).to(env.device)
    looks = trajectories.look(env, network, env.preset.max_glimpses, policy=saved["options"]["policy"], guide=guide)
    return looks.correct[-1].float().mean().item()


def cell(options: Grid, name: str, glimpses: int) -> dict[str, Any]:
    """Return the accuracies of a cell by seed, in %."""
    folders = [made(options_of(options, name, glimpses, seed)) for seed in range(options.seeds)]
    accuracies = [100 * checkpoint.read_json(out / "result.json")["accuracy"] for out in folders]
    paper = PAPER[name][glimpses - 1] if glimpses <= len(PAPER[name]) and options.dataset in PHOTOGRAPHS else None
    alone = [100 * places_alone(out) for out in folders]
    row = {"set": name, "glimpses": glimpses, "accuracy": accuracies, "places_alone": alone, "paper": paper}
    return row if options.against is None else row | {"difference": difference(options, name, glimpses, folders)}


def difference(options: Grid, name: str, glimpses: int, folders: list[Path]) -> tuple[float, float, float]:
    """Return how many points a cell is above the same one at places of another policy, with its interval, paired over images."""
    assert options.against is not None
    other = replace(options, policy=options.against)
    others = [made(options_of(other, name, glimpses, seed)) for seed in range(options.seeds)]
    ours, theirs = (torch.stack([trajectories.saved(out / "looks.npz").correct[-1].float() for out in outs]) for outs in (folders, others))
    return intervals.paired(ours, theirs)


def table(options: Grid, found: Mapping[tuple[str, int], dict[str, Any]]) -> None:
    """Print the grid: ours, [places alone], and the paper's."""
    print("accuracy in %: ours [places alone], paper")
    print(f"{'glimpses':<12}" + "  ".join(f"{glimpses:>36}" for glimpses in options.glimpses))
    for name in options.sets:
        cells = []
        for glimpses in options.glimpses:
            row = found[name, glimpses]
            alone, paper = sum(row["places_alone"]) / len(row["places_alone"]), "-" if row["paper"] is None else row["paper"]
            ours = intervals.over_runs(row["accuracy"])
            cells.append(f"{f'{ours} [{alone:.1f}], {paper}':>36}")
        print(f"{name:<12}" + "  ".join(cells))
    for (name, glimpses), row in found.items():
        if "difference" in row:
            what = f"{name}, {glimpses} glimpses, {options.policy} - {options.against}"
            print(what + ": {:+.1f} [{:+.1f}, {:+.1f}] points, paired over images".format(*row["difference"]))


def main(options: Grid) -> None:
    """Make every run, then print and write the table."""
    options = terminal.prepare(options)
    if unknown := sorted(set(options.sets) - set(SETS)):
        raise SystemExit(f"--sets {', '.join(unknown)}: expected some of {', '.join(SETS)}")
    if not options.sets or not options.glimpses or options.seeds < 1:
        raise SystemExit("--sets, --glimpses, --seeds: expected at least one of each")
    found = {(name, glimpses): cell(options, name, glimpses) for name in options.sets for glimpses in options.glimpses}
    table(options, found)
    if options.json is not None:
        settings = checkpoint.plain(options_of(options, options.sets[0], options.glimpses[0], 0))
        content = {"command": checkpoint.command(), "split": options.split, "seeds": options.seeds, "settings": settings}
        checkpoint.write_json(options.json, content | {"rows": list(found.values()), "versions": results.versions()})


if __name__ == "__main__":
    with terminal.foreseen("sermanet_grid.py"):
        main(tyro.cli(Grid, description=__doc__))
