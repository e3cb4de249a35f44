"""Tables made from runs: no row is lost or counted twice, finished runs are not repeated, an interrupted table goes on."""

import json
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import reproduce
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from reproduction import reporting, rows, trainings
from reproduction.spec import Row, Run, Table
from reproduction.trainings import Work

from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import run

TINY = {"epochs": 2, "batch": 8, "glimpse_size": 8, "hidden": 8, "features": 8, "precision": "float32"}
RAM3 = Run("ram", {"glimpses": 3, **TINY})
DTRAM = Run("dtram", {"gamma": 0.9, "stop_epochs": 1}, RAM3)
TABLE = Table(
    "Tiny",
    ("mnist",),
    {"RAM 2": Row(Run("ram", {"glimpses": 2, **TINY}), 3.0, 2), "DT": Row(DTRAM, 1.5), "> 0.6": Row(RAM3, threshold=0.6)},
)


def made_up(row: str = "RAM 2", seed: int = 0, **more: object) -> dict:
    about = {"format": rows.FORMAT, "table": "tiny", "row": row, "part": "MNIST", "split": "fit", "measured": "test", "seed": seed}
    return about | {"options": {"epochs": 2, "parts": [8, 4]}, "weights_sha256": None} | more


CHILD = """
import json, sys
from pathlib import Path
from reproduction import rows
for row in map(json.loads, sys.stdin):
    rows.add(Path(sys.argv[1]), [row])
"""


def test_two_processes_lose_no_row_and_count_none_twice(tmp_path):
    """Each adds twelve rows, four of them the other's too, one at a time."""
    file = tmp_path / "tiny-mnist.jsonl"
    given_rows = [[made_up(seed=seed) for seed in seeds] for seeds in (range(12), range(19, 7, -1))]
    command = [sys.executable, "-c", CHILD, str(file)]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in given_rows]
    for child, lines in zip(children, given_rows, strict=True):
        assert child.stdin is not None
        child.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
        child.stdin.close()
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    assert sorted(row["seed"] for row in rows.read(file)) == list(range(20))


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_which_images_were_right_survives_the_text(right):
    kept = torch.tensor(right)
    assert torch.equal(rows.unpacked(rows.packed(kept), len(right)), kept)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (json.dumps(made_up(format=2)), "line 2 has format 2, this program reads 1"),
        ('{"format": 1, "row":', "line 2 is no row of a result: it is damaged"),
        ("[]", "line 2 is no row"),
        ('{"format": 1, "row": "RAM 2"}', "line 2 lacks 'table'"),
        (json.dumps(made_up()), "lines 1 and 2 are both 'RAM 2' of seed 0: remove one"),
    ],
)
def test_a_file_that_is_not_these_rows_is_refused_and_left_alone(tmp_path, line, message):
    file = tmp_path / "tiny-mnist.jsonl"
    file.write_text(json.dumps(made_up()) + "\n" + line + "\n")
    before = file.read_bytes()
    with pytest.raises(ValueError, match=message):
        rows.add(file, [made_up(seed=5)])
    assert file.read_bytes() == before


def test_a_row_made_otherwise_is_neither_replaced_nor_taken_for_this_one(tmp_path):
    file = tmp_path / "tiny-mnist.jsonl"
    same = {"epochs": 2, "parts": (8, 4), "newer": None, "out": "elsewhere"}
    rows.add(file, [made_up()])
    rows.add(file, [made_up(options=same)])
    assert len(rows.read(file)) == 1
    with pytest.raises(ValueError, match="'RAM 2' of seed 0 made with --epochs 2: give the same options, or another --results"):
        rows.add(file, [made_up(options={"epochs": 3})])
    with pytest.raises(ValueError, match="made with --newer None"):
        rows.add(file, [made_up(options=same | {"newer": True})])
    with pytest.raises(ValueError, match="other --weights"):
        rows.add(file, [made_up(weights_sha256="ab")])
    assert rows.read(file) == [made_up()]


