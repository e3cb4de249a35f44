"""DT-RAM: a recurrent network learns where to look and when to stop (Li et al. 2017, arXiv 1703.10332).

    python agents/dtram_reinforce.py                  # MNIST on a CPU, minutes
    python agents/dtram_reinforce.py --long           # half an hour on two cores
    python agents/dtram_reinforce.py --paper          # the paper's own settings
    python agents/dtram_reinforce.py --ram runs/ram_reinforce-mnist-0/checkpoint.pt --gamma 0.98   # stop head for a trained RAM

Two stages, as in the paper: train a RAM with a growing number of glimpses (ram_reinforce.py), then train its stop head with a reward of
gamma^t for a correct prediction. Deviations of the default settings, each undone by `--paper`: those of ram_reinforce.py, and for
stopping the exact gradient over all stopping times, confidence features instead of the recurrent state, and a frozen RAM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import ram_reinforce
import torch
from torch import Tensor

from glimpse_env import Delayed, GlimpseVectorEnv, rewards
from glimpse_env.evaluation.validation import Validation
from glimpse_env.networks.fixed_policies import build_unlearned
from glimpse_env.networks.recurrent_attention import RecurrentAttention
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint
from glimpse_env.training import optimizers, reinforce, resume
from glimpse_env.training.augment import vary
from glimpse_env.training.environments import build_environment
from glimpse_env.training.options import StoppingOptions, check_training, parse
from glimpse_env.training.recipes import DATASETS, LONG, PAPER, PAPER_STOP
from glimpse_env.training.rollout import Behaviour, Rollout, collect, summarise
from glimpse_env.training.trainer import Run

AGENT = "dtram_reinforce"
RECIPES = {"paper": {name: recipe | PAPER_STOP for name, recipe in PAPER.items()}, "long": LONG}


@dataclass(frozen=True)
class StopOptions(ram_reinforce.Options, StoppingOptions):
    """Options of DT-RAM: RAM's and those of stopping."""


def losses(rollout: Rollout, options: StopOptions) -> dict[str, Tensor]:
    """Return the losses of the second stage.

    With `--stop-gradient sampled` RAM's losses and REINFORCE on the sampled stop decisions (Li et al. 2017, Eq. 5 to 8); with `exact` the
    negative expected reward over all stopping times, of trajectories that ran to the horizon, beside RAM's losses where RAM is trained.
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
        env = build_environment(
            replace(options, split=options.stop_split, device=str(env.device)), max_glimpses=horizon
        )
    rate = (options.stop_rate if frozen else None) or options.learning_rate
    optimizer = optimizers.build_optimizer(network, replace(options, learning_rate=rate))
    policy = build_unlearned(options.policy, env.preset.grid) or network.location_policy.narrow(
        options.sigma_end
    )
    behaviour = Behaviour(horizon, policy, "never" if exact else "sample")
    env.reward = rewards.make(options.reward) if exact else Delayed(options.gamma)
    for epoch in run.epochs(options.stop_epochs, "stop", optimizer):
        network.train(not frozen)  # a frozen network behaves as in evaluation: no dropout
        if options.augment:
            vary(env, epoch.generator, options.augment_shift)
        for images in epoch.batches(len(env.images), options.batch, options.samples):
            rollout = collect(env, network, behaviour, epoch.generator, images, run.precision)
            loss = optimizer.update(losses(rollout, options), epoch.warm_up)
            epoch.log(
                {
                    "loss": loss,
                    **(summarise_expected(rollout, options.gamma) if exact else summarise(rollout)),
                }
            )
        epoch.add(validation(network, horizon, run.precision))


@torch.no_grad()
def summarise_expected(rollout: Rollout, gamma: float) -> dict[str, Tensor]:
    """Return reward, accuracy and glimpses of an episode, every stopping time weighted with its probability."""
    probability = reinforce.stopping_probabilities(rollout.stop_logits)
    glimpses = torch.arange(1, len(probability) + 1, device=probability.device)[:, None]
    return {
        "reward": (probability * reinforce.discounted_correctness(rollout.correct, gamma)).sum(0).mean(),
        "train_accuracy": (probability * rollout.correct).sum(0).mean(),
        "mean_glimpses": (probability * glimpses).sum(0).mean(),
    }


def main(options: StopOptions) -> dict[str, Any]:
    """Train DT-RAM, evaluate it once, and return the row of the result."""
    with Run.open(AGENT, options, check_training) as run:
        options = run.options
        ram = None if options.ram is None else checkpoint.load(options.ram)
        env = build_environment(options, run.saved or ram)
        if ram is not None:
            resume.check_start(ram, options, env)
        network = ram_reinforce.build_network(env, options, options.stop_input, ram).to(env.device)
        identity = resume.describe(AGENT, options, env, network, dynamic=True)
        if ram is not None:
            identity["ram_sha256"] = checkpoint.digest(ram["network"])
        run.start(network, identity, env.device, seconds=ram["progress"]["seconds"] if ram else 0.0)
        validation = Validation(env, options)
        if ram is None:
            ram_reinforce.train(run, env, network, validation)
        train_stopping(run, env, network, validation)
        run.finish()
        return results.write(run.checkpoint, device=options.device)


if __name__ == "__main__":
    main(parse(StopOptions, RECIPES, DATASETS, __doc__ or ""))
