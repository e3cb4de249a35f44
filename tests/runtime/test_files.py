"""Files are complete or absent, whatever interrupts their writing."""

import numpy as np
import pytest
import torch

from glimpse_env.runtime import files

WRITERS = {"a.json": files.write_json, "a.pt": files.write_torch, "a.npz": files.write_numpy}


@pytest.mark.parametrize(("name", "write"), WRITERS.items())
def test_an_interrupted_write_leaves_the_previous_file(tmp_path, monkeypatch, name, write):
    target = tmp_path / "folder" / name
    write(target, {"values": [1.0, 2.0]})
    before = target.read_bytes()

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(target, {"values": [3.0]})
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == [name]


def test_what_is_written_is_read_back(tmp_path):
    content = {"values": [1.0, 2.0], "name": "ä"}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json") == content
    files.write_torch(tmp_path / "a.pt", {"values": torch.arange(3)})
    assert torch.load(tmp_path / "a.pt", weights_only=True)["values"].tolist() == [0, 1, 2]
    files.write_numpy(tmp_path / "a.npz", {"values": np.arange(3)})
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["values"].tolist() == [0, 1, 2]


def test_publish_replaces_the_target_by_the_draft(tmp_path):
    draft, target = tmp_path / "draft", tmp_path / "target"
    draft.write_bytes(b"new")
    target.write_bytes(b"old")
    files.publish(draft, target)
    assert target.read_bytes() == b"new"
    assert not draft.exists()
