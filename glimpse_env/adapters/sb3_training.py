"""What happens while Stable-Baselines3 trains: rates fall, images vary, a progress bar, a history, measures on held-out images."""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from glimpse_env.adapters.sb3_policy import PolicyAgent
from glimpse_env.adapters.sb3_run import Plan, save
from glimpse_env.evaluation import stopping_rules, trajectories
from glimpse_env.runtime import terminal
from glimpse_env.training.augment import vary
from glimpse_env.training.trainer import warm_up_and_decay

try:
    from stable_baselines3.common.callbacks import BaseCallback
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'{error.name} is not installed: pip install -e ".[sb3]"') from error


class Watch(BaseCallback):
    """Between rollouts: anneal and vary, show and record."""

    def __init__(self, plan: Plan) -> None:
        """Begin the clock and the bar."""
        super().__init__()
        self.plan = plan
        self.bar = tqdm(total=plan.total_steps, unit="step", unit_scale=True)
        self.generator = torch.Generator(plan.venv.core.device)
        self.episodes = self.varied = 0
        self.started = time.monotonic() - plan.progress.seconds
        self.unsaved = not plan.progress.history  # so that there is something to go on from at once

    def _on_training_start(self) -> None:
        """Show changed images from the beginning; a run that goes on draws other changes."""
        self.bar.update(self.num_timesteps)
        self.generator.manual_seed(self.plan.seed + self.num_timesteps)
        if self.plan.augment:
            vary(self.plan.venv.core, self.generator)

    def _on_rollout_start(self) -> None:
        """Save what was recorded, now that the policy has learned from it, and set what depends on the share of the run that is done."""
        if self.unsaved:
            save(self.plan, self.model)
            self.unsaved = False
        share = self.num_timesteps / self.plan.total_steps
        core, classifier = self.plan.venv.core, self.plan.classifier
        if classifier is not None:
            classifier.optimizer.anneal(warm_up_and_decay(share, max(1, self.plan.total_steps // self.plan.venv.num_envs)))
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
        """Measure on held-out images, add a row to the history and to TensorBoard, and save after the policy's update."""
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
        self.unsaved = True

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
    looks = trajectories.evaluate(plan.checking, agent_of(plan, model), plan.checking.preset.max_glimpses)
    accuracy, glimpses = looks.score_at(stopping_rules.LEARNED.find_stops(looks))
    return {"validation_accuracy": accuracy, "validation_glimpses": glimpses}


Schedule = Callable[[float], float]


def falling(peak: float) -> Schedule:
    """Return a rate that falls linearly with the share of the run that is left."""
    return lambda left: peak * max(left, 1e-3)
