"""How long FCAN's localisers take to train, against RAM on crops: same images, same network, same epochs, measured in one run.

    python benchmarks/training_time.py --weights runs/finetune_backbone-cub-0/weights.pth

RAM passes the frozen network over every glimpse of every trajectory of every epoch; FCAN's localisers learn on feature maps that are
computed once. Both agents are started on a few pictures of noise of the data set's size, and the seconds of an epoch after the
first are counted up to its images; what the maps take is measured apart and added once. RAM's rows: with one trajectory per image
as in the papers, and with the four of its recipe. A test is all glimpses of an image, in a batch: FCAN's is a map, its localisers,
and a pass of the network over the image and over each part. Weights do not change the time: --weights None takes random ones. The
paper (section 4.1, a K40): 3 hours against 30 to train, 150 ms against 250 ms to test.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
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
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, files, terminal
from glimpse_env.training import environments

IMAGES = 100  # pictures that agents are trained on: a batch of RAM's recipe
TESTED = 16  # images that the times of maps and tests are measured on
TURNS = 3  # of those measurements
RAM = {
    "sensor": "crop",
    "curriculum": 0.0,
    "sure": 1.0,
    "augment": False,
    "batch": IMAGES,
    "glimpses": 3,
}  # all glimpses, always


@dataclass(frozen=True)
class TrainingTime(Common):
    """Options of `training_time.py`."""

    epochs: int = 30
    """Passes over the images that are counted up to."""
    updates: int = 2
    """Updates of RAM that are timed, after one that is not; of FCAN ten times as many epochs over the few pictures."""
    json: Path | None = None
    """Also write the table here."""


@dataclass(frozen=True)
class Pictures:
    """What both agents are started with."""

    folder: Path  # of the pictures, the weights and the runs
    options: dict[str, Any]  # that both agents take
    image_size: int
    glimpse_size: int
    count: int  # images of the real data set


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the mean seconds of some work, after a turn to warm up."""
    work()
    timed.synchronize(device)
    start = time.perf_counter()
    for _ in range(TURNS):
        work()
    timed.synchronize(device)
    return (time.perf_counter() - start) / TURNS


def prepare(options: TrainingTime, folder: Path) -> Pictures:
    """Write the pictures and the weights."""
    import torchvision  # slow to import, and --help does not need it

    preset = resolve(options.dataset, backbone=options.backbone)
    if preset.backbone is None or preset.image_size is None or preset.glimpse_size is None:
        raise ValueError(
            f"--dataset {options.dataset}: expected cub, cars or dogs, whose presets look through a network"
        )
    images = datasets.load(options.dataset, options.split, root=options.root, image_size=preset.image_size)
    pictures = timed.write_pictures(folder / "pictures", preset.image_size, IMAGES // 2, TESTED // 2)
    weights = options.weights
    if weights is None:
        weights = str(folder / "weights.pth")
        torch.save(torchvision.models.get_model(preset.backbone).state_dict(), weights)
    given = {
        "dataset": pictures,
        "split": "train",
        "backbone": preset.backbone,
        "weights": weights,
        "image_size": preset.image_size,
    }
    given |= {"device": options.device, "threads": options.threads}
    return Pictures(folder, given, preset.image_size, preset.glimpse_size, len(images))


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
    """Time updates of RAM on the crop sensor, and what looking at an image takes it at test time."""
    own = RAM | {"samples": samples, "glimpse_size": pictures.glimpse_size}
    saved, update = train("ram_reinforce.py", pictures, 1 + updates, f"ram-{samples}", **own)
    env = environments.build_evaluation_environment(
        saved["environment"], "test", pictures.options["device"], rows=TESTED
    )
    network = registry.rebuild(saved).to(env.device)
    test = (
        seconds_of(lambda: trajectories.evaluate(env, network, env.preset.max_glimpses), env.device) / TESTED
    )
    row = {
        "row": f"RAM on crops, trajectories an image: {samples}",
        "update": update,
        "once": 0.0,
        "images": pictures.count,
    }
    return row | {"test": test}


def measure_fcan(pictures: Pictures, updates: int) -> dict[str, Any]:
    """Time updates of FCAN's localisers, the maps that they learn on, and a test."""
    from torchvision.transforms import v2  # slow to import, and --help does not need it

    size = pictures.glimpse_size
    saved, update = train("fcan_greedy.py", pictures, 1 + 10 * updates, "fcan", crop_size=size, final="none")
    network = registry.rebuild(saved)
    assert isinstance(network, FullyConvolutionalAttention)
    given = pictures.options
    backbone = Backbone(given["backbone"], given["weights"], given["device"])
    device = torch.device(given["device"])
    network.to(device)
    test_images = datasets.load(str(given["dataset"]), "test", image_size=pictures.image_size)
    whole = torch.stack([test_images.image(number) for number in range(TESTED)]).to(device)
    crop = v2.functional.resize(whole, [size, size], antialias=True)

    @torch.no_grad()
    def test() -> None:
        network.best(backbone.map(whole))
        for _ in range(network.horizon):
            backbone(crop)

    row = {
        "row": f"FCAN's localisers, {saved['options']['samples']} places a part",
        "update": update,
        "images": pictures.count,
    }
    return row | {
        "once": seconds_of(lambda: backbone.map(whole), device) / TESTED,
        "test": seconds_of(test, device) / TESTED,
    }


def table(rows: list[dict[str, Any]], epochs: int) -> list[dict[str, Any]]:
    """Return the rows with seconds an epoch and in all, and how many times FCAN's (the last row's) they are; print them."""
    own = rows[-1]
    made = []
    print(
        f"{'':<38} {'s an epoch':>10} {'x FCAN':>7} {'maps, s':>8} {f's for {epochs} epochs':>16} {'x FCAN':>7} {'test, ms an image':>18}"
    )
    for row in rows:
        each, once = row["update"] * row["images"], row["once"] * row["images"]
        total, mine = once + epochs * each, own["images"] * (own["once"] + epochs * own["update"])
        ratios = {"times_an_epoch": row["update"] / own["update"], "times_in_all": total / mine}
        made.append({**row, "epoch": each, "maps": once, "total": total, **ratios})
        line = f"{row['row']:<38} {each:>10.1f} {ratios['times_an_epoch']:>7.1f} {once:>8.0f} {total:>16.0f} {ratios['times_in_all']:>7.1f}"
        print(f"{line} {1000 * row['test']:>18.0f}")
    return made


def main(options: TrainingTime) -> None:
    """Time all, then print and write the table."""
    options = terminal.prepare(options)
    for name in ("epochs", "updates"):
        checks.count(f"--{name}", getattr(options, name))
    with tempfile.TemporaryDirectory() as folder:
        pictures = prepare(options, Path(folder))
        rows = [measure_ram(pictures, options.updates, samples) for samples in (1, 4)]
        rows = table([*rows, measure_fcan(pictures, options.updates)], options.epochs)
    if options.json is not None:
        about = {
            "command": checkpoint.command(),
            "epochs": options.epochs,
            "rows": rows,
            "versions": results.collect_versions(),
        }
        files.write_json(options.json, about)


if __name__ == "__main__":
    with terminal.foreseen("training_time.py"):
        main(tyro.cli(TrainingTime, description=__doc__))
