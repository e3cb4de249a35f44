"""Training and test time of FCAN's localisers against RAM on crops: same images, network and epochs.

    python benchmarks/training_time.py --weights runs/finetune_backbone-cub-0/weights.pth

RAM passes the frozen network over every glimpse of every trajectory of every epoch; FCAN's localisers learn
on feature maps that are computed once. Both agents are started on a few pictures of noise of the data set's
size, and the seconds of an epoch after the first are scaled up to its images; the maps are timed apart and
added once. RAM's rows: with one trajectory per image as in the papers, and with the four of its recipe. A
test is all glimpses of an image, in a batch: FCAN's is a map, its localisers, and a pass of the network over
the image and over each part. Weights do not change the time: --weights None takes random ones. The paper
(section 4.1, a K40): 3 hours against 30 to train, 150 ms against 250 ms to test.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from options import Common
from reproduction import runs
from timing import timed

from glimpse_env import Backbone, checks, datasets
from glimpse_env.evaluation import trajectories
from glimpse_env.networks import registry
from glimpse_env.networks.fcan import FullyConvolutionalAttention
from glimpse_env.presets import resolve
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.training import environments

IMAGES = 100  # pictures that agents are trained on: a batch of RAM's recipe
TESTED = 16  # images that the times of maps and tests are measured on
CALLS = 3  # of those measurements
# All glimpses, always.
RAM = {"sensor": "crop", "curriculum": 0.0, "sure": 1.0, "augment": False, "batch": IMAGES, "glimpses": 3}


@dataclass(frozen=True)
class TrainingTime(Common):
    """Options of `training_time.py`."""

    epochs: int = 30
    """Passes over the images that the times are scaled up to."""
    updates: int = 2
    """Updates of RAM that are timed, after one that is not; of FCAN ten times as many epochs over the few pictures."""
    json: Path | None = None
    """Also write the table here."""


@dataclass(frozen=True)
class Pictures:
    """What both agents are started with."""

    folder: Path  # of the pictures, the weights and the runs
    options: dict[str, Any]  # that both agents take
    glimpse_size: int
    count: int  # images of the real data set


def prepare(options: TrainingTime, folder: Path) -> Pictures:
    """Write the pictures and the weights."""
    import torchvision  # slow to import, and --help does not need it

    preset = resolve(options.dataset, backbone=options.backbone)
    size = preset.image_size
    if preset.backbone is None or size is None or preset.glimpse_size is None:
        raise ValueError(
            f"--dataset {options.dataset}: expected cub, cars or dogs, whose presets have a backbone"
        )
    images = datasets.load(options.dataset, options.split, root=options.root, image_size=size)
    weights = options.weights
    if weights is None:
        weights = str(folder / "weights.pth")
        torch.save(torchvision.models.get_model(preset.backbone).state_dict(), weights)
    shared = {
        "dataset": timed.write_pictures(folder / "pictures", size, IMAGES // 2, TESTED // 2),
        "split": "train",
        "backbone": preset.backbone,
        "weights": weights,
        "image_size": size,
        "device": options.device,
        "threads": options.threads,
    }
    return Pictures(folder, shared, preset.glimpse_size, len(images))


def train(
    script: str, pictures: Pictures, epochs: int, name: str, **own: object
) -> tuple[dict[str, Any], float]:
    """Start an agent; return its checkpoint, and the seconds an image of its epochs after the first."""
    out = pictures.folder / name
    words = runs.format_options(pictures.options | own | {"epochs": epochs, "out": out})
    runs.start([str(runs.SCRIPTS / script), *words])
    saved = checkpoint.load(out / "checkpoint.pt")
    history = saved["progress"]["history"]
    return saved, (history[-1]["seconds"] - history[0]["seconds"]) / (epochs - 1) / IMAGES


def measure_ram(pictures: Pictures, updates: int, samples: int) -> dict[str, Any]:
    """Time updates of RAM on the crop sensor, and a test."""
    own = RAM | {"samples": samples, "glimpse_size": pictures.glimpse_size}
    saved, update = train("ram_reinforce.py", pictures, 1 + updates, f"ram-{samples}", **own)
    device = pictures.options["device"]
    env = environments.build_evaluation_environment(saved["environment"], "test", device, rows=TESTED)
    network = registry.rebuild(saved).to(env.device)

    def test() -> None:
        trajectories.evaluate(env, network, env.preset.max_glimpses)

    return {
        "row": f"RAM on crops, trajectories an image: {samples}",
        "update": update,
        "once": 0.0,
        "images": pictures.count,
        "test": timed.median_seconds(test, env.device, turns=1, calls=CALLS) / TESTED,
    }


def measure_fcan(pictures: Pictures, updates: int) -> dict[str, Any]:
    """Time updates of FCAN's localisers, the maps that they learn on, and a test."""
    from torchvision.transforms import v2  # slow to import, and --help does not need it

    size, shared = pictures.glimpse_size, pictures.options
    saved, update = train("fcan_greedy.py", pictures, 1 + 10 * updates, "fcan", crop_size=size, final="none")
    device = torch.device(shared["device"])
    network = registry.rebuild(saved).to(device)
    assert isinstance(network, FullyConvolutionalAttention)
    backbone = Backbone(shared["backbone"], shared["weights"], shared["device"])
    images = datasets.load(str(shared["dataset"]), "test", image_size=shared["image_size"])
    whole = torch.stack([images.image(number) for number in range(TESTED)]).to(device)
    crop = v2.functional.resize(whole, [size, size], antialias=True)

    @torch.no_grad()
    def test() -> None:
        network.best(backbone.map(whole))
        for _ in range(network.horizon):
            backbone(crop)

    maps = timed.median_seconds(lambda: backbone.map(whole), device, turns=1, calls=CALLS)
    return {
        "row": f"FCAN's localisers, {saved['options']['samples']} places a part",
        "update": update,
        "images": pictures.count,
        "once": maps / TESTED,
        "test": timed.median_seconds(test, device, turns=1, calls=CALLS) / TESTED,
    }


