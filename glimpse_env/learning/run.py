"""One run of an agent script from its options to its result: set up, train or resume, evaluate, write, print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from torch.utils.tensorboard import SummaryWriter

from glimpse_env import GlimpseVectorEnv, PixelSensor
from glimpse_env.datasets import held_out
from glimpse_env.learning import checkpoint, results
from glimpse_env.learning.architecture import Architecture, StopInput
from glimpse_env.learning.augment import Mirrors
from glimpse_env.learning.evaluation import environment, glimpse_values, look
from glimpse_env.learning.networks import RecurrentAttention
from glimpse_env.learning.optimizers import Optimizer
from glimpse_env.learning.options import Options, View
from glimpse_env.learning.rollout import Policy
from glimpse_env.learning.training import Progress, Setting, Stage, train
from glimpse_env.precision import named

# From the network and the horizon to the stages of training, each made when it begins.
Plan = Callable[[RecurrentAttention, int], list[Callable[[], Stage]]]


def execute(agent: str, options: Options, plan: Plan, *, stop_input: StopInput | None = None, start: Path | None = None) -> dict[str, Any]:
    """Train an agent, evaluate it on the test split once, write the results and return their row.

    Args:
        agent: Name in file names and rows.
        options: The script's options.
        plan: Stages of training.
        stop_input: What the stop head of a dynamic agent reads; None = the agent answers after the last glimpse.
        start: Checkpoint whose network the run starts from (its architecture is kept, but for the stop head).

    Raises:
        SystemExit: Options or files that cannot be used, with one sentence that says why; 130 after Ctrl-C.
    """
    out = options.out or Path("runs") / f"{agent}-{Path(options.dataset).name}-{options.seed}"
    target = out / "checkpoint.pt"
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    try:
        saved = resumable(target, agent, options) if options.resume else None
        looked = None if start is None else checkpoint.load(start)
        env = training_environment(options, saved or looked)
        network = build_network(env, options, stop_input, looked).to(env.device)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"{agent}: {error}") from error
    progress = Progress(seconds=looked["progress"]["seconds"] if looked else 0.0)
    if saved is not None:
        network.load_state_dict(saved["network"])
        progress = Progress(**saved["progress"])
    identity = describe(agent, options, env, network, stop_input)
    setting = make_setting(options, env, network, identity, target)
    try:
        train(setting, plan(network, env.preset.max_glimpses), progress, saved["optimizer"] if saved else None)
    except KeyboardInterrupt:
        print(f"\nstopped: {target} holds the last finished epoch; go on with --resume, or evaluate it as it is", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        setting.writer.close()
    return results.write(target)


def describe(
    agent: str, options: Options, env: GlimpseVectorEnv, network: RecurrentAttention, stop_input: StopInput | None
) -> dict[str, Any]:
    """Return what a checkpoint must say about itself to be rebuilt and evaluated alone."""
    return {
        "agent": agent,
        "dynamic": stop_input is not None,
        "options": checkpoint.plain(options),
        "architecture": asdict(network.architecture),
        "environment": env_options(env, options),
        "command": checkpoint.command(),
    }


def make_setting(options: Options, env: GlimpseVectorEnv, network: RecurrentAttention, identity: dict[str, Any], target: Path) -> Setting:
    """Return what stays the same during the run: environments, logs, validation and how to save."""
    precision = named(options.precision, env.device)
    held = held_out(options.split)
    checking = None if held is None else environment(identity["environment"], held, env.device)

    def save(progress: Progress, optimizer: Optimizer) -> None:
        learned = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
        checkpoint.save(target, {**identity, **learned, "precision": str(precision)})

    return Setting(
        env=env,
        network=network,
        samples=options.samples,
        seed=options.seed,
        augment=options.augment,
        precision=precision,
        writer=SummaryWriter(str(target.parent)),
        validate=lambda steps: {} if checking is None else validation(checking, network, steps, precision, options.policy),
        save=save,
    )


def resumable(path: Path, agent: str, options: Options) -> dict[str, Any]:
    """Return the checkpoint to go on from; it must be this agent's, with these options."""
    saved = checkpoint.load(path)
    if saved["agent"] != agent:
        raise SystemExit(f"{path} is a checkpoint of {saved['agent']}: expected one of {agent}")
    checkpoint.check_same(path, saved["options"], checkpoint.plain(options))
    return saved


