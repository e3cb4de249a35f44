"""FCAN's localisers against calculations by hand: places of parts, rewards, losses, and the agent."""

import math
from dataclasses import asdict, replace

import pytest
import torch
from fcan import localise
from fcan.localise import Samples
from fcan.plan import FcanOptions
from fcan_greedy import DATASETS, RECIPES
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from glimpse_env import Backbone, GlimpseVectorEnv, ImageSet, MapSensor
from glimpse_env.evaluation import trajectories
from glimpse_env.networks import fcan, registry
from glimpse_env.networks.fcan import FcanArchitecture, FullyConvolutionalAttention
from glimpse_env.training import reinforce
from glimpse_env.training.command_line import parse

SIDE, PARTS = 4, (1, 2)  # cells of the map of 128 pixels, of the parts


@pytest.fixture(scope="module")
def images() -> ImageSet:
    coarse = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pixels = torch.nn.functional.interpolate(coarse, (128, 128)).mul(255).byte()
    return ImageSet(pixels, torch.arange(6) % 3, ("a", "b", "c"))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone("resnet18", None, precision="float32")


@pytest.fixture(scope="module")
def env(images, backbone) -> GlimpseVectorEnv:
    """An environment whose glimpses are the parts on the map of a random network."""
    sensor = MapSensor(images, backbone, glimpse_size=32, scales=tuple(map(float, PARTS)), show_map=True)
    made = GlimpseVectorEnv(
        6,
        list(zip(images.images, images.labels.tolist(), strict=True)),
        sensor=sensor,
        max_glimpses=3,
        reward="greedy",
        order="once",
        autoreset_mode=AutoresetMode.DISABLED,
    )
    made.images = images
    return made


def network_of(parts=PARTS, side=SIDE, channels=512, **options) -> FullyConvolutionalAttention:
    torch.manual_seed(0)
    network = FullyConvolutionalAttention(
        FcanArchitecture(channels * len(parts), 3, channels, side, parts, **options)
    )
    for value in network.parameters():  # heads that begin at 0 would hide mistakes
        torch.nn.init.normal_(value, std=0.05)
    return network


# Places


