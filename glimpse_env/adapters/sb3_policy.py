"""A Stable-Baselines3 policy as an `Agent`, so that it is measured like every other: each image once, nothing drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env import GlimpseVectorEnv
from glimpse_env.adapters.policy import joined, sizes_of
from glimpse_env.networks.base import Agent, Heads
from glimpse_env.networks.glimpse_classifier import Evidence, GlimpseClassifier, certainty
from glimpse_env.wrappers.action_forms import make_form


class Remembered(NamedTuple):
    """What is carried from glimpse to glimpse."""

    evidence: Evidence | None  # of the classifier of steering
    memory: tuple[Tensor, Tensor] | None  # of a recurrent policy's LSTM


class PolicyAgent(Agent):
    """Where a policy looks and whether it stops, without exploration; what is answered, by itself or by the classifier it steered."""

    def __init__(self, policy: nn.Module, env: GlimpseVectorEnv, action: str, classifier: GlimpseClassifier | None = None) -> None:
        """Put the parts together.

        Args:
            policy: An `ActorCriticPolicy` of Stable-Baselines3, or a recurrent one of sb3-contrib, trained on `make_sb3_env`'s Dict or
                flat Box, not stacked.
            env: The environment that it was trained on, or one with the same glimpses and classes.
            action: The action form that it was trained with.
            classifier: The network of the `LearnedClassifier` of "steering".

        Raises:
            ValueError: A classifier that does not fit the action form, or a policy on stacked observations.
        """
        super().__init__()
        if (classifier is None) == (action == "steering"):
            raise ValueError(f"action={action!r} {'without' if classifier is None else 'with'} a classifier: steering alone has one")
        check_shown(policy, env, classifier is not None)
        self.policy, self.classifier, self.form = policy, classifier, make_form(action, env)
        self.architecture = sizes_of(env)

    def begin(self, rows: int) -> Remembered:
        """Return what is remembered before the first glimpse."""
        memory = None
        if lstm := getattr(self.policy, "lstm_actor", None):
            nothing = lstm.weight_hh_l0.new_zeros(lstm.num_layers, rows, lstm.hidden_size)
            memory = (nothing, nothing)
        return Remembered(self.classifier.begin(rows) if self.classifier else None, memory)

    def first_location(self, rows: int) -> None:
        """Leave the first place to the environment."""
        return None

    def forward(self, observation: dict[str, Tensor], state: Remembered) -> tuple[Heads, Remembered]:
        """Take in one glimpse."""
        logits, evidence = self.answer(observation, state.evidence)
        seen = observation if logits is None else observation | certainty(logits)
        starts = (observation["step"].squeeze(1) * self.architecture.horizon < 1.5).float()
        distribution, memory = self.decide(seen, state.memory, starts)
        choice = self.form.most_likely(distribution)
        said = choice.logits if logits is None else logits
        assert said is not None
        return Heads(said, choice.location, choice.stop, choice.stop.new_zeros(len(said))), Remembered(evidence, memory)

    def answer(
        self, observation: dict[str, Tensor], evidence: Evidence | None
    ) -> tuple[Float[Tensor, "env class"] | None, Evidence | None]:
        """Return the classifier's scores, where there is one."""
        if self.classifier is None or evidence is None:
            return None, None
        return self.classifier(observation, evidence)

    def decide(
        self, seen: dict[str, Tensor], memory: tuple[Tensor, Tensor] | None, starts: Float[Tensor, " env"]
    ) -> tuple[Any, tuple[Tensor, Tensor] | None]:
        """Return the policy's distribution over flat actions, as torch has it; `starts` is 1 where an episode begins."""
        policy: Any = self.policy
        shown = seen if isinstance(policy.observation_space, spaces.Dict) else joined(seen)
        if memory is None:
            return policy.get_distribution(shown).distribution, None
        distribution, memory = policy.get_distribution(shown, memory, starts)
        return distribution.distribution, memory


def check_shown(policy: Any, env: GlimpseVectorEnv, steering: bool) -> None:  # noqa: ANN401 - the library is optional
    """Refuse a policy that reads something else than the present observation, such as a stack of them."""
    belief = len(env.images.classes) + 3  # and the three numbers of `confidence`
    values, read = spaces.flatdim(env.single_observation_space) + belief * steering, spaces.flatdim(policy.observation_space)
    if read != values:
        raise ValueError(
            f"the policy reads {read} values at a step: expected {values}, those of one observation; a policy on stacked observations "
            "cannot be measured so"
        )