def table(rows: list[dict[str, Any]], epochs: int) -> list[dict[str, Any]]:
    """Return the rows with seconds an epoch and in all, and the ratio to FCAN's (the last row's); print them."""
    fcan = rows[-1]
    fcan_total = fcan["images"] * (fcan["once"] + epochs * fcan["update"])
    all_epochs = f"s for {epochs} epochs"
    lines = [["", "s an epoch", "x FCAN", "maps, s", all_epochs, "x FCAN", "test, ms an image"]]
    extended = []
    for row in rows:
        epoch, maps = row["update"] * row["images"], row["once"] * row["images"]
        total = maps + epochs * epoch
        each, in_all = row["update"] / fcan["update"], total / fcan_total
        totals = {"epoch": epoch, "maps": maps, "total": total}
        extended.append({**row, **totals, "times_an_epoch": each, "times_in_all": in_all})
        cells = [f"{epoch:.1f}", f"{each:.1f}", f"{maps:.0f}", f"{total:.0f}", f"{in_all:.1f}"]
        lines.append([row["row"], *cells, f"{1000 * row['test']:.0f}"])
    print(timed.align(lines))
    return extended


def main(options: TrainingTime) -> None:
    """Time all, then print and write the table."""
    options = terminal.prepare(options)
    checks.count("--epochs", options.epochs)
    checks.count("--updates", options.updates)
    with tempfile.TemporaryDirectory() as folder:
        pictures = prepare(options, Path(folder))
        rows = [measure_ram(pictures, options.updates, samples) for samples in (1, 4)]
        rows = table([*rows, measure_fcan(pictures, options.updates)], options.epochs)
    timed.write_json(options.json, options.device, epochs=options.epochs, rows=rows)


if __name__ == "__main__":
    with terminal.foreseen("training_time.py"):
        main(tyro.cli(TrainingTime, description=__doc__))
