"""Networks of the package timm, by "timm:NAME", and "timm:NAME@SIDE" for images of SIDE x SIDE pixels."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from glimpse_env import checks
from glimpse_env.backbone.base import Classifier, Preprocessing
from glimpse_env.backbone.module import ModuleBackbone
from glimpse_env.backbone.weights import (
    find_default,
    find_file,
    list_near,
    load_state,
    read_state,
    warn_of_random,
)
from glimpse_env.runtime.precision import Precision

HUB = "https://huggingface.co"

log = logging.getLogger("glimpse_env")


def build(
    name: str,
    weights: str | Path | None = "DEFAULT",
    device: torch.device | str = "cpu",
    precision: Precision = "auto",
) -> ModuleBackbone:
    """Return a frozen network of timm.

    Features are the input of its final layer: the pooled map or class token. The map is its last feature map;
    of a transformer the patch tokens. Colours are standardised as its weights expect; where it takes one size
    of images only (transformers: that of its name), others are resized.

    Args:
        name: A model of timm, such as "convnext_atto", with or without a tag of its weights
            ("convnext_atto.d2_in1k"); "vit_small_patch14_dinov2@224" is built for images of 224 x 224 pixels,
            instead of the size of its weights.
        weights: "DEFAULT" = timm's, downloaded once; None = random from a fixed seed; or a file with a state
            dict (`.safetensors`, or of torch), a path or a name inside GLIMPSE_WEIGHTS.
        device: The device that it runs on.
        precision: As for `Backbone`.

    Raises:
        ValueError: An unknown name, a size that it cannot take, or weights of another architecture.
        FileNotFoundError: The weights do not exist and cannot be downloaded.
        ModuleNotFoundError: timm is not installed.
    """
    network, _, preprocessing = build_tunable(name, weights, 0)
    return ModuleBackbone(
        network,
        name=f"timm:{name}",
        features=read_features,
        map=read_map,
        prefix_tokens=count_prefix(network),
        **preprocessing._asdict(),
        device=device,
        precision=precision,
        channels_last=True,
    )


def build_tunable(name: str, weights: str | Path | None, classes: int, warn: bool = True) -> Classifier:
    """Return a network of timm with new final layers (see `Library.build_classifier`; errors: `build`)."""
    timm, full = import_timm(), f"timm:{name}"
    model, side = split_size(name)
    check_name(timm, model, full)
    network, preprocessing = build_random(timm, model, side, full)
    head = list_final_layers(network)
    if weights is None and warn:
        warn_of_random(full)
    elif weights is not None:
        file = find_weights(name, weights)
        if file is None:
            network = download(timm, model, preprocessing, full)
        else:
            load_file(network, file, head, full)
    network.reset_classifier(classes)
    return Classifier(network.eval(), head, preprocessing)


def find_weights(name: str, weights: str | Path) -> Path | None:
    """Return the file that holds the weights; None = timm's own, which are not in GLIMPSE_WEIGHTS."""
    if weights != "DEFAULT":
        return find_file(weights, "timm's")
    timm, (model, _) = import_timm(), split_size(name)
    check_name(timm, model, f"timm:{name}")
    source = name_source(timm.get_pretrained_cfg(model))
    return None if source is None else find_default(source[1])


def import_timm() -> ModuleType:
    """Return the package, which takes seconds to import: here, not with this module."""
    try:
        import timm
    except ModuleNotFoundError as error:
        needed = f"{error.name} is not installed: pip install timm"
        raise ModuleNotFoundError(f"backbones called timm:NAME need the package timm; {needed}") from error
    return timm


def split_size(name: str) -> tuple[str, int | None]:
    """Return the model of "MODEL" or "MODEL@SIDE", and the side of the images that it is built for."""
    model, at, side = name.partition("@")
    if at and not (side.isdecimal() and checks.SIDE.accepts(int(side))):
        expected = "expected the side of the network's images in pixels after the @, such as @224"
        raise ValueError(f"backbone='timm:{name}': {expected}")
    return model, int(side) if at else None


