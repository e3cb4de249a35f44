"""PPO in one file, in CleanRL's manner: a general algorithm on the torch interface of the environment.

    python agents/cleanrl_ppo.py                      # MNIST on a CPU, minutes
    python agents/cleanrl_ppo.py --discount 0.95      # stop sooner
    python agents/cleanrl_ppo.py --core transformer   # attention to all glimpses instead of an LSTM

Read from top to bottom: options, collect, advantages, losses, update, train. After CleanRL's
`ppo_atari_lstm.py` (Huang et al. 2022) and Schulman et al. 2017 (PPO, Eq. 7, 9 and 11); the network is
DT-RAM's recurrent one, so that `evaluate.py` and `predict.py` serve it.

Where to look (a Gaussian) and when to stop (a Bernoulli variable) are PPO's actions. The prediction is not:
as a continuous action with a 0/1 reward it is not learned (ap_gym, 2026). The label is in `info`, so the
class head is trained by the cross-entropy at every glimpse, and `prediction` is its softmax. The algorithm's
own gamma is 1 (and no option): the reward `Delayed` is discount^t, which includes the cost of a glimpse;
another gamma would count it twice.

Deviations from CleanRL: fixed standard deviation of the location; choices that the environment ignores (where
to look after stopping, both at the last glimpse) have no log-probability; no clipping of the value loss;
everything stays on the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from glimpse_env import Delayed, EpisodeStatistics, GlimpseVectorEnv
from glimpse_env.episode import split_location
from glimpse_env.networks.base import Heads, Memory
from glimpse_env.networks.location_policy import LocationPolicy
from glimpse_env.networks.recurrent_attention import Architecture, Core, RecurrentAttention
from glimpse_env.reports import results
from glimpse_env.runtime.precision import named
from glimpse_env.runtime.random_state import move_to, random_state, set_random_state
from glimpse_env.training import environments, resume
from glimpse_env.training.command_line import parse
from glimpse_env.training.options import Running, View
from glimpse_env.training.reinforce import bernoulli_log_prob
from glimpse_env.training.step_buffer import Now, Steps, restore, take_glimpse
from glimpse_env.training.trainer import Run

AGENT = "cleanrl_ppo"
LOG_EVERY = 10  # updates
MAX_NORM = 0.5  # of the gradient


@dataclass(frozen=True)
class PpoOptions:
    """PPO and its network."""

    total_steps: int = 2_000_000
    """Number of environment steps, summed over all rows."""
    envs: int = 512
    """Number of rows: episodes that run in parallel."""
    steps: int = 14
    """Steps of each row between two updates."""
    epochs: int = 2
    """Number of passes over the collected steps per update."""
    minibatches: int = 4
    """Minibatches per pass; each has whole rows, since the network is recurrent."""
    learning_rate: float = 2e-3
    """Learning rate of Adam; it decreases linearly."""
    discount: float = 0.99
    """The reward of a correct prediction after t glimpses is discount^t; lower values stop sooner."""
    gae_lambda: float = 0.95
    """Lambda of the generalised advantage estimate."""
    clip: float = 0.2
    """Clipping range of the probability ratio between the new policy and the one that collected the steps."""
    sigma: float = 0.15
    """Standard deviation of the location policy, in units of location (half the reachable image)."""
    entropy_weight: float = 0.01
    """Weight of the entropy of the stop decision."""
    value_weight: float = 0.5
    """Weight of the value loss."""
    hidden: int = 256
    """Units of the core."""
    core: Core = "lstm"
    """Core, the memory: lstm, rnn (a ReLU layer), or transformer (attention to all glimpses so far)."""


@dataclass(frozen=True)
class Ppo(Running, View, PpoOptions):
    """Options of `cleanrl_ppo.py`."""


def log_prob(
    policy: LocationPolicy, heads: Heads, step: Float[Tensor, "env 1"], location: Tensor, stop: Tensor
) -> Float[Tensor, " env"]:
    """Return the choices' log-probability: no choice at the last glimpse, no location after stopping."""
    moved = policy.log_prob(heads.location_parameters, location).masked_fill(stop, 0)
    return (bernoulli_log_prob(heads.stop, stop) + moved).masked_fill(step.squeeze(1) >= 1, 0)


@torch.no_grad()
def collect(env: EpisodeStatistics, network: RecurrentAttention, now: Now, options: Ppo) -> tuple[Steps, Now]:
    """Act for `options.steps` steps in every row."""
    policy = network.location_policy.narrow(options.sigma)
    rows, precision = [], named(options.precision, now.label.device)
    for _ in range(options.steps):
        heads, memory = take_glimpse(network, now, precision)
        location = policy.sample(heads.location_parameters)
        stop = torch.rand_like(heads.stop) < heads.stop.sigmoid()
        action = split_location(policy.locate(location))
        action |= {"stop": stop, "prediction": heads.logits.softmax(1)}
        chosen = log_prob(policy, heads, now.observation["step"], location, stop)
        observation, reward, done, _, info = env.step(action)
        choice = (location, stop, chosen, heads.baseline)
        rows.append((now.observation, now.label, now.first, *choice, reward, done))
        now = Now(observation, info["label"], done, memory)
    observations, *columns = zip(*rows, strict=True)
    stacked = {name: torch.stack([row[name] for row in observations]) for name in observations[0]}
    return Steps(stacked, *(torch.stack(column) for column in columns)), now


