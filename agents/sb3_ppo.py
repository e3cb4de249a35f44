"""Stable-Baselines3 learns where to look and when to stop: PPO, A2C, or sb3-contrib's RecurrentPPO (`pip install -e ".[sb3]"`).

    python agents/sb3_ppo.py                              # PPO steers on MNIST; a recurrent classifier learns beside it and answers
    python agents/sb3_ppo.py --algo recurrent_ppo         # the policy remembers too
    python agents/sb3_ppo.py --action multidiscrete       # the policy answers itself: a cell of a grid, stop, a class

The library sees the batched core as one of its own vector environments (`glimpse_env.adapters.sb3`). gamma is 1: the price of a glimpse is
in the reward. By default that is the rise of p(label) less a price for every further glimpse (Glance-and-Focus' reward), so the return is
the p(label) that is reached less what it cost; `--reward delayed --price 0` pays discount^t for a right answer after t glimpses (DT-RAM,
section 3.3). An algorithm that discounts again would charge it twice, and the return it learns would no longer be the one that is measured.

With `--action steering` episodes have all their glimpses during the first part of the run (`--look-first`), as DT-RAM is trained after
RAM: a policy that may stop at once finds that a classifier that knows nothing is no better after seven glimpses than after one, stops,
and its classifier never sees a second one. Writes model.zip, classifier.pt, run.pt (for `--resume`), result.json (the same measure as every
agent's: each test image once, nothing drawn), looks.npz, TensorBoard logs and plots.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from glimpse_env import Delayed, Reward, rewards
from glimpse_env.datasets import held_out
from glimpse_env.evaluation import trajectories
from glimpse_env.networks.glimpse_classifier import Teaching
from glimpse_env.runtime import checkpoint, distributed, terminal
from glimpse_env.sensors import Mirrorable, Repaintable
from glimpse_env.training import environments, resume
from glimpse_env.training.options import Lasting, View

STOP = 2  # place of the number that stops in Gaussian actions: x, y, stop, ...


@dataclass(frozen=True)
class Sb3Options(Lasting, View):
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
    reward: Literal["delayed", "confidence", "confidence_gain", "information_gain", "greedy"] = "confidence_gain"
    """What the policy is paid. confidence_gain, the rise of p(label), tells which glimpse helped, and with a --price also when to stop;
    delayed is the papers' (without a --price: its discount is one)."""
    price: float = 0.01
    """What going on for another glimpse costs, taken off any reward."""
    discount: float = 0.98
    """Of the delayed reward: discount^t for a right answer after t glimpses. Lower stops sooner."""
    look_first: float = 0.35
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
    gae_lambda: float = 0.8
    """Of the generalised advantage estimate."""
    entropy: float = 0.0
    """Weight of the policy's entropy."""
    log_std: float = -1.6
    """Logarithm of the Gaussian policy's standard deviation at the beginning."""
    stop_bias: float = -0.3
    """Mean of the Gaussian whose sign stops, at the beginning: below 0 episodes are long until it is learned which ones may end."""
    lstm: int = 64
    """Units of the recurrent policy's LSTM."""
    classifier: Teaching = field(default_factory=Teaching)
    """Steering: the classifier."""


def chosen_reward(options: Sb3Options) -> Reward:
    """Return the reward that the options describe."""
    earned = Delayed(options.discount) if options.reward == "delayed" else rewards.make(options.reward)
    return rewards.Priced(earned, options.price) if options.price else earned


