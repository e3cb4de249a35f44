"""Networks that see the whole image: their layers, and the script that trains them."""

import json

import pytest
import torch
import whole_image
from torch import nn
from whole_image import WholeImageOptions

from glimpse_env.networks import registry
from glimpse_env.networks.whole_image import WholeImage, WholeImageArchitecture


def build(**sizes):
    torch.manual_seed(0)
    return WholeImage(WholeImageArchitecture(**{"glimpse": 784, "classes": 10, "shape": (1, 28, 28)} | sizes))


def linear_sizes(network):
    return [(one.in_features, one.out_features) for one in network.modules() if isinstance(one, nn.Linear)]


def test_the_fully_connected_baseline_has_two_hidden_layers():
    assert linear_sizes(build()) == [(784, 256), (256, 256), (256, 10)]
    assert linear_sizes(build(widths=(64, 64))) == [(784, 64), (64, 64), (64, 10)]
    assert linear_sizes(build(widths=())) == [(784, 10)]


def test_convolutions_come_before_the_hidden_layer():
    """28 -> (28 - 5) // 2 + 1 = 12 -> 4 pixels a side, of 32 channels."""
    assert linear_sizes(build(channels=(16, 32), widths=(256,))) == [(32 * 4 * 4, 256), (256, 10)]
    assert linear_sizes(build(channels=(8,), kernel=10, stride=5, widths=(256,))) == [
        (8 * 4 * 4, 256),
        (256, 10),
    ]


def test_a_kernel_that_does_not_fit_is_refused():
    with pytest.raises(
        ValueError, match="3 convolutions with --kernel 5 --stride 2 do not fit an image of 28"
    ):
        build(channels=(8, 8, 8))


def test_it_never_stops_and_moves_nowhere():
    network = build().eval()
    image = torch.rand(3, 1, 28, 28)
    heads, _ = network({"glimpse": image}, network.begin(3))
    by_hand = network.classifier[1](network.hidden(image.flatten(1)))
    assert torch.equal(heads.logits, by_hand)
    assert (heads.stop < 0).all()
    assert not heads.location_parameters.any()


def test_a_checkpoint_rebuilds_it():
    network = build(channels=(4,), widths=(8,))
    saved = {"network_name": registry.find_name(network), "architecture": vars(network.architecture)}
    again = registry.rebuild(saved | {"network": network.state_dict()})
    assert again.architecture == network.architecture


@pytest.fixture
def options(painted, tmp_path):
    """Two classes of pictures, told by the brightness of a corner, and a small training."""

    def paint(pixels, name, number):
        pixels[:8, :8] = 250 * (name == "light")

    pictures = painted(("dark", "light"), (16, 6), paint)
    small = {"epochs": 10, "batch": 8, "image_size": 16, "split": "train", "threads": 1, "device": "cpu"}
    return lambda **given: WholeImageOptions(dataset=pictures, out=tmp_path / "run", **small | given)


def test_it_learns_and_leaves_the_files_of_every_agent(options, tmp_path):
    row = whole_image.main(options(channels=(4,), widths=(8,), dropout=0.0, learning_rate=0.01))
    assert (row["accuracy"], row["mean_glimpses"]) == (1, 1)
    assert (row["agent"], row["options"]["channels"]) == ("whole_image", (4,))
    assert json.loads((tmp_path / "run" / "result.json").read_text())["accuracy"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widths": (8, 0)}, "--widths 8 0: expected whole numbers of at least 1"),
        ({"channels": (0,)}, "--channels 0: expected whole numbers"),
        ({"kernel": 0}, "--kernel=0: expected a whole number"),
        ({"dropout": 1.0}, r"--dropout=1.0: expected a fraction in \[0, 1\)"),
    ],
)
def test_layers_that_cannot_be_built_are_refused(options, given, message):
    with pytest.raises(SystemExit, match=message):
        whole_image.main(options(**given))
