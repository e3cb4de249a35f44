"""Gradient flow per head, exact cells, and what the stop head may see."""

import pytest
import torch
from torch import nn

from glimpse_env.networks.glimpse_encoders import compare
from glimpse_env.networks.recurrent_attention import (
    Architecture,
    LSTMCell,
    RecurrentAttention,
    State,
    confidence,
)


def network(**options):
    torch.manual_seed(0)
    sizes = {"glimpse": 64, "classes": 10, "horizon": 7, "hidden": 32, "features": 16}
    return RecurrentAttention(Architecture(**sizes, **options))


def looked(net, rows=5, step=1):
    glimpse, location = torch.rand(rows, 1, 8, 8), torch.rand(rows, 2) * 2 - 1
    return net(observe(glimpse, location, step), net.begin(rows))


def observe(glimpse, location, step=1):
    return {"glimpse": glimpse, "location": location, "step": torch.full((len(glimpse), 1), step / 7)}


def test_lstm_cell_equals_torch():
    ours, theirs = LSTMCell(6, 4), nn.LSTMCell(6, 4)
    # torch's order of the gates is (enter, forget, candidate, leave).
    order = torch.cat([torch.arange(4) + 4 * gate for gate in (0, 1, 3, 2)])
    with torch.no_grad():
        theirs.weight_ih.copy_(ours.input.weight[order])
        theirs.bias_ih.copy_(ours.input.bias[order])
        theirs.weight_hh.copy_(ours.recur.weight[order])
        theirs.bias_hh.zero_()
    feature, state = torch.randn(3, 6), State(torch.randn(3, 4), torch.randn(3, 4), *torch.zeros(3, 3, 2))
    found, wanted = ours(feature, state), theirs(feature, (state.hidden, state.cell))
    assert torch.allclose(found.hidden, wanted[0], atol=1e-6)
    assert torch.allclose(found.cell, wanted[1], atol=1e-6)


def attend_to_all(core, features):
    """Return a causal transformer's outputs, (time, env, hidden), from all glimpses at once."""
    x = core.input(features) + core.position.weight[: len(features), None]
    causal = torch.ones(len(x), len(x), dtype=torch.bool).tril()
    for block in core.blocks:
        parts = block.read(block.before(x)).chunk(3, 2)
        query, key, value = (part.unflatten(2, (block.heads, -1)).permute(1, 2, 0, 3) for part in parts)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=causal)
        x = x + block.write(attended.permute(2, 0, 1, 3).flatten(2))
        x = x + block.mlp(block.between(x))
    return core.normalise(x)


def test_the_transformer_attends_to_the_glimpses_so_far():
    torch.manual_seed(0)
    net = network(core="transformer")
    features = torch.randn(7, 3, 32, requires_grad=True)
    state, outputs = net.begin(3), []
    for feature in features:
        state = net.core(feature, state)
        outputs.append(state.hidden)
    found = torch.stack(outputs)
    torch.testing.assert_close(found, attend_to_all(net.core, features))
    (gradient,) = torch.autograd.grad(found[2].sum(), features)
    assert (gradient[:3].abs().sum((1, 2)) > 0).all()
    assert not gradient[3:].any()


def test_the_heads_of_a_transformer_divide_its_units():
    with pytest.raises(ValueError, match=r"--hidden 30: --core transformer needs a multiple of 4, its heads"):
        RecurrentAttention(Architecture(glimpse=64, classes=10, horizon=7, hidden=30, core="transformer"))


@pytest.mark.parametrize("core", ["rnn", "lstm", "transformer"])
@pytest.mark.parametrize("where", ["linear", "fourier"])
def test_the_locator_learns_from_the_policy_and_not_from_the_classes(core, where):
    net = network(core=core, location_encoding=where)
    heads, _ = looked(net)
    heads.logits.sum().backward(retain_graph=True)
    assert net.locator.weight.grad is None
    assert net.classifier.weight.grad.abs().sum() > 0
    heads.location_parameters.sum().backward()
    assert net.locator.weight.grad.abs().sum() > 0


def test_confidence_features_pass_no_gradient_to_the_classifier():
    net = network(stop_input="confidence")
    nn.init.ones_(net.stopper[2].weight)
    looked(net)[0].stop.sum().backward()
    assert net.classifier.weight.grad is None
    assert net.stopper[0].weight.grad.abs().sum() > 0