def advantages(steps: Steps, last: Float[Tensor, " env"], decay: float) -> Float[Tensor, "time env"]:
    """Return generalised advantages (PPO, Eq. 11) with gamma = 1; `last` is the value after the last step."""
    result, carried, later = torch.empty_like(steps.value), torch.zeros_like(last), last
    for t in reversed(range(len(result))):
        error = steps.reward[t] + later.masked_fill(steps.done[t], 0) - steps.value[t]
        carried = error + decay * carried.masked_fill(steps.done[t], 0)
        result[t], later = carried, steps.value[t]
    return result


def losses(
    network: RecurrentAttention, steps: Steps, memory: Memory, advantage: Tensor, options: Ppo
) -> dict[str, Tensor]:
    """Return PPO's clipped loss, value loss, entropy of stopping, and the cross-entropy of the class head."""
    policy = network.location_policy.narrow(options.sigma)
    parts, precision = [], named(options.precision, advantage.device)
    for t in range(len(steps.label)):
        observation = {name: value[t] for name, value in steps.observation.items()}
        now = Now(observation, steps.label[t], steps.first[t], memory)
        heads, memory = take_glimpse(network, now, precision)
        chosen = log_prob(policy, heads, observation["step"], steps.location[t], steps.stop[t])
        parts.append((*heads, chosen))
    logits, _, stop, value, chosen = (torch.stack(column) for column in zip(*parts, strict=True))
    ratio = (chosen - steps.log_prob).exp()
    weight = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
    clipped = ratio.clamp(1 - options.clip, 1 + options.clip)
    entropy = F.binary_cross_entropy_with_logits(stop, stop.sigmoid(), reduction="none")
    free = steps.observation["step"].squeeze(2) < 1  # at the last glimpse nothing is decided
    return {
        "policy": -torch.minimum(ratio * weight, clipped * weight).mean(),
        "value": options.value_weight * 0.5 * (value - advantage - steps.value).square().mean(),
        "entropy": -options.entropy_weight * (entropy * free).mean(),
        "class": F.cross_entropy(logits.flatten(0, 1), steps.label.flatten()),
    }


Collected = tuple[Now, Steps, Now]  # the state before, the steps, the state after


def update(
    network: RecurrentAttention, optimizer: torch.optim.Optimizer, collected: Collected, options: Ppo
) -> Tensor:
    """Pass `epochs` times over the collected steps; return the mean loss."""
    before, steps, after = collected
    with torch.no_grad():
        last = take_glimpse(network, after, named(options.precision, after.label.device))[0].baseline
    advantage, total = advantages(steps, last, options.gae_lambda), torch.zeros_like(last[0])
    for _ in range(options.epochs):
        for rows in torch.randperm(len(last), device=last.device).chunk(options.minibatches):
            memory = type(before.memory)(*(value[rows] for value in before.memory))
            parts = losses(network, steps.part(rows), memory, advantage[:, rows], options)
            loss = torch.stack(list(parts.values())).sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
            optimizer.step()
            total += loss.detach()
    return total / (options.epochs * options.minibatches)


def train(run: Run, env: EpisodeStatistics, network: RecurrentAttention, options: Ppo) -> None:
    """Collect and update until `total_steps` were taken, from the start or from the checkpoint."""
    rounds = max(1, options.total_steps // (options.envs * options.steps))
    optimizer = torch.optim.Adam(network.parameters(), options.learning_rate, eps=1e-5)
    if run.saved is None:
        observation, info = env.reset(seed=options.seed)
        now = Now(observation, info["label"], torch.ones_like(info["valid"]), network.begin(options.envs))
    else:
        env.load_state_dict(run.saved["env"])
        now = restore(move_to(run.saved["standing"], run.device), network)
        set_random_state(run.saved["random"], run.device)
    run.extra_state = lambda: {
        "env": env.state_dict(),
        "standing": now.plain(),
        "random": random_state(run.device),
    }
    for done in run.rounds(rounds, optimizer, LOG_EVERY, options.envs * options.steps):
        optimizer.param_groups[0]["lr"] = options.learning_rate * (1 - done / rounds)
        steps, after = collect(env, network, now, options)
        loss, now = update(network, optimizer, (now, steps, after), options), after
        if run.is_due(done):
            correct = (steps.reward > 0).sum().item()  # only a correct prediction is rewarded
            means = {"reward": env.mean_return.item(), "mean_glimpses": env.mean_length.item()}
            means["train_accuracy"] = correct / max(1, steps.done.sum().item())
            run.log_round(done, means | {"loss": loss.item()})


def check_options(options: Ppo) -> None:
    """Refuse invalid options."""
    environments.check_split(options.split)


def main(options: Ppo) -> dict[str, Any]:
    """Train, evaluate once by the common metric, write the result and return its row."""
    with Run.open(AGENT, options, check_options, alone=True) as run:
        options = run.options
        given: dict[str, Any] = environments.view(options)
        given |= {"split": options.split, "device": options.device}
        given |= {"reward": Delayed(options.discount), "autoreset_mode": AutoresetMode.SAME_STEP}
        env = GlimpseVectorEnv(options.envs, **given)
        sizes = (environments.count_glimpse_values(env), len(env.images.classes), env.preset.max_glimpses)
        architecture = Architecture(*sizes, hidden=options.hidden, core=options.core, axes=env.preset.axes)
        network = RecurrentAttention(architecture).to(env.device)
        run.start(network, resume.describe(AGENT, options, env, network, dynamic=True), env.device)
        train(run, EpisodeStatistics(env, window=1000), network, options)
        run.finish()
        return results.write(run.checkpoint, device=options.device)


if __name__ == "__main__":
    main(parse(Ppo, {}, {}, __doc__ or ""))
