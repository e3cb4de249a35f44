"""Results: from a checkpoint to `result.json`, the report, the plots, and the printed row."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from glimpse_env import GlimpseVectorEnv, __version__, checks
from glimpse_env.datasets.base import choose_result_split
from glimpse_env.evaluation import intervals
from glimpse_env.evaluation.fixations import measure_fixations
from glimpse_env.evaluation.metrics import summarize
from glimpse_env.evaluation.stopping_rules import choose_rule
from glimpse_env.evaluation.trajectories import Trajectories, evaluate
from glimpse_env.networks import registry
from glimpse_env.networks.base import Agent
from glimpse_env.reports import run_report
from glimpse_env.reports.plots import Measure
from glimpse_env.runtime import checkpoint, distributed, files
from glimpse_env.training import environments, preprocessing, resume

log = logging.getLogger("glimpse_env")


def write(
    path: Path,
    split: str | None = None,
    dataset: str | None = None,
    root: str | None = None,
    device: str | None = None,
    weights: str | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint, write the files of `record` beside it, and return the row.

    Args:
        path: The checkpoint.
        split: Split to evaluate on, which ends the files' names; None = the run's own (`get_result_split`).
        dataset: Another data set than the checkpoint's, of the same classes and glimpses; ends the names too.
        root: Folder in which a relative data set folder is searched.
        device: Where to run; None = the device of training, or as "auto" if this machine lacks it.
        weights: Path of the backbone's weights file; None = the path in training.
    """
    split = split or get_result_split(checkpoint.load(path))
    changes = {"dataset": dataset, "root": root, "weights": weights}
    saved, env, trajectories = evaluate_checkpoint(path, split, device, **changes)
    return record(path.parent, saved, env, trajectories, split=split, dataset=dataset)


def record(
    folder: Path,
    saved: Mapping[str, Any],
    env: GlimpseVectorEnv,
    trajectories: Trajectories,
    *,
    split: str,
    dataset: str | None = None,
    libraries: Sequence[str] = (),
) -> dict[str, Any]:
    """Write result.json, looks.npz (all trajectories), report.html and plots; print and return the row.

    `saved` holds what was trained, as a checkpoint: agent, dynamic, environment, architecture, options,
    progress, command, precision. `dataset` is another data set than the one of training; `libraries` are
    further distributions whose versions are recorded. Of processes that train together, the first one writes.
    """
    row = {
        "agent": saved["agent"],
        "dataset": str(dataset or saved["environment"]["dataset"]),
        "split": split,
        **summarize(trajectories, saved["dynamic"]),
        "train_seconds": round(saved["progress"]["seconds"], 1),
        "device": str(env.device),
        "seed": saved["options"]["seed"],
        "command": saved["command"],
        "versions": collect_versions() | {name: version(name) for name in libraries},
        "options": saved["options"],
        "precision": saved["precision"],
        "pixels": list(env.sensor.pixels),  # fed to the network by the first view, by a later glimpse
        "flops": list(env.sensor.flops),
        "data_sha256": env.images.digest(),
    }
    stops = choose_rule(saved["dynamic"]).find_stops(trajectories)
    row |= measure_fixations(env, trajectories, stops, saved["architecture"].get("learned_start", False))
    if not distributed.first():
        return row
    suffix = build_suffix(saved, split, dataset)
    warn_of_other_images(folder / f"result{suffix}.json", row)
    report = folder / f"report{suffix}.html"
    files.write_json(folder / f"result{suffix}.json", row)
    trajectories.save(folder / f"looks{suffix}.npz")
    run_report.write_plots(folder, suffix, row, saved, env, trajectories)
    run_report.write_report(report, row, saved, env, trajectories)
    print(f"report: {report}")
    print(format_row(row))
    return row


def warn_of_other_images(file: Path, row: Mapping[str, Any]) -> None:
    """Log that a result is replaced by one on other images; older results do not tell theirs."""
    before = files.read_json(file).get("data_sha256") if file.is_file() else None
    if before not in (None, row["data_sha256"]):
        log.warning("%s was measured on other images of %s than there are now; replaced", file, row["split"])


def read_or_write(
    path: Path, split: str | None = None, root: str | None = None, weights: str | None = None
) -> dict[str, Any]:
    """Return a checkpoint's row on a split (None = its own) from an earlier evaluation, else a new one."""
    return read_row(path, checkpoint.load(path), split) or write(path, split, root=root, weights=weights)


def read_row(path: Path, saved: Mapping[str, Any], split: str | None) -> dict[str, Any] | None:
    """Return the row of an earlier evaluation, unless it was made at another moment of training."""
    file = path.parent / f"result{build_suffix(saved, split)}.json"
    row = files.read_json(file) if file.is_file() else None
    return row if row is not None and row["train_seconds"] == round(saved["progress"]["seconds"], 1) else None


