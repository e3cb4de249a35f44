"""Policy gradients against the true ones of a task, for every baseline; and the advantages by hand."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from gymnasium.vector import AutoresetMode
from ram_reinforce import Options, losses

from glimpse_env import Confidence, GlimpseVectorEnv
from glimpse_env.networks.base import Agent, Heads
from glimpse_env.networks.location_policy import Gaussian, GridSoftmax
from glimpse_env.training import reinforce
from glimpse_env.training.rollout import Behaviour, collect

SIGMA, ROWS = 0.2, 24_000
GAUSSIAN = Gaussian(SIGMA)
FIRST, LATER = (0.1, -0.2), (0.2, 0.3)  # means of the places of glimpse 1 and 2
CELL_SCORES = ((0.0, 0.5, -0.5, 0.2), (0.3, -0.2, 0.1, 0.6))  # of the corners, for glimpse 1 and 2
TOWARDS = (1.5, 1.0)  # the label's log-odds rise in this direction: p(label) = sigmoid(TOWARDS . location)


class Dots(torch.utils.data.Dataset):
    """Four images of one class of two: all that counts is where glimpses are taken."""

    classes = ("a", "b")

    def __len__(self):
        """Four."""
        return 4

    def __getitem__(self, index):
        """Return a grey image of the first class."""
        return torch.full((1, 8, 8), index, dtype=torch.uint8), 0


@dataclass(frozen=True)
class Sizes:
    """What an agent must say of itself."""

    glimpse: int = 4
    classes: int = 2
    learned_start: bool = True


class Pointer(Agent):
    """Take glimpses at two learned locations, which determine p(label). Its baseline is the best possible."""

    places = FIRST, LATER

    def __init__(self, learned_start):
        """Begin with known places."""
        super().__init__()
        self.architecture = Sizes(learned_start=learned_start)
        self.first, self.later = (torch.nn.Parameter(torch.tensor(place)) for place in self.places)

    def begin(self, rows):
        """Remember the number of the next glimpse."""
        return torch.zeros(rows)

    def start(self, rows, context):
        """Propose the learned place, if it is one."""
        return self.begin(rows), self.propose(self.first, rows) if self.architecture.learned_start else None

    def propose(self, place, rows):
        """Return the mean."""
        return place.expand(rows, 2)

    def expect(self):
        """Return what the later place earns on average."""
        return expectation(LATER)

    def forward(self, observation, state):
        """Predict by the location. The baseline is the best prediction of the return from the state."""
        odds = observation["location"] @ torch.tensor(TOWARDS)
        sure = odds.sigmoid()
        baseline = torch.where(
            state == 0, torch.tensor(self.expect()), sure
        )  # of a state that has seen where it looks
        logits = torch.stack((odds, torch.zeros_like(odds)), 1)
        return Heads(logits, self.propose(self.later, len(odds)), torch.zeros_like(odds), baseline), state + 1


class CellPointer(Pointer):
    """The same with scores of the four corners instead of means."""

    places, location_policy = CELL_SCORES, GridSoftmax(2)

    def propose(self, place, rows):
        """Return the log-probabilities of the corners."""
        return self.location_policy.activate(place.expand(rows, 4))

    def expect(self):
        """Return what the later cell earns on average."""
        return expect_of_cells(CELL_SCORES[1])[0]


def expectation(mean):
    """Return E[p(label)] at a location drawn around `mean`, by quadrature along TOWARDS."""
    slope = torch.tensor(TOWARDS)
    nodes = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    weights = (-0.5 * nodes**2).exp() / math.sqrt(2 * math.pi) * (nodes[1] - nodes[0])
    return float((((slope @ torch.tensor(mean)) + nodes * SIGMA * slope.norm()).sigmoid() * weights).sum())


def true_gradient(mean):
    """Return d E[p(label)] / d mean by central differences."""
    step, found = 1e-3, []
    for axis in range(2):
        up, down = (
            tuple(value + sign * step * (axis == place) for place, value in enumerate(mean))
            for sign in (1, -1)
        )
        found.append((expectation(up) - expectation(down)) / (2 * step))
    return torch.tensor(found)


def gradients(samples, baseline, learned_start, discount=1.0, kind=Pointer, policy=GAUSSIAN):
    """Return the gradients that training would climb, of the first and of the later place."""
    sizes = {"image_size": 8, "glimpse_size": 2, "first_view": "glimpse", "max_glimpses": 2}
    env = GlimpseVectorEnv(ROWS, Dots(), **sizes, reward=Confidence(), autoreset_mode=AutoresetMode.DISABLED)
    agent, generator = kind(learned_start), torch.Generator().manual_seed(0)
    rollout = collect(
        env, agent, Behaviour(2, policy), generator, torch.arange(4).repeat_interleave(ROWS // 4)
    )
    found = losses(
        rollout, Options(samples=samples, policy_weight=1.0, baseline=baseline, location_discount=discount)
    )
    found["policy"].backward()
    return -agent.first.grad if learned_start else None, -agent.later.grad


@pytest.mark.parametrize("learned_start", [True, False])
@pytest.mark.parametrize(
    ("samples", "baseline"), [(1, "learned"), (1, "regression"), (2, "learned"), (4, "learned")]
)
def test_the_gradient_of_both_places_is_the_true_one(samples, baseline, learned_start):
    """Glimpse 2 rewards the location chosen after glimpse 1; its own state's baseline would leave nothing."""
    first, later = gradients(samples, baseline, learned_start)
    torch.testing.assert_close(later, true_gradient(LATER), atol=0.03, rtol=0)
    if learned_start:
        torch.testing.assert_close(first, true_gradient(FIRST), atol=0.03, rtol=0)


