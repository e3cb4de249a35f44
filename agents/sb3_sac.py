"""Stable-Baselines3 learns where to look and when to stop off-policy: SAC, or sb3-contrib's TQC and CrossQ.

    pip install -e ".[sb3]"
    python agents/sb3_sac.py                            # SAC on MNIST; a learned classifier predicts
    python agents/sb3_sac.py --algo tqc                 # or crossq
    python agents/sb3_sac.py --dataset cluttered-mnist

The action is x, y, stop ("steering"); the learned classifier's log-odds are part of the observation, so a
policy without a memory sees what is known so far. gamma is 1, as everywhere: the cost of a glimpse is in the
reward.

Two things that a replay buffer brings along: the rewards in it come from the classifier as it was, so old
ones are too low; and while stops are ignored (`--ignore-stops`) it holds stops that did not end an episode.
The buffer is small for the first, and emptied when stops begin to count.

Writes the files of `sb3_ppo.py`. A resumed run fills its buffer anew.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import sb3_ppo
import torch
from sb3.policy import PolicyAgent
from sb3.run import Sb3Run

from glimpse_env import GlimpseVectorEnv
from glimpse_env.training.augment import Changes, renew
from glimpse_env.training.command_line import parse
from glimpse_env.training.optimizers import warm_up_and_decay


@dataclass(frozen=True)
class OffPolicyOptions:
    """The library's algorithm."""

    algo: Literal["sac", "tqc", "crossq"] = "sac"
    """Algorithm."""
    gradient_steps: int = 2
    """Updates of the networks after one step of all rows."""
    batch_size: int = 256
    """Steps per update, drawn from the buffer."""
    memory: int = 100_000
    """Steps that the buffer holds, of all rows."""
    learning_rate: float = 1e-3
    """Learning rate of actor and critics at the start; it decreases linearly."""
    stop_bias: float = -0.5
    """Initial mean of the stop action, which stops above 0; below 0, first episodes are long."""


@dataclass(frozen=True)
class SacOptions(sb3_ppo.EnvironmentOptions, OffPolicyOptions):
    """Options of `sb3_sac.py`."""

    action: Literal["steering"] = "steering"
    """x, y, stop; a learned classifier predicts. The algorithms take no discrete actions."""
    num_envs: int = 64
    """Number of rows: episodes that run in parallel."""
    total_steps: int = 500_000
    """Number of environment steps, summed over all rows."""


def build_model(run: Sb3Run) -> Any:
    """Return the library's algorithm, new or as it was saved, with a TensorBoard logger."""
    try:
        from sb3_contrib import TQC, CrossQ
        from stable_baselines3 import SAC
        from stable_baselines3.common.logger import configure
        from stable_baselines3.common.vec_env import VecMonitor
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{error.name} is not installed: pip install -e ".[sb3]"') from error

    options, folder, venv = run.options, run.checkpoint.parent, VecMonitor(run.venv)
    algorithm = {"sac": SAC, "tqc": TQC, "crossq": CrossQ}[options.algo]
    if run.saved is not None:
        model: Any = algorithm.load(run.find_model(), env=venv, device=options.device)
    else:
        names = ("learning_rate", "gradient_steps", "batch_size", "seed", "device")
        given: dict[str, Any] = {name: getattr(options, name) for name in names}
        given |= {"buffer_size": options.memory, "learning_starts": 10 * options.num_envs}
        given |= {"train_freq": 1, "stats_window_size": 20 * options.num_envs}
        model = algorithm("MlpPolicy", venv, gamma=1.0, **given)
        with torch.no_grad():
            model.actor.mu.bias[run.venv.core.preset.axes] = options.stop_bias
    model.set_logger(configure(str(folder), ["tensorboard"]))
    return model


def train(run: Sb3Run, agent: PolicyAgent, validation: GlimpseVectorEnv | None) -> None:
    """Let the library collect and update, round by round, until `total_steps` were taken."""
    from stable_baselines3.common.utils import safe_mean

    options, model, core, classifier = run.options, run.model, run.venv.core, run.venv.classifier
    total, steps = (
        options.total_steps,
        options.num_envs * max(1, options.total_steps // options.num_envs // 100),
    )
    rounds = math.ceil(total / steps)
    generator = torch.Generator(core.device).manual_seed(options.seed + model.num_timesteps)
    renewed_at = None  # episodes when the images were last renewed
    model.learn(0, reset_num_timesteps=False)  # resets the environment
    for done in run.rounds(rounds, None, math.ceil(rounds / sb3_ppo.LOGGED), steps):
        share = done * steps / total
        classifier.optimizer.anneal(warm_up_and_decay(share, max(1, total // options.num_envs)))
        obeyed, classifier.obeys_stop = classifier.obeys_stop, share >= options.ignore_stops
        if classifier.obeys_stop and not obeyed:
            model.replay_buffer.reset()
        if renewed_at is None or model.env.episode_count - renewed_at >= len(core.images):
            renewed_at = model.env.episode_count
            renew(core, generator, Changes() if options.augment else None)
        sb3_ppo.set_learning_rate(model, options.learning_rate * max(1 - (done + 1) * steps / total, 1e-3))
        model.learn(steps, reset_num_timesteps=False, log_interval=None)
        if run.is_due(done):
            measures = {
                "steps": model.num_timesteps,
                "reward": safe_mean([episode["r"] for episode in model.ep_info_buffer]),
                "mean_glimpses": safe_mean([episode["l"] for episode in model.ep_info_buffer]),
                "train_accuracy": safe_mean(model.ep_success_buffer),
                "loss": classifier.loss,
            }
            run.log_round(done, measures | sb3_ppo.validate(agent, validation))


def main(options: SacOptions) -> dict[str, Any]:
    """Train, evaluate once, write the result and return its row."""
    return sb3_ppo.main(options, build_model, train)


if __name__ == "__main__":
    main(parse(SacOptions, {}, {}, __doc__ or ""))
