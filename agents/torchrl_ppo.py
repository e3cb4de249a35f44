"""torchrl's PPO learns where to look and when to stop; a learned classifier beside it predicts.

    pip install -e ".[torchrl]"
    python agents/torchrl_ppo.py                        # MNIST on a CPU, minutes
    python agents/torchrl_ppo.py --price 0.03           # stop sooner

torchrl's own parts: `Collector`, `GAE`, `ClipPPOLoss`, on our `EnvBase` (the action form "steering": x, y,
stop). gamma is 1, and no option: the cost of a glimpse is in the reward, and another gamma would count it
twice. The policy has no memory; the classifier's probabilities so far are part of what it reads.

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

AGENT = "torchrl_ppo"
MAX_NORM = 0.5  # of the gradient
SPREAD = 0.2  # standard deviation of the actions at the start


@dataclass(frozen=True)
class UpdateOptions:
    """torchrl's PPO."""

    epochs: int = 2
    """Number of passes over the steps per update."""
    batch: int = 2048
    """Steps per minibatch."""
    learning_rate: float = 1e-3
    """Learning rate of Adam; it decreases linearly."""
    gae_lambda: float = 0.8
    """Lambda of the generalised advantage estimate."""
    entropy_weight: float = 0.0
    """Weight of the policy's entropy."""


@dataclass(frozen=True)
class PpoOptions(SteeringOptions, UpdateOptions):
    """Options of `torchrl_ppo.py`."""


def learn(training: Training, progress: Progress) -> nn.Module:
    """Collect, estimate advantages, update; return the networks."""
    from tensordict.nn import TensorDictModule
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    options, env = training.options, training.env
    critic = TensorDictModule(
        Perceptron(count_values(env), options.hidden, 1).to(env.device), list_keys(env), ["state_value"]
    )
    advantages = GAE(gamma=1.0, lmbda=options.gae_lambda, value_network=critic)
    weight = options.entropy_weight
    loss = ClipPPOLoss(
        training.actor,
        critic,
        entropy_bonus=weight > 0,
        entropy_coeff=weight,
        loss_critic_type="l2",
        normalize_advantage=True,
    )
    optimizer = torch.optim.Adam(loss.parameters(), options.learning_rate, eps=1e-5)
    for share, batch in training.collect(progress):
        optimizer.param_groups[0]["lr"] = options.learning_rate * max(1 - share, 1e-3)
        with torch.no_grad():
            steps = advantages(batch).flatten(0, 1)
        for _ in range(options.epochs):
            for rows in torch.randperm(len(steps), device=env.device).split(options.batch):
                take_step(optimizer, loss, steps[rows])
    return nn.ModuleList([training.actor, critic])


def take_step(optimizer: torch.optim.Optimizer, loss: nn.Module, steps: Any) -> None:
    """Take one step along the gradient of torchrl's losses."""
    parts = loss(steps)
    optimizer.zero_grad()
    torch.stack([part for name, part in parts.items() if name.startswith("loss_")]).sum().backward()
    nn.utils.clip_grad_norm_(loss.parameters(), MAX_NORM)
    optimizer.step()


def main(options: PpoOptions) -> dict[str, Any]:
    """Train, evaluate once, write the result and return its row."""
    return run(AGENT, options, SPREAD, learn)


if __name__ == "__main__":
    main(parse(PpoOptions, {}, {}, __doc__ or ""))
