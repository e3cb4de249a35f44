"""What the localisers are paid and what training minimises, J = R - lambda L of FCAN (section 3.3), without loops over rows or samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from glimpse_env import Delayed, Reward, Transition
from glimpse_env.networks import fcan
from glimpse_env.networks.fcan import TINY, FullyConvolutionalAttention
from glimpse_env.training import reinforce


@dataclass(frozen=True)
class Trial:
    """How places are tried."""

    samples: int  # K, places drawn for each part of an image
    reward: Reward
    dropout: float = 0.0  # share of the features that the classifiers learn without
    learned: bool = True  # places come from the score maps, which are paid for them
    precision: torch.dtype = torch.float32  # of the localisers' convolutions; losses are compared, so classifiers keep single precision


@dataclass(frozen=True)
class Tried:
    """Sampled places of every part, and what they were worth. A row is one sample of one image: row = image * samples + sample."""

    log_prob: Float[Tensor, "part row"]  # of the place drawn
    logits: Float[Tensor, "step row class"]  # of each step's own classifier; step 0 is the whole image
    labels: Int64[Tensor, " row"]
    rewards: Float[Tensor, "step row"]  # of each step's answer
    correct: Bool[Tensor, "step row"]
    entropy: Float[Tensor, " part"]  # of the score maps' distributions, nats, mean over images


def draw(
    network: FullyConvolutionalAttention, log_probs: list[Float[Tensor, "image place"]], samples: int, generator: torch.Generator
) -> list[Int64[Tensor, "image sample"]]:
    """Return places of each part, drawn by its location policy."""
    return [policy.sample(log_prob, generator, samples=samples) for policy, log_prob in zip(network.policies, log_probs, strict=True)]


def attempt(
    network: FullyConvolutionalAttention,
    maps: Float[Tensor, "image channel rows columns"],
    labels: Int64[Tensor, " image"],
    trial: Trial,
    generator: torch.Generator,
) -> Tried:
    """Draw places of every part in every image, classify there, and ask the reward what they were worth.

    Dropout acts on what the classifiers learn from, not on what is paid for.
    """
    a = network.architecture
    features = network.standardised(maps)
    samples = trial.samples
    with torch.autocast(features.device.type, trial.precision, enabled=trial.precision != torch.float32):
        log_probs = network.attend(features) if trial.learned else network.flat(len(maps))
    drawn = draw(network, log_probs, samples, generator)
    regions = [features.mean((2, 3))[:, None].expand(-1, samples, -1)]
    for part, place in zip(a.parts, drawn, strict=True):
        regions.append(fcan.pooled(features, place, part))
    seen = torch.stack(regions, 2)  # (image, sample, step, channel)
    dropped = F.dropout(seen, trial.dropout, network.training)
    rows = labels.repeat_interleave(samples)
    logits = torch.stack([network.scores(step, dropped).flatten(0, 1) for step in range(network.horizon)])
    with torch.no_grad():
        plain = torch.stack([network.scores(step, seen).flatten(0, 1) for step in range(network.horizon)]) if trial.dropout else logits
        paid, correct = payments(plain.detach(), rows, trial.reward)
    chosen = [policy.log_prob(*choice).flatten() for policy, *choice in zip(network.policies, log_probs, drawn, strict=True)]
    entropy = torch.stack([-(log_prob.exp() * log_prob).sum(1).mean() for log_prob in log_probs]).detach()
    return Tried(torch.stack(chosen), logits, rows, paid, correct, entropy)


def payments(
    logits: Float[Tensor, "step row class"], labels: Int64[Tensor, " row"], reward: Reward
) -> tuple[Float[Tensor, "step row"], Bool[Tensor, "step row"]]:
    """Return what the environment would pay for the answers, and which are right: the answer is the mean of the probabilities so far."""
    steps = len(logits)
    counted = torch.arange(1, steps + 1, device=logits.device)
    answers = logits.softmax(2).cumsum(0) / counted[:, None, None]
    loss = -answers[:, torch.arange(len(labels), device=labels.device), labels].clamp_min(TINY).log()
    before = torch.cat((torch.full_like(loss[:1], logits.shape[2]).log(), loss[:-1]))
    correct = answers.argmax(2) == labels
    paid = [
        reward(Transition((counted[t]).expand_as(labels), torch.full_like(correct[t], t == steps - 1), correct[t], loss[t], before[t]))
        for t in range(steps)
    ]
    return torch.stack(paid), correct


def losses(tried: Tried, trial: Trial, weight: float, baseline: bool, smoothing: float) -> dict[str, Tensor]:
    """Return -R (if places are learned) and lambda L.

    Every place is paid the reward of its own step (FCAN's greedy strategy: no decay, no later rewards); a delayed reward, which is 0
    before the end, is paid to all of them. With `baseline`, less the mean of the image's other samples; the paper has none.
    """
    returns = reinforce.returns_to_go(tried.rewards) if isinstance(trial.reward, Delayed) else tried.rewards
    advantage = (reinforce.leave_one_out(returns, trial.samples) if baseline else returns)[1:]
    steps = len(tried.logits)
    cross = F.cross_entropy(tried.logits.flatten(0, 1), tried.labels.repeat(steps), label_smoothing=smoothing)
    found = {"classification": weight * cross}
    if trial.learned:
        found["policy"] = reinforce.policy_loss(tried.log_prob, advantage, torch.ones_like(advantage, dtype=torch.bool))
    return found
