"""The table of fixations: of one run, as text and in its report, and of several runs, a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glimpse_env.evaluation import intervals

TARGETS = {"on_patch": "target", "in_box": "box"}  # entries of a row, and what its fixations should be on
HEADS = ("", "agent", "random places", "fixed path", "agent - random", "agent - fixed path")
SEVERAL = ("agent", "data set", "split", "seed", "fixations", "on", "on it %", "images found %")
SEVERAL += ("found: - random", "found: - fixed path", "first hit", "distinct cells", "border %", "distance")
NOTE = (
    "Random places: uniformly random ones, as many as the agent chose. The mean path is the agent's own mean "
)
NOTE += "location at each step. Intervals (95 %) are over images."
PATH = (
    "Fixed path: a location for each step, the same for all images, fitted on other images so that it finds "
)
PATH += "most of them (greedily)."


def format_number(value: float | None, digits: int = 1, scale: float = 1.0) -> str:
    """Return a number times a scale as text; "-" for None."""
    return "-" if value is None else f"{scale * value:.{digits}f}"


def format_difference(interval: Sequence[float] | None, digits: int = 1, scale: float = 1.0) -> str:
    """Return a difference with its interval as text; empty for None."""
    return "" if interval is None else intervals.format_interval([scale * end for end in interval], digits)


def build_table(row: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and lines of the table of a result row, without columns that are empty.

    Both are empty if the agent chose no location, or the row is of a version that did not measure this.
    """
    if not (lines := list_lines(row)):
        return [], []
    spread = row["fixations"]
    number = f"{spread['per_image']:.2f} fixations an image, from glimpse {spread['first_glimpse']}"
    full = [position for position in range(len(HEADS)) if any(line[position] for line in lines)]
    heads, *lines = [[line[position] for position in full] for line in ([number, *HEADS[1:]], *lines)]
    return heads, lines


def list_lines(row: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells of each line, as `HEADS` names them."""
    spread = row.get("fixations", {})
    if "cells" not in spread:
        return []
    lines = []
    for entry, target in TARGETS.items():
        if "any_path" in (hits := row.get(entry, {})):
            lines += list_hits(hits, target)
    cells = [format_number(spread[name], 2) for name in ("cells", "cells_chance")]
    grid, minus = spread["grid"], format_difference(spread["cells_minus_chance"], 2)
    lines.append([f"distinct cells of {grid} x {grid}", *cells, "", minus, ""])
    border = [format_number(spread[name], 1, 100) for name in ("border", "border_chance")]
    lines.append(["on the border, %", *border, "", "", ""])
    distance = [format_number(spread[name], 2) for name in ("path_distance", "path_distance_chance")]
    minus = format_difference(spread["path_distance_minus_chance"], 2)
    return [*lines, ["distance from the mean path, half images", *distance, "", minus, ""]]


def list_hits(hits: Mapping[str, Any], target: str) -> list[list[str]]:
    """Return the lines about fixations on a target."""
    kinds = ("", "_chance", "_path")
    share, found, soon = (
        [format_number(hits[name + kind], digits, scale) for kind in kinds]
        for name, digits, scale in (("fixation", 1, 100), ("any", 1, 100), ("first_hit", 2, 1))
    )
    minus = [format_difference(hits[f"any_minus{kind}"], 1, 100) for kind in kinds[1:]]
    return [
        [f"fixations on the {target}, %", *share, "", ""],
        [f"images with a fixation on the {target}, %", *found, *minus],
        [f"glimpse that first is on the {target}", *soon, "", ""],
    ]


def format_table(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text: the first column on the left, the others on the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
        for cells in lines
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def format_row(row: Mapping[str, Any]) -> str:
    """Return the table of one result row as text; empty if there is nothing to show."""
    heads, lines = build_table(row)
    return format_table([heads, *lines]) if lines else ""


def describe(row: Mapping[str, Any]) -> str:
    """Return what the columns of a row's table are."""
    return f"{NOTE} {PATH}" if "fixed path" in build_table(row)[0] else NOTE


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one table of several result rows as text; cells are "agent | random places | fixed path"."""
    return format_table([SEVERAL, *(line for row in rows for line in list_run(row))])


def list_run(row: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells of a row, as `SEVERAL` names them: a line for each kind of target, at least one."""
    spread = row["fixations"]
    start = [row["agent"], str(row["dataset"]), row["split"], str(row["seed"]), f"{spread['per_image']:.2f}"]
    if "cells" not in spread:
        return [[*start, *["-"] * (len(SEVERAL) - len(start))]]

    def join(
        values: Mapping[str, Any], name: str, kinds: Sequence[str], digits: int, scale: float = 1
    ) -> str:
        return " | ".join(format_number(values[name + kind], digits, scale) for kind in kinds)

    both = ("", "_chance")
    cells = f"{join(spread, 'cells', both, 2)} of {spread['grid'] ** 2}"
    end = [cells, join(spread, "border", both, 1, 100)]
    end.append(join(spread, "path_distance", both, 2))
    lines, three = [], (*both, "_path")
    for entry, target in TARGETS.items():
        if "any_path" in (hits := row.get(entry, {})):
            shares = [join(hits, name, three, 1, 100) for name in ("fixation", "any")]
            minus = [format_difference(hits[f"any_minus{kind}"], 1, 100) for kind in three[1:]]
            lines.append([*start, target, *shares, *minus, join(hits, "first_hit", three, 2), *end])
    return lines or [[*start, *["-"] * 6, *end]]
