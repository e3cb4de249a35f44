"""The map locator: finds patterns anywhere, remembers earlier glimpses, and learns from the policy alone."""

import pytest
import torch

from glimpse_env.evaluation.stopping_rules import Rule, RuledAgent
from glimpse_env.networks.map_locator import MapEncoder, MapLocator
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention


def blob(x: int, y: int, side: int = 16) -> torch.Tensor:
    view = torch.zeros(1, side, side)
    view[0, y : y + 2, x : x + 2] = 1
    return view


def looking_at_bright_cells(side: int = 16) -> MapLocator:
    """A locator whose scores are 100 x the view - 200 x the marks."""
    locator = MapLocator(1, side, reach=0.8)
    for convolution in (locator.scores[0], locator.scores[2]):
        torch.nn.init.zeros_(convolution.weight)
        torch.nn.init.zeros_(convolution.bias)
    with torch.no_grad():
        locator.scores[0].weight[0, 0, 1, 1] = locator.scores[0].weight[1, 1, 1, 1] = 1
        locator.scores[2].weight[0, 0, 1, 1] = 100
        locator.scores[2].weight[0, 1, 1, 1] = -200
    return locator


def test_the_place_is_where_the_scores_are():
    place = looking_at_bright_cells()(blob(3, 10).flatten(1), torch.zeros(1, 256))
    centre = torch.tensor([[(3 + 1) / 8 - 1, (10 + 1) / 8 - 1]])
    expected = centre / 0.8  # in units of the reachable image
    assert torch.allclose(place, expected, atol=1e-4)


def test_a_shifted_view_shifts_the_scores():
    torch.manual_seed(0)
    locator = MapLocator(1, 16, reach=1.0)
    maps = [locator.scores(torch.cat((blob(x, 6), torch.zeros(1, 16, 16)))[None])[0, 0] for x in (5, 8)]
    assert torch.allclose(maps[0][2:14, 2:11], maps[1][2:14, 5:14], atol=1e-5)
    assert not torch.allclose(maps[0], maps[1], atol=1e-3)


def test_places_that_were_visited_lose():
    locator = looking_at_bright_cells()
    view = (blob(3, 10) + blob(11, 4)).flatten(1)
    first = locator(blob(3, 10).flatten(1), torch.zeros(1, 256))
    second = locator(view, locator.mark(first))
    assert torch.allclose(second, torch.tensor([[0.5, -0.375]]) / 0.8, atol=0.05)


def test_the_mark_is_one_at_its_centre_and_fades():
    locator = MapLocator(1, 16, reach=1.0)
    mark = locator.mark(locator.centres[[37]])[0]
    assert mark[37] == 1
    assert mark.argmax() == 37
    assert mark[39] < 0.5
    assert mark.min() >= 0


def test_only_the_policy_moves_it():
    torch.manual_seed(0)
    sizes = {"glimpse": 256, "classes": 5, "horizon": 3, "hidden": 16, "features": 16}
    net = RecurrentAttention(Architecture(**sizes, locator="map"))
    state = net.begin(2)
    for step in (1, 2):
        observation = {"glimpse": torch.rand(2, 1, 16, 16), "location": torch.zeros(2, 2)}
        observation["step"] = torch.full((2, 1), step / 3)
        heads, state = net(observation, state)
        if step == 1:
            view = observation["glimpse"].flatten(1)
            assert (state.visited == 0).all()  # the first view is no visit
    assert torch.equal(state.view, view)
    assert state.visited.max() > 0.8
    heads.logits.sum().backward(retain_graph=True)
    assert net.locator.scores[0].weight.grad is None
    heads.location_parameters.sum().backward()
    assert net.locator.scores[0].weight.grad.abs().sum() > 0


def test_a_learned_first_place_is_refused():
    net = RecurrentAttention(Architecture(256, classes=5, horizon=3, locator="map", learned_start=True))
    with pytest.raises(ValueError, match="learned_start needs locator='state'"):
        net.start(2, None)


def test_scores_at_the_centres_of_cells_are_those_of_the_map():
    torch.manual_seed(0)
    locator, view, visited = MapLocator(2, 5, reach=0.6), torch.rand(3, 50), torch.rand(3, 25)
    scores = locator.score(view, visited).flatten(1)
    at_centres = locator.score_locations(view, visited, locator.centres / 0.6)
    torch.testing.assert_close(at_centres, scores, rtol=1e-4, atol=1e-4)
    between = (locator.centres[[6]] + locator.centres[[7]]) / 2 / 0.6
    expected = (scores[:, [6]] + scores[:, [7]]) / 2
    torch.testing.assert_close(locator.score_locations(view, visited, between), expected)


def test_the_scale_of_features_does_not_count():
    torch.manual_seed(0)
    encoder, maps = MapEncoder(6, 0.0), torch.rand(2, 6, 3, 3)
    torch.testing.assert_close(encoder(maps * 7), encoder(maps), rtol=1e-4, atol=1e-5)
    assert encoder(torch.zeros(2, 6, 3, 3)).isfinite().all()


def build_on_features(policy="gaussian"):
    torch.manual_seed(0)
    sizes = {"glimpse": 6, "classes": 5, "horizon": 3, "hidden": 16, "features": 16, "grid": 3}
    sizes |= {"locator": "map", "map_shape": (6, 4), "reach": 0.5, "location_policy": policy}
    return RecurrentAttention(Architecture(**sizes))


@pytest.mark.parametrize("policy", ["gaussian", "grid_softmax"])
def test_on_features_only_the_policy_moves_it(policy):
    """REINFORCE reaches the locator and the map's encoder; the class scores do not, nor depend on the map."""
    net, maps = build_on_features(policy), torch.rand(2, 6, 4, 4)
    state, first = net.start(2, net.encode_map(maps))
    other, _ = net.start(2, net.encode_map(maps.flip(3)))
    assert first is None  # glimpse 1 is the whole image
    for step in (1, 2):
        observation = {"glimpse": torch.rand(2, 6), "location": torch.rand(2, 2)}
        observation["step"] = torch.full((2, 1), step / 3)
        heads, state = net(observation, state)
        others, other = net(observation, other)
    assert torch.equal(heads.logits, others.logits)
    assert not torch.equal(heads.location_parameters, others.location_parameters)
    assert state.visited.max() > 0.5
    moved = (net.locator.scores[0].weight, net.map_encoder.project.weight)
    heads.logits.sum().backward(retain_graph=True)
    assert all(weight.grad is None for weight in moved)
    heads.location_parameters[:, 0].sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in moved)


def test_a_network_that_reads_maps_needs_them():
    net = build_on_features()
    assert net.reads_map
    with pytest.raises(ValueError, match="scores the feature map of the first view: choose the images"):
        net.start(2, None)
    ruled, maps = RuledAgent(net, Rule("horizon", 0.0)), torch.rand(2, 6, 4, 4)
    assert ruled.reads_map
    assert torch.equal(ruled.encode_map(maps), net.encode_map(maps))
