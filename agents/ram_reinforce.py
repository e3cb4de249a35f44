"""RAM: a recurrent network learns where to look, with a fixed number of glimpses (Mnih et al. 2014, as trained by Li et al. 2017).

    python agents/ram_reinforce.py                    # MNIST on a CPU, minutes
    python agents/ram_reinforce.py --long             # half an hour on two cores
    python agents/ram_reinforce.py --paper            # the papers' own settings

Read on in glimpse_env: training/rollout.py collects episodes, training/reinforce.py has the losses' formulas and
networks/recurrent_attention.py the network.

Deviations of the default settings from the papers, each undone by `--paper`: glimpse features gated by Fourier features of the location,
small affine augmentation, a regression on the present p(label) as baseline, the gain in p(label) of every glimpse as reward, later glimpses
only while the prediction is uncertain, a narrowing location policy, Muon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from glimpse_env import GlimpseVectorEnv, rewards
from glimpse_env.evaluation.validation import Validation
from glimpse_env.networks.base import Agent
from glimpse_env.networks.fixed_policies import Uniform, build_unlearned
from glimpse_env.networks.location_policy import LearnedName, LocationPolicy
from glimpse_env.networks.recurrent_attention import (
    Architecture,
    Core,
    GlimpseEncoder,
    LocationEncoding,
    LocatorName,
    RecurrentAttention,
    Scores,
    StopInput,
)
from glimpse_env.reports import results
from glimpse_env.sensors import shows_pixels
from glimpse_env.training import optimizers, reinforce, resume
from glimpse_env.training.augment import vary
from glimpse_env.training.environments import build_environment, count_glimpse_values
from glimpse_env.training.options import NetworkOptions, Training, TrainingOptions, check_training, parse
from glimpse_env.training.recipes import DATASETS, LONG, PAPER
from glimpse_env.training.rollout import Behaviour, Rollout, collect, summarise
from glimpse_env.training.trainer import Run

AGENT = "ram_reinforce"
RECIPES = {"paper": PAPER, "long": LONG}


@dataclass(frozen=True)
class RamNetworkOptions(NetworkOptions):
    """The recurrent network."""

    core: Core = "rnn"
    """Recurrent core: rnn (a ReLU layer, as in the paper), or lstm (four times the computation)."""
    features: int = 192
    """Units of the glimpse encoder and of the location encoding."""
    encoder_layers: int = 3
    """Number of ReLU layers of the glimpse encoder."""
    glimpse_encoder: GlimpseEncoder = "mlp"
    """Encoder of the pixels: fully connected layers (mlp), or these and convolutions (conv, for larger glimpses such as clutter's)."""
    skip_connection: bool = False
    """Add a direct connection from the glimpse features to the class scores; it helps where informative glimpses are rare."""
    locator: LocatorName = "state"
    """What proposes the next location: a linear layer on the recurrent state (state, as in the papers), or a score map over the pixels of
    the first view (map, FCAN's spatial softmax), which generalises over positions."""
    location_policy: LearnedName = "gaussian"
    """Distribution of learned locations: a Gaussian around the location that the network proposes (gaussian), or a softmax over the cells
    of a grid with --grid cells per side (grid_softmax). Use grid_softmax with --explore 0.4: otherwise it may converge to one cell before
    the classes are learned."""
    scores: Scores = "state"
    """Class scores of a prediction: those of the current state (state), or the mean of all scores so far (mean)."""
    location_encoding: LocationEncoding = "fourier"
    """Encoding of the location: Fourier features that multiply the glimpse features (fourier), or a linear layer (linear, the paper's)."""
    learned_start: bool = False
    """Learn the location of the first glimpse (DT-RAM's code) instead of starting at the centre."""


@dataclass(frozen=True)
class RamTrainingOptions(TrainingOptions):
    """Length, batches, losses and optimiser of the training."""

    long: bool = False
    """Use the longer, more accurate settings as defaults (half an hour on two CPU cores)."""


@dataclass(frozen=True)
class Options(RamNetworkOptions, RamTrainingOptions, Training):
    """Options of RAM."""


def losses(rollout: Rollout, options: Training, sampled_stops: bool = False) -> dict[str, Tensor]:
    """Return RAM's losses: cross-entropy of the class scores, and REINFORCE for the locations (Li et al. 2017, Eq. 6 and 8).

    Args:
        rollout: The collected episodes.
        options: Weights, baseline and supervision.
        sampled_stops: Train the stop head by the same returns (DT-RAM's losses with `--stop-gradient sampled`, Eq. 5); its reward comes at
            the end, so returns are not discounted.
    """
    discount = 1.0 if sampled_stops else options.location_discount
    advantages = reinforce.advantages(rollout, options.samples, options.baseline, discount)
    running, moved = rollout.active[:-1], (rollout.active & ~rollout.stopped)[:-1]
    policy = reinforce.policy_loss(rollout.location_log_prob[:-1], advantages.location, moved)
    policy = policy - (rollout.first_log_prob * advantages.first).mean()
    if sampled_stops:
        stop_log_prob = reinforce.bernoulli_log_prob(rollout.stop_logits[:-1], rollout.stopped[:-1])
        policy = policy + reinforce.policy_loss(stop_log_prob, advantages.stop, running)
    parts = {
        "classification": reinforce.supervision_loss(
            rollout.logits, rollout.labels, rollout.active, options.supervision, options.label_smoothing
        ),
        "policy": options.policy_weight * policy,
    }
    if options.samples == 1 and options.baseline == "learned" and len(rollout.rewards) > 1:
        target = reinforce.return_after_decision(rollout, discount)
        parts["baseline"] = reinforce.baseline_loss(rollout.baseline[:-1], target, running)
    return parts


def behaviour(options: Training, progress: float, horizon: int, policy: LocationPolicy) -> Behaviour:
    """Return the behaviour after a fraction of the training: a growing number of glimpses (curriculum), a narrowing location policy."""
    glimpses = horizon
    if progress < options.curriculum:  # one more at a time (DT-RAM, section 3.4)
        glimpses = min(horizon, 1 + int(progress / options.curriculum * horizon))
    if options.policy == "learned" and progress < options.explore:
        return Behaviour(glimpses, Uniform(), sure=options.sure)
    narrowed = (progress - options.explore) / max(1 - options.explore, 1e-6)
    sigma = options.sigma_start + (options.sigma_end - options.sigma_start) * narrowed
    return Behaviour(glimpses, policy.narrow(sigma), sure=options.sure)


def train(run: Run, env: GlimpseVectorEnv, network: Agent, validation: Validation) -> None:
    """Train the location policy and the classifier."""
    options, horizon = run.options, env.preset.max_glimpses
    policy = build_unlearned(options.policy, env.preset.grid) or network.location_policy
    optimizer = optimizers.build_optimizer(network, options)
    env.reward = rewards.make(options.reward)
    network.decides = False  # the stop head is not trained here, so it is not computed
    for epoch in run.epochs(options.epochs, "look", optimizer):
        network.train()
        if options.augment:
            vary(env, epoch.generator, options.augment_shift)
        for images in epoch.batches(len(env.images), options.batch, options.samples):
            acting = behaviour(options, epoch.progress, horizon, policy)
            rollout = collect(env, network, acting, epoch.generator, images, run.precision)
            loss = optimizer.update(losses(rollout, options), epoch.warm_up)
            epoch.log({"loss": loss, **summarise(rollout)})
        epoch.add(
            validation(network, behaviour(options, epoch.progress, horizon, policy).steps, run.precision)
        )
    network.decides = True


def build_network(
    env: GlimpseVectorEnv,
    options: Options,
    stop_input: StopInput = "confidence",
    start: dict[str, Any] | None = None,
) -> RecurrentAttention:
    """Return a new network for what the environment shows, or the one of a checkpoint with a new stop head.

    Args:
        env: The environment.
        options: Sizes of a new network.
        stop_input: What the stop head reads.
        start: A RAM's checkpoint; its architecture counts, not that of the options.

    Raises:
        ValueError: The sensor does not serve the locator, or the checkpoint is of another kind of data.
    """
    if options.locator == "map" and not (
        env.sensor.whole_first and shows_pixels(env.sensor) and env.sensor.reach
    ):
        raise ValueError(
            "--locator map scores the pixels of the first view: it needs --sensor pixel, --first-view image, and "
            "glimpses smaller than the image"
        )
    if options.learned_start and env.sensor.whole_first:
        raise ValueError(
            "--learned-start chooses the location of glimpse 1, but glimpse 1 shows the whole image: use --first-view glimpse"
        )
    shown = {
        "glimpse": count_glimpse_values(env),
        "classes": len(env.images.classes),
        "horizon": env.preset.max_glimpses,
        "stop_input": stop_input,
    }
    if start is not None:
        return resume.start_from(start, shown)
    architecture = Architecture(
        **shown,
        **{name: getattr(options, name) for name in RamNetworkOptions.__dataclass_fields__},
        reach=env.sensor.reach,
        channels=(env.sensor.space["glimpse"].shape or (1,))[0],
        grid=env.preset.grid,
    )
    return RecurrentAttention(architecture)


def main(options: Options) -> dict[str, Any]:
    """Train RAM, evaluate it once, and return the row of the result."""
    with Run.open(AGENT, options, check_training) as run:
        options = run.options
        env = build_environment(options, run.saved)
        network = build_network(env, options).to(env.device)
        run.start(network, resume.describe(AGENT, options, env, network), env.device)
        train(run, env, network, Validation(env, options))
        run.finish()
        return results.write(run.checkpoint, device=options.device)


if __name__ == "__main__":
    main(parse(Options, RECIPES, DATASETS, __doc__ or ""))
