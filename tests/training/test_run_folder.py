"""A run's folder: not written over unasked, locked while a run writes to it; the images of a resumed run."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cleanrl_ppo
import dtram_reinforce
import finetune_backbone
import pytest
import ram_reinforce
import sermanet_rnn
import torch
from cleanrl_ppo import Ppo
from dtram_reinforce import StopOptions
from finetune_backbone import FinetuneOptions
from PIL import Image
from ram_reinforce import Options
from sermanet_rnn import SermanetOptions

from glimpse_env import datasets
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, distributed, files
from glimpse_env.training import run_folder, trainer

VIEW = {"threads": 1, "precision": "float32", "image_size": 32}
SMALL = VIEW | {"epochs": 1, "batch": 16, "hidden": 8, "features": 8, "glimpses": 2, "glimpse_size": 8}
WAYS = r"resume it \(--resume\), write to another folder \(--out\), or replace it \(--overwrite\)"
TINY = VIEW | {"backbone": "resnet18", "weights": None, "view_size": 32, "epochs": 1, "batch": 4}
PPO = VIEW | {"glimpse_size": 8, "glimpses": 2, "envs": 4, "steps": 2, "total_steps": 16, "hidden": 8}
SCRIPTS = {
    "ram": (ram_reinforce.main, lambda **given: Options(**SMALL | given)),
    "dtram": (dtram_reinforce.main, lambda **given: StopOptions(**SMALL | given)),
    "sermanet": (sermanet_rnn.main, lambda **given: SermanetOptions(**SMALL | given)),
    "finetune": (finetune_backbone.main, lambda **given: FinetuneOptions(**TINY | given)),
    "cleanrl": (cleanrl_ppo.main, lambda **given: Ppo(**PPO | given)),
}


@pytest.fixture(scope="module")
def source(halves):
    return halves((12, 4))


@pytest.fixture
def pictures(source, tmp_path):
    """A copy that the test may change."""
    return shutil.copytree(source, tmp_path / "data" / "birds")


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agents/agent.py", "--seed", "0"])


def start(main, options, interrupt):
    """Start a run and interrupt it as soon as it has written its first checkpoint."""
    interrupt(1)
    with pytest.raises(SystemExit) as stopped:
        main(options)
    interrupt(0)
    assert stopped.value.code == 130


def content(folder):
    """Return the bytes of every file in a folder."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_run_is_not_written_over_unless_that_is_asked_for(source, tmp_path, interrupt, name):
    main, build = SCRIPTS[name]
    options = build(dataset=source, out=tmp_path / "run")
    start(main, options, interrupt)
    (options.out / "result.json").write_text("{}")
    (options.out / "notes.txt").write_text("my own")
    before = content(options.out)
    with pytest.raises(SystemExit, match=f"run holds the run of `python agents/agent.py --seed 0`: {WAYS}"):
        main(options)
    with pytest.raises(SystemExit, match="--resume --overwrite: a run is resumed or replaced; give one of"):
        main(replace(options, resume=True, overwrite=True))
    with pytest.raises(SystemExit, match=r"--resume: .* was made with --seed 0; give the same options"):
        main(replace(options, resume=True, seed=1))
    assert content(options.out) == before
    start(main, replace(options, overwrite=True, seed=1), interrupt)
    after = content(options.out)
    assert checkpoint.read(options.out / "checkpoint.pt")["options"]["seed"] == 1
    assert "result.json" not in after  # of the other run
    assert after["notes.txt"] == b"my own"


