"""The map locator: finds patterns anywhere, remembers earlier glimpses, and learns from the policy alone."""

import pytest
import torch

from glimpse_env.networks.map_locator import MapLocator
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
