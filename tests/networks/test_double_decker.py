"""The double-decker network: what reaches what, and with which gradient."""

import pytest
import torch
from gymnasium.vector import AutoresetMode

from glimpse_env import GlimpseVectorEnv
from glimpse_env.networks.double_decker import DeckSizes, DoubleDecker
from glimpse_env.networks.fixed_policies import Uniform
from glimpse_env.networks.location_policy import Gaussian
from glimpse_env.training import reinforce
from glimpse_env.training.rollout import Behaviour, attach_gradient, collect

ROWS, STEPS, PATCH = 6, 3, 16


def network(**options):
    torch.manual_seed(0)
    sizes = {"glimpse": 3 * PATCH, "classes": 4, "scales": 3, "hidden": 24, "location_features": 8}
    net = DoubleDecker(DeckSizes(**sizes, features=12, **options))
    torch.nn.init.normal_(net.locator.weight, std=0.3)
    return net


def glimpse_at(location, number=1, generator=None):
    """Return an observation of random pixels."""
    glimpse = torch.rand(ROWS, 3 * PATCH, generator=generator)
    return {"glimpse": glimpse, "location": location, "step": torch.full((ROWS, 1), number / STEPS)}


def looked(net, context, through):
    """Return logits and means of three glimpses, each at the last mean: with its gradient, or held fixed."""
    generator = torch.Generator().manual_seed(1)
    state, mean = net.start(ROWS, context)
    logits, means = [], [mean]
    for t in range(1, STEPS + 1):
        observation = glimpse_at(mean.detach(), t, generator)
        heads, state = net(attach_gradient(observation, mean, 1.0) if through else observation, state)
        mean = heads.location_parameters
        logits.append(heads.logits)
        means.append(mean)
    return torch.stack(logits), torch.stack(means)


@pytest.mark.parametrize("depth", [0, 2])
def test_with_the_locations_held_fixed_the_class_scores_do_not_see_the_context(depth):
    net = network(encoder_layers=depth)
    context = torch.rand(ROWS, PATCH, requires_grad=True)
    logits, means = looked(net, context, through=False)
    assert torch.autograd.grad(logits.sum(), context, allow_unused=True, retain_graph=True)[0] is None
    for mean in means:
        assert torch.autograd.grad(mean.sum(), context, retain_graph=True)[0].abs().sum() > 0


def test_with_the_locations_held_fixed_another_context_gives_the_same_scores():
    net = network()
    observation = glimpse_at(torch.rand(ROWS, 2))
    (one, _), (other, _) = (net(observation, net.start(ROWS, torch.rand(ROWS, PATCH))[0]) for _ in range(2))
    assert torch.equal(one.logits, other.logits)
    assert not torch.allclose(one.location_parameters, other.location_parameters)


@pytest.mark.parametrize("depth", [0, 2])
def test_through_the_location_the_class_scores_reach_context_and_location_deck(depth):
    net = network(encoder_layers=depth)
    context = torch.rand(ROWS, PATCH, requires_grad=True)
    logits, _ = looked(net, context, through=True)
    for t in range(STEPS):
        net.zero_grad()
        assert torch.autograd.grad(logits[t].sum(), context, retain_graph=True)[0].abs().sum() > 0
        logits[t].sum().backward(retain_graph=True)
        for module in (net.locator, net.core.begin):
            assert module.weight.grad.abs().sum() > 0
        reached = net.core.across.weight.grad.abs().sum() > 0
        assert reached == (t > 0)  # r1 leads to the second location, and so to its scores


def test_the_attached_location_keeps_its_value_and_carries_a_share_of_the_gradient():
    mean = torch.rand(4, 2, requires_grad=True)
    place = torch.rand(4, 2)
    for share in (1.0, 0.25):
        told = attach_gradient({"location": place}, mean, share)["location"]
        torch.testing.assert_close(told, place)
        torch.testing.assert_close(torch.autograd.grad(told.sum(), mean)[0], torch.full((4, 2), share))
    assert attach_gradient({"location": place}, mean, 0.0)["location"] is place
    assert attach_gradient({"location": place}, None, 1.0)["location"] is place


def test_the_baseline_shapes_no_deck_and_nothing_stops_early():
    net = network()
    observation = glimpse_at(torch.rand(ROWS, 2))
    heads, _ = net(observation, net.start(ROWS, torch.rand(ROWS, PATCH))[0])
    heads.baseline.sum().backward()
    assert net.glimpse.fuse.weight.grad is None
    assert net.baseline.weight.grad.abs().sum() > 0
    assert (heads.stop < -5).all()  # it never stops by itself


def test_all_patches_and_the_context_are_seen_through_the_same_layers():
    net = network(encoder_layers=1)
    patches = torch.rand(1, 3, PATCH)
    wide = net.glimpse.patch(patches).flatten(1)
    apart = torch.cat([net.glimpse.patch(patches[:, scale]) for scale in range(3)], 1)
    torch.testing.assert_close(wide, apart)
    assert net.core.begin.in_features == net.glimpse.width == 12


