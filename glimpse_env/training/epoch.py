"""One pass over the training images: its random numbers, batches and measures (see `trainer.Run.epochs`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from glimpse_env.runtime import distributed, terminal
from glimpse_env.training.optimizers import ScheduledDescent, warm_up_and_decay

if TYPE_CHECKING:
    from glimpse_env.training.trainer import Run

SHOW_EVERY = 10  # updates between two refreshes of the progress bar: reading a measure waits for the device


@dataclass
class Progress:
    """Progress of a run; saved with each epoch."""

    stage: int = 0
    epoch: int = 0  # finished epochs of this stage
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class Epoch:
    """One pass over the training images: its random numbers, its batches and its measures."""

    def __init__(self, run: Run, stage: str, count: int, bar: tqdm) -> None:
        """Seed the epoch's random numbers, so that a resumed run draws those of an uninterrupted one."""
        self.run, self.stage, self.count, self.bar = run, stage, count, bar
        self.start = time.monotonic()
        progress = run.progress
        seed = ((run.options.seed * 97 + progress.stage) * 100_003 + progress.epoch) % 2**62
        self.generator = torch.Generator(run.device).manual_seed(seed)
        torch.manual_seed(seed + distributed.rank() * 2**48)  # dropout draws from the global generator
        self.totals: dict[str, Tensor] = {}
        self.extra: dict[str, float] = {}
        self.updates = self.done = 0
        self.weight = 1.0  # of the current batch in the means: above 1 if it is larger than the others
        self.seconds: float | None = None

    @property
    def progress(self) -> float:
        """Finished fraction of the stage, in [0, 1]."""
        return (self.run.progress.epoch + self.done / max(1, self.updates)) / self.count

    @property
    def warm_up(self) -> float:
        """Learning rate as a fraction of its peak: `ScheduledDescent`'s --warm-up, then its --schedule."""
        given = self.run.options
        own: dict[str, Any] = {}
        if isinstance(given, ScheduledDescent):
            own = {"warm_up": given.warm_up, "schedule": given.schedule}
        return warm_up_and_decay(self.progress, self.count * self.updates, **own)

    def batches(self, images: int, batch: int, repeat: int = 1, drop_last: bool = True) -> Iterator[Tensor]:
        """Yield the indices of the images of each update, in random order.

        Args:
            images: Number of images.
            batch: Images per update, summed over all processes; this process gets its part.
            repeat: Number of consecutive copies of each image.
            drop_last: Leave out a last, smaller batch. Otherwise all images are divided evenly over batches
                of at most `batch` images.
        """
        order = torch.randperm(images, generator=self.generator, device=self.generator.device)
        whole = order[: images // batch * batch]
        parts = whole.split(batch) if drop_last else order.chunk(-(-images // batch))
        yield from self.each([part.repeat_interleave(repeat) for part in parts])

    def each(self, batches: list[Tensor]) -> Iterator[Tensor]:
        """Yield this process's part of each of the epoch's batches, moving the progress bar."""
        self.updates = len(batches)
        finished = self.run.progress.epoch * self.updates
        self.bar.total = self.count * self.updates
        if self.bar.n < finished:  # resumed
            self.bar.initial = self.bar.n = finished
        images = sum(map(len, batches))
        for self.done, indices in enumerate(batches):
            self.weight = len(indices) * self.updates / images
            yield distributed.part(indices)
        self.done = self.updates
        self.seconds = time.monotonic() - self.start

    def log(self, measures: Mapping[str, Tensor]) -> None:
        """Add the measures of an update, on the device; their means over images are shown and recorded."""
        totals = {name: self.totals.get(name, 0) + value * self.weight for name, value in measures.items()}
        self.totals, finished = totals, self.done + 1
        if finished % SHOW_EVERY == 0 or finished == self.updates:
            means = {name: value.item() / finished for name, value in totals.items()}
            self.bar.set_postfix_str(terminal.live(means), refresh=False)
            self.bar.update(finished % SHOW_EVERY or SHOW_EVERY)

    def add(self, measures: Mapping[str, float]) -> None:
        """Add measures of the whole epoch, such as the accuracy on held-out images."""
        self.extra |= measures

    def record(self) -> None:
        """Add the epoch to the history and to TensorBoard."""
        run, progress = self.run, self.run.progress
        progress.epoch += 1
        progress.seconds += time.monotonic() - self.start if self.seconds is None else self.seconds
        totals = {name: distributed.average(value).item() for name, value in self.totals.items()}
        means = {name: total / self.updates for name, total in totals.items()} | self.extra
        number = len(progress.history) + 1
        run.record({"epoch": number, "stage": self.stage}, means, number)
