"""DT-RAM: a recurrent network learns where to look and when to stop (Li et al. 2017, arXiv 1703.10332).

    python agents/dtram_reinforce.py                  # MNIST on a CPU, minutes
    python agents/dtram_reinforce.py --long           # half an hour on two cores
    python agents/dtram_reinforce.py --paper          # the paper's own settings
    python agents/dtram_reinforce.py --ram runs/ram_reinforce-mnist-0/checkpoint.pt --gamma 0.98

Two stages, as in the paper: train a RAM with a growing number of glimpses (ram_reinforce.py; --ram: a trained
one), then train its stop head with a reward of gamma^t for a correct prediction. The default settings deviate
from the paper; docs/paper.md compares them, and `--paper`, setting by setting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import ram_reinforce
import torch
from ram_reinforce import CANVAS, CLUTTER, LONG, PHOTOGRAPHS, SHAPES
from torch import Tensor

from glimpse_env import Delayed, GlimpseVectorEnv, datasets, rewards
from glimpse_env.evaluation.validation import Validation
from glimpse_env.networks.fixed_policies import build_unlearned
from glimpse_env.networks.recurrent_attention import RecurrentAttention, StopInput
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import optimizers, reinforce, resume
from glimpse_env.training.augment import Changes, renew
from glimpse_env.training.command_line import parse
from glimpse_env.training.environments import build_environment, compile_update
from glimpse_env.training.options import check_backbone
from glimpse_env.training.rollout import Behaviour, Rollout, collect, summarise
from glimpse_env.training.trainer import Run

AGENT = "dtram_reinforce"


@dataclass(frozen=True)
class StoppingOptions:
    """Stopping: the second stage of DT-RAM."""

    gamma: float = 0.995
    """Discount: the reward of a correct prediction after t glimpses is gamma^t. Lower values stop sooner."""
    stop_gradient: Literal["exact", "sampled"] = "exact"
    """exact: expected reward over all stopping times; sampled: REINFORCE on sampled stops (the paper's)."""
    stop_input: StopInput = "confidence"
    """Input of the stop head: the prediction's confidence and the step, or the recurrent state (paper)."""
    stop_hidden: int = 64
    """Units of the stop head's hidden layer; 0 = the head is linear (paper)."""
    stop_clamp: float = 10.0
    """Largest absolute log-odds of stopping (10: DT-RAM's code); 0 = no limit (paper)."""
    finetune: Literal["stop", "all"] = "stop"
    """What the second stage trains: the stop head on a frozen RAM (stop), or all weights (all, paper)."""
    stop_epochs: int = 2
    """Number of epochs of the second stage."""
    stop_rate: float | None = 0.01
    """Learning rate of the stop head with --finetune stop; None = --learning-rate."""
    stop_split: str | None = None
    """Images on which stopping is learned, such as validation; default: --split. A network may be
    overconfident on the images that it was trained on; held-out images avoid that."""
    ram: Path | None = None
    """Checkpoint of a trained RAM to start from; the first stage (training RAM) is then skipped."""


@dataclass(frozen=True)
class StopOptions(ram_reinforce.Options, StoppingOptions):
    """Options of DT-RAM: RAM's and those of stopping."""


# Recipes: RAM's, and what differs from the defaults of stopping.
FORMER = dict(gamma=0.99, stop_epochs=6, stop_rate=None)
FEW = dict(gamma=0.98, stop_epochs=100, stop_rate=0.03)  # a held-out fold has few images, so few updates
# The paper's second stage trains everything, with the learning rates of the first. It states neither its
# length on MNIST nor gamma on photographs; its 90 epochs on photographs are those of each stage here.
PAPER_STOP: dict[str, Any] = dict(
    gamma=0.98, stop_gradient="sampled", stop_input="state", stop_hidden=0, stop_clamp=0.0
) | dict(finetune="all", stop_rate=None)
STOP_EPOCHS = {"mnist": 200} | datasets.expand_kinds({"photographs": 90})
DATASETS = datasets.expand_kinds(
    {
        "canvas": CANVAS,
        "clutter": CLUTTER | FORMER,
        "shapes": SHAPES | dict(gamma=0.99, stop_epochs=40),
        "photographs": PHOTOGRAPHS | FEW,
    }
)
PAPER = {
    name: recipe | PAPER_STOP | {"stop_epochs": STOP_EPOCHS[name]}
    for name, recipe in ram_reinforce.PAPER.items()
}
RECIPES = {"paper": PAPER, "long": {"mnist": LONG | dict(gamma=0.994)}}


def losses(rollout: Rollout, options: StopOptions) -> dict[str, Tensor]:
    """Return the losses of the second stage.

    `--stop-gradient sampled`: RAM's losses and REINFORCE on the sampled stops (Li et al. 2017, Eq. 5 to 8).
    `exact`: minus the expected reward over all stopping times, of trajectories that ran to the horizon,
    beside RAM's losses where RAM is trained.
    """
    if options.stop_gradient == "sampled":
        return ram_reinforce.losses(rollout, options, sampled_stops=True)
    parts = ram_reinforce.losses(rollout, options) if options.finetune == "all" else {}
    reward = reinforce.discounted_correctness(rollout.correct, options.gamma)
    return parts | {"stop": reinforce.exact_stop_loss(rollout.stop_logits, reward)}


def train_stopping(
    run: Run, env: GlimpseVectorEnv, network: RecurrentAttention, validation: Validation
) -> None:
    """Train the stop head, with the RAM frozen or trained too."""
    options, horizon = run.options, env.preset.max_glimpses
    exact, frozen = options.stop_gradient == "exact", options.finetune == "stop"
    if frozen:
        network.requires_grad_(False)
        network.stopper.requires_grad_(True)
    if options.stop_split is not None:
        held_out = replace(options, split=options.stop_split, device=str(env.device))
        env = build_environment(held_out, max_glimpses=horizon)
    rate = (options.stop_rate if frozen else None) or options.learning_rate
    optimizer = optimizers.build_optimizer(network, replace(options, learning_rate=rate))
    learned = network.location_policy.narrow(options.sigma_end)
    policy = build_unlearned(options.policy, env.preset.grid, env.preset.axes) or learned
    behaviour = Behaviour(horizon, policy, "never" if exact else "sample")
    env.reward = rewards.make(options.reward) if exact else Delayed(options.gamma)
    for epoch in run.epochs(options.stop_epochs, "stop", optimizer):
        network.train(not frozen)  # a frozen network behaves as in evaluation: no dropout
        renew(env, epoch.generator, Changes.of(options))
        for images in epoch.batches(len(env.images), options.batch, options.samples):
            rollout = collect(env, network, behaviour, epoch.generator, images, run.precision)
            loss = optimizer.update(losses(rollout, options), epoch.warm_up)
            summary = summarise_expected(rollout, options.gamma) if exact else summarise(rollout)
            epoch.log({"loss": loss, **summary})
        epoch.add(validation(network, horizon, run.precision))


@torch.no_grad()
def summarise_expected(rollout: Rollout, gamma: float) -> dict[str, Tensor]:
    """Return the expected reward, accuracy and glimpses of an episode over all stopping times."""
    probability = reinforce.stopping_probabilities(rollout.stop_logits)
    glimpses = torch.arange(1, len(probability) + 1, device=probability.device)[:, None]
    return {
        "reward": (probability * reinforce.discounted_correctness(rollout.correct, gamma)).sum(0).mean(),
        "train_accuracy": (probability * rollout.correct).sum(0).mean(),
        "mean_glimpses": (probability * glimpses).sum(0).mean(),
    }


def check_options(options: StopOptions) -> None:
    """Refuse invalid options."""
    check_backbone(options)
    if options.stop_split is not None:
        datasets.check_split(options.stop_split)


def main(options: StopOptions) -> dict[str, Any]:
    """Train DT-RAM, evaluate it once, and return the row of the result."""
    with Run.open(AGENT, options, check_options) as run:
        options = run.options
        ram = None if options.ram is None else checkpoint.load(options.ram)
        env = build_environment(options, run.saved or ram)
        if ram is not None:
            resume.check_start(ram, options, env)
        stop = {name: getattr(options, name) for name in ("stop_input", "stop_hidden", "stop_clamp")}
        network = ram_reinforce.build_network(env, options, stop, ram).to(env.device)
        identity = resume.describe(AGENT, options, env, network, dynamic=True)
        if ram is not None:
            identity["ram_sha256"] = checkpoint.digest(ram["network"])
        run.start(network, identity, env.device, seconds=ram["progress"]["seconds"] if ram else 0.0)
        compile_update(env, network, options)
        validation = Validation(env, options)
        if ram is None:
            ram_reinforce.train(run, env, network, validation)
        train_stopping(run, env, network, validation)
        run.finish()
        return results.write(run.checkpoint, device=options.device)


if __name__ == "__main__":
    main(parse(StopOptions, RECIPES, DATASETS, __doc__ or ""))
