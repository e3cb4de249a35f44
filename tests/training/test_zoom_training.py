"""Agents that zoom: short runs of every script, their files, old checkpoints, and what is refused."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import cleanrl_ppo
import dtram_reinforce
import numpy as np
import pytest
import ram_reinforce
import sermanet_rnn
import torch
from dtram_reinforce import StopOptions
from finetune_backbone import FinetuneOptions
from ram_reinforce import Options

from glimpse_env import retina
from glimpse_env.commands import predict
from glimpse_env.evaluation.fixations import measure_fixations
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.reports import animation, fixation_figures, results
from glimpse_env.runtime import checkpoint
from glimpse_env.training.command_line import parse
from tests.reports.test_report import data_in

ZOOM = (1.0, 3.0)
SMALL = {"epochs": 1, "batch": 16, "hidden": 16, "features": 8, "threads": 1, "glimpses": 3}
SMALL |= {"precision": "float32", "image_size": 32, "glimpse_size": 8, "first_view": "glimpse"}


@pytest.fixture(scope="module")
def pictures(halves):
    return halves((24, 10))


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agent.py"])


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """The folder of a DT-RAM that zooms."""
    out, argv = tmp_path_factory.mktemp("zoomed"), sys.argv
    sys.argv = ["agent.py"]
    dtram_reinforce.main(StopOptions(dataset=pictures, out=out, zoom=ZOOM, stop_epochs=1, **SMALL))
    sys.argv = argv
    return out


def rewrite(out, target, change):
    """Save a changed copy of a checkpoint."""
    saved = checkpoint.load(out / "checkpoint.pt")
    change(saved)
    target.mkdir()
    checkpoint.save(target / "checkpoint.pt", saved)
    return target / "checkpoint.pt"


def test_a_run_leaves_scales_in_its_files(trained):
    saved, row = checkpoint.load(trained / "checkpoint.pt"), json.loads((trained / "result.json").read_text())
    assert (saved["environment"]["zoom"], saved["architecture"]["axes"]) == (ZOOM, 3)
    assert saved["options"]["zoom"] == ZOOM
    scales = Trajectories.load(trained / "looks.npz").scales
    assert scales is not None
    assert scales.shape == (3, 20)
    assert (scales[0] == 1).all()  # glimpse 1 is the widest
    assert scales[1:].unique().numel() > 1
    assert row["per_step_scale"] == pytest.approx(scales.mean(1).tolist())
    assert row["pixels"] == [64, 64]
    data = data_in(trained / "report.html")
    assert data["detail"] == [8, 8]
    for image in data["images"]:
        expected = retina.zoom_factor(scales[: len(image["path"]), image["number"]], ZOOM)
        assert image["factors"] == pytest.approx(expected.tolist(), abs=1e-4)


def test_pictures_have_the_windows_that_were_taken(trained):
    _, env, looks = results.evaluate_checkpoint(trained / "checkpoint.pt", "test")
    again = Trajectories.load(trained / "looks.npz")
    assert torch.equal(looks.predictions, again.predictions)
    factors = looks.compute_factors(ZOOM)
    clip = animation.build_clip(env, looks, 4, last=2)
    widths = (clip.boxes[:, 2] - clip.boxes[:, 0]) / (animation.STAGE * animation.FINE) * 32
    np.testing.assert_allclose(widths, 24 * factors[:, 4].numpy(), rtol=1e-3)
    _, _, episode = fixation_figures.select_episodes(env, looks, torch.full((20,), 2))[0]
    assert [episode.widths_at(step) for step in range(3)] == [[24 * f] for f in factors[:, 0].tolist()]


def test_files_are_predicted_with_zoom(pictures, trained, tmp_path):
    given = {"json": tmp_path / "all.json", "out": tmp_path / "drawn", "threads": 1}
    predict.main(predict.Predict(trained / "checkpoint.pt", (Path(pictures) / "test",), **given))
    rows = json.loads((tmp_path / "all.json").read_text())["images"]
    looks = Trajectories.load(trained / "looks.npz")
    assert {row["glimpses"] for row in rows} == {len(row["widths"]) for row in rows}
    assert all(row["widths"][0] == pytest.approx(24) for row in rows)
    assert looks.scales is not None
    measured = 24 * retina.zoom_factor(looks.scales, ZOOM).numpy()
    for row in rows:
        differences = np.abs(measured[: row["glimpses"]] - np.array(row["widths"])[:, None]).max(0)
        assert differences.min() < 1e-2  # one of the images


def test_a_resumed_run_is_the_same(pictures, tmp_path, interrupt):
    given = dict(dataset=pictures, zoom=ZOOM, **SMALL | {"epochs": 2})
    whole = ram_reinforce.main(Options(out=tmp_path / "whole", **given))
    interrupt(2)
    with pytest.raises(SystemExit):
        ram_reinforce.main(Options(out=tmp_path / "part", **given))
    interrupt(0)
    resumed = ram_reinforce.main(Options(out=tmp_path / "part", resume=True, **given))
    assert resumed["per_step_scale"] == whole["per_step_scale"]
    with pytest.raises(SystemExit, match=r"was made with --zoom \(1.0, 3.0\)"):
        ram_reinforce.main(Options(out=tmp_path / "part", resume=True, **given | {"zoom": None}))


def test_a_ram_without_zoom_is_read_but_no_start_for_zoom(pictures, trained, tmp_path):
    """Checkpoints of earlier versions know neither zoom nor axes."""
    ram_reinforce.main(Options(dataset=pictures, out=tmp_path / "ram", **SMALL))

    def forget(saved):
        del saved["environment"]["zoom"], saved["options"]["zoom"], saved["architecture"]["axes"]

    old = rewrite(tmp_path / "ram", tmp_path / "old", forget)
    given = dict(dataset=pictures, ram=old, stop_epochs=1, **SMALL)
    row = dtram_reinforce.main(StopOptions(out=tmp_path / "fixed", **given))
    assert "per_step_scale" not in row
    assert (
        results.write(old)["accuracy"] == json.loads((tmp_path / "ram/result.json").read_text())["accuracy"]
    )
    with pytest.raises(SystemExit, match="--ram: it was trained with --zoom None; give the same options"):
        dtram_reinforce.main(StopOptions(out=tmp_path / "zoomed", zoom=ZOOM, **given))
    with pytest.raises(SystemExit, match=r"--ram: it was trained with --zoom \(1.0, 3.0\)"):
        changes = given | {"ram": trained / "checkpoint.pt"}
        dtram_reinforce.main(StopOptions(out=tmp_path / "zoomed", **changes))
    zoomed = dtram_reinforce.main(
        StopOptions(out=tmp_path / "third", zoom=ZOOM, **given | {"ram": trained / "checkpoint.pt"})
    )
    assert len(zoomed["per_step_scale"]) == 3


@pytest.mark.parametrize(
    "variant",
    [
        {"policy": "random"},
        {"policy": "center"},
        {"policy": "grid", "grid": 2, "glimpses": 3},
        {"explore": 0.5, "learned_start": True, "samples": 2},
        {"locator": "map", "first_view": "image"},
        {"location_encoding": "none", "encoder_layers": 1},
        {"scales": (0.5, 1.0), "core": "lstm"},
    ],
)
def test_every_variant_of_ram_trains(pictures, tmp_path, variant):
    row = ram_reinforce.main(Options(dataset=pictures, out=tmp_path, zoom=ZOOM, **SMALL | variant))
    scales = Trajectories.load(tmp_path / "looks.npz").scales
    assert scales is not None
    policy = variant.get("policy")
    if policy == "random":
        assert scales[1:].unique().numel() > 20
    elif policy is not None:
        assert (scales[1:] == 0).all()
    assert 0 <= row["accuracy"] <= 1


def test_other_agents_train(pictures, tmp_path):
    fovea = {"resolutions": ("high", "medium"), "encoder_layers": 1, "first_view": "glimpse"}
    zoom = {"zoom": (0.5, 2.0), "dataset": pictures}
    options = sermanet_rnn.SermanetOptions(**SMALL | fovea, **zoom, out=tmp_path / "sermanet")
    assert len(sermanet_rnn.main(options)["per_step_scale"]) == 3
    names = ("threads", "glimpses", "precision", "image_size", "glimpse_size", "hidden")
    ppo = {name: SMALL[name] for name in names} | {"envs": 8, "steps": 6, "total_steps": 96}
    row = cleanrl_ppo.main(cleanrl_ppo.Ppo(**ppo, **zoom, out=tmp_path / "ppo"))
    assert len(row["per_step_scale"]) == 3


@pytest.mark.parametrize("action", ["box", "multidiscrete", "steering"])
def test_stable_baselines3_trains(pictures, tmp_path, action):
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed")
    import sb3_ppo

    from glimpse_env.adapters.learned_classifier import Teaching

    sizes = {"num_envs": 8, "n_steps": 8, "batch_size": 32, "total_steps": 64, "action": action, "grid": 2}
    sizes |= {"classifier": Teaching(hidden=8, features=8, depth=1, batch=16), "threads": 1}
    view = {"dataset": pictures, "glimpses": 3, "image_size": 32, "zoom": ZOOM}
    row = sb3_ppo.main(sb3_ppo.Sb3Options(**sizes, **view, out=tmp_path))
    assert len(row["per_step_scale"]) == 3


def test_a_fixation_lands_if_the_patch_lies_in_the_window_that_was_taken(make):
    env = make(4, order="once", zoom=ZOOM, glimpse_size=2)
    env.images = type(env.images)(**vars(env.images) | {"target_centers": torch.zeros(23, 2)})
    none = torch.zeros(2, 23)
    locations = torch.full((2, 23, 2), 0.3) / env.sensor.reach  # 1.8 pixels from the centre
    for scale, landed in ((-1.0, 0), (0.0, 0), (1.0, 1)):  # windows of 2, 3.5 and 6 pixels
        looks = Trajectories(torch.arange(23), env.images.labels, none.long(), none, none, locations)
        looks = replace(looks, scales=torch.full((2, 23), scale))
        measures = measure_fixations(env, looks, torch.full((23,), 1), learned_start=True)
        assert measures["on_patch"]["fixation"] == landed


def test_the_command_line_takes_two_numbers(capsys):
    parsed = parse(Options, {}, {}, "", ["--zoom", "1", "4"])
    assert parsed.zoom == (1.0, 4.0)
    assert parse(Options, {}, {}, "", []).zoom is None
    with pytest.raises(SystemExit, match="--zoom is called --zoom-area now"):
        parse(FinetuneOptions, {}, {}, "", ["--zoom", "0.1"])


@pytest.mark.parametrize(
    ("zoom", "message"),
    [
        ((3.0, 1.0), r"--zoom=\(3.0, 1.0\): expected two numbers .* the smaller one first"),
        ((0.0, 1.0), r"--zoom=\(0.0, 1.0\)"),
        ((1.0, float("nan")), "--zoom=.*nan"),
        (
            (1.0, 9.0),
            r"zoom=\(1.0, 9.0\) of glimpse_size=8: .* wider than the image of 32; .* most 4",
        ),
    ],
)
def test_ranges_that_cannot_be_used_end_with_one_sentence(pictures, tmp_path, zoom, message):
    with pytest.raises(SystemExit, match=message):
        ram_reinforce.main(Options(dataset=pictures, out=tmp_path, zoom=zoom, **SMALL))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_policy_over_cells_is_refused(pictures, tmp_path):
    given = SMALL | {"location_policy": "grid_softmax"}
    with pytest.raises(SystemExit, match=r"--location-policy grid_softmax: .*no scale; use gaussian"):
        ram_reinforce.main(Options(dataset=pictures, out=tmp_path, zoom=ZOOM, **given))
