"""The report of a table, to open in a browser, from its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reproduction import text_table
from reproduction.spec import Table
from reproduction.text_table import About, Rows

from glimpse_env.reports import table_report
from glimpse_env.runtime import checkpoint


def path_of(folder: Path, name: str, about: About) -> Path:
    """Return the file of a table's report on a part of a data set and its splits."""
    return folder / f"report-{'-'.join(map(checkpoint.file_name, (name, *about)))}.html"


def write(target: Path, table: Table, about: About, group: Rows, figures: Mapping[str, Path]) -> None:
    """Write the report of a table on one part of a data set."""
    title, *notes = text_table.describe(table, about, group)
    what = table.measure.replace("_", " ")
    notes += [f"the paper also has {name}: {what} {figure:g} %" for name, figure in table.quoted.items()]
    runs = []
    for name, found in group.items():
        row = table.rows[name]
        paper = (
            None
            if row.paper is None
            else {"accuracy": as_accuracy(table, row.paper), "mean_glimpses": row.paper_glimpses}
        )
        # The accuracy is of the measure that the paper has.
        runs += [
            dict(run) | {"paper": paper, "accuracy": as_accuracy(table, text_table.percent(table, run))}
            for run in found
        ]
    measure = "mean class error" if table.measure == "mean_class_accuracy" else "error"
    table_report.write_table(target, title, runs, figures, "; ".join(notes), measure)


def as_accuracy(table: Table, percent: float) -> float:
    """Return what a table shows, in %, as a fraction of correct predictions."""
    return 1 - percent / 100 if table.measure == "error" else percent / 100
