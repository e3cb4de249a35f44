"""The rows of gpu.py as a table for a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timing import timed

NAME = "gpu.jsonl"


def format_page(results: Path) -> str:
    """Return a table for each machine: of each part its last row, figures or error."""
    rows = timed.read(results / NAME, ("part", "figures", "error", "hardware", "versions"))
    machines = {timed.machine_name(row): row for row in rows}
    texts = []
    for machine, last in machines.items():
        parts = {row["part"]: row for row in rows if timed.machine_name(row) == machine}
        lines = ["| part | figure | value |", "|---|---|---:|"]
        lines += [line for part, row in parts.items() for line in format_part(part, row)]
        made = f"`python benchmarks/gpu.py`; {machine}; torch {last['versions']['torch']}; rows: `{NAME}`."
        texts.append("\n".join([*lines, "", made]))
    return "\n\n".join(texts) or "No rows yet; `python benchmarks/gpu.py` makes them."


def format_part(part: str, row: Mapping[str, Any]) -> list[str]:
    """Return a line for each figure of a part, or one with its error."""
    if row["error"] is not None:
        return [f"| {part} | failed: {row['error'].splitlines()[-1]} |  |"]
    return [f"| {part} | {name} | {format_value(value)} |" for name, value in row["figures"].items()]


def format_value(value: float) -> str:
    """Return a value with three significant digits, or as a whole number."""
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
