"""Write a trained agent as one file that runs without this package: torch.export's (.pt2), or ONNX (.onnx).

The file holds the agent's `StepFunction`, the backbone included, and `METADATA`: JSON with everything that
the loop around it needs. The batch size is free, the size of the images is not. All numbers are float32.
"""

from __future__ import annotations

import copy
import importlib
import io
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from glimpse_env import __version__
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.backbone.frozen import FrozenNetwork
from glimpse_env.deployment.step_function import GlimpseSensor, StepFunction, copy_network
from glimpse_env.deployment.trained_agent import TrainedAgent
from glimpse_env.networks.fixed_policies import build_unlearned
from glimpse_env.presets import Preset
from glimpse_env.runtime import files
from glimpse_env.sensors import SENSORS

METADATA = "metadata.json"  # of torch.export's extra files, and of ONNX's metadata
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
NEEDED = (2, 10)  # version of torch: the programs that 2.9 exports fail when they run
OUTPUTS = ("logits", "probabilities", "next_location", "stop_probability")
TOLERANCE = 1e-3  # by which the file's outputs may differ from the package's; above 1, as a share of them

Step = Callable[..., Sequence[Tensor]]


def export_agent(agent: TrainedAgent, target: Path) -> float:
    """Write an agent's file, of the format that its ending names; return the largest difference found.

    The file is run on random images first: its outputs are compared with the package's for a whole episode.

    Args:
        agent: Loaded with `precision="float32"` on the CPU.
        target: The file, ending in .pt2 or .onnx; one that exists is replaced.

    Raises:
        ValueError: Another ending, an agent that cannot be exported (the message says why), or a file that
            does not compute what the agent does.
        ModuleNotFoundError: A package that ONNX needs is not installed.
        OSError: The file cannot be written.
    """
    check_target(target)
    step = build_step(agent)
    metadata = describe(agent, step)
    content, run = FORMATS[target.suffix](trace(step, metadata), metadata)
    difference = compare(step, run, metadata)
    if not difference <= TOLERANCE:
        found = f"its outputs differ from the agent's by {difference:.3g}, expected at most {TOLERANCE:g}"
        raise ValueError(f"{target} is not written: {found}")
    files.write_bytes(target, content)
    return difference


def check_target(target: Path) -> None:
    """Refuse another ending, an older torch (ValueError), ONNX without its packages (ModuleNotFoundError)."""
    if target.suffix not in FORMATS:
        expected = f"expected a file that ends in {' or '.join(FORMATS)}"
        raise ValueError(f"--out {target}: {expected}")
    if not can_export(torch.__version__):
        needed = f"torch {'.'.join(map(str, NEEDED))} or newer, this is {torch.__version__}"
        raise ValueError(f"exporting needs {needed}: pip install --upgrade torch torchvision")
    if target.suffix == ".onnx":
        try:
            for name in PACKAGES:
                importlib.import_module(name)
        except ModuleNotFoundError as error:
            needed = f"{error.name} is not installed: pip install {' '.join(PACKAGES)}"
            raise ModuleNotFoundError(
                f"ONNX files need the packages {', '.join(PACKAGES)}; {needed}"
            ) from error


def can_export(version: str) -> bool:
    """Return whether this version of torch exports programs that run."""
    return tuple(map(int, version.split(".")[:2])) >= NEEDED


def build_step(agent: TrainedAgent) -> StepFunction:
    """Return an agent's step function, in evaluation mode.

    Raises:
        ValueError: An agent that cannot be exported.
    """
    used = agent.predictor
    preset, network = Preset(**used.arguments), used.network.agent
    check_exportable(agent, preset)
    policy = build_unlearned(used.policy, preset.grid, preset.axes)
    sensor = GlimpseSensor(preset, find_shape(agent, preset), copy_backbone(used.backbone))
    return StepFunction(copy_network(network), sensor, preset, agent.rule, policy).eval()


def copy_backbone(backbone: FeatureExtractor | None) -> FeatureExtractor | None:
    """Return a backbone with its weights in the order in which files hold them."""
    if not isinstance(backbone, FrozenNetwork):
        return backbone
    own = copy.deepcopy(backbone)
    own.memory_format = torch.contiguous_format
    own.network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return own


def check_exportable(agent: TrainedAgent, preset: Preset) -> None:
    """Refuse agents whose step needs more than an image, a location and a state (ValueError)."""
    policy, network = agent.predictor.policy, agent.predictor.network.agent
    precision = getattr(agent.predictor.backbone, "precision", torch.float32)
    if agent.predictor.device != "cpu" or precision != torch.float32:
        loaded = f"it was loaded on {agent.predictor.device}, its backbone in {precision}"
        needed = "expected load_agent(..., device='cpu', precision='float32')"
        raise ValueError(f"{agent.source} cannot be exported: {loaded}; {needed}")
    reasons = {
        f"sensor={preset.sensor!r} looks glimpses up in a feature map that is computed once for each image": (
            (SENSORS[preset.sensor].without_table or preset.sensor) not in ("pixel", "crop")
        ),
        "its locator reads the backbone's feature map of the whole image before glimpse 1": network.reads_map,
        "it begins with a context, the whole image, before glimpse 1 (context=True)": preset.context,
        "it chooses displacements, not locations (moves='relative')": preset.moves == "relative",
        "its locations are random (--policy random)": policy == "random",
        "image_size='native' gives it images of different sizes": preset.image_size == "native",
        "fill='noise' draws the pixels beyond the image": preset.fill == "noise",
    }
    for reason, holds in reasons.items():
        if holds:
            able = "agents of the sensors pixel, crop and bank can be exported; use load_agent for this one"
            raise ValueError(f"{agent.source} cannot be exported: {reason}; {able}")


