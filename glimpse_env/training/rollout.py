"""Collect one episode in every row of an environment in absorbing mode; every step is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glimpse_env import Contextual, GlimpseVectorEnv
from glimpse_env.episode import hash_location, join_location, split_location
from glimpse_env.networks.base import Agent, Heads, Memory, Parameters
from glimpse_env.networks.location_policy import LocationPolicy, MostProbable
from glimpse_env.runtime import distributed
from glimpse_env.sensors import Mapped

Indices = Int64[Tensor, " env"]
# Chooses locations instead of the policy: from the network's state, the images and the next glimpse's number.
Guide = Callable[[Memory, Indices, int], Float[Tensor, "env axis"]]


@dataclass(frozen=True)
class Behaviour:
    """How actions are chosen during a rollout."""

    steps: int  # maximum number of glimpses; the last one ends the episode, whatever the stop head outputs
    policy: LocationPolicy | None = None  # None = the most probable locations of the network's own policy
    stop: str = "never"  # "never" (until the last step), "sample" (Bernoulli) or "likely" (the more probable)
    guide: Guide | None = None  # chooses locations instead of the policy (needs `indices`)
    sure: float = 1.0  # a prediction with a higher probability ends the episode, whatever `stop` is

    @property
    def ends_early(self) -> bool:
        """Whether some rows may end before the last step."""
        return self.stop != "never" or self.sure < 1


@dataclass(frozen=True)
class Rollout:
    """The collected episodes."""

    labels: Int64[Tensor, " env"]
    logits: Float[Tensor, "time env class"]
    stop_logits: Float[Tensor, "time env"]
    baseline: Float[Tensor, "time env"]
    locations: Float[Tensor, "time env axis"]  # where each glimpse was taken: (x, y), with zoom (x, y, scale)
    location_log_prob: Float[Tensor, "time env"]  # of the location chosen next; the last one is not used
    first_log_prob: Float[Tensor, " env"]  # of glimpse 1's learned location; 0 where the environment chose it
    stopped: Bool[Tensor, "time env"]  # the row ended with this step
    active: Bool[Tensor, "time env"]  # the row was still running when this step began
    rewards: Float[Tensor, "time env"]
    correct: Bool[Tensor, "time env"]
    loss: Float[Tensor, "time env"]  # -log p(label) of each prediction, nats


def collect(
    env: GlimpseVectorEnv,
    network: Agent,
    behaviour: Behaviour,
    generator: torch.Generator,
    indices: Indices | None = None,
    precision: torch.dtype = torch.float32,
) -> Rollout:
    """Run one episode in every row, with gradients through the network (not through the environment).

    Args:
        env: In AutoresetMode.DISABLED.
        network: Its memory is reset. With a `location_gradient` the location that it observes carries that
            share of the gradient of the mean from which it was drawn (the reparametrised sample; straight
            through a clamp or the bank sensor's grid).
        behaviour: How actions are chosen.
        generator: Source of all randomness of the actions, and of a random first location, on the
            environment's device.
        indices: Images to show; None = the environment's own order, and no context.
        precision: Autocast type of the network's matrix products.

    Raises:
        ValueError: The policy has fewer locations than are to be chosen; a guide in an environment whose
            moves are relative.
    """
    absolute = env.preset.moves == "absolute"
    if behaviour.guide is not None and not absolute:
        raise ValueError("a guide chooses locations: moves='relative' takes displacements")
    policy = behaviour.policy or MostProbable(network.location_policy)
    policy.check(behaviour.steps - env.sensor.whole_first)
    state, parameters = network.start(env.num_envs, read_context(env, network, indices))
    first, first_log_prob = choose_first(env, policy, parameters, generator)
    if first is None and indices is not None:
        first = draw_first(env, indices, generator)
    options = {} if indices is None else {"indices": indices}
    if first is not None:
        options |= {f"{name}s": value for name, value in split_location(first).items()}
    observation, info = env.reset(options=options)
    labels, active = info["label"], info["valid"]
    share = network.location_gradient if policy.reparametrised and absolute else 0.0
    running = RunningRows(network, compact=behaviour.ends_early and env.device.type == "cpu")
    steps: list[dict[str, Tensor]] = []
    with torch.autocast(env.device.type, enabled=False):  # until it ends weights stay cast to `precision`
        for t in range(1, behaviour.steps + 1):
            with torch.autocast(env.device.type, precision, enabled=precision != torch.float32):
                heads, state = running.forward(attach_gradient(observation, parameters, share), state)
            parameters = heads.location_parameters
            action = policy.sample(parameters, generator, t - env.sensor.whole_first)
            location, log_prob = policy.locate(action), policy.log_prob(parameters, action)
            if behaviour.guide is not None and indices is not None and t < behaviour.steps:
                location = behaviour.guide(state, indices, t + 1)
            prediction = heads.logits.detach().softmax(1)
            stop = decide_stops(behaviour, t, heads.stop, prediction, generator)
            step = {"logits": heads.logits, "stop_logits": heads.stop, "baseline": heads.baseline}
            step |= {"location_log_prob": log_prob, "locations": join_location(observation), "active": active}
            actions = split_location(location) | {"stop": stop, "prediction": prediction}
            observation, reward, ended, _, info = env.step(actions)
            step |= {"stopped": ended & active, "rewards": reward}
            steps.append(step | {name: info[name] for name in ("correct", "loss")})
            active = active & ~ended
            state = running.leave_out(ended, state)
    columns = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
    return Rollout(labels=labels, first_log_prob=first_log_prob, **columns)


BLOCKS = 8  # into which a batch is divided where ended rows are left out


class RunningRows:
    """The rows whose episodes have not ended; with `compact` the network computes these, in whole blocks.

    This saves time on a CPU. Ended rows fill the last block: oneDNN compiles a kernel for every shape of a
    matrix product and keeps 1,024 of them, so that with any number of rows compiling takes longer than the
    products. Finding the rows is a host sync, and shapes change from step to step: on a GPU computing all
    rows is faster, and can be captured.
    """

    def __init__(self, network: Agent, compact: bool) -> None:
        """Start with all rows."""
        self.network, self.compact = network, compact
        self.rows: Int64[Tensor, " running"] | None = None  # None = all
        self.last: Heads | None = None

    def forward(self, observation: dict[str, Tensor], state: Memory) -> tuple[Heads, Memory]:
        """Process one glimpse. Rows left out keep their last heads, without gradient, and have no state."""
        rows = self.rows
        if rows is not None:
            observation = {name: value.index_select(0, rows) for name, value in observation.items()}
        heads, state = self.network(observation, state)
        if rows is not None and self.last is not None:
            pairs = zip(self.last, heads, strict=True)
            heads = Heads(*(old.detach().index_copy(0, rows, new) for old, new in pairs))
        self.last = heads
        return heads, state

    def leave_out(self, ended: Bool[Tensor, " env"], state: Memory) -> Memory:
        """Leave out ended rows, as far as whole blocks allow; return the state of the others."""
        if not self.compact:
            return state
        before = torch.arange(len(ended)) if self.rows is None else self.rows
        running_first = ended[before].argsort(stable=True)
        block = -(-len(ended) // BLOCKS)
        needed = max(1, -(-int((~ended[before]).sum()) // block)) * block
        if needed >= len(before):
            return state
        kept = running_first[:needed]
        self.rows = before[kept]
        return type(state)(*(value.index_select(0, kept) for value in state))


def read_context(env: GlimpseVectorEnv, network: Agent, indices: Indices | None) -> Tensor | None:
    """Return what the network reads of these images beside their glimpses; None = nothing.

    Neighbouring rows of the same image share its map.
    """
    sensor = env.sensor
    if network.reads_map and indices is not None and isinstance(sensor, Mapped):
        images, row = indices.unique_consecutive(return_inverse=True)
        return network.encode_map(sensor.view_maps.at(images)).index_select(0, row)
    if indices is None or not isinstance(sensor, Contextual) or not sensor.shows_context:
        return None
    return sensor.context(indices)


def attach_gradient(observation: dict[str, Tensor], mean: Tensor | None, share: float) -> dict[str, Tensor]:
    """Return the observation; its location, of the same value, has a share of its mean's gradient."""
    if mean is None or not share:
        return observation
    return observation | split_location(join_location(observation) + share * (mean - mean.detach()))


def choose_first(
    env: GlimpseVectorEnv, policy: LocationPolicy, parameters: Parameters | None, generator: torch.Generator
) -> tuple[Float[Tensor, "env axis"] | None, Float[Tensor, " env"]]:
    """Return the location of glimpse 1 (None = the environment chooses it) and its log-probability."""
    action = None if env.sensor.whole_first else policy.first(parameters, env.num_envs, generator)
    log_prob = torch.zeros(env.num_envs, device=generator.device)
    if action is None:
        return None, log_prob
    return policy.locate(action), log_prob if parameters is None else policy.log_prob(parameters, action)


def draw_first(
    env: GlimpseVectorEnv, indices: Indices, generator: torch.Generator
) -> Float[Tensor, "env 2"] | None:
    """Return where glimpse 1 is taken if the environment takes it anywhere; None = at the centre.

    In training the generator draws it, whose state checkpoints hold. In an evaluation (order="once") it
    depends on the image's index alone, whatever the number of rows.
    """
    if env.preset.initial_location == "center" or env.sensor.whole_first:
        return None
    if env.order == "once":
        return hash_location(indices, torch.zeros_like(indices), seed=0)
    return distributed.draw(torch.rand, (env.num_envs, 2), generator) * 2 - 1


def decide_stops(
    behaviour: Behaviour,
    t: int,
    logits: Float[Tensor, " env"],
    prediction: Tensor,
    generator: torch.Generator,
) -> Bool[Tensor, " env"]:
    """Return which rows stop after glimpse t: all of them after the last one."""
    last = t == behaviour.steps
    if last or behaviour.stop == "never":
        stop = torch.full_like(logits, last, dtype=torch.bool)
    else:
        sampled = behaviour.stop == "sample"
        threshold = distributed.draw(torch.rand, logits.shape, generator) if sampled else 0.5
        stop = logits.detach().sigmoid() >= threshold
    return stop | (prediction.amax(1) > behaviour.sure) if behaviour.sure < 1 else stop


@torch.no_grad()
def summarise(rollout: Rollout) -> dict[str, Tensor]:
    """Return the mean reward, accuracy and number of glimpses of the sampled episodes."""
    return {
        "reward": rollout.rewards.sum(0).mean(),
        "train_accuracy": (rollout.correct & rollout.stopped).any(0).float().mean(),
        "mean_glimpses": rollout.active.float().sum(0).mean(),
    }
