"""The tables of results in README.md and docs/: written from the rows that benchmarks/reproduce.py leaves, or checked against them.

    python benchmarks/pages.py              # write every table again
    python benchmarks/pages.py --check      # say which are not what the rows say

A page holds a table between two lines of its own:

    <!-- results: dtram-3 cub paired -->
    <!-- end -->

that is a table's name, a data set and, where differences between rows are wanted too, "paired": they are paired over images, as in the
printed table. Rows that are not there are left out; without any, the block says which command makes them.
"""

from __future__ import annotations

import os
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from papers.tables import TABLES
from reproduction import rows, text_table
from reproduction.spec import Table
from reproduction.text_table import About, Rows

from glimpse_env import datasets
from glimpse_env.runtime import terminal

BLOCK = re.compile(r"^<!-- results: (.*?) -->\n(.*?)^<!-- end -->$", re.DOTALL | re.MULTILINE)
OPENING, CLOSING = re.compile(r"^<!-- results:", re.MULTILINE), re.compile(r"^<!-- end -->$", re.MULTILINE)
# Options of one machine, or that the text states in another way.
LEFT_OUT = ("--out", "--results", "--threads", "--root", "--device", "--seed", "--seeds", "--rows")
WIDTH = 140  # characters of a line of text


@dataclass(frozen=True)
class Pages:
    """Options of `pages.py`."""

    root: Path = Path()
    """Folder of README.md, docs and benchmarks/results."""
    check: bool = False
    """Change nothing; say which pages differ from the rows."""


@dataclass(frozen=True)
class Block:
    """What a block asks for."""

    table: str
    dataset: str
    paired: bool

    @property
    def command(self) -> str:
        """Return the command that makes its rows."""
        usual = TABLES[self.table].datasets[0] == self.dataset
        words = [
            "python benchmarks/reproduce.py",
            self.table,
            *([] if usual else [f"--dataset {self.dataset}"]),
        ]
        return " ".join(
            words + (["--weights WEIGHTS"] if self.dataset in datasets.list_names("photographs") else [])
        )


