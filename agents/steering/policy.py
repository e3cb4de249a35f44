"""Networks of a policy that chooses x, y and stop, in torchrl's modules, and the policy as an `Agent`."""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from glimpse_env import GlimpseVectorEnv
from glimpse_env.adapters.policy import build_sizes
from glimpse_env.networks.base import Agent, Heads
from glimpse_env.networks.glimpse_classifier import Evidence, GlimpseClassifier, certainty
from glimpse_env.wrappers.action_forms import SteeringForm

KEYS = ["glimpse", "location", "step", "belief", "confidence"]  # of the observation, that the networks read


class Perceptron(nn.Module):
    """Two hidden layers on all entries of an observation, and of an action: a network without memory."""

    def __init__(self, values: int, hidden: int, outputs: int) -> None:
        """Build the layers for so many values."""
        super().__init__()
        layers = [nn.Linear(values, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()]
        self.layers, self.last = nn.Sequential(*layers), nn.Linear(hidden, outputs)

    def forward(self, glimpse: Tensor, *entries: Tensor) -> Float[Tensor, "*batch output"]:
        """Process a glimpse (*batch, ...) and further entries (*batch, value), at least one."""
        flat = glimpse.flatten(entries[0].ndim - 1)
        return self.last(self.layers(torch.cat([flat, *entries], -1)))


class GaussianPolicy(nn.Module):
    """The parameters of a Gaussian over what tanh maps to x, y and stop."""

    def __init__(self, values: int, hidden: int, actions: int, spread: float, stop_bias: float) -> None:
        """Build the network.

        `spread` is the standard deviation at the start, `stop_bias` the mean of the last action, the stop.
        """
        from torchrl.modules import NormalParamExtractor

        super().__init__()
        self.network = Perceptron(values, hidden, 2 * actions)
        self.parameters_of = NormalParamExtractor(scale_mapping=f"biased_softplus_{spread}")
        with torch.no_grad():
            self.network.last.weight[: actions - 1] *= 3  # locations depend on the observation at once
            self.network.last.bias.zero_()
            self.network.last.bias[actions - 1] = stop_bias

    def forward(self, *entries: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations, (*batch, action)."""
        return self.parameters_of(self.network(*entries))


def list_keys(env: Any) -> list[str]:
    """Return the entries of the observation that the networks read."""
    return [*KEYS, "scale"] if env.core.preset.axes == 3 else KEYS


def count_values(env: Any) -> int:
    """Return how many numbers these entries hold."""
    return sum(env.observation_spec[key].shape[1:].numel() for key in list_keys(env))


def build_actor(env: Any, hidden: int, spread: float, stop_bias: float) -> Any:
    """Return torchrl's actor with a `GaussianPolicy` on an environment of the form "steering"."""
    from tensordict.nn import TensorDictModule
    from torchrl.modules import ProbabilisticActor, TanhNormal

    policy = GaussianPolicy(count_values(env), hidden, env.action_spec.shape[-1], spread, stop_bias)
    return ProbabilisticActor(
        TensorDictModule(policy.to(env.device), list_keys(env), ["loc", "spread"]),
        in_keys={"loc": "loc", "scale": "spread"},  # `scale` is the observation's, with zoom
        spec=env.action_spec,
        distribution_class=TanhNormal,
        return_log_prob=True,
    )


class SteeringAgent(Agent):
    """The policy's most probable actions; predictions are the learned classifier's."""

    def __init__(self, actor: Any, env: GlimpseVectorEnv, classifier: GlimpseClassifier) -> None:
        """Store the parts; `env` has the glimpses and classes that they were trained on."""
        super().__init__()
        self.actor, self.classifier, self.architecture = actor, classifier, build_sizes(env)
        self.form = SteeringForm(env.preset.axes)

    def begin(self, rows: int) -> Evidence:
        """Return the classifier's state before the first glimpse."""
        return self.classifier.begin(rows)

    def forward(self, observation: dict[str, Tensor], state: Evidence) -> tuple[Heads, Evidence]:
        """Process one glimpse."""
        from tensordict import TensorDict

        logits, state = self.classifier(observation, state)
        entries = self.actor[0](TensorDict(observation | certainty(logits), [len(logits)]))
        choice = self.form.most_likely(Normal(entries["loc"], entries["spread"]))
        location = entries["loc"][:, : self.form.axes].tanh()
        return Heads(logits, location, choice.stop, logits.new_zeros(len(logits))), state
