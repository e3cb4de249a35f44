"""RAM: a recurrent network learns where to look (Mnih et al. 2014), as trained by Li et al. 2017.

    python agents/ram_reinforce.py                    # MNIST on a CPU, minutes
    python agents/ram_reinforce.py --long             # half an hour on two cores
    python agents/ram_reinforce.py --paper            # the papers' own settings

Every image gets the same number of glimpses. Read on in glimpse_env: training/rollout.py collects episodes,
training/reinforce.py has the losses' formulas and networks/recurrent_attention.py the network.

The default settings deviate from the papers; docs/paper.md compares them, and `--paper`, setting by setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor

from glimpse_env import GlimpseVectorEnv, datasets, rewards
from glimpse_env.evaluation.validation import Validation
from glimpse_env.networks import recurrent_attention
from glimpse_env.networks.base import Agent
from glimpse_env.networks.fixed_policies import Uniform, build_unlearned
from glimpse_env.networks.location_policy import Bound, LearnedName, LocationPolicy
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.networks.trunk import TrunkEncoder
from glimpse_env.reports import results
from glimpse_env.sensors import Mapped
from glimpse_env.training import optimizers, reinforce, resume
from glimpse_env.training.augment import Changes, renew
from glimpse_env.training.command_line import parse
from glimpse_env.training.environments import build_environment, compile_update, count_glimpse_values
from glimpse_env.training.options import (
    NetworkOptions,
    TrainedBackbone,
    Training,
    TrainingOptions,
    check_backbone,
)
from glimpse_env.training.rollout import Behaviour, Rollout, collect, summarise
from glimpse_env.training.trainer import Run

AGENT = "ram_reinforce"


@dataclass(frozen=True)
class RamNetworkOptions(NetworkOptions):
    """The recurrent network."""

    core: recurrent_attention.Core = "rnn"
    """Core, the memory: rnn (a ReLU layer, as in the paper), lstm (four times the computation), or
    transformer (two layers of attention to all glimpses so far)."""
    features: int = 192
    """Units of the glimpse encoder and of the location encoding."""
    encoder_layers: int = 3
    """Number of ReLU layers of the glimpse encoder; 0 = its features are the glimpse's own values."""
    glimpse_encoder: recurrent_attention.GlimpseEncoder = "mlp"
    """Encoder of the pixels: fully connected layers (mlp), convolutions too (conv, larger glimpses), or
    templates that are compared with every position (templates, for patterns of one size at any place)."""
    template: int = 14
    """Width of the templates in pixels of the image, for --glimpse-encoder templates: the pattern's, or a
    little more."""
    skip_connection: bool = False
    """Connect glimpse features to the class scores directly; it helps where informative glimpses are rare."""
    locator: recurrent_attention.LocatorName = "state"
    """What proposes the next location: a linear layer on the recurrent state (state, as in the papers), or a
    score map (map, after FCAN) over the first view's pixels, or over its feature map where a sensor runs a
    network; it generalises over positions."""
    location_policy: LearnedName = "gaussian"
    """Distribution of learned locations: a Gaussian around the proposed one (gaussian), or a softmax over the
    cells of a --grid (grid_softmax; with --explore 0.4, or it may settle before the classes are learned)."""
    location_bound: Bound = "tanh"
    """What keeps a Gaussian's mean inside the range: tanh, or hardtanh (DT-RAM's code), which clamps."""
    scores: recurrent_attention.Scores = "state"
    """Class scores of a prediction: those of the current state (state), or the mean of all so far (mean)."""
    location_encoding: recurrent_attention.LocationEncoding = "fourier"
    """Fourier features that multiply the glimpse features (fourier), a linear layer (linear, as in the papers
    on MNIST), or none: the core reads the glimpse features alone (none, as in DT-RAM on photographs)."""
    learned_start: bool = False
    """Learn the location of the first glimpse (DT-RAM's code) instead of starting at the centre."""
    initial_weights: recurrent_attention.InitialWeights = "torch"
    """Weights at the start: torch's own (torch), or all uniform in +-0.1 (uniform, DT-RAM's code)."""


@dataclass(frozen=True)
class RamTrainingOptions(TrainedBackbone, TrainingOptions):
    """Length, batches, losses and optimiser of the training."""

    long: bool = False
    """Use the longer, more accurate settings as defaults (half an hour on two CPU cores)."""


@dataclass(frozen=True)
class Options(RamNetworkOptions, RamTrainingOptions, Training):
    """Options of RAM."""


