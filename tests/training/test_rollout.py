"""Rollouts and evaluation: masks, exact log-probabilities, every stopping rule from one trajectory."""

import math

import dtram_reinforce
import pytest
import ram_reinforce
import torch
from dtram_reinforce import StopOptions
from gymnasium.vector import AutoresetMode

from glimpse_env import Delayed, GlimpseVectorEnv, rewards
from glimpse_env.evaluation import metrics, trajectories
from glimpse_env.networks.fixed_policies import Fixed, Uniform, order_cells
from glimpse_env.networks.location_policy import Gaussian
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.training import environments, reinforce
from glimpse_env.training import rollout as rollout_module
from glimpse_env.training.rollout import Behaviour, collect


@pytest.fixture(scope="module")
def env():
    return GlimpseVectorEnv(
        32, "mnist", split="validation", reward=Delayed(0.9), autoreset_mode=AutoresetMode.DISABLED
    )


@pytest.fixture
def agent():
    torch.manual_seed(0)
    network = RecurrentAttention(Architecture(glimpse=64, classes=10, horizon=7, hidden=32, features=16))
    torch.nn.init.normal_(network.stopper[2].weight, std=0.2)  # a stop head with opinions
    torch.nn.init.zeros_(network.stopper[2].bias)
    return network


def ram_losses(rollout, sampled_stops=False):
    options = StopOptions(samples=2, policy_weight=1.0, location_discount=1.0)
    return ram_reinforce.losses(rollout, options, sampled_stops)


def rolled(env, agent, **behaviour):
    generator = torch.Generator().manual_seed(1)
    env.reset(seed=0)
    return collect(env, agent, Behaviour(7, **behaviour), generator)


def test_reward_is_gamma_to_the_t_for_right_answers_only(env, agent):
    rollout = rolled(env, agent, policy=Gaussian(0.1), stop="sample")
    taken = rollout.active.sum(0)
    right = (rollout.correct & rollout.stopped).any(0)
    assert taken.unique().numel() > 1
    assert torch.allclose(rollout.rewards.sum(0), 0.9**taken * right)
    assert (rollout.rewards[~rollout.stopped] == 0).all()
    assert (rollout.stopped.sum(0) == 1).all()


