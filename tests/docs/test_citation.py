"""CITATION.cff agrees with the package, and has what the Citation File Format 1.2.0 requires."""

import re
import tomllib
from pathlib import Path

import yaml

import glimpse_env

ROOT = Path(__file__).parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_it_is_this_version_of_this_software():
    assert (CITATION["cff-version"], CITATION["type"], CITATION["title"]) == ("1.2.0", "software", "Glimpse")
    assert (CITATION["version"], CITATION["license"]) == (glimpse_env.__version__, PROJECT["license"])
    assert set(CITATION["keywords"]) <= set(PROJECT["keywords"])
    assert CITATION["authors"] == [{"name": "Glimpse contributors"}]
    assert CITATION["message"]
    assert set(PROJECT["urls"].values()) == {reference["url"] for reference in CITATION["references"]}


def test_every_paper_that_the_readme_names_is_a_whole_reference():
    known = {}
    for reference in CITATION["references"]:
        assert set(reference) >= {"type", "title", "authors"}  # what the format requires of one
        assert all(set(person) == {"family-names", "given-names"} for person in reference["authors"])
        [identifier] = reference["identifiers"]
        number = identifier["value"].removeprefix("arXiv:")
        assert reference["url"] == f"https://arxiv.org/abs/{number}"
        known[number] = reference
    assert set(known) == set(
        re.findall(r"\b\d{4}\.\d{5}\b|\b\d{4}\.\d{4}\b", (ROOT / "README.md").read_text(encoding="utf-8"))
    )