# Recipes: what differs from the defaults. Version 0.1's, from which the recipes of other data sets start:
FORMER: dict[str, Any] = (
    dict(epochs=40, samples=2, curriculum=0.3, sure=1.0, augment_shift=1 / 14, learning_rate=2e-3)
    | dict(reward="confidence", policy_weight=0.3, baseline="learned", location_discount=1.0)
    | dict(sigma_start=0.15, sigma_end=0.05, hidden=256, muon_rate=0.01)
)
LSTM: dict[str, Any] = FORMER | dict(core="lstm", features=256)
LONG: dict[str, Any] = dict(epochs=120, hidden=256, features=256, sure=0.995) | dict(
    augment_shift=1 / 14, augment_elastic=0.025
)
# Digits on a canvas: new images in every epoch, so a wider network; digits are not shifted on their own.
CANVAS: dict[str, Any] = dict(epochs=40, hidden=320, features=320, sure=0.99) | dict(
    augment_shift=0.0, augment_elastic=0.025
)
# Few photographs, features of a frozen network: mean scores, dropout, and the decrease of the loss as reward.
PHOTOGRAPHS: dict[str, Any] = LSTM | (
    dict(epochs=80, batch=100, samples=4, curriculum=0.0, explore=0.3, label_smoothing=0.1, augment=False)
    | dict(optimizer="adamw", learning_rate=1e-3, weight_decay=0.1, reward="information_gain")
    | dict(encoder_layers=1, location_encoding="linear", scores="mean", dropout=0.5)
    | dict(sigma_start=0.5, sigma_end=0.2, augment_flip=True)
)
# Informative glimpses are rare: templates search wide windows; the classes are learned at random locations
# first, then the locations, from a uniform softmax over cells on.
CLUTTER: dict[str, Any] = (
    dict(glimpse_size=24, scales=(2.0,), first_view="glimpse", glimpse_encoder="templates", encoder_layers=1)
    | dict(hidden=256, features=256, scores="mean", skip_connection=True, curriculum=0.0, sure=1.0)
    | dict(location_policy="grid_softmax", policy_weight=1.0, explore=0.3)
    | dict(epochs=24, augment_shift=0.0)
)
# Few images of low contrast and short moves: templates subtract a glimpse's mean and enlarge the rest, and
# displacements are drawn widely.
SHAPES: dict[str, Any] = dict(
    glimpse_encoder="templates", template=3, encoder_layers=2, epochs=250, batch=128, augment=False
) | dict(curriculum=0.0, explore=0.4, sure=1.0, location_discount=0.9, sigma_start=0.8, sigma_end=0.4)
DATASETS = datasets.expand_kinds(
    {"canvas": CANVAS, "clutter": CLUTTER, "shapes": SHAPES, "photographs": PHOTOGRAPHS}
)
# The papers' settings; docs/paper.md has the section of each, and what differs even so. Li et al. 2017,
# section 4.2, and their code where the paper is silent. Eq. 8 sums the cross-entropies of 7 steps; here their
# mean is taken, so a policy_weight of 1/7 keeps the proportion of the two losses. The library of their code
# multiplies gradients by 0.1 in a momentum of 0.9, torch does not: its rate of 0.01 is 0.01 * 7 * 0.1 here.
# With its hardtanh and initial weights the locations end in a corner.
PAPER_RAM: dict[str, Any] = dict(
    split="train", curriculum=0.3, sure=1.0, reward="delayed", baseline="learned", location_discount=1.0
) | dict(optimizer="sgd", warm_up=0, max_grad_norm=0.0, precision="float32")
PAPER_MNIST: dict[str, Any] = PAPER_RAM | (
    dict(epochs=800, batch=20, learning_rate=0.007, policy_weight=1 / 7, augment=False)
    | dict(hidden=256, features=128, encoder_layers=1, location_encoding="linear", learned_start=True)
    | dict(sigma_start=0.22, sigma_end=0.22)
)
# A 448 x 448 crop of the 512 x 512 image, then 224 x 224 glimpses; features of a network that
# `finetune_backbone.py --paper` tuned go straight into the recurrent layer. The paper has no Dogs.
PAPER_PHOTOGRAPHS: dict[str, Any] = PAPER_RAM | (
    dict(first_crop=448 / 512, view_size=448, epochs=90, batch=28, learning_rate=1e-3, schedule="step")
    | dict(hidden=512, encoder_layers=0, location_encoding="none", policy_weight=1 / 3)
    | dict(sigma_start=0.24, sigma_end=0.24)
)
PAPER = {"mnist": PAPER_MNIST} | datasets.expand_kinds({"photographs": PAPER_PHOTOGRAPHS})
RECIPES = {"paper": PAPER, "long": {"mnist": LONG}}


def losses(rollout: Rollout, options: Training, sampled_stops: bool = False) -> dict[str, Tensor]:
    """Return RAM's losses: cross-entropy of the class scores, and REINFORCE (Li et al. 2017, Eq. 6 and 8).

    With `sampled_stops` the same returns train DT-RAM's stop head (Eq. 5), and they are not discounted, since
    its reward comes at the end.
    """
    discount = 1.0 if sampled_stops else options.location_discount
    advantages = reinforce.advantages(rollout, options.samples, options.baseline, discount)
    running, moved = rollout.active[:-1], (rollout.active & ~rollout.stopped)[:-1]
    policy = reinforce.policy_loss(rollout.location_log_prob[:-1], advantages.location, moved)
    policy = policy - (rollout.first_log_prob * advantages.first).mean()
    if sampled_stops:
        stop_log_prob = reinforce.bernoulli_log_prob(rollout.stop_logits[:-1], rollout.stopped[:-1])
        policy = policy + reinforce.policy_loss(stop_log_prob, advantages.stop, running)
    predicted = rollout.logits, rollout.labels, rollout.active
    supervision = reinforce.supervision_loss(*predicted, options.supervision, options.label_smoothing)
    parts = {"classification": supervision, "policy": options.policy_weight * policy}
    if options.samples == 1 and options.baseline == "learned" and len(rollout.rewards) > 1:
        target = reinforce.return_after_decision(rollout, discount)
        parts["baseline"] = reinforce.baseline_loss(rollout.baseline[:-1], target, running)
    return parts


