"""A table of a paper, from training to the printed comparison of our numbers with the paper's.

    python benchmarks/reproduce.py                  # every table and figure of the papers, and its status
    python benchmarks/reproduce.py dtram-2                              # MNIST, DT-RAM's Table 2
    python benchmarks/reproduce.py dtram-6 --weights WEIGHTS --seeds 3  # CUB, or the part of it that is there
    python benchmarks/reproduce.py dtram-6 --only-print                 # from the rows: no data, no training
    python benchmarks/reproduce.py dtram-2 --paper --epochs 20          # with the paper's own settings

A table is a list of runs (benchmarks/papers), each of which is a command of agents/ in a folder named by its
options, so tables share runs; finished runs are not repeated, an interrupted one resumes from its checkpoint.
The same command, started twice, shares the work. Every row of every seed is one line of JSON in --results.
Our numbers are means over seeds with the 95 % interval of that mean (Student's t); differences between rows
are paired over images (the mean over seeds of each image's correctness; bootstrap over images).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from papers.tables import TABLES
from reproduction import compare, listing, measure, rows, runs, table_figures, text_table
from reproduction.measure import Job
from reproduction.runs import Settings
from reproduction.spec import Run, Table
from reproduction.text_table import About, Rows

from glimpse_env import checks
from glimpse_env.datasets import NAMED, check_split, list_names
from glimpse_env.reports import results, table_report
from glimpse_env.runtime import checkpoint, distributed, files, terminal


@dataclass(frozen=True)
class Reproduce(Settings):
    """Options of `reproduce.py`."""

    table: Annotated[str, tyro.conf.Positional] = ""
    """Which table or figure; without one, all are listed."""
    dataset: str = ""
    """mnist, cub, cars, dogs, ...; default: the paper's."""
    split: str = ""
    """Images to train on: train, fit (1/12 is held out) or fit:K/N; default: fit for digits, else train."""
    setting: str = ""
    """Network and sizes by name, such as paper for dtram-6; --backbone and sizes override it."""
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

    @property
    def name(self) -> str:
        """The table's name in those of files."""
        return self.table + "-paper" * self.paper


@dataclass(frozen=True)
class Work:
    """A run to be made, and the rows to take from it: none from a RAM that only starts others."""

    run: Run
    seed: int
    names: list[str] = field(default_factory=list)


def find_table(options: Reproduce) -> tuple[Reproduce, Table]:
    """Return the options with the table's data set and split filled in, and the table.

    Raises:
        ValueError: Unknown table, row, split or data set, or no seed; the message names what is allowed.
    """
    if options.table not in TABLES:
        raise ValueError(f"TABLE {options.table or '(none)'}: expected one of {', '.join(TABLES)}")
    table = TABLES[options.table]
    dataset = options.dataset or table.datasets[0]
    if dataset in NAMED and dataset not in table.datasets:
        allowed = f"{', '.join(table.datasets)}, or a folder of class folders"
        raise ValueError(f"--dataset {dataset}: {options.table} is made on {allowed}")
    if unknown := [row for row in options.rows if row not in table.rows]:
        raise ValueError(f"--rows {unknown[0]!r}: {options.table} has {', '.join(map(repr, table.rows))}")
    for split in filter(None, (options.split, options.measure, options.stop_split)):
        check_split(split)
    if options.seeds < 1 or options.seed < 0:
        given = f"--seeds {options.seeds} --seed {options.seed}"
        raise ValueError(f"{given}: expected at least one seed, from 0 on")
    digits = (*list_names("digits"), *list_names("canvas"))
    split = options.split or ("fit" if dataset in digits and not options.paper else "train")
    check_paper(options, table)
    options = replace(options, dataset=dataset, split=split, **choose_setting(options, table))
    return options, table.on(dataset)


def check_paper(options: Reproduce, table: Table) -> None:
    """Refuse --paper for a table of the scripts' own defaults, and --epochs without --paper."""
    if options.epochs is not None and (not options.paper or options.epochs < 1):
        raise ValueError(f"--epochs {options.epochs}: expected at least one epoch, beside --paper")
    if options.paper and any(row.run.quick for row in table.rows.values()):
        raise ValueError(f"--paper: {options.table} is about the scripts' own defaults, without --paper")


def find_file(options: Reproduce, table: Table) -> Path:
    """Return the file of the rows; those of --paper have their own."""
    name = (table.rows_of or options.table) + "-paper" * options.paper
    return rows.path_of(options.results, name, options.dataset)


def choose_setting(options: Reproduce, table: Table) -> dict[str, Any]:
    """Return the network and sizes of the named setting, where none are given.

    Raises:
        ValueError: The table has no such setting, or none of its agents has an option that is given.
    """
    if options.setting and options.setting not in table.settings:
        known = f"it has {', '.join(table.settings)}" if table.settings else "it has none"
        raise ValueError(f"--setting {options.setting}: {options.table} has no such setting; {known}")
    given = runs.list_sizes(options)
    taken = {name for row in table.rows.values() for name in runs.AGENTS[row.run.agent][1]}
    if unknown := [name for name in given if name not in taken]:
        option = unknown[0].replace("_", "-")
        raise ValueError(f"--{option}: no agent of {options.table} takes it; leave it out")
    return {**table.settings.get(options.setting, {}), **given}


