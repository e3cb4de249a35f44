"""A wrapper in which a policy chooses locations and stops, and a classifier trained beside it predicts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
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

from glimpse_env import GlimpseVectorEnv, checks, tensor_checks
from glimpse_env.episode import join_location, split_location
from glimpse_env.networks.glimpse_classifier import (
    ClassifierSizes,
    Evidence,
    GlimpseClassifier,
    certainty,
    narrow,
)
from glimpse_env.runtime import checkpoint
from glimpse_env.sampling import sample_rows
from glimpse_env.training import optimizers
from glimpse_env.training.optimizers import Descent
from glimpse_env.training.options import RANGES

SIZE, SHARE = checks.whole(most=2**20), checks.real(0, 1)
TEACHING = dict.fromkeys(("hidden", "features", "batch", "updates", "memory"), SIZE)
TEACHING |= {"depth": checks.whole(most=2**10), "dropout": SHARE, "label_smoothing": SHARE}
TEACHING |= {name: RANGES[name] for name in Descent.__dataclass_fields__ if name in RANGES}
CLIP = 5.0  # largest gradient norm
KIND = "classifier"  # of its checkpoints


@dataclass(frozen=True)
class Teaching(Descent):
    """Sizes and training of the classifier."""

    hidden: int = 128
    """Units of the classifier's recurrent core."""
    features: int = 128
    """Units of its glimpse network's encoders of glimpse and location."""
    depth: int = 2
    """ReLU layers of its glimpse encoder."""
    dropout: float = 0.0
    """Share of a glimpse's values, and of its features, that is dropped in training."""
    batch: int = 256
    """Finished episodes per update of the classifier."""
    updates: int = 3
    """Updates of the classifier per such batch: one on it, the others on batches drawn from the last ones.
    Glimpses are expensive, since most of the time goes to the policy's algorithm; updates are cheap."""
    memory: int = 16
    """Number of last batches from which these are drawn."""
    label_smoothing: float = 0.0
    """Share of the target of the cross-entropy that is spread over all classes."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        for name, kind in TEACHING.items():
            object.__setattr__(
                self, name, checks.argument(f"the classifier's {name}", getattr(self, name), kind)
            )


def check_weights(options: Teaching, values: int, device: torch.device) -> None:
    """Refuse a classifier of glimpses of so many values that does not fit into memory (ValueError)."""
    wide, deep, hidden = options.features, options.depth, options.hidden
    weights = values * wide + deep * wide**2 + wide * hidden + 8 * hidden**2
    title = f"the classifier of hidden={hidden}, features={wide}, depth={deep}"
    checks.memory(title, 16 * weights, device)  # with their gradients and the optimiser's two averages


class Episodes(NamedTuple):
    """Finished episodes to train on."""

    glimpse: Float[Tensor, "time episode value"]
    location: Float[Tensor, "time episode axis"]
    length: Int64[Tensor, " episode"]  # glimpses taken; entries after them are of an earlier episode
    label: Int64[Tensor, " episode"]


class LearnedClassifier(VectorWrapper):
    """Fill in `prediction` by a recurrent classifier, trained beside the policy on the labels in `info`.

    Action: Box(-1, 1, (3,)): x and y of the next glimpse, stop if the third is above 0 (with zoom Box(-1, 1,
    (4,)): x, y, scale, stop). Observation: the
    environment's entries, `belief` (class,): the classifier's probabilities, and `confidence` (3,): log-odds
    of the top class, margin over the second, log of the entropy, so that a policy without memory can learn
    when to stop. Rewards come from the classifier's predictions.

    The loss is the mean cross-entropy over all glimpses of finished episodes (intermediate supervision,
    DT-RAM Eq. 8), minimised whenever a batch of them is full. The classifier's state is reset with each
    episode. Under AutoresetMode.DISABLED it stays as it is in finished rows, like the environment's.
    """

    def __init__(self, env: GlimpseVectorEnv, teaching: Teaching | None = None) -> None:
        """Build the classifier for the environment's glimpses; torch's global seed draws its weights.

        Raises:
            ValueError: Autoreset mode NEXT_STEP, or what does not fit into memory.
            TypeError: Not a `GlimpseVectorEnv`, or not a `Teaching`.
        """
        checks.instance("teaching", teaching, Teaching | None, "a Teaching or None")
        options = self.teaching = teaching or Teaching()
        checks.instance("env", env, GlimpseVectorEnv, "a GlimpseVectorEnv")
        if env.autoreset_mode == AutoresetMode.NEXT_STEP:
            raise ValueError(
                f"LearnedClassifier: autoreset_mode={env.autoreset_mode}: "
                "expected AutoresetMode.SAME_STEP or DISABLED, in which the last step's info has labels"
            )
        super().__init__(env)
        self.core = env
        self.axes = env.preset.axes
        sizes = {name: getattr(options, name) for name in ("hidden", "features", "depth", "dropout")}
        sizes["axes"] = self.axes
        values, classes = spaces.flatdim(env.sensor.space["glimpse"]), len(env.images.classes)
        horizon, device = env.preset.max_glimpses, env.device
        size = 4 * horizon * env.num_envs * values
        checks.memory(f"the glimpses of num_envs={env.num_envs}, max_glimpses={horizon}", size, device)
        check_weights(options, values, device)
        self.network = GlimpseClassifier(ClassifierSizes(values, classes, horizon, **sizes)).to(device)
        self.optimizer = optimizers.make(
            self.network, options.optimizer, options.learning_rate, options.muon_rate, options.weight_decay
        )
        self._set_spaces(classes)
        self._rows = torch.arange(env.num_envs, device=device)
        self._fractions = torch.arange(1, horizon + 1, device=device)[:, None] / horizon
        self._glimpses = torch.zeros(horizon, env.num_envs, values, device=device)
        self._locations = torch.zeros(horizon, env.num_envs, self.axes, device=device)
        self._done = torch.zeros(env.num_envs, dtype=torch.bool, device=device)
        self._certainty: dict[str, Tensor] = {}  # `belief` and `confidence`; none before the first reset
        self._waiting: list[Episodes] = []
        self._batches: deque[Episodes] = deque(maxlen=options.memory)
        self.learns = True  # False: the classifier is not trained
        self.obeys_stop = True  # False: every episode has all its glimpses, to train on late ones too
        self.updates = 0
        self.loss = float("nan")  # of the last update, nats a glimpse

    def _set_spaces(self, classes: int) -> None:
        """Set the spaces: the action of three numbers, and the observation with the classifier's entries."""
        belief = spaces.Box(0.0, 1.0, (classes,), np.float32)
        confidence = spaces.Box(-14.0, 14.0, (3,), np.float32)
        observed = self.core.single_observation_space
        assert isinstance(observed, spaces.Dict)
        entries = observed.spaces | {"belief": belief, "confidence": confidence}
        self.single_observation_space = spaces.Dict(entries)
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.axes + 1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Start an episode in every row, or in those of `reset_mask` (AutoresetMode.DISABLED only)."""
        observation, info = self.core.reset(seed=seed, options=options)
        fresh = (options or {}).get("reset_mask")
        if fresh is None:
            self._evidence = self.network.begin(self.num_envs)
        past = ~info["valid"]
        self._done = past if fresh is None else torch.where(fresh, past, self._done)
        return self._classify(observation, fresh), info

    def step(
        self, actions: Float[Tensor, "env action"]
    ) -> tuple[dict[str, Tensor], Float[Tensor, " env"], Bool[Tensor, " env"], Bool[Tensor, " env"], dict]:
        """Step every row; train on the episodes that end. `final_obs` holds the classifier's entries too."""
        tensor_checks.shape("action", actions, (self.num_envs, self.axes + 1), True, self.core.device)
        if not self._certainty:
            raise RuntimeError("step() before reset(): call reset() once to draw the first images")
        stop, before = (actions[:, self.axes] > 0) & self.obeys_stop, self._certainty
        action = split_location(actions[:, : self.axes]) | {"stop": stop, "prediction": before["belief"]}
        observation, reward, terminated, truncated, info = self.core.step(action)
        if self.core.autoreset_mode == AutoresetMode.DISABLED:
            ended, final, running = terminated & ~self._done, info, ~terminated
            self._done = terminated
        else:
            ended, final, running = info["_final_info"], info["final_info"], None
            self._done = ~info["valid"]
            info = info | {"final_obs": info["final_obs"] | before}
        if self.learns:
            self._collect(ended, final)
        return self._classify(observation, running), reward, terminated, truncated, info

    def sample_actions(self, generator: torch.Generator | None = None) -> Float[Tensor, "env action"]:
        """Return random actions for `step` (see `sample_rows`)."""
        return sample_rows(self.single_action_space, self.num_envs, self.core.device, generator)

    @torch.no_grad()
    def _classify(
        self, observation: dict[str, Tensor], rows: Bool[Tensor, " env"] | None = None
    ) -> dict[str, Tensor]:
        """Store the glimpses for training, update the classifier's state, return the policy's observation.

        `rows`: those whose glimpse is new; the state of the others stays. None = all.
        """
        time = (observation["step"].squeeze(1) * self.network.sizes.horizon).round().long() - 1
        self._glimpses[time, self._rows] = observation["glimpse"].flatten(1)
        self._locations[time, self._rows] = join_location(observation)
        self.network.eval()
        logits, evidence = self.network(observation, self._evidence)
        shown = certainty(logits)
        if rows is not None:
            new = rows[:, None]
            kept = zip(evidence, self._evidence, strict=True)
            evidence = Evidence(*(torch.where(new, value, old) for value, old in kept))
            shown = {name: torch.where(new, value, self._certainty[name]) for name, value in shown.items()}
        self._evidence, self._certainty = evidence, shown
        return observation | shown

    def _collect(self, ended: Bool[Tensor, " env"], final: dict[str, Tensor]) -> None:
        """Store the episodes that ended, and train on them once they fill a batch."""
        rows = ended.nonzero().squeeze(1)
        glimpses, locations = self._glimpses[:, rows], self._locations[:, rows]
        self._waiting.append(Episodes(glimpses, locations, final["glimpses"][rows], final["label"][rows]))
        if sum(len(part.label) for part in self._waiting) < self.teaching.batch:
            return
        columns = zip(*self._waiting, strict=True)
        self._batches.append(Episodes(*(torch.cat(parts, min(parts[0].ndim - 1, 1)) for parts in columns)))
        self._waiting = []
        self.update(self._batches[-1])
        for i in torch.randint(len(self._batches), (self.teaching.updates - 1,)).tolist():
            self.update(self._batches[i])

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

        Episodes are sorted, the longest first, so that those still running at a glimpse are a prefix and
        ended ones are not computed.
        """
        order = episodes.length.argsort(descending=True)
        length, label = episodes.length[order], episodes.label[order]
        glimpse, location = episodes.glimpse[:, order], episodes.location[:, order]
        running = (length[None] > torch.arange(int(length[0]), device=length.device)[:, None]).sum(1).tolist()
        evidence, total = self.network.begin(len(order)), glimpse.new_zeros(())
        smoothing = self.teaching.label_smoothing
        for time, rows in enumerate(running):
            observation = {"glimpse": glimpse[time, :rows], **split_location(location[time, :rows])}
            observation["step"] = self._fractions[time].expand(rows, 1)
            logits, evidence = self.network(observation, narrow(evidence, rows))
            loss = F.cross_entropy(logits, label[:rows], reduction="sum", label_smoothing=smoothing)
            total = total + loss
        return total / length.sum()

    def share(self, other: LearnedClassifier) -> None:
        """Use the network of another one from now on; ValueError if it has other sizes."""
        if other.network.sizes != self.network.sizes:
            raise ValueError(f"a classifier of {other.network.sizes}: expected {self.network.sizes}")
        self.network = other.network

    def describe(self) -> dict[str, Any]:
        """Return the classifier and its optimiser as the contents of a checkpoint."""
        content = {"kind": KIND, "architecture": asdict(self.network.sizes), "updates": self.updates}
        return content | {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def save(self, target: Path) -> None:
        """Write the classifier and its optimiser as a checkpoint, atomically."""
        checkpoint.save(target, self.describe())

    def load(self, source: Path) -> None:
        """Load what `save` wrote; ValueError if it has other sizes: other glimpses, classes or layers."""
        self.restore(checkpoint.load(source, self.core.device, KIND), str(source))

    def restore(self, saved: Mapping[str, Any], source: str) -> None:
        """Load what `describe` returned (a ValueError as in `load`); `source` is what the message names."""
        sizes = asdict(self.network.sizes)
        if {"axes": 2} | saved["architecture"] != sizes:
            raise ValueError(f"{source} holds a classifier of {saved['architecture']}: expected {sizes}")
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.updates = saved["updates"]
