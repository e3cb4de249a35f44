"""The benchmark of own photographs: its commands in order, what it reads, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import own_photographs
import pytest
from own_photographs import COMMANDS, OwnPhotographs
from PIL import Image
from timing import timed

from glimpse_env.runtime import files

RESULTS = {
    "finetune_backbone.py": ("finetune_backbone-birds-fit-0", {"accuracy": 0.5, "mean_glimpses": 1.0}),
    "ram_reinforce.py": ("ram_reinforce-birds-0", {"accuracy": 0.6, "mean_glimpses": 3.0}),
    "dtram_reinforce.py": ("dtram_reinforce-birds-0", {"accuracy": 0.55, "mean_glimpses": 1.5}),
    "fcan_greedy.py": (
        "fcan_greedy-birds-0/classify",
        {"rows": [{"row": "whole + all parts", "regions": ["a", "b", "c"], "accuracy": 0.7}]},
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder of photographs of two classes."""
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        for name in ("crow", "duck"):
            (tmp_path / "birds" / split / name).mkdir(parents=True)
            Image.new("RGB", (120, 100)).save(tmp_path / "birds" / split / name / "1.png")
    return tmp_path / "birds"


def test_commands_run_once_in_order_and_their_results_are_read(folder, tmp_path, monkeypatch, capsys):
    ran, start = [], subprocess.run

    def run(words, **given):
        if words[0] != sys.executable:  # git, which is asked for the commit
            return start(words, **given)
        script, cwd = Path(words[1]).name, given["cwd"]
        ran.append(script)
        if script in RESULTS:
            name, row = RESULTS[script]
            (cwd / "runs" / name).mkdir(parents=True)
            files.write_json(cwd / "runs" / name / "result.json", row)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(own_photographs.subprocess, "run", run)
    options = OwnPhotographs(folder, "w.pth", "cpu", 1, out=tmp_path / "out", results=tmp_path / "results")
    figures = own_photographs.main(options)
    assert ran == [*RESULTS, "predict.py"]
    assert [figures[name].get("accuracy") for name in COMMANDS] == [0.5, 0.6, 0.55, 0.7, None]
    assert figures["FCAN"]["mean_glimpses"] == 3
    own_photographs.main(options)
    assert len(ran) == 5  # none is repeated
    assert "DT-RAM" in capsys.readouterr().out
    rows = timed.read(tmp_path / "results" / own_photographs.NAME, ("figures", "images", "classes"))
    assert rows[0]["images"] == {"train": 2, "test": 2}
    page = own_photographs.format_page(tmp_path / "results")
    assert "| FCAN | 70.0 | 3.00 |" in page
    assert "python agents/ram_reinforce.py --dataset FOLDER" in page


def test_weights_are_found_from_the_folder_of_the_commands(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.pth").touch()
    for given, expected in (("mine.pth", str(tmp_path / "mine.pth")), ("name.pth", "name.pth")):
        words = own_photographs.list_words(OwnPhotographs(folder, given), "one view")
        assert words[words.index("--weights") + 1] == expected


def test_a_command_that_fails_ends_the_benchmark(folder, tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(own_photographs.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match="3"):
        own_photographs.main(OwnPhotographs(folder, device="cpu", out=tmp_path / "out", results=tmp_path))


def test_without_rows_the_page_names_the_command(tmp_path):
    assert "`python benchmarks/own_photographs.py FOLDER` makes one" in own_photographs.format_page(tmp_path)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_folder_without_splits_is_refused(folder, tmp_path, missing):
    (folder / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="expected the folders train and test in it"):
        own_photographs.main(OwnPhotographs(folder, device="cpu", out=tmp_path / "out", results=tmp_path))


def test_a_folder_without_classes_is_refused(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    with pytest.raises(ValueError, match="expected a folder of images for each class"):
        own_photographs.main(OwnPhotographs(tmp_path, device="cpu", out=tmp_path / "out", results=tmp_path))
