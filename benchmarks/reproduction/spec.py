"""What a table of a paper is made of: runs (an agent and its options), and how each row is measured on one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

AgentName = Literal["ram", "dtram", "sermanet", "fcan"]
Measure = Literal["error", "accuracy", "mean_class_accuracy"]


@dataclass(frozen=True)
class Run:
    """An agent and its options, named as on its command line; its recipe for the data set says the rest, and the seed comes later."""

    agent: AgentName
    own: Mapping[str, Any] = field(default_factory=dict)
    start: Run | None = None  # the RAM that a DT-RAM is taught from
    quick: bool = False  # MNIST: the agent's own defaults instead of --long, the recipe of the papers' tables

    @property
    def options(self) -> dict[str, Any]:
        """Return the options, those of the RAM that it starts from included."""
        return {**(self.start.options if self.start else {}), **self.own}


@dataclass(frozen=True)
class Row:
    """A row of a table: whose predictions, after which glimpse, and what the paper says."""

    run: Run
    paper: float | None = None  # error or accuracy in %, as the table measures
    paper_glimpses: float | None = None  # the paper's mean glimpses
    threshold: float | None = (
        None  # predict where the confidence exceeds this, instead of when the agent does
    )
    after: int | None = None  # predict after this many glimpses, instead of when the agent does
    regions: str | None = None  # FCAN: which combination of regions predicts

    @property
    def by_itself(self) -> bool:
        """Tell whether the prediction counts that the agent makes by itself."""
        return self.threshold is None and self.after is None


@dataclass(frozen=True)
class Table:
    """A table or figure of a paper."""

    title: str
    datasets: tuple[str, ...]  # the first is the paper's
    rows: Mapping[str, Row]
    measure: Measure = "accuracy"
    against: tuple[str, ...] = ()  # rows that all others are compared with, paired over images
    pairs: Mapping[str, str] = field(default_factory=dict)  # row -> the row that it alone is compared with
    quoted: Mapping[str, float] = field(default_factory=dict)  # rows of the paper that no run here stands for
    note: str = ""  # what differs from the paper
    kept_with: str = ""  # the table whose file of rows has these too
    figure: Literal["histogram", "paths"] | None = None  # what is drawn beside the rows
    history: bool = False  # rows keep their run's learning curve
