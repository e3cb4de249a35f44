"""Location policies: what they draw, their densities by hand, and where fixed ones lead."""

import pytest
import torch

from glimpse_env import sensors
from glimpse_env.networks.fixed_policies import Fixed, Uniform, build_unlearned, order_cells
from glimpse_env.networks.location_policy import (
    Gaussian,
    GridSoftmax,
    MostProbable,
    Multinomial,
    build_learned,
)
from glimpse_env.runtime import distributed

CPU = torch.device("cpu")


def seeded():
    return torch.Generator().manual_seed(0)


def test_gaussian_log_prob_is_the_density():
    mean = torch.tensor([[0.1, -0.2]])
    sample = torch.tensor([[1.4, 0.3]])  # outside [-1, 1]: no squashing, no clamping
    density = torch.distributions.Normal(mean, 0.3).log_prob(sample).sum(-1)
    assert torch.allclose(Gaussian(0.3).log_prob(mean, sample), density)


def test_gaussian_gradient_is_the_score():
    mean = torch.tensor([[0.1, -0.2]], requires_grad=True)
    sample = torch.tensor([[0.4, -0.3]])
    Gaussian(0.5).log_prob(mean, sample).sum().backward()
    assert torch.allclose(mean.grad, (sample - mean.detach()) / 0.25)


def test_gaussian_samples_have_its_mean_and_deviation_and_are_not_clamped():
    mean = torch.tensor([[0.9, -0.5]]).expand(50_000, 2)
    drawn = Gaussian(0.3).sample(mean, seeded())
    assert torch.allclose(drawn.mean(0), mean[0], atol=0.01)
    assert torch.allclose(drawn.std(0), torch.tensor(0.3), atol=0.01)
    assert drawn.max() > 1.5
    assert torch.equal(Gaussian(0.3).mode(mean), mean)


def test_a_gaussian_of_deviation_0_draws_nothing():
    mean, generator = torch.rand(3, 2, requires_grad=True), seeded()
    before = generator.get_state()
    assert torch.equal(Gaussian().sample(mean, generator), mean)
    assert torch.equal(generator.get_state(), before)
    assert Gaussian().log_prob(mean, mean).tolist() == [0, 0, 0]
    assert Gaussian(0.2).narrow(0.1) == Gaussian(0.1)


def test_hardtanh_has_no_gradient_outside_and_tanh_has():
    outputs = torch.tensor([[0.5, 3.0]], requires_grad=True)
    for bound, inside in (("hardtanh", [0.5, 1.0]), ("tanh", [0.4621, 0.9951])):
        mean = build_learned("gaussian", 0, bound=bound).narrow(0.2).activate(outputs)
        assert torch.allclose(mean, torch.tensor([inside]), atol=1e-4)
        (gradient,) = torch.autograd.grad(mean.sum(), outputs)
        assert (gradient > 0).tolist() == [[True, bound == "tanh"]]


def test_actions_carry_no_gradient():
    parameters = torch.zeros(3, 4, requires_grad=True)
    learned = Gaussian(0.1), Gaussian(), GridSoftmax(2), Multinomial()
    for policy in (*learned, Uniform(), Fixed("center", 5), Fixed("grid", 2)):
        given = parameters[:, : policy.num_parameters or 4]
        assert not policy.sample(given, seeded()).requires_grad
        assert not policy.mode(given).requires_grad


def test_probabilities_of_a_grid_softmax_by_hand():
    """Scores log 1, 2, 3, 4 of a 2 x 2 grid: probabilities 0.1 to 0.4."""
    policy = GridSoftmax(2)
    parameters = policy.activate(torch.tensor([[1.0, 2.0, 3.0, 4.0]]).log().expand(3, 4))
    assert torch.allclose(parameters.exp()[0], torch.tensor([0.1, 0.2, 0.3, 0.4]))
    chosen = torch.tensor([0, 3, 2])
    assert torch.allclose(policy.log_prob(parameters, chosen), torch.tensor([0.1, 0.4, 0.3]).log())
    assert policy.mode(parameters).tolist() == [3, 3, 3]
    assert policy.locate(torch.arange(4)).tolist() == [[-1, -1], [1, -1], [-1, 1], [1, 1]]
    assert policy.num_parameters == 4


def test_the_gradient_of_a_grid_softmax_is_the_score():
    policy, outputs = GridSoftmax(2), torch.randn(1, 4, generator=seeded()).requires_grad_()
    policy.log_prob(policy.activate(outputs), torch.tensor([2])).sum().backward()
    score = torch.tensor([[0.0, 0, 1, 0]]) - outputs.detach().softmax(1)
    assert torch.allclose(outputs.grad, score, atol=1e-6)


def test_a_grid_softmax_draws_cells_by_their_probabilities():
    policy, share = GridSoftmax(2), torch.tensor([0.15, 0.0, 0.6, 0.25])
    cells = policy.sample(share.log().expand(50_000, 4), seeded())
    assert torch.allclose(torch.bincount(cells, minlength=4) / 50_000, share, atol=0.01)
    assert (cells != 1).all()  # a cell of probability 0
    sure = torch.tensor([[0.0, 0, 0, 1]]).log().expand(1000, 4)
    assert (policy.sample(sure, seeded()) == 3).all()


