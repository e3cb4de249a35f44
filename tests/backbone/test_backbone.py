"""The backbone: a torchvision classifier without its end, frozen; weights from files; what it refuses."""

from __future__ import annotations

import logging
import re
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from glimpse_env.backbone import Backbone, weights


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Three random colour images of 40 x 40 pixels."""
    source = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8, generator=source)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A ResNet-18 whose statistics are not the initial ones."""
    torch.manual_seed(1)
    network = models.resnet18(weights=None)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def state(network: nn.Module) -> dict[str, Tensor]:
    """Its weights."""
    return dict(network.state_dict())


def saved(state: Any, folder: Path, name: str = "weights.pth") -> Path:
    """Write a state dict."""
    torch.save(state, folder / name)
    return folder / name


def plain(file: str | Path | None = None, name: str = "resnet18", **options: Any) -> Backbone:
    """A backbone in single precision."""
    return Backbone(name, file, precision="float32", **options)


def test_features_are_the_networks_before_its_final_layer(
    network: nn.Module, state: dict, images: Tensor, tmp_path: Path
) -> None:
    trunk = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (images / 255 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    backbone = plain(saved(state, tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), trunk(normal), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(backbone.map(images), trunk[:8](normal), rtol=1e-4, atol=1e-4)
    assert backbone.features == 512


def test_it_is_frozen_whatever_is_done_around_it(state: dict, images: Tensor, tmp_path: Path) -> None:
    backbone = plain(saved(state, tmp_path))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    head = nn.Linear(512, 2)
    whole = nn.Sequential(backbone, head)
    optimizer = torch.optim.SGD(whole.parameters(), lr=1.0, weight_decay=0.5)
    alone = backbone(images[:1])
    for _ in range(3):
        whole.train()
        optimizer.zero_grad()
        whole(images).square().sum().backward()
        optimizer.step()
    assert head.training
    assert not any(module.training for module in backbone.modules())
    assert not any(value.requires_grad or value.grad is not None for value in backbone.parameters())
    assert not backbone(images).requires_grad
    assert any("running_mean" in name for name in before)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    # No statistics of the batch.
    torch.testing.assert_close(backbone(images)[:1], alone, rtol=1e-4, atol=1e-4)


def test_grey_is_repeated_and_bytes_are_floats_over_255(images: Tensor) -> None:
    backbone, grey = plain(), images[:, :1]
    torch.testing.assert_close(backbone(images), backbone(images / 255))
    torch.testing.assert_close(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize(
    ("name", "node", "features", "map_node", "shape"),
    [
        ("googlenet", "dropout", 1024, "inception5b", (1024, 2, 2)),
        ("vgg16", "classifier.5", 4096, "features.29", (512, 4, 4)),
        ("resnet34", "flatten", 512, "layer4", (512, 2, 2)),
        ("mobilenet_v3_small", "classifier.2", 1024, "features", (576, 2, 2)),
    ],
)
def test_other_families(name: str, node: str, features: int, map_node: str, shape: tuple[int, ...]) -> None:
    backbone = plain(name=name)
    assert (backbone.node, backbone.features, backbone.map_node) == (node, features, map_node)
    assert backbone.map_shape(64, 64) == shape
    picture = torch.rand(1, 3, 64, 64)
    assert backbone(picture).shape == (1, features)
    assert backbone.map(picture).shape == (1, *shape)


def test_a_map_as_features_is_averaged(images: Tensor) -> None:
    maps = plain(map_node="layer3").map(images)
    torch.testing.assert_close(plain(node="layer3")(images), maps.mean((2, 3)))


def test_flops_are_two_for_each_multiply_add_of_a_convolution() -> None:
    backbone, counted = plain(), []

    def count(module: nn.Conv2d, _: Any, out: Tensor) -> None:
        counted.append(2 * out.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1])

    for module in backbone.network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    backbone(torch.zeros(1, 3, 48, 80))
    expected = sum(counted)
    assert backbone.flops(48, 80) == backbone.flops(48, 80, of_map=True) == expected
    assert backbone.flops(224, 224) == pytest.approx(2 * 1.814e9, rel=0.01)


# Weights


@pytest.mark.parametrize("change", ["half", "no final layer", "other classes", "no counters"])
def test_weights_files_may_be_half_precision_or_differ_in_the_final_layer(
    change: str, state: dict, images: Tensor, tmp_path: Path
) -> None:
    expected = plain(saved(state, tmp_path))(images)
    other = {
        "half": {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
        "no final layer": {name: value for name, value in state.items() if not name.startswith("fc.")},
        "other classes": state | {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)},
        "no counters": {name: value for name, value in state.items() if "num_batches" not in name},
    }[change]
    features = plain(saved(other, tmp_path, "other.pth"))(images)
    rtol, atol = (0.02, 0.01) if change == "half" else (0, 0)
    torch.testing.assert_close(features, expected, rtol=rtol, atol=atol)


def test_a_name_is_looked_up_in_the_weights_folder(state: dict, tmp_path: Path, monkeypatch) -> None:
    saved(state, tmp_path, "mine.pth")
    saved(state, tmp_path, "resnet18-f37072fd.pth")  # torchvision's own name of its default
    monkeypatch.setenv("GLIMPSE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", None)
    assert plain("mine.pth").digest() == plain("DEFAULT").digest() == plain(tmp_path / "mine.pth").digest()


def test_a_failed_download_names_the_file_and_where_to_put_it(tmp_path: Path, monkeypatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("GLIMPSE_WEIGHTS", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    message = r"https://\S+/resnet18-f37072fd.pth.*no route.*checkpoints.*GLIMPSE_WEIGHTS.*weights="
    with pytest.raises(FileNotFoundError, match=message):
        Backbone("resnet18")


def test_random_weights_are_logged_and_always_the_same(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with caplog.at_level(logging.WARNING, "glimpse_env"):
        first, second = plain(), plain()
    assert "resnet18 has random weights" in caplog.text
    assert first.digest() == second.digest()
    torch.testing.assert_close(torch.rand(2), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        ("resnet18", "resnet34", "layer1.2.conv1.weight {block}, the file has nothing in its place"),
        ("resnet34", "resnet18", "layer1.2.conv1.weight {block}, which resnet18 lacks"),
        ("resnet50", "resnet18", "layer1.0.conv1.weight {block}, in the file its shape is (64, 64, 1, 1)"),
        (
            "resnet18",
            "mobilenet_v3_small",
            "features.0.0.weight {stem}, the file has conv1.weight {wide_stem}",
        ),
    ],
)
def test_the_first_mismatch_of_another_architecture_is_named(file: str, name: str, message: str) -> None:
    network, state = weights.build_random(name), weights.build_random(file).state_dict()
    shapes = {"stem": (16, 3, 3, 3), "block": (64, 64, 3, 3), "wide_stem": (64, 3, 7, 7)}
    expected = re.escape(message.format(**{name: f"of shape {shape}" for name, shape in shapes.items()}))
    owner = "it" if "lacks" in message else name
    expected = f"^a file: weights of another architecture: {owner} has {expected}$"
    with pytest.raises(ValueError, match=expected):
        weights.load_state(network, state, "a file", name)


def test_a_file_of_another_architecture_is_named(state: dict, tmp_path: Path) -> None:
    message = "weights file .*weights.pth: weights of another architecture: resnet34 has layer1.2.conv1"
    with pytest.raises(ValueError, match=message):
        plain(saved(state, tmp_path), "resnet34")


def test_files_that_are_no_weights_are_refused(state: dict, tmp_path: Path) -> None:
    message = r"weights='none.pth'.*file not found.*DEFAULT.*GLIMPSE_WEIGHTS"
    with pytest.raises(FileNotFoundError, match=message):
        plain("none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ValueError, match=r"text.pth: not a state dict"):
        plain(tmp_path / "text.pth")
    whole = saved(state, tmp_path)
    (tmp_path / "cut.pth").write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"cut.pth: not a state dict"):
        plain(tmp_path / "cut.pth")
    with pytest.raises(ValueError, match=r"nested.pth: expected a state dict"):
        plain(saved({"network": state}, tmp_path, "nested.pth"))
    spoiled = state | {"layer1.0.conv1.weight": torch.full((64, 64, 3, 3), torch.nan)}
    with pytest.raises(ValueError, match=r"layer1.0.conv1.weight holds values that are not finite"):
        plain(saved(spoiled, tmp_path, "nan.pth"))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet5"}, r"backbone='resnet5'.*resnet50"),
        ({"name": "squeezenet1_0"}, r"squeezenet1_0.*node=.*features.12"),
        ({"node": "layer9"}, r"node='layer9'.*resnet18.*fc"),
        ({"map_node": "layer9"}, r"map_node='layer9'.*resnet18"),
        ({"precision": "double"}, r"precision='double'.*float32"),
    ],
)
def test_a_bad_argument_is_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Backbone(**({"name": "resnet18", "weights": None} | options))


def test_a_family_without_a_known_map_is_refused_with_those_that_are_known() -> None:
    backbone = plain(name="alexnet")
    with pytest.raises(ValueError, match=r"alexnet.*resnet.*map_node="):
        backbone.map_shape(64, 64)


# Precision


def test_half_precision_changes_little_and_gives_float32(state: dict, images: Tensor, tmp_path: Path) -> None:
    file = saved(state, tmp_path)
    exact, half = plain(file), Backbone("resnet18", file, precision="bfloat16")
    features, expected = half(images), exact(images)
    assert features.dtype == torch.float32
    assert (features - expected).norm() < 0.05 * expected.norm()
    assert exact.digest() != half.digest()
    assert half.network.get_submodule("bn1").running_var.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_the_same_in_half_precision(state: dict, images: Tensor, tmp_path: Path) -> None:
    file = saved(state, tmp_path)
    expected, backbone = plain(file)(images), Backbone("resnet18", file, "cuda")
    assert backbone.precision in (torch.bfloat16, torch.float16)
    assert (backbone(images.cuda()).cpu() - expected).norm() < 0.05 * expected.norm()


def test_weights_nodes_and_networks_have_different_digests(state: dict, tmp_path: Path) -> None:
    backbones = [plain(), plain(saved(state, tmp_path)), plain(node="layer3"), plain(name="resnet34")]
    assert len({backbone.digest() for backbone in backbones}) == len(backbones)
