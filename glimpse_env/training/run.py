"""One run of an agent script from its options to its result: set up, train or resume, evaluate, write, print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from glimpse_env import GlimpseVectorEnv
from glimpse_env.datasets import held_out
from glimpse_env.evaluation.trajectories import environment, look
from glimpse_env.networks import registry
from glimpse_env.networks.base import Agent
from glimpse_env.networks.recurrent_attention import StopInput
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, distributed, terminal
from glimpse_env.runtime.precision import named
from glimpse_env.training import environments
from glimpse_env.training.optimizers import Optimizer
from glimpse_env.training.options import Options, Training, View
from glimpse_env.training.rollout import Policy
from glimpse_env.training.trainer import Progress, Setting, Stage, train

# From the network and the horizon to the stages of training, each made when it begins.
Plan = Callable[[Any, int], list[Callable[[], Stage]]]
Chosen = TypeVar("Chosen", bound=Training)


def execute(
    agent: str,
    options: Training,
    plan: Plan,
    *,
    stop_input: StopInput | None = None,
    start: Path | None = None,
    build: Callable[[GlimpseVectorEnv], Agent] | None = None,
) -> dict[str, Any]:
    """Train an agent, evaluate it on the test split once, write the results and return their row.

    Args:
        agent: Name in file names and rows.
        options: The script's options.
        plan: Stages of training.
        stop_input: What the stop head of a dynamic agent reads; None = the agent answers after the last glimpse.
        start: Checkpoint whose network the run starts from (its architecture is kept, but for the stop head).
        build: Makes the agent's network for an environment; None = the recurrent network that the options (of type `Options`) describe.

    Raises:
        SystemExit: Options or files that cannot be used, with one sentence that says why; 130 after Ctrl-C; 1 where another of several
            processes ended.
    """
    out = options.out or Path("runs") / checkpoint.run_name(agent, options.dataset, options.split, options.seed)
    target = out / "checkpoint.pt"
    options = terminal.prepare(options)
    try:
        with distributed.joined(options.device):
            return executed(agent, options, plan, target, stop_input, start, build)
    except RuntimeError as error:
        if not distributed.lost(error):
            raise
        told = f"{agent}: another process ended ({str(error).splitlines()[0]}); {target} holds the last finished epoch: go on with --resume"
        raise SystemExit(told) from error


def executed(
    agent: str,
    options: Training,
    plan: Plan,
    target: Path,
    stop_input: StopInput | None,
    start: Path | None,
    build: Callable[[GlimpseVectorEnv], Agent] | None,
) -> dict[str, Any]:
    """Train and evaluate, in one process or in one of several that have joined (see `execute`)."""
    torch.manual_seed(options.seed)
    with terminal.foreseen(agent):
        environments.check_numbers(options)
        saved = resumable(target, agent, options) if options.resume else None
        looked = None if start is None else checkpoint.load(start)
        earlier = saved or looked
        env = environments.training_environment(options, earlier["environment"]["max_glimpses"] if earlier else None)
        if looked is not None:
            environments.check_start(looked, options, env)
        made = build(env) if build else environments.build_network(env, cast(Options, options), stop_input, looked)
        network = made.to(env.device)
        identity = describe(agent, options, env, network, stop_input)
        if looked is not None:
            identity["ram_sha256"] = checkpoint.digest(looked["network"])
        setting = make_setting(options, env, network, identity, target)
    progress = Progress(seconds=looked["progress"]["seconds"] if looked else 0.0)
    if saved is not None:
        network.load_state_dict(saved["network"])
        progress = Progress(**saved["progress"])
    try:
        with terminal.interruptible(f"{target} holds the last finished epoch; go on with --resume, or evaluate it as it is"):
            train(setting, plan(network, env.preset.max_glimpses), progress, saved["optimizer"] if saved else None)
    finally:
        if setting.writer is not None:
            setting.writer.close()
    distributed.wait()  # for the first to have written the last epoch
    with terminal.foreseen(f"{agent}: training is done, its evaluation is not; repeat it with agents/evaluate.py {target}"):
        return results.write(target, device=options.device)


def describe(agent: str, options: View, env: GlimpseVectorEnv, network: Agent, stop_input: StopInput | None) -> dict[str, Any]:
    """Return what a checkpoint must say about itself to be rebuilt and evaluated alone."""
    look = environments.env_options(env, options)
    return {
        "agent": agent,
        "dynamic": stop_input is not None,
        "options": checkpoint.plain(options),
        "network_name": registry.name_of(network),
        "architecture": asdict(network.architecture),
        "environment": look,
        "classes": list(env.images.classes),
        "weights_sha256": environments.weights_hash(look),
        "command": checkpoint.command(),
    }


def make_setting(options: Training, env: GlimpseVectorEnv, network: Agent, identity: dict[str, Any], target: Path) -> Setting:
    """Return what stays the same during the run: environments, logs, validation and how to save."""
    from torch.utils.tensorboard import SummaryWriter  # not needed by --help

    precision = distributed.agreed(named(options.precision, env.device))  # processes may run on unlike CPUs
    held = held_out(options.split)
    checking = None if held is None else environment(identity["environment"], held, env.device)

    def save(progress: Progress, optimizer: Optimizer) -> None:
        learned = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
        if distributed.first():
            checkpoint.save(target, {**identity, **learned, "precision": str(precision)})

    return Setting(
        env=env,
        network=network,
        samples=options.samples,
        seed=options.seed,
        augment_shift=options.augment_shift if options.augment else None,
        precision=precision,
        writer=SummaryWriter(str(target.parent)) if distributed.first() else None,
        validate=lambda steps: {} if checking is None else validation(checking, network, steps, precision, options.policy),
        save=save,
    )


def resumable(path: Path, agent: str, options: View) -> dict[str, Any]:
    """Return the checkpoint to go on from; it must be this agent's, with these options."""
    saved = checkpoint.load(path)
    if saved["agent"] != agent:
        raise ValueError(f"{path} is a checkpoint of {saved['agent']}: expected one of {agent}")
    if "optimizer" not in saved:
        raise ValueError(f"--resume: {path} comes without the optimizer's state, so its run cannot go on; start another from it with --ram")
    if names := other_options(saved, options):
        described = ", ".join(f"--{name.replace('_', '-')} {saved['options'].get(name)}" for name in names)
        raise ValueError(f"--resume: {path} was made with {described}; give the same options, or another --out")
    return saved


