"""Fine-tune a classifier on a data set: step 0 of DT-RAM, FCAN and most glimpse agents.

    python agents/finetune_backbone.py --dataset cub                     # on all training images
    python agents/finetune_backbone.py --dataset cub --split fit:1/5     # without fold 1, which is the test
    python agents/finetune_backbone.py --dataset cub --paper             # as DT-RAM's, for its --paper
    python agents/ram_reinforce.py --dataset cub --weights runs/finetune_backbone-cub-0/weights.pth

Each batch mixes nearly whole images (a fraction `--whole`) and zoomed crops, so that one frozen network
serves the first view and the glimpses. The result is the one-view baseline: the accuracy on whole images.
`--paper` tunes as DT-RAM's authors do, on 448 x 448 crops of 512 x 512 images; use its weights with
`ram_reinforce.py --paper` and `dtram_reinforce.py --paper`.

In Python `main(FinetuneOptions(...), Classifier(network, head=("fc",)))` tunes any torch module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from glimpse_env import checks, datasets
from glimpse_env.backbone import Classifier, build_classifier
from glimpse_env.datasets import ImageSet
from glimpse_env.evaluation import metrics
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.presets import resolve
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files
from glimpse_env.training import resume
from glimpse_env.training.command_line import parse
from glimpse_env.training.finetuning import normalise, predict, replace_head
from glimpse_env.training.optimizers import Optimizer, warm_up_and_decay
from glimpse_env.training.options import DataOptions, Running
from glimpse_env.training.trainer import Run

if TYPE_CHECKING:
    from torchvision.transforms import v2

AGENT = "finetune_backbone"


@dataclass(frozen=True)
class TuningOptions:
    """The classifier, its input and its training."""

    paper: bool = False
    """Use DT-RAM's settings as defaults: those of the network that a RAM or DT-RAM with --paper is to use."""
    backbone: str = "resnet50"
    """Name of a torchvision classifier, or timm:NAME (timm:NAME@SIDE for inputs of SIDE x SIDE pixels)."""
    weights: str | None = "DEFAULT"
    """Weights to start from: DEFAULT (the library's), or a file (a path, or a name in GLIMPSE_WEIGHTS)."""
    image_size: int | None = None
    """Side in pixels of the stored images; default: the data set's preset."""
    view_size: int | None = None
    """Side in pixels of the network's input; default: the data set's preset."""
    first_crop: float | None = None
    """Fraction of the image's side that is measured, a centred crop; default: the preset's, all of it."""
    epochs: int = 30
    """Number of passes over the training images."""
    batch: int = 32
    """Images per update."""
    learning_rate: float = 0.005
    """Peak learning rate of SGD (momentum 0.9), after a short warm-up; then a cosine."""
    head_rate: float = 0.01
    """Peak learning rate of the new final layer, on the same schedule."""
    step_decay: bool = False
    """Start at the peak rates, and divide them by 10 after each third of the epochs."""
    nesterov: bool = True
    """Nesterov's momentum; off = plain momentum."""
    weight_decay: float = 1e-4
    """L2 penalty of all weights."""
    label_smoothing: float = 0.1
    """Label smoothing: fraction of the cross-entropy's target that is spread over all classes."""
    whole: float = 0.3
    """Fraction of images shown nearly whole; the others are zoomed crops."""
    whole_area: float = 0.8
    """Smallest nearly whole crop, and largest zoomed one, as a fraction of the image's area."""
    zoom_area: float = 0.08
    """Smallest zoomed crop, as a fraction of the image's area."""
    colour: float = 0.0
    """Largest random change of brightness, contrast and saturation, as a fraction; 0 = none."""


@dataclass(frozen=True)
class FinetuneOptions(Running, DataOptions, TuningOptions):
    """Options of `finetune_backbone.py`."""

    dataset: str = "cub"
    split: str = "train"


