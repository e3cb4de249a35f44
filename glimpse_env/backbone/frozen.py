"""`FrozenNetwork`: what the frozen networks of all libraries share (see `base.FeatureExtractor`)."""

from __future__ import annotations

import copy
import functools
import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from glimpse_env.backbone.base import Pixels, Preprocessing
from glimpse_env.runtime.precision import Precision, named

log = logging.getLogger("glimpse_env")

Compute = Callable[[nn.Module, Tensor], Any]


class Part(nn.Module):
    """What a function computes of a network and images, as a module."""

    def __init__(self, network: nn.Module, compute: Compute) -> None:
        """Hold both."""
        super().__init__()
        self.network, self.compute = network, compute

    def forward(self, pixels: Tensor) -> Any:
        """Return what the function computes."""
        return self.compute(self.network, pixels)


def run_without_values(
    part: nn.Module, pixels: Tensor, mode: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> tuple[Any, Any]:
    """Return the output for images of this shape, and what the context `mode` returned.

    The output is a meta tensor where the network allows it, else that of the given pixels. Raises what the
    network raises for images that it cannot take.
    """
    with torch.no_grad():
        try:
            skeleton = copy_without_values(part)
            with mode() as context:
                return skeleton(torch.empty_like(pixels, device="meta")), context
        except Exception:  # it needs values, or holds tensors that are no parameters: these have a device
            with sdpa_kernel(SDPBackend.MATH), mode() as context:  # fused attention is not counted on a CPU
                return part(pixels), context


def copy_without_values(part: nn.Module) -> nn.Module:
    """Return a copy whose parameters and buffers are meta tensors: a network may keep tensors of a pass."""
    copies: dict[int, Tensor] = {
        id(value): nn.Parameter(torch.empty_like(value, device="meta"), requires_grad=False)
        for value in part.parameters()
    }
    copies |= {id(value): torch.empty_like(value, device="meta") for value in part.buffers()}
    return copy.deepcopy(part, copies)


class FrozenNetwork(nn.Module, ABC):
    """A network in evaluation mode without gradients, its colours and sizes, costs and digest.

    A class that extends it returns the two `part`s of its network, and extends `identity`.
    """

    mean: Tensor
    deviation: Tensor
    features: int

    def __init__(
        self,
        name: str,
        network: nn.Module,
        device: torch.device | str,
        precision: Precision,
        preprocessing: Preprocessing,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        """Freeze the network and move it to the device."""
        super().__init__()
        self.name, self.device, self.preprocessing = name, torch.device(device), preprocessing
        self.precision, self.memory_format = named(precision, self.device), memory_format
        self._flops: dict[tuple[int, int, bool], int] = {}  # by height, width and whether of the map
        self._maps: dict[tuple[int, int], tuple[int, int, int]] = {}  # shapes by height and width
        self._resized: set[tuple[int, int]] = set()  # sizes that the log has named
        self.network = network.requires_grad_(False)
        self.network.to(device=self.device, dtype=self.precision)
        self.network.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.float()  # its statistics need it
        for kind, values in (("mean", preprocessing.mean), ("deviation", preprocessing.deviation)):
            self.register_buffer(kind, torch.tensor(values, device=self.device).view(-1, 1, 1))

    @abstractmethod
    def part(self, of_map: bool) -> nn.Module:
        """Return what computes the features, or the map, of normalised images."""

    @abstractmethod
    def identity(self) -> str:
        """Return what names all that features depend on besides images and weights."""

    def weights(self) -> Iterator[tuple[str, Any]]:
        """Yield the names and values that features depend on."""
        yield from self.network.state_dict().items()

    def count_features(self) -> int:
        """Return the length of the feature vector."""
        height, width = self.preprocessing.size or (224, 224)
        output, _ = self._run_without_values(False, height, width)
        return self._as_vectors(output, height, width).shape[1]

    def __repr__(self) -> str:
        """Return one line for messages, without the layers."""
        device = str(self.device)
        return f"{type(self).__name__}({self.name!r}, precision={self.precision}, device={device!r})"

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Stay in evaluation mode, even if a module that contains it is set to training mode."""
        return super().train(False)

    def __call__(self, images: Pixels) -> Float[Tensor, "image feature"]:
        """Return the features of images; a ValueError if the network takes none of this size."""
        try:  # not in `forward`, which may be compiled
            return super().__call__(images)
        except Exception:
            self._run_without_values(False, images.shape[2], images.shape[3])
            raise

    def forward(self, images: Pixels) -> Float[Tensor, "image feature"]:
        """Return the features of RGB or grey images, uint8 or floating in [0, 1]."""
        vectors = self._as_vectors(self._run(False, images), images.shape[2], images.shape[3])
        self._check_shape(vectors, (images.shape[0], self.features), "features")
        return vectors.float()

    def map(self, images: Pixels) -> Float[Tensor, "image feature rows columns"]:
        """Return the last feature map of RGB or grey images, uint8 or floating in [0, 1]."""
        height, width = images.shape[2:]
        maps = self._as_maps(self._run(True, images), height, width)
        self._check_shape(maps, (len(images), *self.map_shape(height, width)), "a map")
        return maps.float()

    @torch.no_grad()
    def _run(self, of_map: bool, images: Tensor) -> Any:
        """Normalise the colours and compute."""
        pixels = images.float() if images.is_floating_point() else images.float() / 255
        pixels = self.preprocessing.resize(pixels)
        if pixels.shape[1] not in (1, len(self.mean)):
            takes = f"backbone={self.name!r}: it takes images of {len(self.mean)} channels"
            raise ValueError(f"{takes}, got {pixels.shape[1]}")
        pixels = (pixels.expand(-1, len(self.mean), -1, -1) - self.mean) / self.deviation
        return self.part(of_map)(pixels.to(self.precision, memory_format=self.memory_format))

    def _run_without_values(
        self, of_map: bool, height: int, width: int, mode: Callable[[], Any] = nullcontext
    ) -> tuple[Any, Any]:
        """Return the output for one image, and what `mode` returned, as `run_without_values`."""
        size, part = self.preprocessing.size or (height, width), self.part(of_map)
        self._log_resizing(height, width)
        pixels = torch.zeros(1, len(self.mean), *size, device=self.device, dtype=self.precision)
        try:
            return run_without_values(part, pixels.to(memory_format=self.memory_format), mode)
        except Exception as error:  # of any kind: a network may be anybody's
            refused = f"{size[0]} x {size[1]} pixels: backbone {self.name!r} cannot take images of this size"
            raise ValueError(f"{refused} ({type(error).__name__}: {error})") from error

    def _log_resizing(self, height: int, width: int) -> None:
        """Say once for each size of images that they are resized."""
        size = self.preprocessing.size
        if size in (None, (height, width)) or (height, width) in self._resized:
            return
        self._resized.add((height, width))
        message = "backbone %s takes images of %d x %d pixels only: those of %d x %d are resized for it"
        log.info(message, self.name, *size, height, width)

    def _as_vectors(self, output: Any, height: int, width: int) -> Float[Tensor, "image feature"]:
        """Return features of what the network returned for images of this size: a map is averaged."""
        self._check_tensor(
            output, (2, 4), "feature vectors (image, feature) or maps (image, feature, rows, columns)"
        )
        return output if output.ndim == 2 else output.mean((2, 3))

    def _as_maps(self, output: Any, height: int, width: int) -> Float[Tensor, "image feature rows columns"]:
        """Return maps of what the network returned for images of this size."""
        self._check_tensor(output, (4,), "maps (image, feature, rows, columns)")
        return output

    def _check_tensor(self, output: Any, axes: tuple[int, ...], expected: str) -> None:
        """Refuse anything but a tensor with such a number of axes."""
        if isinstance(output, Tensor) and output.ndim in axes:
            return
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"backbone={self.name!r}: expected {expected}, got {got}")

    def _check_shape(self, output: Tensor, expected: tuple[int, ...], what: str) -> None:
        """Refuse an output of another shape than the network has shown before."""
        if tuple(output.shape) != expected:
            shape = f"got {what} of shape {tuple(output.shape)}"
            raise ValueError(f"backbone={self.name!r}: {shape}, expected {expected} as for the first image")

    def map_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the (feature, rows, columns) of the map of a `height` x `width` image."""
        if (height, width) not in self._maps:
            output, _ = self._run_without_values(True, height, width)
            _, features, rows, columns = self._as_maps(output, height, width).shape
            self._maps[height, width] = (features, rows, columns)
        return self._maps[height, width]

    def flops(self, height: int, width: int, *, of_map: bool = False) -> int:
        """Return 2 x the multiply-adds that one `height` x `width` image costs."""
        from torch.utils.flop_counter import FlopCounterMode  # imports triton where it is installed

        key = (height, width, of_map)
        if key not in self._flops:  # every sensor needs it, and counting may take longer than computing
            counting = functools.partial(FlopCounterMode, display=False)
            _, counter = self._run_without_values(of_map, height, width, counting)
            self._flops[key] = counter.get_total_flops()
        return self._flops[key]

    def digest(self) -> str:
        """Return a short hash of architecture, precision, input and weights; equal: equal features."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(self.identity().encode())
        for key, value in self.weights():
            if not isinstance(value, Tensor):  # a module's extra state
                digest.update(repr((key, value)).encode())
            elif not key.endswith("num_batches_tracked"):
                digest.update(value.contiguous().flatten().view(torch.uint8).cpu().numpy().data)
        return digest.hexdigest()[:16]
