"""torchrl's soft actor-critic learns where to look and when to stop; a learned classifier beside it predicts.

    pip install -e ".[torchrl]"
    python agents/torchrl_sac.py                        # MNIST on a CPU, minutes
    python agents/torchrl_sac.py --price 0.03           # stop sooner

torchrl's own parts: `Collector`, `ReplayBuffer`, `SACLoss`, `SoftUpdate`, on our `EnvBase` (the action form
"steering": x, y, stop). gamma is 1, and no option: the cost of a glimpse is in the reward, and another gamma
would count it twice. The policy has no memory; the classifier's probabilities so far are part of what it
reads. They change while the classifier learns, so the replay buffer holds the last steps only. As long as
stops are ignored (`--ignore-stops`) the classifier alone learns, from the untrained policy's glimpses.

Writes policy.pt, classifier.pt, result.json (the same evaluation as every agent's: each test image once,
deterministic actions), looks.npz and plots.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from steering.policy import Perceptron, count_values, list_keys
from steering.run import SteeringOptions, Training, run
from torch import nn

from glimpse_env.training.command_line import parse
from glimpse_env.training.trainer import Progress

AGENT = "torchrl_sac"
SPREAD = 0.5  # standard deviation of the actions at the start, before tanh


@dataclass(frozen=True)
class UpdateOptions:
    """torchrl's SAC."""

    updates: int = 128
    """Updates per batch of the collector."""
    batch: int = 256
    """Steps per update."""
    buffer: int = 100_000
    """Number of last steps that the replay buffer holds."""
    learning_rate: float = 1e-3
    """Learning rate of Adam; it decreases linearly."""
    critic_first: float = 0.1
    """Fraction of the steps, after --ignore-stops, in which the critics alone learn: a critic that does not
    know yet what later glimpses are worth would teach the policy to stop at once."""
    temperature: float = 0.02
    """Weight of the policy's entropy at the start, and at most; the loss adapts it."""
    target_entropy: float = 0.0
    """Entropy, in nats, to which this weight is adapted. SAC adds the weighted entropy of every step to the
    reward: below 0 further glimpses cost more than --price, above 0 less."""


@dataclass(frozen=True)
class SacOptions(SteeringOptions, UpdateOptions):
    """Options of `torchrl_sac.py`."""


def build_loss(training: Training) -> Any:
    """Return torchrl's loss: actor, two critics, and the weight of the entropy."""
    from tensordict.nn import TensorDictModule
    from torchrl.objectives import SACLoss, ValueEstimators

    options, env, keys = training.options, training.env, list_keys(training.env)
    values = count_values(env) + env.action_spec.shape[-1]
    critic = Perceptron(values, options.hidden, 1).to(env.device)
    loss = SACLoss(
        training.actor,
        TensorDictModule(critic, [*keys, "action"], ["state_action_value"]),
        num_qvalue_nets=2,
        loss_function="l2",
        alpha_init=options.temperature,
        target_entropy=options.target_entropy,
        max_alpha=options.temperature,
        action_spec=env.action_spec,
    )
    loss.make_value_estimator(ValueEstimators.TD0, gamma=1.0)
    return loss


def learn(training: Training, progress: Progress) -> nn.Module:
    """Collect, store, update; return the networks."""
    from torchrl.data import LazyTensorStorage, ReplayBuffer
    from torchrl.objectives import SoftUpdate

    options, env = training.options, training.env
    storage = LazyTensorStorage(options.buffer, device=env.device)
    buffer = ReplayBuffer(storage=storage, batch_size=options.batch)
    loss = build_loss(training)
    targets = SoftUpdate(loss, tau=0.02)
    optimizer = torch.optim.Adam(loss.parameters(), options.learning_rate)
    keys = list_keys(env)
    kept = [*keys, "action", *(("next", key) for key in (*keys, "reward", "done", "terminated"))]
    for share, batch in training.collect(progress):
        if not env.classifier.obeys_stop:  # an ignored stop has no effect: a critic would learn just that
            continue
        optimizer.param_groups[0]["lr"] = options.learning_rate * max(1 - share, 1e-3)
        buffer.extend(batch.select(*kept).flatten(0, 1))
        warm = share < options.ignore_stops + options.critic_first
        names = ["loss_qvalue"] if warm else ["loss_qvalue", "loss_actor", "loss_alpha"]
        for _ in range(options.updates):
            parts = loss(buffer.sample())
            optimizer.zero_grad()
            torch.stack([parts[name] for name in names]).sum().backward()
            optimizer.step()
            targets.step()
    return loss


def main(options: SacOptions) -> dict[str, Any]:
    """Train, evaluate once, write the result and return its row."""
    return run(AGENT, options, SPREAD, learn)


if __name__ == "__main__":
    main(parse(SacOptions, {}, {}, __doc__ or ""))