def test_templates_are_others_in_each_patch_and_in_the_context():
    net = network(encoder_layers=1, templates=(2, 2, 2, 2))
    patches = torch.rand(5, 3, PATCH)
    features = net.glimpse.encode(patches.flatten(1))
    apart = [encoder(patches[:, i]) for i, encoder in enumerate(net.glimpse.patterns[:3])]
    torch.testing.assert_close(features, torch.cat(apart, 1))
    context = net.glimpse.encode_context(patches[:, 2])
    torch.testing.assert_close(context, net.glimpse.patterns[3](patches[:, 2]))
    assert not torch.allclose(context, apart[2])


def test_a_softmax_over_cells_proposes_the_first_location_from_the_context():
    net = network(location_policy="grid_softmax", grid=4)
    _, parameters = net.start(ROWS, torch.rand(ROWS, PATCH))
    assert parameters.shape == (ROWS, 16)
    torch.testing.assert_close(parameters.exp().sum(1), torch.ones(ROWS))
    heads, _ = net(glimpse_at(torch.rand(ROWS, 2)), net.begin(ROWS))
    torch.testing.assert_close(heads.location_parameters.exp().sum(1), torch.ones(ROWS))


def test_without_a_context_it_says_so():
    message = "proposes glimpse 1 from a context: make the environment with context=True"
    with pytest.raises(ValueError, match=message):
        network().start(ROWS, None)


# In the environment


@pytest.fixture(scope="module")
def env():
    look = {"glimpse_size": 7, "scales": (1.0, 2.0, 4.0), "location_range": 1.0, "fill": "noise"}
    look |= {"context": True, "max_glimpses": STEPS}
    return GlimpseVectorEnv(32, "mnist", split="validation", autoreset_mode=AutoresetMode.DISABLED, **look)


def digits(**options):
    torch.manual_seed(0)
    sizes = {"glimpse": 3 * 49, "classes": 10, "scales": 3, "hidden": 24, "encoder_layers": 1}
    return DoubleDecker(DeckSizes(**sizes, **options))


def rolled(env, net, policy=None):
    env.reset(seed=0)
    return collect(env, net, Behaviour(STEPS, policy), torch.Generator().manual_seed(1), torch.arange(32))


def supervise(rollout):
    reinforce.supervision_loss(rollout.logits, rollout.labels, rollout.active, True).backward()


def test_glimpse_one_is_taken_where_the_context_proposes(env):
    net = digits()
    torch.nn.init.normal_(net.locator.weight, std=0.5)
    with torch.no_grad():
        _, mean = net.start(32, env.sensor.context(torch.arange(32)))
    rollout = rolled(env, net)
    torch.testing.assert_close(rollout.locations[0], mean)
    assert rollout.locations[0].std(0).min() > 0.01  # not one place for all


@pytest.mark.parametrize(
    ("share", "policy", "reached"),
    [(1.0, Gaussian(0.1), True), (0.0, Gaussian(0.1), False), (1.0, Uniform(), False)],
)
def test_class_scores_teach_the_location_deck_only_through_places_it_chose(env, share, policy, reached):
    net = digits(location_gradient=share)
    supervise(rolled(env, net, policy))
    gradient = net.core.begin.weight.grad
    assert (gradient is not None and gradient.abs().sum().item() > 0) == reached


def test_reinforce_teaches_the_location_deck_without_the_class_scores(env):
    net = digits(location_gradient=0.0)
    rollout = rolled(env, net, Gaussian(0.1))
    rollout.first_log_prob.sum().backward(retain_graph=True)
    assert net.core.begin.weight.grad.abs().sum() > 0
    net.zero_grad()
    reinforce.policy_loss(rollout.location_log_prob, torch.rand(STEPS, 32), rollout.active).backward()
    assert net.core.across.weight.grad.abs().sum() > 0


def test_the_gradient_through_the_location_is_that_of_the_reparametrised_sample(env):
    """A class deck that reads the location alone: the gradient by hand is that of f(mean + sigma * noise)."""
    net = digits()
    torch.nn.init.zeros_(net.glimpse.fuse.weight[:, : -net.architecture.location_features].data)
    rollout = rolled(env, net, Gaussian(0.05))
    rollout.logits[0].square().sum().backward()
    found = net.locator.bias.grad.clone()
    net.zero_grad()
    state, mean = net.start(32, env.sensor.context(torch.arange(32)))
    place = mean + (rollout.locations[0] - mean.detach())
    heads, _ = net({"glimpse": torch.zeros(32, 3 * 49), "location": place}, state)
    heads.logits.square().sum().backward()
    torch.testing.assert_close(found, net.locator.bias.grad)
