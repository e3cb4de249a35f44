"""Mnih et al. 2014 (RAM, arXiv 1406.6247): translated and cluttered MNIST, with the paper's numbers.

There are two versions of the paper with different numbers. `published.TABLES` says which these are; rows that
are quoted only come from the other version, from independent runs of RAM, and from other networks.
"""

from __future__ import annotations

from papers.dtram import dtram, ram
from reproduction.spec import Row, Run, Table

from glimpse_env.reports import published

GLIMPSES = (4, 6, 8)
GAMMAS = ("98", "99", "995")
LAYERS = {
    "FC 64, 2 layers": {"widths": (64, 64)},
    "FC 256, 2 layers": {"widths": (256, 256)},
    "conv, 2 layers": {"channels": (8,), "kernel": 10, "stride": 5, "widths": (256,)},
}
NOTE = (
    "recipe of agents/ram_reinforce.py; networks that see the whole image are trained on new images in every "
    "epoch too; answering after: the same network's prediction before its last glimpse"
)


def read_errors(part: str, dataset: str) -> dict[str, float]:
    """Return the paper's errors on a data set by the names of its rows."""
    return {name: one.value for name, one in published.read_table("RAM", part, dataset).items()}


def canvas_table(part: str, dataset: str, title: str) -> Table:
    """Return a table of the paper: whole-image networks, RAM, random locations; and DT-RAM."""
    paper = read_errors(part, dataset)
    full = ram(8)
    rows = {name: Row(Run("whole_image", own), paper.pop(name, None)) for name, own in LAYERS.items()}
    ours = {count: paper.pop(f"RAM, {count} glimpses") for count in GLIMPSES}
    rows |= {f"RAM {count}": Row(ram(count), value, count) for count, value in ours.items()}
    rows |= {f"RAM 8, answering after {count}": Row(full, ours[count], after=count) for count in (4, 6)}
    rows |= {"random, 8": Row(ram(8, policy="random"), paper.pop("random locations, 8 glimpses", None))}
    rows |= {f"DT-RAM (gamma .{one})": Row(dtram(full, gamma=float(f".{one}"))) for one in GAMMAS}
    against = ("RAM 8", "random, 8")
    return Table(
        title, (dataset,), rows, measure="error", against=against, quoted=paper, note=NOTE, times=True
    )


TABLES = {
    "ram-1": canvas_table("Table 1", "translated-mnist", "RAM, Table 1 (translated MNIST, 60 x 60)"),
    "ram-2": canvas_table("Table 2", "cluttered-mnist", "RAM, Table 2 (cluttered MNIST, 60 x 60)"),
    "ram-2-100": canvas_table("Table 2", "cluttered-mnist-100", "RAM, Table 2 (cluttered MNIST, 100 x 100)"),
}
