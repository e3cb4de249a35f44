"""A checkpoint names its network and is rebuilt from the name."""

from dataclasses import asdict

import pytest
import torch

from glimpse_env.networks import registry
from glimpse_env.networks.double_decker import DeckSizes
from glimpse_env.networks.location_policy import Gaussian, GridSoftmax
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention


def test_a_network_is_rebuilt_from_what_a_checkpoint_says():
    network = RecurrentAttention(Architecture(glimpse=16, classes=3, horizon=2, hidden=8, features=8))
    name = registry.find_name(network)
    saved = {"architecture": asdict(network.architecture), "network": network.state_dict()}
    for named in ({"network_name": name}, {}):  # early checkpoints carry no name
        again = registry.rebuild(saved | named)
        assert type(again) is RecurrentAttention
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())


def test_a_checkpoint_keeps_its_location_policy_and_an_earlier_one_has_the_gaussian():
    sizes = {"glimpse": 16, "classes": 3, "horizon": 2, "hidden": 8, "features": 8}
    network = RecurrentAttention(Architecture(**sizes, location_policy="grid_softmax", grid=3))
    saved = {"architecture": asdict(network.architecture), "network": network.state_dict()}
    assert registry.rebuild(saved).location_policy == GridSoftmax(3)
    network = RecurrentAttention(Architecture(**sizes))
    fields = asdict(network.architecture)
    del fields["location_policy"], fields["grid"]
    saved = {"architecture": fields, "network": network.state_dict()}
    assert registry.rebuild(saved).location_policy == Gaussian()


def test_architectures_of_earlier_versions_have_other_names():
    sizes = {"glimpse": 256, "classes": 3, "horizon": 2}
    old = {**sizes, "depth": 1, "what": "conv", "where": "linear", "shortcut": True}
    new = {"encoder_layers": 1, "glimpse_encoder": "conv", "location_encoding": "linear"}
    expected = Architecture(**sizes, **new, skip_connection=True)
    assert registry.read_architecture({"architecture": old}) == expected
    old = {"glimpse": 48, "classes": 3, "scales": 3, "depth": 2, "place": 8}
    found = registry.read_architecture({"architecture": old, "network_name": "double_decker"})
    assert found == DeckSizes(48, 3, 3, encoder_layers=2, location_features=8)


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(ValueError, match="called 'perceiver': expected one of recurrent"):
        registry.rebuild({"network_name": "perceiver"})
