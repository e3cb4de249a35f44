"""Any torch module as a backbone: what its features and maps are, what its digest covers, what is refused."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import glimpse_env
from glimpse_env import GlimpseVectorEnv, ModuleBackbone, presets
from glimpse_env.backbone import FeatureExtractor


class Net(nn.Module):
    """A small classifier with BatchNorm."""

    def __init__(self, channels: int = 3) -> None:
        """Draw its weights from a fixed seed."""
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Sequential(nn.Conv2d(channels, 4, 4, 4), nn.BatchNorm2d(4), nn.ReLU())
            self.fc = nn.Linear(4, 3)
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def extract(self, pixels: Tensor) -> Tensor:
        """Return the map."""
        return self.stem(pixels) * self.scale

    def forward(self, pixels: Tensor) -> Tensor:
        """Return class scores."""
        return self.fc(self.extract(pixels).mean((2, 3)))


class Tokens(nn.Module):
    """Two class tokens, then patches of 8 x 8 pixels, as a transformer has them; one size only."""

    def __init__(self, side: int = 32) -> None:
        """Draw its weights."""
        super().__init__()
        self.side, self.embed = side, nn.Conv2d(3, 5, 8, 8)
        self.start = nn.Parameter(torch.rand(1, 2, 5))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return tokens."""
        assert pixels.shape[-1] == self.side, f"expected {self.side} pixels"
        patches = self.embed(pixels).flatten(2).transpose(1, 2)
        return torch.cat([self.start.expand(len(pixels), -1, -1), patches], 1)


class Returns(nn.Module):
    """A module that returns what a function makes of the images."""

    def __init__(self, function: Any) -> None:
        """Hold the function."""
        super().__init__()
        self.function = function

    def forward(self, pixels: Tensor) -> Any:
        """Return it."""
        return self.function(pixels)


def scale_map(factor: int, network: nn.Module, pixels: Tensor) -> Tensor:
    """Return a module's map times a number."""
    return network.extract(pixels) * factor


def wrap(network: nn.Module | None = None, **options: Any) -> ModuleBackbone:
    """A backbone of a small classifier, in single precision."""
    given = {"head": "fc", "map": "extract"} if network is None else {}
    return ModuleBackbone(network or Net(), **{"precision": "float32", **given, **options})


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """Two colour images."""
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_features_are_the_input_of_the_head_and_the_given_module_stays_as_it_is(pixels: Tensor) -> None:
    network = Net().train()
    backbone = wrap(network, head="fc", map="extract", mean=(0.5, 0.4, 0.3), deviation=(0.1, 0.2, 0.3))
    assert network.training
    assert all(value.requires_grad for value in network.parameters())
    assert isinstance(network.fc, nn.Linear)
    normal = (pixels - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.1, 0.2, 0.3]).view(
        3, 1, 1
    )
    with torch.no_grad():
        cells = network.eval().extract(normal)
        network.stem[0].weight.zero_()  # the copy keeps its own
    torch.testing.assert_close(backbone.map(pixels), cells)
    torch.testing.assert_close(backbone(pixels), cells.mean((2, 3)))
    assert (backbone.name, backbone.features, backbone.map_shape(32, 24)) == ("Net", 4, (4, 8, 6))
    assert backbone.flops(32, 32, of_map=True) == 2 * 4 * 8 * 8 * 3 * 4 * 4
    assert isinstance(backbone, FeatureExtractor)


def test_a_function_of_the_module_gives_features_or_maps(pixels: Tensor) -> None:
    doubled = wrap(Net(), features=lambda network, given: 2 * network.extract(given), map="extract")
    torch.testing.assert_close(doubled(pixels), 2 * wrap()(pixels))  # a map is averaged


def test_tokens_are_class_tokens_and_then_patches(pixels: Tensor) -> None:
    network = Tokens()
    backbone = wrap(network, map="forward", prefix_tokens=2, size=32)
    tokens = network((pixels - backbone.mean) / backbone.deviation)
    torch.testing.assert_close(backbone(pixels), tokens[:, 0])
    maps = backbone.map(pixels)
    assert maps.shape[1:] == backbone.map_shape(32, 32) == backbone.map_shape(20, 50) == (5, 4, 4)
    torch.testing.assert_close(maps[:, :, 1, 3], tokens[:, 2 + 1 * 4 + 3])
    means = wrap(Returns(lambda given: network(given)[:, 2:]), size=32)
    torch.testing.assert_close(means(pixels), tokens[:, 2:].mean(1))


def test_grey_modules_take_grey_images() -> None:
    backbone = wrap(Net(1), head="fc", mean=(0.5,), deviation=(0.5,))
    assert backbone(torch.rand(2, 1, 16, 16)).shape == (2, 4)
    with pytest.raises(ValueError, match="backbone='Net': it takes images of 1 channels, got 3"):
        backbone(torch.rand(2, 3, 16, 16))


def test_modules_that_keep_tensors_of_a_pass_or_need_values_run_too(pixels: Tensor) -> None:
    class Keeps(Net):
        def extract(self, given: Tensor) -> Tensor:
            self.last = given if not hasattr(self, "last") else self.last.to(given.device)
            return super().extract(given)

    class Asks(Net):
        def extract(self, given: Tensor) -> Tensor:
            return super().extract(given) * (1 if given.sum().item() < 1e9 else 2)

    for network in (Keeps(), Asks()):
        backbone = wrap(network, head="fc", map="extract")
        torch.testing.assert_close(backbone(pixels), wrap()(pixels))
        assert backbone.map_shape(32, 32) == (4, 8, 8)
        assert backbone.flops(32, 32) == wrap().flops(32, 32)


