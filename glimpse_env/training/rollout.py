"""Collect one rectangle (time, row) of an agent looking at images in the environment's absorbing mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import Contextual, GlimpseVectorEnv
from glimpse_env.networks.base import Agent, Heads, Memory
from glimpse_env.networks.location_policy import LocationPolicy, MostProbable
from glimpse_env.runtime import distributed

# Someone else who chooses where to look, for measurement: from the network's state, the images and the next glimpse's number to places.
Guide = Callable[[Memory, Int64[Tensor, " env"], int], Float[Tensor, "env 2"]]


@dataclass(frozen=True)
class Behaviour:
    """How actions are chosen during a rollout."""

    steps: int  # glimpses at most; the last one is answered whatever the stop head says
    policy: LocationPolicy | None = None  # locations are sampled from it; None = the most probable ones of the network's own policy
    stop: str = "never"  # "never" (until the last step), "sample" (Bernoulli) or "likely" (the more probable)
    guide: Guide | None = None  # chooses instead (needs `indices`)
    sure: float = 1.0  # answers that are more probable than this end the episode, whatever `stop` says; 1 = none does

    @property
    def ends_early(self) -> bool:
        """Whether some rows may end before the last step, so that leaving them out saves time."""
        return self.stop != "never" or self.sure < 1


@dataclass(frozen=True)
class Rollout:
    """What happened, step by step. `location_log_prob[t]` belongs to the place chosen after glimpse t + 1; the last step chooses none."""

    labels: Int64[Tensor, " env"]
    logits: Float[Tensor, "time env class"]
    stop_logits: Float[Tensor, "time env"]
    baseline: Float[Tensor, "time env"]
    locations: Float[Tensor, "time env 2"]  # where each glimpse was taken
    location_log_prob: Float[Tensor, "time env"]
    first_log_prob: Float[Tensor, " env"]  # of the learned place of glimpse 1; 0 where the environment chose it
    stopped: Bool[Tensor, "time env"]  # the row ended with this step
    active: Bool[Tensor, "time env"]  # the row was still running when this step began
    rewards: Float[Tensor, "time env"]
    correct: Bool[Tensor, "time env"]
    loss: Float[Tensor, "time env"]  # -log p(label) of each answer, nats


def collect(
    env: GlimpseVectorEnv,
    network: Agent,
    behaviour: Behaviour,
    generator: torch.Generator,
    indices: Int64[Tensor, " env"] | None = None,
    precision: torch.dtype = torch.float32,
) -> Rollout:
    """Run one episode in every row, with gradients through the network (not through the environment).

    Args:
        env: An environment in AutoresetMode.DISABLED.
        network: The agent; its state begins afresh. With a `location_gradient` the location that it observes carries that share of the
            gradient of the mean from which it was drawn (the reparametrised sample; straight through a clamp or the bank sensor's grid).
        behaviour: How actions are chosen.
        generator: Source of all randomness of the actions, on the environment's device.
        indices: Images to show; None = the environment's own order. A context is shown beforehand only of given images.
        precision: Autocast type of the network's matrix products.

    Raises:
        ValueError: The policy has fewer locations than are to be chosen.
    """
    rows, options = env.num_envs, {} if indices is None else {"indices": indices}
    policy = behaviour.policy or MostProbable(network.location_policy)
    policy.check(behaviour.steps - env.sensor.whole_first)
    state, parameters = network.start(rows, context_of(env, indices))
    first, first_log_prob = None, torch.zeros(rows, device=generator.device)
    if not env.sensor.whole_first:
        first, first_log_prob = choose_first(policy, parameters, rows, generator)
    observation, info = env.reset(options=options if first is None else options | {"locations": first})
    labels, active = info["label"], info["valid"]
    share = network.location_gradient if policy.reparametrised else 0.0
    steps: list[tuple[Tensor, ...]] = []
    running = Running(network, compact=behaviour.ends_early and env.device.type == "cpu")
    for t in range(1, behaviour.steps + 1):
        with torch.autocast(env.device.type, precision, enabled=precision != torch.float32):
            heads, state = running.look(attached(observation, parameters, share), state)
        parameters = heads.location_parameters
        action = policy.sample(parameters, generator, t - env.sensor.whole_first)
        place, log_prob = policy.locate(action), policy.log_prob(parameters, action)
        if behaviour.guide is not None and indices is not None and t < behaviour.steps:
            place = behaviour.guide(state, indices, t + 1)
        prediction = heads.logits.detach().softmax(1)
        stop = decide(heads.stop, behaviour.stop if t < behaviour.steps else "always", generator)
        if behaviour.sure < 1:
            stop = stop | (prediction.amax(1) > behaviour.sure)
        seen = observation["location"]
        observation, reward, ended, _, info = env.step({"location": place, "stop": stop, "prediction": prediction})
        steps.append(
            (heads.logits, heads.stop, heads.baseline, seen, log_prob, ended & active, active, reward, info["correct"], info["loss"])
        )
        active = active & ~ended
        state = running.leave_out(ended, state)
    logits, stops, baseline, seen, log_prob, stopped, running, rewards, correct, loss = (
        torch.stack(column) for column in zip(*steps, strict=True)
    )
    return Rollout(labels, logits, stops, baseline, seen, log_prob, first_log_prob, stopped, running, rewards, correct, loss)


class Running:
    """The rows whose episodes have not ended: with `compact` the network sees these alone, which saves its work on the others.

    Finding them is a host sync, and shapes change from step to step: on a GPU the whole rectangle is faster, and can be captured.
    """

    def __init__(self, network: Agent, compact: bool) -> None:
        """Begin with all rows."""
        self.network, self.compact = network, compact
        self.rows: Int64[Tensor, " running"] | None = None  # None = all
        self.last: Heads | None = None

    def look(self, observation: dict[str, Tensor], state: Memory) -> tuple[Heads, Memory]:
        """Take in one glimpse; rows that have ended keep what they said last, without gradient. The state is of the running rows alone."""
        if self.rows is None or self.last is None:
            heads, state = self.network(observation, state)
        else:
            part, state = self.network({name: value.index_select(0, self.rows) for name, value in observation.items()}, state)
            heads = Heads(*(old.detach().index_copy(0, self.rows, new) for old, new in zip(self.last, part, strict=True)))
        self.last = heads
        return heads, state

    def leave_out(self, ended: Bool[Tensor, " env"], state: Memory) -> Memory:
        """Leave out the rows that have ended; return the state of the others. Where none is left one stays: no tensor may be empty."""
        if not self.compact:
            return state
        before = torch.arange(len(ended)) if self.rows is None else self.rows
        kept = (~ended[before]).nonzero().squeeze(1)
        if len(kept) == len(before):
            return state
        kept = kept if len(kept) else torch.zeros(1, dtype=torch.int64)
        self.rows = before[kept]
        return type(state)(*(value.index_select(0, kept) for value in state))


def context_of(env: GlimpseVectorEnv, indices: Int64[Tensor, " env"] | None) -> Tensor | None:
    """Return what the sensor shows of these images before the first glimpse; None = nothing."""
    sensor = env.sensor
    return sensor.context(indices) if indices is not None and isinstance(sensor, Contextual) and sensor.shows_context else None


def attached(observation: dict[str, Tensor], mean: Float[Tensor, "env 2"] | None, share: float) -> dict[str, Tensor]:
    """Return the observation, its location with a share of the gradient of the mean that it was drawn from; the value stays."""
    if mean is None or not share:
        return observation
    return observation | {"location": observation["location"] + share * (mean - mean.detach())}


def choose_first(
    policy: LocationPolicy, parameters: Float[Tensor, "env parameter"] | None, rows: int, generator: torch.Generator
) -> tuple[Float[Tensor, "env 2"] | None, Float[Tensor, " env"]]:
    """Return the location of glimpse 1 (None = the environment chooses it) and the log-probability of that choice."""
    action = policy.first(parameters, rows, generator)
    log_prob = torch.zeros(rows, device=generator.device)
    if action is None:
        return None, log_prob
    return policy.locate(action), log_prob if parameters is None else policy.log_prob(parameters, action)


def decide(stop_logits: Float[Tensor, " env"], rule: str, generator: torch.Generator) -> Bool[Tensor, " env"]:
    """Return who stops: "never", "always", "sample" (Bernoulli) or "likely" (probability of stopping at least one half)."""
    if rule in ("never", "always"):
        return torch.full_like(stop_logits, rule == "always", dtype=torch.bool)
    threshold = 0.5 if rule == "likely" else distributed.drawn(torch.rand, stop_logits.shape, generator)
    return stop_logits.detach().sigmoid() >= threshold


@torch.no_grad()
def summarise(rollout: Rollout) -> dict[str, Tensor]:
    """Return what the sampled episodes earned: mean reward, accuracy and glimpses of an episode."""
    return {
        "reward": rollout.rewards.sum(0).mean(),
        "train_accuracy": (rollout.correct & rollout.stopped).any(0).float().mean(),
        "mean_glimpses": rollout.active.float().sum(0).mean(),
    }
