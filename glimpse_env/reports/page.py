"""One HTML file from the parts of a report: the template filled in, with style, scripts and data inside it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from glimpse_env.runtime import files

# What stands before an absolute path, and the path's last part; the same of a quoted path, which may have spaces and an option before it.
ABSOLUTE = re.compile(r"(^|[\s='\"(])(?:[~/]|[A-Za-z]:\\)[^\s'\"]*?([^\s/\\'\"]*)(?=$|[\s'\")])")
QUOTED = re.compile(r"'([^'\s]*=)?(?:[~/]|[A-Za-z]:\\)[^']*?([^/\\']*)'")


def read_static(name: str) -> str:
    """Return the text of a file in `static`."""
    return (resources.files("glimpse_env.reports") / "static" / name).read_text(encoding="utf-8")


def write(
    target: Path, title: str, body: str, scripts: Sequence[str] = (), data: dict[str, Any] | None = None
) -> None:
    """Write a page atomically.

    Args:
        target: The HTML file.
        title: Title of the browser's tab.
        body: The page's HTML.
        scripts: Names of its scripts in `static`.
        data: What the scripts show.
    """
    code = "\n".join(read_static(name) for name in scripts)
    embedded = (
        "" if data is None else f'<script type="application/json" id="data">{escape_script(data)}</script>'
    )
    script = f"<script>\n{code}</script>" if code else ""
    parts = {
        "title": escape(title),
        "style": read_static("page.css"),
        "body": body,
        "data": embedded,
        "script": script,
    }
    files.write_bytes(target, Template(read_static("page.html")).substitute(parts).encode())


def escape_script(data: dict[str, Any]) -> str:
    """Return data as JSON that is safe inside a script element, whatever its strings hold."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def escape(value: object) -> str:
    """Return a value as HTML text."""
    return html.escape(str(value), quote=True)


def format_table(heads: Sequence[str], rows: Sequence[Sequence[str]], name: str = "") -> str:
    """Return an HTML table of cells that are HTML already; the first cell of a row is its header."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    lines = (
        "".join((f'<th scope="row">{row[0]}</th>', *(f"<td>{cell}</td>" for cell in row[1:]))) for row in rows
    )
    inside = "".join(f"<tr>{line}</tr>" for line in lines)
    filled = f'<table class="{name}"><thead><tr>{top}</tr></thead><tbody>{inside}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{filled}</div>'


def format_signed(points: float) -> str:
    """Return a difference in points with its sign."""
    return f"{points:+.2f}".replace("-", "−")  # noqa: RUF001 - as wide as the plus


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def shorten_paths(command: str) -> str:
    """Return a command line without the folders of the machine that ran it: only the last part of an absolute path stays."""
    return ABSOLUTE.sub(r"\1…/\2", QUOTED.sub(r"'\1…/\2'", command))
