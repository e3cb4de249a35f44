"""What a table consists of: runs (an agent and its options), and how each row is measured on one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from glimpse_env.datasets import NAMED
from glimpse_env.reports import published
from glimpse_env.reports.plots import Measure

AgentName = Literal["ram", "dtram", "sermanet", "fcan", "whole_image"]
# The settings of all MNIST rows, but for those with the agents' own defaults (`Run.quick`).
LSTM: dict[str, Any] = (
    dict(core="lstm", hidden=256, features=256, epochs=40, samples=2, curriculum=0.3, sure=1.0)
    | dict(reward="confidence", policy_weight=0.3, baseline="learned", location_discount=1.0)
    | dict(sigma_start=0.15, sigma_end=0.05, augment_shift=1 / 14, learning_rate=2e-3, muon_rate=0.01)
)
MNIST = {"ram": LSTM, "dtram": LSTM | dict(gamma=0.99, stop_epochs=6, stop_rate=None)}


@dataclass(frozen=True)
class Run:
    """An agent and its options, named as on its command line; its recipe for the data set sets the others."""

    agent: AgentName
    own: Mapping[str, Any] = field(default_factory=dict)
    start: Run | None = None  # the RAM that a DT-RAM is trained from
    quick: bool = False  # MNIST: the agent's own defaults instead of `MNIST`
    here: Mapping[str, Any] = field(default_factory=dict)  # options of our own recipe: not with --paper
    on_mnist: Mapping[str, Any] = field(default_factory=dict)  # MNIST: what is added to the agent's defaults

    @property
    def options(self) -> dict[str, Any]:
        """The options, including those of the RAM that it starts from."""
        return {**(self.start.options if self.start else {}), **self.here, **self.own}

    @property
    def paper_options(self) -> dict[str, Any]:
        """The options that are given beside --paper."""
        return {**(self.start.paper_options if self.start else {}), **self.own}


@dataclass(frozen=True)
class Row:
    """A row of a table: whose predictions, after which glimpse, and the paper's number."""

    run: Run
    paper: float | None = None  # error or accuracy in %, as the table measures
    paper_glimpses: float | None = None  # the paper's mean glimpses
    threshold: float | None = None  # stop where the confidence exceeds this, instead of where the agent stops
    after: int | None = None  # stop after this many glimpses instead
    regions: str | None = None  # FCAN: which combination of regions predicts

    @property
    def by_itself(self) -> bool:
        """Whether the agent itself decides when to stop."""
        return self.threshold is None and self.after is None


@dataclass(frozen=True)
class Table:
    """A table or figure of a paper."""

    title: str
    datasets: tuple[str, ...]  # the first is the paper's
    rows: Mapping[str, Row]
    measure: Literal["error", "accuracy", "mean_class_accuracy"] = "accuracy"
    against: tuple[str, ...] = ()  # rows that all others are compared with, paired over images
    pairs: Mapping[str, str] = field(default_factory=dict)  # row -> the row that it alone is compared with
    quoted: Mapping[str, float] = field(default_factory=dict)  # rows of the paper that no run reproduces
    note: str = ""  # what differs from the paper
    notes: Mapping[str, str] = field(default_factory=dict)  # by data set, where other things differ
    rows_of: str = ""  # the table whose file has these rows, if not its own
    figure: Literal["histogram", "paths"] | None = None  # what is drawn beside the rows
    history: bool = False  # rows have their run's learning curve
    times: bool = False  # rows have the milliseconds of a glimpse
    # Networks and sizes by name (--setting), such as the paper's own.
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def accuracy(self) -> Measure:
        """The entry of a row that the measure is computed from."""
        return "accuracy" if self.measure == "error" else self.measure

    def on(self, dataset: str) -> Table:
        """Return the table on a data set.

        On Stanford Dogs, whose measure that is, by mean class accuracy; on another kind of images than the
        paper's without the paper's numbers.
        """
        by_class = published.averages_classes("", dataset)
        table = replace(self, measure="mean_class_accuracy") if by_class else self
        kinds = [NAMED[name].kind if name in NAMED else "" for name in (dataset, self.datasets[0])]
        if kinds[0] == kinds[1]:
            return table
        none = {"paper": None, "paper_glimpses": None}
        return replace(table, quoted={}, rows={name: replace(row, **none) for name, row in self.rows.items()})

    @property
    def label(self) -> str:
        """The measure in words."""
        return self.measure.replace("_", " ")
