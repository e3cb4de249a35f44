"""The tables of results in the pages: written from rows, and checked against them."""

import re
from pathlib import Path

import pages
import pytest
import torch
from reproduction import rows

ROOT = Path(__file__).parents[2]
COMMAND = "python benchmarks/reproduce.py dtram-3 --weights /somewhere/w.pth --threads 1 --out /somewhere"
COMMAND += " --results /elsewhere"


def row(name, seed, correct, glimpses, table="dtram-3"):
    """Return a row as `reproduce.py` writes it, with the entries that a page needs."""
    hardware = {"cpu": "AMD EPYC", "cores": 2, "threads": 1, "gpu": None}
    about = {"format": rows.FORMAT, "table": table, "row": name, "part": "CUB-50", "split": "fit:1/8"}
    about |= {"measured": "test", "seed": seed, "options": {}, "weights_sha256": None}
    measures = {"accuracy": correct / 100, "mean_class_accuracy": correct / 100, "mean_glimpses": glimpses}
    measures |= {"classes": 50, "of_classes": 200, "images": 100}
    origin = {"command": COMMAND.replace("dtram-3", table), "versions": {"torch": "2.15.0"}}
    bits = rows.pack_bits(torch.arange(100) < correct)
    return about | measures | origin | {"hardware": hardware, "right": bits}


@pytest.fixture
def root(tmp_path):
    """Return a folder with a README and a page in docs, both with Table 3, the page with differences."""
    (tmp_path / "docs" / "agents").mkdir(parents=True)
    (tmp_path / "README.md").write_text("before\n\n<!-- results: dtram-3 cub -->\n<!-- end -->\n\nafter\n")
    page = tmp_path / "docs" / "agents" / "dtram.md"
    page.write_text("<!-- results: dtram-3 cub paired -->\nold\n<!-- end -->\n")
    return tmp_path


def write(root, *new, table="dtram-3"):
    """Put rows where the pages look for them, write the pages and return their texts."""
    rows.add(root / "benchmarks" / "results" / f"{table}-cub.jsonl", new)
    pages.main(pages.Pages(root))
    return (root / "README.md").read_text(), (root / "docs" / "agents" / "dtram.md").read_text()


def cells(text, name):
    """Return the cells of the row of a Markdown table."""
    [line] = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_published_pages_are_what_the_rows_say():
    for page in pages.list_pages(ROOT):
        assert pages.fill_page(page, ROOT / "benchmarks" / "results") == page.read_text(encoding="utf-8")


def test_every_quoted_table_exists():
    for page in pages.list_pages(ROOT):
        quoted = re.findall(r"reproduce\.py ([a-z][\w-]+)", page.read_text(encoding="utf-8"))
        assert set(quoted) <= set(pages.TABLES), page


def test_a_table_has_the_papers_number_ours_and_the_difference(root):
    """78 and 82 of 100 correct: 80 +- 12.706 * (4 / sqrt 2) / sqrt 2 = 25.41, Student's t with one degree."""
    readme, _ = write(root, row("RAM 3", 0, 78, 3.0), row("RAM 3", 1, 82, 3.0))
    assert cells(readme, "RAM 3") == ["RAM 3", "86 at 3", "80.00 +- 25.41", "-6.00", "3.00", "2"]
    assert readme.startswith("before\n\n<!-- results: dtram-3 cub -->\n")
    assert readme.endswith("\n<!-- end -->\n\nafter\n")
    caption = "Here: CUB-50 (50 of 200 classes), trained on fit:1/8, 100 images of test."
    assert caption in readme.replace("\n", " ")


def test_rows_that_are_not_there_are_left_out_and_so_are_comparisons_with_them(root):
    """Without the row "one view" only "RAM 3" is there to compare with: 2 of 100 images more."""
    readme, page = write(root, row("RAM 3", 0, 78, 3.0), row("DT-RAM", 0, 80, 1.9))
    assert "one view" not in readme + page
    assert cells(page, "DT-RAM")[-1].startswith("+2.00 [")
    assert cells(page, "RAM 3")[-1] == ""
    assert len(cells(readme, "RAM 3")) == 6


def test_a_pair_is_compared_with_its_other_half(root):
    page = root / "docs" / "agents" / "dtram.md"
    page.write_text("<!-- results: dtram-8 cub paired -->\n<!-- end -->\n")
    pair = (
        row("2 glimpses, with curriculum", 0, 90, 2.0, "dtram-8"),
        row("2 glimpses, without", 0, 85, 2.0, "dtram-8"),
    )
    _, text = write(root, *pair, table="dtram-8")
    assert cells(text, "2 glimpses, with curriculum")[-1].startswith("+5.00 [")
    assert cells(text, "2 glimpses, without")[-1] == ""


def test_the_source_names_no_path_of_the_machine_and_links_from_the_folder_of_the_page(root):
    readme, page = write(root, row("RAM 3", 0, 78, 3.0))
    command = "`python benchmarks/reproduce.py dtram-3 --weights WEIGHTS`"
    for text in (readme, page):
        assert f"{command}; seeds 0; AMD EPYC (1 thread); torch 2.15.0" in text
        assert "somewhere" not in text
    assert "](benchmarks/results/dtram-3-cub.jsonl)" in readme
    assert "](../../benchmarks/results/dtram-3-cub.jsonl)" in page


@pytest.mark.parametrize(
    ("given", "short"),
    [
        ("dtram-6 --weights=tuned/w.pth --split fit:1/8", "dtram-6 --weights WEIGHTS --split fit:1/8"),
        ("--threads 1 dtram-8 --seeds=5 --measure test", "dtram-8 --measure test"),
        (
            "dtram-7 --rows '> 0' '> 0.4' --root data --stop-split validation:1/8",
            "dtram-7 --stop-split validation:1/8",
        ),
    ],
)
def test_a_command_is_written_as_a_reader_would_type_it(given, short):
    assert pages.shorten_command(f"reproduce.py {given}") == f"reproduce.py {short}"


def test_without_rows_the_block_says_which_command_makes_them(root):
    pages.main(pages.Pages(root))
    command = "`python benchmarks/reproduce.py dtram-3 --weights WEIGHTS`"
    assert f"no rows yet; {command} makes them" in (root / "README.md").read_text()


def test_writing_again_changes_nothing_and_a_new_row_is_noticed(root):
    first = write(root, row("RAM 3", 0, 78, 3.0))
    assert write(root) == first
    pages.main(pages.Pages(root, check=True))
    rows.add(root / "benchmarks" / "results" / "dtram-3-cub.jsonl", [row("RAM 3", 1, 79, 3.0)])
    message = r"README.md, .*dtram.md: tables differ from .*results; write them with"
    with pytest.raises(ValueError, match=message):
        pages.main(pages.Pages(root, check=True))
    assert (root / "README.md").read_text() == first[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- results: dtram-99 cub -->\n<!-- end -->\n", "expected one of the tables ram-1"),
        ("<!-- results: dtram-3 -->\n<!-- end -->\n", "expected one of cub, cars, dogs after dtram-3"),
        ("<!-- results: dtram-3 cub pared -->\n<!-- end -->\n", "expected nothing but paired"),
        ("<!-- results: dtram-3 cub -->\n", "followed by its own <!-- end -->"),
        ("<!-- results: dtram-3 cub -->\n" * 2 + "<!-- end -->\n", "followed by its own <!-- end -->"),
    ],
)
def test_a_block_that_cannot_be_filled_is_named(root, text, message):
    (root / "README.md").write_text(text)
    with pytest.raises(ValueError, match=message):
        pages.main(pages.Pages(root))
    assert (root / "README.md").read_text() == text
