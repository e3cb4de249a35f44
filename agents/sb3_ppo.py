"""Stable-Baselines3 learns where to look and when to stop: PPO, A2C, or sb3-contrib's RecurrentPPO (`pip install "glimpse-env[sb3]"`).

    python agents/sb3_ppo.py                              # PPO steers on MNIST; a recurrent classifier learns beside it and answers
    python agents/sb3_ppo.py --algo recurrent_ppo         # the policy remembers too
    python agents/sb3_ppo.py --action multidiscrete       # the policy answers itself: a cell of a grid, stop, a class

The library sees the batched core as one of its own vector environments (`glimpse_env.adapters.sb3`). gamma is 1: the reward `delayed` pays
discount^t for a right answer after t glimpses, so the price of a glimpse is inside it (DT-RAM, section 3.3); an algorithm that discounts
again would charge it twice, and the return it learns would no longer be the one that is measured.

With `--action steering` episodes have all their glimpses during the first part of the run (`--look-first`), as DT-RAM is trained after
RAM: a policy that may stop at once finds that a classifier that knows nothing is no better after seven glimpses than after one, stops,
and its classifier never sees a second one. Writes model.zip, classifier.pt, result.json (the same measure as every agent's: each test image
once, nothing drawn), looks.npz, TensorBoard logs and plots.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from glimpse_env import Delayed, PixelSensor, Reward, Transition, rewards
from glimpse_env.datasets import held_out
from glimpse_env.learning import checkpoint, evaluation, setup, terminal
from glimpse_env.learning.augment import Mirrors
from glimpse_env.learning.glimpse_classifier import Teaching
from glimpse_env.learning.options import View


@dataclass(frozen=True)
class Sb3Options(View):
    """Options of `sb3_ppo.py`."""

    algo: Literal["ppo", "a2c", "recurrent_ppo"] = "ppo"
    """Algorithm."""
    action: Literal["steering", "box", "multidiscrete"] = "steering"
    """steering: x, y, stop, and a classifier of its own answers; box: scores for the classes too; multidiscrete: a cell of a grid (--grid a
    side), stop, a class."""
    num_envs: int = 256
    """Images looked at side by side."""
    total_steps: int = 4_000_000
    """Environment steps, of all rows together."""
    reward: Literal["delayed", "confidence", "confidence_gain", "information_gain", "greedy"] = "delayed"
    """What the policy is paid. confidence_gain, the rise of p(label), tells which glimpse helped; with a --price also when to stop."""
    price: float = 0.0
    """What going on for another glimpse costs, taken off any reward."""
    discount: float = 0.98
    """Of the delayed reward: discount^t for a right answer after t glimpses. Lower stops sooner."""
    look_first: float = 0.4
    """Steering: share of the steps in which stopping is not obeyed, so that the classifier learns from all glimpses."""
    augment: bool = True
    """Change the training images at random: small rotations, scalings and shifts (pixel sensor), left-right reversal (the others)."""
    n_steps: int = 32
    """Steps of each row per update of the policy (A2C: 5 are usual)."""
    batch_size: int = 2048
    """Steps per minibatch (PPO)."""
    n_epochs: int = 2
    """Passes over the steps per update (PPO)."""
    learning_rate: float = 1e-3
    """Of the policy at the beginning; it falls linearly."""
    gae_lambda: float = 0.95
    """Of the generalised advantage estimate."""
    entropy: float = 0.0
    """Weight of the policy's entropy."""
    log_std: float = -1.0
    """Logarithm of the Gaussian policy's standard deviation at the beginning."""
    lstm: int = 64
    """Units of the recurrent policy's LSTM."""
    classifier: Teaching = field(default_factory=Teaching)
    """Steering: the classifier."""
    seed: int = 0
    """Seeds weights, image order, augmentation and actions."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
    out: Path | None = None
    """Folder of the results; default runs/sb3_ALGO-DATASET-SEED."""


@dataclass(frozen=True)
class Priced:
    """Another reward, less a price at every step that is not the last."""

    earned: Reward
    price: float

    def __call__(self, transition: Transition) -> Float[Tensor, " env"]:
        """Return the reward of each row."""
        return self.earned(transition) - self.price * ~transition.stop


def chosen_reward(options: Sb3Options) -> Reward:
    """Return the reward that the options describe."""
    earned = Delayed(options.discount) if options.reward == "delayed" else rewards.make(options.reward)
    return Priced(earned, options.price) if options.price else earned


def algorithm(options: Sb3Options, venv: Any, out: Path) -> Any:  # noqa: ANN401 - the library's own types, and it is optional
    """Return the library's algorithm with a fresh policy, logging to TensorBoard."""
    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.vec_env import VecMonitor

    from glimpse_env.adapters import sb3_training

    kind, policy = sb3_training.ALGORITHMS[options.algo]
    shape: dict[str, Any] = {"log_std_init": options.log_std}
    if options.algo == "recurrent_ppo":  # one LSTM, which the critic reads too: half the work
        shape |= {"lstm_hidden_size": options.lstm, "enable_critic_lstm": False, "shared_lstm": True}
    given = {name: getattr(options, name) for name in ("n_steps", "gae_lambda", "seed", "device")}
    if options.algo != "a2c":
        given |= {"batch_size": options.batch_size, "n_epochs": options.n_epochs}
    given |= {"ent_coef": options.entropy, "learning_rate": sb3_training.falling(options.learning_rate), "policy_kwargs": shape}
    model = kind(policy, VecMonitor(venv), gamma=1.0, stats_window_size=20 * options.num_envs, **given)
    model.set_logger(configure(str(out), ["tensorboard"]))
    return model


