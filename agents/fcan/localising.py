"""The stage that learns where the parts are, on feature maps that were computed once (FCAN, section 3.4, second stage)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from fcan import objective
from fcan.plan import FcanOptions
from fcan.setup import map_sensor
from glimpse_env import GlimpseVectorEnv, rewards
from glimpse_env.networks import fcan
from glimpse_env.networks.fcan import FullyConvolutionalAttention
from glimpse_env.training import trainer
from glimpse_env.training.trainer import Progress

CHUNK = 64  # images whose maps are read at a time where no update needs more


def maps_of(env: GlimpseVectorEnv, index: Int64[Tensor, " image"]) -> Float[Tensor, "image channel rows columns"]:
    """Return the cached feature maps of images."""
    return map_sensor(env).maps(index)


def chunks(env: GlimpseVectorEnv) -> Iterator[Int64[Tensor, " image"]]:
    """Yield the indices of all images of an environment, in order."""
    yield from torch.arange(len(env.images), device=env.device).split(CHUNK)


def standardise(network: FullyConvolutionalAttention, env: GlimpseVectorEnv) -> None:
    """Give the network the means and deviations of the channels over all cells of the training images' maps."""
    count, first, second = 0, torch.zeros_like(network.centre), torch.zeros_like(network.centre)
    for index in chunks(env):
        maps = maps_of(env, index)
        count += maps[:, 0].numel()
        first += maps.sum((0, 2, 3))
        second += maps.square().sum((0, 2, 3))
    network.centre.copy_(first / count)
    network.deviation.copy_((second / count - network.centre.square()).clamp_min(1e-6).sqrt())


def best_places(network: FullyConvolutionalAttention, env: GlimpseVectorEnv) -> Int64[Tensor, "image part"]:
    """Return the place of every part in every image of an environment."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network.best(maps_of(env, index)) for index in tqdm(list(chunks(env)), desc="places", unit="batch")]).cpu()


def accuracy(network: FullyConvolutionalAttention, env: GlimpseVectorEnv) -> float:
    """Return the share of an environment's images that are classified rightly: what episodes in it give, without copying maps about."""
    network.eval()
    right, a = 0, network.architecture
    with torch.no_grad():
        for index in chunks(env):
            maps = maps_of(env, index)
            features, chosen = network.standardised(maps), network.best(maps)
            parts = [fcan.pooled(features, chosen[:, part : part + 1], side)[:, 0] for part, side in enumerate(a.parts)]
            seen = torch.stack((features.mean((2, 3)), *parts), 1)
            answers = torch.stack([network.scores(step, seen).softmax(1) for step in range(network.horizon)]).mean(0)
            right += (answers.argmax(1) == env.images.labels.to(index.device)[index]).sum()
    return float(right) / len(env.images)


@dataclass(frozen=True)
class Setting:
    """What stays the same while parts are learned."""

    env: GlimpseVectorEnv  # of the training images; its sensor shows the map
    options: FcanOptions
    precision: torch.dtype
    validate: Callable[[], dict[str, float]]  # measures on held-out images
    record: Callable[[dict[str, Any]], None]  # of each epoch's row
    save: Callable[[Progress, dict[str, Any]], None]  # progress and the optimiser's state


class Localising:
    """The localisers' training from its first epoch to its last, so that it can be resumed."""

    def __init__(self, setting: Setting, network: FullyConvolutionalAttention, progress: Progress) -> None:
        """Set up RMSProp (FCAN, section 4.1; its second-moment decay is torch's default)."""
        self.setting, self.network, self.progress = setting, network, progress
        self.optimizer = torch.optim.RMSprop(network.parameters(), setting.options.learning_rate)
        options = setting.options
        self.trial = objective.Trial(
            options.samples, rewards.make(options.reward), options.dropout, options.where == "learned", setting.precision
        )

    def train(self) -> None:
        """Run the epochs that are left, saving before the first and after each."""
        options, progress = self.setting.options, self.progress
        if not progress.epoch:
            start = time.monotonic()
            standardise(self.network, self.setting.env)
            progress.seconds += time.monotonic() - start
        self.setting.save(progress, self.optimizer.state_dict())
        with tqdm(total=options.epochs, initial=progress.epoch, desc="localise", unit="epoch", dynamic_ncols=True) as bar:
            while progress.epoch < options.epochs:
                row = self.run_epoch()
                bar.set_postfix_str(f"reward {row['reward']:.3f}, accuracy {row['train_accuracy']:.1%}", refresh=False)
                bar.update()
                self.setting.save(progress, self.optimizer.state_dict())

    def run_epoch(self) -> dict[str, Any]:
        """Pass once over the training images and add a row to the history."""
        start, options, progress = time.monotonic(), self.setting.options, self.progress
        env, count = self.setting.env, len(self.setting.env.images)
        seed = trainer.epoch_seed(options.seed, progress)  # a resumed run draws what an uninterrupted one would
        torch.manual_seed(seed)  # of dropout
        generator = torch.Generator(env.device).manual_seed(seed)
        batches = torch.randperm(count, generator=generator, device=env.device).chunk(-(-count // options.batch))
        self.network.train()
        totals = torch.zeros(len(MEASURES), device=env.device)
        for done, index in enumerate(batches):
            share = (progress.epoch + done / len(batches)) / options.epochs
            self.anneal(trainer.warm_up_and_decay(share, options.epochs * len(batches)))
            totals += self.update(index, generator) * (len(index) / count)
        progress.epoch += 1
        progress.seconds += time.monotonic() - start
        row: dict[str, Any] = {"epoch": progress.epoch, "stage": "localise", "seconds": round(progress.seconds, 2)}
        row |= dict(zip(MEASURES, totals.tolist(), strict=True)) | {"mean_glimpses": float(self.network.horizon)}
        row |= self.setting.validate()
        progress.history.append(row)
        self.setting.record(row)
        return row

    def update(self, index: Int64[Tensor, " image"], generator: torch.Generator) -> Float[Tensor, " measure"]:
        """Take one step of RMSProp on a batch of images and return its measures."""
        env, options = self.setting.env, self.setting.options
        maps, labels = maps_of(env, index), env.images.labels.to(env.device)[index]
        tried = objective.attempt(self.network, maps, labels, self.trial, generator)
        found = objective.losses(tried, self.trial, options.loss_weight, options.baseline, options.label_smoothing)
        loss = torch.stack(list(found.values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            paid, right = tried.rewards.sum(0).mean(), tried.correct[-1].float().mean()
            return torch.stack((loss, found["classification"], paid, tried.rewards[1:].mean(), right, tried.entropy.mean()))

    def anneal(self, share: float) -> None:
        """Set the learning rate to a share of its peak."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.setting.options.learning_rate * share


MEASURES = ("loss", "classification", "reward", "reward_of_parts", "train_accuracy", "entropy")


def content(network: FullyConvolutionalAttention, progress: Progress, optimizer: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint holds of a training besides its description."""
    return {"network": network.state_dict(), "optimizer": optimizer, "progress": asdict(progress)}
