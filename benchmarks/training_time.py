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
from glimpse_env.runtime import checkpoint, files, terminal
from glimpse_env.training import environments

IMAGES = 100  # pictures that agents are trained on: a batch of RAM's recipe
TESTED = 16  # images that the times of maps and tests are measured on
CALLS = 3  # of those measurements
Options = dict[str, Any]  # that both agents take
# All glimpses, always.
RAM = {"sensor": "crop", "curriculum": 0.0, "sure": 1.0, "augment": False, "batch": IMAGES, "glimpses": 3}


@dataclass(frozen=True)
class TrainingTime(Common):
    """Options of `training_time.py`."""

    epochs: int = 30
    """Passes over the images that the times are scaled up to."""
    updates: int = 2
    """Updates of RAM that are timed, after one that is not; of FCAN ten times as many."""
    json: Path | None = None
    """Also write the table here."""


def prepare(options: TrainingTime, folder: Path) -> tuple[Options, int, int]:
    """Write pictures and weights; return the agents' options, the glimpse size, and the number of images."""
    import torchvision  # slow to import, and --help does not need it

    preset = resolve(options.dataset, options.root, backbone=options.backbone)
    size, weights = preset.image_size, options.weights
    if preset.backbone is None or not isinstance(size, int) or preset.glimpse_size is None:
        raise ValueError(f"--dataset {options.dataset}: expected cub, cars or dogs, which have a backbone")
    images = datasets.load(options.dataset, options.split, root=options.root, image_size=size)
    if weights is None:
        weights = str(folder / "weights.pth")
        torch.save(torchvision.models.get_model(preset.backbone).state_dict(), weights)
    pictures = timed.write_pictures(folder / "pictures", size, IMAGES // 2, TESTED // 2)
    shared = {"dataset": pictures, "split": "train", "backbone": preset.backbone, "weights": weights}
    shared |= {"image_size": size, "device": options.device, "threads": options.threads}
    return shared, preset.glimpse_size, len(images)


def train(script: str, epochs: int, out: Path, options: Options) -> tuple[dict[str, Any], float]:
    """Start an agent; return its checkpoint, and the seconds an image of its epochs after the first."""
    words = runs.format_options(options | {"epochs": epochs, "out": out})
    runs.start([str(runs.SCRIPTS / script), *words])
    saved = checkpoint.load(out / "checkpoint.pt")
    history = saved["progress"]["history"]
    return saved, (history[-1]["seconds"] - history[0]["seconds"]) / (epochs - 1) / IMAGES


def measure_ram(folder: Path, shared: Options, size: int, updates: int, samples: int) -> dict[str, Any]:
    """Time updates of RAM on the crop sensor, and a test."""
    own = shared | RAM | {"samples": samples, "glimpse_size": size}
    saved, update = train("ram_reinforce.py", 1 + updates, folder / f"ram-{samples}", own)
    spec, device = saved["environment"], shared["device"]
    env = environments.build_evaluation_environment(spec, "test", device, rows=TESTED)
    network = registry.rebuild(saved).to(env.device)
    test = time_call(lambda: trajectories.evaluate(env, network, env.preset.max_glimpses), env.device)
    row = f"RAM on crops, trajectories an image: {samples}"
    return {"row": row, "update": update, "once": 0.0, "test": test}


def measure_fcan(folder: Path, shared: Options, size: int, updates: int) -> dict[str, Any]:
    """Time updates of FCAN's localisers, the maps that they learn on, and a test."""
    from torchvision.transforms import v2  # slow to import, and --help does not need it

    own = shared | {"crop_size": size, "final": "none"}
    saved, update = train("fcan_greedy.py", 1 + 10 * updates, folder / "fcan", own)
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

    maps = time_call(lambda: backbone.map(whole), device)
    row = {"row": f"FCAN's localisers, {saved['options']['samples']} places a part", "update": update}
    return row | {"once": maps, "test": time_call(test, device)}


def time_call(call: Callable[[], object], device: torch.device) -> float:
    """Return the mean seconds an image of a call on the tested ones, after one call to warm up."""
    call()
    return timed.time_call(call, device, CALLS) / TESTED


def table(rows: list[dict[str, Any]], epochs: int) -> list[dict[str, Any]]:
    """Return the rows with seconds an epoch and in all, and ratios to FCAN's (the last row); print them."""
    fcan = rows[-1]
    fcan_total = fcan["images"] * (fcan["once"] + epochs * fcan["update"])
    heads = ["s an epoch", "x FCAN", "maps, s", f"s for {epochs} epochs", "x FCAN", "test, ms an image"]
    lines, extended = [["", *heads]], []
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
    files.check_writable(options.json)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared, size, count = prepare(options, folder)
        rows = [measure_ram(folder, shared, size, options.updates, samples) for samples in (1, 4)]
        rows.append(measure_fcan(folder, shared, size, options.updates))
    rows = table([row | {"images": count} for row in rows], options.epochs)
    timed.write_json(options.json, options.device, epochs=options.epochs, rows=rows)


if __name__ == "__main__":
    with terminal.foreseen("training_time.py"):
        main(tyro.cli(TrainingTime, description=__doc__))
