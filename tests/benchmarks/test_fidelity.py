"""The table behind docs/paper.md: what it claims is what the scripts do."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from papers import fidelity
from papers.component import Component, Part

ROOT = Path(__file__).parents[2]
USES = [(part, agent, data) for part in fidelity.PARTS for agent in part.agents for data in part.datasets]
AGENTS = sorted({(agent, dataset) for _, agent, dataset in USES})


def test_with_paper_every_option_has_the_value_of_the_table() -> None:
    for part, agent, dataset in USES:
        options = fidelity.choose_options(agent, dataset, paper=True)
        for component in part.components:
            for name, value in component.options.items():
                given = fidelity.read_option(options, name)
                assert given == value, f"{agent} {dataset}, {component.name}: --{name} {given}"


@pytest.mark.parametrize("agent", sorted({agent for agent, _ in AGENTS}))
def test_every_option_that_a_recipe_sets_is_in_the_table(agent: str) -> None:
    for dataset, recipe in importlib.import_module(agent).RECIPES["paper"].items():
        parts = [part for part, other, data in USES if (other, data) == (agent, dataset)]
        listed = {name for part in parts for component in part.components for name in component.options}
        assert set(recipe) <= listed, f"{agent} --dataset {dataset}: not in the table"


def test_a_component_that_is_no_option_has_a_text_and_the_named_files_exist() -> None:
    for part in fidelity.PARTS:
        for component in part.components:
            assert bool(component.options) != bool(component.text), component.name
            assert component.section, component.name
            assert (ROOT / (component.where or f"agents/{part.agents[0]}.py")).is_file(), component.name


def test_a_component_is_listed_once_for_an_agent_and_data_set() -> None:
    for agent, dataset in AGENTS:
        parts = [part for part, other, data in USES if (other, data) == (agent, dataset)]
        names = [name for part in parts for component in part.components for name in component.options]
        assert len(names) == len(set(names)), (agent, dataset)


def test_the_columns_are_read_from_the_script() -> None:
    part = Part("RAM", ("ram_reinforce",), ("mnist",), ())
    component = Component("layer", "256", "4.2", {"hidden": 256, "glimpse_size": 8, "augment": False})
    assert fidelity.format_columns(part, component) == (
        "`--hidden 192`, `--glimpse-size 8`, `--augment`",
        "`--hidden 256`, `--glimpse-size 8`, `--no-augment`",
    )