def list_work(options: Reproduce, job: Job, file: Path) -> dict[Path, Work]:
    """Return every run whose rows are not all in the file, by folder, after the RAM that it starts from."""
    known, works = rows.read(file), dict[Path, Work]()
    for seed in range(options.seed, options.seed + options.seeds):
        for name in dict.fromkeys(options.rows or job.table.rows):
            if rows.has(file, known, measure.identify_row(job, name, seed)):
                continue
            run = job.table.rows[name].run
            if run.start is not None:
                works.setdefault(runs.folder(options, run.start, seed), Work(run.start, seed))
            works.setdefault(runs.folder(options, run, seed), Work(run, seed)).names.append(name)
    return works


def make_table(options: Reproduce, table: Table, file: Path, start: runs.Start) -> None:
    """Make the runs whose rows are not there, each by `start`, and write their rows."""
    distributed.refuse("a table of several runs")
    options = terminal.prepare(options)
    checks.device(options.device)
    job = measure.start_job(options.table, table, options)

    def is_ready(work: Work) -> bool:
        ram = work.run.start
        return ram is None or runs.is_finished(ram.agent, runs.folder(options, ram, work.seed))

    def do(work: Work) -> None:
        out = runs.make(options, work.run, work.seed, start)
        if work.names:
            rows.add(file, measure.make_rows(job, work.names, work.seed, out))

    works = list_work(options, job, file)
    if not works:
        advice = "--results FOLDER makes them again in another folder"
        print(f"all rows are in {file}: nothing is trained; {advice}")
    runs.share_work(works, do, is_ready)


def show(options: Reproduce, table: Table, file: Path) -> None:
    """Print the table of every part of the data set and every split that there are rows of."""
    known = [row for row in rows.read(file) if row["row"] in (options.rows or table.rows)]
    if not known:
        raise ValueError(f"{file} has no rows of {options.table}: leave --only-print out to make them")
    for about, group in text_table.group_rows(table, known).items():
        print("\n" + text_table.format_table(table, about, group))
        if points := compare.find_points(table, group):
            print("\n" + compare.format_points(points))
        figures = {}
        if table.figure is not None:
            figures[table.title] = write_figure(options, table, about, group)
            print(f"figure: {figures[table.title]}")
        page = options.out / f"{about.name_file(f'report-{options.name}')}.html"
        write_report(page, table, about, group, figures)
        print(f"report, to open in a browser: {page}")


def write_report(page: Path, table: Table, about: About, group: Rows, figures: dict[str, Path]) -> None:
    """Write the report of a table on one part of a data set."""
    title, *notes = text_table.describe(table, about, group)
    notes += [f"the paper also has {name}: {table.label} {value:g} %" for name, value in table.quoted.items()]
    lines = []
    for name, own in group.items():
        row, paper = table.rows[name], None
        if row.paper is not None:
            accuracy = 1 - row.paper / 100 if table.measure == "error" else row.paper / 100
            paper = {"accuracy": accuracy, "mean_glimpses": row.paper_glimpses}
        lines += [dict(run) | {"paper": paper} for run in own]
    table_report.write_table(page, title, lines, figures, "; ".join(notes), table.accuracy)


def write_figure(options: Reproduce, table: Table, about: About, group: Rows) -> Path:
    """Write the figure that a table stands for, and return its file."""
    target = options.results / f"{about.name_file(options.name)}.png"
    if table.figure == "histogram":
        table_figures.write_histogram(group, f"{about.part}, {about.measured}", target)
        return target
    run = next(iter(group.values()))[0]["run"]
    source = options.out / run / "checkpoint.pt"
    if not source.is_file():
        advice = "give its folder, or --results FOLDER to make it again"
        missing = f"{options.table} shows images, and the run {run} is not in --out {options.out}"
        raise ValueError(f"{missing}: {advice}")
    suffix = results.build_suffix(checkpoint.load(source), about.measured)
    files.write_bytes(target, (source.parent / f"fixation_paths{suffix}.png").read_bytes())
    return target


def main(options: Reproduce, start: runs.Start = runs.start) -> None:
    """List the tables, or make the rows of one that are not there and print it."""
    if not options.table:
        print(listing.format_list(options.results))
        return
    options, table = find_table(options)
    file = find_file(options, table)
    if not options.only_print:
        make_table(options, table, file, start)
    show(options, table, file)


if __name__ == "__main__":
    with terminal.foreseen("reproduce.py"):
        main(tyro.cli(Reproduce, description=__doc__))