# DT-RAM's step 0 (Li et al. 2017, section 4: 448 x 448 crops of 512 x 512 images, augmentation of scale and
# colour, weight decay), and its code where the paper is silent: rate, weight decay, strength of the colours.
PAPER: dict[str, Any] = (
    dict(split="train", view_size=448, first_crop=448 / 512, epochs=90, batch=28, precision="float32")
    | dict(learning_rate=0.01, head_rate=0.01, step_decay=True, nesterov=False, weight_decay=1e-4)
    | dict(label_smoothing=0.0, whole=1.0, whole_area=(448 / 512) ** 2, colour=0.4)
)
RECIPES = {"paper": datasets.expand_kinds({"photographs": PAPER})}


def build_augmentation(options: FinetuneOptions, side: int) -> v2.Transform:
    """Return the transform to `side` x `side` crops, nearly whole or zoomed, half of them mirrored."""
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    edge = options.whole_area
    areas, shares = ((edge, 1.0), (options.zoom_area, edge)), [options.whole, 1 - options.whole]
    crops = [v2.RandomResizedCrop(side, area, antialias=True) for area in areas]
    colours = [v2.ColorJitter(*[options.colour] * 3)] if options.colour else []
    return v2.Compose([v2.RandomChoice(crops, p=shares), v2.RandomHorizontalFlip(), *colours])


def build_optimizer(classifier: Classifier, options: FinetuneOptions) -> Optimizer:
    """Return SGD with a separate learning rate for the new final layers."""
    network = classifier.network
    head = [value for layer in classifier.head for value in network.get_submodule(layer).parameters()]
    rest = [value for value in network.parameters() if not any(value is other for other in head)]
    groups = [{"params": rest, "lr": options.learning_rate}, {"params": head, "lr": options.head_rate}]
    given = {"nesterov": options.nesterov, "weight_decay": options.weight_decay}
    sgd = torch.optim.SGD(groups, momentum=0.9, **given)
    return Optimizer([sgd], list(network.parameters()), clip=None)


def scale_rate(step: int, steps: int, step_decay: bool = False) -> float:
    """Return the learning rate / its peak: warm-up in a tenth of the steps, then a cosine, or by steps."""
    if step_decay:
        return warm_up_and_decay(step / steps, steps, warm_up=0, schedule="step")
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, steps - warm))


def train(run: Run, classifier: Classifier, images: ImageSet, side: int) -> None:
    """Fine-tune all layers with the cross-entropy of random crops of `side` x `side` pixels."""
    options: FinetuneOptions = run.options
    if len(images) < options.batch:
        found = f"the data set has {len(images)} training images"
        raise ValueError(f"--batch {options.batch}: {found}; use a smaller batch")
    optimizer, augment = build_optimizer(classifier, options), build_augmentation(options, side)
    network, expected = classifier.network, classifier.preprocessing
    labels = images.labels.to(run.device)
    for epoch in run.epochs(options.epochs, "fine-tune", optimizer):
        network.train()
        for indices in epoch.batches(len(images), options.batch):
            crops = torch.stack([augment(images.image(index)) for index in indices.tolist()]).to(run.device)
            with torch.autocast(run.device.type, run.precision, enabled=run.precision != torch.float32):
                logits = network(normalise(crops, expected))
            cross = F.cross_entropy(logits.float(), labels[indices], label_smoothing=options.label_smoothing)
            step = run.progress.epoch * epoch.updates + epoch.done
            scale = scale_rate(step, options.epochs * epoch.updates, options.step_decay)
            loss = optimizer.update({"classification": cross}, scale)
            epoch.log({"loss": loss, "train_accuracy": (logits.argmax(1) == labels[indices]).float().mean()})


def evaluate(
    classifier: Classifier, images: ImageSet, side: int, device: torch.device, crop: float = 1.0
) -> Trajectories:
    """Return the predictions for whole images, or their centred crops, as trajectories of one glimpse."""
    best = predict(classifier, images, side, device, crop).max(1)
    return Trajectories(
        index=torch.arange(len(images)),
        labels=images.labels,
        predictions=best.indices[None],
        confidence=best.values[None],
        stop=torch.ones(1, len(images)),
        locations=torch.zeros(1, len(images), 2),
    )


class FinetuneRun(Run):
    """A run whose checkpoint holds a classifier instead of an agent, so `evaluate.py` refuses it."""

    kind = "classifier"