def check_name(timm: ModuleType, model: str, full: str) -> None:
    """Refuse a name that timm does not know (ValueError)."""
    if timm.is_model(model) and ("." not in model or timm.models.is_model_pretrained(model)):
        return
    known = timm.list_pretrained() if "." in model else timm.list_models()
    raise ValueError(f"backbone={full!r}: expected a model of timm, such as timm:{list_near(model, known)}")


def build_random(
    timm: ModuleType, model: str, side: int | None, full: str, pretrained: bool = False
) -> tuple[Any, Preprocessing]:
    """Return a network with random weights from a fixed seed, and what it expects of images.

    torch's random state is unchanged.
    """
    fixed = timm.get_pretrained_cfg(model).fixed_input_size
    given = {"img_size": side} if side and fixed else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            network = timm.create_model(model, pretrained=pretrained, **given)
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            if not given or pretrained:
                raise
            refused = f"it cannot be built for images of {side} x {side} pixels"
            raise ValueError(f"backbone={full!r}: {refused} ({error})") from error
    data = timm.data.resolve_model_data_config(network)
    size = (side, side) if side else tuple(data["input_size"][1:]) if fixed else None
    return network, Preprocessing(tuple(data["mean"]), tuple(data["std"]), size)


def list_final_layers(network: Any) -> tuple[str, ...]:
    """Return the names of the layers that give the class scores."""
    names = network.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def load_file(network: Any, file: Path, head: tuple[str, ...], full: str) -> None:
    """Load a state dict of timm's, or of the model's authors where timm converts it."""
    state = dict(read_state(file))
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is not None:  # also resizes position embeddings
        try:
            state = convert(state, network)
        except Exception as error:  # whatever it does not find
            raise ValueError(f"weights file {file}: weights of another architecture than {full}") from error
    load_state(network, state, f"weights file {file}", full, head)


def name_source(given: Any) -> tuple[str, str] | None:
    """Return the address of a model's weights, and their name in GLIMPSE_WEIGHTS; None = there are none."""
    if given is None or not given.has_weights:
        return None
    if given.hf_hub_id:
        file = given.hf_hub_filename or "model.safetensors"
        name = given.hf_hub_id.rpartition("/")[2]
        return f"{HUB}/{given.hf_hub_id}/resolve/main/{file}", f"{name}{Path(file).suffix}"
    return given.url, given.url.rpartition("/")[2]


def download(timm: ModuleType, model: str, preprocessing: Preprocessing, full: str) -> Any:
    """Return the network with timm's own weights, which are downloaded once."""
    source = name_source(timm.get_pretrained_cfg(model))
    if source is None:
        raise ValueError(f"weights='DEFAULT' of {full}: timm has none; expected None (random), or a file")
    log.info("weights of %s: downloaded from %s, unless that was done before", full, source[0])
    side = preprocessing.size[0] if preprocessing.size else None
    try:
        return build_random(timm, model, side, full, pretrained=True)[0]
    except Exception as error:  # of many kinds: no connection, no such page, no disk space, another checksum
        cause = f"{source[0]} could not be downloaded ({error})"
        advice = f"Put that file as {source[1]} into the folder that GLIMPSE_WEIGHTS names"
        raise FileNotFoundError(
            f"weights='DEFAULT' of {full}: {cause}. {advice}, or pass weights=<path of the file>"
        ) from error


def count_prefix(network: Any) -> int:
    """Return the number of class and register tokens before a transformer's patch tokens."""
    number = getattr(network, "num_prefix_tokens", None)
    return int(getattr(network, "cls_token", None) is not None) if number is None else number


def read_features(network: Any, pixels: Tensor) -> Tensor:
    """Return the input of the final layer."""
    return network.forward_head(network.forward_features(pixels), pre_logits=True)


def read_map(network: Any, pixels: Tensor) -> Tensor:
    """Return the last feature map, or tokens."""
    output = network.forward_features(pixels)
    last = str(getattr(network, "output_fmt", "")) == "NHWC"
    return output.permute(0, 3, 1, 2) if last and isinstance(output, Tensor) else output