def test_the_state_stop_head_reaches_the_core():
    net = network(stop_input="state")
    nn.init.ones_(net.stopper[2].weight)
    looked(net)[0].stop.sum().backward()
    assert net.core.recur.weight.grad is not None


def test_the_baseline_does_not_shape_the_state():
    net = network()
    looked(net)[0].baseline.sum().backward()
    assert net.glimpse.what[0].weight.grad is None
    assert net.baseline.weight.grad.abs().sum() > 0


def test_confidence_features_by_hand():
    logits = torch.tensor([[0.7, 0.2, 0.1]]).log()
    features = confidence(logits, torch.tensor([[0.0, 1.0]]))[0]
    p = torch.tensor([0.7, 0.2, 0.1])
    assert features[0].item() == pytest.approx(torch.tensor(0.7 / 0.3).log().item(), abs=1e-4)
    assert features[1].item() == pytest.approx(0.5, abs=1e-4)
    assert features[2].item() == pytest.approx((-(p * p.log()).sum()).log().item(), abs=1e-4)
    assert features[3:].tolist() == [0, 1]


def test_confidence_features_are_finite_when_sure():
    assert confidence(torch.tensor([[100.0, 0.0, -100.0]]), torch.zeros(1, 0)).isfinite().all()


def test_convolutions_see_a_pattern_wherever_it_lies():
    torch.manual_seed(0)
    sizes = {"glimpse": 1024, "classes": 2, "horizon": 3, "hidden": 8, "features": 8}
    net = RecurrentAttention(Architecture(**sizes, glimpse_encoder="conv"))
    pattern = torch.zeros(2, 32, 32)
    pattern[0, 11:14, 11:14] = pattern[1, 11:14, 17:20] = torch.rand(3, 3)
    what = net.glimpse.what
    first, moved = what.patterns(pattern.flatten(1))
    assert torch.allclose(first, moved, atol=1e-6)
    first, moved = what.places(pattern.flatten(1))
    assert not torch.allclose(first, moved, atol=1e-3)
    with pytest.raises(ValueError, match="at least 12 x 12 pixels, got 8 x 8"):
        network(glimpse_encoder="conv")


def build_templates(**changed):
    """Return a network that looks for templates in two windows of 16 x 16 pixels."""
    sizes = {"glimpse": 512, "classes": 2, "horizon": 3, "hidden": 8, "features": 8, "encoder_layers": 1}
    choice = {"glimpse_encoder": "templates", "templates": (7, 5), "channels": 2}
    return RecurrentAttention(Architecture(**sizes | choice | changed))


def test_templates_recognise_a_pattern_wherever_it_lies_and_tell_where():
    torch.manual_seed(0)
    what = build_templates().glimpse.what
    windows = torch.zeros(2, 2, 16, 16)
    pattern = torch.rand(3, 3)
    windows[0, 0, 4:7, 4:7] = windows[1, 0, 9:12, 9:12] = pattern
    first, moved = what(windows.flatten(1))
    assert torch.allclose(first[:4], moved[:4], atol=1e-5)  # the maxima of the window
    assert not torch.allclose(first[4:], moved[4:], atol=1e-3)  # those of its cells


def test_templates_are_a_convolution_of_each_window():
    torch.manual_seed(0)
    window, layer = torch.rand(3, 2, 16, 16), torch.nn.Linear(2 * 25, 4)
    kernel = layer.weight.view(4, 2, 5, 5)
    expected = torch.nn.functional.conv2d(window, kernel, layer.bias)
    assert torch.allclose(compare(window, layer, 5), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"templates": (1, 5)}, "--template covers 1, 5 pixels .* of 16 each: use one that covers 2 to 14"),
        ({"templates": (15, 5)}, "use one that covers 2 to 14"),
        ({"encoder_layers": 0}, "--glimpse-encoder templates needs at least 1"),
        ({"glimpse": 512, "channels": 512}, "needs glimpses of at least 4 x 4 pixels, got 1 x 1"),
    ],
)
def test_templates_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        build_templates(**changed)


