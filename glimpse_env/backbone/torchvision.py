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

MEAN, DEVIATION = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # of ImageNet's colours, as torchvision's weights expect

# Node of the last feature map by family, the beginning of the name; "" = the last ReLU of `features` (VGG's conv5_3).
MAP_NODES = {
    "convnext": "features",
    "densenet": "features",
    "efficientnet": "features",
    "googlenet": "inception5b",
    "inception": "Mixed_7c",
    "mobilenet": "features",
    "regnet": "trunk_output",
    "resnet": "layer4",
    "resnext": "layer4",
    "shufflenet": "conv5",
    "vgg": "",
    "wide_resnet": "layer4",
}


class Backbone(nn.Module):
    """A frozen classifier without its final layer: evaluation mode always, no gradients, statistics of BatchNorm unchanged.

    Features are the input of the last fully connected layer (ResNet-18/34: 512, ResNet-50/101: 2048, GoogLeNet: 1024, VGG-16: 4096, its
    second hidden layer after the ReLU). Most networks take images of any size: they end in adaptive pooling (VGG: to 7 x 7), so the number
    of features does not depend on it. On a GPU, `backbone.compile()` makes it faster (`nn.Module.compile`).
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
            weights: "DEFAULT" = torchvision's, downloaded once; a file with a state dict (a path, or a name inside GLIMPSE_WEIGHTS),
                possibly in half precision, possibly without the final layer or with one of other classes; None = random from a fixed seed.
            device: The device that it runs on.
            precision: "float32", "bfloat16" or "float16", for convolutions and matrix products (BatchNorm and results stay float32);
                "auto" = a half type on a GPU and on a CPU with bfloat16 units, else float32.
            node: Node of the features, one of torchvision's `get_graph_node_names`; None = the input of the final layer. Maps are averaged.
            map_node: Node of the feature map; None = by `MAP_NODES`.

        Raises:
            ValueError: An unknown name or node, or weights of another architecture.
            FileNotFoundError: The weights do not exist and cannot be downloaded.
        """
        from torchvision.models.feature_extraction import (
            get_graph_node_names,
        )  # slow to import: see backbone.weights

        super().__init__()
        self.name, self.device = name, torch.device(device)
        self.precision = named(precision, self.device)
        self._counted: dict[
            tuple[int, int, bool], int
        ] = {}  # operations by height, width, and whether of the map
        self.network = build_classifier(name, weights).requires_grad_(False)
        nodes = get_graph_node_names(self.network, suppress_diff_warning=True)[1]
        self.node, self.map_node = node or self._node_before_final_layer(nodes), map_node or self._last_map()
        self._check_nodes(nodes)
        self._convert()
        self.register_buffer("mean", torch.tensor(MEAN, device=self.device).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION, device=self.device).view(3, 1, 1))
        self._features = self._cut_at(self.node)
        self.features = self._count_features(self._features)
        self.train(False)

    def _node_before_final_layer(self, nodes: list[str]) -> str:
        """Return the node before the last fully connected layer."""
        final = final_layer(self.network)
        if final not in nodes[1:]:
            raise ValueError(
                f"backbone={self.name!r}: it does not end in a fully connected layer, so give the node of its "
                f"features: Backbone({self.name!r}, node=...), one of {', '.join(nodes[-8:])}"
            )
        return nodes[nodes.index(final) - 1]

    def _last_map(self) -> str | None:
        """Return the node of the last feature map; None = not known for this family."""
        node = next((node for family, node in MAP_NODES.items() if self.name.startswith(family)), None)
        if node == "":
            layers = self.network.get_submodule("features")
            return f"features.{max(number for number, layer in enumerate(layers.children()) if isinstance(layer, nn.ReLU))}"
        return node

    def _check_nodes(self, nodes: list[str]) -> None:
        """Refuse nodes that the network lacks."""
        for option, node in (("node", self.node), ("map_node", self.map_node)):
            if node is not None and not any(name == node or name.startswith(f"{node}.") for name in nodes):
                raise ValueError(
                    f"{option}={node!r}: expected a node of {self.name}, such as {', '.join(nodes[-8:])}"
                )

    def _convert(self) -> None:
        """Move the network to its device and type; BatchNorm stays float32, since its statistics need it."""
        self.network.to(device=self.device, dtype=self.precision).to(memory_format=torch.channels_last)
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.float()

    def _cut_at(self, node: str) -> tuple[nn.Module]:
        """Return the part of the network that ends at `node`, in a tuple so that it is not registered a second time."""
        from torchvision.models.feature_extraction import create_feature_extractor

        return (create_feature_extractor(self.network, {node: "out"}, suppress_diff_warning=True).eval(),)

    @functools.cached_property
    def _maps(self) -> tuple[nn.Module]:
        """The part that ends at the feature map, made at its first use."""
        if self.map_node is None:
            raise ValueError(
                f"backbone={self.name!r}: its last feature map is known for {', '.join(sorted(MAP_NODES))} only; for others give its node: "
                f"Backbone({self.name!r}, map_node=...)"
            )
        return self._cut_at(self.map_node)

    def _count_features(self, part: tuple[nn.Module]) -> int:
        """Return the number of features, or refuse a node whose output is neither vectors nor maps."""
        output = self._run_without_values(part, 224, 224)
        if output.ndim not in (2, 4):
            raise ValueError(
                f"node={self.node!r} of {self.name}: expected feature vectors or maps, got shape {tuple(output.shape)}"
            )
        return output.shape[1]

    def _run_without_values(self, part: tuple[nn.Module], height: int, width: int) -> Tensor:
        """Return the output for one image as a meta tensor: its shape without values."""
        shapes = {
            name: torch.empty_like(value, device="meta") for name, value in part[0].state_dict().items()
        }
        pixels = torch.empty(1, 3, height, width, device="meta", dtype=self.precision)
        with torch.no_grad():
            return torch.func.functional_call(part[0], shapes, (pixels,))["out"]

    def __repr__(self) -> str:
        """Return one line for messages, without the layers."""
        return f"Backbone({self.name!r}, node={self.node!r}, precision={self.precision}, device={str(self.device)!r})"

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode, even if a module that contains it is set to training mode."""
        del mode
        return super().train(False)

    def forward(self, images: Pixels) -> Float[Tensor, "image feature"]:
        """Return the features of RGB or grey images, uint8 or floating in [0, 1]."""
        output = self._run(self._features, images)
        return output if output.ndim == 2 else output.mean((2, 3))

    def map(self, images: Pixels) -> Float[Tensor, "image feature rows columns"]:
        """Return the last feature map of RGB or grey images, uint8 or floating in [0, 1]."""
        return self._run(self._maps, images)

    @torch.no_grad()
    def _run(self, part: tuple[nn.Module], images: Tensor) -> Tensor:
        """Normalise the colours and compute."""
        pixels = images.float() if images.is_floating_point() else images.float() / 255
        pixels = ((pixels.expand(-1, 3, -1, -1) - self.mean) / self.deviation).to(
            self.precision, memory_format=torch.channels_last
        )
        return part[0](pixels)["out"].float()

    def map_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the (feature, rows, columns) of the map of a `height` x `width` image."""
        _, features, rows, columns = self._run_without_values(self._maps, height, width).shape
        return features, rows, columns

    def flops(self, height: int, width: int, *, of_map: bool = False) -> int:
        """Return 2 x the multiply-adds that one `height` x `width` image costs."""
        from torch.utils.flop_counter import FlopCounterMode  # imports triton where it is installed

        key = (height, width, of_map)
        if key not in self._counted:  # every sensor needs it, and counting may take longer than computing
            with FlopCounterMode(display=False) as counter:
                self._run_without_values(self._maps if of_map else self._features, height, width)
            self._counted[key] = counter.get_total_flops()
        return self._counted[key]

    def digest(self) -> str:
        """Return a short hash of architecture, nodes, precision and weights: equal digests, equal features."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        """The digest, computed once."""
        digest = hashlib.sha256(f"{self.name} {self.node} {self.map_node} {self.precision}".encode())
        final = final_layer(self.network)
        for key, value in self.network.state_dict().items():
            if not (final and key.startswith(f"{final}.")) and not key.endswith("num_batches_tracked"):
                digest.update(value.contiguous().flatten().view(torch.uint8).cpu().numpy().data)
        return digest.hexdigest()[:16]
