"""From the parts of a report to one HTML file: the template filled in, style and scripts inside it, nothing that is loaded."""

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

ABSOLUTE = re.compile(
    r"(^|[\s='\"(])(?:[~/]|[A-Za-z]:\\)[^\s'\"]*?([^\s/\\'\"]*)(?=$|[\s'\")])"
)  # what stands before a path, its last part
QUOTED = re.compile(r"'([^'\s]*=)?(?:[~/]|[A-Za-z]:\\)[^']*?([^/\\']*)'")  # one that may have spaces: an option before it, its last part


def resource(name: str) -> str:
    """Return a file that lies in `static`."""
    return (resources.files("glimpse_env.reports") / "static" / name).read_text(encoding="utf-8")


def write(target: Path, title: str, body: str, scripts: Sequence[str] = (), data: dict[str, Any] | None = None) -> None:
    """Write a page whole or not at all.

    Args:
        target: The HTML file.
        title: What the browser's tab says.
        body: The page's HTML.
        scripts: Names of the scripts that it runs.
        data: What they show.
    """
    code = "\n".join(resource(name) for name in scripts)
    told = "" if data is None else f'<script type="application/json" id="data">{inside_script(data)}</script>'
    run = f"<script>\n{code}</script>" if code else ""
    filled = Template(resource("page.html")).substitute(title=text(title), style=resource("page.css"), body=body, data=told, script=run)
    files.write_bytes(target, filled.encode())


def inside_script(data: dict[str, Any]) -> str:
    """Return JSON that can stand in a script element, whatever its strings say."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def text(value: object) -> str:
    """Return a value as HTML text."""
    return html.escape(str(value), quote=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], name: str = "") -> str:
    """Return an HTML table of cells that are HTML already; the first cell of a row is its head."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    lines = ("".join((f'<th scope="row">{row[0]}</th>', *(f"<td>{cell}</td>" for cell in row[1:]))) for row in rows)
    inside = "".join(f"<tr>{line}</tr>" for line in lines)
    made = f'<table class="{name}"><thead><tr>{top}</tr></thead><tbody>{inside}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{made}</div>'


def signed(points: float) -> str:
    """Return a difference in points with its sign."""
    return f"{points:+.2f}".replace("-", "−")  # noqa: RUF001 - as wide as the plus


def told(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def portable(command: str) -> str:
    """Return a command line without the folders of the machine that ran it: of an absolute path its last part stays."""
    return ABSOLUTE.sub(r"\1…/\2", QUOTED.sub(r"'\1…/\2'", command))
