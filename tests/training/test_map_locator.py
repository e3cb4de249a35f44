"""RAM and DT-RAM with a locator on the backbone's feature map: whole runs, evaluation and prediction."""

import dtram_reinforce
import pytest
import ram_reinforce
import torch
from dtram_reinforce import StopOptions
from gymnasium.vector import AutoresetMode
from ram_reinforce import Options

from glimpse_env import Backbone, GlimpseVectorEnv
from glimpse_env.evaluation import predictor, stopping_rules
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training.rollout import Behaviour, collect, read_context

DISABLED = AutoresetMode.DISABLED
SMALL = {"epochs": 2, "batch": 8, "samples": 2, "hidden": 16, "features": 8, "threads": 1, "glimpses": 3}
SMALL |= {"precision": "float32", "grid": 3, "sensor": "bank", "backbone": "resnet18", "augment": False}
SMALL |= {"image_size": 64, "view_size": 64, "glimpse_size": 32, "first_view": "image", "locator": "map"}


@pytest.fixture(scope="module")
def pictures(halves):
    return halves((12, 5))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(Backbone("resnet18", None).network.state_dict(), file)
    return str(file)


@pytest.mark.parametrize("policy", ["gaussian", "grid_softmax"])
def test_ram_runs_is_evaluated_again_and_predicts(pictures, weights, tmp_path, monkeypatch, policy):
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    given = SMALL | {"dataset": pictures, "weights": weights, "location_policy": policy}
    row = ram_reinforce.main(Options(out=tmp_path, **given))
    saved = checkpoint.load(tmp_path / "checkpoint.pt")
    assert tuple(saved["architecture"]["map_shape"]) == (512, 2)
    looks = Trajectories.load(tmp_path / "looks.npz")
    again = results.write(tmp_path / "checkpoint.pt")
    assert again["per_step_accuracy"] == row["per_step_accuracy"]
    served = predictor.load_predictor(saved, tmp_path, stopping_rules.choose_rule(False), None, None, "cpu")
    images = GlimpseVectorEnv(1, pictures, split="test", image_size=64, sensor="pixel").images
    shown = served([images.image(i) for i in range(len(images))])
    paths = torch.stack([torch.from_numpy(prediction.view.path) for prediction in shown], 1)
    assert torch.allclose(paths, looks.locations * 0.5, atol=2e-2)


def test_dtram_stops_a_ram_that_reads_maps(pictures, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    given = SMALL | {"dataset": pictures, "weights": weights, "epochs": 1}
    row = dtram_reinforce.main(StopOptions(out=tmp_path, **given, stop_epochs=1))
    assert 1 <= row["mean_glimpses"] <= 3


def test_a_rollout_reads_every_map_once(pictures):
    view = {name: SMALL[name] for name in ("image_size", "view_size", "glimpse_size", "grid", "sensor")}
    env = GlimpseVectorEnv(
        6, pictures, **view, backbone=Backbone("resnet18", None), max_glimpses=3, autoreset_mode=DISABLED
    )
    network = RecurrentAttention(
        Architecture(512, 2, 3, hidden=8, features=8, locator="map", map_shape=(512, 2), reach=0.5)
    )
    indices, read = torch.tensor([4, 4, 2, 2, 4, 4]), []
    maps = env.sensor.view_maps.at
    env.sensor.view_maps.at = lambda index: read.append(index.tolist()) or maps(index)
    context = read_context(env, network, indices)
    torch.testing.assert_close(context, network.encode_map(maps(indices)))
    assert read == [[4, 2, 4]]
    rollout = collect(env, network, Behaviour(3), torch.Generator(), indices)
    assert read == [[4, 2, 4]] * 2
    assert "map" not in env.observation_space.spaces
    assert rollout.active.all()


@pytest.mark.parametrize(
    ("pattern", "given"),
    [
        ("--locator map scores the first view: it needs --first-view image", {"first_view": "glimpse"}),
        ("learned_start needs locator='state'|--learned-start chooses", {"learned_start": True}),
    ],
)
def test_options_that_do_not_fit_are_refused(pictures, weights, tmp_path, pattern, given):
    options = SMALL | {"dataset": pictures, "weights": weights} | given
    with pytest.raises(SystemExit, match=pattern):
        ram_reinforce.main(Options(out=tmp_path, **options))
