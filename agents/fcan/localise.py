"""The stage localise: learn where the parts are, on feature maps that were computed once (FCAN, section 5.1).

One head for each part scores every place of the part on the map; light classifiers on the same map give the
rewards. Read from top to bottom: sampling, rewards (Eq. 4, section 4.1), losses (section 4), the loop, what
later stages need of the trained network. A part's place is the number of its window on the feature map (see
networks/fcan.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from fcan import stage_files
from fcan.plan import AGENT, FcanOptions, Plan, build_environment, build_network, get_map_sensor
from glimpse_env import GlimpseVectorEnv, Transition, rewards
from glimpse_env.datasets import held_out
from glimpse_env.networks import fcan, registry
from glimpse_env.networks.fcan import TINY, FullyConvolutionalAttention
from glimpse_env.runtime import checkpoint, files
from glimpse_env.training import environments, reinforce, resume
from glimpse_env.training.optimizers import Optimizer
from glimpse_env.training.trainer import Run

Maps = Float[Tensor, "image channel rows columns"]
Places = Int64[Tensor, "image sample"]
CHUNK = 64  # images whose maps are read at a time outside of updates


@dataclass(frozen=True)
class Samples:
    """Sampled places of every part, and their rewards; row = image * samples + sample."""

    log_prob: Float[Tensor, "part row"]  # of the sampled place
    logits: Float[Tensor, "step row class"]  # of each step's own classifier; step 0 is the whole image
    labels: Int64[Tensor, " row"]
    rewards: Float[Tensor, "step row"]  # of each step
    correct: Bool[Tensor, "step row"]  # the mean of the probabilities so far predicts the label
    entropy: Float[Tensor, " part"]  # of the score maps' distributions, nats, mean over images


def draw_places(
    network: FullyConvolutionalAttention,
    log_probs: Sequence[Float[Tensor, "image place"]],
    samples: int,
    generator: torch.Generator,
) -> list[Places]:
    """Return places of each part, drawn by its location policy."""
    pairs = zip(network.policies, log_probs, strict=True)
    return [policy.sample(log_prob, generator, samples=samples) for policy, log_prob in pairs]


def sample(
    network: FullyConvolutionalAttention,
    maps: Maps,
    labels: Int64[Tensor, " image"],
    options: FcanOptions,
    generator: torch.Generator,
    precision: torch.dtype = torch.float32,
) -> Samples:
    """Sample places of every part in every image, classify there, and compute the rewards.

    Dropout acts on the features from which the classifiers learn, not on those that are rewarded. `precision`
    is of the localisers' convolutions; classifiers compute in float32, since their losses are compared.
    """
    features, learned = network.standardise(maps), options.policy == "learned"
    with torch.autocast(features.device.type, precision, enabled=precision != torch.float32):
        log_probs = network.attend(features) if learned else network.flat(len(maps))
    places = draw_places(network, log_probs, options.samples, generator)
    clean = pool_regions(network, features, places)
    dropped = F.dropout(clean, options.dropout, network.training)
    rows = labels.repeat_interleave(options.samples)
    logits = score_steps(network, dropped)
    with torch.no_grad():
        rewarded = score_steps(network, clean) if options.dropout else logits.detach()
        reward, correct = compute_rewards(rewarded, rows, options)
    choices = zip(network.policies, log_probs, places, strict=True)
    log_prob = torch.stack([policy.log_prob(*choice).flatten() for policy, *choice in choices])
    entropy = torch.stack([-(log_prob.exp() * log_prob).sum(1).mean() for log_prob in log_probs]).detach()
    return Samples(log_prob, logits, rows, reward, correct, entropy)


def pool_regions(
    network: FullyConvolutionalAttention, features: Maps, places: Sequence[Places]
) -> Float[Tensor, "image sample step channel"]:
    """Return the features of the whole image, and of each part at its places."""
    whole = features.mean((2, 3))[:, None].expand(-1, places[0].shape[1], -1)
    chosen = zip(places, network.architecture.parts, strict=True)
    return torch.stack((whole, *(fcan.pool(features, place, part) for place, part in chosen)), 2)


def score_steps(
    network: FullyConvolutionalAttention, regions: Float[Tensor, "image sample step channel"]
) -> Float[Tensor, "step row class"]:
    """Return the class scores of every step's own classifier."""
    return torch.stack([network.scores(step, regions).flatten(0, 1) for step in range(network.horizon)])


