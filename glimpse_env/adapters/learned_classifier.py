"""A wrapper in which a policy chooses only where to look and when to stop: a classifier trained beside it predicts the class."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorWrapper
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from glimpse_env import GlimpseVectorEnv
from glimpse_env.networks.glimpse_classifier import ClassifierSizes, GlimpseClassifier, certainty, narrow
from glimpse_env.runtime import checkpoint
from glimpse_env.training import optimizers
from glimpse_env.training.optimizers import Descent

CLIP = 5.0  # largest gradient norm
KIND = "classifier"  # of its checkpoints


@dataclass(frozen=True)
class Teaching(Descent):
    """How the classifier is made and taught."""

    hidden: int = 128
    """Units of the classifier's recurrent core."""
    features: int = 128
    """Units of its glimpse network's branches for what and where."""
    depth: int = 2
    """ReLU layers of its branch for what."""
    dropout: float = 0.0
    """Share of a glimpse's values, and of the features made of them, that is dropped while training."""
    batch: int = 256
    """Finished episodes per update of the classifier."""
    updates: int = 3
    """Updates of the classifier for every such batch: one on it, the others on batches drawn from the last ones. A policy's algorithm takes
    most of the time, so glimpses are dear and updates cheap."""
    memory: int = 16
    """Batches that are kept for this."""
    label_smoothing: float = 0.0
    """Share of the target of the cross-entropy that is spread over all classes."""


class Episodes(NamedTuple):
    """Finished episodes to train on."""

    glimpse: Float[Tensor, "time episode value"]
    location: Float[Tensor, "time episode 2"]
    length: Int64[Tensor, " episode"]  # glimpses taken; entries after them are of an earlier episode
    label: Int64[Tensor, " episode"]


