"""The tables of results in README.md and docs/: written from the rows of benchmarks/reproduce.py, or checked.

    python benchmarks/pages.py              # write every table again
    python benchmarks/pages.py --check      # name the pages whose tables differ from the rows

A page holds a table between two lines of its own:

    <!-- results: dtram-3 cub paired -->
    <!-- end -->

that is a table's name, a data set and, for differences between rows, "paired": over images, as in the
printed table; "statuses" alone is the list of all tables of the papers, "fixations" where every agent looks,
"algorithms" the rows of algorithms.py, "timing" those of dtram_timing.py, "gpu" those of gpu.py,
"own_photographs" that of own_photographs.py, "settings" what is as in the papers (papers/fidelity.py).
Missing rows are left out; without any, the block names the command that makes them.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import algorithms
import dtram_timing
import own_photographs
import tyro
from papers import fidelity
from papers.tables import TABLES
from reproduction import fixation_page, listing, rows, text_table
from reproduction.spec import Table
from reproduction.text_table import About, Rows
from timing import gpu_page

from glimpse_env import datasets
from glimpse_env.runtime import terminal

BLOCK = re.compile(r"^<!-- results: (.*?) -->\n.*?^<!-- end -->$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"^<!-- results:|^<!-- end -->$", re.MULTILINE)
# Options of one machine, or that the text states in another way, with the number of their values.
LEFT_OUT: dict[str, float] = dict.fromkeys(
    ("--out", "--results", "--threads", "--root", "--device", "--seed", "--seeds"), 1
)
LEFT_OUT |= {"--weights": 1, "--rows": math.inf}
PAPER = "-paper"  # ends the name of a table that was made with --paper
LISTS: dict[str, Callable[[Path], str]] = {
    "statuses": listing.format_page,
    "fixations": fixation_page.format_page,
    "algorithms": algorithms.format_page,
    "timing": dtram_timing.format_page,
    "gpu": gpu_page.format_page,
    "own_photographs": own_photographs.format_page,
}
WIDTH = 140  # characters of a line of text


@dataclass(frozen=True)
class Pages:
    """Options of `pages.py`."""

    root: Path = Path()
    """Folder of README.md, docs and benchmarks/results."""
    check: bool = False
    """Change nothing; name the pages that differ from the rows."""


def list_pages(root: Path) -> list[Path]:
    """Return the pages that may hold tables."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def fill_page(page: Path, results: Path) -> str:
    """Return a page's text with every block filled from the rows.

    Raises:
        ValueError: A block has no end, or names an unknown table or data set.
    """
    text = page.read_text(encoding="utf-8")
    if len(MARK.findall(text)) != 2 * len(BLOCK.findall(text)):
        expected = (
            "every <!-- results: ... --> to be followed by its own <!-- end -->, both alone on their lines"
        )
        raise ValueError(f"{page}: expected {expected}")

    def fill(block: re.Match[str]) -> str:
        if block[1] == "settings":
            filled = fidelity.format_tables(page.parent.relative_to(results.parents[1]))
        elif block[1] in LISTS:
            filled = LISTS[block[1]](results)
        else:
            filled = fill_block(*read_block(page, block[1]), results, page.parent)
        return f"<!-- results: {block[1]} -->\n\n{filled}\n\n<!-- end -->"

    return BLOCK.sub(fill, text)


def read_block(page: Path, words: str) -> tuple[str, str, bool]:
    """Return the table, the data set and whether rows are compared, from the words of a block."""
    name, dataset, *more = words.split() if " " in words else (words, "")
    where = f"{page}, results of {words!r}"
    table = TABLES.get(name.removesuffix(PAPER))
    if table is None:
        raise ValueError(f"{where}: expected one of the tables {', '.join(TABLES)} first")
    if dataset not in table.datasets:
        raise ValueError(f"{where}: expected one of {', '.join(table.datasets)} after {name}")
    if more not in ([], ["paired"]):
        raise ValueError(f"{where}: expected nothing but paired after the data set")
    return name, dataset, bool(more)


def fill_block(name: str, dataset: str, paired: bool, results: Path, folder: Path) -> str:
    """Return the content of a block, on a page in `folder`."""
    name, paper = name.removesuffix(PAPER), name.endswith(PAPER)
    table = TABLES[name].on(dataset)
    file = rows.path_of(results, (table.rows_of or name) + PAPER * paper, dataset)
    groups = text_table.group_rows(table, rows.read(file))
    link = Path(os.path.relpath(file, folder))
    texts = [format_group(table, about, group, paired, link) for about, group in groups.items()]
    words = ["python benchmarks/reproduce.py", name, *(["--paper"] if paper else [])]
    words += [] if table.datasets[0] == dataset else [f"--dataset {dataset}"]
    words += ["--weights WEIGHTS"] if dataset in datasets.list_names("photographs") else []
    return "\n\n".join(texts) or f"**{table.title}**: no rows yet; `{' '.join(words)}` makes them."


