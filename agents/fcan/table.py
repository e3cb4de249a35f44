"""FCAN's Tables 2, 4 and 6 from the probabilities of every region: single regions, and the mean of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glimpse_env.evaluation import intervals

KINDS = {"random": "multi-view: whole + random places", "center": "rigid: whole + central places"}


def name_of(kind: str, number: int, part: int) -> str:
    """Return what a region is called in file names and rows: part1-4x4, random2-8x8."""
    return f"{kind}{number + 1}-{part}x{part}"


def combinations(parts: Sequence[int]) -> dict[str, list[str]]:
    """Return the rows: what each is called, and the regions whose probabilities are averaged."""
    learned = [name_of("part", number, part) for number, part in enumerate(parts)]
    rows = {"whole image": ["whole"]}
    rows |= {f"{name} alone": [name] for name in learned}
    rows |= {f"whole + {name}": ["whole", name] for name in learned}
    rows["whole + all parts"] = ["whole", *learned]
    return rows | {row: ["whole", *(name_of(kind, number, part) for number, part in enumerate(parts))] for kind, row in KINDS.items()}


def mean(probabilities: Mapping[str, Float[Tensor, "image class"]], names: Sequence[str]) -> Float[Tensor, "image class"]:
    """Return the mean of regions' probabilities (FCAN, section 3.4)."""
    return torch.stack([probabilities[name] for name in names]).mean(0)


def rows(
    probabilities: Mapping[str, Float[Tensor, "image class"]], labels: Int64[Tensor, " image"], parts: Sequence[int]
) -> list[dict[str, Any]]:
    """Return accuracy, and difference to the whole image, random and central places with its 95 % interval (points, paired over images)."""
    made = combinations(parts)
    right = {row: (mean(probabilities, names).argmax(1) == labels).float() for row, names in made.items()}
    against = {"whole": "whole image"} | KINDS
    return [
        {
            "row": row,
            "regions": names,
            "accuracy": right[row].mean().item(),
            **{
                f"minus_{key}": intervals.bootstrap_over_images(100 * (right[row] - right[other]))
                for key, other in against.items()
                if other != row
            },
        }
        for row, names in made.items()
    ]


def printed(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a table for the terminal."""
    keys = ("minus_whole", "minus_random", "minus_center")
    lines = [f"{'':<36} {'accuracy %':>10}  {'- whole image':>20}  {'- random places':>20}  {'- central places':>20}"]
    for row in found:
        cells = [intervals.format_interval(row[key]) if key in row else "" for key in keys]
        lines.append(f"{row['row']:<36} {100 * row['accuracy']:>10.1f}  " + "  ".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)
