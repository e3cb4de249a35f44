"""Golden results: hashes of a few updates of every agent, which show that moving code changes no bit.

    python tests/golden/golden.py record golden.json     # before
    python tests/golden/golden.py compare golden.json    # after: names runs that differ, exits with 1

Hashes hold on one machine only: kernels differ between CPUs and versions of torch.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
SIDE = 48
ANY = "--seed 3"
LOOK = f"{ANY} --precision float32 --image-size 32 --batch 8 --hidden 16"
NET = f"{LOOK} --features 16 --epochs 3"
RAM, DTRAM = f"ram_reinforce {NET}", f"dtram_reinforce {NET}"
RESNET = "--backbone resnet18 --weights None"
FROZEN = f"ram_reinforce {ANY} --precision float32 --image-size {SIDE} --batch 8 {RESNET}"
FROZEN += " --hidden 16 --features 16 --epochs 2"
BANK = f"--sensor bank {RESNET} --glimpse-size 32 --grid 3"
FCAN = f"fcan_greedy {ANY} --backbone resnet18 --start None --split fit:1/3 --image-size 64 --crop-size 32"
PPO = f"cleanrl_ppo {ANY} --precision float32 --image-size 32 --envs 8 --steps 8"
SB3 = f"sb3_ppo {ANY} --algo ppo --image-size 32 --glimpses 3 --num-envs 8 --n-steps 8"
CLASSIFIER = "--classifier.updates 20 --classifier.hidden 16 --classifier.features 8 --classifier.batch 16"
PAPER = "--baseline learned --learned-start --reward delayed --location-discount 1 --sure 1 --optimizer sgd"
PAPER += " --location-encoding linear --encoder-layers 1 --no-augment --first-view glimpse"
CONVOLUTIONS = "--glimpse-encoder conv --skip-connection --glimpse-size 12 --optimizer adamw"
MAP = "--locator map --first-view image --reward information_gain --scores mean --dropout 0.2"

# Command lines, by name; `run` adds script folder, data set, output folder, device and threads.
RUNS: dict[str, str] = {
    "ram": RAM,
    "ram_samples": f"{RAM} --samples 2 --core lstm --reward confidence --sure 1 --location-discount 1",
    "ram_paper_like": f"{RAM} {PAPER}",
    "ram_convolutions": f"{RAM} {CONVOLUTIONS} --reward greedy --explore 0.4",
    "ram_map_locator": f"{RAM} {MAP}",
    "ram_random": f"{RAM} --policy random --no-supervision",
    "ram_grid": f"{RAM} --policy grid --grid 3",
    "ram_bank": f"{FROZEN} --sensor bank --glimpse-size 32 --view-size 32 --grid 3",
    "ram_crop": f"{FROZEN} --sensor crop --glimpse-size 32 --view-size 32 --no-augment",
    "ram_map": f"{FROZEN} --sensor map --view-size 64 --no-augment",
    "dtram": DTRAM,
    "dtram_sampled": f"{DTRAM} --stop-gradient sampled --stop-input state --finetune all --gamma 0.9",
    "dtram_held_out": f"{DTRAM} --split fit:1/2 --stop-split validation:1/2",
    "sermanet": f"sermanet_rnn {LOOK} --epochs 3 --encoder-layers 1 --features 8",
    "sermanet_bank": f"sermanet_rnn {LOOK} --epochs 2 --encoder-layers 0 {BANK}",
    "fcan": f"{FCAN} --parts 1 2 --samples 4 --epochs 2 --tune-epochs 1 --precision float32",
    "finetune": f"finetune_backbone {ANY} {RESNET} --image-size {SIDE} --view-size 32 --batch 8 --epochs 2",
    "cleanrl_ppo": f"{PPO} --total-steps 256 --hidden 16",
    "sb3_ppo": f"{SB3} --batch-size 32 --n-epochs 2 --total-steps 256 {CLASSIFIER}",
}
FILES = ("checkpoint.pt", "run.pt", "model.zip", "classifier.pt", "weights.pth", "result.json", "looks.npz")
MEASURED = ("accuracy", "mean_glimpses", "accuracy_at", "error")  # what a row states of the agent alone


def paint(folder: Path) -> Path:
    """Write three classes of small coloured pictures, 36 for training and 9 for testing."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 36), ("test", 9)):
        for number in range(count):
            pixels = generator.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
            top, left = generator.integers(0, SIDE - 16, 2)
            pixels[top : top + 16, left : left + 16, number % 3] += 120
            target = folder / split / "abc"[number % 3] / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(target)
    return folder


