"""Write a trained agent as one file that runs without this package, its backbone and stopping rule included.

    glimpse-export mnist-dtram                                       # runs/mnist-dtram/agent.pt2
    glimpse-export runs/dtram_reinforce-cub-0/checkpoint.pt --out birds.pt2
    glimpse-export runs/dtram_reinforce-cub-0/checkpoint.pt --out birds.onnx

A .pt2 file is torch.export's and runs with torch alone, an .onnx file with ONNX Runtime (writing it needs:
pip install onnx onnxscript onnxruntime). The file is one function: from images, a location, the number of the
glimpse and the recurrent state to class scores, probabilities, the next location, the stop probability and
the state. The loop around it is short, see docs/trained-agents.md; what it needs (class names, first
location, stopping threshold, maximum number of glimpses) is in the file. Any number of images is processed
together, all of the one size that the agent was trained on.

Before the file is written it is run on random images, and its outputs are compared with the agent's.

Agents of the sensors pixel, crop and bank can be exported (glimpses of a bank are computed as those of crop,
at the cells of the grid). Refused are agents that read something of an image before glimpse 1: a feature map
(FCAN, --sensor map, --locator map on a backbone's map), or a context (Sermanet's).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from glimpse_env import pretrained
from glimpse_env.deployment import export_file
from glimpse_env.deployment.trained_agent import load_agent
from glimpse_env.runtime import files, terminal

NAME = "glimpse-export"


@dataclass(frozen=True)
class Export:
    """Options of `glimpse-export`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """The checkpoint.pt of a run; or mnist-dtram."""
    out: Path | None = None
    """File to write, ending in .pt2 (torch.export) or .onnx; default: agent.pt2 beside the checkpoint."""
    overwrite: bool = False
    """Replace --out if it exists."""
    root: str | None = None
    """Folder of the data sets, for the class names of checkpoints of earlier versions; default: the folder
    used in training."""
    weights: str | None = None
    """Path of the backbone's weights file; default: the path used in training."""


def choose_target(options: Export) -> Path:
    """Return the file to write, which can be written.

    Raises:
        ValueError: Another ending, or a file that exists, without `overwrite`.
        OSError: It cannot be written.
    """
    bundled = str(options.checkpoint) in pretrained.NAMES and not options.checkpoint.is_file()
    folder = Path("runs") / options.checkpoint if bundled else options.checkpoint.parent
    target = options.out or folder / "agent.pt2"
    export_file.check_target(target)
    if target.exists() and not options.overwrite:
        raise ValueError(f"{target} exists: give another --out, or --overwrite")
    files.check_writable(target)
    return target


def main(options: Export) -> None:
    """Write the file.

    Raises:
        ValueError: Invalid options, no checkpoint, or an agent that cannot be exported.
        OSError: A file that is missing or cannot be written.
        ModuleNotFoundError: A package that ONNX needs is not installed.
    """
    terminal.use_log()
    agent = load_agent(options.checkpoint, root=options.root, weights=options.weights, precision="float32")
    target = choose_target(options)
    difference = export_file.export_agent(agent, target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {len(agent.classes)} classes; {agent.rule}")
    print(f"on random images its outputs differ from the agent's by at most {difference:.1e}")


def run(program: str = NAME) -> None:
    """Read the command line and run `main`; help and errors name the program as it was started."""
    description = str(__doc__).replace(NAME, program)
    options = tyro.cli(Export, prog=program.removeprefix("python "), description=description)
    with terminal.foreseen(Path(program).name):
        main(options)