def test_two_workers_share_runs_and_make_each_once(tmp_path):
    made, together = [], threading.Barrier(2)

    def worker() -> None:
        def work(number: int) -> Work:
            out = tmp_path / str(number)

            def do() -> None:
                if not out.exists():
                    made.append(number)
                    if len(made) <= 2:
                        together.wait(timeout=30)  # both are at a run at the same time
                    out.touch()

            return Work(out, do, lambda: number == 0 or (tmp_path / str(number - 1)).exists() or number == 1)

        trainings.share([work(number) for number in range(6)])
        assert all((tmp_path / str(number)).exists() for number in range(6))

    workers = [threading.Thread(target=worker) for _ in range(2)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(timeout=60)
    assert sorted(made) == list(range(6))


def test_a_run_waits_for_what_it_starts_from_in_other_hands(tmp_path):
    """Another process is at run 0, on which run 1 starts: run 2 is made meanwhile, and run 1 after run 0."""
    order: list[int] = []
    held, released = threading.Event(), threading.Event()

    def other() -> None:
        with FileLock(tmp_path / ".0.lock"):
            held.set()
            released.wait(timeout=30)

    threading.Thread(target=other).start()
    held.wait(timeout=30)

    def do(number: int) -> None:
        order.append(number)
        if number == 2:
            released.set()

    works = [Work(tmp_path / str(number), lambda number=number: do(number), lambda number=number: number != 1) for number in range(3)]
    trainings.share(works)
    assert order == [2, 0, 1]


@pytest.fixture
def asked(halves, tmp_path, monkeypatch):
    """Options of a tiny table on pictures, and what was trained, as (agent, whether it went on)."""
    monkeypatch.setitem(reproduce.TABLES, "tiny", TABLE)
    paths = replace(TABLE, rows={"DT": TABLE.rows["DT"]}, kept_with="tiny", figure="paths")
    monkeypatch.setitem(reproduce.TABLES, "tiny-paths", paths)
    trained, execute = [], run.execute

    def watched(agent, options, plan, **more):
        trained.append((agent, options.resume))
        return execute(agent, options, plan, **more)

    monkeypatch.setattr(run, "execute", watched)
    options = reproduce.Reproduce(
        table="tiny", dataset=halves((12, 5)), image_size=32, seeds=1, threads=1, out=tmp_path / "runs", results=tmp_path / "rows"
    )
    return options, trained, rows.path_of(options.results, "tiny", options.dataset)


@pytest.mark.usefixtures("with_figures")
def test_a_table_is_made_once_and_found_again(asked, capsys):
    options, trained, file = asked
    reproduce.main(options)
    assert sorted(trained) == [("dtram_reinforce", False), ("ram_reinforce", False), ("ram_reinforce", False)]
    kept = {row["row"]: row for row in rows.read(file)}
    assert list(kept) == ["RAM 2", "> 0.6", "DT"]
    result = checkpoint.read_json(options.out / kept["DT"]["run"] / "result.json")
    assert (kept["DT"]["accuracy"], kept["DT"]["mean_glimpses"]) == (result["accuracy"], result["mean_glimpses"])
    assert rows.unpacked(kept["DT"]["right"], 10).float().mean().item() == kept["DT"]["accuracy"] == kept["DT"]["mean_class_accuracy"]
    assert {"cpu", "cores", "threads", "gpu"} == set(kept["DT"]["hardware"])
    printed = capsys.readouterr().out
    assert "trained on train, 10 images of test" in printed
    assert "judged" in printed or "better (interval above 0)" in printed

    before = file.read_bytes()
    reproduce.main(options)  # the rows are there
    file.unlink()
    reproduce.main(options)  # the runs are there
    assert len(trained) == 3
    assert file.read_bytes() == before
    capsys.readouterr()
    reproduce.main(replace(options, only_print=True, out=options.out / "nowhere"))
    assert "RAM 2" in capsys.readouterr().out
    pictures = replace(options, table="tiny-paths", only_print=True)
    reproduce.main(pictures)
    page = reporting.path_of(options.out, "tiny", (kept["DT"]["part"], "train", "test")).read_text(encoding="utf-8")
    assert "RAM 2" in page
    assert f"{100 * (1 - kept['DT']['accuracy']):.2f}" in page
    drawn = options.results / f"tiny-paths-{kept['DT']['part']}-train-test.png"
    assert drawn.read_bytes() == (options.out / kept["DT"]["run"] / "fixation_paths.png").read_bytes()
    with pytest.raises(ValueError, match="tiny-paths shows images, and the run dtram-"):
        reproduce.main(replace(pictures, out=options.out / "nowhere"))


def test_an_interrupted_table_goes_on_where_it_stopped(asked, monkeypatch):
    options, trained, file = asked
    save = checkpoint.save

    def interrupted(target, content):
        save(target, content)
        if "glimpses-3" in target.parent.name:  # after the second run's first epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(checkpoint, "save", interrupted)
        reproduce.main(options)
    assert stopped.value.code == 130
    assert [row["row"] for row in rows.read(file)] == ["RAM 2"]
    half = trainings.folder(reproduce.chosen(options)[0], RAM3, 0)
    results.write(half / "checkpoint.pt")  # as it is, which is not what a row is about
    assert not trainings.finished(RAM3, half)
    reproduce.main(options)
    assert trained == [("ram_reinforce", False), ("ram_reinforce", False), ("ram_reinforce", True), ("dtram_reinforce", False)]
    assert len(rows.read(file)) == 3


def test_runs_that_were_moved_are_found_and_a_stop_taught_on_another_ram_is_refused(asked, tmp_path):
    options, trained, file = asked
    reproduce.main(options)
    file.unlink()
    moved = replace(options, out=options.out.rename(tmp_path / "elsewhere"))
    reproduce.main(moved)
    assert len(trained) == 3
    assert len(rows.read(file)) == 3
    file.unlink()
    ram = trainings.folder(reproduce.chosen(moved)[0], RAM3, 0) / "checkpoint.pt"
    other = checkpoint.load(ram)
    next(iter(other["network"].values())).add_(1.0)
    checkpoint.save(ram, other)
    with pytest.raises(ValueError, match="holds a run with another --ram"):
        reproduce.main(moved)


def test_a_damaged_run_is_refused(asked):
    options, trained, _ = asked
    out = trainings.folder(reproduce.chosen(options)[0], TABLE.rows["RAM 2"].run, 0)
    out.mkdir(parents=True)
    (out / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match="is not readable as a checkpoint"):
        reproduce.main(options)
    assert not trained


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"table": "dtram-1"}, "TABLE dtram-1: expected one of dtram-2"),
        ({"rows": ("RAM 9",)}, "--rows 'RAM 9': tiny has 'RAM 2'"),
        ({"seeds": 0}, "expected at least one seed"),
        ({"measure": "foo"}, "split='foo': expected one of"),
        ({"dataset": "cub"}, "--dataset cub: tiny is made on mnist, or a folder"),
        ({"only_print": True}, "has no rows of tiny: leave --only-print out"),
    ],
)
def test_what_cannot_be_made_is_said(asked, given, message):
    with pytest.raises(ValueError, match=message):
        reproduce.main(replace(asked[0], **given))
