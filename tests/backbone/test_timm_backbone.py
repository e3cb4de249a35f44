"""Backbones of timm: names, sizes, weights from files and downloads; they are tuned as torchvision's are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import finetune_backbone
import pytest
import torch
from finetune_backbone import FinetuneOptions
from torch import nn

from glimpse_env.backbone import (
    Classifier,
    ModuleBackbone,
    Preprocessing,
    build_backbone,
    build_classifier,
    find_weights,
)
from glimpse_env.networks.trunk import Trunk

timm = pytest.importorskip("timm", reason="needs the package timm")
RESNET, TRANSFORMER = "timm:test_resnet", "timm:test_vit@32"


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A small ResNet that is not the one from the fixed seed."""
    torch.manual_seed(5)
    return timm.create_model("test_resnet").eval()


def test_weights_files_are_of_torch_or_safetensors_and_the_final_layer_is_free(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    state = network.state_dict()
    body = {key: value for key, value in state.items() if not key.startswith("fc.")}
    torch.save(state | {"fc.weight": torch.zeros(7, 96), "fc.bias": torch.zeros(7)}, tmp_path / "mine.pth")
    save_file(body, tmp_path / "test_resnet.r160_in1k.safetensors")
    monkeypatch.setenv("GLIMPSE_WEIGHTS", str(tmp_path))
    found = [build_backbone(RESNET, each, "cpu") for each in ("mine.pth", "DEFAULT")]
    assert find_weights(RESNET, "DEFAULT") == tmp_path / "test_resnet.r160_in1k.safetensors"
    images = torch.rand(1, 3, 40, 40)
    mean, deviation = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.5)
    with torch.no_grad():
        normal = (images - mean) / deviation
        expected = network.forward_head(network.forward_features(normal), pre_logits=True)
    assert (found[0](images) - expected).norm() < 0.05 * expected.norm()
    assert found[0].digest() == found[1].digest() != build_backbone(RESNET, None, "cpu").digest()


def test_position_embeddings_of_a_file_are_resized(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "large.pth")
    assert build_backbone(TRANSFORMER, tmp_path / "large.pth", "cpu").map_shape(80, 80) == (64, 2, 2)


def test_register_tokens_are_no_patches() -> None:
    backbone = build_backbone("timm:vit_small_patch14_reg4_dinov2@28", None, "cpu")
    assert (backbone.features, backbone.map_shape(20, 20)) == (384, (384, 2, 2))