def find_shape(agent: TrainedAgent, preset: Preset) -> tuple[int, int, int]:
    """Return the (channel, height, width) of the agent's images; ValueError if the checkpoint tells none."""
    known = agent.saved.get("preprocessing")
    if known is not None:
        return known["channels"], known["height"], known["width"]
    side = preset.image_size
    if not isinstance(side, int):
        known = "was written by an earlier version, and does not hold the size of its images"
        raise ValueError(f"{agent.source} {known}: train again")
    blank = torch.zeros(3, side, side, dtype=torch.uint8)
    return len(agent.prepare(blank)), side, side


def describe(agent: TrainedAgent, step: StepFunction) -> dict[str, Any]:
    """Return the content of the metadata."""
    saved, preset = agent.saved, step.preset
    channels, height, width = find_shape(agent, preset)
    preprocessing = {"fit": "crop"} | saved.get("preprocessing", {})
    return {
        "format": "glimpse-agent 1",
        "written_by": f"glimpse_env {__version__}, torch {torch.__version__}",
        "agent": saved["agent"],
        "dataset": agent.dataset,
        "classes": list(agent.classes),
        "image": {"dtype": "uint8", "channels": channels, "height": height, "width": width},
        "preprocessing": preprocessing,  # before the step; colours are normalised in it
        "backbone": saved.get("backbone"),
        "max_glimpses": step.max_glimpses,
        "stop_rule": str(step.rule),
        "stop_threshold": step.rule.threshold,
        "first_location": step.first_location(),  # None: anywhere in [-1, 1]
        "location_axes": preset.axes,
        "location_reach": step.sensor.geometry.reach,
        "windows": list(step.sensor.geometry.windows),
        "zoom": preset.zoom,
        "inputs": ["images", "location", "step", *(f"state_{field.name}" for field in step.fields)],
        "outputs": [*OUTPUTS, *(f"next_{field.name}" for field in step.fields)],
        "state_columns": [field.columns for field in step.fields],
    }


def trace(step: StepFunction, metadata: dict[str, Any]) -> ExportedProgram:
    """Return the step as torch.export traces it, for any number of images.

    Raises:
        ValueError: Something in it cannot be traced.
    """
    batch, count = torch.export.Dim("batch", min=1), 2
    images, location, state = begin(metadata, count)
    shapes: dict[str, Any] = {"images": {0: batch}, "location": {0: batch}, "step": None}
    if state:
        shapes["state"] = tuple({0: batch} for _ in state)
    given = (images, location, torch.tensor(1), *state)
    try:
        with torch.no_grad():
            return torch.export.export(step, given, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # of many kinds, and a backbone may be anybody's
        reason = f"torch.export cannot trace it ({type(error).__name__}: {error})"
        raise ValueError(f"the agent cannot be exported: {reason}") from error


def begin(metadata: dict[str, Any], count: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return random images, the location of glimpse 1, and the state before it."""
    image, generator = metadata["image"], torch.Generator().manual_seed(0)
    shape = (count, image["channels"], image["height"], image["width"])
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    first = metadata["first_location"] or [0.0] * metadata["location_axes"]
    state = [torch.zeros(count, columns) for columns in metadata["state_columns"]]
    return images, torch.tensor([first] * count), state


def to_pt2(program: ExportedProgram, metadata: dict[str, Any]) -> tuple[bytes, Step]:
    """Return the content of a .pt2 file, and what it computes."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: json.dumps(metadata, indent=1)})
    module: nn.Module = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    return buffer.getvalue(), module


def to_onnx(program: ExportedProgram, metadata: dict[str, Any]) -> tuple[bytes, Step]:
    """Return the content of an .onnx file, and what it computes; ValueError for what ONNX does not have."""
    import onnxruntime

    names = {"input_names": metadata["inputs"], "output_names": metadata["outputs"]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own versions
            converted = torch.onnx.export(program, dynamo=True, verbose=False, **names)
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(f"the agent cannot be exported to ONNX, but to .pt2 it can ({cause})") from error
    assert converted is not None
    model = converted.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(metadata)
    content = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(*given: Tensor) -> list[Tensor]:
        arrays = {name: value.numpy() for name, value in zip(metadata["inputs"], given, strict=True)}
        return [torch.from_numpy(value) for value in session.run(None, arrays)]

    return content, run


FORMATS: dict[str, Callable[[ExportedProgram, dict[str, Any]], tuple[bytes, Step]]] = {
    ".pt2": to_pt2,
    ".onnx": to_onnx,
}


@torch.no_grad()
def compare(step: StepFunction, run: Step, metadata: dict[str, Any], count: int = 3) -> float:
    """Return the largest difference between what a file and the package compute, over an episode.

    Both get the same inputs at every glimpse. ONNX may leave out inputs that nothing reads.
    """
    images, location, state = begin(metadata, count)
    largest = 0.0
    for number in range(1, step.max_glimpses + 1):
        given = (images, location, torch.tensor(number), *state)
        expected, actual = step(*given), run(*given)
        pairs = zip(expected, actual, strict=True)
        differences = [((a - b).abs() / a.abs().clamp(min=1)).amax() for a, b in pairs]
        largest = torch.stack([torch.tensor(largest), *differences]).amax().item()  # NaN stays
        location, state = expected[2], list(expected[4:])
    return largest
