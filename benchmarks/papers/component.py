"""What docs/paper.md compares with a paper: a component, its setting in the paper, and the options for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Component:
    """One component of an agent: a row of the page.

    A component that is an option names the value that `--paper` gives it; the page reads both of its columns
    from the script, and tests/benchmarks/test_fidelity.py compares them. One that is no option has `text`.
    """

    name: str  # what the setting is about, in words
    paper: str  # the paper's setting, in words
    section: str  # of the paper, such as "4.2"; "code" = the authors' code, where the paper states nothing
    options: Mapping[str, Any] = field(default_factory=dict)  # by option: its value with --paper
    differs: str = ""  # why it is not as in the paper, even with --paper; empty = it is
    text: str = ""  # what stands in both columns, if it is no option
    where: str = ""  # the file with the code, from the repository's root; empty = the agent's script


@dataclass(frozen=True)
class Part:
    """The components of agents on data sets: a table of the page."""

    title: str
    agents: tuple[str, ...]  # scripts in agents/, each of which has these settings
    datasets: tuple[str, ...]
    components: tuple[Component, ...]
    note: str = ""  # stands above the table
