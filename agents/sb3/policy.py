"""A Stable-Baselines3 policy as an `Agent`, evaluated like every other."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from glimpse_env import GlimpseVectorEnv
from glimpse_env.adapters.policy import build_sizes, flatten_observation
from glimpse_env.networks.base import Agent, Heads
from glimpse_env.networks.glimpse_classifier import Evidence, GlimpseClassifier, certainty
from glimpse_env.wrappers.action_forms import make_form

LstmState = tuple[Tensor, Tensor] | None  # hidden and cell state


class PolicyMemory(NamedTuple):
    """Memory from glimpse to glimpse."""

    evidence: Evidence | None  # of the learned classifier
    lstm: LstmState  # of a recurrent policy


class PolicyAgent(Agent):
    """The policy's most probable actions; predictions are its own, or those of a learned classifier."""

    stop: Tensor  # the number of an action that stops above 0

    def __init__(
        self,
        policy: nn.Module,
        env: GlimpseVectorEnv,
        action: str,
        classifier: GlimpseClassifier | None = None,
    ) -> None:
        """Store the parts.

        Args:
            policy: An `ActorCriticPolicy` of Stable-Baselines3, a recurrent one of sb3-contrib, or that of
                SAC, TQC or CrossQ.
            env: An environment with the glimpses and classes that it was trained on, not stacked.
            action: The action form that it was trained with.
            classifier: The network of the `LearnedClassifier` of "steering".

        Raises:
            ValueError: A classifier that does not fit the action form, or a policy on stacked observations.
        """
        super().__init__()
        if (classifier is None) == (action == "steering"):
            given = f"{'without' if classifier is None else 'with'} a classifier"
            raise ValueError(f"action={action!r} {given}: expected one with action='steering' only")
        check_observation_space(policy, env, classifier is not None)
        self.policy, self.classifier, self.form = policy, classifier, make_form(action, env)
        self.architecture = build_sizes(env)
        self.register_buffer("stop", torch.tensor([env.preset.axes]), persistent=False)

    def begin(self, rows: int) -> PolicyMemory:
        """Return the memory before the first glimpse."""
        lstm = None
        if module := getattr(self.policy, "lstm_actor", None):
            zeros = module.weight_hh_l0.new_zeros(module.num_layers, rows, module.hidden_size)
            lstm = (zeros, zeros)
        return PolicyMemory(self.classifier.begin(rows) if self.classifier else None, lstm)

    def forward(self, observation: dict[str, Tensor], state: PolicyMemory) -> tuple[Heads, PolicyMemory]:
        """Take in one glimpse."""
        logits, evidence = None, state.evidence
        if self.classifier is not None:
            assert evidence is not None
            logits, evidence = self.classifier(observation, evidence)
            observation = observation | certainty(logits)
        starts = (observation["step"].squeeze(1) * self.architecture.horizon < 1.5).float()
        distribution, lstm = self.compute_distribution(observation, state.lstm, starts)
        choice = self.form.most_likely(distribution)
        logits = choice.logits if logits is None else logits
        assert logits is not None
        heads = Heads(logits, choice.location, choice.stop, choice.stop.new_zeros(len(logits)))
        return heads, PolicyMemory(evidence, lstm)

    def compute_distribution(
        self, observation: dict[str, Tensor], lstm: LstmState, starts: Float[Tensor, " env"]
    ) -> tuple[Any, LstmState]:
        """Return the distribution over flat actions, and the LSTM's state; `starts`: 1 begins an episode."""
        policy: Any = self.policy
        is_dict = isinstance(policy.observation_space, spaces.Dict)
        values = observation if is_dict else flatten_observation(observation)
        if hasattr(policy, "actor"):  # SAC and its kin: tanh of a Gaussian, whose sign alone stops
            mean, log_std, _ = policy.actor.get_action_dist_params(values)
            squashed = mean.tanh().index_copy(1, self.stop, mean.index_select(1, self.stop))
            return Normal(squashed, log_std.exp()), None
        if lstm is None:
            return policy.get_distribution(values).distribution, None
        distribution, lstm = policy.get_distribution(values, lstm, starts)
        return distribution.distribution, lstm


def check_observation_space(policy: Any, env: GlimpseVectorEnv, classified: bool) -> None:
    """Refuse a policy that reads anything but one observation, such as a stack of them."""
    added = (len(env.images.classes) + 3) * classified  # `belief` and `confidence` of a learned classifier
    expected = spaces.flatdim(env.single_observation_space) + added
    if (size := spaces.flatdim(policy.observation_space)) != expected:
        raise ValueError(
            f"the policy reads {size} values at a step: expected {expected}, those of one observation; "
            "a policy on stacked observations cannot be evaluated"
        )
