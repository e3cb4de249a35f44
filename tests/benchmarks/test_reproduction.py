"""Tables from runs: no row is lost or doubled, finished runs are not repeated, interrupted tables resume."""

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import dtram_reinforce
import fcan_greedy
import pytest
import ram_reinforce
import reproduce
import sermanet_rnn
import torch
import whole_image
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from reproduction import rows, runs
from reproduction.spec import Row, Run, Table

from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files

ROOT = Path(__file__).parents[2]

TINY = {"epochs": 2, "batch": 8, "glimpse_size": 8, "hidden": 8, "features": 8, "precision": "float32"}
RAM3 = Run("ram", {"glimpses": 3, **TINY})
DTRAM = Run("dtram", {"gamma": 0.9, "stop_epochs": 1}, RAM3)
TABLE = Table(
    "Tiny",
    ("mnist",),
    {
        "RAM 2": Row(Run("ram", {"glimpses": 2, **TINY}), 3.0, 2),
        "DT": Row(DTRAM, 1.5),
        "> 0.6": Row(RAM3, threshold=0.6),
    },
)


def made_up(row: str = "RAM 2", seed: int = 0, **more: object) -> dict:
    about = {"format": rows.FORMAT, "table": "tiny", "row": row, "part": "MNIST", "split": "fit"}
    about |= {"measured": "test", "seed": seed, "options": {"epochs": 2, "parts": [8, 4]}}
    return about | {"weights_sha256": None} | more


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
    command, folder = [sys.executable, "-c", CHILD, str(file)], ROOT / "benchmarks"
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=folder) for _ in given_rows]
    for child, lines in zip(children, given_rows, strict=True):
        assert child.stdin is not None
        child.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
        child.stdin.close()
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    assert sorted(row["seed"] for row in rows.read(file)) == list(range(20))


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_which_images_were_correct_survives_the_text(correct):
    bits = torch.tensor(correct)
    assert torch.equal(rows.unpack_bits(rows.pack_bits(bits), len(correct)), bits)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (json.dumps(made_up(format=2)), "line 2 has format 2, this program reads 1"),
        ('{"format": 1, "row":', "line 2 is not a row of a result: it is damaged"),
        ("[]", "line 2 is not a row"),
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


def test_a_row_with_other_options_is_neither_replaced_nor_taken_for_this_one(tmp_path):
    file = tmp_path / "tiny-mnist.jsonl"
    same = {"epochs": 2, "parts": (8, 4), "newer": None, "out": "elsewhere"}
    rows.add(file, [made_up()])
    rows.add(file, [made_up(options=same)])
    assert len(rows.read(file)) == 1
    message = "'RAM 2' of seed 0 made with --epochs 2: give the same options, or another --results"
    with pytest.raises(ValueError, match=message):
        rows.add(file, [made_up(options={"epochs": 3})])
    with pytest.raises(ValueError, match="made with --newer None"):
        rows.add(file, [made_up(options=same | {"newer": True})])
    with pytest.raises(ValueError, match="other --weights"):
        rows.add(file, [made_up(weights_sha256="ab")])
    with pytest.raises(ValueError, match=message):
        rows.add(file, [made_up(seed=1, options={"epochs": 3})])
    assert rows.read(file) == [made_up()]


def test_two_workers_share_runs_and_make_each_once(tmp_path):
    made, together = [], threading.Barrier(2)

    def do(number: int) -> None:
        out = tmp_path / str(number)
        if not out.exists():
            made.append(number)
            if len(made) <= 2:
                together.wait(timeout=30)  # both are at a run at the same time
            out.touch()

    def is_ready(number: int) -> bool:
        return number <= 1 or (tmp_path / str(number - 1)).exists()

    def worker() -> None:
        runs.share_work({tmp_path / str(number): number for number in range(6)}, do, is_ready)
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

    works = {tmp_path / str(number): number for number in range(3)}
    runs.share_work(works, do, lambda number: number != 1)
    assert order == [2, 0, 1]


