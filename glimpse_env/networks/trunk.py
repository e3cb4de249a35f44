"""A classifier that encodes glimpses and is trained with the recurrent network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glimpse_env.backbone import build_classifier
from glimpse_env.backbone.frozen import run_without_values
from glimpse_env.networks.glimpse_encoders import Features, relu_layers

CHUNK = 256  # views per pass: the backward pass keeps the activations of so many
SMALLEST = 32  # pixels a side: torchvision's classifiers shrink an image by this factor


class Trunk(nn.Module):
    """A classifier without its final layer, from the pixels of views to feature vectors.

    Its weights learn from the losses of all glimpses (Li et al. 2017, section 3.4), unlike those of
    `backbone.Backbone`. It stays in evaluation mode: BatchNorm keeps the statistics of the weights that it
    starts from, since whole images and crops, few of each, give poor ones; its scales and offsets are
    trained. There is no dropout inside. Activations are not kept, but computed again in the backward pass
    (`torch.utils.checkpoint`): a third more time, and memory for `CHUNK` views instead of all glimpses.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, channels: int, side: int) -> None:
        """Build it with random weights from a fixed seed; `load` reads others.

        Args:
            name: As for `build_backbone`, such as "resnet18" or "timm:convnext_atto".
            channels: Of a view: 1 (grey) or 3 (RGB).
            side: Of a view, in pixels.

        Raises:
            ValueError: An unknown name, a network whose final layer cannot be replaced, or views that it
                cannot take.
            ModuleNotFoundError: Its library is not installed.
        """
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"--train-backbone: expected glimpses of 1 or 3 channels, got {channels}")
        if side < SMALLEST:
            sizes = f"got {side} x {side}"
            needed = f"--train-backbone needs glimpses of at least {SMALLEST} x {SMALLEST} pixels"
            raise ValueError(f"{needed} (--glimpse-size, --image-size), {sizes}")
        self.name = name
        self.network, _, self.preprocessing = build_classifier(name, None, 0, warn=False)
        self.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.view = (channels, side, side)
        for kind, values in (("mean", self.preprocessing.mean), ("deviation", self.preprocessing.deviation)):
            self.register_buffer(kind, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.features = self._count_features(side)

    def _count_features(self, side: int) -> int:
        """Return the length of the feature vector of a view, by its shape alone."""
        pixels = torch.zeros(1, 3, *(self.preprocessing.size or (side, side)))
        try:
            return run_without_values(self.network, pixels)[0].shape[1]
        except Exception as error:  # of any kind, by the library
            size = f"--glimpse-size {side}: backbone {self.name!r} cannot take images of this size"
            raise ValueError(f"{size} ({error})") from error

    def load(self, weights: str | None) -> None:
        """Read weights to start from, without the final layer's (see `build_classifier`, also for errors)."""
        known = self.network.state_dict()
        state = build_classifier(self.name, weights, 0).network.state_dict()
        self.network.load_state_dict({key: value for key, value in state.items() if key in known})

    def train(self, mode: bool = True) -> Trunk:
        """Stay in evaluation mode, whatever the mode of the network that contains it."""
        return super().train(False)

    def forward(self, glimpse: Float[Tensor, "env value"]) -> Features:
        """Return the features of flattened views in [0, 1]."""
        colours = glimpse.unflatten(1, self.view).expand(-1, 3, -1, -1)
        colours = self.preprocessing.resize(colours)
        pixels = ((colours - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
        learns = torch.is_grad_enabled() and any(value.requires_grad for value in self.parameters())
        return torch.cat([self._encode(part, learns) for part in pixels.split(CHUNK)])

    def _encode(self, pixels: Float[Tensor, "view 3 side side"], learns: bool) -> Features:
        """Return the features of normalised views; if it `learns`, without keeping activations."""
        if not learns:
            return self.network(pixels)
        features = checkpoint(self.network, pixels, use_reentrant=False, preserve_rng_state=False)
        assert isinstance(features, Tensor)
        return features


class TrunkEncoder(nn.Module):
    """Features of a glimpse: a trunk's, then fully connected layers; dropout between them."""

    def __init__(
        self, name: str, channels: int, side: int, features: int, layers: int, dropout: float
    ) -> None:
        """Build both parts; `features` and `layers` are those of the fully connected part."""
        super().__init__()
        self.trunk = Trunk(name, channels, side)
        self.dropout = nn.Dropout(dropout)
        self.layers = relu_layers(self.trunk.features, *[features] * layers)

    def forward(self, glimpse: Float[Tensor, "env value"]) -> Features:
        """Return the features."""
        return self.layers(self.dropout(self.trunk(glimpse)))