def test_digests_cover_weights_buffers_input_precision_and_code() -> None:
    class Other(Net):
        def extract(self, given: Tensor) -> Tensor:
            return super().extract(given) + 1

    class Same(Net):
        def extract(self, given: Tensor) -> Tensor:
            return super().extract(given) + 2

    Same.__qualname__ = Same.__name__ = Other.__qualname__
    Other.__name__ = "Other"
    weights, buffers = Net(), Net()
    with torch.no_grad():
        weights.stem[0].bias[0] += 1
        buffers.scale += 1
    given = [wrap(), wrap(name="other"), wrap(mean=(0, 0, 0)), wrap(deviation=(1, 1, 1)), wrap(size=32)]
    given += [wrap(precision="bfloat16"), wrap(head=None), wrap(map="forward")]
    given += [wrap(each, head="fc", map="extract") for each in (weights, buffers, Other(), Same())]
    given += [wrap(Net(), map="extract", features=lambda network, seen: network.extract(seen))]
    given += [wrap(Net(), map="extract", features=lambda network, seen: network.extract(seen) * 2)]
    for factor in (3, 4):
        given += [
            wrap(Net(), map="extract", features=lambda network, seen, by=factor: network.extract(seen) * by)
        ]
        given += [wrap(Net(), map="extract", features=functools.partial(scale_map, factor))]
    assert len({backbone.digest() for backbone in given}) == len(given)
    assert wrap().digest() == wrap().digest()


def test_an_environment_takes_it(noise: Any) -> None:
    network = Net(1)
    backbone = wrap(network, head="fc", mean=(0.5,), deviation=(0.5,))
    envs = GlimpseVectorEnv(2, noise, sensor="crop", backbone=backbone, glimpse_size=8)
    assert envs.reset(seed=0)[0]["glimpse"].shape == (2, 4)
    with pytest.raises(TypeError, match=r"a name or an object that follows FeatureExtractor.*ModuleBackbone"):
        presets.resolve(noise, sensor="crop", backbone=network)
    assert glimpse_env.ModuleBackbone is ModuleBackbone


FEATURES = r"expected feature vectors \(image, feature\), maps .* or tokens"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (Returns(lambda given: (given, given)), {}, rf"backbone='Returns': {FEATURES}, got tuple"),
        (Returns(lambda given: given.mean()), {}, rf"backbone='Returns': {FEATURES}, got shape \(\)"),
        (Returns(lambda given: given.flatten(2)[:, :2, :7]), {}, r"got shape \(1, 2, 7\) .*prefix_tokens="),
        (Tokens(), {"size": 32}, r"18, 5\) for images of 32 x 32 pixels, expected 0 class tokens"),
        (
            Tokens(),
            {},
            r"224 x 224 pixels: backbone 'Tokens' cannot take .*AssertionError: expected 32 pixels",
        ),
        (Net(), {"head": "classifier"}, "head='classifier': expected a layer of Net, such as .*fc"),
        (Net(), {"features": "embed"}, "features='embed': Net has no such method"),
        (Net(), {"features": 3}, "features=3: expected a method's name, or a function .* got int"),
        (Net(), {"mean": (0.5, 0.5)}, r"mean=\(0.5, 0.5\), deviation=.*: expected 3 values each .* or 1"),
        (Net(), {"deviation": (1, 0, 1)}, r"deviation=\(1, 0, 1\): expected"),
        (Net(), {"size": 0}, "size="),
        (Net(), {"prefix_tokens": -1}, "prefix_tokens=-1: expected a whole number of at least 0"),
        (Net(), {"precision": "double"}, "precision='double'"),
        ("resnet18", {}, "network='resnet18': expected a torch.nn.Module, got str"),
    ],
)
def test_what_it_cannot_be_is_refused_by_name(network: Any, options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ModuleBackbone(network, **{"precision": "float32", **options})


def test_a_module_without_a_map_says_how_to_give_one(pixels: Tensor) -> None:
    backbone = wrap(Net())
    for ask in (lambda: backbone.map_shape(32, 32), lambda: backbone.map(pixels)):
        with pytest.raises(ValueError, match=r"backbone='Net': it has no method 'forward_features'.*map="):
            ask()


def test_other_features_at_the_second_call_are_refused(pixels: Tensor) -> None:
    backbone = wrap(
        Returns(lambda given: given.mean((2, 3)) if len(given) < 2 else given[:, :2].mean((2, 3)))
    )
    assert backbone(pixels[:1]).shape == (1, 3)
    with pytest.raises(
        ValueError, match=r"got features of shape \(2, 2\), expected \(2, 3\) as for the first"
    ):
        backbone(pixels)
    flat = wrap(Returns(lambda given: given.mean((2, 3)).flatten()[None]))
    with pytest.raises(ValueError, match=r"got features of shape \(1, 6\), expected \(2, 3\)"):
        flat(pixels)


def test_images_of_a_size_that_it_cannot_take_are_refused_at_any_call(pixels: Tensor) -> None:
    backbone = wrap(Net(), head="fc")
    with pytest.raises(ValueError, match="3 x 3 pixels: backbone 'Net' cannot take images of this size"):
        backbone(pixels[:, :, :3, :3])
    with pytest.raises(ValueError, match="3 x 3 pixels"):
        backbone.flops(3, 3)
