"""From options to what a run is made of: the environment, the network, and the checks of what it starts from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from gymnasium.vector import AutoresetMode

from glimpse_env import GlimpseVectorEnv, PixelSensor, Preset, checks, datasets
from glimpse_env.backbone import find
from glimpse_env.evaluation.trajectories import glimpse_values
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention, StopInput
from glimpse_env.runtime import distributed
from glimpse_env.training import fixed_policies
from glimpse_env.training.augment import Mirrors
from glimpse_env.training.options import Options, Training, View


def training_environment(options: Training, horizon: int | None = None) -> GlimpseVectorEnv:
    """Return the environment that training collects from: the images of `options.split`, absorbing.

    Args:
        options: The script's options.
        horizon: Glimpses at most where the options do not say.

    Raises:
        ValueError: Options that do not fit the data set or each other.
    """
    check_split(options.split)
    given = view(options)
    if options.glimpses is None:
        given["max_glimpses"] = horizon
    env = GlimpseVectorEnv(
        distributed.share(options.batch, "--batch") * options.samples,
        **given,
        split=options.split,
        device=options.device,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    if options.augment and not isinstance(env.sensor, PixelSensor | Mirrors):
        raise ValueError(f"--augment: {type(env.sensor).__name__} shows neither changed nor reversed images: use --no-augment")
    fixed_policies.check(options.policy, env.preset.max_glimpses, env.preset.grid, env.sensor.whole_first)
    if len(env.images) < options.batch:
        raise ValueError(f"--batch {options.batch}: the data set has {len(env.images)} training images; use a smaller batch")
    return env


def check_split(split: str) -> None:
    """Refuse to train on the test images."""
    if split == "test":
        raise ValueError("--split test: the test images are not for training; expected train, fit or fit:K/N")


def view(options: View) -> dict[str, Any]:
    """Return the options that say what is looked at, as arguments of the environment; the preset says the rest."""
    names = ("dataset", "root", "weights", *Preset.__dataclass_fields__)
    return {name: getattr(options, name) for name in names if hasattr(options, name)} | {"max_glimpses": options.glimpses}


def env_options(env: GlimpseVectorEnv, options: View) -> dict[str, Any]:
    """Return the keyword arguments that rebuild the environment's look at its images."""
    root = None if options.root is None else str(options.root)
    return {"dataset": options.dataset, "root": root, "weights": options.weights, **asdict(env.preset)}


def build_network(
    env: GlimpseVectorEnv, options: Options, stop_input: StopInput | None, start: dict[str, Any] | None
) -> RecurrentAttention:
    """Return a new network, or the one of `start` with a new stop head."""
    values = glimpse_values(env)
    architecture = Architecture(
        glimpse=values,
        classes=len(env.images.classes),
        horizon=env.preset.max_glimpses,
        core=options.core,
        hidden=options.hidden,
        features=options.features,
        depth=options.depth,
        where=options.where,
        what=options.what,
        locator=options.locator,
        reach=env.sensor.reach,
        shortcut=options.shortcut,
        dropout=options.dropout,
        scores=options.scores,
        channels=(env.sensor.space["glimpse"].shape or (1,))[0],
        learned_start=options.learned_start,
        stop_input=stop_input or "confidence",
    )
    check_locator(env, options)
    if start is None:
        return RecurrentAttention(architecture)
    kept = Architecture(**start["architecture"])
    if (kept.glimpse, kept.classes) != (values, architecture.classes):
        raise ValueError(
            f"--ram: its network sees {kept.glimpse} values and answers {kept.classes} classes; "
            f"this data set has {values} and {architecture.classes}"
        )
    network = RecurrentAttention(replace(kept, horizon=architecture.horizon, stop_input=architecture.stop_input))
    network.load_state_dict({name: value for name, value in start["network"].items() if not name.startswith("stopper.")}, strict=False)
    return network