def test_the_default_folders_of_two_data_sets_of_one_name(source, tmp_path, interrupt, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in "ab":
        shutil.copytree(source, tmp_path / place / "birds")
    start(ram_reinforce.main, Options(dataset="a/birds", **SMALL), interrupt)
    folder = Path("runs/ram_reinforce-birds-0")
    before = content(folder)
    for other in ({"dataset": "b/birds"}, {"dataset": "a/birds", "hidden": 9}):
        with pytest.raises(SystemExit, match=rf"ram_reinforce: {folder} holds the run of .*: {WAYS}"):
            ram_reinforce.main(Options(**SMALL | other))
    with pytest.raises(SystemExit, match=r"--resume: .* was made with --dataset a/birds; give the same"):
        ram_reinforce.main(Options(dataset="b/birds", resume=True, **SMALL))
    assert content(folder) == before


@pytest.mark.usefixtures("with_figures")
def test_overwriting_removes_all_that_a_run_leaves(source, tmp_path, interrupt):
    options = StopOptions(dataset=source, out=tmp_path, **SMALL, stop_epochs=1)
    dtram_reinforce.main(options)
    results.write(tmp_path / "checkpoint.pt", "validation")
    assert len(list(tmp_path.iterdir())) > 12
    with pytest.raises(SystemExit, match="--batch 999"):  # the run before is there until the next one begins
        dtram_reinforce.main(replace(options, overwrite=True, batch=999))
    assert len(list(tmp_path.iterdir())) > 12
    start(dtram_reinforce.main, replace(options, overwrite=True), interrupt)
    left = sorted(path.name.partition(".tfevents")[0] for path in tmp_path.iterdir())
    assert left in ([".lock", "checkpoint.pt", "events.out"], ["checkpoint.pt", "events.out"])


def test_a_folder_has_one_run_at_a_time_and_a_killed_one_does_not_block_it(source, tmp_path, interrupt):
    options = Options(dataset=source, out=tmp_path / "run", **SMALL)
    options.out.mkdir()
    lock = f"lock = FileLock({str(options.out / run_folder.LOCK)!r}); lock.acquire()"
    wait = "print(flush=True); time.sleep(600)"
    program = [sys.executable, "-c", f"import time; from filelock import FileLock; {lock}; {wait}"]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        try:
            for given in ({}, {"resume": True}, {"overwrite": True}):
                with pytest.raises(SystemExit, match=r"another process runs in .*run: wait for its end, or"):
                    ram_reinforce.main(replace(options, **given))
        finally:
            os.kill(other.pid, signal.SIGKILL)
    start(ram_reinforce.main, options, interrupt)


def test_one_process_may_hold_a_folder_several_times(tmp_path):
    with run_folder.hold(tmp_path / "run"):
        with run_folder.hold(tmp_path / "run"):
            pass
        assert (tmp_path / "run").is_dir()
        (tmp_path / "run" / "file").touch()
    assert (tmp_path / "run" / "file").is_file()


def test_a_refused_run_leaves_nothing(source, tmp_path):
    out = tmp_path / "run"
    for wrong in ({"dataset": "mnits"}, {"batch": 999}, {"resume": True}, {"epochs": 0}):
        with pytest.raises(SystemExit):
            ram_reinforce.main(Options(**{"dataset": source, "out": out} | SMALL | wrong))
        assert not out.exists()


def test_what_cannot_be_resumed_says_the_other_two_ways(tmp_path):
    (tmp_path / "rllib").mkdir()
    ways = r"holds a run \(rllib\): write to another folder \(--out\), or replace it \(--overwrite\)$"
    with pytest.raises(ValueError, match=ways):
        run_folder.check_free(tmp_path, SimpleNamespace(overwrite=False))
    with run_folder.claim(tmp_path, SimpleNamespace(overwrite=True)) as old:
        assert old == [tmp_path / "rllib"]
        run_folder.remove(old)
    assert not (tmp_path / "rllib").exists()
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"holds a run whose checkpoint\.pt is damaged: write to"):
        run_folder.check_free(tmp_path, SimpleNamespace(overwrite=False))


def brighten(file):
    """Change an image."""
    with Image.open(file) as image:
        image.point(lambda value: min(255, value + 40)).save(file)


