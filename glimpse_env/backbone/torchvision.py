"""`Backbone`: a frozen torchvision classifier, from images to one feature vector or one feature map each."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glimpse_env.backbone.weights import classifier, final_layer
from glimpse_env.runtime.precision import Precision, named

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours: what torchvision's weights expect

# The last feature map of each family, by how its names begin; "" = the last ReLU of `features` (VGG's conv5_3).
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

Pixels = Float[Tensor, "image channel height width"] | UInt8[Tensor, "image channel height width"]


class Backbone(nn.Module):
    """A frozen classifier without its final layer: evaluation mode always, no gradients, statistics of BatchNorm unchanged.

    Features are what the last fully connected layer reads (ResNet-18/34: 512, ResNet-50/101: 2048, GoogLeNet: 1024, VGG-16: 4096, its
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
            name: Of a torchvision classifier, such as "resnet50".
            weights: "DEFAULT" = torchvision's, downloaded once; a file with a state dict (a path, or a name inside GLIMPSE_WEIGHTS),
                possibly in half precision, possibly without the final layer or with one of other classes; None = random from a fixed seed.
            device: Where it computes.
            precision: "float32", "bfloat16" or "float16" of the convolutions and products (BatchNorm stays float32, so do the results);
                "auto" = a half type on a GPU and on a CPU with bfloat16 units, else float32.
            node: Node of the features, one of torchvision's `get_graph_node_names`; None = what the final layer reads. A map is averaged.
            map_node: Node of the feature map; None = by `MAP_NODES`.

        Raises:
            ValueError: An unknown name or node, or weights of another architecture.
            FileNotFoundError: The weights are not there and cannot be downloaded.
        """
        from torchvision.models.feature_extraction import get_graph_node_names  # slow to import: see backbone.weights

        super().__init__()
        self.name, self.device = name, torch.device(device)
        self.precision = named(precision, self.device)
        self._counted: dict[tuple[int, int, bool], int] = {}  # operations by height, width, and whether of the map
        self.network = classifier(name, weights).requires_grad_(False)
        nodes = get_graph_node_names(self.network, suppress_diff_warning=True)[1]
        self.node, self.map_node = node or self._read_by_the_final_layer(nodes), map_node or self._last_map()
        self._check_nodes(nodes)
        self._convert()
        self.register_buffer("mean", torch.tensor(MEAN, device=self.device).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION, device=self.device).view(3, 1, 1))
        self._features = self._until(self.node)  # a dict of its own parts would list every weight twice
        self.features = self._count(self._features)
        self.train(False)

    def _read_by_the_final_layer(self, nodes: list[str]) -> str:
        """Return the node before the last fully connected layer."""
        final = final_layer(self.network)
        if final not in nodes[1:]:
            raise ValueError(
                f"backbone={self.name!r}: no fully connected layer at its end, so its features must be named: Backbone({self.name!r}, "
                f"node=...), one of {', '.join(nodes[-8:])}"
            )
        return nodes[nodes.index(final) - 1]

    def _last_map(self) -> str | None:
        """Return the node of the last feature map; None = not known for this family."""
        node = next((node for family, node in MAP_NODES.items() if self.name.startswith(family)), None)
        if node == "":
            layers = self.network.get_submodule("features")
            return f"features.{max(place for place, layer in enumerate(layers.children()) if isinstance(layer, nn.ReLU))}"
        return node

    def _check_nodes(self, nodes: list[str]) -> None:
        """Refuse nodes that the network has not."""
        for option, node in (("node", self.node), ("map_node", self.map_node)):
            if node is not None and not any(name == node or name.startswith(f"{node}.") for name in nodes):
                raise ValueError(f"{option}={node!r}: expected a node of {self.name}, such as {', '.join(nodes[-8:])}")

    def _convert(self) -> None:
        """Move the network to its device and type; BatchNorm stays in single precision, as its statistics need."""
        self.network.to(device=self.device, dtype=self.precision).to(memory_format=torch.channels_last)
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.float()

    def _until(self, node: str) -> tuple[nn.Module]:
        """Return the part of the network that ends at `node`, in a tuple so that it is not registered a second time."""
        from torchvision.models.feature_extraction import create_feature_extractor

        return (create_feature_extractor(self.network, {node: "out"}, suppress_diff_warning=True).eval(),)

    @functools.cached_property
    def _maps(self) -> tuple[nn.Module]:
        """The part that gives feature maps, made when first asked for."""
        if self.map_node is None:
            raise ValueError(
                f"backbone={self.name!r}: its last feature map is known for {', '.join(sorted(MAP_NODES))} only; for others name it: "
                f"Backbone({self.name!r}, map_node=...)"
            )
        return self._until(self.map_node)

    def _count(self, part: tuple[nn.Module]) -> int:
        """Return the number of features, or refuse a node that gives something else."""
        found = self._imagine(part, 224, 224)
        if found.ndim not in (2, 4):
            raise ValueError(f"node={self.node!r} of {self.name}: expected feature vectors or maps, got shape {tuple(found.shape)}")
        return found.shape[1]

    def _imagine(self, part: tuple[nn.Module], height: int, width: int) -> Tensor:
        """Return the result for one image, without values."""
        shapes = {name: torch.empty_like(value, device="meta") for name, value in part[0].state_dict().items()}
        pixels = torch.empty(1, 3, height, width, device="meta", dtype=self.precision)
        with torch.no_grad():
            return torch.func.functional_call(part[0], shapes, (pixels,))["out"]

    def __repr__(self) -> str:
        """Return one line for messages, not the layers."""
        return f"Backbone({self.name!r}, node={self.node!r}, precision={self.precision}, device={str(self.device)!r})"

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode, whatever the module around it does."""
        del mode
        return super().train(False)

    def forward(self, images: Pixels) -> Float[Tensor, "image feature"]:
        """Return the features of RGB or grey images, uint8 or floating in [0, 1]."""
        found = self._run(self._features, images)
        return found if found.ndim == 2 else found.mean((2, 3))

    def map(self, images: Pixels) -> Float[Tensor, "image feature rows columns"]:
        """Return the last feature map of RGB or grey images, uint8 or floating in [0, 1]."""
        return self._run(self._maps, images)

    @torch.no_grad()
    def _run(self, part: tuple[nn.Module], images: Tensor) -> Tensor:
        """Normalise the colours and compute."""
        pixels = images.float() if images.is_floating_point() else images.float() / 255
        pixels = ((pixels.expand(-1, 3, -1, -1) - self.mean) / self.deviation).to(self.precision, memory_format=torch.channels_last)
        return part[0](pixels)["out"].float()

    def map_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the (feature, rows, columns) of the map of a `height` x `width` image."""
        _, features, rows, columns = self._imagine(self._maps, height, width).shape
        return features, rows, columns

    def flops(self, height: int, width: int, *, of_map: bool = False) -> int:
        """Return 2 x the multiply-adds that one `height` x `width` image costs."""
        from torch.utils.flop_counter import FlopCounterMode  # imports triton where it is installed

        asked = (height, width, of_map)
        if asked not in self._counted:  # every sensor asks, and counting may take longer than computing
            with FlopCounterMode(display=False) as counter:
                self._imagine(self._maps if of_map else self._features, height, width)
            self._counted[asked] = counter.get_total_flops()
        return self._counted[asked]

    @functools.cached_property
    def digest(self) -> str:
        """A short hash of architecture, nodes, precision and weights: equal digests, equal features."""
        found = hashlib.sha256(f"{self.name} {self.node} {self.map_node} {self.precision}".encode())
        final = final_layer(self.network)
        for key, value in self.network.state_dict().items():
            if not (final and key.startswith(f"{final}.")) and not key.endswith("num_batches_tracked"):
                found.update(value.contiguous().flatten().view(torch.uint8).cpu().numpy().data)
        return found.hexdigest()[:16]