def format_group(table: Table, about: About, group: Rows, paired: bool, link: Path) -> str:
    """Return the table of one part of a data set: title and notes, rows, and how they were made."""
    title, *notes = text_table.describe(table, about, group)
    head, *lines = [f"| {' | '.join(cells)} |" for cells in list_cells(table, group, paired)]
    aligned = "|".join(["---", *["---:"] * (head.count("|") - 2)])
    caption = " ".join([f"**{title}.**", *(f"{note[0].upper()}{note[1:]}." for note in notes)])
    text = textwrap.fill(caption, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join([text, "", head, f"|{aligned}|", *lines, "", format_source(group, link)])


def list_cells(table: Table, group: Rows, paired: bool) -> Iterator[list[str]]:
    """Yield the cells of every line of the table, the head first."""
    others = find_columns(table, group) if paired else {}
    named = {name: f"{name}: {table.label} %" for name in ("paper", "ours")}
    heads = ["", *(named.get(name, name) for name in text_table.list_heads(table)), *others]
    yield heads
    for name, paper in table.quoted.items():
        yield [name, f"{paper:g}", *[""] * (len(heads) - 2)]
    for name, runs in group.items():
        compared = [group.get(column.get(name, ""), ()) for column in others.values()]
        differences = [text_table.format_difference(table, runs, other) for other in compared]
        yield [name, *text_table.format_cells(table, name, runs), *differences]


def find_columns(table: Table, group: Rows) -> dict[str, Mapping[str, str]]:
    """Return the columns of differences: by head, with which other row each is compared; pairs come first."""
    if table.pairs:
        return {"- the other of its pair": table.pairs}
    others = [other for other in table.against if other in group]
    return {f"- {other}": {name: other for name in group if name != other} for other in others}


def format_source(group: Rows, link: Path) -> str:
    """Return how the rows were made: commands, seeds, hardware, versions, and their file."""
    runs = [run for same_name in group.values() for run in same_name]
    commands = ", ".join(sorted({f"`{shorten_command(run['command'])}`" for run in runs}))
    seeds = ", ".join(map(str, sorted({run["seed"] for run in runs})))
    machines = ", ".join(sorted({format_machine(run["hardware"]) for run in runs}))
    versions = ", ".join(sorted({f"torch {run['versions']['torch']}" for run in runs}))
    return f"{commands}; seeds {seeds}; {machines}; {versions}; rows: [`{link.name}`]({link.as_posix()})."


def shorten_command(command: str) -> str:
    """Return a row's command without the options in `LEFT_OUT`; weights are a file of the reader's."""
    shown, values = [], 0  # values that belong to an option which is left out
    for word in shlex.split(command):
        option, given, _ = word.partition("=")
        if option in LEFT_OUT:
            values = LEFT_OUT[option] - bool(given)
            shown += ["--weights WEIGHTS"] if option == "--weights" else []
        elif values and not word.startswith("--"):
            values -= 1
        else:
            values = 0
            shown.append(shlex.quote(word))
    return " ".join(shown)


def format_machine(hardware: Mapping[str, Any]) -> str:
    """Return the hardware of a run in words."""
    threads = f"{hardware['threads']} thread{'s' * (hardware['threads'] != 1)}"
    return hardware["gpu"] or f"{hardware['cpu']} ({threads})"


def main(options: Pages) -> None:
    """Write the pages that differ from the rows, or name them."""
    results = options.root / "benchmarks" / "results"
    texts = {page: fill_page(page, results) for page in list_pages(options.root)}
    changed = [page for page, text in texts.items() if text != page.read_text(encoding="utf-8")]
    if options.check and changed:
        advice = f"tables differ from {results}; write them with python benchmarks/pages.py"
        raise ValueError(f"{', '.join(map(str, changed))}: {advice}")
    for page in changed:
        page.write_text(texts[page], encoding="utf-8")
        print(f"{page}: tables written from {results}")


if __name__ == "__main__":
    with terminal.foreseen("pages.py"):
        main(tyro.cli(Pages, description=__doc__))
