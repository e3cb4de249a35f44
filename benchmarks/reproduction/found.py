"""Runs of the agents that are found again: a finished one is not repeated, a begun one goes on, another one in its place is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import sermanet_rnn as sermanet_script
from fcan import setup, stages
from fcan.plan import FcanOptions
from sermanet_rnn import SermanetOptions

from glimpse_env.training import run
from glimpse_env.training.options import Options
from glimpse_env.training.stages import StopOptions, look_stage, stop_stage


def ram(options: Options, out: Path) -> Path:
    """Return the folder of a finished RAM, training it if it is not there."""
    chosen, finished = run.again(options, out)
    if not finished:
        run.execute("ram_reinforce", replace(chosen, out=out), lambda network, horizon: [lambda: look_stage(chosen, network, horizon)])
    return out


def dtram(options: StopOptions, out: Path) -> Path:
    """Return the folder of a finished DT-RAM that starts from the RAM `options.ram`, teaching it to stop if it is not there."""
    chosen, finished = run.again(options, out)
    if not finished:
        plan: run.Plan = lambda network, horizon: [lambda: stop_stage(chosen, network, horizon)]  # noqa: E731
        run.execute("dtram_reinforce", replace(chosen, out=out), plan, stop_input=chosen.stop_input, start=chosen.ram)
    return out


def sermanet(options: SermanetOptions, out: Path) -> Path:
    """Return the folder of a finished run of Sermanet's agent, training it if it is not there."""
    chosen, finished = run.again(sermanet_script.seen(options), out)
    if not finished:
        sermanet_script.train(replace(options, resume=chosen.resume, out=out))
    return out


def fcan(options: FcanOptions, out: Path) -> Path:
    """Return the folder of a run of FCAN's three stages, making those that are not there."""
    stages.run(setup.planned(replace(options, resume=True, out=out)))
    return out
