"""Which stages of a run are done, and with what configuration: one small JSON file a stage, written when it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcan.plan import FcanOptions, StageName
from glimpse_env.runtime import checkpoint, files

IMAGES = ("dataset", "split", "image_size", "backbone", "seed")
LEARNING = ("epochs", "batch", "samples", "learning_rate", "reward", "baseline", "loss_weight", "dropout", "label_smoothing", "precision")
# The options that a stage's files depend on, besides the files of the stages before.
OPTIONS: dict[StageName, tuple[str, ...]] = {
    "tune": (*IMAGES, "start", "crop_size", "tune_epochs"),
    "localise": (*IMAGES, "view_size", "parts", "where", "see_earlier_maps", *LEARNING),
    "classify": (*IMAGES, "measure", "crop_size", "final", "final_epochs", "final_penalty"),
}


def digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def chosen(stage: StageName, options: FcanOptions) -> dict[str, Any]:
    """Return the options that a stage's files depend on."""
    plain = checkpoint.plain(options)
    return {name: plain[name] for name in OPTIONS[stage]}


def described(stage: StageName, options: FcanOptions, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Return what a stage's files depend on, as JSON has it.

    Args:
        stage: Which stage.
        options: All options of the run.
        inputs: The files of earlier stages that it reads, by what they are.
    """
    found = {"options": chosen(stage, options), "inputs": {name: digest(file) for name, file in inputs.items()}}
    return json.loads(json.dumps(found))


def finished(out: Path, stage: StageName, wanted: Mapping[str, Any]) -> bool:
    """Tell whether a stage is done with this configuration.

    Raises:
        ValueError: It is done with another one; the message names what differs.
    """
    file = out / f"{stage}.json"
    if not file.is_file():
        return False
    try:
        found = files.read_json(file)
        known, made_from = found["options"], found["inputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged: remove it, and the stage {stage} is made anew") from error
    names = checkpoint.different(known, wanted["options"])
    differs = [f"--{name.replace('_', '-')} {spoken(known.get(name))}" for name in names]
    differs += [f"other {name}" for name in {**wanted["inputs"], **made_from} if made_from.get(name) != wanted["inputs"].get(name)]
    if differs:
        raise ValueError(
            f"the stage {stage} in {out} belongs to another configuration: it was made with {', '.join(differs)}; "
            f"give the same options, another --out, or make it anew with --stage {stage}"
        )
    return True


def spoken(value: object) -> str:
    """Return an option's value as on the command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def begin(out: Path, stage: StageName) -> None:
    """Forget that a stage was done: its files are about to change, and nothing more is checked."""
    (out / f"{stage}.json").unlink(missing_ok=True)


def finish(out: Path, stage: StageName, made: Mapping[str, Any]) -> None:
    """Note that a stage is done."""
    files.write_json(out / f"{stage}.json", made)
