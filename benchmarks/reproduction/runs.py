"""From a table's run to its folder: the command that makes it, whether it is finished, and sharing the work.

Agents are started by command line, as by a user; a table reads the files that they write. The folder of a run
is named by its options in the table, so tables that share a run train it once. A lock is held while it is
trained: the same command, started twice, shares the work.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import Timeout
from options import Common
from papers import fidelity
from reproduction import origin, rows
from reproduction.spec import MNIST, AgentName, Run

from glimpse_env.datasets import list_names
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files
from glimpse_env.sensors import SensorName
from glimpse_env.training import resume

log = logging.getLogger("glimpse_env")
SCRIPTS = Path(__file__).parents[2] / "agents"
SHARED = ("dataset", "root", "split", "backbone", "weights", "image_size", "device", "threads")
SIZES = ("backbone", "image_size", "view_size", "glimpse_size", "scales")  # a setting of a table, where given
BY_RECIPE = ("view_size", "glimpse_size", "scales", "augment")  # left to the agent's recipe unless given
GLIMPSES = (*SHARED, "sensor", *BY_RECIPE)
# By agent: its script, and the settings of a table that are its options too.
AGENTS: dict[AgentName, tuple[str, tuple[str, ...]]] = {
    "ram": ("ram_reinforce", GLIMPSES),
    "dtram": ("dtram_reinforce", (*GLIMPSES, "stop_split")),
    "sermanet": ("sermanet_rnn", (*SHARED, "sensor", "glimpse_size", "augment")),
    "fcan": ("fcan_greedy", (*SHARED, "measure")),
    "whole_image": (
        "whole_image",
        ("dataset", "root", "split", "image_size", "device", "threads", "augment"),
    ),
}
Start = Callable[[Sequence[str]], None]  # runs `python WORDS` to its end
Work = TypeVar("Work")


@dataclass(frozen=True)
class Settings(Common):
    """The settings that all runs of a table share."""

    weights: str | None = "DEFAULT"
    """Weights of the backbone: DEFAULT (torchvision's; FCAN then tunes its own), or a file, such as
    finetune_backbone.py's weights.pth; "{backbone}" in it is the network's name where a table has several."""
    image_size: int | None = None
    """Pixels a side to which images are resized; default: the data set's preset."""
    view_size: int | None = None
    """Pixels a side of the whole image as the network sees it; default: the preset."""
    glimpse_size: int | None = None
    """Pixels a side of a glimpse as the network sees it; default: the preset."""
    scales: tuple[float, ...] | None = None
    """Widths of a glimpse's windows, in multiples of --glimpse-size; default: the preset."""
    sensor: SensorName | None = None
    """Sensor: pixel, crop, map or bank; default: bank for photographs, else the data set's preset."""
    augment: bool | None = None
    """Change the training images at random; default: the recipe's (it doubles the time to compute a bank)."""
    measure: str | None = None
    """Images to measure on instead, such as test after training on fit:1/4."""
    stop_split: str | None = None
    """Images on which DT-RAM learns to stop, better held out (validation:1/4); default: those of --split."""
    paper: bool = False
    """Start every agent with --paper, the paper's settings; folders and rows have names of their own."""
    epochs: int | None = None
    """With --paper: epochs of every stage, instead of the paper's."""
    out: Path = Path("runs/reproduce")
    """Folder of the runs."""
    overwrite: bool = False
    """Train the runs of missing rows again, in place of those in --out."""


def list_options(settings: Settings, run: Run, seed: int) -> dict[str, Any]:
    """Return the options that a run is started with: the table's settings, the run's own, its seed.

    None is the data set's preset; other options are left to the agent's recipe for the data set.
    """
    options = {name: getattr(settings, name) for name in AGENTS[run.agent][1]}
    if settings.dataset in list_names("photographs") and "sensor" in options and not settings.paper:
        options["sensor"] = settings.sensor or "bank"
    if "measure" in options:
        options["measure"] = settings.measure or results.choose_result_split(settings.split)
    if settings.paper:  # what is not given is the recipe's, not the preset's
        recipe = fidelity.choose_options(AGENTS[run.agent][0], settings.dataset, paper=True)
        options |= {name: getattr(recipe, name) for name, value in options.items() if value is None}
        options |= {"weights": settings.weights, "paper": True, **run.paper_options, **shorten(settings, run)}
    else:
        if settings.dataset == "mnist":
            options |= run.on_mnist if run.quick else MNIST.get(run.agent, {})
        options |= run.options
    options |= {"seed": seed, "out": folder(settings, run, seed)}
    if run.start is not None:
        options["ram"] = folder(settings, run.start, seed) / "checkpoint.pt"
    for name in BY_RECIPE:
        if options.get(name, "") is None:
            del options[name]
    if options.get("weights") == "DEFAULT" and run.agent == "fcan":
        del options["weights"]  # it tunes its own
    elif options.get("weights") is not None:
        backbone = options["backbone"] or resolve(settings.dataset, settings.root).backbone
        options["weights"] = options["weights"].replace("{backbone}", str(backbone))
    return options


def shorten(settings: Settings, run: Run) -> dict[str, int]:
    """Return the options of --epochs."""
    if settings.epochs is None:
        return {}
    return {"epochs": settings.epochs} | ({"stop_epochs": settings.epochs} if run.agent == "dtram" else {})


def list_sizes(settings: Settings) -> dict[str, Any]:
    """Return the network and the sizes of images and glimpses that are given, by name."""
    return {name: getattr(settings, name) for name in SIZES if getattr(settings, name) is not None}


def describe_setting(settings: Settings) -> str:
    """Return the given network and sizes in words, which identify the rows that are made with them."""
    return ", ".join(
        f"{name.replace('_', ' ')} {format_value(value)}" for name, value in list_sizes(settings).items()
    )


def format_value(value: object) -> str:
    """Return an option's value as a part of a name."""
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


def folder(settings: Settings, run: Run, seed: int) -> Path:
    """Return the folder of a run, named by the options in the table, whatever an agent's defaults are."""
    quick = run.quick and settings.dataset == "mnist" and not settings.paper
    words = [run.agent, *(["paper"] if settings.paper else ["quick"] if quick else [])]
    words += [checkpoint.dataset_name(settings.dataset), checkpoint.file_name(settings.split)]
    given = list_sizes(settings) | run.options | (dict(run.on_mnist) if quick else {})
    if settings.paper:
        given = list_sizes(settings) | run.paper_options | shorten(settings, run)
    words += [f"{name}-{format_value(value)}".replace(":", "-") for name, value in sorted(given.items())]
    return settings.out / "-".join([*words, str(seed)])


def format_options(options: Mapping[str, Any]) -> list[str]:
    """Return options as words of a command line."""
    words = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None or name in ("weights", "stop_rate"):  # random ones, that of the network
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return words


def start(words: Sequence[str]) -> None:
    """Run `python WORDS` to its end; its output and progress bar go to where this process prints.

    Raises:
        SystemExit: It failed, with its exit status, after its own message; 130 after Ctrl-C.
    """
    log.info("%s", shlex.join(["python", *words]))
    sys.stdout.flush()
    with subprocess.Popen([sys.executable, *words]) as child:
        try:
            status = child.wait()
        except KeyboardInterrupt:  # the terminal interrupts the agent too, which reports what it has saved
            child.wait()
            status = 130
    if status:
        raise SystemExit(status)


def make(settings: Settings, run: Run, seed: int, start: Start = start) -> Path:
    """Return the folder of a finished run, starting or resuming its agent if necessary or to overwrite it.

    A RAM that it starts from must be finished.

    Raises:
        ValueError: The folder holds another run.
    """
    options, out = list_options(settings, run, seed), folder(settings, run, seed)
    if settings.overwrite:
        options["overwrite"] = True
    else:
        check_same(out, options)
        if is_finished(run.agent, out):
            return out
        options |= {"resume": True} if (out / "checkpoint.pt").is_file() or run.agent == "fcan" else {}
    origin.write(out, settings.threads, settings.device)
    start([str(SCRIPTS / f"{AGENTS[run.agent][0]}.py"), *format_options(options)])
    return out


def check_same(out: Path, options: Mapping[str, Any]) -> None:
    """Refuse a folder whose checkpoint was made with other options, on other weights or from another RAM."""
    if not (out / "checkpoint.pt").is_file():
        return
    saved = checkpoint.load(out / "checkpoint.pt")
    names = rows.list_differences(saved["options"], options)
    if "weights" in options:
        names += ["weights"] if resume.other_weights(saved, options["weights"]) else []
    elif saved["agent"] == "fcan_greedy" and saved["options"]["weights"] is not None:  # not its own network
        names.append("weights")
    names += ["ram"] if resume.other_ram(saved, options.get("ram")) else []
    if names:
        option = names[0].replace("_", "-")
        raise ValueError(f"{out} holds a run with another --{option}: give another --out, or --overwrite")


def is_finished(agent: AgentName, out: Path) -> bool:
    """Tell whether a run was trained to its end and evaluated after that."""
    if agent == "fcan":
        return (out / "classify" / "result.json").is_file()
    return results.is_finished(out / "checkpoint.pt")


def share_work(
    works: Mapping[Path, Work], do: Callable[[Work], None], is_ready: Callable[[Work], bool]
) -> None:
    """Do all work, each under its folder's lock; what another process works on comes last, after it.

    Args:
        works: What is to be done, by folder, each after the runs that it starts from.
        do: Does one, or finds that another process has finished it.
        is_ready: Whether the run that it starts from is finished.
    """
    waiting = dict(works)
    for wait in (False, True):
        for out, work in list(waiting.items()):
            if wait:
                log.info("%s: another process works on it, or did a moment ago", out)
            try:
                with files.lock(out.with_name(f".{out.name}.lock"), wait):
                    if wait or is_ready(work):
                        do(work)
                        del waiting[out]
            except Timeout:
                continue