def expect_of_cells(scores):
    """Return E[p(label)] of cells drawn by scores, and its gradient: share * (p(label) - E[p(label)])."""
    share = torch.tensor(scores).softmax(0)
    earned = (GridSoftmax(2).locate(torch.arange(4)) @ torch.tensor(TOWARDS)).sigmoid()
    expected = share @ earned
    return expected.item(), share * (earned - expected)


@pytest.mark.parametrize("learned_start", [True, False])
@pytest.mark.parametrize(
    ("samples", "baseline"), [(1, "learned"), (1, "regression"), (2, "learned"), (4, "learned")]
)
def test_the_gradient_of_both_grid_softmaxes_is_the_true_one(samples, baseline, learned_start):
    first, later = gradients(samples, baseline, learned_start, kind=CellPointer, policy=GridSoftmax(2))
    torch.testing.assert_close(later, expect_of_cells(CELL_SCORES[1])[1], atol=0.01, rtol=0)
    if learned_start:
        torch.testing.assert_close(first, expect_of_cells(CELL_SCORES[0])[1], atol=0.01, rtol=0)


def test_a_discount_takes_from_what_comes_late():
    """The first location does not change the second reward: its gradient is that of its own glimpse."""
    first, later = gradients(2, "learned", True, discount=0.0)
    torch.testing.assert_close(first, true_gradient(FIRST), atol=0.03, rtol=0)
    torch.testing.assert_close(later, true_gradient(LATER), atol=0.03, rtol=0)
    rewards = torch.tensor([[1.0], [2.0], [4.0]])
    assert reinforce.returns_to_go(rewards, 0.5).flatten().tolist() == [3, 4, 4]
    assert reinforce.returns_to_go(rewards, 0.0).flatten().tolist() == [1, 2, 4]


def small_rollout():
    """Two rows, three glimpses; row 1 stops after the second."""
    env = GlimpseVectorEnv(
        2,
        Dots(),
        image_size=8,
        glimpse_size=2,
        first_view="glimpse",
        max_glimpses=3,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    rollout = collect(env, Pointer(False), Behaviour(3, GAUSSIAN), torch.Generator().manual_seed(0))
    stopped = torch.tensor([[False, False], [False, True], [True, False]])
    return replace(
        rollout,
        rewards=torch.tensor([[1.0, 2.0], [4.0, 8.0], [16.0, 0.0]]),
        baseline=torch.tensor([[10.0, 20.0], [30.0, 40.0], [1000.0, 1000.0]]),
        stopped=stopped,
        active=torch.tensor([[True, True], [True, True], [True, False]]),
    )


def test_learned_advantages_by_hand():
    found = reinforce.advantages(small_rollout(), 1, "learned", 1.0)
    assert found.location.tolist() == [
        [20 - 10, 8 - 20],
        [16 - 30, 0 - 40],
    ]  # from the next glimpse on, less the chooser's baseline
    assert found.stop.tolist() == [[21 - 10, 10 - 20], [20 - 30, 8 - 40]]
    assert found.first.tolist() == [21 - 10, 10 - 21]  # against the other row's return
    target = reinforce.return_after_decision(small_rollout(), 1.0)
    assert target.tolist() == [[20, 8], [16, 8]]  # row 1's second decision was to stop: its answer's reward


def test_the_regression_fits_each_row_without_it():
    torch.manual_seed(0)
    returns, known = torch.randn(2, 7), torch.rand(2, 7)
    counted = torch.ones(2, 7, dtype=torch.bool)
    counted[1, 2] = False
    found = reinforce.regression_residual(returns, known, counted)
    for step in range(2):
        for row in range(7):
            if not counted[step, row]:
                assert found[step, row] == 0
                continue
            others = counted[step].clone()
            others[row] = False
            line = torch.stack((torch.ones(int(others.sum())), known[step, others]), 1)
            offset, slope = torch.linalg.lstsq(line, returns[step, others, None]).solution.flatten()
            assert found[step, row].item() == pytest.approx(
                (returns[step, row] - offset - slope * known[step, row]).item(), abs=1e-3
            )


def test_the_regression_without_spread_is_the_mean_of_the_others():
    returns = torch.tensor([[1.0, 2.0, 6.0]])
    counted = torch.ones(1, 3, dtype=torch.bool)
    found = reinforce.regression_residual(returns, torch.full((1, 3), 0.5), counted)
    assert found.flatten().tolist() == pytest.approx([1 - 4, 2 - 3.5, 6 - 1.5])
    assert reinforce.mean_of_others(returns[0]).tolist() == pytest.approx([1 - 4, 2 - 3.5, 6 - 1.5])
    assert (
        reinforce.regression_residual(returns, returns, torch.tensor([[True, True, False]])).abs().max() == 0
    )  # two rows are too few