def check(options: Sb3Options) -> None:
    """Refuse options that cannot be used together."""
    if options.split == "test":
        raise ValueError("--split test: the test images are not for training; expected train, fit or fit:K/N")
    if options.total_steps < 1:
        raise ValueError(f"--total-steps {options.total_steps}: expected at least 1")
    if not 0 <= options.look_first < 1:
        raise ValueError(f"--look-first {options.look_first}: expected a share of the steps in [0, 1)")


def main(options: Sb3Options) -> dict[str, Any]:
    """Train, evaluate once, write the results; return their row."""
    agent = f"sb3_{options.algo}"
    out = options.out or Path("runs") / checkpoint.run_name(agent, options.dataset, options.split, options.seed)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    terminal.show_log()
    with terminal.foreseen("sb3_ppo.py"):
        from glimpse_env.adapters import sb3, sb3_training  # says which extra to install

        check(options)
        look = setup.view(options) | {"split": options.split, "device": options.device, "reward": chosen_reward(options)}
        teaching = options.classifier if options.action == "steering" else None
        venv: Any = sb3.make_sb3_env(options.num_envs, action=options.action, flat=True, teaching=teaching, **look)
        if options.augment and not isinstance(venv.core.sensor, PixelSensor | Mirrors):
            raise ValueError(f"--augment: {type(venv.core.sensor).__name__} shows neither changed nor reversed images: use --no-augment")
        seen, fold = setup.env_options(venv.core, options), held_out(options.split)
        checking = None if fold is None else evaluation.environment(seen, fold, options.device)
        plan = sb3_training.Plan(
            venv, options.action, options.total_steps, options.look_first, options.augment, out, checking, options.seed
        )
        model = algorithm(options, venv, out)
    try:
        model.learn(options.total_steps, callback=sb3_training.Watch(plan))
    except KeyboardInterrupt:
        print(f"\nstopped: {out} holds model.zip, and classifier.pt where one learns, as last recorded", file=sys.stderr)
        raise SystemExit(130) from None
    return sb3_training.report(plan, model, {"agent": agent, "environment": seen}, options)


if __name__ == "__main__":
    main(tyro.cli(Sb3Options, description=__doc__))
