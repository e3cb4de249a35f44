"""Baselines for agents that learn where to look: linear classifiers of separate views at unlearned locations.

    python agents/baselines.py --dataset cub --sensor bank --weights WEIGHTS --rows one-view random centre
    python agents/baselines.py --dataset cub --sensor map --glimpse-size 128 --seeds 5        # every row

| row | views (FCAN, Tables 2, 4 and 6, have the first and the last two) |
|---|---|
| one-view | the first view alone |
| random, centre | the first view, and glimpses at random locations, or always at the centre |
| grid, raster | the first view, and glimpses at the cells of a --grid, far apart first, or row by row |
| multi-view | the whole image and a crop of each of the sizes --parts, at random locations |
| rigid | the whole image and a crop of each of the sizes --parts, at the centre |

One classifier for the whole image and one for each window size, on pixels or on the features of the frozen
network that the sensor runs; their probabilities are averaged; no recurrent core. The same environment,
metric and files as every agent (result.json, looks.npz; evaluate.py and predict.py take the checkpoints).
Finished runs are not repeated. Deviations from FCAN: the network is frozen, one for all views. The same
locations with a recurrent core: ram_reinforce.py --policy; stopping rules: benchmarks/probes/thresholds.py.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from glimpse_env import Delayed, GlimpseVectorEnv
from glimpse_env.evaluation.validation import Validation
from glimpse_env.networks.averaged_views import AveragedViews, ViewsArchitecture
from glimpse_env.networks.base import Agent
from glimpse_env.networks.fixed_policies import build_unlearned
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.reports.plots import Measure
from glimpse_env.runtime import checkpoint, distributed, files, terminal
from glimpse_env.training import optimizers, reinforce, resume
from glimpse_env.training.augment import Changes, renew
from glimpse_env.training.command_line import parse
from glimpse_env.training.environments import build_environment, count_glimpse_values
from glimpse_env.training.options import RunOptions, Training, View, check_numbers
from glimpse_env.training.rollout import Behaviour, collect, summarise
from glimpse_env.training.trainer import Run

PARTS = {"first_view": "image"}  # rows of FCAN's tables: the whole image, then one crop of each size
ROWS: dict[str, dict[str, Any]] = {
    "one-view": {"glimpses": 1, "policy": "center"},
    "random": {"policy": "random"},
    "centre": {"policy": "center"},
    "grid": {"policy": "grid"},
    "raster": {"policy": "raster"},
    "multi-view": {"policy": "random", **PARTS},
    "rigid": {"policy": "center", **PARTS},
}


@dataclass(frozen=True)
class TableOptions:
    """Rows, runs and output."""

    measure: str | None = None
    """Split to evaluate on, such as test after training on fit:1/4; default: the held-out fold, or test."""
    rows: tuple[str, ...] = tuple(ROWS)
    """Rows of the table to compute."""
    seeds: int = 3
    """Number of runs per row, with seeds 0, 1, ..."""
    parts: tuple[float, ...] = (0.25, 0.5)
    """Sides of the crops of multi-view and rigid, as fractions of the image's side (FCAN: 4 and 8 of 16
    cells). With --sensor bank another bank is computed for them; with --sensor map nothing is."""
    out: Path = Path("runs/baselines")
    """Output folder of the runs; finished ones are not repeated, interrupted ones are resumed."""
    overwrite: bool = False
    """Train every run of the table again, in place of the one that is there."""
    json: Path | None = None
    """JSON file to which the table is also written."""


@dataclass(frozen=True)
class ClassifierOptions:
    """Training of the classifiers."""

    epochs: int = 40
    """Number of passes over the training images."""
    batch: int = 100
    """Images per update."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW; it decreases linearly."""
    weight_decay: float = 0.1
    """Decoupled weight decay of the weight matrices."""
    dropout: float = 0.5
    """Dropout rate of a view's values."""
    label_smoothing: float = 0.1
    """Label smoothing: fraction of the cross-entropy's target that is spread over all classes."""
    augment: bool = False
    """Random augmentation: small rotations, scalings and shifts (pixel sensor), or left-right flips."""


@dataclass(frozen=True)
class Baselines(RunOptions, View, TableOptions, ClassifierOptions):
    """Options of `baselines.py`."""


def build_options(options: Baselines, row: str, seed: int) -> Training:
    """Return the options of one run."""
    shared = {name: value for name, value in vars(options).items() if hasattr(Training, name)}
    own = ROWS[row] | (build_windows(options) if "first_view" in ROWS[row] else {})
    same = {"samples": 1, "optimizer": "adamw", "precision": "float32", "curriculum": 0.0, "sure": 1.0}
    return Training(**shared | own | same | {"seed": seed, "out": folder(options, row, seed)})


