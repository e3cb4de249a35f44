"""`ModuleBackbone`: any torch module as a frozen feature extractor (see `base.FeatureExtractor`)."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from types import CodeType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env import checks
from glimpse_env.backbone.base import DEVIATION, MEAN, Preprocessing
from glimpse_env.backbone.frozen import FrozenNetwork, Part
from glimpse_env.runtime.precision import Precision

LIBRARIES = ("torch", "torchvision", "timm")  # whose layers are identified by their printed form alone

# A method of the module, from images, or a function of the module and images.
Computed = str | Callable[[nn.Module, Tensor], Tensor]


class ModuleBackbone(FrozenNetwork):
    """A frozen copy of a torch module, whose sizes are found by running it once.

    Features are a vector (image, feature), or an average over a map (image, feature, rows, columns); of the
    tokens of a vision transformer (image, token, feature) the first, if it is a class token, else their mean.
    Maps are (image, feature, rows, columns), or patch tokens (image, token, feature), row by row.

        network = MyClassifier()
        network.load_state_dict(torch.load("mine.pth"))
        backbone = ModuleBackbone(network, head="fc", map="forward_features")
        env = GlimpseVectorEnv(64, "cub", sensor="bank", backbone=backbone)
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str | None = None,
        features: Computed = "forward",
        map: Computed = "forward_features",
        head: str | None = None,
        prefix_tokens: int = 0,
        mean: Sequence[float] = MEAN,
        deviation: Sequence[float] = DEVIATION,
        size: int | tuple[int, int] | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
        channels_last: bool = False,
    ) -> None:
        """Copy the module, so that the given one may still be changed or trained.

        Args:
            network: Any module that takes images (image, channel, height, width), as floats.
            name: In messages and in names of cached files; None = the module's class.
            features: What gives the features: the name of a method of the module, or a function of the module
                and images.
            map: What gives the feature map, likewise. A module without such a method has no map.
            head: Name of the layer whose input is the feature vector, such as the final layer of a
                classifier: it is left out. None = the features are what the module returns.
            prefix_tokens: Number of class and register tokens before the patch tokens.
            mean: Of each channel of the images (1 = grey or 3 = RGB), values in [0, 1]; it is subtracted.
            deviation: Of each channel; images are then divided by it.
            size: Side, or (height, width), of the only images that the module takes: others are resized
                (bilinear, antialiased). None = it takes any size.
            device: The device that it runs on.
            precision: As for `Backbone`.
            channels_last: Memory format of images and weights; faster for many convolutional networks.

        Raises:
            TypeError: Not a module.
            ValueError: An argument outside what is allowed, a module that cannot run, or one that returns
                something else than features.
        """
        checks.instance("network", network, (nn.Module,), "a torch.nn.Module")
        own = copy.deepcopy(network)
        name = type(network).__name__ if name is None else name
        if head is not None:
            remove_layer(own, head, name)
        given, layout = read_input(mean, deviation, size), torch.contiguous_format
        super().__init__(
            name, own, device, precision, given, torch.channels_last if channels_last else layout
        )
        self.prefix_tokens = checks.argument("prefix_tokens", prefix_tokens, checks.whole(0))
        self._functions = {False: read_function("features", features, own)}
        if not isinstance(map, str) or hasattr(own, map):
            self._functions[True] = read_function("map", map, own)
        computed = " ".join(describe_function(each) for each in (features, map))
        self._identity = f"{name} {describe_layers(own)} {computed} {head} {prefix_tokens}"
        self._map = map
        self.features = self.count_features()
        self.train(False)

    @functools.cached_property  # not attributes, which would register the same parameters a second time
    def _parts(self) -> dict[bool, nn.Module]:
        return {key: Part(self.network, compute).eval() for key, compute in self._functions.items()}

    def part(self, of_map: bool) -> nn.Module:
        """Return what computes the features, or the map, of normalised images."""
        if of_map not in self._parts:
            advice = "give the function that returns its last feature map: ModuleBackbone(..., map=...)"
            raise ValueError(f"backbone={self.name!r}: it has no method {self._map!r}; {advice}")
        return self._parts[of_map]

    def identity(self) -> str:
        """Return what names the layers, the functions of them, precision and input."""
        return f"{self._identity} {self.precision} {self.preprocessing}"

    def weights(self) -> Iterator[tuple[str, Any]]:
        """Yield the names and values of parameters and buffers, also those that are not in the state dict."""
        yield from (self.network.state_dict() | dict(self.network.named_buffers())).items()

    def _as_vectors(self, output: Any, height: int, width: int) -> Float[Tensor, "image feature"]:
        """Return features of what the module returned: a map or patch tokens are averaged."""
        expected = "feature vectors (image, feature), maps (image, feature, rows, columns) or tokens"
        self._check_tensor(output, (2, 3, 4), expected)
        if output.ndim == 3:
            maps = self._as_maps(output, height, width)
            return output[:, 0] if self.prefix_tokens else maps.mean((2, 3))
        return super()._as_vectors(output, height, width)

    def _as_maps(self, output: Any, height: int, width: int) -> Float[Tensor, "image feature rows columns"]:
        """Return maps of what the module returned: patch tokens are laid out in rows and columns."""
        self._check_tensor(output, (3, 4), "maps (image, feature, rows, columns) or tokens")
        if output.ndim == 4:
            return output
        patches = output.shape[1] - self.prefix_tokens
        height, width = self.preprocessing.size or (height, width)
        rows, columns = (
            round(math.sqrt(max(0, patches) * ratio)) for ratio in (height / width, width / height)
        )
        if patches < 1 or rows * columns != patches:
            shape = f"got shape {tuple(output.shape)} for images of {height} x {width} pixels"
            expected = (
                f"{shape}, expected {self.prefix_tokens} class tokens and rows x columns of patch tokens"
            )
            advice = "give the number of class and register tokens: ModuleBackbone(..., prefix_tokens=...)"
            raise ValueError(f"backbone={self.name!r}: {expected}; {advice}")
        return output[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, (rows, columns))


