"""A table of a paper, from training to the printed comparison: the paper's number, ours with its interval, the difference.

    python benchmarks/reproduce.py dtram-2                                   # MNIST, DT-RAM's Table 2
    python benchmarks/reproduce.py dtram-6 --weights WEIGHTS --seeds 3       # CUB, Table 6; on whatever part of the set is there
    python benchmarks/reproduce.py dtram-6 --only-print                      # from the rows, without data or training

A table is a list of runs (benchmarks/papers), each of which is a command of agents/ in a folder named by what it is, so tables share runs;
finished runs are found and not repeated, an interrupted one resumes from its checkpoint. The same command, started twice, shares the work.
Every row of every seed is one line of JSON in --results. Our numbers are means over seeds with the 95 % interval of that mean (Student's
t); differences between our rows are paired over images (the mean over seeds of each image's correctness; bootstrap over images).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from papers.tables import TABLES
from reproduction import compare, html, measure, rows, runs, table_figures, text_table
from reproduction.measure import Job
from reproduction.runs import Settings, Work
from reproduction.spec import Run, Table

from glimpse_env import checks
from glimpse_env.datasets import NAMED, check_split
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, distributed, files, terminal


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


def find_table(options: Reproduce) -> tuple[Reproduce, Table]:
    """Return the options with the table's data set filled in, and the table.

    Raises:
        ValueError: An unknown table, row or split, a data set of no such table, or no seed; the message names what there is.
    """
    if options.table not in TABLES:
        raise ValueError(f"TABLE {options.table or '(none)'}: expected one of {', '.join(TABLES)}")
    table = TABLES[options.table]
    dataset = options.dataset or table.datasets[0]
    if dataset in NAMED and dataset not in table.datasets:
        raise ValueError(
            f"--dataset {dataset}: {options.table} is made on {', '.join(table.datasets)}, or a folder of class folders"
        )
    if unknown := [row for row in options.rows if row not in table.rows]:
        raise ValueError(f"--rows {unknown[0]!r}: {options.table} has {', '.join(map(repr, table.rows))}")
    for split in filter(None, (options.split, options.measure, options.stop_split)):
        check_split(split)
    if options.seeds < 1 or options.seed < 0:
        raise ValueError(
            f"--seeds {options.seeds} --seed {options.seed}: expected at least one seed, from 0 on"
        )
    return replace(
        options, dataset=dataset, split=options.split or ("fit" if dataset == "mnist" else "train")
    ), table


def list_work(options: Reproduce, job: Job, file: Path, start: runs.Start) -> list[Work]:
    """Return what is to be done: every run whose rows are not all there, after the RAM that it starts from."""
    known, names = rows.read(file), dict[Path, list[str]]()
    found: dict[Path, Work] = {}

    def work(run: Run, seed: int, after: Callable[[Path], None] = lambda out: None) -> Work:
        def is_ready() -> bool:
            return run.start is None or runs.is_finished(
                run.start.agent, runs.folder(options, run.start, seed)
            )

        return Work(
            runs.folder(options, run, seed), lambda: after(runs.make(options, run, seed, start)), is_ready
        )

    for seed in range(options.seed, options.seed + options.seeds):
        for name in dict.fromkeys(options.rows or job.table.rows):
            if rows.is_there(file, known, measure.ask_for_row(job, name, seed)):
                continue
            run = job.table.rows[name].run
            if run.start is not None:
                start_of = work(run.start, seed)
                found.setdefault(start_of.out, start_of)
            own = names.setdefault(runs.folder(options, run, seed), [])
            own.append(name)
            made = work(
                run,
                seed,
                lambda out, own=own, seed=seed: rows.add(file, measure.make_rows(job, own, seed, out)),
            )
            found[made.out] = made
    return list(found.values())


def show(options: Reproduce, table: Table, file: Path) -> None:
    """Print the table of every part of the data set and every split that there are rows of."""
    names = options.rows or table.rows
    kept = [row for row in rows.read(file) if row["row"] in names]
    if not kept:
        raise ValueError(f"{file} has no rows of {options.table}: leave --only-print out to make them")
    for about, group in text_table.group_rows(table, kept).items():
        print("\n" + text_table.format_table(table, about, group))
        if points := compare.find_points(table, group):
            print("\n" + compare.format_points(points))
        drawn = {} if table.figure is None else {table.title: write_figure(options, table, about, group)}
        for path in drawn.values():
            print(f"figure: {path}")
        page = html.path_of(options.out, options.table, about)
        html.write(page, table, about, group, drawn)
        print(f"report, to open in a browser: {page}")


def write_figure(options: Reproduce, table: Table, about: text_table.About, group: text_table.Rows) -> Path:
    """Write the figure that a table stands for, and return its file."""
    part, split, measured = about
    target = (
        options.results
        / f"{'-'.join((options.table, part, checkpoint.file_name(split), checkpoint.file_name(measured)))}.png"
    )
    if table.figure == "histogram":
        table_figures.draw_histogram(group, f"{part}, {measured}", target)
        return target
    first = next(iter(group.values()))[0]
    source = options.out / first["run"] / "checkpoint.pt"
    if not source.is_file():
        where = f"--out {options.out}: give its folder, or --results FOLDER to make it again"
        raise ValueError(f"{options.table} shows images, and the run {first['run']} is not in {where}")
    end = results.build_suffix(checkpoint.load(source), measured)
    files.write_bytes(target, (source.parent / f"fixation_paths{end}.png").read_bytes())
    return target


def main(options: Reproduce, start: runs.Start = runs.start) -> None:
    """Make the runs that are not there, each by `start`, write their rows, and print the table."""
    if not options.table:
        print("\n".join(f"{name:<16} {table.title}" for name, table in TABLES.items()))
        return
    options, table = find_table(options)
    file = rows.path_of(options.results, table.kept_with or options.table, options.dataset)
    if not options.only_print:
        distributed.refuse("a table of several runs")
        options = terminal.prepare(options)
        checks.device(options.device)
        lacking = list_work(
            options, Job(options.table, table, options, measure.find_part(options)), file, start
        )
        if not lacking:
            print(
                f"all rows are in {file}: nothing is trained; --results FOLDER makes them again in another folder"
            )
        runs.share_work(lacking)
    show(options, table, file)


if __name__ == "__main__":
    with terminal.foreseen("reproduce.py"):
        main(tyro.cli(Reproduce, description=__doc__))
