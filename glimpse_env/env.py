"""The numpy interface: `GlimpseEnv` (one image at a time) and `NumpyVectorEnv` (for `gymnasium.make_vec`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from glimpse_env import checks, retina, tensor_checks
from glimpse_env.rendering import frames
from glimpse_env.sensors import measure_unit
from glimpse_env.vector_env import GlimpseVectorEnv

Arrays = dict[str, np.ndarray]
Info = dict[str, Any]


class GlimpseEnv(gymnasium.Env):
    """Row 0 of a batch of one, as numpy copies; see `GlimpseVectorEnv` for spaces, rewards, start and end.

    `render_mode="rgb_array"` draws the image with the fixation path, the glimpse boxes and the class bars.
    A step after the end repeats the last observation with reward 0 and terminated True.
    """

    metadata: Info = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 - as Gymnasium declares it

    def __init__(self, dataset: Any = "mnist", *, render_mode: str | None = None, **options: Any) -> None:
        """Build the core with the arguments of `GlimpseVectorEnv`, without num_envs and autoreset_mode."""
        if render_mode is not None:
            checks.choice("render_mode", render_mode, self.metadata["render_modes"])
        self.core = GlimpseVectorEnv(1, dataset, autoreset_mode=AutoresetMode.DISABLED, **options)
        self.render_mode = render_mode
        self.observation_space = self.core.single_observation_space
        self.action_space = self.core.single_action_space
        self._path: list[np.ndarray] = []  # where each glimpse was taken: (x, y), with zoom (x, y, scale)
        self._prediction: np.ndarray | None = None
        self._ended = False

    @torch.inference_mode()
    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Arrays, Info]:
        """Draw an image and show glimpse 1.

        Options are numpy arrays: `indices` (1,), `locations` (1, 2), and with zoom `scales` (1, 1).
        """
        observation, info = self.core.reset(seed=seed, options=reset_tensors(self.core, options))
        super().reset(seed=checks.seed(seed))
        row = first_row(observation)
        self._path, self._prediction, self._ended = [read_place(row)], None, False
        return row, first_row_scalars(info)

    @torch.inference_mode()
    def step(self, action: Mapping[str, Any]) -> tuple[Arrays, float, bool, bool, Info]:
        """Take a glimpse or stop, as `GlimpseVectorEnv.step` with one row."""
        tensors = read_action(action, (), self.core)
        batch = {name: value[None].to(self.core.device) for name, value in tensors.items()}
        ended, (observation, reward, terminated, _, info) = self._ended, self.core.step(batch)
        row, row_info = first_row(observation), first_row_scalars(info)
        self._ended = bool(terminated)
        if not ended:
            self._prediction = tensors["prediction"].numpy()
        if row_info["glimpses"] > len(self._path):
            self._path.append(read_place(row))
        return row, reward.item(), self._ended, False, row_info

    def render(self) -> np.ndarray | None:
        """Return the picture of the episode so far, (height, width, 3) uint8; None without a render mode."""
        if self.render_mode is None:
            return None
        if not self._path:
            raise RuntimeError("render() before reset(): call reset() once to draw an image")
        core, sensor, zoom = self.core, self.core.sensor, self.core.preset.zoom
        path = torch.from_numpy(np.stack(self._path))
        factors = None if zoom is None else retina.zoom_factor(path[:, 2], zoom).numpy()
        index = core.state_dict()["state"]["index"]
        image, share = core.images.picture(int(index))
        share *= measure_unit(core.images, index, core.preset.glimpse_unit).item()
        if share != 1:  # the windows are wider or narrower on this picture
            factors = np.float32(share) * (np.ones(len(path), np.float32) if factors is None else factors)
        view = frames.Episode(
            image=image,
            path=path[:, :2].numpy() * sensor.reach,
            windows=sensor.windows,
            whole_first=sensor.whole_first,
            prediction=self._prediction,
            classes=core.images.classes,
            label=core.label(0),
            first_crop=core.preset.first_crop,
            factors=factors,
        )
        return frames.draw(view)

    def close(self) -> None:
        """Close the core: later calls of step and reset raise an error."""
        self.core.close()


class NumpyVectorEnv(VectorEnv):
    """`GlimpseVectorEnv` with numpy arrays in and out, as Gymnasium's wrappers expect."""

    closed = True  # until it is built: Gymnasium before 1.3 closes what a failed constructor leaves behind

    def __init__(self, num_envs: int = 1, dataset: Any = "mnist", **options: Any) -> None:
        """Build the core."""
        core = self.core = GlimpseVectorEnv(num_envs, dataset, **options)
        self.closed = False
        self.num_envs, self.metadata, self.autoreset_mode = core.num_envs, core.metadata, core.autoreset_mode
        self.single_observation_space = core.single_observation_space
        self.observation_space = core.observation_space
        self.single_action_space, self.action_space = core.single_action_space, core.action_space

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Arrays, Info]:
        """Start episodes as `GlimpseVectorEnv.reset`, with options as numpy arrays."""
        observation, info = self.core.reset(seed=seed, options=reset_tensors(self.core, options))
        super().reset(seed=checks.seed(seed))
        return to_numpy(observation), to_numpy(info)

    def step(self, actions: Mapping[str, Any]) -> tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Take a glimpse or stop, in every row; rewards are float64, `final_obs` holds one dict per row."""
        tensors = read_action(actions, (self.num_envs,), self.core)
        batch = {name: value.to(self.core.device) for name, value in tensors.items()}
        observation, reward, terminated, truncated, info = self.core.step(batch)
        rewards = reward.cpu().numpy().astype(np.float64)  # converted here: MPS has no float64
        ended = (terminated.cpu().numpy().copy(), truncated.cpu().numpy().copy())
        return to_numpy(observation), rewards, *ended, with_final_rows(to_numpy(info))

    def close_extras(self, **kwargs: Any) -> None:
        """Close the core: later calls of step and reset raise an error."""
        self.core.close()


def read_action(
    action: Mapping[str, Any], batch: tuple[int, ...], core: GlimpseVectorEnv
) -> dict[str, Tensor]:
    """Return location (float32), stop (integer or bool) and prediction (float32) of an action as copies.

    With zoom also the scale (float32). Arrays may have any strides, order and byte order, and be read-only.

    Raises:
        ValueError: A missing key, a wrong shape, a value out of range or NaN.
        TypeError: A wrong dtype.
    """
    expected: dict[str, tuple] = {"location": ((*batch, 2), "f", -1, 1)}
    if core.preset.zoom is not None:
        expected["scale"] = ((*batch, 1), "f", -1, 1)
    expected["stop"] = (batch, "iub", 0, 1)
    expected["prediction"] = ((*batch, len(core.images.classes)), "f", 0, 1)
    tensor_checks.keys("action", action, expected)
    names = {name: f"action[{name!r}]" for name in expected}
    arrays = {name: tensor_checks.array(names[name], action[name], *expected[name]) for name in expected}
    return {name: tensor_checks.to_tensor(names[name], array) for name, array in arrays.items()}


def reset_tensors(core: GlimpseVectorEnv, options: Mapping[str, Any] | None) -> dict[str, Tensor]:
    """Return reset options as tensors on the core's device, after checks of their values."""
    options = {} if options is None else options
    checks.instance("options", options, Mapping, "a dict or None")
    sizes = (core.num_envs, len(core.images))
    tensors = {name: tensor_checks.option_tensor(name, value, *sizes) for name, value in options.items()}
    core.check_options(tensors, values=True)
    return {name: value.to(core.device) for name, value in tensors.items()}