class LearnedClassifier(VectorWrapper):
    """Fill in `prediction` by a recurrent classifier, trained beside the policy by cross-entropy on the labels in `info`.

    Action: Box(-1, 1, (3,)): x and y of the next glimpse, stop if the third is above 0. Observation: the environment's entries, `belief`
    (class,): the classifier's probabilities, and `confidence` (3,): log-odds of the top class, margin over the second, log of the
    entropy, so that a policy without memory can learn when to stop. Rewards come from the classifier's predictions.

    The loss is the mean over all glimpses of finished episodes (intermediate supervision, DT-RAM Eq. 8), minimised whenever a batch of
    them is full. The classifier's state is reset with each episode.
    """

    def __init__(self, env: GlimpseVectorEnv, teaching: Teaching | None = None) -> None:
        """Build the classifier for the environment's glimpses; torch's global seed draws its weights.

        Args:
            env: The core, in autoreset mode SAME_STEP.
            teaching: Sizes, batch and optimiser; None = the defaults.

        Raises:
            ValueError: Another autoreset mode.
        """
        options = self.teaching = teaching or Teaching()
        for name in ("hidden", "features", "depth", "batch", "updates", "memory"):
            if getattr(options, name) < 1:
                raise ValueError(
                    f"{name}={getattr(options, name)} of the classifier: expected a whole number of at least 1"
                )
        if env.autoreset_mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"LearnedClassifier: autoreset_mode={env.autoreset_mode}: expected AutoresetMode.SAME_STEP, whose final_info has labels"
            )
        super().__init__(env)
        self.core = env
        sizes = {name: getattr(options, name) for name in ("hidden", "features", "depth", "dropout")}
        values, classes, horizon = (
            spaces.flatdim(env.sensor.space["glimpse"]),
            len(env.images.classes),
            env.preset.max_glimpses,
        )
        self.network = GlimpseClassifier(ClassifierSizes(values, classes, horizon, **sizes)).to(env.device)
        self.optimizer = optimizers.make(
            self.network, options.optimizer, options.learning_rate, options.muon_rate, options.weight_decay
        )
        self._make_spaces(classes)
        rows = torch.arange(env.num_envs, device=env.device)
        self._rows, self._fractions = rows, torch.arange(1, horizon + 1, device=env.device)[:, None] / horizon
        self._glimpses = torch.zeros(horizon, env.num_envs, values, device=env.device)
        self._locations = torch.zeros(horizon, env.num_envs, 2, device=env.device)
        self._waiting: list[Episodes] = []
        self._kept: deque[Episodes] = deque(maxlen=self.teaching.memory)
        self.learns = True  # False: the classifier is not trained
        self.obeys_stop = True  # False: every episode has all its glimpses, so that the classifier is trained on late ones too
        self.updates = 0
        self.loss = float("nan")  # of the last update, nats a glimpse

    def _make_spaces(self, classes: int) -> None:
        """Set the spaces: the action of three numbers, and the observation with the classifier's entries."""
        added = {
            "belief": spaces.Box(0.0, 1.0, (classes,), np.float32),
            "confidence": spaces.Box(-14.0, 14.0, (3,), np.float32),
        }
        observed = self.core.single_observation_space
        assert isinstance(observed, spaces.Dict)
        self.single_observation_space = spaces.Dict(observed.spaces | added)
        self.single_action_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Start an episode in every row."""
        observation, info = self.core.reset(seed=seed, options=options)
        self._evidence = self.network.begin(self.num_envs)
        return self._classify(observation), info

    def step(
        self, actions: Float[Tensor, "env 3"]
    ) -> tuple[
        dict[str, Tensor], Float[Tensor, " env"], Bool[Tensor, " env"], Bool[Tensor, " env"], dict[str, Any]
    ]:
        """Step every row; the classifier is trained on the episodes that end. `final_obs` holds its entries too."""
        stop = (actions[:, 2] > 0) & self.obeys_stop
        action, before = (
            {"location": actions[:, :2], "stop": stop, "prediction": self._certainty["belief"]},
            self._certainty,
        )
        observation, reward, terminated, truncated, info = self.core.step(action)
        if self.learns:
            self._collect(info["_final_info"], info["final_info"])
        return (
            self._classify(observation),
            reward,
            terminated,
            truncated,
            info | {"final_obs": info["final_obs"] | before},
        )

    @torch.no_grad()
    def _classify(self, observation: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep the glimpses for training, update the classifier's state, and return the policy's observation."""
        time = (observation["step"].squeeze(1) * self.network.sizes.horizon).round().long() - 1
        self._glimpses[time, self._rows] = observation["glimpse"].flatten(1)
        self._locations[time, self._rows] = observation["location"]
        self.network.eval()
        logits, self._evidence = self.network(observation, self._evidence)
        self._certainty = certainty(logits)
        return observation | self._certainty

    def _collect(self, ended: Bool[Tensor, " env"], final: dict[str, Tensor]) -> None:
        """Keep the episodes that ended, and train on them once they fill a batch."""
        rows = ended.nonzero().squeeze(1)
        self._waiting.append(
            Episodes(
                self._glimpses[:, rows],
                self._locations[:, rows],
                final["glimpses"][rows],
                final["label"][rows],
            )
        )
        if sum(len(part.label) for part in self._waiting) >= self.teaching.batch:
            columns = zip(*self._waiting, strict=True)
            self._kept.append(
                Episodes(*(torch.cat(column, 1 if column[0].ndim > 1 else 0) for column in columns))
            )
            self._waiting = []
            self.update(self._kept[-1])
            for i in torch.randint(len(self._kept), (self.teaching.updates - 1,)).tolist():
                self.update(self._kept[i])

    @torch.enable_grad()
    def update(self, episodes: Episodes) -> None:
        """Take one optimiser step on finished episodes."""
        self.network.train()
        loss = self.compute_loss(episodes)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.updates, self.loss = self.updates + 1, loss.item()

    def compute_loss(self, episodes: Episodes) -> Float[Tensor, ""]:
        """Return the cross-entropy in nats, the mean over all glimpses that were taken.

        Episodes are sorted, the longest first, so that those still running at a glimpse are a prefix and ended ones are not computed.
        """
        order = episodes.length.argsort(descending=True)
        glimpse, location, length, label = (
            value[:, order] if value.ndim > 1 else value[order] for value in episodes
        )
        running = (length[None] > torch.arange(int(length[0]), device=length.device)[:, None]).sum(1).tolist()
        evidence, total = self.network.begin(len(order)), glimpse.new_zeros(())
        for time, rows in enumerate(running):
            observation = {"glimpse": glimpse[time, :rows], "location": location[time, :rows]}
            observation["step"] = self._fractions[time].expand(rows, 1)
            logits, evidence = self.network(observation, narrow(evidence, rows))
            total = total + F.cross_entropy(
                logits, label[:rows], reduction="sum", label_smoothing=self.teaching.label_smoothing
            )
        return total / length.sum()

    def save(self, target: Path) -> None:
        """Write the classifier and its optimiser as a checkpoint, atomically."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
        }
        checkpoint.save(target, {"kind": KIND, "architecture": asdict(self.network.sizes), **state})

    def load(self, source: Path) -> None:
        """Load the classifier that `save` wrote.

        Raises:
            ValueError: It has other sizes: other glimpses, classes or layers.
        """
        saved = checkpoint.load(source, self.core.device, KIND)
        if saved["architecture"] != asdict(self.network.sizes):
            raise ValueError(
                f"{source} holds a classifier of {saved['architecture']}: expected {asdict(self.network.sizes)}"
            )
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.updates = saved["updates"]
