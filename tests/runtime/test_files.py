"""Files are complete or absent, whatever interrupts their writing."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has neither")
def test_devices_pipes_and_links_stay_what_they_are(tmp_path):
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "deep" / "file"
    os.mkfifo(pipe)
    link.symlink_to(file)
    files.check_writable(pipe)
    files.check_writable(link)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        files.write_bytes(pipe, b"text")
        assert read.result(10) == b"text"
    assert pipe.is_fifo()
    for content in (b"one", b"two"):  # the file that the link leads to does not exist at first
        files.write_bytes(link, content)
        assert link.is_symlink()
        assert file.read_bytes() == content
    assert files.is_special(Path("/dev/null"))
    assert files.is_special(Path("/dev/stdout"))
    assert not files.is_special(file)
