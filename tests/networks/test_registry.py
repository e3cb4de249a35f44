"""A checkpoint names its network and is rebuilt from the name."""

from dataclasses import asdict

import pytest
import torch

from glimpse_env.networks import registry
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention


def test_a_network_is_rebuilt_from_what_a_checkpoint_says():
    network = RecurrentAttention(Architecture(glimpse=16, classes=3, horizon=2, hidden=8, features=8))
    name = registry.name_of(network)
    saved = {"architecture": asdict(network.architecture), "network": network.state_dict()}
    for again in (registry.rebuilt(saved | {"network_name": name}), registry.rebuilt(saved)):  # early checkpoints carry no name
        assert type(again) is RecurrentAttention
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(ValueError, match="called 'perceiver': expected one of recurrent"):
        registry.rebuilt({"network_name": "perceiver"})
