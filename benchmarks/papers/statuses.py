"""Every table and figure of the four papers, and what became of it here.

`reproduce.py` without a table and docs/results.md print this list; the figures in it are computed from the
rows of the table that an item names.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["reproduced", "differs", "cannot be run here"]
MEANING: dict[Verdict, str] = {
    "reproduced": "the paper's finding holds in our rows, on the images that the line names",
    "differs": "it does not hold there",
    "cannot be run here": "a data set or a network is missing (with it, the command makes the table), or the "
    "task is not the classification of images",
}


class Item(NamedTuple):
    """A table, a figure or another result of a paper."""

    paper: str
    name: str  # "Table 2"
    about: str
    verdict: Verdict
    why: str
    table: str = ""  # what makes it: a name of `TABLES`, else a script; empty = nothing
    rows: tuple[str, ...] = ()  # of the table, whose figures the line has
    dataset: str = ""  # whose rows those are; default: the table's first


DOGS, CARS = "Stanford Dogs is not at hand", "Stanford Cars is not at hand"
OTHER_DATA = "a run on other images draws foveal_composites.png and fixation_paths.png"
ITEMS = (
    Item(
        *("RAM", "table, MNIST", "errors of RAM and of networks that see the whole image", "reproduced"),
        "errors at or below the paper's with 2 to 7 glimpses",
        "dtram-2",
        ("RAM 2", "RAM 4", "RAM 5", "RAM 7"),
    ),
    Item(
        *("RAM", "Table 1", "translated MNIST: RAM at several scales against FC and conv", "reproduced"),
        "RAM is below the paper's error, and below a network that sees the whole image",
        "ram-1",
        ("conv, 2 layers", "RAM 8"),
    ),
    Item(
        *("RAM", "Table 2", "cluttered MNIST: the same among pieces of other digits", "reproduced"),
        "RAM is below the paper's error, and far below networks that see the whole image; on 100 x 100 too",
        "ram-2",
        ("FC 256, 2 layers", "conv, 2 layers", "RAM 8"),
    ),
    Item(
        *("RAM", "figure, game of catch", "an agent that learns to play from glimpses", "cannot be run here"),
        "it is a game; the environment classifies images",
    ),
    Item(
        *("DT-RAM", "Table 2", "MNIST: RAM and DT-RAM", "reproduced"),
        "RAM and DT-RAM at or below the paper's errors, with fewer glimpses",
        "dtram-2",
        ("FC, 2 layers", "conv, 2 layers", "RAM 7", "DT-RAM-1 (gamma .98)", "DT-RAM-2 (gamma .99)"),
    ),
    Item(
        *("DT-RAM", "Table 3", "CUB-200-2011: one view, RAM, DT-RAM", "reproduced"),
        "RAM above one view; a DT-RAM as accurate as RAM with fewer glimpses; frozen network",
        "dtram-3",
        ("one view", "RAM 3", "DT-RAM", "DT-RAM (gamma .995)"),
    ),
    Item(
        *("DT-RAM", "Table 4", "Stanford Cars: one view, RAM, DT-RAM", "cannot be run here"),
        CARS,
        "dtram-4",
        ("one view", "RAM 3", "DT-RAM"),
    ),
    Item(
        *("DT-RAM", "Table 5", "networks and sizes", "cannot be run here"),
        "ResNet-34, -101 and all of CUB-200 are not at hand; with ResNet-18 and -50 RAM is above one view",
        "dtram-5",
        ("ResNet-18, 224", "RAM-18, 224", "ResNet-50, 224", "RAM-50, 224"),
    ),
    Item(
        *("DT-RAM", "Table 6", "number of glimpses", "reproduced"),
        "more glimpses help, the first ones most; DT-RAM is as accurate as 6",
        "dtram-6",
        ("1 glimpse", "3 glimpses", "6 glimpses", "DT-RAM"),
    ),
    Item(
        *("DT-RAM", "Table 7", "stop above a confidence", "differs"),
        "a low threshold is as accurate as 6 glimpses, and DT-RAM is not ahead of thresholds",
        "dtram-7",
        ("> 0", "> 0.4", "> 0.9", "> 1", "DT-RAM"),
    ),
    Item(
        *("DT-RAM", "Table 8", "without curriculum", "differs"),
        "nothing is lost without it with a frozen network on CUB-50, nor on MNIST, where the whole network "
        "learns; where it learns on CUB-50 (dtram-8-whole), the curriculum costs 3 to 4 points",
        "dtram-8",
        ("6 glimpses, with curriculum", "6 glimpses, without"),
    ),
    Item(
        *("DT-RAM", "Table 9", "without intermediate supervision", "differs"),
        "nothing is lost without it where the network is frozen; where it learns, 0.3 to 0.4 points are lost "
        "on MNIST, and 2.4 are gained with 2 glimpses on CUB-50 (dtram-9-whole)",
        "dtram-9",
        ("6 glimpses, with supervision", "6 glimpses, without"),
    ),
    Item(
        *("DT-RAM", "Figure 5", "MNIST: stopping steps", "differs"),
        "it stops earlier than the paper's",
        "dtram-figure-5",
        ("DT-RAM-1 (gamma .98)", "DT-RAM-2 (gamma .99)"),
    ),
    Item(
        *("DT-RAM", "Figure 6", "CUB-200-2011: stopping steps", "differs"),
        "it stops earlier than the paper's",
        "dtram-figure-6",
        ("DT-RAM",),
    ),
    Item(
        *("DT-RAM", "Figure 7", "CUB-200-2011: glimpses by stopping step", "differs"),
        "birds that stop at once are the easy ones, but all glimpses stay at the centre "
        "(EfficientNet-Lite0, frozen); on MNIST: dtram-figure-7-mnist",
        "dtram-figure-7",
        ("DT-RAM",),
    ),
    Item(
        *("DT-RAM", "Figure 8", "Stanford Cars: glimpses by stopping step", "cannot be run here"),
        CARS,
        "dtram-figure-8",
    ),
    Item(
        *("Sermanet", "Table 1", "Stanford Dogs: resolutions and glimpses", "cannot be run here"),
        f"{DOGS}, nor a GoogLeNet that has not seen its images; on CUB-50: docs/agents/sermanet.md",
        "sermanet-1",
        ("high, 1", "high, 3", "all, 1", "all, 3"),
        "cub",
    ),
    Item(
        *("Sermanet", "figure, composites", "pixels at the highest resolution seen", "cannot be run here"),
        f"{DOGS}; {OTHER_DATA}",
    ),
    Item(
        *("Sermanet", "figures, glimpses", "centres, and frames for the prediction", "cannot be run here"),
        f"{DOGS}; {OTHER_DATA}",
    ),
    Item(
        *("FCAN", "Table 2", "Stanford Dogs: parts and their combinations", "cannot be run here"),
        DOGS,
        "fcan-2",
        ("whole image", "whole + all parts"),
    ),
    Item(
        *("FCAN", "Table 4", "Stanford Cars: parts and their combinations", "cannot be run here"),
        CARS,
        "fcan-4",
        ("whole image", "whole + all parts"),
    ),
    Item(
        *("FCAN", "Table 6", "CUB-200-2011: parts and their combinations", "reproduced"),
        "parts above the whole image, random and central crops; frozen network",
        "fcan-6",
        ("whole image", "whole + all parts", "multi-view: whole + random places"),
    ),
    Item(
        *("FCAN", "text, more parts", "Stanford Dogs, more than two parts: 84.4 %", "cannot be run here"),
        DOGS,
    ),
    Item(
        *("FCAN", "text, Inception", "CUB-200-2011 with an Inception network: 84.1 %", "cannot be run here"),
        "such a network and all of CUB-200 are not at hand",
    ),
)
