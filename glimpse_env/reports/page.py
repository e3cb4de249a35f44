"""One HTML file from the parts of a report: the template with style, scripts and data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from glimpse_env.runtime import files

# What stands before an absolute path, and its last part; of a quoted path, with spaces, an option before it.
ABSOLUTE = re.compile(r"(^|[\s='\"(])(?:[~/]|[A-Za-z]:\\)[^\s'\"]*?([^\s/\\'\"]*)(?=$|[\s'\")])")
QUOTED = re.compile(r"'([^'\s]*=)?(?:[~/]|[A-Za-z]:\\)[^']*?([^/\\']*)'")


def read_static(name: str) -> str:
    """Return the text of a file in `static`."""
    return (resources.files("glimpse_env.reports") / "static" / name).read_text(encoding="utf-8")


def write(
    target: Path, title: str, body: str, scripts: Sequence[str] = (), data: dict[str, Any] | None = None
) -> None:
    """Write a page atomically: title, HTML, the names of its scripts in `static`, and the data they show."""
    parts = {"title": escape(title), "style": read_static("page.css"), "body": body, "data": "", "script": ""}
    if data is not None:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
        safe = text.replace("<", "\\u003c")  # no string can end the script element
        parts["data"] = f'<script type="application/json" id="data">{safe}</script>'
    if code := "\n".join(map(read_static, scripts)):
        parts["script"] = f"<script>\n{code}</script>"
    files.write_bytes(target, Template(read_static("page.html")).substitute(parts).encode(errors="replace"))


def format_table(heads: Sequence[str], rows: Sequence[Sequence[str]], name: str = "") -> str:
    """Return an HTML table of cells that are HTML already; the first cell of a row is its header."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    inside = ""
    for first, *others in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        inside += f'<tr><th scope="row">{first}</th>{cells}</tr>'
    filled = f'<table class="{name}"><thead><tr>{top}</tr></thead><tbody>{inside}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{filled}</div>'


def format_section(title: str, content: str) -> str:
    """Return a section of the page from HTML."""
    return f"<section><h2>{title}</h2>{content}</section>"


def format_charts(title: str, charts: Iterable[str]) -> str:
    """Return a section of charts."""
    return format_section(title, f'<div class="charts">{"".join(charts)}</div>')


def format_note(text: str) -> str:
    """Return a remark as a paragraph; empty for an empty text."""
    return f'<p class="note">{escape(text)}</p>' if text else ""


def format_signed(points: float) -> str:
    """Return a difference in points with its sign."""
    return f"{points:+.2f}".replace("-", "−")  # noqa: RUF001 - as wide as the plus


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def shorten_paths(command: str) -> str:
    """Return a command line without the machine's folders: only the last part of an absolute path stays."""
    return ABSOLUTE.sub(r"\1…/\2", QUOTED.sub(r"'\1…/\2'", command))
