"""The trained backbone: gradients through every glimpse, the same with checkpointing, fixed statistics."""

import pytest
import torch
from torch import nn

from glimpse_env.networks import registry, trunk
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.networks.trunk import Trunk
from glimpse_env.training import optimizers
from glimpse_env.training.optimizers import ScheduledDescent

SIDE, ROWS = 32, 2
SMALL = "shufflenet_v2_x0_5"  # a fast one with BatchNorm


def network(**options):
    torch.manual_seed(0)
    sizes = {"glimpse": 3 * SIDE**2, "channels": 3, "classes": 5, "horizon": 3, "hidden": 8, "features": 8}
    return RecurrentAttention(Architecture(**sizes, backbone=SMALL, encoder_layers=1, **options))


def predict(net):
    """Return the class scores after each of three glimpses."""
    draws, state, scores = torch.Generator().manual_seed(1), net.begin(ROWS), []
    for step in (1, 2, 3):
        seen = {"glimpse": torch.rand(ROWS, 3, SIDE, SIDE, generator=draws)}
        seen |= {"location": torch.zeros(ROWS, 2), "step": torch.full((ROWS, 1), step / 3)}
        heads, state = net(seen, state)
        scores.append(heads.logits)
    return scores


def trunk_gradients(net, loss):
    net.zero_grad()
    loss.backward(retain_graph=True)
    return {key: value.grad for key, value in net.glimpse.what.trunk.named_parameters()}


def test_the_loss_of_every_glimpse_reaches_the_trunk_through_all_glimpses_before_it(monkeypatch):
    net, passes = network(), []
    monkeypatch.setattr(Trunk, "_encode", lambda self, pixels, learns: passes.append(
        self.network(pixels).requires_grad_()) or passes[-1])  # fmt: skip
    for step, logits in enumerate(predict(net), start=1):
        reached = torch.autograd.grad(logits.sum(), passes, retain_graph=True, allow_unused=True)
        assert [one is not None and bool(one.any()) for one in reached] == [True] * step + [False] * (
            3 - step
        )
        assert all(value.any() for value in trunk_gradients(net, logits.logsumexp(1).sum()).values())


def test_checkpointing_in_chunks_changes_no_gradient(monkeypatch):
    net = network()
    plain = Trunk._encode
    monkeypatch.setattr(Trunk, "_encode", lambda self, pixels, _: plain(self, pixels, False))
    expected = trunk_gradients(net, torch.stack(predict(net)).logsumexp(2).sum())
    expected = {key: value.clone() for key, value in expected.items()}
    monkeypatch.undo()
    monkeypatch.setattr(trunk, "CHUNK", 1)
    for key, value in trunk_gradients(net, torch.stack(predict(net)).logsumexp(2).sum()).items():
        assert torch.allclose(value, expected[key], rtol=1e-3, atol=1e-5), key


def test_activations_are_not_kept():
    """What a pass keeps for the backward pass is about the pixels, not the network's maps."""
    net, kept = network(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value) or value, lambda x: x):
        net.glimpse.what.trunk(torch.rand(ROWS, 3 * SIDE**2))
    assert sum(value.numel() for value in kept) <= ROWS * 3 * SIDE**2


def test_a_frozen_trunk_gets_no_gradient():
    net = network().requires_grad_(False)
    net.stopper.requires_grad_(True)
    sum(logits.sum() for logits in predict(net)).detach()
    assert not predict(net)[-1].requires_grad


def test_statistics_stay_and_scales_learn():
    net = network().train()
    before = {key: value.clone() for key, value in net.glimpse.what.trunk.state_dict().items()}
    gradients = trunk_gradients(net, torch.stack(predict(net)).logsumexp(2).sum())
    after = net.glimpse.what.trunk.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert gradients["network.conv1.1.weight"].any()
    assert net.training
    assert not any(module.training for module in net.glimpse.what.trunk.modules())


def test_grey_glimpses_are_colours_three_times():
    grey, colour = Trunk(SMALL, 1, SIDE), Trunk(SMALL, 3, SIDE)
    view = torch.rand(2, 1, SIDE, SIDE)
    assert torch.equal(grey(view.flatten(1)), colour(view.expand(-1, 3, -1, -1).flatten(1)))


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_the_trunk_has_a_rate_of_its_own_and_no_muon(name):
    net, options = network(), ScheduledDescent(optimizer=name, learning_rate=0.1, muon_rate=0.2)
    made = optimizers.make(net, name, 0.1, 0.2, 0.5, backbone_rate=0.01)
    inside = {id(value) for value in net.glimpse.what.trunk.parameters()}
    rates = {}
    for part in made.parts:
        for group in part.param_groups:
            for value in group["params"]:
                rates.setdefault(group["lr"], set()).add(id(value))
    assert rates[0.01] == inside
    assert sum(map(len, rates.values())) == len(list(net.parameters()))
    without = optimizers.build_optimizer(net, options)  # options of an agent that trains no backbone
    assert 0.01 not in {rate for peaks in without.peaks for rate in peaks}


def test_a_checkpoint_rebuilds_it_without_weights_files():
    net = network()
    with torch.no_grad():
        net.glimpse.what.trunk.network.conv1[0].weight.add_(1)
    saved = {"architecture": net.architecture.__dict__, "network": net.state_dict()}
    again = registry.rebuild(saved)
    assert all(torch.equal(a, b) for a, b in zip(predict(again.eval()), predict(net.eval()), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet18", 3, 28), "at least 32 x 32 pixels .--glimpse-size, --image-size., got 28 x 28"),
        (("resnet18", 9, 64), "expected glimpses of 1 or 3 channels, got 9"),
        (("resnet81", 3, 64), "backbone='resnet81': expected the name of a torchvision classifier"),
        (("squeezenet1_0", 3, 64), "does not end in a fully connected layer"),
        (("inception_v3", 3, 48), "--glimpse-size 48: backbone 'inception_v3' cannot take"),
    ],
)
def test_what_it_cannot_be_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Trunk(*arguments)


def test_convolutions_and_a_trunk_contradict_each_other():
    with pytest.raises(ValueError, match="--glimpse-encoder conv"):
        network(glimpse_encoder="conv")


def test_features_are_the_input_of_the_final_layer():
    assert Trunk("resnet18", 3, SIDE).features == 512
    assert isinstance(Trunk("mobilenet_v3_small", 3, SIDE).network.classifier[3], nn.Identity)