def planned(options: Sb3Options, out: Path) -> Any:  # noqa: ANN401 - the library is optional, and so are its own types
    """Return the run that the options describe, with its environments."""
    from glimpse_env.adapters import sb3, sb3_run

    look = environments.view(options) | {"split": options.split, "device": options.device, "reward": chosen_reward(options)}
    teaching = options.classifier if options.action == "steering" else None
    venv: Any = sb3.make_sb3_env(options.num_envs, action=options.action, flat=True, teaching=teaching, **look)
    if options.augment and not isinstance(venv.core.sensor, Repaintable | Mirrorable):
        raise ValueError(f"--augment: {type(venv.core.sensor).__name__} shows neither changed nor reversed images: use --no-augment")
    seen, fold = resume.env_options(venv.core, options), held_out(options.split)
    told = checkpoint.plain(options) | {"classifier": asdict(options.classifier)}
    identity = {"agent": f"sb3_{options.algo}", "environment": seen, "options": told}
    checking = None if fold is None else trajectories.environment(seen, fold, options.device)
    parts = (options.action, options.total_steps, options.look_first, options.augment)
    return sb3_run.Plan(venv, identity, *parts, out, checking, options.seed)


def algorithm(options: Sb3Options, plan: Any) -> Any:  # noqa: ANN401
    """Return the library's algorithm, with a fresh policy or as it was saved, logging to TensorBoard."""
    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.vec_env import VecMonitor

    from glimpse_env.adapters import sb3_run

    venv = VecMonitor(plan.venv)
    if options.resume:
        model = sb3_run.go_on(plan, sb3_run.saved_run(plan.out, plan.identity), options.algo, venv, options.device)
    else:
        model = fresh(options, venv)
    model.set_logger(configure(str(plan.out), ["tensorboard"]))
    return model


def fresh(options: Sb3Options, venv: Any) -> Any:  # noqa: ANN401
    """Return the library's algorithm with a fresh policy."""
    from glimpse_env.adapters import sb3_run, sb3_training

    kind, policy = sb3_run.ALGORITHMS[options.algo]
    shape: dict[str, Any] = {"log_std_init": options.log_std}
    if options.algo == "recurrent_ppo":  # one LSTM, which the critic reads too: half the work
        shape |= {"lstm_hidden_size": options.lstm, "enable_critic_lstm": False, "shared_lstm": True}
    given = {name: getattr(options, name) for name in ("n_steps", "gae_lambda", "seed", "device")}
    if options.algo != "a2c":
        given |= {"batch_size": options.batch_size, "n_epochs": options.n_epochs}
    given |= {"ent_coef": options.entropy, "learning_rate": sb3_training.falling(options.learning_rate), "policy_kwargs": shape}
    model = kind(policy, venv, gamma=1.0, stats_window_size=20 * options.num_envs, **given)
    if options.action != "multidiscrete":
        with torch.no_grad():
            model.policy.action_net.bias[STOP] = options.stop_bias
    return model


def check(options: Sb3Options) -> None:
    """Refuse options that cannot be used together."""
    distributed.refuse("sb3_ppo.py")
    environments.check_split(options.split)
    if options.total_steps < 1:
        raise ValueError(f"--total-steps {options.total_steps}: expected at least 1")
    if not 0 <= options.look_first < 1:
        raise ValueError(f"--look-first {options.look_first}: expected a share of the steps in [0, 1)")


def main(options: Sb3Options) -> dict[str, Any]:
    """Train, evaluate once, write the results; return their row."""
    out = options.out or Path("runs") / checkpoint.run_name(f"sb3_{options.algo}", options.dataset, options.split, options.seed)
    options = terminal.prepare(options)
    torch.manual_seed(options.seed)
    with terminal.foreseen("sb3_ppo.py"):
        from glimpse_env.adapters import policy, sb3_training  # says which extra to install

        check(options)
        plan = planned(options, out)
        model = algorithm(options, plan)
    with terminal.interruptible(f"{out} holds model.zip, and classifier.pt where one learns, as last recorded; go on with --resume"):
        left = max(0, options.total_steps - model.num_timesteps)
        model.learn(left, callback=sb3_training.Watch(plan), reset_num_timesteps=False)
    libraries = ("stable-baselines3", "sb3-contrib")
    return policy.report(out, plan.identity, sb3_training.agent_of(plan, model), plan.progress, plan.venv.core.device, libraries)


if __name__ == "__main__":
    main(tyro.cli(Sb3Options, description=__doc__))
