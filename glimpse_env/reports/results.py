"""Results: from a checkpoint to `result.json`, its plots, and the one row that is printed."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from glimpse_env import GlimpseVectorEnv, __version__, checks
from glimpse_env.datasets import held_out
from glimpse_env.evaluation import fixations, trajectories
from glimpse_env.networks import registry
from glimpse_env.networks.base import Agent
from glimpse_env.reports import run_figures, run_report
from glimpse_env.runtime import checkpoint, distributed, files
from glimpse_env.training import resume


def write(
    path: Path,
    split: str | None = None,
    dataset: str | None = None,
    root: str | None = None,
    device: str | None = None,
    weights: str | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint; write result.json, looks.npz (every image's trajectory), report.html and the plots beside it; return the row.

    Args:
        path: The checkpoint.
        split: Split to evaluate on; None = the one that the run answers for.
        dataset: Another data set than the checkpoint's (it must have the same classes and glimpses).
        root: Where a relative data set folder is looked for.
        device: Where to run; None = the device it was trained on, or as "auto" where this machine has none such.
        weights: Where the backbone's weights file lies now; None = where it lay in training.

    The files of another split or data set carry its name: result-validation.json. Of processes that train together the first one writes.
    """
    split = split or result_split(checkpoint.load(path))
    saved, env, looks = looked(path, split, dataset, root, device, weights)
    return record(path.parent, saved, env, looks, split=split, dataset=dataset)


