"""Checkpoints to resume or to start from: their contents, and whether they match the options of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from glimpse_env import GlimpseVectorEnv, datasets
from glimpse_env.backbone import find_weights
from glimpse_env.datasets import ImageSet
from glimpse_env.networks import registry
from glimpse_env.networks.base import Agent
from glimpse_env.networks.recurrent_attention import RecurrentAttention
from glimpse_env.runtime import checkpoint, files
from glimpse_env.sensors import SENSORS
from glimpse_env.training import preprocessing
from glimpse_env.training.options import Training, View

# Settings of the environment that checkpoints of earlier versions lack.
ADDED = {"zoom": None, "moves": "absolute", "max_move": None}


def checkpoint_path(agent: str, options: Any, file: str = "checkpoint.pt") -> Path:
    """Return the path of a run's checkpoint, in `options.out` or else in runs/AGENT-DATASET-SEED."""
    if options.out:
        return options.out / file
    return Path("runs") / checkpoint.run_name(agent, options.dataset, options.split, options.seed) / file


def describe(
    agent: str, options: Any, env: GlimpseVectorEnv, network: Agent, dynamic: bool = False
) -> dict[str, Any]:
    """Return the contents of a checkpoint from which its network and environment can be rebuilt."""
    environment = env_options(env, options)
    return {
        "agent": agent,
        "dynamic": dynamic,
        "options": checkpoint.plain(options),
        "network_name": registry.find_name(network),
        "architecture": asdict(network.architecture),
        "environment": environment,
        "classes": list(env.images.classes),
        "weights_sha256": weights_hash(choose_backbone(checkpoint.plain(options), environment)),
        "data": describe_data(env.images, environment["image_size"]),
        **preprocessing.describe_view(env, options.dataset),
        "command": checkpoint.command(),
    }


def describe_data(images: ImageSet, image_size: int | str | None) -> dict[str, Any]:
    """Return what identifies the training images in a checkpoint, and the size to which they were resized."""
    return {"sha256": images.digest(), "image_size": image_size}