CHANGES = {
    "pixels": lambda half: brighten(half / "left" / "1.png"),
    "a new image": lambda half: shutil.copy(half / "left" / "1.png", half / "left" / "99.png"),
    "an image less": lambda half: (half / "right" / "2.png").unlink(),
    "a label": lambda half: shutil.move(half / "left" / "3.png", half / "right" / "99.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_resumed_run_needs_the_images_that_it_was_trained_and_measured_on(pictures, tmp_path, change):
    options = Options(dataset=str(pictures), out=tmp_path / "run", **SMALL)
    ram_reinforce.main(options)
    before, again = content(options.out), replace(options, resume=True)
    for half, refusal in (
        ("test", "result of this finished run was measured on other images of test than there are now"),
        ("train", "checkpoint.pt was trained on other images than there are now; restore them"),
    ):
        kept = shutil.copytree(pictures / half, tmp_path / "kept" / half)
        CHANGES[change](pictures / half)
        with pytest.raises(SystemExit, match=refusal):
            ram_reinforce.main(again)
        now = content(options.out)
        assert {name: now[name] for name in ("checkpoint.pt", "result.json")} == {
            name: before[name] for name in ("checkpoint.pt", "result.json")
        }
        shutil.rmtree(pictures / half)
        shutil.copytree(kept, pictures / half)
    if change == "pixels":  # restored
        assert ram_reinforce.main(again)["accuracy"] == json.loads(before["result.json"])["accuracy"]


def test_an_interrupted_run_and_its_ram_need_their_images_too(pictures, tmp_path, interrupt):
    for name, (main, build) in SCRIPTS.items():
        start(main, build(dataset=str(pictures), out=tmp_path / name), interrupt)
    brighten(pictures / "train" / "right" / "0.png")
    for name, (main, build) in SCRIPTS.items():
        with pytest.raises(SystemExit, match=rf"{name}/checkpoint\.pt was trained on other images"):
            main(build(dataset=str(pictures), out=tmp_path / name, resume=True))
    ram = tmp_path / "ram" / "checkpoint.pt"
    with pytest.raises(SystemExit, match="--ram: it was trained on other images than there are now"):
        dtram_reinforce.main(StopOptions(dataset=str(pictures), out=tmp_path / "new", ram=ram, **SMALL))


def test_an_evaluation_on_other_images_says_that_it_replaces_a_result(pictures, tmp_path, caplog):
    ram_reinforce.main(Options(dataset=str(pictures), out=tmp_path, **SMALL))
    brighten(pictures / "test" / "left" / "0.png")
    results.write(tmp_path / "checkpoint.pt")
    results.write(tmp_path / "checkpoint.pt")  # the same images
    assert caplog.text.count("was measured on other images of test than there are now; replaced") == 1


def test_a_digest_holds_pixels_order_labels_and_names():
    images = datasets.ImageSet(
        torch.arange(3 * 4, dtype=torch.uint8).view(3, 1, 2, 2), torch.tensor([0, 1, 0]), ("a", "b")
    )
    order = torch.tensor([0, 1, 2])
    others = [
        images,
        replace(images, images=images.images + 1),
        replace(images, labels=torch.tensor([1, 0, 0])),
        replace(images, classes=("a", "c")),
        images.subset(order[:2]),
        images.subset(order.flip(0)),
        replace(images, key="pixels"),
        replace(images, boxes=torch.zeros(3, 4)),
    ]
    assert len({other.digest() for other in others}) == len(others)
    assert images.digest() == replace(images, images=images.images.clone()).digest()
    named = replace(images, key="pixels")
    assert named.digest() == replace(named, images=images.images + 1).digest()  # they are not read
    kept = datasets.load("mnist", "fit").digest()
    assert kept == datasets.load("mnist", "fit").digest() != datasets.load("mnist", "validation").digest()


def test_results_and_checkpoints_hold_the_digests(source, tmp_path):
    ram_reinforce.main(Options(dataset=source, out=tmp_path, **SMALL))
    place = {"image_size": 32}
    saved, row = checkpoint.load(tmp_path / "checkpoint.pt"), files.read_json(tmp_path / "result.json")
    assert saved["data"] == {"sha256": datasets.load(source, "fit", **place).digest(), "image_size": 32}
    assert row["data_sha256"] == datasets.load(source, "test", **place).digest()


def test_older_checkpoints_that_do_not_hold_a_digest_are_resumed(pictures, tmp_path, interrupt):
    options = Options(dataset=str(pictures), out=tmp_path / "run", **SMALL)
    start(ram_reinforce.main, options, interrupt)
    saved = checkpoint.load(options.out / "checkpoint.pt")
    del saved["data"]
    checkpoint.save(options.out / "checkpoint.pt", saved)
    assert ram_reinforce.main(replace(options, resume=True))["images"] == 8


def test_resume_is_advised_only_where_there_is_a_checkpoint(source, tmp_path, monkeypatch, capsys, interrupt):
    options = Options(dataset=source, out=tmp_path / "run", **SMALL)
    monkeypatch.setenv("WORLD_SIZE", "2")  # for `is_lost` alone
    monkeypatch.setattr(distributed, "join", lambda device: run_folder.ExitStack())

    def end(*_, **__):
        raise distributed.EndedError("torchrun ended this process")

    with monkeypatch.context() as early:
        early.setattr(ram_reinforce, "build_environment", end)
        with pytest.raises(
            SystemExit, match=r"another process ended \(.*\); nothing was saved yet; start it"
        ):
            ram_reinforce.main(options)
        early.setattr(ram_reinforce, "build_environment", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(SystemExit):
            ram_reinforce.main(options)
        assert "stopped: nothing was saved yet; start it again" in capsys.readouterr().err
    monkeypatch.setattr(trainer.Run, "after_save", [end])
    with pytest.raises(
        SystemExit, match=r"checkpoint\.pt holds the last finished epoch; resume with --resume"
    ):
        ram_reinforce.main(options)


def test_a_process_says_that_it_waits_for_the_others(monkeypatch, caplog):
    monkeypatch.setattr(distributed, "SILENCE", 0.05)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    ended, never = threading.Event(), threading.Event()
    thread = threading.Thread(target=distributed._announce, args=(ended,))
    with caplog.at_level(logging.WARNING):
        thread.start()
        with distributed._waiting():
            never.wait(0.3)
        never.wait(0.2)  # not waiting
        ended.set()
        thread.join()
    assert [record.getMessage() for record in caplog.records] == [
        "process 1 of 2 is waiting for the others, which may be reading or computing images; "
        "it waits for 2 hours at most"
    ]
