"""What README and the pages of docs show runs, and what they name or quote exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_python_example_runs(capsys):
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert re.search(r"\d glimpses, prediction (correct|incorrect)", capsys.readouterr().out)


def test_the_first_commands_stay():
    assert "pip install -e . && python agents/dtram_reinforce.py" in README
    assert 'pip install -e ".[test]" && pytest' in README


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_script_link_and_anchor_exists(page):
    text = page.read_text(encoding="utf-8")
    scripts = set(re.findall(r"(?:python|torchrun \S+) ((?:agents|benchmarks)/[\w/]+\.py)", text))
    assert not [name for name in scripts if not (ROOT / name).is_file()]
    for link in re.findall(r"\]\(([^)]+)\)", text):
        target, _, anchor = link.partition("#")
        if "://" not in target:
            there = page.parent / target if target else page
            assert there.exists(), link
            assert not anchor or anchor in anchors(there), link


def test_every_page_is_reached_from_the_table_of_contents():
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]} - {"README.md"} == {
        link for link in re.findall(r"\]\(([^)]+)\)", contents) if link != "../README.md"
    }
