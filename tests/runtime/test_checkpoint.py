"""Files are whole or absent, and foreign ones are refused by name."""

import pickle

import pytest
import torch

from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.runtime import checkpoint, files
from glimpse_env.training import resume


def test_round_trip(tmp_path):
    checkpoint.save(tmp_path / "a.pt", {"weights": {"w": torch.arange(3)}, "note": "hi"})
    found = checkpoint.load(tmp_path / "a.pt")
    assert found["note"] == "hi"
    assert found["weights"]["w"].tolist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_interrupted_write_leaves_the_previous_file_whole(tmp_path, monkeypatch):
    target = tmp_path / "a.pt"
    checkpoint.save(target, {"note": "first"})

    def broken(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", broken)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(target, {"note": "second"})
    assert checkpoint.load(target)["note"] == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"not a checkpoint",
        b"PK\x03\x04 cut off",
        pickle.dumps({"format": "glimpse-checkpoint"}, 2),
    ],
)
def test_unreadable_file_is_named(tmp_path, content):
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.pt is (not readable as a checkpoint|a torch file but no)"):
        checkpoint.load(tmp_path / "bad.pt")


def test_foreign_and_outdated_checkpoints(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match=r"foreign\.pt is a torch file but no glimpse-checkpoint"):
        checkpoint.load(tmp_path / "foreign.pt")
    torch.save({"format": "glimpse-checkpoint", "version": 99}, tmp_path / "new.pt")
    with pytest.raises(ValueError, match="version 99"):
        checkpoint.load(tmp_path / "new.pt")
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        checkpoint.load(tmp_path / "none.pt")


def test_damaged_files_of_a_run_are_named(tmp_path):
    result, looks = tmp_path / "result.json", tmp_path / "looks.npz"
    result.write_text('{"accuracy": 0.')
    looks.write_bytes(b"PK\x03\x04 half")
    with pytest.raises(ValueError, match=r"result.json is damaged: remove it"):
        files.read_json(result)
    with pytest.raises(ValueError, match=r"looks.npz is damaged: remove it"):
        Trajectories.load(looks)


def test_weights_are_told_by_their_file_and_else_by_their_name(tmp_path):
    here, there = tmp_path / "here.pth", tmp_path / "there.pth"
    for file in (here, there):
        file.write_bytes(b"weights")
    look = {"backbone": "resnet18", "sensor": "crop", "weights": str(here)}
    saved = {"options": {}, "environment": look, "weights_sha256": resume.weights_hash(look)}
    assert not resume.other_weights(saved, str(there))
    there.write_bytes(b"others")
    assert resume.other_weights(saved, str(there))
    named = {"options": {}, "environment": look | {"weights": "DEFAULT"}, "weights_sha256": None}
    assert [resume.other_weights(named, weights) for weights in ("DEFAULT", None)] == [False, True]
    assert not resume.other_weights(
        {"options": {}, "environment": look | {"sensor": "pixel"}, "weights_sha256": None}, None
    )  # they are not used
