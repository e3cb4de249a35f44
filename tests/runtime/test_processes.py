"""Several processes that train one agent: the result of one, each image counted once, and a helpful end."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from glimpse_env.runtime import checkpoint, distributed, files
from tests.runtime import several

ROOT = Path(__file__).parents[2]
COMMON = "--threads 1 --precision float32 --optimizer sgd --learning-rate 0.05 --dropout 0 --glimpses 3"


pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no torch.distributed"
)


@pytest.fixture(scope="module")
def pictures(painted) -> str:
    """Two classes of pictures: what tells them is the brightness of a corner."""

    def paint(pixels, name, number):
        pixels[4:12, 4:12] = 250 * (name == "light")

    return painted(("dark", "light"), (40, 13), paint)


def words(pictures: str, out: Path, *options: str) -> list[str]:
    """Return an agent's options."""
    size = ["--image-size", "32", "--glimpse-size", "8", "--batch", "12", "--out", str(out)]
    return ["--dataset", pictures, *size, *COMMON.split(), *options]


def in_two_processes(cache: Path, program: str, *given: str) -> subprocess.Popen:
    """Start a program in two processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *torchrun, program, *given]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "GLIMPSE_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=surroundings, start_new_session=True, **pipes)


def output_of(run: subprocess.Popen) -> str:
    """Wait for a program's end and return what it printed."""
    try:
        return run.communicate(timeout=240)[0]
    except subprocess.TimeoutExpired:
        run.terminate()  # torchrun then ends its processes
        run.communicate()
        raise


@pytest.fixture
def alone(monkeypatch, capsys, tmp_path):
    """Run an agent in this process and return what it printed."""

    def call(agent: str, *options: str) -> str:
        monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sys, "argv", [f"agents/{agent}.py", *options])
        runpy.run_path(str(ROOT / "agents" / f"{agent}.py"), run_name="__main__")
        return capsys.readouterr().out

    return call


RAM = ("--epochs", "3")
EPOCHS = 30  # of a run that is killed after the first
SAMPLED = "--epochs 1 --stop-epochs 2 --stop-gradient sampled --finetune all --samples 1 --baseline learned"


@pytest.fixture(scope="module")
def both(pictures, tmp_path_factory) -> tuple[Path, int, list[str]]:
    """Run two agents and a refused run in two processes; return folder, exit code and outputs."""
    folder = tmp_path_factory.mktemp("both")
    scripts = [
        ["agents/ram_reinforce.py", *words(pictures, folder / "ram", *RAM)],
        ["agents/dtram_reinforce.py", *words(pictures, folder / "dtram", *SAMPLED.split())],
        ["agents/ram_reinforce.py", *words(pictures, folder / "refused", "--batch", "13")],
    ]
    run = in_two_processes(folder / "cache", "tests/runtime/several.py", json.dumps(scripts))
    output = output_of(run)
    assert output.count(several.BETWEEN) == len(scripts), output
    return folder, run.returncode, output.split(several.BETWEEN)[1:]


def test_two_processes_train_as_one(both, alone, pictures, tmp_path):
    """The same weights, up to the order of summation; every image is evaluated once, by one writer."""
    folders = (tmp_path / "1", both[0] / "ram")
    outputs = (alone("ram_reinforce", *words(pictures, folders[0], *RAM)), both[2][0])
    one, two = (checkpoint.load(folder / "checkpoint.pt") for folder in folders)
    for name, value in one["network"].items():
        torch.testing.assert_close(
            two["network"][name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    for first, second in zip(one["progress"]["history"], two["progress"]["history"], strict=True):
        for key in ("loss", "reward", "train_accuracy", "validation_accuracy"):
            assert second[key] == pytest.approx(first[key], abs=1e-4)
    rows = [files.read_json(folder / "result.json") for folder in folders]
    assert rows[0]["images"] == rows[1]["images"] == 26
    assert rows[0]["accuracy"] == rows[1]["accuracy"]
    assert outputs[1].count("mean glimpses") == outputs[0].count("mean glimpses") > 0
    assert len(list(folders[1].glob("events.out.tfevents.*"))) == 1


def test_learned_stopping_on_sampled_decisions_is_shared_too(both, alone, pictures, tmp_path):
    """Processes have different numbers of active steps; means are those of the whole batch."""
    alone("dtram_reinforce", *words(pictures, tmp_path, *SAMPLED.split()))
    one, two = (
        checkpoint.load(folder / "checkpoint.pt")["network"] for folder in (tmp_path, both[0] / "dtram")
    )
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def test_a_batch_that_does_not_divide_is_refused(both):
    _, ended, outputs = both
    assert ended == 1
    assert "--batch 13 does not divide over 2 processes: choose a multiple of 2" in outputs[2]


@pytest.mark.usefixtures("unchecked")
def test_a_killed_process_ends_the_run_with_a_checkpoint_that_resumes(alone, pictures, tmp_path):
    options = words(pictures, tmp_path, "--epochs", str(EPOCHS))
    run = in_two_processes(tmp_path / "cache", "agents/ram_reinforce.py", *options)
    deadline = time.monotonic() + 120
    while not learned(tmp_path / "checkpoint.pt") and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(worker(run.pid, 1), signal.SIGKILL)
    output = output_of(run)
    assert run.returncode not in (0, None)
    assert "another process ended" in output, output
    assert "resume with --resume" in output
    again = output_of(in_two_processes(tmp_path / "cache", "agents/ram_reinforce.py", *options))
    assert "resume it (--resume), write to another folder (--out), or replace it (--overwrite)" in again
    assert again.count("--overwrite") == 1  # one process speaks
    epoch = checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["epoch"]
    assert epoch < EPOCHS
    alone("ram_reinforce", *options, "--resume")
    assert len(checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["history"]) == EPOCHS


def learned(target: Path) -> bool:
    """Tell whether a run has finished an epoch."""
    return target.is_file() and checkpoint.load(target)["progress"]["epoch"] > 0


def worker(parent: int, rank: int) -> int:
    """Return the process of this rank among another one's children."""
    for folder in Path("/proc").iterdir():
        try:
            above = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            surroundings = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError, ValueError):
            continue
        if above == parent and f"RANK={rank}".encode() in surroundings:
            return int(folder.name)
    raise AssertionError(f"{parent} has no child of rank {rank}")


def test_alone_nothing_is_cut_averaged_or_waited_for():
    values = torch.arange(6.0)
    generator, same = (torch.Generator().manual_seed(0) for _ in range(2))
    assert torch.equal(distributed.part(values), values)
    assert torch.equal(distributed.draw(torch.rand, (4, 2), generator), torch.rand(4, 2, generator=same))
    assert distributed.average(values) is values
    assert distributed.gathered([1, 2]) == [1, 2]
    assert (distributed.count(), distributed.rank(), distributed.first()) == (1, 0, True)
    assert distributed.broadcast("x") == "x"
    assert distributed.share(7, "--batch") == 7
    distributed.wait()


def test_programs_for_one_process_say_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ValueError, match="fcan_greedy runs in one process, and torchrun started 2: start it with python"
    ):
        distributed.refuse("fcan_greedy")