def tensors(value: object) -> list[torch.Tensor]:
    """Return all tensors in nested containers."""
    if isinstance(value, torch.Tensor):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in inside for tensor in tensors(part)]


def digest(pieces: list[bytes]) -> str:
    """Return a hash of pieces in any order: modules may be renamed."""
    hashes = sorted(hashlib.sha256(piece).digest() for piece in pieces)
    return hashlib.sha256(b"".join(hashes)).hexdigest()[:16]


def of_torch(file: object) -> str:
    """Return the hash of the floating-point tensors of a torch file: weights and the optimiser's averages."""
    found = tensors(torch.load(file, weights_only=True))  # pyright: ignore[reportArgumentType]
    hashed = [tensor for tensor in found if tensor.is_floating_point() and tensor.numel() > 1]
    return digest([tensor.contiguous().numpy().tobytes() for tensor in hashed])


def of_file(path: Path) -> str:
    """Return the hash of what a run's file says."""
    if path.suffix in (".pt", ".pth"):
        return of_torch(path)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".pth")]
            return digest([of_torch(archive.open(name)).encode() for name in names])
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return digest([arrays[name].tobytes() for name in arrays.files])
    row = json.loads(path.read_text())
    return digest([json.dumps(row.get(name)).encode() for name in MEASURED])


def run(name: str, command: str, pictures: Path, folder: Path) -> dict[str, str]:
    """Run an agent and return the hashes of the files that it leaves."""
    script, *options = command.split()
    out = folder / name
    fixed = ["--dataset", str(pictures), "--out", str(out), "--device", "cpu", "--threads", "1"]
    environment = os.environ | {"GLIMPSE_CACHE": str(folder / f"{name}-cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    # --dataset first: SB3's classifier.* options end a command line
    line = [sys.executable, f"agents/{script}.py", *fixed, *options]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    written = [path for path in sorted(out.rglob("*")) if path.name in FILES]
    return {str(path.relative_to(out)): of_file(path) for path in written}


def machine() -> dict[str, str]:
    """Return what hashes depend on besides the code."""
    cpu = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "cpu": cpu, "limit": os.environ.get("ONEDNN_MAX_CPU_ISA", "")}


def main() -> int:
    """Record or compare."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", nargs="+", choices=RUNS, metavar="RUN", help="these runs alone")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (each takes one thread)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = paint(folder / "pictures")
        with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
            names = given.only or RUNS
            futures = {name: pool.submit(run, name, RUNS[name], pictures, folder) for name in names}
            found = {name: future.result() for name, future in futures.items()}
    failed = [f"{name}: {hashes['failed']}" for name, hashes in found.items() if "failed" in hashes]
    print("\n".join(failed) or f"{len(found)} runs finished")
    if given.action == "record":
        given.file.write_text(json.dumps({"machine": machine(), "runs": found}, indent=1) + "\n")
        return bool(failed)
    recorded = json.loads(given.file.read_text())
    if recorded["machine"] != machine():
        print(f"recorded on another machine: {recorded['machine']}, this is {machine()}")
    different = []
    for name, hashes in found.items():
        before = recorded["runs"][name]
        different += [f"{name}/{file}" for file in hashes | before if hashes.get(file) != before.get(file)]
    print("\n".join(f"differs: {name}" for name in different) or "the same bits everywhere")
    return bool(different or failed)


if __name__ == "__main__":
    sys.exit(main())
