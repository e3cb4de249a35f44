"""RAM and DT-RAM with a softmax over grid cells: whole runs, evaluation, prediction and refused options."""

import dtram_reinforce
import pytest
import ram_reinforce
import torch
from dtram_reinforce import StopOptions
from ram_reinforce import Options

from glimpse_env.evaluation import predictor, stopping_rules
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.networks.location_policy import GridSoftmax
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint

SMALL = {"epochs": 2, "batch": 16, "hidden": 16, "features": 8, "threads": 1, "glimpses": 3}
SMALL |= {"precision": "float32", "grid": 3}
SMALL |= {"image_size": 32, "glimpse_size": 8, "first_view": "glimpse", "location_policy": "grid_softmax"}


@pytest.fixture(scope="module")
def pictures(halves):
    return halves((24, 10))


def build_network(glimpse, classes, horizon):
    policy = {"location_policy": "grid_softmax", "grid": 3}
    return RecurrentAttention(Architecture(glimpse, classes, horizon, hidden=16, features=8, **policy))


def are_cells(locations):
    """Return whether all locations are cells of a 3 x 3 grid."""
    return bool(torch.isin(locations, torch.tensor([-1.0, 0.0, 1.0])).all())


@pytest.mark.parametrize("learned_start", [False, True])
def test_ram_learns_cells_of_a_grid(pictures, tmp_path, learned_start):
    """Locations are cells, and evaluation repeats the most probable ones from the checkpoint alone."""
    before = build_network(192, 2, 3)
    assert before.locator.out_features == 9
    row = ram_reinforce.main(Options(dataset=pictures, out=tmp_path, **SMALL, learned_start=learned_start))
    saved = checkpoint.load(tmp_path / "checkpoint.pt")
    assert saved["architecture"]["location_policy"] == "grid_softmax"
    assert saved["network"]["locator.weight"].shape == (9, 16)
    looks = Trajectories.load(tmp_path / "looks.npz")
    assert are_cells(looks.locations)
    again = results.write(tmp_path / "checkpoint.pt")
    assert again["per_step_accuracy"] == row["per_step_accuracy"]
    assert torch.equal(Trajectories.load(tmp_path / "looks.npz").locations, looks.locations)


def test_dtram_runs_resumes_and_predicts(pictures, tmp_path):
    options = {"dataset": pictures, **SMALL, "stop_epochs": 1, "stop_gradient": "sampled", "finetune": "all"}
    dtram_reinforce.main(StopOptions(out=tmp_path, **options))
    saved = checkpoint.load(tmp_path / "checkpoint.pt")
    assert [row["stage"] for row in saved["progress"]["history"]] == ["look", "look", "stop"]
    dtram_reinforce.main(StopOptions(out=tmp_path, **options, resume=True))
    served = predictor.load_predictor(saved, tmp_path, stopping_rules.choose_rule(True), None, None, "cpu")
    first, second = (served(list(torch.zeros(4, 3, 32, 32, dtype=torch.uint8))) for _ in range(2))
    assert [one.view.path.tolist() for one in first] == [one.view.path.tolist() for one in second]
    reach = 1 - 8 / 32
    assert all(are_cells(torch.as_tensor(one.view.path) / reach) for one in first)


def test_the_location_head_learns_to_look_where_it_pays(make):
    """The gradient of REINFORCE reaches the head and nothing else of the class scores' path does."""
    torch.manual_seed(0)
    network = build_network(16, 5, 4)
    glimpse, step = torch.rand(6, 16), torch.full((6, 1), 0.25)
    observation = {"glimpse": glimpse, "location": torch.zeros(6, 2), "step": step}
    heads, _ = network(observation, network.begin(6))
    assert torch.allclose(heads.location_parameters.exp().sum(1), torch.ones(6))
    heads.logits.sum().backward(retain_graph=True)
    assert network.locator.weight.grad is None
    GridSoftmax(3).log_prob(heads.location_parameters, torch.arange(6)).sum().backward()
    assert network.locator.weight.grad.abs().sum() > 0


POLICY = "--location-policy grid_softmax"


@pytest.mark.parametrize(
    ("pattern", "given"),
    [
        (f"--grid 1: {POLICY} chooses among cells; expected at least 2 a side", {"grid": 1}),
        ("grid=0: expected a whole number of at least 1", {"grid": 0}),
    ],
)
def test_options_that_do_not_fit_are_refused(pictures, tmp_path, pattern, given):
    with pytest.raises(SystemExit, match=pattern):
        ram_reinforce.main(Options(dataset=pictures, out=tmp_path, **SMALL | given))


def test_a_run_of_before_the_option_had_the_gaussian():
    for policy, expected in (("gaussian", []), ("grid_softmax", ["location_policy"])):
        assert checkpoint.different({"epochs": 3}, {"epochs": 3, "location_policy": policy}) == expected