def check_options(options: FinetuneOptions) -> None:
    """Refuse invalid options, before any image is read."""
    check_split(options.split)
    if options.zoom_area > options.whole_area:
        most = f"expected at most --whole-area, {options.whole_area}"
        raise ValueError(f"--zoom-area {options.zoom_area}: {most}")


def check_split(split: str) -> None:
    """Refuse a split that is not of training images."""
    if split != "train" and datasets.held_out(split) is None:
        raise ValueError(f"--split {split}: expected train, fit or fit:K/N (training images)")


def describe(options: FinetuneOptions, images: ImageSet, image_size: int | None) -> dict[str, Any]:
    """Return the contents of a checkpoint by which a resumed run is identified."""
    plain = checkpoint.plain(options)
    content = {"agent": AGENT, "options": plain, "command": checkpoint.command()}
    content |= {"data": resume.describe_data(images, image_size)}
    return content | {"weights_sha256": resume.weights_hash(plain)}


def write_weights(path: Path, network: nn.Module) -> None:
    """Write the weights: matrices in float16; vectors in float32, since variances may be larger."""
    state = network.state_dict()
    small = {name: value.half() if value.ndim > 1 else value for name, value in state.items()}
    files.write_torch(path, small)


def build_row(
    agent: str, options: Any, split: str, trajectories: Trajectories, seconds: float, device: torch.device
) -> dict[str, Any]:
    """Return the row of a result that is measured without an environment."""
    return {
        "agent": agent,
        "dataset": options.dataset,
        "split": split,
        **metrics.summarize(trajectories, dynamic=False),
        "train_seconds": round(seconds, 1),
        "device": str(device),
        "seed": options.seed,
        "command": checkpoint.command(),
        "versions": results.collect_versions(),
        "options": checkpoint.plain(options),
    }


def build_network(
    options: FinetuneOptions, classifier: Classifier | None, classes: int, device: torch.device
) -> Classifier:
    """Return the classifier of the options, or the given one, with new final layers, on the device."""
    layout = torch.channels_last
    if classifier is None:
        classifier = build_classifier(options.backbone, options.weights, classes)
    else:  # whose own code may not allow another layout
        classifier, layout = replace_head(classifier, classes), torch.contiguous_format
    network = classifier.network.to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]
    return classifier._replace(network=network)


def main(options: FinetuneOptions, classifier: Classifier | None = None) -> dict[str, Any]:
    """Fine-tune, write the weights, evaluate once, and return the row of the result.

    `classifier`: any other than those that the options name; they then name its class, and no weights.
    """
    if classifier is not None:
        options = replace(options, backbone=type(classifier.network).__name__, weights=None)
    name = checkpoint.run_name(AGENT, options.dataset, options.split, options.seed, usual="train")
    options = replace(options, out=options.out or Path("runs") / name)
    with FinetuneRun.open(AGENT, options, check_options, alone=True) as run:
        options, out = run.options, run.checkpoint.parent
        sizes = {name: getattr(options, name) for name in ("image_size", "view_size", "first_crop")}
        preset = resolve(options.dataset, options.root, **sizes)
        size, side = preset.image_size, preset.view_size or preset.glimpse_size
        if not isinstance(size, int) or side is None:
            lacking = "give --image-size and --view-size, for which it has no presets"
            raise ValueError(f"--dataset {options.dataset}: {lacking}")
        device = checks.device(options.device)
        place = {"root": options.root, "image_size": size}
        images = datasets.load(options.dataset, options.split, **place)
        tuned = build_network(options, classifier, len(images.classes), device)
        run.start(tuned.network, describe(options, images, size), device)
        train(run, tuned, images, side)
        write_weights(out / "weights.pth", tuned.network)
        split = results.choose_result_split(options.split)
        measured = datasets.load(options.dataset, split, **place)
        predictions = evaluate(tuned, measured, side, device, preset.first_crop)
        row = build_row(AGENT, options, split, predictions, run.progress.seconds, device)
        row["data_sha256"] = measured.digest()
        files.write_json(out / "result.json", row)
        predictions.save(out / "looks.npz")
    print(f"{results.format_row(row)}\nweights: {out / 'weights.pth'}")
    return row


if __name__ == "__main__":
    main(parse(FinetuneOptions, RECIPES, {}, __doc__ or ""))