def compute_rewards(
    logits: Float[Tensor, "step row class"], labels: Int64[Tensor, " row"], options: FcanOptions
) -> tuple[Float[Tensor, "step row"], Bool[Tensor, "step row"]]:
    """Return the rewards of all steps (FCAN, Eq. 4), and which of the predictions so far are correct.

    The prediction after a step is the mean of the class probabilities of the steps so far. By default that is
    rewarded, which is what the environment does; with `rewarded="own"`, the step's own probabilities. With
    `first_reward="part"` the whole image is no step of Eq. 4: part 1 is the first, without a loss before it,
    and the whole image's reward, which nothing learns from, is 0.
    """
    steps, (probabilities, means) = len(logits), average_steps(logits)
    correct = means.argmax(2) == labels
    predictions = means if options.rewarded == "mean" else probabilities
    first = 0 if options.first_reward == "image" else 1
    row = torch.arange(len(labels), device=labels.device)
    loss = -predictions[first:, row, labels].clamp_min(TINY).log()
    before = torch.cat((torch.full_like(loss[:1], logits.shape[2]).log(), loss[:-1]))
    right = predictions[first:].argmax(2) == labels
    taken = torch.arange(1, steps + 1 - first, device=logits.device)[:, None].expand_as(right)
    last = torch.zeros_like(right)
    last[-1] = True
    reward = rewards.make(options.reward)
    given = [reward(Transition(*one)) for one in zip(taken, last, right, loss, before, strict=True)]
    return F.pad(torch.stack(given), (0, 0, first, 0)), correct


def average_steps(logits: Float[Tensor, "step row class"]) -> tuple[Tensor, Tensor]:
    """Return the class probabilities of every step, and after every step their mean so far."""
    probabilities = logits.softmax(2)
    count = torch.arange(1, len(logits) + 1, device=logits.device)
    return probabilities, probabilities.cumsum(0) / count[:, None, None]


def losses(samples: Samples, options: FcanOptions) -> dict[str, Tensor]:
    """Return L and, if places are learned, -R (FCAN, section 4: J = R - lambda L).

    There is no lambda: localisers learn from R and classifiers from L, they share no parameters, and the
    steps of RMSProp do not depend on the scale of a loss.

    Each place gets the reward of its own step (FCAN's greedy strategy: no decay, no later rewards); a delayed
    reward, which is 0 before the end, goes to all of them. With `--baseline` the mean of the image's other
    samples is subtracted; the paper has none.
    """
    labels = samples.labels.repeat(len(samples.logits))
    cross = F.cross_entropy(samples.logits.flatten(0, 1), labels, label_smoothing=options.label_smoothing)
    parts = {"classification": cross}
    if options.policy == "learned":
        returns = reinforce.returns_to_go(samples.rewards) if options.reward == "delayed" else samples.rewards
        advantage = (reinforce.leave_one_out(returns, options.samples) if options.baseline else returns)[1:]
        every = torch.ones_like(advantage, dtype=torch.bool)
        parts["policy"] = reinforce.policy_loss(samples.log_prob, advantage, every)
    return parts


def build_optimizer(network: FullyConvolutionalAttention, options: FcanOptions) -> Optimizer:
    """Return RMSProp without clipping (FCAN, section 5.1); its decay is torch's default."""
    parameters = list(network.parameters())
    return Optimizer([torch.optim.RMSprop(parameters, options.learning_rate)], parameters, clip=None)


def train(
    run: Run, env: GlimpseVectorEnv, network: FullyConvolutionalAttention, validation: GlimpseVectorEnv | None
) -> None:
    """Train localisers and classifiers on feature maps; measure their accuracy on those of `validation`."""
    options: FcanOptions = run.options
    optimizer = build_optimizer(network, options)
    labels = env.images.labels.to(env.device)
    for epoch in run.epochs(options.epochs, "localise", optimizer):
        network.train()
        for index in epoch.batches(len(labels), options.batch, drop_last=False):
            maps = read_maps(env, index)
            samples = sample(network, maps, labels[index], options, epoch.generator, run.precision)
            parts = losses(samples, options)
            measures = {
                "loss": optimizer.update(parts, epoch.warm_up),
                "classification": parts["classification"].detach(),
                "reward": samples.rewards.sum(0).mean(),
                "reward_of_parts": samples.rewards[1:].mean(),
                "train_accuracy": samples.correct[-1].float().mean(),
                "entropy": samples.entropy.mean(),
            }
            epoch.log(measures)
        epoch.add({"mean_glimpses": float(network.horizon)})
        if validation is not None:
            epoch.add({"validation_accuracy": measure_accuracy(network, validation)})


class LocaliseRun(Run):
    """A run that may be resumed after options of the other stages have changed.

    Checkpoints of earlier versions name the option `policy` otherwise, so `localise` compares the networks'.
    """

    compared = tuple(name for name in stage_files.OPTIONS["localise"] if name != "policy")