@pytest.mark.parametrize("grid", [2, 3, 5, 8])
def test_cells_of_a_grid_softmax_are_those_of_the_bank_sensor(grid):
    cells = GridSoftmax(grid).locate(torch.arange(grid**2))
    assert torch.allclose(cells, sensors.lattice(grid, CPU), atol=1e-6)


@pytest.mark.parametrize("grid", [-1, 0, 1])
def test_a_grid_without_a_choice_is_refused(grid):
    message = f"--grid {grid}: --location-policy grid_softmax chooses among cells; expected at least 2 a side"
    with pytest.raises(ValueError, match=message):
        GridSoftmax(grid)


def test_learned_policies_by_name():
    assert build_learned("gaussian", 0) == Gaussian()
    assert build_learned("grid_softmax", 4) == GridSoftmax(4)
    assert build_learned("grid_softmax", 4).narrow(0.1) == GridSoftmax(4)  # it has no standard deviation


def test_the_multinomial_draws_cells_by_their_probabilities():
    share = torch.tensor([[0.1, 0.2, 0.7], [0.0, 1.0, 0.0]])
    policy, log_prob = Multinomial(), share.log()
    cells = policy.sample(log_prob, seeded(), samples=20_000)
    found = torch.stack([torch.bincount(row, minlength=3) for row in cells]) / 20_000
    assert torch.allclose(found, share, atol=0.01)
    assert policy.mode(log_prob).tolist() == [2, 1]
    chosen = policy.log_prob(log_prob, torch.tensor([[2, 0], [1, 1]])).exp()
    assert torch.allclose(chosen, torch.tensor([[0.7, 0.1], [1, 1]]))


def test_the_most_probable_action_is_the_mode_and_teaches_nothing():
    mean = torch.rand(3, 2, requires_grad=True)
    policy = MostProbable(Gaussian(0.5))
    assert torch.equal(policy.sample(mean, seeded()), mean)
    assert policy.log_prob(mean, mean.detach()).tolist() == [0, 0, 0]
    assert policy.reparametrised


def test_uniform_locations_fill_the_square():
    drawn = Uniform().sample(torch.zeros(50_000, 2), seeded())
    assert drawn.abs().max() <= 1
    assert torch.allclose(drawn.mean(0), torch.zeros(2), atol=0.01)
    assert torch.allclose(drawn.std(0), torch.tensor(3.0).rsqrt(), atol=0.01)


def test_glimpse_1_is_chosen_by_fixed_policies_and_by_proposals_alone():
    proposal = torch.tensor([[0.25, 0.5]])
    assert Gaussian().first(None, 1, seeded()) is None
    assert torch.equal(Gaussian().first(proposal, 1, seeded()), proposal)
    assert Uniform().first(proposal, 1, seeded()) is None
    assert Fixed("center", 5).first(proposal, 2, seeded()).tolist() == [[0, 0], [0, 0]]
    assert Fixed("raster", 2).first(None, 2, seeded()).tolist() == [[-1, -1], [-1, -1]]


@pytest.mark.parametrize("policy", [Gaussian(0.1), GridSoftmax(2), Uniform()])
def test_two_processes_draw_the_rows_that_one_draws(policy, monkeypatch):
    parameters = policy.activate(torch.randn(6, max(policy.num_parameters, 2), generator=seeded()))
    whole = policy.sample(parameters, seeded())
    monkeypatch.setattr(distributed, "count", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "part", lambda values, rank=rank: values.chunk(2)[rank])
        assert torch.equal(policy.sample(parameters.chunk(2)[rank], seeded()), whole.chunk(2)[rank])


def test_names_of_policies_that_are_not_learned():
    assert build_unlearned("learned", 3) is None
    built = [build_unlearned(name, 3) for name in ("random", "center", "grid", "raster")]
    assert built == [Uniform(), Fixed("center", 3), Fixed("grid", 3), Fixed("raster", 3)]


@pytest.mark.parametrize("order", ["grid", "raster"])
@pytest.mark.parametrize("grid", [1, 2, 3, 5, 6])
def test_a_path_visits_every_place_of_the_grid_once(order, grid):
    places = order_cells(order, grid, CPU)
    assert sorted(map(tuple, places.tolist())) == sorted(map(tuple, sensors.lattice(grid, CPU).tolist()))
    assert order_cells(order, grid, CPU) is places  # made once: a step only reads it


def test_raster_reads_row_by_row_and_grid_spreads_out():
    assert order_cells("raster", 3, CPU)[:4].tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 0]]
    places = order_cells("grid", 3, CPU)
    assert places[0].tolist() == [0, 0]
    assert places[1:5].abs().min() == 1  # the corners
    apart = [torch.cdist(places[:n], places[n : n + 1]).min().item() for n in range(1, 9)]
    assert apart == sorted(apart, reverse=True)  # no later place is farther from the earlier ones


def test_a_path_that_is_too_short_is_refused():
    Fixed("grid", 2).check(4)
    message = "--policy grid: 5 locations are to be chosen, but the grid has 2 x 2 = 4 cells"
    with pytest.raises(ValueError, match=message):
        Fixed("grid", 2).check(5)
