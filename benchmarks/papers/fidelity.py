"""What is as in the papers: the table behind docs/paper.md, and the values that it reads from the scripts.

A part's options are those of its agents' scripts on its data sets, by default and with --paper, as the
command line would choose them; so the page cannot differ from the scripts.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, get_type_hints

from papers import fidelity_dtram, fidelity_fcan, fidelity_sermanet
from papers.component import Component, Part

from glimpse_env import datasets
from glimpse_env.training.command_line import choose_recipe

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "agents"))  # the scripts' options are read, none is run
MODULES = (fidelity_dtram, fidelity_fcan, fidelity_sermanet)
PARTS: tuple[Part, ...] = tuple(part for module in MODULES for part in module.PARTS)
FIELDS = {
    "glimpses": "max_glimpses",
    "crop_size": "glimpse_size",
}  # options, and the preset's fields for them


def choose_options(agent: str, dataset: str, paper: bool) -> Any:
    """Return the options of `python agents/AGENT.py --dataset DATASET`, with --paper or without."""
    script = importlib.import_module(agent)
    kind = get_type_hints(script.main)["options"]
    given = ["--dataset", dataset, *(["--paper"] if paper else [])]
    recipe = choose_recipe(kind, getattr(script, "RECIPES", {}), getattr(script, "DATASETS", {}), given)
    return kind(**{"dataset": dataset, **recipe})


def read_option(options: Any, name: str) -> Any:
    """Return the value of an option; None is the data set's preset, where that has such a field."""
    value = getattr(options, name)
    preset = datasets.find_preset(options.dataset)
    return getattr(preset, FIELDS.get(name, name), None) if value is None else value


def format_value(name: str, value: Any) -> str:
    """Return an option as on a command line."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"`--{flag}`" if value else f"`--no-{flag}`"
    if isinstance(value, float):
        value = f"{value:.4g}"
    return f"`--{flag} {' '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def format_columns(part: Part, component: Component) -> tuple[str, str]:
    """Return what a component is by default, and with --paper."""
    if not component.options:
        return component.text, component.text
    both = [choose_options(part.agents[0], part.datasets[0], paper) for paper in (False, True)]
    default, paper = (
        ", ".join(format_value(name, read_option(options, name)) for name in component.options)
        for options in both
    )
    return default, "the same" if paper == default else paper


def format_part(part: Part, folder: Path) -> str:
    """Return the table of a part, for a page in `folder` (from the repository's root)."""
    head = ["component", "the paper (section)", "here by default", "with `--paper`", "where"]
    rows = [head, ["---"] * len(head), *(list_cells(part, one, folder) for one in part.components)]
    scripts = ", ".join(f"`{agent}.py`" for agent in part.agents)
    about = f"{scripts}; {', '.join(part.datasets)}.{f' {part.note}' if part.note else ''}"
    return "\n".join([f"### {part.title}", "", about, "", *(f"| {' | '.join(cells)} |" for cells in rows)])


def list_cells(part: Part, component: Component, folder: Path) -> list[str]:
    """Return the cells of a component's row."""
    default, paper = format_columns(part, component)
    if component.differs:
        paper += f"; *differs*: {component.differs}"
    where = component.where or f"agents/{part.agents[0]}.py"
    link = f"[`{Path(where).name}`]({Path(os.path.relpath(where, folder)).as_posix()})"
    return [component.name, f"{component.paper} ({component.section})", default, paper, link]


def format_tables(folder: Path) -> str:
    """Return the tables of all parts, for a page in `folder`."""
    return "\n\n".join(format_part(part, folder) for part in PARTS)
