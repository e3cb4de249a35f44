"""An agent's step as one module that torch.export can trace: images and state in, predictions and state out.

It computes what the environment, the sensor and the network compute together for one glimpse, by their own
functions; the episode is a loop around it, in any language.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from glimpse_env import retina
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.episode import split_location
from glimpse_env.evaluation.stopping_rules import Rule
from glimpse_env.networks.base import Agent, Heads, Parameters
from glimpse_env.networks.fixed_policies import Fixed, order_cells
from glimpse_env.networks.location_policy import LocationPolicy
from glimpse_env.presets import Preset
from glimpse_env.sensors import SENSORS, count_levels, lattice
from glimpse_env.sensors.base import build_geometry, place_windows
from glimpse_env.sensors.grid import nearest

Images = UInt8[Tensor, "image channel height width"]
Locations = Float[Tensor, "image axis"]  # (x, y), with zoom (x, y, scale), in [-1, 1]
Step = Int64[Tensor, ""]  # number of the glimpse, from 1, the same for all images


class OwnRows(retina.Canvas):
    """A canvas whose row i shows image i; its tiles are gathered, which every format can express."""

    def cut(
        self, windows: retina.Windows, index: retina.Index, row: retina.Index, column: retina.Index
    ) -> Float[Tensor, "env channel tap_down tap_across"]:
        """Return each row's tile, as `Canvas.cut` does; `index` counts the rows."""
        del index
        down, across = windows.view.shape[2:]
        rows = row[:, None] + torch.arange(down, device=row.device)
        columns = column[:, None] + torch.arange(across, device=row.device)
        position = (rows[:, :, None] * windows.row + columns[:, None]).flatten(1)
        position = position[:, None].expand(-1, self.pixels.shape[1], -1)
        return self.pixels.flatten(2).gather(2, position).unflatten(2, (down, across)).float()


