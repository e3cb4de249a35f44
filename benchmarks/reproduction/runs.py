"""From a table's run to its folder: the command that makes it, whether it is there already, and sharing the work among processes.

Agents are started by command line, as by a user; a table reads the files that they leave. Every run has a folder that is named by what
the table asks for, so tables that share a run train it once, and a lock, so that no two processes train it at the same time: the same
command, started twice, shares the work.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from options import Common
from reproduction import origin, rows
from reproduction.spec import AgentName, Run

from glimpse_env.datasets import list_names
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.sensors import SensorName
from glimpse_env.training import resume

log = logging.getLogger("glimpse_env")
SCRIPTS = Path(__file__).parents[2] / "agents"
AGENTS: dict[AgentName, str] = {
    "ram": "ram_reinforce",
    "dtram": "dtram_reinforce",
    "sermanet": "sermanet_rnn",
    "fcan": "fcan_greedy",
}
PLACE = ("dataset", "root", "split", "backbone", "weights", "image_size", "device", "threads")
# The settings of a table that are options of the agent too.
TAKEN: dict[AgentName, tuple[str, ...]] = {
    "ram": (*PLACE, "sensor", "augment"),
    "dtram": (*PLACE, "sensor", "augment", "stop_split"),
    "sermanet": (*PLACE, "sensor", "augment"),
    "fcan": (*PLACE, "measure"),
}
Start = Callable[[Sequence[str]], None]  # runs `python WORDS` to its end


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


def list_options(settings: Settings, run: Run, seed: int) -> dict[str, Any]:
    """Return the options that a run is asked for with: the table's settings, the run's own, its seed.

    None stands for the data set's preset; options that are not there are left to the agent's recipe for the data set.
    """
    found = {name: getattr(settings, name) for name in TAKEN[run.agent]}
    if settings.dataset in list_names("photographs") and "sensor" in found:
        found["sensor"] = settings.sensor or "bank"
    if "measure" in found:
        found["measure"] = settings.measure or results.choose_result_split(settings.split)
    if settings.dataset == "mnist" and run.agent in ("ram", "dtram") and not run.quick:
        found["long"] = True  # the recipe of the papers' tables
    found |= run.options | {"seed": seed, "out": folder(settings, run, seed)}
    if run.start is not None:
        found["ram"] = folder(settings, run.start, seed) / "checkpoint.pt"
    if found.get("augment", "") is None:
        del found["augment"]
    if found["weights"] == "DEFAULT" and run.agent == "fcan":
        del found["weights"]  # it tunes its own
    elif found["weights"] is not None:
        found["weights"] = found["weights"].replace("{backbone}", str(backbone_of(settings, found)))
    return found


def backbone_of(settings: Settings, options: Mapping[str, Any]) -> str | None:
    """Return the name of the network that the sensor looks through."""
    return options["backbone"] or resolve(settings.dataset).backbone


def folder(settings: Settings, run: Run, seed: int) -> Path:
    """Return where a run lies: its name says the options that the table names, whatever an agent's defaults are."""
    quick = ["quick"] if run.quick else []
    words = [
        f"{name}-{'+'.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in sorted(run.options.items())
    ]
    place = [Path(settings.dataset).name, checkpoint.file_name(settings.split)]
    return settings.out / "-".join([run.agent, *quick, *place, *words, str(seed)])


def format_options(options: Mapping[str, Any]) -> list[str]:
    """Return options as words of a command line."""
    words = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None or name == "weights":  # no weights: random ones
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return words


def start(words: Sequence[str]) -> None:
    """Run `python WORDS` to its end; all that it prints, its progress bar too, goes to where this process prints.

    Raises:
        SystemExit: It failed, with its exit status, after it has said why; 130 after Ctrl-C.
    """
    log.info("%s", shlex.join(["python", *words]))
    sys.stdout.flush()
    with subprocess.Popen([sys.executable, *words]) as child:
        try:
            status = child.wait()
        except KeyboardInterrupt:  # the terminal interrupts the agent too, which says what it has saved
            child.wait()
            status = 130
    if status:
        raise SystemExit(status)


def make(settings: Settings, run: Run, seed: int, start: Start = start) -> Path:
    """Return the folder of a finished run, starting or resuming its agent if it is not finished; a RAM that it starts from must be.

    Raises:
        ValueError: The folder holds another run.
    """
    options, out = list_options(settings, run, seed), folder(settings, run, seed)
    check_same(out, options)
    if not is_finished(run.agent, out):
        origin.write(out, settings.threads, settings.device)
        options |= {"resume": True} if (out / "checkpoint.pt").is_file() or run.agent == "fcan" else {}
        start([str(SCRIPTS / f"{AGENTS[run.agent]}.py"), *format_options(options)])
    return out


def check_same(out: Path, options: Mapping[str, Any]) -> None:
    """Refuse a folder whose checkpoint was made with other options, on other weights or from another RAM."""
    if not (out / "checkpoint.pt").is_file():
        return
    saved = checkpoint.load(out / "checkpoint.pt")
    names = rows.list_differences(saved["options"], options)
    if "weights" in options:
        names += ["weights"] if resume.other_weights(saved, options["weights"]) else []
    elif saved["options"]["weights"] is not None:  # an FCAN whose network was not its own
        names.append("weights")
    names += ["ram"] if resume.other_ram(saved, options.get("ram")) else []
    if names:
        raise ValueError(
            f"{out} holds a run with another --{names[0].replace('_', '-')}: give another --out, or remove it"
        )


def is_finished(agent: AgentName, out: Path) -> bool:
    """Tell whether a run has come to its result; an interrupted one may have been evaluated as it was."""
    return (
        (out / "classify" / "result.json").is_file()
        if agent == "fcan"
        else results.is_finished(out / "checkpoint.pt")
    )


@contextmanager
def hold_lock(out: Path, wait: bool) -> Iterator[bool]:
    """Hold a run's lock while working on it; without `wait`, tell whether it was free."""
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
    is_ready: Callable[[], bool]  # whether what it starts from is finished


def share_work(works: Sequence[Work]) -> None:
    """Do every piece of work under its folder's lock; what another process is at comes last, when that has finished or ended.

    Args:
        works: What is to be done, each after what it needs.
    """
    waiting: list[Work] = []
    for work in works:
        with hold_lock(work.out, wait=False) as held:
            if held and work.is_ready():
                work.do()
            else:
                waiting.append(work)
    for work in waiting:
        log.info("%s: another process works on it, or did when this one came by", work.out)
        with hold_lock(work.out, wait=True):
            work.do()
