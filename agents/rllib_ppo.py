"""Ray RLlib's PPO learns where to look and when to stop, on `GlimpseEnv-v0` as it is.

    pip install -e ".[rllib]"
    python agents/rllib_ppo.py                          # MNIST, two processes that collect
    python agents/rllib_ppo.py --workers 8 --envs 32    # more of them
    python agents/rllib_ppo.py --action dict            # the environment's own action, with class scores

RLlib steps single environments (`gymnasium.make`), some in each process, so it collects far fewer steps a
second than the batched core: this is for what RLlib is good at, processes on many machines. The policy is
RLlib's default network, without memory: it sees one glimpse at a time, and its class scores are trained by
rewards alone. gamma is 1: the discount is in the reward `Delayed`.

Writes RLlib's own checkpoint (the folder rllib), result.json (the same evaluation as every agent's: each test
image once, deterministic actions), looks.npz and plots.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from glimpse_env import Delayed, GlimpseVectorEnv
from glimpse_env.adapters.policy import describe
from glimpse_env.evaluation import trajectories
from glimpse_env.reports import results
from glimpse_env.runtime import distributed, files, terminal
from glimpse_env.training import environments, resume, run_folder
from glimpse_env.training.command_line import parse
from glimpse_env.training.options import SeedOptions, View, check_numbers
from glimpse_env.training.trainer import Progress

AGENT = "rllib_ppo"
# Our measures, by RLlib's names.
MEANS = dict(episode_return_mean="reward", correct="train_accuracy", episode_len_mean="mean_glimpses")


@dataclass(frozen=True)
class PpoOptions:
    """RLlib's PPO."""

    workers: int = 2
    """Number of processes that collect steps."""
    envs: int = 16
    """Number of environments per process."""
    action: Literal["multidiscrete", "dict"] = "multidiscrete"
    """multidiscrete: a cell of a grid (--grid cells per side), stop, a class. dict: the environment's own
    action; the policy draws location and class scores from Gaussians."""
    total_steps: int = 200_000
    """Number of environment steps, summed over all processes."""
    batch: int = 4096
    """Steps per update."""
    minibatch: int = 512
    """Steps per minibatch."""
    epochs: int = 4
    """Number of passes over the steps per update."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    discount: float = 0.98
    """The reward of a correct prediction after t glimpses is discount^t; lower values stop sooner."""
    entropy_weight: float = 0.0
    """Weight of the policy's entropy."""


@dataclass(frozen=True)
class RllibOptions(SeedOptions, View, PpoOptions):
    """Options of `rllib_ppo.py`."""


def train(algorithm: Any, options: RllibOptions, progress: Progress) -> None:
    """Update until `total_steps` were taken; show and record RLlib's means over the last episodes."""
    started, taken = time.monotonic(), 0
    with tqdm(total=options.total_steps, unit="step", unit_scale=True, dynamic_ncols=True) as bar:
        while taken < options.total_steps:
            metrics = algorithm.train()["env_runners"]
            taken = int(metrics["num_env_steps_sampled_lifetime"])
            means = {name: float(metrics[theirs]) for theirs, name in MEANS.items()}
            bar.set_postfix_str(terminal.live(means), refresh=False)
            bar.update(taken - bar.n)
            progress.epoch, progress.seconds = progress.epoch + 1, time.monotonic() - started
            row = {"epoch": progress.epoch, "steps": taken, "seconds": round(progress.seconds, 2), **means}
            progress.history.append(row)


def check_options(options: RllibOptions) -> None:
    """Refuse invalid options, and several processes of torchrun."""
    distributed.refuse(AGENT)
    environments.check_split(options.split)
    check_numbers(options)
    if options.minibatch > options.batch:
        raise ValueError(f"--minibatch {options.minibatch}: expected at most --batch {options.batch}")


def main(options: RllibOptions) -> dict[str, Any]:
    """Train, evaluate once, write the result and return its row."""
    options = terminal.prepare(options)
    out = resume.checkpoint_path(AGENT, options).parent
    with ExitStack() as stack:
        with terminal.foreseen(AGENT):
            check_options(options)
            from glimpse_env.adapters import rllib  # its error names the extra to install

            torch.manual_seed(options.seed)
            replaced = stack.enter_context(run_folder.claim(out, options))
            files.check_writable(out / "result.json")
            view = environments.view(options) | {"split": options.split, "reward": Delayed(options.discount)}
            env = GlimpseVectorEnv(1, **view)  # checks the options before the workers build their own
        run_folder.remove(replaced)
        return run_library(rllib, options, view, env, out)


def run_library(
    rllib: Any, options: RllibOptions, view: dict[str, Any], env: GlimpseVectorEnv, out: Path
) -> dict[str, Any]:
    """Let the library train on environments of a view, evaluate the agent on `env`'s, and return its row."""
    rllib.start(options.workers)
    gpu = options.device.startswith("cuda")
    config = rllib.build_config(view, options.action, options.workers, options.envs, options.seed, gpu)
    config.training(train_batch_size_per_learner=options.batch, minibatch_size=options.minibatch)
    config.training(num_epochs=options.epochs, lr=options.learning_rate)
    config.training(entropy_coeff=options.entropy_weight)
    algorithm, progress = config.build_algo(), Progress()
    try:
        with terminal.interruptible(lambda: "a run is saved only when it is finished"):
            train(algorithm, options, progress)
        with terminal.foreseen(AGENT):
            algorithm.save_to_path(str((out / "rllib").resolve()))
        agent = rllib.ModuleAgent(algorithm.get_module(), env, options.action)
    finally:
        rllib.stop(algorithm)
    saved = describe(AGENT, options, env) | {"progress": asdict(progress)}
    split = results.choose_result_split(options.split)
    env = environments.build_evaluation_environment(saved["environment"], split, options.device)
    evaluated = trajectories.evaluate(env, agent.to(env.device), env.preset.max_glimpses)
    with terminal.foreseen(AGENT):
        return results.record(out, saved, env, evaluated, split=split, libraries=("ray",))


if __name__ == "__main__":
    main(parse(RllibOptions, {}, {}, __doc__ or ""))