def test_the_shortcut_reads_the_present_glimpse_past_the_core():
    net = network(skip_connection=True)
    torch.nn.init.zeros_(net.classifier.weight)  # nothing through the state
    torch.nn.init.zeros_(net.classifier.bias)
    looked(net)[0].logits.sum().backward()
    assert net.glimpse.what[0].weight.grad.abs().sum() > 0
    assert net.core.recur.weight.grad is None or net.core.recur.weight.grad.abs().sum() == 0


def test_rows_do_not_see_each_other():
    net = network()
    observation = observe(torch.rand(4, 1, 8, 8), torch.rand(4, 2))
    together = net(observation, net.begin(4))[0].logits
    alone = net({name: value[1:2] for name, value in observation.items()}, net.begin(1))[0].logits
    assert torch.allclose(together[1:2], alone, atol=1e-6)


def test_mean_scores_are_the_mean_of_each_glimpse_own_scores():
    once, mean = network(skip_connection=True), network(skip_connection=True, scores="mean")
    mean.load_state_dict(once.state_dict())
    first, second = (torch.rand(3, 1, 8, 8) for _ in range(2))
    states, found, own = [mean.begin(3), once.begin(3)], [], []
    for t, glimpse in enumerate((first, second), 1):
        observation = observe(glimpse, torch.zeros(3, 2), t)
        (heads, states[0]), (single, states[1]) = mean(observation, states[0]), once(observation, states[1])
        found.append(heads.logits)
        own.append(single.logits)
    assert torch.allclose(found[0], own[0], atol=1e-5)
    assert torch.allclose(found[1], (own[0] + own[1]) / 2, atol=1e-5)


def test_dropout_acts_in_training_only():
    net = network(dropout=0.5)
    observation = observe(torch.ones(4, 1, 8, 8), torch.zeros(4, 2))
    logits = net(observation, net.begin(4))[0].logits
    assert not torch.allclose(logits[0], logits[1])
    net.eval()
    logits = net(observation, net.begin(4))[0].logits
    assert torch.allclose(logits[0], logits[1])


@pytest.mark.parametrize("where", ["linear", "fourier", "none"])
def test_without_encoder_layers_the_glimpse_itself_is_fused_with_the_location(where):
    net = network(encoder_layers=0, location_encoding=where, skip_connection=True)
    heads, _ = looked(net)
    heads.logits.sum().backward()
    assert net.core.input.weight.grad.abs().sum() > 0
    assert net.core.input.in_features == (64 if where == "none" else 32)


def test_features_go_straight_into_the_recurrent_layer():
    """DT-RAM on photographs: h = ReLU(feature + W h), where the feature is one linear layer; no location."""
    net = network(core="rnn", encoder_layers=0, location_encoding="none")
    glimpse, state = torch.rand(5, 1, 8, 8), net.begin(5)._replace(hidden=torch.rand(5, 32))
    _, after = net(observe(glimpse, torch.rand(5, 2)), state)
    expected = (net.core.input(glimpse.flatten(1)) + net.core.recur(state.hidden)).relu()
    assert torch.allclose(after.hidden, expected)


def test_a_linear_stop_head_without_a_clamp_is_one_layer_on_the_state():
    net = network(stop_input="state", stop_hidden=0, stop_clamp=0.0)
    assert [type(layer) for layer in net.stopper] == [nn.Linear]
    nn.init.constant_(net.stopper[0].bias, 50.0)
    assert looked(net)[0].stop.tolist() == [50.0] * 5
    clamped = network(stop_input="state", stop_hidden=0)
    nn.init.constant_(clamped.stopper[0].bias, 50.0)
    assert looked(clamped)[0].stop.tolist() == [10.0] * 5


def test_convolutions_need_a_layer():
    with pytest.raises(ValueError, match="--encoder-layers 0: --glimpse-encoder conv needs at least 1"):
        RecurrentAttention(Architecture(144, 10, 7, glimpse_encoder="conv", encoder_layers=0))


def test_uniform_initial_weights_are_within_a_tenth():
    """DT-RAM's code on MNIST: every number, the stop head's too, which otherwise starts constant."""
    for name, value in network(initial_weights="uniform").named_parameters():
        assert 0 < value.abs().max() <= 0.1, name
    net = network(initial_weights="uniform", location_bound="hardtanh")
    assert net.location_policy.bound == "hardtanh"
    assert net.core.recur.weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.1)
