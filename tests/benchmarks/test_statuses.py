"""The list of all tables and figures of the papers: complete, and no claim without rows."""

from pathlib import Path
from typing import get_args

import pytest
import reproduce
from papers.statuses import ITEMS, MEANING, Item, Verdict
from papers.tables import TABLES
from reproduction import listing, rows

from glimpse_env.reports import published

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize(("paper", "table"), sorted({key[:2] for key in published.TABLES}))
def test_every_table_with_published_numbers_is_listed_once(paper, table):
    [item] = [item for item in ITEMS if (item.paper, item.name) == (paper, table)]
    assert item.table in TABLES
    assert item.why


@pytest.mark.parametrize("name", [name for name in TABLES if name.startswith("dtram-figure")])
def test_every_figure_that_can_be_drawn_is_listed(name):
    assert name in {item.table for item in ITEMS} or name.endswith("-mnist")


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: f"{item.paper}, {item.name}")
def test_what_is_claimed_has_rows_and_they_are_the_tables(item):
    if item.table:
        assert set(item.rows) <= set(TABLES[item.table].rows)
        assert item.dataset in ("", *TABLES[item.table].datasets)
    quoted = listing.quote_figures(item, RESULTS)
    if item.verdict in ("reproduced", "differs"):
        assert quoted
        assert all(f"{name} " in quoted for name in item.rows)


def test_every_verdict_has_a_meaning():
    assert set(MEANING) == set(get_args(Verdict)) == {item.verdict for item in ITEMS}


def test_figures_are_means_of_the_rows_beside_the_papers(tmp_path):
    about = {"format": rows.FORMAT, "table": "dtram-3", "part": "CUB-50", "split": "fit", "measured": "test"}
    about |= {"options": {}, "weights_sha256": None}
    known = [
        about | {"row": "DT-RAM", "seed": seed, "accuracy": accuracy, "mean_glimpses": 1.5}
        for seed, accuracy in ((0, 0.8), (1, 0.81))
    ]
    known.append(about | {"row": "RAM 3", "seed": 0, "accuracy": 0.9, "mean_glimpses": 3.0})
    rows.add(tmp_path / "dtram-3-cub.jsonl", known)
    item = Item("DT-RAM", "Table 3", "", "reproduced", "", "dtram-3", ("one view", "RAM 3", "DT-RAM"))
    expected = "CUB-50, accuracy %: RAM 3 90.00 (86), DT-RAM 80.50 at 1.5 (86 at 1.9)"
    assert listing.quote_figures(item, tmp_path) == expected
    assert listing.quote_figures(item, tmp_path / "none") == ""


def test_without_a_table_the_list_is_printed(capsys):
    reproduce.main(reproduce.Reproduce(results=RESULTS))
    printed = capsys.readouterr().out
    assert all(f"  {item.name} " in printed for item in ITEMS)
    assert set(TABLES) <= set(printed.split())
