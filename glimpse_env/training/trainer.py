"""The training loop: stages of epochs over the training images, each update one rollout, one loss, one optimiser step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from glimpse_env import GlimpseVectorEnv, Reward
from glimpse_env.networks.base import Agent
from glimpse_env.runtime import distributed
from glimpse_env.training.augment import vary
from glimpse_env.training.optimizers import Optimizer
from glimpse_env.training.rollout import Behaviour, Rollout, collect

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_EVERY = 10  # updates between two looks at the measures
CLIP = 5.0  # largest gradient norm
WARM_UP = 200  # updates, at most a tenth of the stage

Losses = dict[str, Tensor]
Measures = dict[str, Tensor]


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    name: str
    epochs: int
    behaviour: Callable[[float], Behaviour]  # from the share of the stage that is done
    losses: Callable[[Rollout], Losses]  # their sum is minimised
    measures: Callable[[Rollout], Measures]  # shown and logged: reward, train_accuracy, mean_glimpses
    optimizer: Optimizer
    reward: Reward  # of the environment during this stage
    decides: bool = True  # the network's stop head is asked
    frozen: bool = False  # only heads are trained, on a network that behaves as in evaluation (no dropout)
    env: GlimpseVectorEnv | None = None  # where it is trained; None = the run's environment


@dataclass
class Progress:
    """Where a run stands; everything here is saved with each epoch."""

    stage: int = 0
    epoch: int = 0  # finished epochs of this stage
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """What stays the same during a run."""

    env: GlimpseVectorEnv  # num_envs = batch * samples, AutoresetMode.DISABLED
    network: Agent
    samples: int
    seed: int
    augment_shift: float | None  # of random changes of the images, anew each epoch; None = no changes
    precision: torch.dtype
    writer: SummaryWriter | None  # of the first process
    validate: Callable[[int], dict[str, float]]  # from the number of glimpses to measures on held-out images
    save: Callable[[Progress, Optimizer], None]


def train(setting: Setting, stages: list[Callable[[], Stage]], progress: Progress, optimizer: list[dict[str, Any]] | None = None) -> None:
    """Run the stages from where `progress` stands, saving before the first epoch and after each.

    Each stage is made when it begins, since a later one may freeze what an earlier one trains. `optimizer` is the saved state of
    the stage to go on with.
    """
    while progress.stage < len(stages):
        stage = stages[progress.stage]()
        if optimizer is not None:
            stage.optimizer.load_state_dict(optimizer)
        optimizer = None
        setting.save(progress, stage.optimizer)
        env = stage.env or setting.env
        updates = len(env.images) // batch_of(setting, env)
        known = {"total": stage.epochs * updates, "initial": progress.epoch * updates, "disable": not distributed.first()}
        with tqdm(**known, desc=stage.name, unit="update", dynamic_ncols=True) as bar:
            while progress.epoch < stage.epochs:
                run_epoch(setting, stage, progress, bar)
                setting.save(progress, stage.optimizer)
        progress.stage, progress.epoch = progress.stage + 1, 0


def batch_of(setting: Setting, env: GlimpseVectorEnv) -> int:
    """Return the images of an update, those of all processes together."""
    return env.num_envs // setting.samples * distributed.count()


def run_epoch(setting: Setting, stage: Stage, progress: Progress, bar: tqdm) -> None:
    """Pass once over the training images and add a row to the history."""
    start = time.monotonic()
    env = stage.env or setting.env
    generator = torch.Generator(env.device).manual_seed(epoch_seed(setting.seed, progress))
    torch.manual_seed(epoch_seed(setting.seed, progress) + distributed.rank() * 2**48)  # dropout draws from the global generator
    if setting.augment_shift is not None:
        vary(env, generator, setting.augment_shift)
    batches = list(shuffled(len(env.images), batch_of(setting, env), setting.samples, generator))
    env.reward = stage.reward
    totals: dict[str, Tensor] = {}
    setting.network.train(not stage.frozen)
    setting.network.decides = stage.decides
    for done, indices in enumerate(batches):
        share = (progress.epoch + done / len(batches)) / stage.epochs
        stage.optimizer.anneal(rate(share, stage.epochs * len(batches)))
        rollout = collect(env, setting.network, stage.behaviour(share), generator, distributed.part(indices), setting.precision)
        totals = {name: totals.get(name, 0) + value for name, value in update(setting.network, stage, rollout).items()}
        if (done + 1) % LOG_EVERY == 0 or done + 1 == len(batches):
            show(bar, done + 1, totals)
    setting.network.decides = True
    progress.epoch += 1
    progress.seconds += time.monotonic() - start
    means = {name: distributed.average(value).item() / len(batches) for name, value in totals.items()}
    record(setting, stage, progress, means | setting.validate(stage.behaviour(progress.epoch / stage.epochs).steps))


def update(network: nn.Module, stage: Stage, rollout: Rollout) -> dict[str, Tensor]:
    """Take one optimiser step and return what is worth watching, on the device."""
    losses = stage.losses(rollout)
    loss = torch.stack(list(losses.values())).sum()
    stage.optimizer.zero_grad()
    loss.backward()
    distributed.average_gradients(network.parameters())
    nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    stage.optimizer.step()
    with torch.no_grad():
        return {"loss": loss.detach(), **stage.measures(rollout)}


def shuffled(images: int, batch: int, samples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of each update's rows: every image at most once an epoch, `samples` rows side by side for each."""
    order = torch.randperm(images, generator=generator, device=generator.device)
    for part in order[: images // batch * batch].split(batch):
        yield part.repeat_interleave(samples)


def rate(share: float, updates: int) -> float:
    """Return the learning rate as a share of its peak: a short warm-up, then a straight fall to nearly 0."""
    warm = min(1.0, (share * updates + 1) / min(WARM_UP, 1 + updates / 10))
    return warm * max(1e-3, 1 - share)


def epoch_seed(seed: int, progress: Progress) -> int:
    """Return a seed of its own for every epoch, so that a resumed run draws what an uninterrupted one would."""
    return ((seed * 97 + progress.stage) * 100_003 + progress.epoch) % 2**62


def show(bar: tqdm, done: int, totals: Mapping[str, Tensor]) -> None:
    """Bring the progress bar to `done` updates of this epoch, with the epoch's means so far."""
    means = {name: value.item() / done for name, value in totals.items()}
    live = f"reward {means['reward']:.3f}, accuracy {means['train_accuracy']:.2%}, glimpses {means['mean_glimpses']:.2f}"
    bar.set_postfix_str(live, refresh=False)
    bar.update(LOG_EVERY if done % LOG_EVERY == 0 else done % LOG_EVERY)


def record(setting: Setting, stage: Stage, progress: Progress, measures: dict[str, Any]) -> None:
    """Add the epoch to the history and to TensorBoard."""
    row = {"epoch": len(progress.history) + 1, "stage": stage.name, "seconds": round(progress.seconds, 2), **measures}
    progress.history.append(row)
    if setting.writer is None:
        return
    for name, value in measures.items():
        setting.writer.add_scalar(name, value, row["epoch"])
