"""Finished stages of a run and their configurations: a small JSON file for each, written at its end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcan.plan import ClassifyOptions, FcanOptions, LocaliseOptions, StageName
from glimpse_env.runtime import checkpoint, files

IMAGES = ("dataset", "split", "image_size", "backbone", "seed")
# The options that a stage's files depend on, besides the files of the stages before.
OPTIONS: dict[StageName, tuple[str, ...]] = {
    "tune": (*IMAGES, "start", "crop_size", "tune_epochs"),
    "localise": (*IMAGES, "view_size", "precision", *LocaliseOptions.__dataclass_fields__),
    "classify": (*IMAGES, "measure", "crop_size", *ClassifyOptions.__dataclass_fields__),
}


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def select_options(stage: StageName, options: FcanOptions) -> dict[str, Any]:
    """Return the options that a stage's files depend on."""
    plain = checkpoint.plain(options)
    return {name: plain[name] for name in OPTIONS[stage]}


def describe(
    stage: StageName, options: FcanOptions, inputs: Mapping[str, Path], data: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a stage's files depend on.

    Args:
        stage: Its name.
        options: The run's.
        inputs: Files of earlier stages, by name.
        data: Digests of the images, by split.
    """
    hashes = {name: hash_file(file) for name, file in inputs.items()}
    content = {"options": select_options(stage, options), "inputs": hashes, "data": dict(data)}
    return json.loads(json.dumps(content))


def is_finished(out: Path, stage: StageName, configuration: Mapping[str, Any]) -> bool:
    """Return whether a stage is finished with this configuration (see `describe`).

    Raises:
        ValueError: It is finished with another one; the message names what differs.
    """
    file = out / f"{stage}.json"
    if not file.is_file():
        return False
    try:
        saved, renamed = files.read_json(file), FcanOptions.renamed
        options = {renamed.get(name, name): value for name, value in saved["options"].items()}
        inputs, data = saved["inputs"], saved.get("data", {})  # older notes have no digests
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged: remove it, and the stage {stage} runs again") from error
    names = checkpoint.different(options, configuration["options"])
    differences = [f"--{name.replace('_', '-')} {format_value(options.get(name))}" for name in names]
    given = configuration["inputs"]
    differences += [f"other {name}" for name in {**given, **inputs} if inputs.get(name) != given.get(name)]
    now = configuration["data"]
    differences += [f"other images of {split}" for split in now if data.get(split, now[split]) != now[split]]
    if differences:
        raise ValueError(
            f"the stage {stage} in {out} belongs to another configuration: it was made with "
            f"{', '.join(differences)}; give the same options, another --out, or "
            f"run it again with --stage {stage} --overwrite"
        )
    return True


def format_value(value: object) -> str:
    """Return an option's value as on the command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def begin(out: Path, stage: StageName) -> None:
    """Remove the note that a stage is finished: its files are about to change."""
    (out / f"{stage}.json").unlink(missing_ok=True)


def finish(out: Path, stage: StageName, configuration: Mapping[str, Any]) -> None:
    """Write the note that a stage is finished."""
    files.write_json(out / f"{stage}.json", configuration)