@pytest.fixture(scope="module")
def asked(halves, tmp_path_factory):
    """Options of a tiny table on pictures; its runs are made by command line, once for all tests."""
    folder = tmp_path_factory.mktemp("table")
    small = {"dataset": halves((12, 5)), "image_size": 32, "seeds": 1, "threads": 1}
    options = reproduce.Reproduce(table="tiny", **small, out=folder / "runs", results=folder / "rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(reproduce.TABLES, "tiny", TABLE)
        paths = replace(TABLE, rows={"DT": TABLE.rows["DT"]}, rows_of="tiny", figure="paths")
        patch.setitem(reproduce.TABLES, "tiny-paths", paths)
        reproduce.main(options)
        yield options


class Started(list):
    """Replaces starting agents: records (agent, whether it resumed), and copies a finished run."""

    def __init__(self, source):
        """Take the folder of finished runs, and start with nothing."""
        super().__init__()
        self.source, self.interrupted, self.overwritten = source, "", 0

    def __call__(self, words):
        """Copy a run; the one that `interrupted` is a part of the name of ends after its first epoch."""
        self.append((Path(words[0]).stem, "--resume" in words))
        self.overwritten += "--overwrite" in words
        out = Path(words[words.index("--out") + 1])
        shutil.copytree(self.source / out.name, out, dirs_exist_ok=True)
        if self.interrupted and self.interrupted in out.name:
            saved = checkpoint.load(out / "checkpoint.pt")
            saved["progress"] |= {"epoch": 1, "history": saved["progress"]["history"][:1]}
            checkpoint.save(out / "checkpoint.pt", saved)
            raise SystemExit(130)


@pytest.fixture
def again(asked, tmp_path):
    """Options of the same table in new folders, and what is started."""
    return replace(asked, out=tmp_path / "runs", results=tmp_path / "rows"), Started(asked.out)


def file_of(options):
    """Return the file of the tiny table's rows."""
    return rows.path_of(options.results, "tiny", options.dataset)


def folder_of(options, run):
    """Return the folder of a run of the tiny table."""
    return runs.folder(reproduce.find_table(options)[0], run, 0)


def test_a_table_is_made_by_command_line(asked, capsys):
    known = {row["row"]: row for row in rows.read(file_of(asked))}
    assert list(known) == ["RAM 2", "> 0.6", "DT"]
    row = known["DT"]
    result = files.read_json(asked.out / row["run"] / "result.json")
    assert all(row[name] == result[name] for name in ("accuracy", "mean_glimpses"))
    assert (row["options"]["gamma"], row["options"]["hidden"]) == (0.9, 8)
    correct = rows.unpack_bits(row["right"], 10).float().mean().item()
    assert correct == row["accuracy"] == row["mean_class_accuracy"]
    assert {"cpu", "cores", "threads", "gpu"} == set(row["hardware"])
    reproduce.main(replace(asked, only_print=True, out=asked.out / "nowhere"))
    printed = capsys.readouterr().out
    assert "trained on train, 10 images of test; setting: image size 32" in printed
    assert "judged" in printed or "better (interval above 0)" in printed
    pictures = replace(asked, table="tiny-paths", only_print=True)
    reproduce.main(pictures)
    page = (asked.out / f"report-tiny-{row['part']}-train-test-image-size-32.html").read_text(
        encoding="utf-8"
    )
    assert "RAM 2" in page
    assert f"{100 * (1 - row['accuracy']):.2f}" in page
    drawn = asked.results / f"tiny-paths-{row['part']}-train-test-image-size-32.png"
    assert drawn.read_bytes() == (asked.out / row["run"] / "fixation_paths.png").read_bytes()
    with pytest.raises(ValueError, match="tiny-paths shows images, and the run dtram-"):
        reproduce.main(replace(pictures, out=asked.out / "nowhere"))


def test_finished_rows_and_runs_are_not_repeated(again):
    options, started = again
    reproduce.main(options, started)
    assert started == [("ram_reinforce", False), ("ram_reinforce", False), ("dtram_reinforce", False)]
    before = file_of(options).read_bytes()
    reproduce.main(options, started)  # the rows are there
    file_of(options).unlink()
    reproduce.main(options, started)  # the runs are there
    assert len(started) == 3
    assert file_of(options).read_bytes() == before


def test_an_interrupted_table_resumes_where_it_stopped(again):
    options, started = again
    started.interrupted = "glimpses-3"  # the second run
    with pytest.raises(SystemExit) as stopped:
        reproduce.main(options, started)
    assert stopped.value.code == 130
    assert [row["row"] for row in rows.read(file_of(options))] == ["RAM 2"]
    half = folder_of(options, RAM3)
    results.write(half / "checkpoint.pt")  # as it is, which is not what a row is about
    assert not runs.is_finished("ram", half)
    started.interrupted = ""
    reproduce.main(options, started)
    assert started[2:] == [("ram_reinforce", True), ("dtram_reinforce", False)]
    assert len(rows.read(file_of(options))) == 3


def test_moved_runs_are_used_and_a_stop_head_of_another_ram_is_refused(again, tmp_path):
    options, started = again
    reproduce.main(options, started)
    file_of(options).unlink()
    moved = replace(options, out=options.out.rename(tmp_path / "elsewhere"))
    reproduce.main(moved, started)
    assert len(started) == 3
    assert len(rows.read(file_of(options))) == 3
    file_of(options).unlink()
    ram = folder_of(moved, RAM3) / "checkpoint.pt"
    other = checkpoint.load(ram)
    next(iter(other["network"].values())).add_(1.0)
    checkpoint.save(ram, other)
    with pytest.raises(ValueError, match="holds a run with another --ram"):
        reproduce.main(moved, started)


def test_a_folder_with_another_run_or_a_damaged_one_is_refused(again):
    options, started = again
    out = folder_of(options, TABLE.rows["RAM 2"].run)
    shutil.copytree(folder_of(replace(options, out=started.source), TABLE.rows["RAM 2"].run), out)
    message = "holds a run with another --augment: give another --out, or --overwrite"
    with pytest.raises(ValueError, match=message):
        reproduce.main(replace(options, augment=False), started)
    (out / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match="is not readable as a checkpoint"):
        reproduce.main(options, started)
    assert not started
    reproduce.main(replace(options, overwrite=True), started)
    assert (len(started), started.overwritten) == (3, 3)
    assert len(rows.read(file_of(options))) == 3


def test_a_failing_agent_ends_the_table_with_its_own_sentence(tmp_path, capfd):
    script = tmp_path / "agent.py"
    script.write_text("raise SystemExit('agent: --epochs 0: expected at least 1')")
    with pytest.raises(SystemExit) as failed:
        runs.start([str(script)])
    assert failed.value.code == 1
    assert capfd.readouterr().err == "agent: --epochs 0: expected at least 1\n"


def test_options_are_written_as_on_the_command_line():
    options = {"scales": (1.0, 2.0), "supervision": False, "long": True, "backbone": None, "weights": None}
    words = "--scales 1.0 2.0 --no-supervision --long --weights None --stop-epochs 2"
    assert runs.format_options(options | {"stop_epochs": 2}) == words.split()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"table": "dtram-1"}, "TABLE dtram-1: expected one of ram-1"),
        ({"rows": ("RAM 9",)}, "--rows 'RAM 9': tiny has 'RAM 2'"),
        ({"seeds": 0}, "expected at least one seed"),
        ({"measure": "foo"}, "split='foo': expected one of"),
        ({"dataset": "cub"}, "--dataset cub: tiny is made on mnist, or a folder"),
        ({"only_print": True}, "has no rows of tiny: leave --only-print out"),
    ],
)
def test_what_cannot_be_made_is_refused(again, given, message):
    with pytest.raises(ValueError, match=message):
        reproduce.main(replace(again[0], **given), again[1])


