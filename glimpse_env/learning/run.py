"""One run of an agent script from its options to its result: set up, train or resume, evaluate, write, print."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from torch.utils.tensorboard import SummaryWriter

from glimpse_env import GlimpseVectorEnv, PixelSensor
from glimpse_env.learning import checkpoint, results
from glimpse_env.learning.evaluation import environment, glimpse_values, look
from glimpse_env.learning.networks import Architecture, RecurrentAttention, StopInput
from glimpse_env.learning.optimizers import Optimizer
from glimpse_env.learning.options import Options
from glimpse_env.learning.training import Progress, Setting, Stage, train

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
        "options": plain(options),
        "architecture": asdict(network.architecture),
        "environment": env_options(env, options),
        "command": " ".join(["python", "/".join(Path(sys.argv[0]).parts[-2:]), *sys.argv[1:]]),
    }


def make_setting(options: Options, env: GlimpseVectorEnv, network: RecurrentAttention, identity: dict[str, Any], target: Path) -> Setting:
    """Return what stays the same during the run: environments, logs, validation and how to save."""
    precision = fastest_precision(env.device) if options.precision == "auto" else getattr(torch, options.precision)
    checking = environment(identity["environment"], "validation", env.device)

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
        validate=lambda steps: validation(checking, network, steps, precision),
        save=save,
    )


def resumable(path: Path, agent: str, options: Options) -> dict[str, Any]:
    """Return the checkpoint to go on from; it must be this agent's, with these options."""
    saved = checkpoint.load(path)
    if saved["agent"] != agent:
        raise SystemExit(f"{path} is a checkpoint of {saved['agent']}: expected one of {agent}")
    wanted = plain(replace(options, resume=False))
    different = [name for name, value in wanted.items() if saved["options"].get(name) != value and name not in ("out", "threads", "device")]
    if different:
        described = ", ".join(f"--{name.replace('_', '-')} {saved['options'].get(name)}" for name in different)
        raise SystemExit(f"--resume: {path} was made with {described}; give the same options, or another --out")
    return saved


def plain(options: Options) -> dict[str, Any]:
    """Return options as plain values for a checkpoint."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(replace(options, resume=False)).items()}


def training_environment(options: Options, saved: dict[str, Any] | None) -> GlimpseVectorEnv:
    """Return the environment that training collects from: the training images without the validation split, absorbing."""
    given = {"dataset": options.dataset, "root": options.root, "max_glimpses": options.glimpses}
    if saved is not None and options.glimpses is None:
        given["max_glimpses"] = saved["environment"]["max_glimpses"]
    env = GlimpseVectorEnv(
        options.batch * options.samples, **given, split="fit", device=options.device, autoreset_mode=AutoresetMode.DISABLED
    )
    if options.augment and not isinstance(env.sensor, PixelSensor):
        raise SystemExit("--augment changes the images each epoch, which only the pixel sensor can show: use --no-augment")
    if len(env.images) < options.batch:
        raise SystemExit(f"--batch {options.batch}: the data set has {len(env.images)} training images; use a smaller batch")
    return env


def env_options(env: GlimpseVectorEnv, options: Options) -> dict[str, Any]:
    """Return the keyword arguments that rebuild the environment's look at its images."""
    root = None if options.root is None else str(options.root)
    return {"dataset": options.dataset, "root": root, **asdict(env.preset)}


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
        shortcut=options.shortcut,
        channels=(env.sensor.space["glimpse"].shape or (1,))[0],
        learned_start=options.learned_start,
        stop_input=stop_input or "confidence",
    )
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


def validation(env: GlimpseVectorEnv, network: RecurrentAttention, steps: int, precision: torch.dtype) -> dict[str, float]:
    """Return accuracies on the validation split."""
    looks = look(env, network, steps, precision)
    return {"validation_accuracy": looks.correct[-1].float().mean().item()}


def fastest_precision(device: torch.device) -> torch.dtype:
    """Return the type in which this device multiplies matrices faster: bfloat16 must win clearly."""
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        left, right = (torch.randn(1024, 512, device=device, dtype=kind) for _ in range(2))
        for repeat in range(4):
            start = time.perf_counter()
            for _ in range(5):
                left = (left @ right.T @ right).clamp(-1, 1)
            left.sum().item()  # waits for the device
            seconds[kind] = min(seconds.get(kind, 1e9) if repeat > 1 else 1e9, time.perf_counter() - start)
    return torch.bfloat16 if seconds[torch.bfloat16] < 0.7 * seconds[torch.float32] else torch.float32