def training_environment(options: Options, saved: dict[str, Any] | None) -> GlimpseVectorEnv:
    """Return the environment that training collects from: the training images without the validation split, absorbing."""
    given = view(options)
    if saved is not None and options.glimpses is None:
        given["max_glimpses"] = saved["environment"]["max_glimpses"]
    env = GlimpseVectorEnv(
        options.batch * options.samples, **given, split=options.split, device=options.device, autoreset_mode=AutoresetMode.DISABLED
    )
    if options.augment and not isinstance(env.sensor, PixelSensor | Mirrors):
        raise SystemExit(f"--augment: {type(env.sensor).__name__} shows neither changed nor reversed images: use --no-augment")
    if len(env.images) < options.batch:
        raise SystemExit(f"--batch {options.batch}: the data set has {len(env.images)} training images; use a smaller batch")
    return env


def view(options: Options) -> dict[str, Any]:
    """Return the options that say what is looked at, as arguments of the environment."""
    given = {name: getattr(options, name) for name in View.__dataclass_fields__ if name not in ("split", "glimpses")}
    return given | {"max_glimpses": options.glimpses}


def env_options(env: GlimpseVectorEnv, options: Options) -> dict[str, Any]:
    """Return the keyword arguments that rebuild the environment's look at its images."""
    root = None if options.root is None else str(options.root)
    return {"dataset": options.dataset, "root": root, "weights": options.weights, **asdict(env.preset)}


def build_network(
    env: GlimpseVectorEnv, options: Options, stop_input: StopInput | None, start: dict[str, Any] | None
) -> RecurrentAttention:
    """Return a new network, or the one of `start` with a new stop head."""
    values = glimpse_values(env)
    architecture = Architecture(
        glimpse=values,
        classes=len(env.images.classes),
        horizon=env.preset.max_glimpses,
        core=options.core,
        hidden=options.hidden,
        features=options.features,
        depth=options.depth,
        where=options.where,
        what=options.what,
        locator=options.locator,
        reach=env.sensor.reach,
        shortcut=options.shortcut,
        dropout=options.dropout,
        scores=options.scores,
        channels=(env.sensor.space["glimpse"].shape or (1,))[0],
        learned_start=options.learned_start,
        stop_input=stop_input or "confidence",
    )
    if options.locator == "map" and not (env.sensor.whole_first and isinstance(env.sensor, PixelSensor)):
        raise SystemExit("--locator map looks for places on the pixels of the first view: it needs --sensor pixel and --first-view image")
    if start is None:
        return RecurrentAttention(architecture)
    kept = Architecture(**start["architecture"])
    if (kept.glimpse, kept.classes) != (values, architecture.classes):
        raise SystemExit(
            f"--ram: its network sees {kept.glimpse} values and answers {kept.classes} classes; "
            f"this data set has {values} and {architecture.classes}"
        )
    network = RecurrentAttention(replace(kept, horizon=architecture.horizon, stop_input=architecture.stop_input))
    network.load_state_dict({name: value for name, value in start["network"].items() if not name.startswith("stopper.")}, strict=False)
    return network


def validation(env: GlimpseVectorEnv, network: RecurrentAttention, steps: int, precision: torch.dtype, policy: Policy) -> dict[str, float]:
    """Return accuracies on held-out images."""
    looks = look(env, network, steps, precision, policy)
    return {"validation_accuracy": looks.correct[-1].float().mean().item()}