def test_with_paper_runs_keep_the_papers_schedule_and_have_names_of_their_own(tmp_path):
    """A row keeps its number of glimpses and loses the options of our own recipe."""
    table = reproduce.TABLES["dtram-3"]
    run = table.rows["DT-RAM (gamma .99)"].run
    ours = runs.Settings(dataset="cub", out=tmp_path)
    options = runs.list_options(replace(ours, paper=True), run, 0)
    assert "curriculum" not in options
    given = ("paper", "glimpses", "gamma", "split", "sensor", "view_size", "epochs")
    assert [options.get(name) for name in given] == [True, 3, 0.99, "train", None, 448, None]
    short = runs.list_options(replace(ours, paper=True, epochs=5), run, 0)
    assert (short["epochs"], short["stop_epochs"]) == (5, 5)
    assert runs.list_options(ours, run, 0)["curriculum"] == 0
    settings = (ours, replace(ours, paper=True), replace(ours, paper=True, epochs=5))
    assert len({runs.folder(each, run, 0) for each in settings}) == 3
    asked = reproduce.Reproduce(table="dtram-3", dataset="cub", paper=True)
    assert reproduce.find_file(asked, table).name == "dtram-3-paper-cub.jsonl"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"table": "dtram-2", "epochs": 3}, "--epochs 3: expected at least one epoch, beside --paper"),
        ({"table": "dtram-2", "paper": True, "epochs": 0}, "--epochs 0: expected at least one"),
        ({"table": "dtram-2-default", "paper": True}, "--paper: dtram-2-default is about the scripts' own"),
    ],
)
def test_paper_options_that_do_nothing_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        reproduce.main(reproduce.Reproduce(**given))