def to_numpy(values: Mapping[str, Any]) -> Info:
    """Copy a dict of tensors (nested) into numpy arrays."""
    return {
        name: to_numpy(value) if isinstance(value, Mapping) else value.cpu().numpy().copy()
        for name, value in values.items()
    }


def with_final_rows(info: Info) -> Info:
    """Return `info` as Gymnasium's wrappers expect: one `final_obs` per row, no `final_*` if none ended."""
    ended = info.get("_final_obs")
    if ended is None:
        return info
    if not ended.any():
        return {name: value for name, value in info.items() if "final_" not in name}
    batched, rows = info["final_obs"], np.full(len(ended), None, dtype=object)
    for row in np.flatnonzero(ended):
        rows[row] = {name: value[row] for name, value in batched.items()}
    return info | {"final_obs": rows}


def first_row(observation: Mapping[str, Tensor]) -> Arrays:
    """Copy row 0 into numpy arrays."""
    return {name: value.numpy(force=True)[0].copy() for name, value in observation.items()}


def read_place(row: Arrays) -> np.ndarray:
    """Return where the glimpse of an observation was taken: (x, y), with zoom (x, y, scale)."""
    return np.concatenate([row[name] for name in ("location", "scale") if name in row])


def first_row_scalars(info: Mapping[str, Tensor]) -> Info:
    """Return row 0 of the info as Python numbers, without the masks."""
    return {name: value.item() for name, value in info.items() if name[0] != "_"}
