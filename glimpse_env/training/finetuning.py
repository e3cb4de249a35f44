"""Fine-tuning of a torchvision classifier on whole images and zoomed crops (DT-RAM's and FCAN's step 0), epoch by epoch."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from glimpse_env import checks
from glimpse_env.backbone import DEVIATION, MEAN, build_classifier, final_layer
from glimpse_env.datasets import ImageSet
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.runtime import checkpoint
from glimpse_env.runtime.precision import named


@dataclass(frozen=True)
class Finetune:
    """Options of a fine-tuning."""

    dataset: str = "cub"
    """A named data set (cub, cars, dogs) or a folder of class folders."""
    root: Path | None = None
    """Folder of the data sets; default: GLIMPSE_DATA, else a cache folder in your home."""
    split: str = "train"
    """Training images: train (all), fit (without the validation twelfth), or fit:K/N (without fold K of N, which is then the result)."""
    backbone: str = "resnet50"
    """Name of a torchvision classifier."""
    weights: str | None = "DEFAULT"
    """Weights to start from: DEFAULT (torchvision's), or a file (a path, or a name inside GLIMPSE_WEIGHTS)."""
    image_size: int | None = None
    """Pixels a side of the stored images; default: the data set's preset."""
    view_size: int | None = None
    """Pixels a side of what the network sees; default: the data set's preset."""
    epochs: int = 30
    """Passes over the training images."""
    batch: int = 32
    """Images per update."""
    learning_rate: float = 0.005
    """Peak learning rate of SGD (momentum 0.9, Nesterov), reached in a short warm-up; it falls along a cosine."""
    head_rate: float = 0.01
    """The same for the new final layer."""
    weight_decay: float = 1e-4
    """L2 penalty of all weights."""
    label_smoothing: float = 0.1
    """Share of the target spread over all classes."""
    whole: float = 0.3
    """Share of the images that are seen nearly whole; the others are zoomed."""
    zoom: float = 0.08
    """Smallest share of the image's area in a zoomed crop."""
    seed: int = 0
    """Seeds the final layer, image order and crops."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; the log says which), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""
    out: Path | None = None
    """Folder for weights.pth, result.json and TensorBoard logs; default runs/finetune_backbone-DATASET-SEED."""

    resume: bool = False
    """Go on from the checkpoint in the output folder; the other options must be those it was started with."""


def new_classifier(name: str, weights: str | None, classes: int) -> nn.Module:
    """Return a torchvision classifier whose final layer is new and answers `classes` classes."""
    network = build_classifier(name, weights)
    final = final_layer(network)
    if final is None:
        raise ValueError(f"backbone={name!r}: no fully connected layer at its end, so there is none to replace; choose another network")
    layer = network.get_submodule(final)
    assert isinstance(layer, nn.Linear)  # `final_layer` looks for no other
    network.set_submodule(final, nn.Linear(layer.in_features, classes))
    return network


def normalised(images: UInt8[Tensor, "image channel height width"]) -> Float[Tensor, "image 3 height width"]:
    """Return colours (of grey images: three times their grey) as torchvision's weights expect them."""
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    colours = v2.functional.to_dtype(images, torch.float32, scale=True).expand(-1, 3, -1, -1)
    return v2.functional.normalize(colours, list(MEAN), list(DEVIATION))


class Finetuning:
    """A fine-tuning from its first update to its last, epoch by epoch, so that it can be resumed."""

    def __init__(self, options: Finetune, images: ImageSet, side: int, device: torch.device, out: Path) -> None:
        """Set up optimiser and schedule, and go on from a checkpoint where the options say so."""
        from torchvision.transforms import v2

        self.options, self.images, self.device, self.out = options, images, device, out
        network = new_classifier(options.backbone, options.weights, len(images.classes))
        self.network = network.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.epoch, self.seconds, self.precision = 0, 0.0, named("auto", device)
        checks.count("epochs", options.epochs)
        if options.split != "train" and not options.split.startswith("fit"):
            raise ValueError(f"--split {options.split}: expected train, fit or fit:K/N (training images)")
        self.updates = len(images) // options.batch
        if not self.updates:
            raise ValueError(f"--batch {options.batch}: the data set has {len(images)} training images; use a smaller batch")
        self.optimizer = optimizer_of(network, options)
        steps = options.epochs * self.updates
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: rate(step, steps))
        nearly_whole, zoomed = (v2.RandomResizedCrop(side, area, antialias=True) for area in ((0.8, 1.0), (options.zoom, 0.8)))
        choice = v2.RandomChoice([nearly_whole, zoomed], p=[options.whole, 1 - options.whole])
        self.crop = v2.Compose([choice, v2.RandomHorizontalFlip()])
        if options.resume:
            self.restore()

    def train(self) -> None:
        """Run the epochs that are left, saving after each."""
        from torch.utils.tensorboard import SummaryWriter  # not needed by --help

        if not self.epoch:
            self.save()
        left = (self.options.epochs - self.epoch) * self.updates
        with SummaryWriter(str(self.out)) as writer, tqdm(total=left, desc="fine-tune", unit="update", dynamic_ncols=True) as bar:
            while self.epoch < self.options.epochs:
                for name, value in self.run_epoch(bar).items():
                    writer.add_scalar(name, value, self.epoch)
                self.save()

    def run_epoch(self, bar: tqdm) -> dict[str, float]:
        """Pass once over the training images and return the epoch's means."""
        start, options = time.monotonic(), self.options
        torch.manual_seed(options.seed * 100_003 + self.epoch)  # a resumed run draws what an uninterrupted one would
        self.network.train()
        totals = torch.zeros(2, device=self.device)
        for index in torch.randperm(len(self.images)).split(options.batch)[: self.updates]:
            labels = self.images.labels[index].to(self.device)
            seen = torch.stack([self.crop(self.images.image(int(i))) for i in index]).to(self.device)
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                scores = self.network(normalised(seen))
            loss = F.cross_entropy(scores.float(), labels, label_smoothing=options.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            totals += torch.stack([loss.detach(), (scores.argmax(1) == labels).float().mean()])
            bar.update()
        loss, accuracy = (totals / self.updates).tolist()
        bar.set_postfix_str(f"epoch {self.epoch + 1}, loss {loss:.3f}, accuracy on crops {accuracy:.1%}")
        self.epoch, self.seconds = self.epoch + 1, self.seconds + time.monotonic() - start
        return {"loss": loss, "train_accuracy": accuracy}

    def save(self) -> None:
        """Write a checkpoint to go on from."""
        content = {
            "kind": "fine-tuning",
            "options": checkpoint.plain(self.options),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        checkpoint.save(self.out / "checkpoint.pt", content)

    def restore(self) -> None:
        """Go on from the checkpoint; it must have been made with the same options."""
        saved = checkpoint.load(self.out / "checkpoint.pt", self.device, "fine-tuning")
        checkpoint.check_same(self.out / "checkpoint.pt", saved["options"], checkpoint.plain(self.options))
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.epoch, self.seconds = saved["epoch"], saved["seconds"]


def rate(step: int, steps: int) -> float:
    """Return the learning rate as a share of its peak: a tenth of all steps to warm up, then a cosine to nothing."""
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, steps - warm))


