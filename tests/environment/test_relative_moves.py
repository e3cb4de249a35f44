"""moves="relative": the action is a displacement of bounded length from the last location."""

import dtram_reinforce
import pytest
import torch
from dtram_reinforce import StopOptions
from gymnasium.vector import AutoresetMode

from glimpse_env import GlimpseVectorEnv, Preset, load_agent
from glimpse_env.deployment.export_file import check_exportable
from glimpse_env.networks.base import Agent
from glimpse_env.training.rollout import Behaviour, collect

MOVES = {"moves": "relative", "max_move": 0.5}
SMALL = {"epochs": 1, "stop_epochs": 1, "batch": 16, "hidden": 16, "features": 8, "threads": 1, "glimpses": 3}
SMALL |= {"precision": "float32", "image_size": 32, "glimpse_size": 8, "first_view": "glimpse", **MOVES}


def act(env, location, **others):
    """Return an action without a stop."""
    rows = env.num_envs
    prediction, stop = torch.full((rows, len(env.images.classes)), 0.5), torch.zeros(rows, dtype=torch.bool)
    return {"location": torch.tensor(location), "stop": stop, "prediction": prediction} | others


def test_locations_are_sums_of_displacements_and_stay_inside(make):
    env = make(3, **MOVES)
    env.reset(seed=0)  # at the centre
    observation, *_ = env.step(act(env, [[1.0, 0.0], [0.5, -0.5], [0.0, 0.0]]))
    torch.testing.assert_close(observation["location"], torch.tensor([[0.5, 0.0], [0.25, -0.25], [0.0, 0.0]]))
    observation, *_ = env.step(act(env, [[1.0, 1.0], [-0.2, 0.0], [0.0, -1.0]]))
    half = 0.5 / 2**0.5  # longer than 1: shortened, not clamped in each axis
    expected = torch.tensor([[0.5 + half, half], [0.15, -0.25], [0.0, -0.5]])
    torch.testing.assert_close(observation["location"], expected)
    observation, *_ = env.step(act(env, [[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]]))
    torch.testing.assert_close(
        observation["location"], torch.tensor([[1.0, half], [-0.35, -0.25], [0.0, -1.0]])
    )


def test_an_episode_begins_at_its_own_first_location(make):
    env = make(2, **MOVES, autoreset_mode=AutoresetMode.DISABLED)
    first = torch.tensor([[0.4, 0.0], [-0.4, 0.2]])
    env.reset(seed=0, options={"locations": first})
    observation, *_ = env.step(act(env, [[0.2, 0.0], [0.2, 0.0]]))
    torch.testing.assert_close(observation["location"], first + torch.tensor([0.1, 0.0]))


def test_the_scale_of_a_zoom_is_no_displacement(make):
    env = make(2, **MOVES, zoom=(1.0, 2.0))
    env.reset(seed=0)
    scale = torch.tensor([[-0.5], [0.3]])
    observation, *_ = env.step(act(env, [[0.2, 0.0], [0.0, 0.0]], scale=scale))
    torch.testing.assert_close(observation["scale"], scale)
    torch.testing.assert_close(observation["location"], torch.tensor([[0.1, 0.0], [0.0, 0.0]]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"moves": "relative"},
            r"moves='relative', max_move=None: expected both moves='relative' and max_move",
        ),
        ({"max_move": 0.5}, r"moves='absolute', max_move=0.5: expected both"),
        ({"moves": "jump", "max_move": 0.5}, r"moves='jump': expected one of absolute, relative"),
        ({**MOVES, "max_move": 0.0}, r"max_move=0.0: expected"),
        ({**MOVES, "max_move": float("nan")}, r"max_move=nan: expected"),
    ],
)
def test_bad_moves_are_refused(make, given, message):
    with pytest.raises(ValueError, match=message):
        make(2, **given)


def test_an_agent_learns_with_them_and_is_evaluated_and_loaded(halves, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["agent.py"])
    row = dtram_reinforce.main(StopOptions(dataset=halves((24, 10)), out=tmp_path, **SMALL))
    assert row["images"] == 20
    agent = load_agent(tmp_path / "checkpoint.pt")
    assert agent.predictor.arguments["moves"] == "relative"
    with pytest.raises(ValueError, match="it chooses displacements, not locations"):
        check_exportable(agent, Preset(**MOVES))
    with pytest.raises(SystemExit, match="--policy grid chooses locations: use it without --moves relative"):
        options = StopOptions(dataset=halves((24, 10)), out=tmp_path / "grid", policy="grid", **SMALL)
        dtram_reinforce.main(options)


def test_a_guide_of_locations_is_refused(make):
    env: GlimpseVectorEnv = make(2, **MOVES, autoreset_mode=AutoresetMode.DISABLED)
    behaviour = Behaviour(2, guide=lambda *_: torch.zeros(2, 2))
    with pytest.raises(ValueError, match="a guide chooses locations"):
        collect(env, Still(), behaviour, torch.Generator(), torch.arange(2))


class Still(Agent):
    """A network that is never run."""

    def begin(self, rows):
        """Fail."""
        raise AssertionError

    def forward(self, observation, state):
        """Fail."""
        raise AssertionError
