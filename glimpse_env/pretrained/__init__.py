"""Trained agents of the package; their names are accepted wherever a script takes the path of a checkpoint.

`mnist-dtram`: DT-RAM on MNIST with the default settings, `python agents/dtram_reinforce.py` (seed 0, about
two minutes on two CPU cores, torch 2.14.1): error 1.35 % on the 10,000 test images, each evaluated once, at
2.20 of 7 glimpses on average; the paper reports 1.46 % at 3.6. Seeds 1 and 2 reach 1.33 and 1.29 %, and the
mean of the three is 1.32 +- 0.08 %.

The file is the run's own checkpoint without the optimizer's state: it can be evaluated, used for predictions
and as a start (`--ram`), but not resumed. It was written by

    python -c "from glimpse_env import pretrained; pretrained.pack('RUN/checkpoint.pt', 'mnist_dtram.pt')"
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from glimpse_env.evaluation import predictor
from glimpse_env.runtime import checkpoint, files

NAMES = {"mnist-dtram": "mnist_dtram.pt"}
PATHS = ("root", "out", "weights", "ram")  # options that may hold paths of the machine that trained


def find_checkpoint(path: Path, runs: Path = Path("runs")) -> Path:
    """Return a checkpoint's path: the given one, or of a copy of the one in `NAMES` in a run's folder.

    It is copied because results are written beside a checkpoint.

    Raises:
        ValueError: The run's folder holds a different checkpoint.
    """
    name = str(path)
    if name not in NAMES or path.is_file():
        return path
    content = (resources.files("glimpse_env.pretrained") / NAMES[name]).read_bytes()
    target = runs / name / "checkpoint.pt"
    if not target.is_file():
        files.write_bytes(target, content)
    elif target.read_bytes() != content:
        advice = "move it away, or give its path to use it"
        raise ValueError(f"{target} differs from the {name} of this package: {advice}")
    return target


def pack(source: str | Path, target: str | Path) -> None:
    """Write a checkpoint with its class names, but without the optimizer's state and the machine's paths."""
    saved = checkpoint.load(Path(source))
    packed = {name: value for name, value in saved.items() if name != "optimizer"}
    packed["classes"] = list(predictor.read_class_names(saved, Path(source), None))
    packed["command"] = re.sub(rf" --(?:{'|'.join(PATHS)})[ =]\S+", "", saved["command"])
    for part in ("options", "environment"):
        paths = {name for name, value in saved[part].items() if name in PATHS and value != "DEFAULT"}
        packed[part] = saved[part] | dict.fromkeys(paths)
    files.write_torch(Path(target), packed)
