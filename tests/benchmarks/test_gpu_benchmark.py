"""The GPU benchmark on a CPU: its parts, its table, a part that fails, an update that suits a CUDA graph."""

import json
import re
import traceback
from collections import Counter
from pathlib import Path

import figures
import gpu
import pytest
import torch
from gpu import Gpu
from timing import captured, gpu_page, timed
from timing.captured import Options
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).parents[2]
SMALL = Options(batch=8, samples=2, hidden=16, features=16, augment=False, precision="float32")


class HostReads(TorchDispatchMode):
    """Count what makes the host wait for a GPU or takes a number from it, by the function that asks."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")
    WAITING += ("masked_select", "_unique2", "lift_fresh")

    def __init__(self):
        """Begin with nothing counted."""
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and count it if it is one of those."""
        if func.overloadpacket.__name__ in self.WAITING:
            stack = reversed(traceback.extract_stack())
            ours = (frame for frame in stack if "glimpse_env" in frame.filename or "optim" in frame.filename)
            self.found[next(ours).name] += 1
        return func(*args, **(kwargs or {}))


def test_an_update_reads_no_value_that_a_graph_could_not_know():
    """Allowed on a CPU alone: one_hot's check of classes, Adam's steps, which rows ended, and checks."""
    update = captured.RamUpdate(SMALL)
    batches = update.batches()
    captured.run(update, update, batches, 1)  # some constants are made once
    update.rows.copy_(next(batches))
    with HostReads() as reads:
        update()
    assert set(reads.found) <= {"stop_logit", "_get_value", "leave_out", "holds"}


def test_twins_make_the_same_updates_and_learn():
    first, second = captured.RamUpdate(SMALL), captured.RamUpdate(SMALL)
    before = [value.clone() for value in first.network.parameters()]
    losses = [captured.run(update, update, update.batches(), 3) for update in (first, second)]
    assert torch.equal(*losses)
    assert losses[0].unique().numel() == 3  # other images each time
    assert any(not torch.equal(*pair) for pair in zip(before, first.network.parameters(), strict=True))


def test_losses_are_compared_relatively_and_a_difference_is_an_error(monkeypatch):
    pair = torch.tensor([2.0, 4.0]), torch.tensor([2.02, 4.0])
    assert captured.largest_difference(*pair) == pytest.approx(0.01)
    assert captured.largest_difference(torch.tensor([-2.0]), torch.tensor([2.0])) == 2
    results = iter((torch.tensor([1.0]), torch.tensor([float("nan")])))
    monkeypatch.setattr(captured, "timed_updates", lambda *_: (1.0, next(results)))
    monkeypatch.setattr(captured, "RamUpdate", lambda *_: None)
    with pytest.raises(RuntimeError, match="differ by nan"):
        captured.measure(SMALL, 1, 1)


def test_every_test_that_asks_for_a_gpu_is_found():
    found = timed.gpu_tests(ROOT)
    marks = re.compile(r"^@pytest\.mark\.skipif\(not torch\.cuda", re.MULTILINE)
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")]
    assert len(found) == sum(len(marks.findall(text)) for text in texts) >= 4
    for name in found:
        file, test = name.split("::")
        assert re.search(rf"^def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_images_per_second_count_whole_batches_of_all_epochs(tmp_path):
    folder = timed.write_pictures(tmp_path / "pictures", 8, 5, 2)
    options = {"dataset": str(folder), "image_size": 8, "split": "train", "root": None}
    options |= {"epochs": 3, "stop_epochs": 2, "batch": 4}
    (tmp_path / "result.json").write_text(json.dumps({"options": options, "train_seconds": 2.0}))
    assert timed.images_per_second(tmp_path) == 5 * 8 / 2  # 10 images are two batches of 4


def test_parts_that_fail_are_reported_and_the_others_still_run(tmp_path, monkeypatch, capsys):
    def failing(options, folder):
        raise RuntimeError("a first line\nno kernel image")

    monkeypatch.setitem(gpu.PARTS, "sensors", failing)
    monkeypatch.setitem(gpu.PARTS, "tests", lambda options, folder: {"passed": 1234.0, "skipped": 0.5})
    assert gpu.main(Gpu(device="cpu", threads=1, parts=("sensors", "tests"), results=tmp_path)) == 1
    needed = ("part", "figures", "error", "seconds", "hardware", "versions", "commit", "speed")
    first, second = timed.read(tmp_path / "gpu.jsonl", needed)
    assert (first["part"], first["figures"]) == ("sensors", {})
    assert first["error"] == "RuntimeError: a first line\nno kernel image"
    assert (second["error"], second["figures"]) == (None, {"passed": 1234.0, "skipped": 0.5})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["sensors", "FAILED:", "no", "kernel", "image"] in [line[:5] for line in lines]
    assert ["tests", "passed", "1,234"] in lines and ["tests", "skipped", "0.5"] in lines


def test_the_papers_figures_pass_over_the_rows_of_benchmarks(tmp_path):
    timed.append(tmp_path / "gpu.jsonl", {"part": "tests"})
    assert figures.read_all(tmp_path) == {}


def test_the_graph_part_says_that_a_cpu_has_none(tmp_path, capsys):
    assert gpu.main(Gpu(device="cpu", threads=1, quick=True, parts=("graph",), results=tmp_path)) == 0
    assert "no graph on cpu: eager again, ms" in capsys.readouterr().out
    [row] = timed.read(tmp_path / "gpu.jsonl", ())
    assert row["figures"]["largest relative difference of the losses"] == 0


def test_tests_that_are_skipped_on_a_gpu_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(timed, "start", lambda *_, **__: (1.0, "ss.\n1 passed, 2 skipped in 0.10s\n"))
    assert gpu.tests(Gpu(device="cpu"), tmp_path) == {"passed": 1, "skipped": 2}
    with pytest.raises(RuntimeError, match="2 tests of the GPU were skipped"):
        gpu.tests(Gpu(device="cuda"), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a CUDA device")
def test_without_cuda_the_command_says_so():
    message = r"device='cuda' is not available here \(0 CUDA devices\): use device='cpu'"
    with pytest.raises(ValueError, match=message):
        gpu.main(Gpu())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_update_has_the_losses_of_the_eager_one():
    found = captured.measure(Options(batch=32, augment=False, device="cuda", precision="float32"), 5, 3)
    assert found["difference"] < captured.TOLERANCE


def test_a_page_shows_of_every_part_the_last_row_by_machine(tmp_path):
    row = {
        "format": timed.FORMAT,
        "hardware": {"gpu": "A", "cpu": "", "threads": 1},
        "versions": {"torch": "2"},
    }
    good = {"figures": {"step, ms": 1.23456, "rows, 1/s": 98765.4}, "error": None}
    bad = {"figures": {}, "error": "RuntimeError: first\nthe last line"}
    rows = [row | {"part": "sensors"} | bad, row | {"part": "sensors"} | good, row | {"part": "graph"} | bad]
    (tmp_path / gpu_page.NAME).write_text("".join(json.dumps(one) + "\n" for one in rows))
    page = gpu_page.format_page(tmp_path)
    assert (
        "| sensors | step, ms | 1.23 |\n| sensors | rows, 1/s | 98,765 |\n| graph | failed: the last line |"
        in page
    )
    assert "no rows yet" in gpu_page.format_page(tmp_path / "none").lower()
