"""Ray RLlib's PPO learns where to look and when to stop, on `GlimpseEnv-v0` as it is (`pip install -e ".[rllib]"`).

    python agents/rllib_ppo.py                            # MNIST, two processes that collect
    python agents/rllib_ppo.py --workers 8 --envs 32      # more of them
    python agents/rllib_ppo.py --action dict              # the environment's own action, scores for the classes included

RLlib steps single environments (`gymnasium.make`), some in each process, so it collects far fewer steps a second than the batched core
does: this is for what RLlib is good at, processes on many machines. Its policy here is its default network, without memory, and answers by
itself: it knows one glimpse at a time, and its class scores learn from rewards alone. gamma is 1: the discount is in the reward `Delayed`.

Writes RLlib's own checkpoint (the folder rllib), result.json by the common measure (each test image once, nothing drawn), looks.npz, plots.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from tqdm import tqdm

from glimpse_env import Delayed, GlimpseVectorEnv, checks
from glimpse_env.runtime import checkpoint, distributed, terminal
from glimpse_env.training import environments, resume
from glimpse_env.training.options import Place, View
from glimpse_env.training.trainer import Progress

AGENT = "rllib_ppo"
MEANS = {"reward": "episode_return_mean", "train_accuracy": "correct", "mean_glimpses": "episode_len_mean"}  # RLlib's names


@dataclass(frozen=True)
class RllibOptions(Place, View):
    """Options of `rllib_ppo.py`."""

    workers: int = 2
    """Processes that collect."""
    envs: int = 16
    """Environments in each of them."""
    action: Literal["multidiscrete", "dict"] = "multidiscrete"
    """multidiscrete: a cell of a grid (--grid a side), stop, a class; dict: the environment's own, place and class scores as Gaussians."""
    total_steps: int = 200_000
    """Environment steps, of all workers together."""
    batch: int = 4096
    """Steps per update."""
    minibatch: int = 512
    """Steps per minibatch."""
    epochs: int = 4
    """Passes over the steps per update."""
    rate: float = 1e-3
    """Learning rate of Adam."""
    discount: float = 0.98
    """Of the delayed reward: discount^t for a right answer after t glimpses. Lower stops sooner."""
    entropy: float = 0.0
    """Weight of the policy's entropy."""


def train(algorithm: Any, options: RllibOptions, progress: Progress) -> None:  # noqa: ANN401 - the library's own types, and it is optional
    """Update until `total_steps` were taken; RLlib's own means over the last episodes are shown and kept."""
    started, taken = time.monotonic(), 0
    with tqdm(total=options.total_steps, unit="step", unit_scale=True, dynamic_ncols=True) as bar:
        while taken < options.total_steps:
            found = algorithm.train()["env_runners"]
            taken = int(found["num_env_steps_sampled_lifetime"])
            means = {name: float(found[theirs]) for name, theirs in MEANS.items()}
            bar.set_postfix_str(terminal.live(means), refresh=False)
            bar.update(taken - bar.n)
            progress.epoch, progress.seconds = progress.epoch + 1, time.monotonic() - started
            progress.history.append({"epoch": progress.epoch, "steps": taken, "seconds": round(progress.seconds, 2), **means})


def check(options: RllibOptions) -> None:
    """Refuse options that cannot be used."""
    distributed.refuse(AGENT)
    environments.check_split(options.split)
    for name in ("workers", "envs", "total_steps", "batch", "minibatch", "epochs"):
        checks.count(f"--{name.replace('_', '-')}", getattr(options, name))
    if options.minibatch > options.batch:
        raise ValueError(f"--minibatch {options.minibatch}: expected at most --batch {options.batch}")


def main(options: RllibOptions) -> dict[str, Any]:
    """Train, evaluate once by the common metric, write the result and return its row."""
    options = terminal.prepare(options)
    torch.manual_seed(options.seed)
    out = options.out or Path("runs") / checkpoint.run_name(AGENT, options.dataset, options.split, options.seed)
    with terminal.foreseen(f"{AGENT}.py"):
        from glimpse_env.adapters import policy, rllib  # says which extra to install

        check(options)
        look = environments.view(options) | {"split": options.split, "reward": Delayed(options.discount)}
        env = GlimpseVectorEnv(1, **look)  # says here what cannot be made; the workers make their own
        identity = {"agent": AGENT, "environment": resume.env_options(env, options), "options": checkpoint.plain(options)}
    rllib.start(options.workers)
    config = rllib.ppo_config(look, options.action, options.workers, options.envs, options.seed, options.device.startswith("cuda"))
    config.training(train_batch_size_per_learner=options.batch, minibatch_size=options.minibatch, num_epochs=options.epochs)
    algorithm, progress = config.training(lr=options.rate, entropy_coeff=options.entropy).build_algo(), Progress()
    try:
        with terminal.interruptible("nothing is kept of a run that is not finished"):
            train(algorithm, options, progress)
        algorithm.save_to_path(str((out / "rllib").resolve()))
        agent = rllib.ModuleAgent(algorithm.get_module(), env, options.action)
    finally:
        rllib.stop(algorithm)
    return policy.report(out, identity, agent, progress, options.device, ("ray",))


if __name__ == "__main__":
    main(tyro.cli(RllibOptions, description=__doc__))