def read_input(
    mean: Sequence[float], deviation: Sequence[float], size: int | tuple[int, int] | None
) -> Preprocessing:
    """Return what a module expects of images, after checks."""
    means = checks.argument("mean", mean, checks.several(checks.real(), 3))
    deviations = checks.argument("deviation", deviation, checks.several(checks.real(above=0), 3))
    if len(means) not in (1, 3) or len(means) != len(deviations):
        given = f"mean={means}, deviation={deviations}"
        raise ValueError(f"{given}: expected 3 values each (RGB images), or 1 (grey images)")
    if size is None:
        return Preprocessing(means, deviations)
    sides = size if isinstance(size, tuple | list) else (size, size)
    sides = checks.argument("size", sides, checks.several(checks.SIDE, 2))
    return Preprocessing(means, deviations, (sides[0], sides[-1]))


def remove_layer(network: nn.Module, layer: str, name: str) -> None:
    """Replace the layer by the identity (ValueError: there is no such layer)."""
    layers = [key for key, _ in network.named_modules() if key]
    if layer not in layers:
        raise ValueError(f"head={layer!r}: expected a layer of {name}, such as {', '.join(layers[-5:])}")
    network.set_submodule(layer, nn.Identity())


def read_function(
    argument: str, computed: Computed, network: nn.Module
) -> Callable[[nn.Module, Tensor], Any]:
    """Return a function of the module and images (ValueError: no such method; TypeError: not callable)."""
    if not isinstance(computed, str):
        if not callable(computed):
            expected = "expected a method's name, or a function of the module and images"
            raise TypeError(f"{argument}={computed!r}: {expected}, got {type(computed).__name__}")
        return computed
    if computed == "forward":
        return call
    if not callable(getattr(network, computed, None)):
        raise ValueError(f"{argument}={computed!r}: {type(network).__name__} has no such method")
    return functools.partial(call_method, computed)


def call(network: nn.Module, pixels: Tensor) -> Any:
    """Return what the module returns."""
    return network(pixels)


def call_method(method: str, network: nn.Module, pixels: Tensor) -> Any:
    """Return what a method of the module returns."""
    return getattr(network, method)(pixels)


def describe_layers(network: nn.Module) -> str:
    """Return what identifies the layers of a module, and the code of those that no library defines."""
    classes = {kind for module in network.modules() for kind in type(module).__mro__}
    own = [kind for kind in classes if kind.__module__.partition(".")[0] not in (*LIBRARIES, "builtins")]
    code = [
        f"{kind.__qualname__}.{key} {describe_function(value)}"
        for kind in own
        for key, value in vars(kind).items()
        if callable(value) and hasattr(value, "__code__")
    ]
    return hashlib.sha256("\n".join([describe_value(network), *sorted(code)]).encode()).hexdigest()


def describe_function(computed: object) -> str:
    """Return what identifies a function: its name, a hash of its code, and the values that it holds."""
    if isinstance(computed, str):
        return computed
    if isinstance(computed, functools.partial):
        return f"{describe_function(computed.func)} {describe_value((computed.args, computed.keywords))}"
    code = getattr(computed, "__code__", None)
    if code is None:
        return describe_value(computed)
    function: Any = computed
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = describe_value((function.__defaults__, function.__kwdefaults__, cells))
    hashed = hashlib.sha256(describe_code(code).encode()).hexdigest()
    return f"{function.__qualname__} {hashed} {held}"


def describe_code(code: CodeType) -> str:
    """Return the instructions, names and constants of a function's code."""
    constants = [
        describe_code(each) if isinstance(each, CodeType) else describe_value(each) for each in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def describe_value(value: object) -> str:
    """Return a value's printed form without addresses; that of a set in order."""
    if isinstance(value, set | frozenset):
        return f"set {sorted(map(describe_value, value))}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
