"""A table of a paper, from training to the printed comparison: the paper's number, ours with its interval, the difference.

    python benchmarks/reproduce.py dtram-2                                   # MNIST, DT-RAM's Table 2
    python benchmarks/reproduce.py dtram-6 --weights WEIGHTS --seeds 3       # CUB, Table 6; on whatever part of the set is there
    python benchmarks/reproduce.py dtram-6 --only-print                      # from the rows, without data or training

A table is a list of runs (benchmarks/papers/tables.py). Every run has a folder named by what it is, so tables share runs;
finished runs are found and not repeated, an interrupted one goes on from its checkpoint. The same command, started twice, shares the work.
Every row of every seed is one line of JSON in --results. Our numbers are means over seeds with the 95 % interval of that mean (Student's
t); differences between our rows are paired over images (the mean over seeds of each image's correctness; bootstrap over images).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from papers.tables import TABLES
from reproduction import compare, measure, reporting, rows, steps, text_table, trainings
from reproduction.measure import Job
from reproduction.spec import Table
from reproduction.trainings import Settings, Work

from glimpse_env import checks
from glimpse_env.datasets import NAMED, PHOTOGRAPHS, check_split
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal


@dataclass(frozen=True)
class Reproduce(Settings):
    """Options of `reproduce.py`."""

    table: Annotated[str, tyro.conf.Positional] = ""
    """Which table or figure; without one, all are listed."""
    dataset: str = ""
    """mnist, cub, cars, dogs, ...; default: the paper's."""
    split: str = ""
    """Images to train on: train, fit (a twelfth is held out) or fit:K/N; default: fit for mnist, else train."""
    rows: tuple[str, ...] = ()
    """Rows to make; default: all."""
    seeds: int = 3
    """Runs of each kind."""
    seed: int = 0
    """The first seed."""
    results: Path = Path("benchmarks/results")
    """Folder of the rows."""
    only_print: bool = False
    """Print the table from the rows that are there, of all seeds and splits."""


def chosen(options: Reproduce) -> tuple[Reproduce, Table]:
    """Return the options with the table's data set filled in, and the table.

    Raises:
        ValueError: An unknown table, row or split, a data set of no such table, or no seed; the message names what there is.
    """
    if options.table not in TABLES:
        raise ValueError(f"TABLE {options.table or '(none)'}: expected one of {', '.join(TABLES)}")
    table = TABLES[options.table]
    dataset = options.dataset or table.datasets[0]
    if dataset in (*NAMED, *PHOTOGRAPHS) and dataset not in table.datasets:
        raise ValueError(f"--dataset {dataset}: {options.table} is made on {', '.join(table.datasets)}, or a folder of class folders")
    if unknown := [row for row in options.rows if row not in table.rows]:
        raise ValueError(f"--rows {unknown[0]!r}: {options.table} has {', '.join(map(repr, table.rows))}")
    for split in filter(None, (options.split, options.measure, options.stop_split)):
        check_split(split)
    if options.seeds < 1 or options.seed < 0:
        raise ValueError(f"--seeds {options.seeds} --seed {options.seed}: expected at least one seed, from 0 on")
    return replace(options, dataset=dataset, split=options.split or ("fit" if dataset == "mnist" else "train")), table


def works(options: Reproduce, job: Job, file: Path) -> list[Work]:
    """Return what is to be done: every run whose rows are not all there, after the RAM that it starts from."""
    known, runs = rows.read(file), dict[Path, list[str]]()
    found: dict[Path, Work] = {}

    def record(out: Path, seed: int) -> Callable[[], None]:
        return lambda: rows.add(file, measure.rows_of(job, runs[out], seed, out))

    for seed in range(options.seed, options.seed + options.seeds):
        for name in dict.fromkeys(options.rows or job.table.rows):
            if rows.there(file, known, measure.wanted(job, name, seed)):
                continue
            run = job.table.rows[name].run
            out = trainings.folder(options, run, seed)
            if run.start is not None:
                start = trainings.work(options, run.start, seed)
                found.setdefault(start.out, start)
            runs.setdefault(out, []).append(name)
            found[out] = trainings.work(options, run, seed, record(out, seed))
    return list(found.values())


def show(options: Reproduce, table: Table, file: Path) -> None:
    """Print the table of every part of the data set and every split that there are rows of."""
    wanted = options.rows or table.rows
    kept = [row for row in rows.read(file) if row["row"] in wanted]
    if not kept:
        raise ValueError(f"{file} has no rows of {options.table}: leave --only-print out to make them")
    for about, group in text_table.grouped(table, kept).items():
        print("\n" + text_table.printed(table, about, group))
        if points := compare.points(table, group):
            print("\n" + compare.printed(points))
        drawn = {} if table.figure is None else {table.title: figure(options, table, about, group)}
        for path in drawn.values():
            print(f"figure: {path}")
        page = reporting.path_of(options.out, options.table, about)
        reporting.write(page, table, about, group, drawn)
        print(f"report, to open in a browser: {page}")


def figure(options: Reproduce, table: Table, about: text_table.About, group: text_table.Rows) -> Path:
    """Write the figure that a table stands for, and return its file."""
    part, split, measured = about
    target = options.results / f"{'-'.join((options.table, part, checkpoint.file_name(split), checkpoint.file_name(measured)))}.png"
    if table.figure == "histogram":
        steps.histogram(group, f"{part}, {measured}", target)
        return target
    first = next(iter(group.values()))[0]
    source = options.out / first["run"] / "checkpoint.pt"
    if not source.is_file():
        where = f"--out {options.out}: give its folder, or --results FOLDER to make it anew"
        raise ValueError(f"{options.table} shows images, and the run {first['run']} is not in {where}")
    end = results.suffix(checkpoint.load(source), measured)
    checkpoint.write_bytes(target, (source.parent / f"fixation_paths{end}.png").read_bytes())
    return target


def listed(tables: Mapping[str, Table]) -> str:
    """Return the names and titles of all tables."""
    return "\n".join(f"{name:<16} {table.title}" for name, table in tables.items())


def main(options: Reproduce) -> None:
    """Make the runs that are not there, write their rows, and print the table."""
    if not options.table:
        print(listed(TABLES))
        return
    options, table = chosen(options)
    file = rows.path_of(options.results, table.kept_with or options.table, options.dataset)
    if not options.only_print:
        options = terminal.prepare(options)
        checks.device(options.device)
        lacking = works(options, Job(options.table, table, options, measure.part_of(options)), file)
        if not lacking:
            print(f"all rows are in {file}: nothing is trained; --results FOLDER makes them anew in another folder")
        trainings.share(lacking)
    show(options, table, file)


if __name__ == "__main__":
    with terminal.foreseen("reproduce.py"):
        main(tyro.cli(Reproduce, description=__doc__))