@pytest.mark.parametrize("behaviour", [{"stop": "sample"}, {"sure": 0.3}, {"stop": "sample", "sure": 0.3}])
def test_leaving_out_ended_rows_changes_nothing_but_the_work(env, agent, behaviour, monkeypatch):
    """The same actions, rewards, losses and gradients as of all rows, from fewer rows through the network."""
    with torch.no_grad():
        agent.classifier.weight.mul_(50)
    sizes = []
    agent.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0]["step"])))

    def gradients():
        agent.zero_grad()
        rollout = rolled(env, agent, policy=Gaussian(0.1), **behaviour)
        sum(ram_losses(rollout, True).values()).backward()
        return rollout, [value.grad for value in agent.parameters() if value.grad is not None]

    compact, found = gradients()
    assert sizes[0] == 32 > sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    block = 32 // rollout_module.BLOCKS
    assert sizes[1:] == [max(-(-int(count) // block), 1) * block for count in compact.active.sum(1)][1:]
    monkeypatch.setattr(rollout_module.RunningRows, "leave_out", lambda _, __, state: state)
    whole, expected = gradients()
    assert sizes[-1] == 32
    for name in ("active", "stopped", "rewards", "correct", "loss", "locations"):
        torch.testing.assert_close(getattr(compact, name), getattr(whole, name))
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-4)


def test_sure_answers_end_the_episode(env, agent):
    with torch.no_grad():
        agent.classifier.weight.mul_(50)
    rollout = rolled(env, agent, sure=0.3)
    top = rollout.logits.softmax(2).amax(2)
    early = rollout.stopped[:-1]
    assert early.any()
    assert torch.equal(early, (top[:-1] > 0.3) & rollout.active[:-1])
    assert (rollout.stopped.sum(0) == 1).all()


def test_finished_rows_stay_where_they_are(env, agent):
    rollout = rolled(env, agent, policy=Gaussian(0.1), stop="sample")
    for row in range(env.num_envs):
        end = int(rollout.active[:, row].sum()) - 1
        assert (rollout.locations[end:, row] == rollout.locations[end, row]).all()
        assert not rollout.active[end + 1 :, row].any()


def test_masked_steps_get_no_gradient(env, agent):
    rollout = rolled(env, agent, policy=Gaussian(0.1), stop="sample")
    rollout.logits.retain_grad()
    rollout.location_log_prob.retain_grad()
    sum(ram_losses(rollout, True).values()).backward()
    assert (rollout.logits.grad[~rollout.active] == 0).all()
    assert (rollout.logits.grad[rollout.active].abs().sum(-1) > 0).all()
    ended = ~rollout.active | rollout.stopped
    assert (rollout.location_log_prob.grad[ended] == 0).all()


def test_log_probability_is_that_of_the_unclamped_sample(env, agent):
    rollout = rolled(env, agent, policy=Gaussian(2.0))  # most samples are clamped by the environment
    assert rollout.locations.abs().max() <= 1
    peak = Gaussian(2.0).log_prob(torch.zeros(1, 2), torch.zeros(1, 2)).item()
    assert rollout.location_log_prob.max().item() < peak
    # E[log N] = peak - 1 (half a unit for each of two axes), which clamped samples would miss by far
    assert rollout.location_log_prob.mean().item() == pytest.approx(peak - 1, abs=0.15)


def test_no_gradient_flows_through_the_crop_or_the_place(env, agent):
    rollout = rolled(env, agent, policy=Gaussian(0.1))
    reinforce.supervision_loss(rollout.logits, rollout.labels, rollout.active, True).backward()
    assert agent.locator.weight.grad is None
    agent.zero_grad()
    rollout = rolled(env, agent, policy=Gaussian(0.1))
    reinforce.policy_loss(rollout.location_log_prob, torch.rand(7, 32), rollout.active).backward()
    assert agent.locator.weight.grad.abs().sum() > 0


def test_learned_start_is_used_and_learns(env):
    network = RecurrentAttention(
        Architecture(glimpse=64, classes=10, horizon=7, hidden=32, features=16, learned_start=True)
    )
    torch.nn.init.constant_(network.locator.bias, 0.5)
    still = rolled(env, network)
    assert torch.allclose(still.locations[0], torch.tensor(0.5).tanh().expand(32, 2))
    moved = rolled(env, network, policy=Gaussian(0.1))
    moved.first_log_prob.sum().backward()
    assert network.locator.bias.grad.abs().sum() > 0


def test_evaluation_sees_every_image_once_and_matches_stopping_rollouts(agent):
    env = environments.build_evaluation_environment(
        {"dataset": "mnist"}, "validation", "cpu", rows=700
    )  # 5,000 is no multiple: the last batch is padded
    looks = trajectories.evaluate(env, agent, 7)
    assert looks.index.tolist() == list(range(5000))
    assert torch.equal(looks.labels, env.images.labels)
    stopped = GlimpseVectorEnv(5000, "mnist", split="validation", autoreset_mode=AutoresetMode.DISABLED)
    with torch.no_grad():
        rollout = collect(stopped, agent, Behaviour(7, stop="likely"), torch.Generator(), torch.arange(5000))
    row = metrics.summarize(looks, dynamic=True)
    assert row["mean_glimpses"] == pytest.approx(rollout.active.sum(0).float().mean().item(), abs=1e-3)
    assert row["accuracy"] == pytest.approx(
        (rollout.correct & rollout.stopped).any(0).float().mean().item(), abs=1e-3
    )
    assert sum(row["glimpse_histogram"]) == row["images"] == 5000


@pytest.mark.parametrize("policy", [Uniform(), Fixed("center", 5)])
def test_a_policy_that_is_not_learned_chooses_places_alone_and_gives_the_locator_no_gradient(
    env, agent, policy
):
    rollout = rolled(env, agent, policy=policy)
    assert torch.equal(rollout.locations, rolled(env, agent, policy=policy).locations)
    later = rollout.locations[1:]
    assert (later == 0).all() if policy == Fixed("center", 5) else (later.std(0) > 0.1).all()
    sum(ram_losses(rollout).values()).backward()
    assert agent.locator.weight.grad is None
    assert agent.classifier.weight.grad.abs().sum() > 0


def test_a_guide_chooses_every_place_but_the_first(env, agent):
    places = torch.rand(len(env.images), 2) * 2 - 1

    def guide(state, index, step):
        return places[index] / step

    looks = trajectories.evaluate(env, agent, 3, guide=guide)
    assert torch.allclose(looks.locations[1], places / 2)
    assert torch.allclose(looks.locations[2], places / 3)


@pytest.mark.parametrize("policy", ["grid", "raster"])
def test_the_places_of_a_fixed_policy_are_looked_at_in_order(env, agent, policy):
    images = {"dataset": "mnist", "grid": 3}
    shown = environments.build_evaluation_environment(images, "validation", "cpu")
    looks = trajectories.evaluate(shown, agent, 7, policy=policy)
    expected = order_cells(policy, 3, torch.device("cpu"))[:7]
    assert torch.equal(looks.locations, expected[:, None].expand(7, len(looks.labels), 2))
    rollout = rolled(env, agent, policy=Fixed(policy, 3))
    sum(ram_losses(rollout).values()).backward()
    assert agent.locator.weight.grad is None


def test_where_the_first_view_is_the_whole_image_the_path_begins_after_it(make):
    env = make(23, first_view="image", grid=2, max_glimpses=5, autoreset_mode=AutoresetMode.DISABLED)
    network = RecurrentAttention(Architecture(glimpse=16, classes=5, horizon=5, hidden=8, features=8))
    looks = trajectories.evaluate(env, network, 5, policy="raster")
    assert looks.locations[1:, 0].tolist() == [[-1, -1], [1, -1], [-1, 1], [1, 1]]
    message = "--policy grid: 5 locations are to be chosen, but the grid has 2 x 2 = 4 cells"
    with pytest.raises(ValueError, match=message):
        trajectories.evaluate(env, network, 6, policy="grid")


@pytest.mark.parametrize("reward", ["information_gain", "confidence_gain"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_rewards_of_later_rivals_train_ram_and_dtram_by_one_option(env, agent, reward, dynamic):
    """They telescope: the return is the last prediction's gain over chance; both stages can use them."""
    options = StopOptions(reward=reward, epochs=1, gamma=0.9)
    env.reset(seed=0)
    agent.requires_grad_(True)
    kept, env.reward = env.reward, rewards.make(reward)
    behaviour = Behaviour(7, Gaussian(0.1), stop="sample" if dynamic else "never")
    rollout = collect(env, agent, behaviour, torch.Generator().manual_seed(1))
    env.reward = kept
    last = rollout.active.sum(0) - 1
    log_p = rollout.logits.log_softmax(2)[last, torch.arange(len(last)), rollout.labels]
    gained = log_p + math.log(10) if reward == "information_gain" else log_p.exp() - 0.1
    assert torch.allclose(rollout.rewards.sum(0), gained.detach(), atol=1e-4)
    losses = dtram_reinforce.losses(rollout, options) if dynamic else ram_reinforce.losses(rollout, options)
    sum(losses.values()).backward()
    learned = agent.stopper[2].weight if dynamic else agent.locator.weight
    assert learned.grad.abs().sum() > 0


# A random first location


def build_anywhere(rows, order):
    """Return an environment whose first glimpse is anywhere."""
    arguments = {"split": "validation", "autoreset_mode": AutoresetMode.DISABLED, "order": order}
    return GlimpseVectorEnv(rows, "mnist", initial_location="random", **arguments)


def first_locations(rows, order, seed, agent):
    """Return the first locations of images 0, 1, ... in the second rollout."""
    env, generator = build_anywhere(rows, order), torch.Generator().manual_seed(seed)
    rollouts = [collect(env, agent, Behaviour(1), generator, torch.arange(rows)) for _ in range(2)]
    return rollouts[1].locations[0]


def test_training_draws_the_first_location_from_its_generator(agent):
    once, again = (first_locations(64, "shuffle", 3, agent) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, first_locations(64, "shuffle", 4, agent))
    assert once.min() < -0.9
    assert once.max() > 0.9


def test_an_evaluations_first_location_depends_on_the_image_alone(agent):
    few, many = (first_locations(rows, "once", rows, agent) for rows in (8, 64))
    assert torch.equal(few, many[:8])
    assert len(many.unique(dim=0)) == 64