def behaviour(options: Training, progress: float, horizon: int, policy: LocationPolicy) -> Behaviour:
    """Return the behaviour after a fraction of the training: more and more glimpses, narrower locations."""
    glimpses = horizon
    if progress < options.curriculum:  # one more at a time (DT-RAM, section 3.4)
        glimpses = min(horizon, 1 + int(progress / options.curriculum * horizon))
    if options.policy == "learned" and progress < options.explore:
        return Behaviour(glimpses, Uniform(policy.axes), sure=options.sure)
    narrowed = (progress - options.explore) / max(1 - options.explore, 1e-6)
    sigma = options.sigma_start + (options.sigma_end - options.sigma_start) * narrowed
    return Behaviour(glimpses, policy.narrow(sigma), sure=options.sure)


def train(run: Run, env: GlimpseVectorEnv, network: Agent, validation: Validation) -> None:
    """Train the location policy and the classifier."""
    options, horizon = run.options, env.preset.max_glimpses
    unlearned = build_unlearned(options.policy, env.preset.grid, env.preset.axes)
    policy = unlearned or network.location_policy
    optimizer = optimizers.build_optimizer(network, options)
    env.reward = rewards.make(options.reward)
    network.decides = False  # the stop head is not trained here, so it is not computed
    for epoch in run.epochs(options.epochs, "look", optimizer):
        network.train()
        renew(env, epoch.generator, Changes.of(options))
        for images in epoch.batches(len(env.images), options.batch, options.samples):
            acting = behaviour(options, epoch.progress, horizon, policy)
            rollout = collect(env, network, acting, epoch.generator, images, run.precision)
            loss = optimizer.update(losses(rollout, options), epoch.warm_up)
            epoch.log({"loss": loss, **summarise(rollout)})
        glimpses = behaviour(options, epoch.progress, horizon, policy).steps
        epoch.add(validation(network, glimpses, run.precision))
    network.decides = True


def build_network(
    env: GlimpseVectorEnv,
    options: Options,
    stop: Mapping[str, Any] = MappingProxyType({}),
    start: dict | None = None,
) -> RecurrentAttention:
    """Return a new network for what the environment shows; with a RAM's checkpoint (`start`), its network.

    `stop`: fields of `Architecture` that are the stop head's.

    Raises:
        ValueError: The sensor does not serve the locator, or the checkpoint is of another kind of data.
    """
    sensor = env.sensor
    if options.locator == "map" and not (sensor.whole_first and sensor.reach):
        raise ValueError(
            "--locator map scores the first view: it needs --first-view image, and glimpses smaller than the "
            "image"
        )
    if options.learned_start and sensor.whole_first:
        raise ValueError(
            "--learned-start chooses the location of glimpse 1, but glimpse 1 shows the whole image: "
            "use --first-view glimpse"
        )
    shown: dict[str, Any] = {"glimpse": count_glimpse_values(env), "classes": len(env.images.classes)}
    shown |= {"horizon": env.preset.max_glimpses, **stop}
    if start is not None:  # its architecture counts, not that of the options; the stop head is new
        return resume.start_from(start, shown)
    both = RamNetworkOptions.__dataclass_fields__.keys() & Architecture.__dataclass_fields__.keys()
    shown |= {name: getattr(options, name) for name in both}
    shown |= {"reach": sensor.reach, "channels": (sensor.space["glimpse"].shape or (1,))[0]}
    shown |= {"backbone": options.backbone if options.train_backbone else None}
    if options.glimpse_encoder == "templates":
        side = (sensor.space["glimpse"].shape or (1,))[-1]
        shown["templates"] = tuple(round(options.template * side / window) for window in sensor.windows)
    if options.locator == "map" and isinstance(sensor, Mapped):
        shown["map_shape"] = sensor.view_maps.shape[:2]
    network = RecurrentAttention(Architecture(**shown, grid=env.preset.grid, axes=env.preset.axes))
    if isinstance(network.glimpse.what, TrunkEncoder):
        network.glimpse.what.trunk.load(options.weights)
    return network


def main(options: Options) -> dict[str, Any]:
    """Train RAM, evaluate it once, and return the row of the result."""
    with Run.open(AGENT, options, check_backbone) as run:
        options = run.options
        env = build_environment(options, run.saved)
        network = build_network(env, options).to(env.device)
        run.start(network, resume.describe(AGENT, options, env, network), env.device)
        compile_update(env, network, options)
        train(run, env, network, Validation(env, options))
        run.finish()
        return results.write(run.checkpoint, device=options.device)


if __name__ == "__main__":
    main(parse(Options, RECIPES, DATASETS, __doc__ or ""))
