"""The list of all tables and figures of the papers: status, reason, and our figures beside the paper's."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from papers.statuses import ITEMS, MEANING, Item
from papers.tables import TABLES
from reproduction import rows, text_table

HEADS = ("", "result", "status", "ours (the paper's)", "why", "made by")


def quote_figures(item: Item, results: Path) -> str:
    """Return our figures and the paper's in the item's rows, of the first part with rows; else nothing."""
    if item.table not in TABLES:
        return ""
    table = TABLES[item.table]
    file = rows.path_of(results, table.rows_of or item.table, item.dataset or table.datasets[0])
    for about, group in text_table.group_rows(table, rows.read(file)).items():
        cells = [quote_row(item, name, group[name]) for name in item.rows if name in group]
        if cells and about.measured == "test":
            return f"{about.part}, {table.label} %: {', '.join(cells)}"
    return ""


def quote_row(item: Item, name: str, runs: text_table.Runs) -> str:
    """Return a row's mean over seeds and the paper's number, with mean glimpses where images differ."""
    table = TABLES[item.table]
    row, values = table.rows[name], [text_table.to_percent(table, run[table.accuracy]) for run in runs]
    ours = f"{name} {statistics.fmean(values):.2f}{format_glimpses(text_table.mean_glimpses(runs))}"
    return ours if row.paper is None else f"{ours} ({row.paper:g}{format_glimpses(row.paper_glimpses)})"


def format_glimpses(mean: float | None) -> str:
    """Return mean glimpses in words; empty for a fixed number."""
    return "" if mean is None or mean == round(mean) else f" at {mean:.1f}"


def format_list(results: Path) -> str:
    """Return the list for the terminal, then the tables that are of no paper."""
    lines = []
    for paper, items in groupby(ITEMS, attrgetter("paper")):
        lines.append(f"{paper}:")
        for item in items:
            reason = "; ".join(filter(None, (quote_figures(item, results), item.why)))
            lines.append(f"  {item.name:<24} {item.table:<16} {item.verdict:<19} {item.about}: {reason}")
    listed = {item.table for item in ITEMS}
    lines.append("Others:")
    lines += [f"  {name:<24} {table.title}" for name, table in TABLES.items() if name not in listed]
    return "\n".join([*lines, "", *(f"{verdict}: {meaning}" for verdict, meaning in MEANING.items())])


def list_cells(results: Path) -> Iterator[tuple[str, ...]]:
    """Yield the cells of every line of the page's table, the head first."""
    yield HEADS
    for item in ITEMS:
        made = f"`reproduce.py {item.table}`" if item.table else ""
        yield (
            f"{item.paper}, {item.name}",
            item.about,
            item.verdict,
            quote_figures(item, results),
            item.why,
            made,
        )


def format_page(results: Path) -> str:
    """Return the list for a page."""
    head, *lines = [f"| {' | '.join(cells)} |" for cells in list_cells(results)]
    meaning = "; ".join(f"{verdict}: {words}" for verdict, words in MEANING.items())
    return "\n".join([f"{meaning[0].upper()}{meaning[1:]}.", "", head, "|" + "---|" * len(HEADS), *lines])
