"""Zoom in the networks: location and scale are drawn and scored together, and the scale is read."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch.distributions import Independent, Normal

from glimpse_env.networks.base import Heads
from glimpse_env.networks.double_decker import DeckSizes, DoubleDecker
from glimpse_env.networks.fixed_policies import Fixed, Uniform, build_unlearned
from glimpse_env.networks.location_policy import Gaussian, build_learned
from glimpse_env.networks.recurrent_attention import Architecture, LocationEncoding, RecurrentAttention
from glimpse_env.training import reinforce
from glimpse_env.training.rollout import Behaviour, collect

SIDE, GLIMPSE, CLASSES, HORIZON = 12, 4, 5, 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ram(**changes):
    torch.manual_seed(0)
    sizes = {"hidden": 12, "features": 8, "axes": 3}
    return RecurrentAttention(Architecture(GLIMPSE**2, CLASSES, HORIZON, **(sizes | changes)))


def observe(rows=6, step=1, **changes):
    generator = seeded(step)
    values = {"glimpse": torch.rand(rows, 1, GLIMPSE, GLIMPSE, generator=generator)}
    values |= {"location": torch.rand(rows, 2, generator=generator) * 2 - 1}
    values |= {"scale": torch.rand(rows, 1, generator=generator) * 2 - 1}
    return values | {"step": torch.full((rows, 1), step / HORIZON)} | changes


@pytest.fixture
def env(make):
    return make(6, autoreset_mode=AutoresetMode.DISABLED, zoom=(1.0, 3.0))


def test_the_log_probability_is_that_of_one_gaussian_over_location_and_scale():
    mean = torch.rand(50, 3) * 2 - 1
    policy = build_learned("gaussian", 5, axes=3)
    assert policy == Gaussian(axes=3)
    policy = policy.narrow(0.2)
    assert (policy.num_parameters, policy.axes) == (3, 3)
    action = policy.sample(mean, seeded())
    expected = Independent(Normal(mean, 0.2), 1).log_prob(action)
    torch.testing.assert_close(policy.log_prob(mean, action), expected)
    deviation = (policy.sample(mean.expand(400, 50, 3).reshape(-1, 3), seeded()).view(400, 50, 3) - mean).std(
        0
    )
    torch.testing.assert_close(deviation, torch.full_like(deviation, 0.2), rtol=0.15, atol=0)


def test_cells_have_no_scale():
    with pytest.raises(ValueError, match=r"grid_softmax.*no scale.*gaussian"):
        ram(location_policy="grid_softmax")


def test_unlearned_policies_choose_a_scale_too():
    parameters = torch.zeros(40_000, 2)
    policies = [build_unlearned(name, 3, 3) for name in ("random", "center", "grid")]
    assert policies == [Uniform(3), Fixed("center", 3, 3), Fixed("grid", 3, 3)]
    drawn = Uniform(3).sample(parameters, seeded())
    assert drawn.mean(0).tolist() == pytest.approx([0, 0, 0], abs=0.02)
    assert drawn.var(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert Fixed("center", 3, 3).mode(parameters[:2], 4).tolist() == [[0, 0, 0]] * 2
    steps = torch.stack([Fixed("grid", 3, 3).mode(parameters[:1], index)[0] for index in range(9)])
    assert torch.equal(
        steps[:, :2], torch.stack([Fixed("grid", 3).mode(parameters[:1], i)[0] for i in range(9)])
    )
    assert steps[:, 2].tolist() == [0] * 9
    assert Fixed("center", 3, 3).first(None, 2, seeded()).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("encoding", get_args(LocationEncoding))
@pytest.mark.parametrize("core", ["rnn", "lstm"])
def test_the_network_reads_the_scale_as_part_of_the_location(encoding, core):
    network = ram(location_encoding=encoding, core=core).eval()
    seen = observe()
    heads, _ = network(seen, network.begin(6))
    others, _ = network(seen | {"scale": -seen["scale"]}, network.begin(6))
    moved, _ = network(seen | {"location": -seen["location"]}, network.begin(6))
    assert torch.equal(heads.logits, others.logits) == (encoding == "none")
    assert torch.equal(heads.logits, moved.logits) == (encoding == "none")
    assert heads.location_parameters.shape == (6, 3)
    assert heads.location_parameters.abs().max() < 0.5  # near the middle at first


def test_without_zoom_the_network_has_the_same_weights():
    torch.manual_seed(0)
    before = RecurrentAttention(
        Architecture(GLIMPSE**2, CLASSES, HORIZON, hidden=12, features=8)
    ).state_dict()
    after = ram(axes=2).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("locator", ["state", "map"])
def test_the_policy_gradient_reaches_the_scale(make, locator):
    env = make(6, autoreset_mode=AutoresetMode.DISABLED, zoom=(1.0, 3.0), first_view="image")
    network = ram(locator=locator, reach=env.sensor.reach)
    behaviour = Behaviour(HORIZON, network.location_policy.narrow(0.3))
    rollout = collect(env, network, behaviour, seeded(), torch.arange(6))
    assert rollout.locations.shape == (HORIZON, 6, 3)
    advantage = torch.ones(HORIZON - 1, 6)
    loss = reinforce.policy_loss(rollout.location_log_prob[:-1], advantage, rollout.active[:-1])
    loss.backward()
    proposes = network.locator.weight.grad[2] if locator == "state" else network.scaler.weight.grad[0]
    assert proposes.norm() > 0


def test_locations_and_scales_that_are_drawn_are_those_taken_and_scored(env):
    """The log-probability of a step belongs to the location and scale that the next observation shows."""
    network, policy = ram(learned_start=True), Gaussian(0.05, axes=3)
    rollout = collect(env, network, Behaviour(HORIZON, policy), seeded(), torch.arange(6))
    state, parameters = network.start(6, None)
    scored = [policy.log_prob(parameters, rollout.locations[0])]
    env.reset(
        options={
            "indices": torch.arange(6),
            "locations": rollout.locations[0, :, :2],
            "scales": rollout.locations[0, :, 2:],
        }
    )
    for step in range(HORIZON - 1):
        seen = env._observation
        heads, state = network(seen, state)
        scored.append(policy.log_prob(heads.location_parameters, rollout.locations[step + 1]))
        location = rollout.locations[step + 1]
        action = {
            "location": location[:, :2],
            "scale": location[:, 2:],
            "stop": torch.zeros(6, dtype=torch.bool),
        }
        env.step(action | {"prediction": heads.logits.softmax(1).detach()})
    assert rollout.locations.abs().max() < 1  # nothing was clamped
    torch.testing.assert_close(torch.stack(scored[1:]), rollout.location_log_prob[:-1])
    torch.testing.assert_close(scored[0], rollout.first_log_prob)


def test_the_double_decker_proposes_and_reads_the_scale(make):
    env = make(6, autoreset_mode=AutoresetMode.DISABLED, zoom=(1.0, 3.0), context=True)
    torch.manual_seed(0)
    network = DoubleDecker(DeckSizes(GLIMPSE**2, CLASSES, 1, hidden=16, features=8, encoder_layers=1, axes=3))
    policy = network.location_policy.narrow(0.1)
    rollout = collect(env, network, Behaviour(2, policy), seeded(), torch.arange(6))
    assert rollout.locations.shape == (2, 6, 3)
    assert rollout.locations[0, :, 2].unique().numel() == 6  # glimpse 1 too
    rollout.logits.sum().backward()  # through the location that the class deck reads
    assert network.locator.weight.grad[2].norm() > 0


def test_a_step_of_most_probable_actions_takes_the_mean(env):
    network = ram().eval()
    rollout = collect(env, network, Behaviour(2), seeded(), torch.arange(6))
    assert rollout.locations[0, :, 2].tolist() == [1.0] * 6
    env.reset(options={"indices": torch.arange(6)})
    heads: Heads = network(env._observation, network.begin(6))[0]
    torch.testing.assert_close(rollout.locations[1], heads.location_parameters.detach())