def check_data(path: Path, saved: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Refuse to resume a run whose images changed (a ValueError); older checkpoints do not tell.

    Args:
        path: The checkpoint. If the result beside it is the finished run's, its images must be the same too.
        saved: Its contents.
        identity: What the checkpoint of the resumed run will hold.
    """
    ways = "restore them, or train again with --overwrite or in another --out"
    check_classes(saved, identity.get("classes") or saved.get("classes", ()), f"--resume: {path}")
    preprocessing.check_view(saved, identity, f"--resume: {path}")
    if other_data(saved, identity):
        raise ValueError(f"--resume: {path} was trained on other images than there are now; {ways}")
    file = path.with_name("result.json")
    row = files.read_json(file) if file.is_file() else {}
    if "data_sha256" not in row or row["train_seconds"] != round(saved["progress"]["seconds"], 1):
        return
    place = {"root": identity["options"]["root"], "image_size": identity["data"]["image_size"]}
    if datasets.load(row["dataset"], row["split"], **place).digest() != row["data_sha256"]:
        measured = f"the result of this finished run was measured on other images of {row['split']}"
        evaluate = f"agents/evaluate.py {path} measures it on these"
        raise ValueError(f"--resume: {measured} than there are now; {evaluate}; or {ways}")


def other_data(saved: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint was trained on other images; False if it does not tell."""
    return "data" in saved and saved["data"]["sha256"] != identity["data"]["sha256"]


def belongs(path: Path, options: View) -> bool:
    """Return whether there is a checkpoint; raise a ValueError if its options or weights are others."""
    if not path.is_file():
        return False
    if names := other_options(checkpoint.load(path), options):
        other = f"a run with another --{names[0].replace('_', '-')}"
        raise ValueError(f"{path.parent} holds {other}: give another --out, or --overwrite")
    return True


def load_resumable(
    path: Path, agent: str, options: Any, kind: str = "agent", compared: Collection[str] | None = None
) -> dict[str, Any]:
    """Return the checkpoint to resume from, of this agent and `kind` (see `checkpoint.load`).

    `options` must be those of the checkpoint: the `compared` ones, or all except output folder, device and
    threads.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The checkpoint is of another agent, or of a run with other options.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--resume: no checkpoint at {path}: start the run without --resume")
    saved = checkpoint.load(path, kind=kind)
    if saved["agent"] != agent:
        raise ValueError(f"{path} is a checkpoint of {saved['agent']}: expected one of {agent}")
    if kind == "agent" and "optimizer" not in saved:
        reason = f"{path} holds no optimizer state, so its run cannot be resumed"
        raise ValueError(f"--resume: {reason}; start a new run from it with --ram")
    if compared is None:
        names = other_options(saved, options)
    else:
        current = checkpoint.plain(options)
        names = checkpoint.different(saved["options"], {name: current[name] for name in compared})
    checkpoint.refuse_other(path, saved["options"], names)
    return saved


def other_options(saved: Mapping[str, Any], options: Any) -> list[str]:
    """Return the names of the options that differ from a checkpoint's; of input files, the contents count."""
    names = checkpoint.different(saved["options"], checkpoint.plain(options), ("root", "weights", "ram"))
    names += ["weights"] if other_weights(saved, options.weights) else []
    return names + (["ram"] if other_ram(saved, getattr(options, "ram", None)) else [])


def other_ram(saved: Mapping[str, Any], ram: Path | None) -> bool:
    """Return whether a run started from another RAM, by its network, in old checkpoints by its path."""
    before, known = saved["options"].get("ram"), saved.get("ram_sha256")
    if ram is None or before is None or known is None:
        return before != (None if ram is None else str(ram))
    return known != checkpoint.digest(checkpoint.load(ram)["network"])


def env_options(env: GlimpseVectorEnv, options: Any) -> dict[str, Any]:
    """Return the keyword arguments that rebuild the environment: data set, weights and preset."""
    root = None if options.root is None else str(options.root)
    weights = "DEFAULT" if getattr(options, "train_backbone", False) else options.weights
    return {"dataset": options.dataset, "root": root, "weights": weights, **asdict(env.preset)}


def choose_backbone(options: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what names a run's backbone and its first weights: its options, if it trains the backbone."""
    return dict(options if options.get("train_backbone") else environment)


def weights_hash(options: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 of the backbone's weights file; None = no file (the library's, random, unused)."""
    name, weights = options.get("backbone"), options.get("weights")
    if name is None or weights is None or not runs_network(options):
        return None
    file = find_weights(name, weights)
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def runs_network(options: Mapping[str, Any]) -> bool:
    """Return whether the sensor of an environment's options runs a backbone, or the agent trains one."""
    spec = SENSORS.get(options.get("sensor") or "")
    return spec is None or spec.runs_network or bool(options.get("train_backbone"))


def check_weights(saved: Mapping[str, Any], options: Mapping[str, Any], source: object) -> None:
    """Refuse weights whose hash differs from the checkpoint's, even under the same path (ValueError).

    A backbone that was trained is in the checkpoint: the weights that it started from do not count any more.
    """
    if saved["options"].get("train_backbone"):
        return
    known, current = saved.get("weights_sha256"), weights_hash(options)
    if known is not None and known != current:
        other = f"was trained on the features of other weights than {options.get('weights')}"
        digests = f"SHA-256 {known} in training, {current or 'unknown: no file'} now"
        raise ValueError(f"{source} {other}: the file has changed since ({digests})")


def identify_weights(options: Mapping[str, Any]) -> str | None:
    """Return what identifies the backbone's weights: a file's hash or a name; None = random or unused."""
    used = options.get("backbone") is not None and runs_network(options)
    return weights_hash(options) or (options.get("weights") if used else None)


def other_weights(saved: Mapping[str, Any], weights: str | None) -> bool:
    """Return whether the backbone's weights differ from a checkpoint's, whatever their path."""
    before = choose_backbone(saved["options"], saved.get("environment", saved["options"]))
    known = saved.get("weights_sha256") or identify_weights(before)
    return known != identify_weights(before | {"weights": weights})


def check_classes(saved: Mapping[str, Any], classes: Sequence[str], source: object) -> None:
    """Refuse a data set whose classes, by name and order, are not those of a checkpoint (ValueError)."""
    known = saved.get("classes", classes)  # checkpoints of the first version have none
    if list(known) != list(classes):
        first = next(i for i, pair in enumerate(zip_longest(known, classes)) if pair[0] != pair[1])
        names = [repr(part[first]) if first < len(part) else "missing" for part in (known, classes)]
        counts = f"was trained on {len(known)} classes, this data set has {len(classes)}"
        raise ValueError(
            f"{source} {counts}: class {first} was {names[0]} and is {names[1]}; expected the same classes"
        )


def check_start(start: Mapping[str, Any], options: Training, env: GlimpseVectorEnv) -> None:
    """Refuse a RAM that was trained on other images, or other glimpses of them (ValueError)."""
    old, new = ADDED | start["environment"], env_options(env, options)
    names = [name for name in new if name in old and name not in ("root", "weights", "max_glimpses")]
    different = [name for name in names if old[name] != new[name]]
    earlier = {"split": "fit", "policy": "learned", "train_backbone": False} | start["options"]
    compared = ["split", "policy", "train_backbone", *(["backbone"] if earlier["train_backbone"] else [])]
    different += [name for name in compared if earlier[name] != getattr(options, name, False)]
    different += ["weights"] if other_weights(start, options.weights) else []
    if not different and other_data(start, {"data": describe_data(env.images, env.preset.image_size)}):
        raise ValueError("--ram: it was trained on other images than there are now; train it again")
    if different:
        described = checkpoint.format_options({**earlier, **old}, different)
        raise ValueError(f"--ram: it was trained with {described}; give the same options")
    check_classes(start, env.images.classes, "--ram: it")
    preprocessing.check_view(start, preprocessing.describe_view(env, options.dataset), "--ram: it")


def start_from(start: Mapping[str, Any], shown: Mapping[str, Any]) -> RecurrentAttention:
    """Return the network of a RAM's checkpoint with a new stop head.

    `shown`: the environment's `glimpse` values, `classes` and `horizon`, and the stop head's fields.

    Raises:
        ValueError: The network was trained on glimpses of another size, or on other classes.
    """
    sizes = registry.read_architecture(start)
    if (sizes.glimpse, sizes.classes) != (shown["glimpse"], shown["classes"]):
        needed = f"reads {sizes.glimpse} values a glimpse and predicts {sizes.classes} classes"
        given = f"this data set has {shown['glimpse']} and {shown['classes']}"
        raise ValueError(f"--ram: its network {needed}; {given}")
    stop = {name: value for name, value in shown.items() if name.startswith("stop_")}
    network = RecurrentAttention(replace(sizes, horizon=shown["horizon"], **stop))
    weights = {name: value for name, value in start["network"].items() if not name.startswith("stopper.")}
    network.load_state_dict(weights, strict=False)
    return network