def list_pages(root: Path) -> list[Path]:
    """Return the pages that may hold tables."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def fill_page(page: Path, results: Path) -> str:
    """Return a page's text with every block as the rows have it.

    Raises:
        ValueError: A block has no end, or asks for what there is not.
    """
    text = page.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    if not len(OPENING.findall(text)) == len(CLOSING.findall(text)) == len(blocks):
        raise ValueError(
            f"{page}: expected every <!-- results: ... --> to be followed by its own <!-- end -->, both alone on their lines"
        )
    parts, position = [], 0
    for block in blocks:
        parts += [
            text[position : block.start(2)],
            "\n" + fill_block(read_block(page, block[1]), results, page.parent) + "\n\n",
        ]
        position = block.end(2)
    return "".join(parts) + text[position:]


def read_block(page: Path, words: str) -> Block:
    """Return what the words of a block ask for."""
    name, dataset, *more = words.split() if " " in words else (words, "")
    if name not in TABLES:
        raise ValueError(
            f"{page}, results of {words!r}: expected one of the tables {', '.join(TABLES)} first"
        )
    if dataset not in TABLES[name].datasets:
        raise ValueError(
            f"{page}, results of {words!r}: expected one of {', '.join(TABLES[name].datasets)} after {name}"
        )
    if more not in ([], ["paired"]):
        raise ValueError(f"{page}, results of {words!r}: expected nothing but paired after the data set")
    return Block(name, dataset, bool(more))


def fill_block(block: Block, results: Path, place: Path) -> str:
    """Return what stands in a block, on a page that lies in `place`."""
    table = TABLES[block.table]
    file = rows.path_of(results, table.kept_with or block.table, block.dataset)
    groups = text_table.group_rows(table, rows.read(file))
    link = Path(os.path.relpath(file, place))
    texts = [
        format_group(table, about, found, block.paired, link) for about, found in groups.items() if found
    ]
    return "\n\n".join(texts) or f"**{table.title}**: no rows yet; `{block.command}` makes them."


def format_group(table: Table, about: About, found: Rows, paired: bool, link: Path) -> str:
    """Return the table of one part of a data set: what it is about, its rows, and how they were made."""
    title, *more = text_table.describe(table, about, found)
    lines = list(format_rows(table, found, paired))
    aligned = "|".join(["---", *["---:"] * (lines[0].count("|") - 2)])
    about_it = " ".join([f"**{title}.**", *(f"{one[0].upper()}{one[1:]}." for one in more)])
    text = textwrap.fill(about_it, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join([text, "", lines[0], f"|{aligned}|", *lines[1:], "", format_source(found, link)])


def format_rows(table: Table, found: Rows, paired: bool) -> Iterator[str]:
    """Yield the lines of the Markdown table, the head first."""
    others = find_columns(table, found) if paired else {}
    what = table.measure.replace("_", " ")
    yield format_line(
        ["", f"paper: {what} %", f"ours: {what} %", "ours - paper", "glimpses", "seeds", *others]
    )
    for name, paper in table.quoted.items():
        yield format_line([name, f"{paper:g}", *[""] * (4 + len(others))])
    for name, runs in found.items():
        compared = [found.get(column.get(name, ""), ()) for column in others.values()]
        differences = [text_table.format_difference(table, runs, other) for other in compared]
        yield format_line([name, *text_table.format_cells(table, name, runs), *differences])


def find_columns(table: Table, found: Rows) -> dict[str, dict[str, str]]:
    """Return the columns of differences: which rows are compared with which other; in pairs if the table is made of them."""
    if table.pairs:
        return {
            "- the other of its pair": {
                name: other for name, other in table.pairs.items() if name in found and other in found
            }
        }
    return {
        f"- {other}": {name: other for name in found if name != other}
        for other in table.against
        if other in found
    }


def format_line(cells: Sequence[str]) -> str:
    """Return a line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def format_source(found: Rows, link: Path) -> str:
    """Return how the rows were made: commands, seeds, hardware, versions, and where they are."""
    runs = [run for group in found.values() for run in group]
    commands = ", ".join(sorted({f"`{shorten_command(run['command'])}`" for run in runs}))
    seeds = ", ".join(map(str, sorted({run["seed"] for run in runs})))
    machines = ", ".join(sorted({machine(run["hardware"]) for run in runs}))
    versions = ", ".join(sorted({f"torch {run['versions']['torch']}" for run in runs}))
    return f"{commands}; seeds {seeds}; {machines}; {versions}; rows: [`{link.name}`]({link.as_posix()})."


def shorten_command(command: str) -> str:
    """Return a row's command without what only says where it was run, or which part of it; weights are a file of the reader's."""
    kept, option, full = [], "", False
    for word in shlex.split(command):
        if word.startswith("--"):
            option, given, _ = word.partition("=")
            full = bool(given)
            kept += (
                ["--weights WEIGHTS"]
                if option == "--weights"
                else []
                if option in LEFT_OUT
                else [shlex.quote(word)]
            )
        elif option in (*LEFT_OUT, "--weights") and (not full or option == "--rows"):
            full = True  # of its value; rows are several
        else:
            kept.append(shlex.quote(word))
    return " ".join(kept)


def machine(hardware: Mapping[str, Any]) -> str:
    """Return what a run was made on."""
    threads = f"{hardware['threads']} thread{'s' * (hardware['threads'] != 1)}"
    return hardware["gpu"] or f"{hardware['cpu']} ({threads})"


def main(options: Pages) -> None:
    """Write the pages that differ from the rows, or say which do."""
    results = options.root / "benchmarks" / "results"
    changed = {
        page: text
        for page in list_pages(options.root)
        if (text := fill_page(page, results)) != page.read_text(encoding="utf-8")
    }
    if options.check and changed:
        raise ValueError(
            f"{', '.join(map(str, changed))}: tables differ from {results}; write them with python benchmarks/pages.py"
        )
    for page, text in changed.items():
        page.write_text(text, encoding="utf-8")
        print(f"{page}: tables written from {results}")


if __name__ == "__main__":
    with terminal.foreseen("pages.py"):
        main(tyro.cli(Pages, description=__doc__))
