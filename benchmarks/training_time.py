"""How long FCAN's localisers take to train, against RAM on crops: same images, same network, same epochs, measured in one run.

    python benchmarks/training_time.py --weights runs/finetune_backbone-cub-0/weights.pth

RAM passes the frozen network over every glimpse of every trajectory of every epoch; FCAN's localisers learn on feature maps that are
computed once. A few updates of each are timed and counted up to whole epochs; what the maps take is measured apart and added once. RAM's
rows: with one trajectory per image as in the papers, and with as many as its recipe has. A test is all glimpses of an image, in a batch:
FCAN's is a map, its localisers, and a pass of the network over the image and over each part. Weights do not change the time: --weights None
takes random ones. The paper (section 4.1, a K40): 3 hours against 30 to train, 150 ms against 250 ms to test.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import tyro
from fcan import localising, setup
from fcan.plan import FcanOptions
from gymnasium.vector import AutoresetMode

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import trajectories
from glimpse_env.networks.base import Agent
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.runtime.precision import named
from glimpse_env.training import environments as common
from glimpse_env.training import trainer
from glimpse_env.training.options import Benchmark, Options
from glimpse_env.training.recipes import DATASETS
from glimpse_env.training.rollout import collect
from glimpse_env.training.stages import look_stage
from glimpse_env.training.trainer import Progress

TESTED = 16  # images that the times of maps and tests are measured on
TURNS = 3  # of those measurements


@dataclass(frozen=True)
class TrainingTime(Benchmark):
    """Options of `training_time.py`."""

    epochs: int = 30
    """Passes over the images that are counted up to."""
    updates: int = 2
    """Updates of RAM that are timed, after one that is not; FCAN's are ten times as many."""


def seconds_of(work: Callable[[], object], times: int, device: torch.device) -> float:
    """Return the mean seconds of some work, after a turn to warm up."""
    work()
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return (time.perf_counter() - start) / times


def wait(device: torch.device) -> None:
    """Let a GPU finish, so that clocks tell the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def shared(options: TrainingTime) -> dict[str, Any]:
    """Return the options that both agents take."""
    return {name: getattr(options, name) for name in ("weights", "dataset", "root", "backbone", "split", "device", "threads")}


def ram(options: TrainingTime, samples: int | None) -> dict[str, Any]:
    """Time updates of RAM on the crop sensor; `samples` None = the recipe's."""
    given: dict[str, Any] = DATASETS.get(options.dataset, {}) | shared(options) | {"sensor": "crop"}
    given = {name: value for name, value in given.items() if hasattr(Options, name)}  # recipes serve DT-RAM too
    chosen = Options(**given) if samples is None else replace(Options(**given), samples=samples)
    env = common.training_environment(chosen)
    network = common.build_network(env, chosen, None, None).to(env.device)
    stage = look_stage(chosen, network, env.preset.max_glimpses)
    precision = named("auto", env.device)
    generator = torch.Generator(env.device).manual_seed(0)
    env.reward = stage.reward
    network.train()

    def update() -> None:
        indices = next(trainer.shuffled(len(env.images), chosen.batch, chosen.samples, generator))
        trainer.update(network, stage, collect(env, network, stage.behaviour(0.5), generator, indices, precision))

    seconds = seconds_of(update, options.updates, env.device) / chosen.batch
    row = {"row": f"RAM on crops, trajectories an image: {chosen.samples}", "update": seconds, "once": 0.0, "images": len(env.images)}
    return row | {"test": tested(env, network)}


def tested(env: GlimpseVectorEnv, network: Agent) -> float:
    """Return the seconds that looking at an image takes RAM at test time."""
    label = len(env.images.classes) - 1  # the largest says how many classes there are
    given = [(env.images.image(number), label) for number in range(TESTED)]
    mode = AutoresetMode.DISABLED
    small = GlimpseVectorEnv(TESTED, given, sensor=env.sensor, order="once", max_glimpses=env.preset.max_glimpses, autoreset_mode=mode)
    return seconds_of(lambda: trajectories.look(small, network, small.preset.max_glimpses), TURNS, env.device) / TESTED


def fcan(options: TrainingTime) -> dict[str, Any]:
    """Time updates of FCAN's localisers, the maps that they learn on, and a test."""
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    plan = setup.planned(FcanOptions(**shared(options)))
    env = trajectories.environment(setup.look(plan, options.weights), plan.learn, options.device, rows=1)
    network = setup.network_for(env, plan.options)
    localising.standardise(network, env)
    setting = localising.Setting(env, plan.options, named("auto", env.device), dict, lambda row: None, lambda progress, optimizer: None)
    learner = localising.Localising(setting, network, Progress())
    generator = torch.Generator(env.device).manual_seed(0)
    count = min(plan.options.batch, len(env.images))
    network.train()

    def update() -> None:
        learner.update(torch.randperm(len(env.images), generator=generator, device=env.device)[:count], generator)

    seconds = seconds_of(update, 10 * options.updates, env.device) / count
    backbone = setup.map_sensor(env).backbone
    seen = torch.stack([env.images.image(number) for number in range(TESTED)]).to(env.device)
    view = env.preset.view_size or plan.image_size
    whole, crop = (v2.functional.resize(seen, [side, side], antialias=True) for side in (view, plan.crop_size))

    @torch.no_grad()
    def test() -> None:
        network.best(backbone.map(whole))
        for _ in range(network.horizon):
            backbone(crop)

    maps = seconds_of(lambda: backbone.map(whole), TURNS, env.device) / TESTED
    row = {"row": f"FCAN's localisers, {plan.options.samples} places a part", "update": seconds, "once": maps, "images": len(env.images)}
    return row | {"test": seconds_of(test, TURNS, env.device) / TESTED}


def table(rows: list[dict[str, Any]], epochs: int) -> list[dict[str, Any]]:
    """Return the rows with seconds an epoch and in all, and how many times FCAN's (the last row's) they are; print them."""
    own = rows[-1]
    made = []
    print(
        f"{'':<38} {'s an epoch':>10} {'x FCAN':>7} {'maps, s':>8} {f's for {epochs} epochs':>16} {'x FCAN':>7} {'test, ms an image':>18}"
    )
    for row in rows:
        each, once = row["update"] * row["images"], row["once"] * row["images"]
        total, mine = once + epochs * each, own["images"] * (own["once"] + epochs * own["update"])
        ratios = {"times_an_epoch": row["update"] / own["update"], "times_in_all": total / mine}
        made.append({**row, "epoch": each, "maps": once, "total": total, **ratios})
        line = f"{row['row']:<38} {each:>10.1f} {ratios['times_an_epoch']:>7.1f} {once:>8.0f} {total:>16.0f} {ratios['times_in_all']:>7.1f}"
        print(f"{line} {1000 * row['test']:>18.0f}")
    return made


def main(options: TrainingTime) -> None:
    """Time all, then print and write the table."""
    options = terminal.prepare(options)
    rows = table([ram(options, 1), ram(options, None), fcan(options)], options.epochs)
    if options.json is not None:
        told = {"command": checkpoint.command(), "epochs": options.epochs, "rows": rows, "versions": results.versions()}
        checkpoint.write_json(options.json, told)


if __name__ == "__main__":
    with terminal.foreseen("training_time.py"):
        main(tyro.cli(TrainingTime, description=__doc__))