def is_finished(path: Path) -> bool:
    """Return whether a run was trained to its end and evaluated after that."""
    if not path.is_file():
        return False
    saved = checkpoint.load(path)
    epochs = saved["options"]["stop_epochs" if saved["dynamic"] else "epochs"]
    return saved["progress"]["epoch"] >= epochs and read_row(path, saved, None) is not None


def build_suffix(saved: Mapping[str, Any], split: str | None, dataset: str | None = None) -> str:
    """Return the end of an evaluation's file names: data set and split, where these are not the run's own."""
    parts = (
        [] if dataset in (None, saved["environment"]["dataset"]) else [checkpoint.dataset_name(str(dataset))]
    )
    parts += [] if split in (None, get_result_split(saved)) else [checkpoint.file_name(str(split))]
    return "".join(f"-{part}" for part in parts)


def get_result_split(saved: Mapping[str, Any]) -> str:
    """Return the split on which a run is evaluated by default."""
    return choose_result_split(saved["options"].get("split", "fit"))


def evaluate_checkpoint(
    path: Path, split: str, device: str | None = None, **changes: str | None
) -> tuple[dict[str, Any], GlimpseVectorEnv, Trajectories]:
    """Return a checkpoint's content, the environment of its evaluation, and every image's trajectory.

    `changes` may be another dataset, root or weights (as in `write`); None = the checkpoint's.
    """
    saved = checkpoint.load(path)
    network = registry.rebuild(saved)
    arguments = saved["environment"] | {name: value for name, value in changes.items() if value is not None}
    resume.check_weights(saved, arguments, path)
    env = environments.build_evaluation_environment(arguments, split, choose_device(saved, device))
    check_fit(env, network, path)
    resume.check_classes(saved, env.images.classes, path)
    preprocessing.check_view(saved, preprocessing.describe_view(env, arguments["dataset"]), path)
    policy = saved["options"].get("policy", "learned")
    return saved, env, evaluate(env, network.to(env.device), env.preset.max_glimpses, policy=policy)


def choose_device(saved: Mapping[str, Any], device: str | None) -> str:
    """Return where to evaluate: `device`, else the device of training, else (it is not here) "auto"'s."""
    if device is not None:
        return distributed.device_of(device)
    try:
        checks.device(trained := saved["options"]["device"])
    except ValueError:
        return distributed.device_of("auto")
    return trained


def read_or_write_trajectories(
    path: Path,
    splits: Sequence[str],
    root: str | None = None,
    device: str | None = None,
    weights: str | None = None,
) -> Trajectories:
    """Return all trajectories of an earlier evaluation of one of these splits, else evaluate the last."""
    saved = checkpoint.load(path)
    archives = [path.parent / f"looks{build_suffix(saved, split)}.npz" for split in splits]
    for split, archive in zip(splits, archives, strict=True):
        if archive.is_file() and read_row(path, saved, split) is not None:
            return Trajectories.load(archive)
    write(path, splits[-1], root=root, device=device, weights=weights)
    return Trajectories.load(archives[-1])


def check_fit(env: GlimpseVectorEnv, network: Agent, path: Path) -> None:
    """Refuse a data set whose glimpses or classes are not those of the network."""
    values, classes = environments.count_glimpse_values(env), len(env.images.classes)
    trained = network.architecture
    if (values, classes) != (trained.glimpse, trained.classes):
        raise ValueError(
            f"{path} was trained on glimpses of {trained.glimpse} values and {trained.classes} classes; "
            f"this data set has {values} and {classes}"
        )


def format_row(row: Mapping[str, Any]) -> str:
    """Return a result row as one line of text."""
    run = f"{row['agent']:<18} {row['dataset']:<10} {row['split']:<10} seed {row['seed']:<3}"
    measures = f"error {100 * (1 - row['accuracy']):5.2f} %  mean glimpses {row['mean_glimpses']:.2f}"
    if run_report.compares_classes(row):
        measures = f"mean class error {100 * (1 - row['mean_class_accuracy']):5.2f} %  {measures}"
    return f"{run} {measures}  images {row['images']}  trained {row['train_seconds']:.0f} s"


def format_means(rows: Sequence[Mapping[str, Any]], measure: Measure, error: bool = False) -> str:
    """Return an accuracy (or 1 - it) of rows in percent, the mean with its interval.

    Empty where a row lacks it: older ones have no mean class accuracy.
    """
    if any(measure not in row for row in rows):
        return ""
    return intervals.format_mean([100 * (1 - row[measure] if error else row[measure]) for row in rows])


def collect_versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "glimpse_env": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
    }