def folder(options: Baselines, row: str, seed: int) -> Path:
    """Return the folder of a run."""
    return options.out / checkpoint.run_name(row, options.dataset, options.split, seed)


def build_windows(options: Baselines) -> dict[str, Any]:
    """Return the options for a glimpse of each of the sizes `parts`, all inside the image."""
    sizes = {"image_size": options.image_size, "glimpse_size": options.glimpse_size}
    preset = resolve(options.dataset, options.root, **sizes)
    side = preset.image_size
    if not isinstance(side, int):  # None, or "native"
        todo = f"give --image-size for --dataset {options.dataset}"
        raise ValueError(f"--parts are fractions of the image's side: {todo}")
    if not options.parts or not all(0 < part <= 1 for part in options.parts):
        expected = "expected at least one fraction of the image's side, in (0, 1]"
        raise ValueError(f"--parts {' '.join(map(str, options.parts))}: {expected}")
    size = preset.glimpse_size or max(1, side // 4)
    inside = 1 - max(options.parts) if options.location_range is None else options.location_range
    scales = tuple(part * side / size for part in options.parts)
    return {"scales": scales, "location_range": inside, "glimpses": 1 + len(options.parts)}


def train(run: Run, env: GlimpseVectorEnv, network: Agent, validation: Validation) -> None:
    """Train classifiers by the cross-entropy of every view."""
    options, preset = run.options, env.preset
    policy = build_unlearned(options.policy, preset.grid, preset.axes)
    behaviour = Behaviour(env.preset.max_glimpses, policy)
    optimizer = optimizers.build_optimizer(network, options)
    env.reward = Delayed()
    for epoch in run.epochs(options.epochs, "views", optimizer):
        network.train()
        renew(env, epoch.generator, Changes.of(options))
        for images in epoch.batches(len(env.images), options.batch):
            rollout = collect(env, network, behaviour, epoch.generator, images, run.precision)
            predicted = (rollout.logits, rollout.labels, rollout.active)
            losses = {"classification": reinforce.supervision_loss(*predicted, True, options.label_smoothing)}
            epoch.log({"loss": optimizer.update(losses, epoch.warm_up), **summarise(rollout)})
        epoch.add(validation(network, behaviour.steps, run.precision))


def build_network(env: GlimpseVectorEnv, dropout: float) -> AveragedViews:
    """Return new classifiers for an environment's views."""
    sizes = ViewsArchitecture(
        glimpse=count_glimpse_values(env),
        classes=len(env.images.classes),
        horizon=env.preset.max_glimpses,
        windows=len(env.sensor.windows),
        whole_first=env.sensor.whole_first,
        dropout=dropout,
    )
    return AveragedViews(sizes)


def train_row(options: Baselines, row: str, seed: int) -> dict[str, Any]:
    """Return the result of a run; train and evaluate it first if it is not finished."""
    path = folder(options, row, seed) / "checkpoint.pt"
    given = build_options(options, row, seed)
    if not options.overwrite and resume.belongs(path, given):
        given = replace(given, resume=True)
    if options.overwrite or not results.is_finished(path):
        with Run.open(f"baseline-{row}", given) as run:
            env = build_environment(run.options, run.saved)
            network = build_network(env, run.options.dropout).to(env.device)
            run.start(network, resume.describe(run.agent, run.options, env, network), env.device)
            train(run, env, network, Validation(env, run.options))
            run.finish()
            results.write(run.checkpoint, device=run.options.device)
    return results.read_or_write(path, options.measure)


def main(options: Baselines) -> None:
    """Complete every run, then print and write the table."""
    options = terminal.prepare(options)
    distributed.refuse("a table of several runs")
    check_numbers(options)
    if unknown := [row for row in options.rows if row not in ROWS]:
        raise ValueError(f"--rows {' '.join(unknown)}: expected some of {', '.join(ROWS)}")
    for row in options.rows:  # invalid options are refused before anything is trained
        build_options(options, row, 0)
    files.check_writable(options.json)
    rows = {row: [train_row(options, row, seed) for seed in range(options.seeds)] for row in options.rows}
    print(f"{'':<12} {'accuracy %':>16} {'mean class %':>16} {'glimpses':>9}")
    for row, runs in rows.items():
        accuracies = [results.format_means(runs, name) for name in get_args(Measure)]
        glimpses = statistics.fmean(result["mean_glimpses"] for result in runs)
        print(f"{row:<12} {accuracies[0]:>16} {accuracies[1]:>16} {glimpses:>9.2f}")
    if options.json is not None:
        origin = {"command": checkpoint.command(), "versions": results.collect_versions()}
        files.write_json(options.json, origin | {"rows": rows})


if __name__ == "__main__":
    with terminal.foreseen("baselines.py"):
        main(parse(Baselines, {}, {}, __doc__ or ""))
