"""The report of a table, to open in a browser, from its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reproduction import text_table
from reproduction.spec import Row, Table
from reproduction.text_table import About, Rows

from glimpse_env.reports import table_report
from glimpse_env.runtime import checkpoint


def path_of(folder: Path, name: str, about: About) -> Path:
    """Return the file of a table's report on a part of a data set and its splits."""
    return folder / f"report-{'-'.join(map(checkpoint.file_name, (name, *about)))}.html"


def write(target: Path, table: Table, about: About, group: Rows, figures: Mapping[str, Path]) -> None:
    """Write the report of a table on one part of a data set."""
    title, *notes = text_table.heading(table, about, group)
    what = table.measure.replace("_", " ")
    notes += [f"the paper also has {name}: {what} {figure:g} %" for name, figure in table.quoted.items()]
    runs = [dict(run) | {"paper": published(table, table.rows[name])} for name, found in group.items() for run in found]
    for run in runs:  # the measure that the paper has
        run["accuracy"] = 1 - text_table.value(table, run) / 100 if table.measure == "error" else text_table.value(table, run) / 100
    measure = "mean class error" if table.measure == "mean_class_accuracy" else "error"
    table_report.write_table(target, title, runs, figures, "; ".join(notes), measure)


def published(table: Table, row: Row) -> dict[str, Any] | None:
    """Return what the paper reports of a row, as a fraction of right answers; None if nothing."""
    if row.paper is None:
        return None
    accuracy = (100 - row.paper if table.measure == "error" else row.paper) / 100
    return {"accuracy": accuracy, "mean_glimpses": row.paper_glimpses}