def optimizer_of(network: nn.Module, options: Finetune) -> torch.optim.SGD:
    """Return SGD with a rate of its own for the new final layer."""
    last = network.get_submodule(final_layer(network) or "")
    head = [id(value) for value in last.parameters()]
    groups = [
        {"params": [value for value in network.parameters() if id(value) not in head], "lr": options.learning_rate},
        {"params": list(last.parameters()), "lr": options.head_rate},
    ]
    return torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=options.weight_decay)


@torch.no_grad()
def one_view(network: nn.Module, images: ImageSet, side: int, device: torch.device) -> Trajectories:
    """Answer every image once from its whole view, in full precision."""
    from torchvision.transforms import v2

    network.eval()
    sure, answers = [], []
    for index in tqdm(torch.arange(len(images)).split(64), desc="evaluate", unit="batch", dynamic_ncols=True):
        seen = v2.functional.resize(images.images[images.stored[index]].to(device), [side, side], antialias=True)
        best = network(normalised(seen)).softmax(1).max(1)
        sure.append(best.values.cpu())
        answers.append(best.indices.cpu())
    ones = torch.ones(1, len(images))
    return Trajectories(
        index=torch.arange(len(images)),
        labels=images.labels,
        predictions=torch.cat(answers)[None],
        confidence=torch.cat(sure)[None],
        stop=ones,
        locations=torch.zeros(1, len(images), 2),
    )