def test_random_weights_are_always_the_same_and_leave_torchs_state(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second = build_backbone(RESNET, None, "cpu"), build_backbone(RESNET, None, "cpu")
    assert torch.equal(torch.rand(2), expected)
    assert first.digest() == second.digest()
    assert first.name == RESNET
    assert caplog.messages.count(f"backbone {RESNET} has random weights (weights=None): its features carry "
                                "little information") == 2  # fmt: skip


def test_a_failed_download_names_the_file_and_where_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.delenv("GLIMPSE_WEIGHTS", raising=False)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    message = (
        r"timm:test_resnet: https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    )
    message += r".*no route to host.*as test_resnet.r160_in1k.safetensors into .*GLIMPSE_WEIGHTS.*weights="
    with pytest.raises(FileNotFoundError, match=message):
        build_backbone(RESNET, "DEFAULT", "cpu")


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("timm:resnet5", None, "backbone='timm:resnet5': expected a model of timm, such as timm:.*resnet50"),
        ("timm:test_resnet.none", None, r"'timm:test_resnet.none': .*timm:test_resnet.r160_in1k"),
        ("timm:test_vit@big", None, "backbone='timm:test_vit@big': expected the side .* such as @224"),
        ("timm:test_vit@0", None, "backbone='timm:test_vit@0': expected the side"),
        (
            "timm:test_vit@8",
            None,
            "backbone='timm:test_vit@8'|8 x 8 pixels: backbone 'timm:test_vit@8' cannot",
        ),
        ("timm:maxvit_pico_rw_256", "DEFAULT", "weights='DEFAULT' of timm:maxvit_pico_rw_256: timm has none"),
        ("tim:test_vit", None, "backbone='tim:test_vit': expected one of torchvision, timm before the colon"),
    ],
)
def test_a_bad_name_is_refused(name: str, weights: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(name, weights, "cpu")


def test_weights_of_another_architecture_are_refused(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    for name in ("test_convnext", "test_vit", "resnet10t"):
        message = rf"weights file \S+resnet.pth: weights of another architecture.*timm:{name}"
        with pytest.raises(ValueError, match=message):
            build_backbone(f"timm:{name}", tmp_path / "resnet.pth", "cpu")
    with pytest.raises(FileNotFoundError, match=r"weights='none.pth'.*'DEFAULT' \(timm's\)"):
        build_backbone(RESNET, "none.pth", "cpu")


def test_without_timm_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ModuleNotFoundError, match="need the package timm; timm is not installed: pip install timm"
    ):
        build_backbone(RESNET, None, "cpu")


# Networks that are trained


def test_a_trained_backbone_starts_from_a_file_and_learns(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "own.pth")
    trunk = Trunk(RESNET, 3, 32)
    trunk.load(str(tmp_path / "own.pth"))
    views = torch.rand(2, 3, 32, 32)
    frozen = build_backbone(RESNET, tmp_path / "own.pth", "cpu")
    features = trunk(views.flatten(1))
    assert trunk.features == frozen.features
    assert (features - frozen(views)).norm() < 0.05 * features.norm()  # which may compute in half precision
    features.sum().backward()
    assert all(value.grad is not None for value in trunk.parameters())
    assert Trunk(TRANSFORMER, 1, 40)(torch.rand(2, 1600)).shape == (2, 64)


class Net(nn.Module):
    """A classifier of our own."""

    def __init__(self) -> None:
        """Draw its weights."""
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU()), nn.Linear(8, 1000)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return class scores; its `view` needs maps that are laid out by channel."""
        maps = self.body(pixels)
        return self.fc(maps.view(len(pixels), 8, -1).mean(2))


@pytest.mark.parametrize("name", [RESNET, TRANSFORMER, "module"])
def test_fine_tuning_writes_weights_that_the_frozen_backbone_reads(
    name: str, painted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["finetune_backbone.py"])
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))

    def paint(pixels: Any, kind: str, number: int) -> None:
        pixels[..., 0 if kind == "red" else 2] += 180

    small = {"image_size": 48, "view_size": 40, "batch": 6, "weights": None, "threads": 1, "epochs": 12}
    small |= {"learning_rate": 0.003, "precision": "float32"}
    options = FinetuneOptions(
        dataset=painted(("red", "blue"), (6, 3), paint, (48, 48), 60), out=tmp_path, **small
    )
    if name == "module":
        network = Net()
        row = finetune_backbone.main(options, Classifier(network, ("fc",), Preprocessing(size=(32, 32))))
        assert row["options"]["backbone"] == "Net"
        backbone = ModuleBackbone(network, head="fc", size=32)
    else:
        row = finetune_backbone.main(FinetuneOptions(**vars(options) | {"backbone": name}))
        backbone = build_backbone(name, tmp_path / "weights.pth", "cpu")
    assert row["accuracy"] == 1  # red against blue
    written = torch.load(tmp_path / "weights.pth", weights_only=True)
    heads = {"module": "fc", RESNET: "fc", TRANSFORMER: "head"}
    assert written[f"{heads[name]}.weight"].shape == (2, backbone.features)


def test_layers_that_cannot_be_replaced_are_named() -> None:
    from glimpse_env.training.finetuning import replace_head

    for head, message in (("last", "got no such layer"), ("body", "got Sequential")):
        with pytest.raises(
            ValueError, match=f"head='{head}': expected a fully connected layer of Net.*{message}"
        ):
            replace_head(Classifier(Net(), (head,)), 2)
    assert build_classifier(RESNET, None, 0, warn=False).network(torch.rand(1, 3, 32, 32)).shape == (1, 96)
