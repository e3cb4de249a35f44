"""torchvision classifiers with their weights: downloaded, from a file, or random (logged as a warning).

torchvision is imported in the functions that use it, here and in the whole package: it imports torch._dynamo,
which takes as long as torch itself, and neither `--help` nor an environment without a network needs it.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from glimpse_env.backbone.base import Classifier, Preprocessing
from glimpse_env.runtime import files

log = logging.getLogger("glimpse_env")

# Without the auxiliary classifiers, which only training uses; with the colour range of torchvision's weights.
INCEPTION = {"aux_logits": False, "transform_input": True, "init_weights": False}
OPTIONS: dict[str, dict[str, bool]] = {"googlenet": INCEPTION, "inception_v3": INCEPTION}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def build_tunable(name: str, weights: str | Path | None, classes: int, warn: bool = True) -> Classifier:
    """Return the torchvision classifier `name` with a new final layer; see `Library.build_classifier`.

    Raises:
        ValueError: It does not end in a fully connected layer; or as `build_classifier`.
        FileNotFoundError: As `build_classifier`.
    """
    network = build_classifier(name, weights, warn)
    final, layer = find_final_layer(network, name)
    network.set_submodule(final, nn.Linear(layer.in_features, classes) if classes else nn.Identity())
    return Classifier(network, (final,), preprocessing(network))


def preprocessing(network: nn.Module) -> Preprocessing:
    """Return what a torchvision classifier expects of images: vision transformers take one size only."""
    side = getattr(network, "image_size", None)
    return Preprocessing(size=None if side is None else (side, side))


def build_classifier(name: str, weights: str | Path | None, warn: bool = True) -> nn.Module:
    """Return the torchvision classifier `name` on the CPU, in evaluation mode.

    `weights`: "DEFAULT" = torchvision's, downloaded once; None = random from a fixed seed; or a file with a
    state dict (a path, or a name inside GLIMPSE_WEIGHTS), which may be in half precision, and lack the final
    layer or have one of other classes.

    Raises:
        ValueError: An unknown name, or weights of another architecture.
        FileNotFoundError: The weights do not exist and cannot be downloaded.
    """
    check_name(name)
    if weights is None:
        if warn:
            warn_of_random(name)
        return build_random(name)
    file = find_weights(name, weights)
    if file is None:
        return download(name)
    return load_state(build_random(name), read_state(file), f"weights file {file}", name)


def warn_of_random(name: str) -> None:
    """Log that a network has random weights."""
    log.warning("backbone %s has random weights (weights=None): its features carry little information", name)


def check_name(name: str) -> None:
    """Refuse a name that is not a torchvision classifier's (ValueError)."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        expected = f"expected the name of a torchvision classifier, such as {list_near(name, known)}"
        raise ValueError(f"backbone={name!r}: {expected}")


def list_near(name: str, known: Sequence[str]) -> str:
    """Return known names that are near to one that is unknown."""
    return ", ".join(difflib.get_close_matches(str(name), known, 5, 0.4) or known[:5])


def build_random(name: str) -> nn.Module:
    """Return the classifier with random weights from a fixed seed; torch's random state is unchanged."""
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.get_model(name, weights=None, **OPTIONS.get(name, {})).eval()


def find_weights(name: str, weights: str | Path) -> Path | None:
    """Return the file that holds the weights; None = torchvision's own, which are not in GLIMPSE_WEIGHTS."""
    if weights == "DEFAULT":
        from torchvision import models

        return find_default(models.get_model_weights(name)["DEFAULT"].url.rsplit("/", 1)[-1])
    return find_file(weights, "torchvision's")


def find_default(name: str) -> Path | None:
    """Return the file of this name in GLIMPSE_WEIGHTS; None = there is none."""
    folder = os.environ.get("GLIMPSE_WEIGHTS")
    file = Path(folder or ".").expanduser() / name
    return file if folder and file.is_file() else None


