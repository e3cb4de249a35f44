"""What a training run with Stable-Baselines3 needs beside the library: schedules, a progress bar, a history, and the result row."""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from glimpse_env import GlimpseVectorEnv
from glimpse_env.adapters.sb3 import GlimpseVecEnv
from glimpse_env.adapters.sb3_policy import PolicyAgent
from glimpse_env.learning import checkpoint, evaluation, results, terminal
from glimpse_env.learning.augment import vary
from glimpse_env.learning.steering import LearnedClassifier
from glimpse_env.learning.training import Progress, rate

try:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import A2C, PPO
    from stable_baselines3.common.callbacks import BaseCallback
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'{error.name} is not installed: pip install "glimpse-env[sb3]"') from error

ALGORITHMS: dict[str, tuple[Any, str]] = {
    "ppo": (PPO, "MlpPolicy"),
    "a2c": (A2C, "MlpPolicy"),
    "recurrent_ppo": (RecurrentPPO, "MlpLstmPolicy"),
}


@dataclass
class Plan:
    """How a run goes on, and where it stands."""

    venv: GlimpseVecEnv
    action: str
    total_steps: int
    look_first: float  # share of the steps in which episodes have all glimpses
    augment: bool
    out: Path
    checking: GlimpseVectorEnv | None  # held-out images, absorbing
    seed: int = 0
    records: int = 20  # rows of the history
    progress: Progress = field(default_factory=Progress)

    @property
    def classifier(self) -> LearnedClassifier | None:
        """Return the classifier of steering."""
        return self.venv.env if isinstance(self.venv.env, LearnedClassifier) else None


class Watch(BaseCallback):
    """Between rollouts: anneal and vary, show and record."""

    def __init__(self, plan: Plan) -> None:
        """Begin the clock and the bar."""
        super().__init__()
        self.plan = plan
        self.bar = tqdm(total=plan.total_steps, unit="step", unit_scale=True)
        self.generator = torch.Generator(plan.venv.core.device).manual_seed(plan.seed)
        self.episodes = self.varied = 0
        self.started = time.monotonic()

    def _on_training_start(self) -> None:
        """Show changed images from the beginning."""
        if self.plan.augment:
            vary(self.plan.venv.core, self.generator)

    def _on_rollout_start(self) -> None:
        """Set what depends on the share of the run that is done."""
        share = self.num_timesteps / self.plan.total_steps
        core, classifier = self.plan.venv.core, self.plan.classifier
        if classifier is not None:
            classifier.optimizer.anneal(rate(share, max(1, self.plan.total_steps // self.plan.venv.num_envs)))
            classifier.obeys_stop = share >= self.plan.look_first
        if self.plan.augment and self.episodes - self.varied >= len(core.images):
            self.varied = self.episodes
            vary(core, self.generator)

    def _on_step(self) -> bool:
        """Count the episodes that ended."""
        self.episodes += int(np.count_nonzero(self.locals["dones"]))
        return True

    def _on_rollout_end(self) -> None:
        """Show how it goes; from time to time measure, record and save."""
        found = self.happened()
        self.bar.set_postfix_str(terminal.live(found), refresh=False)
        self.bar.update(self.num_timesteps - self.bar.n)
        due = len(self.plan.progress.history) + 1
        if self.num_timesteps * self.plan.records >= due * self.plan.total_steps:
            self.record(found)

    def happened(self) -> dict[str, float]:
        """Return means over the last episodes."""
        ended = list(self.model.ep_info_buffer or [])
        right = list(self.model.ep_success_buffer or [])
        means = {"reward": [row["r"] for row in ended], "mean_glimpses": [row["l"] for row in ended], "train_accuracy": right}
        return {name: float(np.mean(values)) if values else float("nan") for name, values in means.items()}

    def record(self, found: dict[str, float]) -> None:
        """Measure on held-out images, add a row to the history and to TensorBoard, and save model and classifier."""
        plan, progress = self.plan, self.plan.progress
        progress.epoch, progress.seconds = progress.epoch + 1, time.monotonic() - self.started
        classifier = plan.classifier
        row = {"epoch": progress.epoch, "steps": self.num_timesteps, "seconds": round(progress.seconds, 2), **found}
        if classifier is not None:
            row["loss"] = classifier.loss
        if plan.checking is not None:
            row |= held_out(plan, self.model)
        progress.history.append(row)
        for name, value in row.items():
            self.logger.record(f"glimpse/{name}", value)
        save(plan, self.model)

    def _on_training_end(self) -> None:
        """Stop the clock; save the end."""
        self.plan.progress.seconds = time.monotonic() - self.started
        self.bar.close()
        save(self.plan, self.model)


def agent_of(plan: Plan, model: Any) -> PolicyAgent:  # noqa: ANN401 - an on-policy algorithm of the library
    """Return what was learned so far."""
    classifier = plan.classifier
    return PolicyAgent(model.policy, plan.venv.core, plan.action, None if classifier is None else classifier.network)


def held_out(plan: Plan, model: Any) -> dict[str, float]:  # noqa: ANN401
    """Return accuracy and mean glimpses on held-out images."""
    assert plan.checking is not None
    looks = evaluation.look(plan.checking, agent_of(plan, model), plan.checking.preset.max_glimpses)
    accuracy, glimpses = looks.at(evaluation.learned_stops(looks))
    return {"validation_accuracy": accuracy, "validation_glimpses": glimpses}


def save(plan: Plan, model: Any) -> None:  # noqa: ANN401
    """Write model.zip, and classifier.pt where a classifier learns."""
    plan.out.mkdir(parents=True, exist_ok=True)
    model.save(plan.out / "model.zip")
    if plan.classifier is not None:
        plan.classifier.save(plan.out / "classifier.pt")


def report(plan: Plan, model: Any, identity: dict[str, Any], options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Measure what was learned on the images that the run answers for, each once; write, print and return the result row.

    Args:
        plan: The finished run.
        model: Its algorithm.
        identity: `agent`, and `environment`: the arguments that rebuild the look at the images.
        options: The script's options.
    """
    split = results.answers_for(options.split)
    env = evaluation.environment(identity["environment"], split, plan.venv.core.device)
    agent = agent_of(plan, model)
    looks = evaluation.look(env, agent, env.preset.max_glimpses)
    told = {"options": checkpoint.plain(options) | {"classifier": asdict(options.classifier)}, "precision": str(torch.float32)}
    saved = {**identity, **told, "dynamic": True, "progress": asdict(plan.progress), "command": checkpoint.command()}
    saved["architecture"] = asdict(agent.architecture)
    return results.record(plan.out, saved, env, looks, split=split, libraries=("stable-baselines3", "sb3-contrib"))


Schedule = Callable[[float], float]


def falling(peak: float) -> Schedule:
    """Return a rate that falls linearly with the share of the run that is left."""
    return lambda left: peak * max(left, 1e-3)
