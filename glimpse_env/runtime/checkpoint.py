"""Checkpoints: torch files of one run's tensors, plain values and options; other files are refused."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from glimpse_env.runtime.files import write_torch

FORMAT = "glimpse-checkpoint"
VERSION = 1
# Options that did not exist in earlier versions, with the values that describe what runs did then.
ADDED: dict[str, Any] = {
    "baseline": "learned",
    "location_discount": 1.0,
    "sure": 1.0,
    "augment_shift": 1 / 14,
    "augment_elastic": 0.0,
    "augment_flip": False,
    "location_policy": "gaussian",
    "first_reward": "image",
    "rewarded": "mean",
    "standardise": True,
    "schedule": "linear",
    "warm_up": 200,
    "max_grad_norm": 5.0,
    "first_crop": None,
    "paper": False,
    "step_decay": False,
    "nesterov": True,
    "whole_area": 0.8,
    "colour": 0.0,
    "stop_hidden": 64,
    "stop_clamp": 10.0,
    "train_backbone": False,
    "backbone_rate": 2e-4,
    "zoom": None,
    "template": 14,
    "location_bound": "tanh",
    "initial_weights": "torch",
    "compile": False,
    "glimpse_encoder": "mlp",
    "stop_rate": None,
}
# Options, and fields of architectures, under their names in version 0.1, and today's.
OLD_NAMES = {
    "what": "glimpse_encoder",
    "where": "location_encoding",
    "depth": "encoder_layers",
    "shortcut": "skip_connection",
    "place": "location_features",
    "look_first": "ignore_stops",
    "rate": "learning_rate",
    "entropy": "entropy_weight",
    "zoom": "zoom_area",  # of finetune_backbone.py
}


def save(target: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; `content` holds tensors and plain Python values only."""
    write_torch(target, {"format": FORMAT, "version": VERSION, **content})


def plain(options: Any) -> dict[str, Any]:
    """Return a script's options as plain values for a checkpoint or a result."""
    values = {name: value for name, value in asdict(options).items() if name not in ("resume", "overwrite")}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def run_name(agent: str, dataset: str, split: str, seed: int, usual: str = "fit") -> str:
    """Return the name of a run's folder; it holds the split if that is not the usual one."""
    part = "" if split == usual else f"-{file_name(split)}"
    return f"{agent}-{dataset_name(dataset)}{part}-{seed}"


def dataset_name(dataset: str | Path) -> str:
    """Return a data set's name in file names: a folder's own, and torchvision-NAME for torchvision:NAME."""
    return Path(dataset).name.replace(":", "-")


def file_name(split: str) -> str:
    """Return a split's name without characters that file names cannot have: fit:1/5 -> fit1of5."""
    return split.replace(":", "").replace("/", "of")


def command() -> str:
    """Return the command line of this process, with the last folder of the script's path only."""
    return shlex.join(["python", "/".join(Path(sys.argv[0]).parts[-2:]), *sys.argv[1:]])


def different(saved: Mapping[str, Any], requested: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """Return the options that differ, except where a run writes and runs, and those in `but`."""
    compared = requested.keys() - {"out", "threads", "device", *but}
    return [name for name in requested if name in compared and known_option(saved, name) != requested[name]]


def known_option(saved: Mapping[str, Any], name: str) -> Any:
    """Return a run's option; for an option newer than the run, the value that describes what the run did."""
    before = {now: old for old, now in OLD_NAMES.items()}.get(name, name)
    return saved.get(name, saved.get(before, ADDED.get(name)))


def format_options(values: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return options as on a command line, separated by commas."""
    return ", ".join(f"--{name.replace('_', '-')} {values.get(name)}" for name in names)


def refuse_other(path: Path, saved: Mapping[str, Any], names: Collection[str]) -> None:
    """Raise a ValueError if there are `names`: options in which a checkpoint to resume differs."""
    if names:
        options = format_options(saved, names)
        ways = "give the same options, another --out, or --overwrite instead of --resume"
        raise ValueError(f"--resume: {path} was made with {options}; {ways}")


def check_same(path: Path, saved: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Refuse to resume a checkpoint whose options are `different` (ValueError)."""
    refuse_other(path, saved, different(saved, requested))


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a network's state; it does not depend on the file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load(source: Path, device: torch.device | str = "cpu", kind: str = "agent") -> dict[str, Any]:
    """Read a checkpoint of a kind; raises as `read`, and a ValueError for one of another kind."""
    content = read(source, device)
    if (actual := content.get("kind", "agent")) != kind:
        raise ValueError(f"{source} is a checkpoint of a {actual}: expected one of a {kind}")
    return content


def read(source: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of any kind.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not readable as a checkpoint, or was written by another program or version.
    """
    if not source.is_file():
        raise FileNotFoundError(f"no checkpoint at {source}: give the path of an agent's checkpoint.pt")
    try:
        content = torch.load(source, map_location=device, weights_only=True)
    except Exception as error:  # torch's readers raise many kinds on a damaged file
        reason = f"({type(error).__name__}): it is damaged, or no torch file"
        raise ValueError(f"{source} is not readable as a checkpoint {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{source} is a torch file but no {FORMAT}: it was written by another program")
    if (version := content["version"]) != VERSION:
        known = f"this program reads version {VERSION}"
        raise ValueError(f"{source} has checkpoint version {version}, {known}: train again")
    return content