def check_numbers(options: Training) -> None:
    """Refuse numbers with which there is nothing to train, and discounts that are none."""
    for name in ("epochs", "stop_epochs", "batch", "samples"):
        if hasattr(options, name):
            checks.count(f"--{name.replace('_', '-')}", getattr(options, name))
    stop_split = getattr(options, "stop_split", None)
    if stop_split is not None:
        datasets.check_split(stop_split)
    for name in ("learning_rate", "stop_rate"):
        rate = getattr(options, name, None)
        if rate is not None and rate <= 0:
            raise ValueError(f"--{name.replace('_', '-')} {rate}: expected a number above 0")
    gamma = getattr(options, "gamma", 1.0)
    if not 0 < gamma <= 1:
        raise ValueError(f"--gamma {gamma}: expected a discount in (0, 1]")
    if not 0 < options.sure <= 1:
        raise ValueError(f"--sure {options.sure}: expected a probability in (0, 1]; 1 = no answer ends an episode")
    if not 0 <= options.augment_shift <= 0.5:
        raise ValueError(f"--augment-shift {options.augment_shift}: expected a share of the image's side in [0, 0.5]")
    if not 0 <= options.location_discount <= 1:
        raise ValueError(f"--location-discount {options.location_discount}: expected a discount in [0, 1]")


def check_locator(env: GlimpseVectorEnv, options: Options) -> None:
    """Refuse a way to choose places that this sensor does not serve."""
    if options.locator == "map" and not (env.sensor.whole_first and isinstance(env.sensor, PixelSensor) and env.sensor.reach):
        raise ValueError(
            "--locator map looks for places on the pixels of the first view: it needs --sensor pixel, --first-view image, and glimpses "
            "smaller than the image"
        )
    if options.learned_start and env.sensor.whole_first:
        raise ValueError("--learned-start chooses the place of glimpse 1, but glimpse 1 shows the whole image: use --first-view glimpse")


def weights_hash(options: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 of the backbone's weights file; None where there is no such file (torchvision's own, random, or no backbone)."""
    name, weights = options.get("backbone"), options.get("weights")
    file = None if name is None or weights is None or options.get("sensor") == "pixel" else find(name, weights)
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def check_weights(saved: Mapping[str, Any], options: Mapping[str, Any], source: object) -> None:
    """Refuse weights that are not those of a checkpoint, though they may have its path."""
    known, found = saved.get("weights_sha256"), weights_hash(options)
    if known != found and known is not None:
        raise ValueError(f"{source} was trained on the features of other weights than {options.get('weights')}: the file has changed since")


def weights_named(options: Mapping[str, Any]) -> str | None:
    """Return what tells weights of the backbone from others: the hash of their file, else their name; None = random, or not used."""
    used = options.get("backbone") is not None and options.get("sensor") != "pixel"
    return weights_hash(options) or (options.get("weights") if used else None)


def other_weights(saved: Mapping[str, Any], weights: str | None) -> bool:
    """Tell whether these weights of the backbone are not a checkpoint's, wherever their file lies."""
    before = saved["environment"]
    return (saved.get("weights_sha256") or weights_named(before)) != weights_named(before | {"weights": weights})


def check_start(start: Mapping[str, Any], options: Training, env: GlimpseVectorEnv) -> None:
    """Refuse a RAM that was trained on other images than these options say, or looked at them otherwise."""
    found, wanted = start["environment"], env_options(env, options)
    different = [
        name for name in wanted if name in found and name not in ("root", "weights", "max_glimpses") and found[name] != wanted[name]
    ]
    earlier = {"split": "fit", "policy": "learned"} | start["options"]
    different += [name for name in ("split", "policy") if earlier[name] != getattr(options, name)]
    different += ["weights"] if other_weights(start, wanted.get("weights")) else []
    if different:
        described = ", ".join(f"--{name.replace('_', '-')} {found.get(name, earlier.get(name))}" for name in different)
        raise ValueError(f"--ram: it was trained with {described}; give the same options")