class GlimpseSensor(nn.Module):
    """What a glimpse of given images shows: that of PixelSensor, or with a backbone that of CropSensor."""

    def __init__(
        self, preset: Preset, shape: tuple[int, int, int], backbone: FeatureExtractor | None = None
    ) -> None:
        """Compute the geometry for images of `shape` (channel, height, width)."""
        super().__init__()
        side = min(shape[1:])
        self.size = preset.glimpse_size or max(1, side // 4)
        extent = (preset.scales, preset.first_view, preset.location_range, preset.first_crop, preset.zoom)
        self.geometry = build_geometry(side, self.size, *extent)
        self.margin = retina.margin_for(side, max(self.geometry.windows), self.geometry.reach)
        self.fill: retina.Fill = preset.fill
        self.channels, self.backbone = shape[0], backbone
        self.view_size = self.size if backbone is None else preset.view_size or self.size

    def forward(self, images: Images, location: Locations, step: Step) -> Float[Tensor, "image ..."]:
        """Return what the glimpse shows: pixels (image, channel, height, width), or features."""
        if not self.geometry.whole_first:
            return self.encode(self.crop(images, location))
        whole, crop = self.whole(images), self.crop(images, location)
        if self.view_size != self.size:  # one pass of the network, and not both
            if torch.compiler.is_exporting():
                return torch.cond(step == 1, self.encode_first, self.encode_second, (whole, crop))
            return self.encode(whole if step.item() == 1 else crop)
        return self.encode(torch.where(step == 1, whole, crop))

    def encode_first(self, whole: Tensor, crop: Tensor) -> Tensor:
        """Return the features of the whole images."""
        del crop
        return self.encode(whole)

    def encode_second(self, whole: Tensor, crop: Tensor) -> Tensor:
        """Return the features of the windows."""
        del whole
        return self.encode(crop)

    def crop(self, images: Images, location: Locations) -> Float[Tensor, "image scale_channel size size"]:
        """Return the windows around the locations, values in [0, 1]."""
        canvas = retina.paint(images, self.margin, self.fill)
        centre, factor = place_windows(location, self.geometry.reach, self.geometry.zoom)
        own = OwnRows(canvas.pixels, canvas.margin)
        return retina.glimpse(own, count_rows(images), centre, self.size, self.geometry.windows, factor)

    def whole(self, images: Images) -> Float[Tensor, "image scale_channel size size"]:
        """Return the first view, once for every window, values in [0, 1]."""
        canvas = OwnRows(images, 0)
        view = retina.whole(canvas, count_rows(images), self.view_size, self.geometry.first_crop)
        if self.backbone is None:  # PixelSensor stores it in 8 bits
            view = view.mul(255).round().byte() / 255
        return view.repeat(1, len(self.geometry.windows), 1, 1)

    def encode(
        self, patches: Float[Tensor, "image scale_channel height width"]
    ) -> Float[Tensor, "image ..."]:
        """Return patches, or with a backbone their features, those of several windows side by side."""
        if self.backbone is None:
            return patches
        single = patches.unflatten(1, (-1, self.channels)).flatten(0, 1)
        return self.backbone(single).unflatten(0, (-1, len(self.geometry.windows))).flatten(1)


def count_rows(images: Images) -> Int64[Tensor, " image"]:
    """Return 0, 1, 2, ..., for each image."""
    return torch.arange(images.shape[0], device=images.device)


class CellMaxima(nn.Module):
    """nn.AdaptiveMaxPool2d with operations that ONNX has."""

    def __init__(self, cells: int) -> None:
        """Set the number of cells a side."""
        super().__init__()
        self.cells = cells

    def forward(self, images: Float[Tensor, "image channel row column"]) -> Tensor:
        """Return the maximum of each cell."""
        for axis in (2, 3):
            side = images.shape[axis]
            ends = [(i * side // self.cells, -(-(i + 1) * side // self.cells)) for i in range(self.cells)]
            cells = [images.narrow(axis, start, end - start).amax(axis) for start, end in ends]
            images = torch.stack(cells, axis)
        return images


def copy_network(network: Agent) -> Agent:
    """Return a network whose operations all formats have."""
    own = copy.deepcopy(network)
    for name, module in network.named_modules():
        if isinstance(module, nn.AdaptiveMaxPool2d) and isinstance(module.output_size, int):
            own.set_submodule(name, CellMaxima(module.output_size))
    return own


class StateField(NamedTuple):
    """One part of the recurrent state: (image, columns)."""

    name: str
    columns: int
    dtype: torch.dtype


class StepFunction(nn.Module):
    """One glimpse of an agent that takes its most probable actions.

    `forward(images, location, step, *state)` returns `(logits, probabilities, next_location,
    stop_probability, *state)`:

    - images: uint8 (image, channel, height, width);
    - location: float32 (image, axis) of this glimpse, in [-1, 1]: `first_location`, then `next_location`;
    - step: int64 (), the number of this glimpse, from 1;
    - state: tensors (image, columns) of `fields`; those given with step 1 are not read;
    - logits, probabilities: float32 (image, class);
    - stop_probability: float32 (image,): the agent stops where it exceeds `rule.threshold`, and after
      `max_glimpses` glimpses in any case. It is what the rule compares; 0 for a rule that never stops.
    """

    cells: Tensor | None  # of a sensor's grid
    path: Tensor | None  # the locations of a policy that always visits the same

    def __init__(
        self,
        network: Agent,
        sensor: GlimpseSensor,
        preset: Preset,
        rule: Rule,
        policy: LocationPolicy | None = None,
    ) -> None:
        """Join the parts; `policy` chooses the locations instead of the network's own (None = not)."""
        super().__init__()
        self.network, self.sensor, self.rule, self.preset = network, sensor, rule, preset
        self.policy, self.max_glimpses = policy or network.location_policy, preset.max_glimpses
        self.levels = count_levels(preset.zoom)
        self.on_grid = SENSORS[preset.sensor].on_grid
        cells = lattice(preset.grid, torch.device("cpu"), self.levels)
        self.register_buffer("cells", cells if self.on_grid else None)
        fixed = isinstance(policy, Fixed)
        path = order_cells(policy.order, policy.grid, torch.device("cpu"), policy.axes) if fixed else None
        self.register_buffer("path", path)
        whole_state = network.begin(1)
        self.kind = type(whole_state)
        every = zip(self.kind._fields, whole_state, strict=True)
        parts = [StateField(name, value.shape[1], value.dtype) for name, value in every]
        self.fields = tuple(part for part in parts if part.columns)

    def forward(self, images: Images, location: Locations, step: Step, *state: Tensor) -> tuple[Tensor, ...]:
        """Take one glimpse; see the class."""
        first = step == 1
        begun = self.network.begin(images.shape[0])._asdict()
        for field, given in zip(self.fields, state, strict=True):
            begun[field.name] = torch.where(first, begun[field.name], given)
        location = self.restrict(location, first)
        fraction = (step / self.max_glimpses).expand(images.shape[0])[:, None]
        seen = {"glimpse": self.sensor(images, location, step), "step": fraction}
        heads, after = self.network(split_location(location) | seen, self.kind(**begun))
        probabilities = heads.logits.softmax(1)
        following = self.restrict(self.choose(heads.location_parameters, step))
        kept = (getattr(after, field.name) for field in self.fields)
        return heads.logits, probabilities, following, self.score(heads, probabilities), *kept

    def choose(self, parameters: Parameters, step: Step) -> Locations:
        """Return the location that the policy prefers after this glimpse."""
        if self.path is None:
            return self.policy.locate(self.policy.mode(parameters))
        number = (step - int(self.sensor.geometry.whole_first)).clamp(max=len(self.path) - 1)
        return self.path.index_select(0, number[None]).expand(parameters.shape[0], -1)

    def restrict(self, location: Locations, first: Tensor | None = None) -> Locations:
        """Return where the glimpse is taken: within [-1, 1], and on the grid of a sensor that has one."""
        location = location.clamp(-1, 1)
        if self.cells is None:
            return location
        on_grid = self.cells.index_select(0, nearest(location, self.preset.grid, self.levels))
        if first is None or not self.sensor.geometry.whole_first:
            return on_grid
        return torch.where(first, location, on_grid)

    def score(self, heads: Heads, probabilities: Tensor) -> Float[Tensor, " image"]:
        """Return what the stopping rule compares with its threshold."""
        if self.rule.by == "horizon":
            return torch.zeros_like(heads.stop)
        return heads.stop.sigmoid() if self.rule.by == "stop head" else probabilities.amax(1)

    @torch.no_grad()
    def first_location(self) -> list[float] | None:
        """Return the location of glimpse 1, the same for all images; None = anywhere (random in training)."""
        start = [0.0, 0.0, 1.0][: self.preset.axes]  # with zoom, the widest window
        if self.sensor.geometry.whole_first:
            return start
        parameters = self.network.start(1, None)[1]
        if self.path is not None:
            chosen = self.path[:1]
        elif parameters is not None:
            chosen = self.policy.locate(self.policy.mode(parameters))
        elif self.preset.initial_location == "center":
            chosen = torch.tensor([start])
        else:
            return None
        return self.restrict(chosen)[0].tolist()
