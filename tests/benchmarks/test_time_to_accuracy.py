"""The time to an accuracy: its arithmetic, its rows, and one run from the command line."""

import json

import pytest
import time_to_accuracy
from time_to_accuracy import TimeToAccuracy
from timing import report, timed

SPEED = {"product_ms": 2.5, "small_us": 1.0, "precision": "float32"}


def row(schedule, seed, seconds, error, glimpses=2.0, gpu=None, threads=2):
    """Return a row as a run would leave it."""
    hardware = {"cpu": "a CPU", "cores": 4, "threads": threads, "gpu": gpu}
    curve = [{"seconds": 1.0, "stage": "look", "error": 9.0}, {"seconds": 2.0, "stage": "stop", "error": 3.0}]
    told = {"hardware": hardware, "versions": {}, "commit": "0123456789" * 4 + "+"}
    figures = {"seconds": seconds, "train_seconds": seconds - 5, "error": error, "mean_glimpses": glimpses}
    return {"schedule": schedule, "seed": seed, **figures, "curve": curve, "speed": SPEED, **told}


def test_the_fastest_schedule_that_meets_the_target_in_the_mean_counts():
    short = [row("--epochs 8", seed, 60 + seed, error) for seed, error in enumerate((1.0, 1.2, 1.1))]
    middle = [row("--epochs 12", seed, 90, error) for seed, error in enumerate((0.8, 0.95, 0.9))]
    long = [row("--epochs 40", seed, 300, 0.7) for seed in range(3)]
    groups = report.grouped([*long, *short, *middle])
    [schedules] = groups.values()
    assert report.fastest(schedules, (1.46, 3.6)) == "61 s (--epochs 8; 3 seeds)"
    assert report.fastest(schedules, (0.9, 2.2)) == "90 s (--epochs 12; 3 seeds)"  # one seed alone does not
    assert report.fastest(schedules, (0.75, 2.0)) == "300 s (--epochs 40; 3 seeds)"  # equality is enough
    assert report.fastest(schedules, (0.75, 1.9)) == "not reached"
    assert report.fastest({}, (1.46, 3.6)) == "not reached"


def test_the_last_row_of_a_seed_counts_and_machines_are_columns():
    rows = [
        row("default", 0, 100, 1.0),
        row("default", 1, 102, 1.2),
        row("default", 0, 50, 0.9),
        row("default", 0, 20, 1.4, gpu="a GPU"),
    ]
    assert len(report.grouped([*rows, row("default", 0, 80, 1.0, threads=1)])) == 3
    text = report.report(rows)
    assert text.count("matrix product 2.50 ms") == 2
    [cpu, gpu] = [line.split() for line in text.splitlines() if line.startswith("default")]
    assert cpu[1:4] == ["2", "76.00", "+-"]  # 50 and 102
    assert gpu == ["default", "1", "20.00", "15.00", "1.40", "2.00", "0123456+"]
    first = next(line for line in text.splitlines() if line.startswith("1.46 % at 3.6"))
    assert first.index("76 s (default; 2 seeds)") < first.index("20 s (default; 1 seed)")
    assert "0.75 % at 2.2" in text.splitlines()[-1]
    assert text.splitlines()[-1].count("not reached") == 2


def test_intervals_are_students():
    rows = [row("default", seed, seconds, 1.0) for seed, seconds in enumerate((10, 20, 30))]
    assert report.line("default", rows)[2] == f"20.00 +- {4.3027 * 10 / 3**0.5:.2f}"


def test_schedules_and_their_names():
    assert time_to_accuracy.schedules(TimeToAccuracy()) == [()]
    three = [("--epochs", "8"), ("--epochs", "12"), ("--long",)]
    assert time_to_accuracy.schedules(TimeToAccuracy(epochs=(8, 12), long=True)) == three
    assert time_to_accuracy.schedules(TimeToAccuracy(long=True)) == [("--long",)]
    assert time_to_accuracy.name_of((), "", False) == "default"
    assert time_to_accuracy.name_of(("--epochs", "8"), "--batch 512", False) == "--epochs 8 --batch 512"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": (8, 8)}, "--epochs 8 8: expected different"),
        ({"epochs": (0,)}, "--epochs=0"),
        ({"seeds": 0}, "--seeds=0"),
    ],
)
def test_schedules_that_measure_nothing_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        time_to_accuracy.schedules(TimeToAccuracy(**given))


def test_rows_are_appended_and_read_back_and_damage_is_named(tmp_path):
    file = tmp_path / "time_to_accuracy.jsonl"
    assert timed.read(file, ("seed",)) == []
    for seed in range(2):
        timed.append(file, {"seed": seed})
    assert timed.read(file, ("seed",)) == [{"format": 1, "seed": 0}, {"format": 1, "seed": 1}]
    no_row = "line 3 is not a row"
    for text, message in (("no json", no_row), ('{"format": 1}', "line 3 has no 'seed'"), ("4", no_row)):
        file.write_text('{"format": 1, "seed": 0}\n\n' + text + "\n")
        with pytest.raises(ValueError, match=message):
            timed.read(file, ("seed",))
    file.write_text('{"format": 2, "seed": 0}\n')
    with pytest.raises(ValueError, match="has format 2, this program reads 1"):
        timed.read(file, ("seed",))


def test_a_folder_that_is_there_is_no_fast_run(tmp_path):
    with pytest.raises(ValueError, match="a run is timed in a new folder"):
        time_to_accuracy.run("default", (), 0, tmp_path, TimeToAccuracy(), SPEED)


def test_a_command_that_fails_is_reported_with_its_last_lines():
    with pytest.raises(RuntimeError, match="exit status 3\nlast words"):
        timed.start(["-c", "print('last words'); raise SystemExit(3)"])


def test_nothing_to_print_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="has no rows"):
        time_to_accuracy.main(TimeToAccuracy(results=tmp_path, only_print=True))


def test_a_run_from_the_command_line(tmp_path, capsys):
    options = TimeToAccuracy(quick=True, threads=1, out=tmp_path / "runs", results=tmp_path)
    time_to_accuracy.main(options)
    [found] = [json.loads(line) for line in (tmp_path / "time_to_accuracy.jsonl").read_text().splitlines()]
    assert found["schedule"] == "quick"
    assert [point["stage"] for point in found["curve"]] == ["look", "stop"]
    assert 0 <= found["train_seconds"] < found["seconds"]  # in tenths of a second
    assert 0 <= found["error"] <= 100 and 1 <= found["mean_glimpses"] <= 2
    assert "--out" not in found["command"]
    (tmp_path / "time_to_accuracy.png").unlink()
    capsys.readouterr()
    time_to_accuracy.main(TimeToAccuracy(results=tmp_path, only_print=True))
    assert "quick" in capsys.readouterr().out
    assert (tmp_path / "time_to_accuracy.png").read_bytes().startswith(b"\x89PNG")
