"""`Backbone`: a frozen torchvision classifier as a feature extractor (see `base.FeatureExtractor`)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from glimpse_env.backbone.frozen import FrozenNetwork, Part
from glimpse_env.backbone.weights import build_classifier, final_layer, preprocessing
from glimpse_env.runtime.precision import Precision

# Node of the last feature map by the beginning of a name; "" = the last ReLU of `features` (VGG's conv5_3).
MAP_NODES = (
    {"googlenet": "inception5b", "inception": "Mixed_7c", "regnet": "trunk_output", "shufflenet": "conv5"}
    | dict.fromkeys(("convnext", "densenet", "efficientnet", "mobilenet"), "features")
    | dict.fromkeys(("resnet", "resnext", "wide_resnet"), "layer4")
    | {"vgg": ""}
)


class Backbone(FrozenNetwork):
    """A frozen torchvision classifier without its final layer (frozen: see `base.FeatureExtractor`).

    Features are the input of the last fully connected layer (ResNet-18/34: 512, ResNet-50/101: 2048,
    GoogLeNet: 1024, VGG-16: 4096, its second hidden layer after the ReLU). Most networks end in adaptive
    pooling (VGG: to 7 x 7), so they take images of any size and the number of features does not depend on it.
    For vision transformers (`vit_b_16`, ...), which take one size only, images are resized.
    On a GPU, `backbone.compile()` makes it faster (`nn.Module.compile`).
    """

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

        network = build_classifier(name, weights)
        super().__init__(name, network, device, precision, preprocessing(network))
        nodes = feature_extraction.get_graph_node_names(self.network, suppress_diff_warning=True)[1]
        self.node, self.map_node = node or self._node_before_final_layer(nodes), map_node or self._last_map()
        self._check_nodes(nodes)
        self.features = self.count_features()
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

        cut = create_feature_extractor(self.network, {node: "out"}, suppress_diff_warning=True)
        return Part(cut, read_output).eval()

    def part(self, of_map: bool) -> nn.Module:
        """Return the network up to the node of the features, or of the map."""
        return self._up_to_map if of_map else self._up_to_features

    def __repr__(self) -> str:
        """Return one line for messages, without the layers."""
        device = str(self.device)
        return f"Backbone({self.name!r}, node={self.node!r}, precision={self.precision}, device={device!r})"

    def identity(self) -> str:
        """Return what names architecture, nodes and precision."""
        return f"{self.name} {self.node} {self.map_node} {self.precision}"

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and values of all layers but the final one."""
        final = final_layer(self.network)
        for key, value in self.network.state_dict().items():
            if not (final and key.startswith(f"{final}.")):
                yield key, value


def read_output(network: nn.Module, pixels: Tensor) -> Tensor:
    """Return the output of a network that was cut at one node."""
    return network(pixels)["out"]
