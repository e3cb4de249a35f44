"""From a table's run to its folder: options, training, and sharing the work out among processes.

Every run has a folder that is named by what it is, so tables that share a run train it once, and a lock, so that no two processes train it
at the same time: the same command, started twice, shares the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcan.plan import FcanOptions
from filelock import FileLock, Timeout
from reproduction import found, origin
from reproduction.spec import Run
from sermanet_rnn import SermanetOptions

from glimpse_env.datasets import PHOTOGRAPHS
from glimpse_env.presets import SensorName, resolve
from glimpse_env.runtime import checkpoint
from glimpse_env.training.options import Common, Options
from glimpse_env.training.recipes import DATASETS, REPRODUCED, SERMANET
from glimpse_env.training.run import finished as finished_training
from glimpse_env.training.stages import StopOptions

log = logging.getLogger("glimpse_env")
KINDS = {"ram": Options, "dtram": StopOptions, "sermanet": SermanetOptions, "fcan": FcanOptions}


@dataclass(frozen=True)
class Settings(Common):
    """What all runs of a table share."""

    weights: str | None = "DEFAULT"
    """Weights of the backbone: DEFAULT (torchvision's; FCAN then tunes its own), or a file, such as finetune_backbone.py's weights.pth;
    "{backbone}" in it stands for the network's name where a table has several."""
    image_size: int | None = None
    """Pixels a side to which images are resized; default: the data set's preset."""
    sensor: SensorName | None = None
    """What a glimpse is: pixel, crop, map or bank; default: bank for photographs, else the data set's preset."""
    augment: bool | None = None
    """Change the training images at random; default: the recipe's (a bank of reversed images takes as long again to compute)."""
    measure: str | None = None
    """Images to measure on instead, such as test after training on fit:1/4."""
    stop_split: str | None = None
    """Images on which DT-RAM learns to stop; default: those of --split. Held-out ones, such as validation:1/4, are better."""
    out: Path = Path("runs/reproduce")
    """Folder of the runs."""


def recipe(settings: Settings, run: Run) -> dict[str, Any]:
    """Return the options of the data set's recipe, and what all runs share."""
    photographs = settings.dataset in PHOTOGRAPHS
    known = {"sermanet": SERMANET, "fcan": {}}.get(run.agent, DATASETS if run.quick else REPRODUCED).get(settings.dataset, {})
    names = ("dataset", "root", "backbone", "image_size", "sensor", "split", "device", "threads", "augment", "measure", "stop_split")
    shared = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    sensor = {"sensor": "bank"} if photographs and settings.sensor is None else {}
    return {name: value for name, value in (known | sensor | shared).items() if hasattr(KINDS[run.agent], name)}


def options_of(settings: Settings, run: Run, seed: int) -> Any:  # noqa: ANN401 - of the agent's own class
    """Return the options of a run: the data set's recipe, what all runs share, the run's own, and its seed."""
    given = recipe(settings, run) | run.options | {"seed": seed, "out": folder(settings, run, seed)}
    backbone = given.get("backbone") or resolve(settings.dataset).backbone
    weights = None if settings.weights is None else settings.weights.replace("{backbone}", str(backbone))
    given["weights"] = None if run.agent == "fcan" and weights == "DEFAULT" else weights
    if run.start is not None:
        given["ram"] = folder(settings, run.start, seed) / "checkpoint.pt"
    return KINDS[run.agent](**given)


def folder(settings: Settings, run: Run, seed: int) -> Path:
    """Return where a run lies: its name says what it is, but for what is as in the recipe or by default."""
    usual = checkpoint.plain(KINDS[run.agent]()) | recipe(settings, run)
    own = {name: value for name, value in run.options.items() if usual[name] != value}
    words = ["-".join((name, spoken(value))) for name, value in sorted(own.items())]
    return settings.out / "-".join(
        [run.agent, *(["quick"] if run.quick else []), Path(settings.dataset).name, checkpoint.file_name(settings.split), *words, str(seed)]
    )


def spoken(value: object) -> str:
    """Return an option's value as folder names may have it."""
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


def make(settings: Settings, run: Run, seed: int) -> Path:
    """Return the folder of a finished run, training it if it is not there; the RAM that it starts from must be."""
    options, out = options_of(settings, run, seed), folder(settings, run, seed)
    makers: dict[str, Callable[[Any, Path], Path]] = {
        "ram": found.ram,
        "dtram": found.dtram,
        "sermanet": found.sermanet,
        "fcan": found.fcan,
    }
    if not finished(run, out):
        origin.write(out, settings.threads, settings.device)
    return makers[run.agent](options, out)


def finished(run: Run, out: Path) -> bool:
    """Tell whether a run has come to its result."""
    return (out / "classify" / "result.json").is_file() if run.agent == "fcan" else finished_training(out / "checkpoint.pt")


@contextmanager
def mine(out: Path, wait: bool) -> Iterator[bool]:
    """Hold a run's lock while working on it; without `wait`, say whether it could be had."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@dataclass(frozen=True)
class Work:
    """A run to be made."""

    out: Path
    do: Callable[[], None]
    needs: Callable[[], bool]  # whether what it starts from is finished


def work(settings: Settings, run: Run, seed: int, after: Callable[[], None] = lambda: None) -> Work:
    """Return the work of making a run, and of what is to be done with it then."""

    def do() -> None:
        make(settings, run, seed)
        after()

    start = run.start
    return Work(folder(settings, run, seed), do, lambda: start is None or finished(start, folder(settings, start, seed)))


def share(works: Sequence[Work]) -> None:
    """Do every piece of work under its folder's lock; what another process is at comes last, when that has finished or ended.

    Args:
        works: What is to be done, each after what it needs.
    """
    waiting: list[Work] = []
    for one in works:
        with mine(one.out, wait=False) as had:
            if had and one.needs():
                one.do()
            else:
                waiting.append(one)
    for one in waiting:
        log.info("%s: another process is at it, or was when this one came by", one.out)
        with mine(one.out, wait=True):
            one.do()