def other_options(saved: Mapping[str, Any], options: View) -> list[str]:
    """Return the options that differ from a checkpoint's; files that a run reads are told by what is in them, not by their places."""
    names = checkpoint.different(saved["options"], checkpoint.plain(options), ("root", "weights", "ram"))
    if environments.other_weights(saved, options.weights):
        names.append("weights")
    if other_ram(saved, getattr(options, "ram", None)):
        names.append("ram")
    return names


def other_ram(saved: Mapping[str, Any], ram: Path | None) -> bool:
    """Tell whether a run started from another RAM: by its network, else (a checkpoint of an earlier version) by where it lay."""
    before, known = saved["options"].get("ram"), saved.get("ram_sha256")
    if ram is None or before is None or known is None:
        return before != (None if ram is None else str(ram))
    return known != checkpoint.digest(checkpoint.load(ram)["network"])


def again(options: Chosen, out: Path) -> tuple[Chosen, bool]:
    """Return the options with which a run is begun or gone on with, and whether it is finished already.

    Raises:
        ValueError: The folder holds a run with other options, or one on other weights.
    """
    distributed.refuse("a table of several runs")
    target = out / "checkpoint.pt"
    if not target.is_file():
        return options, False
    if names := other_options(checkpoint.load(target), options):
        raise ValueError(f"{out} holds a run with another --{names[0].replace('_', '-')}: give another --out, or remove it")
    return replace(options, resume=True), finished(target)


def finished(target: Path) -> bool:
    """Tell whether a run of one stage has come to its end and was evaluated then; an interrupted one may have been evaluated as it was."""
    if not target.is_file():
        return False
    saved = checkpoint.load(target)
    epochs = saved["options"]["stop_epochs" if saved["dynamic"] else "epochs"]
    return saved["progress"]["epoch"] >= epochs and results.kept(target, saved, None) is not None


def validation(env: GlimpseVectorEnv, network: Agent, steps: int, precision: torch.dtype, policy: Policy) -> dict[str, float]:
    """Return accuracies on held-out images."""
    looks = look(env, network, steps, precision, policy)
    return {"validation_accuracy": looks.correct[-1].float().mean().item()}