def find_file(weights: str | Path, default: str) -> Path:
    """Return the file that `weights` names; `default`: what "DEFAULT" stands for, in messages."""
    given = Path(weights).expanduser()
    files = (given, Path(os.environ.get("GLIMPSE_WEIGHTS") or ".").expanduser() / given)
    for file in files:
        if file.is_file():
            return file
    tried = ", ".join(dict.fromkeys(str(file.absolute()) for file in files))
    allowed = f"'DEFAULT' ({default}), None (random), a path, or the name of a file in GLIMPSE_WEIGHTS"
    raise FileNotFoundError(f"weights={str(weights)!r}: file not found: {tried}. Expected {allowed}")


def download(name: str) -> nn.Module:
    """Return the classifier with torchvision's own weights, which torch downloads once."""
    from torchvision import models

    entry = models.get_model_weights(name)["DEFAULT"]
    try:
        return models.get_model(name, weights=entry).eval()
    except (OSError, RuntimeError) as error:  # no connection, no such page, no disk space; another checksum
        if isinstance(error, OSError) and error.errno in files.LOCAL:
            file, there = (
                Path(torch.hub.get_dir(), "checkpoints", Path(entry.url).name),
                "name another folder by TORCH_HOME",
            )
            raise files.explain(
                error, file, f"weights='DEFAULT' of {name} cannot be saved as {file}", there
            ) from error
        cause = f"{entry.url} could not be downloaded ({error})"
        folders = f"{Path(torch.hub.get_dir(), 'checkpoints')} or into the folder that GLIMPSE_WEIGHTS names"
        advice = f"Put that file into {folders}, or pass weights=<path of a file>"
        raise FileNotFoundError(f"weights='DEFAULT' of {name}: {cause}. {advice}") from error


def read_state(file: Path) -> Mapping[str, Tensor]:
    """Return the state dict in a file of torch's or, by its ending, of safetensors, in float32."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"weights file {file}: to read it, pip install safetensors") from error
    except Exception as error:  # errors of zip, pickle and end of file are of many kinds
        raise ValueError(f"weights file {file}: not a state dict that can be read ({error})") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        expected = "expected a state dict, from names to tensors"
        raise ValueError(f"weights file {file}: {expected}, got {type(state).__name__}")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def load_state(
    network: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    name: str,
    head: Sequence[str] | None = None,
) -> nn.Module:
    """Load a state dict into the network; the final layer may be missing, or have another number of classes.

    `head`: names of the final layers; None = the last fully connected one.

    Raises:
        ValueError: The first name that is missing, of another shape, not finite, or unknown.
    """
    own, final = network.state_dict(), final_layer(network)
    heads = head if head is not None else [final] if final else []
    free = (*AUXILIARY, *(f"{layer}." for layer in heads))
    mismatch = f"{source}: weights of another architecture: "
    unknown = [f"{key} of shape {tuple(value.shape)}" for key, value in state.items() if key not in own]
    for key, value in own.items():
        if key.startswith(free) or key.endswith("num_batches_tracked"):
            continue
        expected = f"{name} has {key} of shape {tuple(value.shape)}"
        if key not in state:
            other = unknown[0] if unknown else "nothing in its place"
            raise ValueError(f"{mismatch}{expected}, the file has {other}")
        if state[key].shape != value.shape:
            raise ValueError(f"{mismatch}{expected}, in the file its shape is {tuple(state[key].shape)}")
        if not state[key].isfinite().all():
            raise ValueError(f"{source}: {key} holds values that are not finite numbers")
    if surplus := [entry for entry in unknown if not entry.startswith(free)]:
        raise ValueError(f"{mismatch}it has {surplus[0]}, which {name} lacks")
    usable = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    network.load_state_dict(usable, strict=False)
    return network


def find_final_layer(network: nn.Module, name: str) -> tuple[str, nn.Linear]:
    """Return the name of the final fully connected layer of the classifier `name`, and the layer.

    Raises:
        ValueError: It does not end in one.
    """
    final = final_layer(network)
    if final is None:
        reason = "it does not end in a fully connected layer that could be replaced"
        raise ValueError(f"backbone={name!r}: {reason}; choose another network")
    layer = network.get_submodule(final)
    assert isinstance(layer, nn.Linear)  # `final_layer` finds no other
    return final, layer


def final_layer(network: nn.Module) -> str | None:
    """Return the name of the last fully connected layer, which gives the class scores."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None