def localise(plan: Plan, weights: str) -> None:
    """Train where the parts are, and write checkpoint.pt, which evaluate.py reads."""
    resumed = plan.options.resume and (plan.out / "checkpoint.pt").is_file()
    given = replace(plan.options, out=plan.out, resume=resumed)
    with LocaliseRun.open(AGENT, given, alone=True) as run:
        env = build_environment(plan, weights)
        network = build_network(env, plan.options)
        identity = resume.describe(AGENT, replace(given, weights=weights), env, network)
        identity["options"] = checkpoint.plain(plan.options)
        start = time.monotonic()
        if run.saved is None:
            if plan.options.standardise:
                standardise(network, env)
            stage_files.begin(plan.out, "localise")
        else:
            resume.check_weights(run.saved, identity["environment"], run.checkpoint)
            if (policy := run.saved["architecture"]["where"]) != given.policy:
                same = "give the same options, or another --out"
                raise ValueError(f"--resume: {run.checkpoint} was made with --policy {policy}; {same}")
        run.start(network, identity, env.device, seconds=time.monotonic() - start)
        held = held_out(plan.learn)
        validation = None if held is None else load_environment(identity, held, env.device)
        train(run, env, network, validation)


def load_environment(saved: Mapping[str, Any], split: str, device: torch.device | str) -> GlimpseVectorEnv:
    """Return the environment of a checkpoint over the images of a split."""
    return environments.build_evaluation_environment(saved["environment"], split, device, rows=1)


def read_maps(env: GlimpseVectorEnv, index: Int64[Tensor, " image"]) -> Maps:
    """Return the cached feature maps of images."""
    return get_map_sensor(env).maps(index)


def split_images(env: GlimpseVectorEnv) -> Iterator[Int64[Tensor, " image"]]:
    """Yield the indices of all images of an environment in order, `CHUNK` at a time."""
    yield from torch.arange(len(env.images), device=env.device).split(CHUNK)


def standardise(network: FullyConvolutionalAttention, env: GlimpseVectorEnv) -> None:
    """Set the network's means and deviations of the channels, over all cells of the training images' maps."""
    count, first, second = 0, torch.zeros_like(network.centre), torch.zeros_like(network.centre)
    for index in split_images(env):
        maps = read_maps(env, index)
        count += maps[:, 0].numel()
        first += maps.sum((0, 2, 3))
        second += maps.square().sum((0, 2, 3))
    network.centre.copy_(first / count)
    network.deviation.copy_((second / count - network.centre.square()).clamp_min(1e-6).sqrt())


@torch.no_grad()
def measure_accuracy(network: FullyConvolutionalAttention, env: GlimpseVectorEnv) -> float:
    """Return the accuracy on an environment's images: that of episodes, but faster."""
    network.eval()
    correct = 0
    for index in split_images(env):
        maps = read_maps(env, index)
        places = network.best(maps).split(1, 1)  # one sample
        regions = pool_regions(network, network.standardise(maps), places)
        mean = score_steps(network, regions).softmax(2).mean(0)
        correct += (mean.argmax(1) == env.images.labels.to(index.device)[index]).sum()
    return float(correct) / len(env.images)


def load_network(plan: Plan, split: str) -> tuple[GlimpseVectorEnv, FullyConvolutionalAttention]:
    """Return the environment over a split and the trained network of checkpoint.pt, in evaluation mode."""
    saved = checkpoint.load(plan.out / "checkpoint.pt")
    env, network = load_environment(saved, split, plan.options.device), registry.rebuild(saved)
    assert isinstance(network, FullyConvolutionalAttention)
    return env, network.to(env.device).eval()


@torch.no_grad()
def load_places(plan: Plan, split: str) -> tuple[GlimpseVectorEnv, Int64[Tensor, "image part"]]:
    """Return an environment over a split and the most probable places of its parts.

    They are cached in a file, which is written again if it is another checkpoint's.
    """
    file = plan.out / f"places-{checkpoint.file_name(split)}.npz"
    env, network = load_network(plan, split)
    digest = stage_files.hash_file(plan.out / "checkpoint.pt")
    if file.is_file():
        with np.load(file) as saved:
            if str(saved["checkpoint"]) == digest and len(saved["places"]) == len(env.images):
                return env, torch.from_numpy(saved["places"])
    shown = tqdm(list(split_images(env)), desc="places", unit="batch", dynamic_ncols=True)
    places = torch.cat([network.best(read_maps(env, index)) for index in shown]).cpu()
    files.write_numpy(file, {"places": places.numpy(), "checkpoint": np.array(digest)})
    return env, places
