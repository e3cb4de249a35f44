"""A run of one of torchrl's algorithms: options, environment, progress, evaluation and result."""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from glimpse_env.adapters.learned_classifier import Teaching
from glimpse_env.adapters.policy import describe
from glimpse_env.evaluation import trajectories
from glimpse_env.reports import results
from glimpse_env.rewards import ConfidenceGain, Priced
from glimpse_env.runtime import checkpoint, distributed, files, terminal
from glimpse_env.training import environments, resume, run_folder
from glimpse_env.training.optimizers import warm_up_and_decay
from glimpse_env.training.options import SeedOptions, View, check_numbers
from glimpse_env.training.trainer import Progress
from steering.policy import SteeringAgent, build_actor

LOGGED = 40  # rows of the history at most


@dataclass(frozen=True)
class PolicyOptions:
    """Environment and policy."""

    envs: int = 256
    """Number of rows: episodes that run in parallel."""
    total_steps: int = 1_000_000
    """Number of environment steps, summed over all rows."""
    steps: int = 32
    """Steps of each row per batch of torchrl's collector."""
    price: float = 0.01
    """Cost of every glimpse after the first. The reward is the increase of p(label) minus this price."""
    ignore_stops: float = 0.35
    """Fraction of the steps, at the start, in which stops are ignored, so that the classifier is trained on
    all glimpses."""
    hidden: int = 128
    """Units of each of the two hidden layers of policy and critic."""
    stop_bias: float = -0.3
    """Initial mean of the Gaussian stop action, which stops above 0; below 0, first episodes are long."""


@dataclass(frozen=True)
class SteeringOptions(SeedOptions, View, PolicyOptions):
    """Options of every algorithm."""

    classifier: Teaching = field(default_factory=Teaching)
    """Learned classifier."""


@dataclass
class Training:
    """What an algorithm learns with."""

    options: Any  # the script's
    env: Any  # a `GlimpseTorchRLEnv` of the form "steering"
    actor: Any  # torchrl's

    def collect(self, progress: Progress) -> Iterator[tuple[float, Any]]:
        """Yield the finished fraction of the run and a batch (env, time) of torchrl's collector, to its end.

        Stops are ignored at first, the classifier's learning rate falls, and the history gets its rows.
        """
        from torchrl.collectors import Collector

        options, steering = self.options, self.env.classifier
        frames, started = options.envs * options.steps, time.monotonic()
        rounds = max(1, options.total_steps // frames)
        steering.obeys_stop = options.ignore_stops <= 0
        batches = Collector(self.env, self.actor, frames_per_batch=frames, total_frames=rounds * frames)
        with tqdm(total=rounds * frames, unit="step", unit_scale=True, dynamic_ncols=True) as bar:
            for done, batch in enumerate(batches):
                yield done / rounds, batch
                share = (done + 1) / rounds
                steering.obeys_stop = share >= options.ignore_stops
                steering.optimizer.anneal(
                    warm_up_and_decay(share, max(1, options.total_steps // options.envs))
                )
                progress.epoch, progress.seconds = done + 1, time.monotonic() - started
                bar.update(frames)
                if (done + 1) % max(1, rounds // LOGGED) == 0 or done + 1 == rounds:
                    means = average_episodes(batch) | {"loss": steering.loss}
                    bar.set_postfix_str(terminal.live(means), refresh=False)
                    row = {"epoch": done + 1, "steps": bar.n, "seconds": round(progress.seconds, 2), **means}
                    progress.history.append(row)


def average_episodes(batch: Any) -> dict[str, float]:
    """Return means over the episodes that ended in a batch."""
    ended = batch["next"][batch["next", "done"].squeeze(-1)]
    columns = (
        batch["next", "reward"].mean(),
        ended["correct"].float().mean(),
        ended["glimpses"].float().mean(),
    )
    return dict(
        zip(("step_reward", "train_accuracy", "mean_glimpses"), torch.stack(columns).tolist(), strict=True)
    )


def check_options(agent: str, options: SteeringOptions) -> None:
    """Refuse invalid options, and several processes of torchrun."""
    distributed.refuse(agent)
    environments.check_split(options.split)
    check_numbers(options)


def run(
    agent: str, options: Any, spread: float, learn: Callable[[Training, Progress], nn.Module]
) -> dict[str, Any]:
    """Train by `learn`, evaluate once, write the result and return its row; `learn` returns its networks."""
    options = terminal.prepare(options)
    out = resume.checkpoint_path(agent, options).parent
    with ExitStack() as stack:
        with terminal.foreseen(agent):
            check_options(agent, options)
            from glimpse_env.adapters.torchrl import make_torchrl_env  # its error names the extra to install

            torch.manual_seed(options.seed)
            replaced = stack.enter_context(run_folder.claim(out, options))
            files.check_writable(out / "result.json")
            view: dict[str, Any] = environments.view(options) | {
                "split": options.split,
                "device": options.device,
            }
            reward = Priced(ConfidenceGain(), options.price)
            teaching = options.classifier
            env = make_torchrl_env(options.envs, form="steering", teaching=teaching, reward=reward, **view)
        run_folder.remove(replaced)
        classifier = env.classifier
        assert classifier is not None
        env.set_seed(options.seed)
        actor, progress = build_actor(env, options.hidden, spread, options.stop_bias), Progress()
        with terminal.interruptible(lambda: "a run is saved only when it is finished"):
            networks = learn(Training(options, env, actor), progress)
        saved = describe(agent, options, env.core) | {"progress": asdict(progress)}
        content = {"kind": "torchrl policy", "network": networks.state_dict()}
        checkpoint.save(out / "policy.pt", saved | content)
        classifier.save(out / "classifier.pt")
        policy = SteeringAgent(actor, env.core, classifier.network).eval()
        split = results.choose_result_split(options.split)
        test = environments.build_evaluation_environment(saved["environment"], split, options.device)
        evaluated = trajectories.evaluate(test, policy.to(test.device), test.preset.max_glimpses)
        with terminal.foreseen(agent):
            return results.record(out, saved, test, evaluated, split=split, libraries=("torchrl",))
