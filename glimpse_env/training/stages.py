"""The stages of the recurrent agents: learn to look (RAM), then learn to stop (DT-RAM)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from glimpse_env import Delayed, rewards
from glimpse_env.networks.base import Agent
from glimpse_env.networks.recurrent_attention import RecurrentAttention, StopInput
from glimpse_env.training import objectives, optimizers
from glimpse_env.training.environments import training_environment
from glimpse_env.training.options import Options, Training
from glimpse_env.training.rollout import Behaviour, Rollout
from glimpse_env.training.trainer import Losses, Stage


@dataclass(frozen=True)
class StopOptions(Options):
    """Options of agents that learn when to stop."""

    gamma: float = 0.995
    """Discount of the delayed reward: gamma^t for a right answer after t glimpses. Lower stops sooner."""
    stop_gradient: Literal["exact", "sampled"] = "exact"
    """exact: expected reward summed over all stopping times; sampled: REINFORCE on sampled stop decisions (the paper's)."""
    stop_input: StopInput = "confidence"
    """What the stop head reads: the answer's confidence and the step, or the recurrent state (the paper's)."""
    finetune: Literal["stop", "all"] = "stop"
    """What the second stage trains: the stop head on a frozen RAM, or the whole network (the paper's)."""
    stop_epochs: int = 2
    """Epochs of the second stage."""
    stop_rate: float | None = 0.01
    """Learning rate of the stop head where the rest is frozen (--finetune stop); None: --learning-rate."""
    stop_split: str | None = None
    """Images on which stopping is learned, such as validation; default: those of --split. A network may be too sure of images that it was
    trained on: held-out ones show how often it is right."""
    ram: Path | None = None
    """Checkpoint of a trained RAM to start from; the first stage is then skipped."""


def look_stage(options: Training, network: Agent, horizon: int) -> Stage:
    """Return the stage that trains where to look and what it is: glimpses grow one at a time, the location policy narrows."""
    steps = objectives.growing(horizon, options.curriculum)

    def behaviour(share: float) -> Behaviour:
        if options.policy == "learned" and share < options.explore:
            return Behaviour(steps(share), policy="random", sure=options.sure)
        narrowed = (share - options.explore) / max(1 - options.explore, 1e-6)
        sigma = options.sigma_start + (options.sigma_end - options.sigma_start) * narrowed
        return Behaviour(steps(share), sigma, policy=options.policy, sure=options.sure)

    return Stage(
        name="look",
        epochs=options.epochs,
        behaviour=behaviour,
        losses=looking_losses(options),
        measures=objectives.happened,
        optimizer=make_optimizer(network, options),
        reward=rewards.make(options.reward),
        decides=False,
    )


def stop_stage(options: StopOptions, network: RecurrentAttention, horizon: int) -> Stage:
    """Return the stage that trains when to stop, on a RAM that is frozen or trained along."""
    if options.finetune == "stop":
        network.requires_grad_(False)
        network.stopper.requires_grad_(True)
    exact = options.stop_gradient == "exact"
    look = looking_losses(options, decide=not exact)
    stop = objectives.stopping(options.gamma)

    def losses(rollout: Rollout) -> Losses:
        parts = {} if exact and options.finetune == "stop" else look(rollout)
        return parts | (stop(rollout) if exact else {})

    rate = (options.stop_rate if options.finetune == "stop" else None) or options.learning_rate
    other = None
    if options.stop_split is not None:
        other = training_environment(replace(options, split=options.stop_split, device=str(next(network.parameters()).device)), horizon)
    return Stage(
        name="stop",
        epochs=options.stop_epochs,
        behaviour=lambda _: Behaviour(horizon, options.sigma_end, "never" if exact else "sample", options.policy),
        losses=losses,
        measures=objectives.expected(options.gamma) if exact else objectives.happened,
        optimizer=make_optimizer(network, replace(options, learning_rate=rate)),
        reward=rewards.make(options.reward) if exact else Delayed(options.gamma),
        frozen=options.finetune == "stop",
        env=other,
    )


def looking_losses(options: Training, decide: bool = False) -> Callable[[Rollout], Losses]:
    """Return the losses of a RAM that the options describe; with `decide` also of its sampled stops."""
    discount = 1.0 if decide else options.location_discount  # the reward of sampled stops comes at the end
    return objectives.looking(
        options.samples,
        options.supervision,
        options.policy_weight,
        decide,
        options.label_smoothing,
        options.baseline,
        discount,
    )


def make_optimizer(network: Agent, options: Training) -> optimizers.Optimizer:
    """Return the optimiser that the options describe, for what is not frozen."""
    return optimizers.make(network, options.optimizer, options.learning_rate, options.muon_rate, options.weight_decay)
