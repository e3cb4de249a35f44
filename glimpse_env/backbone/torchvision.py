"""`Backbone`: a frozen torchvision classifier as a feature extractor (see `base.FeatureExtractor`)."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env.backbone.base import Pixels
from glimpse_env.backbone.weights import build_classifier, final_layer
from glimpse_env.runtime.precision import Precision, named

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's colours, as torchvision's weights expect
DEVIATION = (0.229, 0.224, 0.225)

# Node of the last feature map by the beginning of a name; "" = the last ReLU of `features` (VGG's conv5_3).
MAP_NODES = (
    {"googlenet": "inception5b", "inception": "Mixed_7c", "regnet": "trunk_output", "shufflenet": "conv5"}
    | dict.fromkeys(("convnext", "densenet", "efficientnet", "mobilenet"), "features")
    | dict.fromkeys(("resnet", "resnext", "wide_resnet"), "layer4")
    | {"vgg": ""}
)


class Backbone(nn.Module):
    """A frozen classifier without its final layer (frozen: see `base.FeatureExtractor`).

    Features are the input of the last fully connected layer (ResNet-18/34: 512, ResNet-50/101: 2048,
    GoogLeNet: 1024, VGG-16: 4096, its second hidden layer after the ReLU). Most networks end in adaptive
    pooling (VGG: to 7 x 7), so they take images of any size and the number of features does not depend on it.
    On a GPU, `backbone.compile()` makes it faster (`nn.Module.compile`).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        name: str,
        weights: str | Path | None = "DEFAULT",
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
        node: str | None = None,
        map_node: str | None = None,
    ) -> None:
        """Build the network.

        Args:
            name: A torchvision classifier, such as "resnet50".
            weights: As for `build_classifier`.
            device: The device that it runs on.

            precision: Of convolutions and matrix products (BatchNorm and results stay float32); "auto" = a
                half type on a GPU and on a CPU with bfloat16 units, else float32.
            node: Node of the features, one of torchvision's `get_graph_node_names`, a map being averaged;
                None = the input of the final layer.
            map_node: Node of the feature map; None = by `MAP_NODES`.

        Raises:
            ValueError: An unknown name or node, or weights of another architecture.
            FileNotFoundError: The weights do not exist and cannot be downloaded.
        """
        from torchvision.models import feature_extraction  # slow to import: see backbone.weights

        super().__init__()
        self.name, self.device = name, torch.device(device)
        self.precision = named(precision, self.device)
        self._flops: dict[tuple[int, int, bool], int] = {}  # by height, width and whether of the map
        self.network = build_classifier(name, weights).requires_grad_(False)
        nodes = feature_extraction.get_graph_node_names(self.network, suppress_diff_warning=True)[1]
        self.node, self.map_node = node or self._node_before_final_layer(nodes), map_node or self._last_map()
        self._check_nodes(nodes)
        self.network.to(device=self.device, dtype=self.precision).to(memory_format=torch.channels_last)
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.float()  # its statistics need it
        self.register_buffer("mean", torch.tensor(MEAN, device=self.device).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION, device=self.device).view(3, 1, 1))
        shape = self._run_without_values(self._up_to_features, 224, 224).shape
        if len(shape) not in (2, 4):
            got = f"{tuple(shape)} of node={self.node!r}"
            raise ValueError(f"backbone={name!r}: expected feature vectors or maps, got shape {got}")
        self.features = shape[1]
        self.train(False)

    def _node_before_final_layer(self, nodes: list[str]) -> str:
        final = final_layer(self.network)
        if final not in nodes[1:]:
            advice = f"give the node of its features: Backbone({self.name!r}, node=...)"
            cause = f"it does not end in a fully connected layer; {advice}, one of {', '.join(nodes[-8:])}"
            raise ValueError(f"backbone={self.name!r}: {cause}")
        return nodes[nodes.index(final) - 1]

    def _last_map(self) -> str | None:
        """Return the node of the last feature map; None = not known for this family."""
        node = next((node for family, node in MAP_NODES.items() if self.name.startswith(family)), None)
        if node == "":
            layers = enumerate(self.network.get_submodule("features").children())
            return f"features.{max(number for number, layer in layers if isinstance(layer, nn.ReLU))}"
        return node

    def _check_nodes(self, nodes: list[str]) -> None:
        for option, node in (("node", self.node), ("map_node", self.map_node)):
            if node is not None and not any(name == node or name.startswith(f"{node}.") for name in nodes):
                some = ", ".join(nodes[-8:])
                raise ValueError(f"{option}={node!r}: expected a node of {self.name}, such as {some}")

    @functools.cached_property  # not an attribute, which would register the same parameters a second time
    def _up_to_features(self) -> nn.Module:
        return self._cut_at(self.node)

    @functools.cached_property
    def _up_to_map(self) -> nn.Module:
        if self.map_node is None:
            known = f"its last feature map is known for {', '.join(sorted(MAP_NODES))} only"
            advice = f"for others give its node: Backbone({self.name!r}, map_node=...)"
            raise ValueError(f"backbone={self.name!r}: {known}; {advice}")
        return self._cut_at(self.map_node)

    def _cut_at(self, node: str) -> nn.Module:
        from torchvision.models.feature_extraction import create_feature_extractor

        return create_feature_extractor(self.network, {node: "out"}, suppress_diff_warning=True).eval()

    def _run_without_values(self, part: nn.Module, height: int, width: int) -> Tensor:
        """Return the output for one image as a meta tensor: its shape without values."""
        shapes = {name: torch.empty_like(value, device="meta") for name, value in part.state_dict().items()}
        pixels = torch.empty(1, 3, height, width, device="meta", dtype=self.precision)
        try:
            with torch.no_grad():
                return torch.func.functional_call(part, shapes, (pixels,))["out"]
        except RuntimeError as error:
            size = f"{height} x {width} pixels: backbone {self.name!r} cannot take images of this size"
            raise ValueError(f"{size} ({error})") from error

    def __repr__(self) -> str:
        """Return one line for messages, without the layers."""
        device = str(self.device)
        return f"Backbone({self.name!r}, node={self.node!r}, precision={self.precision}, device={device!r})"

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode, even if a module that contains it is set to training mode."""
        return super().train(False)

    def forward(self, images: Pixels) -> Float[Tensor, "image feature"]:
        """Return the features of RGB or grey images, uint8 or floating in [0, 1]."""
        output = self._run(self._up_to_features, images)
        return output if output.ndim == 2 else output.mean((2, 3))

    def map(self, images: Pixels) -> Float[Tensor, "image feature rows columns"]:
        """Return the last feature map of RGB or grey images, uint8 or floating in [0, 1]."""
        return self._run(self._up_to_map, images)

    @torch.no_grad()
    def _run(self, part: nn.Module, images: Tensor) -> Tensor:
        """Normalise the colours and compute."""
        pixels = images.float() if images.is_floating_point() else images.float() / 255
        pixels = (pixels.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        return part(pixels.to(self.precision, memory_format=torch.channels_last))["out"].float()

    def map_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the (feature, rows, columns) of the map of a `height` x `width` image."""
        _, features, rows, columns = self._run_without_values(self._up_to_map, height, width).shape
        return features, rows, columns

    def flops(self, height: int, width: int, *, of_map: bool = False) -> int:
        """Return 2 x the multiply-adds that one `height` x `width` image costs."""
        from torch.utils.flop_counter import FlopCounterMode  # imports triton where it is installed

        key = (height, width, of_map)
        if key not in self._flops:  # every sensor needs it, and counting may take longer than computing
            with FlopCounterMode(display=False) as counter:
                self._run_without_values(self._up_to_map if of_map else self._up_to_features, height, width)
            self._flops[key] = counter.get_total_flops()
        return self._flops[key]

    def digest(self) -> str:
        """Return a short hash of architecture, nodes, precision and weights; equal: equal features."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(f"{self.name} {self.node} {self.map_node} {self.precision}".encode())
        final = final_layer(self.network)
        for key, value in self.network.state_dict().items():
            if not (final and key.startswith(f"{final}.")) and not key.endswith("num_batches_tracked"):
                digest.update(value.contiguous().flatten().view(torch.uint8).cpu().numpy().data)
        return digest.hexdigest()[:16]