@pytest.mark.parametrize("side", [1, 3, 4, 7, 14, 16])
def test_the_mean_of_the_map_at_a_place_is_what_the_sensor_shows_there(side):
    """The mean of the cells at every place = MapSensor's RoIAlign at its location, for all pairs of parts."""
    maps = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    sizes = sorted({1, 2, side // 2, side - 1, side} & set(range(1, side + 1)))
    for part, smallest in ((part, least) for part in sizes for least in sizes):
        sensor = MapSensor.__new__(MapSensor)  # its look-up alone, without images and network
        cell = 8
        sensor.reach, sensor.whole_first, sensor.roi, sensor.features = (
            fcan.reach(side, (part, smallest)),
            True,
            1,
            6,
        )
        sensor.windows, sensor._cells = (part * cell, smallest * cell), torch.full((2,), side / 2)
        sensor._half = torch.tensor([[window / (side * cell)] * 2 for window in sensor.windows])
        every = torch.arange(fcan.places(side, part))
        sensor.view_maps = type(
            "Maps", (), {"at": staticmethod(lambda index: maps.expand(len(index), -1, -1, -1))}
        )
        where = fcan.locations(every, side, part, sensor.reach)
        seen = sensor._pool(every, where, torch.full_like(every, 2))[0][:, :3]
        torch.testing.assert_close(seen, fcan.pool(maps, every[None], part)[0], rtol=1e-5, atol=1e-5)


@settings(deadline=None)
@given(side=st.integers(1, 9), part=st.integers(1, 9), data=st.data())
def test_places_are_windows_of_whole_cells(side, part, data):
    part = min(part, side)
    place = torch.tensor(data.draw(st.integers(0, fcan.places(side, part) - 1)))
    top, left = fcan.corners(place, side, part)
    assert 0 <= int(top) <= side - part >= int(left) >= 0
    maps = torch.rand(1, 2, side, side, generator=torch.Generator().manual_seed(side))
    window = maps[0, :, top : top + part, left : left + part]
    torch.testing.assert_close(fcan.pool(maps, place.view(1, 1), part)[0, 0], window.mean((1, 2)))
    x, y = fcan.centres(place, side, part).tolist()
    assert ((x + 1) * side / 2, (y + 1) * side / 2) == pytest.approx(
        (int(left) + part / 2, int(top) + part / 2)
    )


@settings(deadline=None)
@given(side=st.integers(1, 9), part=st.integers(1, 9))
def test_an_attention_map_holds_each_place_at_the_cell_that_scored_it(side, part):
    part = min(part, side)
    shares = torch.rand(2, fcan.places(side, part), generator=torch.Generator().manual_seed(part))
    spread = fcan.spread(shares, side, part)
    assert spread.shape == (2, 1, side, side)
    torch.testing.assert_close(fcan.select_scores(spread[:, 0], part), shares * shares.shape[1])
    assert spread.sum().item() == pytest.approx(shares.sum().item() * shares.shape[1], rel=1e-5)


def test_the_middle_place_is_at_the_centre_of_the_map():
    assert fcan.centres(torch.tensor(fcan.middle(16, 4)), 16, 4).tolist() == [0, 0]
    assert fcan.centres(torch.tensor(fcan.middle(7, 3)), 7, 3).tolist() == [0, 0]


# Rewards


def test_greedy_rewards_by_hand():
    """Three steps of four rows, label 0; the prediction is the mean of the probabilities so far."""
    first = [[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.9, 0.1]]
    second = [[0.8, 0.2], [0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]
    third = [[0.1, 0.9], [0.9, 0.1], [0.9, 0.1], [0.95, 0.05]]
    logits = torch.tensor([first, second, third]).log()
    labels = torch.zeros(4, dtype=torch.int64)
    reward, correct = localise.compute_rewards(logits, labels, FcanOptions())
    # Row 0: correct; correct, p(label) up; p(label) down to a mean of .5 (a tie: the lower class is
    # predicted). Row 1: incorrect; correct, p(label) up; the same again. Row 2: correct; correct, p(label)
    # down; correct, p(label) up.
    # Row 3: correct; mean .5; correct, p(label) up again.
    assert reward.tolist() == [[1, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1]]
    assert correct[0].tolist() == [True, False, True, True]
    late, _ = localise.compute_rewards(logits, labels, FcanOptions(reward="delayed"))
    assert late[:2].sum() == 0
    assert late[2].tolist() == correct[2].float().tolist()

    # Of each step's own probabilities: row 0 is incorrect in the end; row 1 repeats a loss, row 2 lowers it.
    own, same = localise.compute_rewards(logits, labels, FcanOptions(rewarded="own"))
    assert torch.equal(same, correct)
    assert own.tolist() == [[1, 0, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize("rewarded", ["mean", "own"])
def test_part_1_may_be_the_first_step_of_the_greedy_reward(rewarded):
    """Then a correct prediction there is rewarded though the loss grew, and nothing else changes."""
    logits = torch.tensor([[[0.9, 0.1]], [[0.6, 0.4]], [[0.8, 0.2]]]).log()
    label = torch.zeros(1, dtype=torch.int64)
    options = FcanOptions(rewarded=rewarded)
    from_image, _ = localise.compute_rewards(logits, label, options)
    from_part, correct = localise.compute_rewards(logits, label, replace(options, first_reward="part"))
    assert from_image.flatten().tolist()[:2] == [1, 0]
    assert from_part.flatten().tolist()[:2] == [0, 1]
    assert from_image[2] == from_part[2]
    assert correct.all()
    gain = replace(options, reward="information_gain", first_reward="part")
    first = localise.compute_rewards(logits, label, gain)[0][1].item()
    seen = (0.9 + 0.6) / 2 if rewarded == "mean" else 0.6
    assert first == pytest.approx(math.log(2 * seen))  # against no answer at all


def test_the_environment_gives_the_rewards_of_training(env):
    """One sample at the same places: rewards and predictions of episodes = those computed from the maps."""
    network = network_of().eval()
    localise.standardise(network, env)
    index = torch.arange(6)
    maps = localise.read_maps(env, index)
    best = network.best(maps)
    drawn = [best[:, part, None] for part in range(len(PARTS))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(localise, "draw_places", lambda *_: drawn)
        samples = localise.sample(network, maps, env.images.labels, FcanOptions(samples=1), torch.Generator())
    looks = trajectories.evaluate(env, network, 3)
    assert torch.equal(looks.correct, samples.correct)
    rewards = []
    observation, _ = env.reset(options={"indices": index})
    state = network.begin(6)
    with torch.no_grad():
        for _ in range(3):
            heads, state = network(observation, state)
            action = {
                "location": heads.location_parameters,
                "stop": torch.zeros(6, dtype=torch.bool),
                "prediction": heads.logits.softmax(1),
            }
            observation, reward, *_ = env.step(action)
            rewards.append(reward)
    assert torch.equal(torch.stack(rewards), samples.rewards)
    for part, size in enumerate(PARTS):
        expected = fcan.locations(best[:, part], SIDE, size, env.sensor.reach)
        torch.testing.assert_close(looks.locations[part + 1], expected)


def build_samples(log_prob, rewards) -> Samples:
    steps, rows = rewards.shape
    logits = torch.zeros(steps, rows, 2, requires_grad=True)
    return Samples(
        log_prob,
        logits,
        torch.zeros(rows, dtype=torch.int64),
        rewards,
        rewards > 0,
        torch.zeros(len(log_prob)),
    )


TWO = FcanOptions(samples=2, baseline=False)


def test_a_greedy_reward_is_for_the_place_of_its_step_and_a_delayed_one_for_all():
    rewards = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])  # whole image, part 1, part 2; two samples
    log_prob = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    own = localise.losses(build_samples(log_prob, rewards), TWO)["policy"]
    assert own.item() == pytest.approx((2 + 3 + 4) / 2)
    (gradient,) = torch.autograd.grad(own, log_prob)
    assert gradient.tolist() == [[0, -0.5], [-0.5, -0.5]]  # a reward of 0 contributes nothing
    late = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    shared = localise.losses(build_samples(log_prob, late), replace(TWO, reward="delayed"))["policy"]
    assert shared.item() == pytest.approx((1 + 3) / 2)
    less = localise.losses(build_samples(log_prob, rewards), replace(TWO, baseline=True))["policy"]
    assert less.item() == pytest.approx(
        -(-1 * -1 + -2 * 1) / 2
    )  # both samples of part 2 have the same reward: no difference


def test_places_that_are_not_learned_have_no_policy_loss():
    samples = build_samples(torch.zeros(2, 2), torch.ones(3, 2))
    assert set(localise.losses(samples, replace(TWO, policy="random"))) == {"classification"}


def test_lambda_is_refused_with_the_reason():
    for words in (["--loss-weight", "2"], ["--loss-weight=2"]):
        with pytest.raises(SystemExit, match=r"--loss-weight.* does not exist any more: it changed nothing"):
            parse(FcanOptions, RECIPES, DATASETS, "", words)


def test_the_sampled_gradient_tends_to_the_exact_one():
    """A part of 1 x 1 on a 2 x 2 map, a reward of 1 at place 2 only: its probability's gradient is known."""
    scores = torch.zeros(1, 4, requires_grad=True)
    log_prob = scores.log_softmax(1)
    (exact,) = torch.autograd.grad(log_prob.exp()[0, 2], scores, retain_graph=True)
    network = network_of((1,), 2, channels=4)
    errors = []
    for samples in (64, 16384):
        (place,) = localise.draw_places(network, [log_prob], samples, torch.Generator().manual_seed(0))
        reward = (place.flatten() == 2).float()
        drawn = build_samples(log_prob.gather(1, place).flatten()[None], torch.stack((reward, reward)))
        loss = localise.losses(drawn, replace(TWO, samples=samples))["policy"]
        (found,) = torch.autograd.grad(-loss, scores, retain_graph=True)
        errors.append((found - exact).abs().max().item())
    assert errors[1] < 0.01 < 0.2
    assert errors[1] < errors[0]


@pytest.mark.parametrize("where", ["random", "center"])
def test_places_that_are_not_learned_do_not_depend_on_the_map(where):
    network = network_of(where=where, channels=8)
    maps = torch.randn(5, 8, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    first, second = network.best(maps), network.best(maps * -3)
    assert torch.equal(first, second)
    assert (first == first[0]).all() == (where == "center")
    drawn = localise.draw_places(network, network.attend(maps), 7, torch.Generator().manual_seed(0))
    assert [place.shape for place in drawn] == [(5, 7)] * 2
    assert all((place < fcan.places(SIDE, part)).all() for place, part in zip(drawn, PARTS, strict=True))


# The network


def test_score_maps_begin_flat():
    network = FullyConvolutionalAttention(FcanArchitecture(16, 3, 8, SIDE, PARTS))
    for log_prob, part in zip(network.attend(torch.randn(2, 8, SIDE, SIDE)), PARTS, strict=True):
        assert torch.allclose(log_prob.exp(), torch.full_like(log_prob, 1 / fcan.places(SIDE, part)))


def test_each_head_gets_the_gradient_of_its_own_step():
    """Localisers learn from the policy, classifiers from the cross-entropy; part 1's from no later step."""
    network = network_of(channels=8, see_earlier_maps=True)
    maps = torch.randn(5, 8, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    options = replace(TWO, samples=4)
    samples = localise.sample(network, maps, torch.arange(5) % 3, options, torch.Generator().manual_seed(0))
    parts = localise.losses(replace(samples, rewards=torch.ones_like(samples.rewards)), options)
    parts["policy"].backward(retain_graph=True)
    assert all(value.grad is None for value in network.classifiers.parameters())
    assert all(value.grad is not None for value in network.localisers.parameters())
    network.zero_grad(set_to_none=True)
    parts["classification"].backward(retain_graph=True)
    assert all(value.grad is None for value in network.localisers.parameters())
    network.zero_grad(set_to_none=True)
    samples.log_prob[1].mean().backward()
    assert all(not value.grad.any() for value in network.localisers[0].parameters())
    assert any(value.grad.any() for value in network.localisers[1].parameters())


def test_a_later_localiser_reads_earlier_maps_only_if_it_may():
    maps = torch.randn(2, 8, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for may in (False, True):
        network = network_of(channels=8, see_earlier_maps=may)
        before = network.attend(maps)
        torch.nn.init.normal_(network.localisers[0][2].weight, std=3.0)
        after = network.attend(maps)
        assert not torch.equal(before[0], after[0])
        assert torch.equal(before[1], after[1]) != may


def test_a_step_reads_its_own_and_earlier_regions_only():
    network = network_of(channels=8)
    seen = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for step in range(3):
        (gradient,) = torch.autograd.grad(network.scores(step, seen).sum(), seen)
        read = gradient.abs().sum((0, 2)) > 0
        assert read.tolist() == [True] * (step + 1) + [False] * (2 - step)


def test_rows_at_different_steps_are_those_seen_apart(env):
    """Row i's memory and answer do not depend on where the others stand."""
    network = network_of().eval()
    maps = localise.read_maps(env, torch.arange(2))
    glimpses = torch.randn(3, 2, 2 * 512, generator=torch.Generator().manual_seed(0))

    def observe(row, step):
        return {
            "glimpse": glimpses[step, row],
            "map": maps[row],
            "step": torch.full((len(row), 1), (step + 1) / 3),
        }

    with torch.no_grad():
        state = network.begin(2)
        together = []
        for step in range(3):
            heads, state = network(observe(torch.arange(2), step), state)
            together.append(heads)
        ahead, _ = network(observe(torch.tensor([0]), 0), network.begin(1))
        one = network(observe(torch.tensor([0]), 0), network.begin(1))[1]
        two = network(observe(torch.tensor([1]), 0), network.begin(1))[1]
        two = network(observe(torch.tensor([1]), 1), two)[1]
        mixed = type(one)(*(torch.cat(pair) for pair in zip(one, two, strict=True)))
        seen = [observe(torch.tensor([0]), 1), observe(torch.tensor([1]), 2)]
        heads, _ = network({key: torch.cat([part[key] for part in seen]) for key in seen[0]}, mixed)
    torch.testing.assert_close(heads.logits[0], together[1].logits[0])
    torch.testing.assert_close(heads.logits[1], together[2].logits[1])
    torch.testing.assert_close(heads.location_parameters[0], together[1].location_parameters[0])
    torch.testing.assert_close(ahead.location_parameters, together[0].location_parameters[:1])


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(1, 5), count=st.integers(1, 4))
def test_samples_do_not_touch_each_other(samples, count):
    """Row = image * samples + sample: dropping the last image leaves the rows of the others as they were."""
    network = network_of(channels=6).eval()
    maps = torch.randn(count, 6, SIDE, SIDE, generator=torch.Generator().manual_seed(count))
    labels = torch.arange(count) % 3
    drawn = [torch.arange(count * samples).view(count, samples) % fcan.places(SIDE, part) for part in PARTS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(localise, "draw_places", lambda *_: drawn)
        whole = localise.sample(network, maps, labels, replace(TWO, samples=samples), torch.Generator())
        drawn = [place[:-1] for place in drawn]
        if count > 1:
            fewer = localise.sample(
                network, maps[:-1], labels[:-1], replace(TWO, samples=samples), torch.Generator()
            )
            torch.testing.assert_close(whole.logits[:, :-samples], fewer.logits)
            torch.testing.assert_close(whole.log_prob[:, :-samples], fewer.log_prob)
    assert torch.equal(whole.labels, labels.repeat_interleave(samples))


def test_a_checkpoint_rebuilds_the_network():
    network = network_of(channels=8, see_earlier_maps=True)
    saved = {
        "network_name": registry.find_name(network),
        "architecture": asdict(network.architecture),
        "network": network.state_dict(),
    }
    again = registry.rebuild(saved)
    assert again.architecture == network.architecture
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())


def test_standardised_maps_have_mean_0_and_deviation_1(env):
    network = network_of()
    localise.standardise(network, env)
    features = network.standardise(localise.read_maps(env, torch.arange(6)))
    torch.testing.assert_close(features.mean((0, 2, 3)), torch.zeros(512), rtol=0, atol=1e-3)
    spread = features.std((0, 2, 3), correction=0)
    assert (
        (spread - 1).abs() < 0.01
    ).float().mean() > 0.95  # a channel that is nearly constant is left small


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_is_that_of_episodes(env, seed):
    network = network_of()
    localise.standardise(network, env)
    torch.manual_seed(seed)
    for classifier in network.classifiers:
        torch.nn.init.normal_(classifier.weight, std=0.05)
    episodes = trajectories.evaluate(env, network, 3)
    assert localise.measure_accuracy(network, env) == pytest.approx(
        episodes.correct[-1].float().mean().item()
    )


def test_leave_one_out_needs_two_samples():
    with pytest.raises(ValueError, match="samples=1"):
        reinforce.leave_one_out(torch.zeros(1, 2), 1)


def test_recipes_name_options_and_count_for_their_data_set_alone():
    for dataset, recipe in DATASETS.items():
        chosen = parse(FcanOptions, {}, DATASETS, "", ["--dataset", dataset, "--epochs", "3"])
        assert chosen == FcanOptions(**recipe | {"dataset": dataset, "epochs": 3})
    assert parse(FcanOptions, {}, DATASETS, "", []) == FcanOptions()


def test_the_papers_settings():
    cub, dogs = (
        parse(FcanOptions, RECIPES, DATASETS, "", ["--dataset", name, "--paper"]) for name in ("cub", "dogs")
    )
    assert (cub.backbone, cub.image_size, cub.crop_size, cub.parts, cub.final) == (
        "googlenet",
        512,
        448,
        (4, 8),
        "finetune",
    )
    assert (cub.batch, cub.learning_rate, cub.samples, cub.baseline, cub.split) == (
        512,
        0.01,
        16,
        False,
        "train",
    )
    assert (dogs.backbone, dogs.image_size, dogs.crop_size) == ("vgg16", 256, 224)
    with pytest.raises(SystemExit, match="--paper is not available for --dataset clutter"):
        parse(FcanOptions, RECIPES, DATASETS, "", ["--dataset", "clutter", "--paper"])