def record(
    folder: Path,
    saved: Mapping[str, Any],
    env: GlimpseVectorEnv,
    looks: trajectories.Looks,
    *,
    split: str,
    dataset: str | None = None,
    libraries: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the result, the trajectories, the report and the plots of an evaluation into a folder; print and return the row.

    Args:
        folder: Where the files belong.
        saved: What was trained, as in a checkpoint: agent, dynamic, environment, architecture, options, progress, command, precision.
        env: The environment of the evaluation.
        looks: Every image's trajectory.
        split: The split that was looked at.
        dataset: Another data set than the one it was trained on.
        libraries: Further distributions that the result depends on, whose versions are told.
    """
    row = {
        "agent": saved["agent"],
        "dataset": str(dataset or saved["environment"]["dataset"]),
        "split": split,
        **trajectories.summary(looks, saved["dynamic"]),
        "train_seconds": round(saved["progress"]["seconds"], 1),
        "device": str(env.device),
        "seed": saved["options"]["seed"],
        "command": saved["command"],
        "versions": versions() | {name: version(name) for name in libraries},
        "options": saved["options"],
        "precision": saved["precision"],
        "pixels": list(env.sensor.pixels),  # that the network is fed by the first view, by a later glimpse
        "flops": list(env.sensor.flops),
    }
    row |= fixations.measures(env, looks, trajectories.answered(looks, saved["dynamic"]), saved["architecture"].get("learned_start", False))
    if not distributed.first():
        return row
    end = suffix(saved, split, dataset)
    files.write_json(folder / f"result{end}.json", row)
    trajectories.save(looks, folder / f"looks{end}.npz")
    run_figures.draw(folder, end, row, saved, env, looks)
    run_report.write_run(folder / f"report{end}.html", row, saved, env, looks)
    print(f"report: {folder / f'report{end}.html'}")
    print(line(row))
    return row


def of(path: Path, split: str | None = None, root: str | None = None, weights: str | None = None) -> dict[str, Any]:
    """Return the row of a run on a split (None = the one that it answers for), evaluating it if that is not done (see `write`)."""
    return kept(path, checkpoint.load(path), split) or write(path, split, root=root, weights=weights)


def kept(path: Path, saved: Mapping[str, Any], split: str | None) -> dict[str, Any] | None:
    """Return the row that an evaluation of this checkpoint left: one that was made after as many seconds of training; None without one."""
    file = path.parent / f"result{suffix(saved, split)}.json"
    row = files.read_json(file) if file.is_file() else None
    return row if row is not None and row["train_seconds"] == round(saved["progress"]["seconds"], 1) else None


def is_finished(path: Path) -> bool:
    """Tell whether a run has come to its end and was evaluated then; an interrupted one may have been evaluated as it was."""
    if not path.is_file():
        return False
    saved = checkpoint.load(path)
    epochs = saved["options"]["stop_epochs" if saved["dynamic"] else "epochs"]
    return saved["progress"]["epoch"] >= epochs and kept(path, saved, None) is not None


def suffix(saved: Mapping[str, Any], split: str | None, dataset: str | None = None) -> str:
    """Return how the names of an evaluation's files end: nothing for the split and data set that the run answers for, else their names."""
    parts = [] if dataset in (None, saved["environment"]["dataset"]) else [Path(str(dataset)).name]
    parts += [] if split in (None, result_split(saved)) else [checkpoint.file_name(str(split))]
    return "".join(f"-{part}" for part in parts)


def result_split(saved: Mapping[str, Any]) -> str:
    """Return the split that a run's result is about."""
    return answers_for(saved["options"].get("split", "fit"))


def answers_for(split: str) -> str:
    """Return what is measured after training on `split`: the fold that was left out, else the test images."""
    return held_out(split) or "test" if split.startswith("fit:") else "test"


def looked(
    path: Path,
    split: str,
    dataset: str | None = None,
    root: str | None = None,
    device: str | None = None,
    weights: str | None = None,
) -> tuple[dict[str, Any], GlimpseVectorEnv, trajectories.Looks]:
    """Return a checkpoint's content, the environment of its evaluation, and every image's trajectory (arguments as in `write`)."""
    saved = checkpoint.load(path)
    network = registry.rebuilt(saved)
    given = {"dataset": dataset, "root": root, "weights": weights}
    options = saved["environment"] | {name: value for name, value in given.items() if value is not None}
    resume.check_weights(saved, options, path)
    env = trajectories.environment(options, split, device_for(saved, device))
    check_fit(env, network, path)
    policy = saved["options"].get("policy", "learned")
    return saved, env, trajectories.look(env, network.to(env.device), env.preset.max_glimpses, policy=policy)


def device_for(saved: Mapping[str, Any], device: str | None) -> str:
    """Return where to evaluate: the given device, else the one of training, else (this machine has none such) what "auto" chooses."""
    if device is not None:
        return distributed.device_of(device)
    try:
        checks.device(trained := saved["options"]["device"])
    except ValueError:
        return distributed.device_of("auto")
    return trained


def looks_on(
    path: Path, splits: Sequence[str], root: str | None = None, device: str | None = None, weights: str | None = None
) -> trajectories.Looks:
    """Return every image's trajectory on one of these splits: as an earlier evaluation of this checkpoint left it, else on the last one.

    An evaluation of another moment of its training is made anew (see `kept`); what is made is kept beside the checkpoint.
    """
    saved = checkpoint.load(path)
    for split in splits:
        looks = path.parent / f"looks{suffix(saved, split)}.npz"
        if looks.is_file() and kept(path, saved, split) is not None:
            return trajectories.saved(looks)
    write(path, splits[-1], root=root, device=device, weights=weights)
    return trajectories.saved(path.parent / f"looks{suffix(saved, splits[-1])}.npz")


def check_fit(env: GlimpseVectorEnv, network: Agent, path: Path) -> None:
    """Refuse a data set that the network was not made for."""
    values = trajectories.glimpse_values(env)
    made = network.architecture
    if (values, len(env.images.classes)) != (made.glimpse, made.classes):
        raise ValueError(
            f"{path} was trained on glimpses of {made.glimpse} values and {made.classes} classes; "
            f"this data set has {values} and {len(env.images.classes)}"
        )


def line(row: Mapping[str, Any]) -> str:
    """Return the table row of a result."""
    what = f"{row['agent']:<18} {row['dataset']:<10} {row['split']:<10} seed {row['seed']:<3}"
    found = f"error {100 * (1 - row['accuracy']):5.2f} %  mean glimpses {row['mean_glimpses']:.2f}  images {row['images']}"
    return f"{what} {found}  trained {row['train_seconds']:.0f} s"


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "glimpse_env": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
    }
