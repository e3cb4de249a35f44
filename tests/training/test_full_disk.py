"""A full disk or a read-only folder ends every training in one sentence: what remains, what helps."""

import errno
import importlib
import os
import sys
from itertools import count

import pytest

from glimpse_env.runtime import files
from glimpse_env.training import trainer
from tests.training.killed import AGENTS, SMALL


@pytest.fixture(scope="module")
def pictures(halves):
    return halves((24, 10))


@pytest.fixture
def start(pictures, tmp_path, monkeypatch):
    """Return a function that trains an agent."""
    monkeypatch.setattr(sys, "argv", ["agent.py"])

    def call(agent: str) -> None:
        script, (name, sizes) = importlib.import_module(agent), AGENTS[agent]
        script.main(getattr(script, name)(dataset=pictures, out=tmp_path / "run", **SMALL | sizes))

    return call


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("writes", [0, 2])
def test_a_disk_that_fills_up_ends_a_training_in_one_sentence(start, tmp_path, monkeypatch, agent, writes):
    publish, number = files.publish, count()

    def fill(draft, target):
        if next(number) >= writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft))
        publish(draft, target)

    monkeypatch.setattr(files, "publish", fill)
    with pytest.raises(SystemExit) as ended:
        start(agent)
    run, expected = tmp_path / "run", f"{agent}: {tmp_path}/run/checkpoint.pt cannot be written "
    expected += f"(No space left on device): free some space in {run}, or write to another folder"
    kept = f"; {run}/checkpoint.pt holds the last finished epoch; resume with --resume" if writes else ""
    assert str(ended.value) == expected + kept
    left = [path.name for path in run.iterdir() if "tfevents" not in path.name and path.name != ".lock"]
    assert left == ["checkpoint.pt"] * bool(writes)


def test_a_log_that_cannot_be_written_ends_a_training_in_one_sentence(start, tmp_path, monkeypatch):
    from torch.utils.tensorboard import SummaryWriter

    def close(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # of TensorBoard's thread: it names no file

    monkeypatch.setattr(SummaryWriter, "close", close)
    monkeypatch.setattr("cleanrl_ppo.train", lambda *_: None)
    monkeypatch.setattr(trainer.Run, "finish", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(
        SystemExit,
        match=rf"{tmp_path}/run cannot be used \(No space left.*free some space in {tmp_path}/run, or",
    ):
        start("cleanrl_ppo")


def test_a_folder_that_is_a_file_ends_a_training_in_one_sentence(start, tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(
        SystemExit, match=f"ram_reinforce: .*{tmp_path}/run is a file where a folder is needed: move it"
    ):
        start("ram_reinforce")