def test_with_paper_the_agent_is_started_with_it(tmp_path):
    class StartedError(Exception):
        pass

    def start(words):
        raise StartedError(*words)

    folders = {"out": tmp_path / "runs", "results": tmp_path / "results"}
    asked = reproduce.Reproduce(table="dtram-2", rows=("RAM 2",), seeds=1, paper=True, epochs=1, **folders)
    with pytest.raises(StartedError) as started:
        reproduce.main(asked, start)
    script, *words = started.value.args
    assert Path(script).name == "ram_reinforce.py"
    options = ram_reinforce.parse(ram_reinforce.Options, ram_reinforce.RECIPES, {}, "", words)
    given = (options.paper, options.epochs, options.optimizer, options.split, options.glimpses)
    assert given == (True, 1, "sgd", "train", 2)


OPTIONS = {
    "ram": ram_reinforce.Options(),
    "dtram": dtram_reinforce.StopOptions(),
    "sermanet": sermanet_rnn.SermanetOptions(),
    "fcan": fcan_greedy.FcanOptions(),
    "whole_image": whole_image.WholeImageTraining(),
}


@pytest.mark.parametrize(
    "file", sorted((ROOT / "benchmarks/results").glob("*.jsonl")), ids=lambda file: file.stem
)
def test_a_published_row_has_a_value_of_every_option_of_today(file):
    """So that seeds can be added to it, and a run of that time resumed: `checkpoint.ADDED` has newer ones."""
    for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        defaults = vars(OPTIONS[row["agent"]]) if row.get("agent") in OPTIONS and "options" in row else {}
        newer = defaults.keys() - row.get("options", {}).keys() - {*rows.NOT_COMPARED, "overwrite"}
        newer -= checkpoint.ADDED.keys()
        needed = [name for name in newer if defaults[name] is not None]  # None = the data set's preset
        assert [name for name in needed if checkpoint.known_option(row["options"], name) is None] == []
