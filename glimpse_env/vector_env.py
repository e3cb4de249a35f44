"""The core: `GlimpseVectorEnv`, batched episodes of glimpses at images, in torch on one device."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from glimpse_env import checks, datasets, presets, rewards
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.episode import State, advance, hash_location, initial_state, judge, rename_fields
from glimpse_env.retina import Fill
from glimpse_env.sensors import Sensor, make_sensor


class GlimpseVectorEnv(VectorEnv):
    """Observe an image one glimpse at a time, stop, and predict its class.

    Action space: Dict(`location` Box(-1, 1, (2,)): centre (x, y) of the next glimpse; `stop` Discrete(2): 1 = end the episode;
    `prediction` Box(0, 1, (num_classes,)): class scores, which the environment divides by their sum; all zero = uniform).

    Observation space: Dict(`glimpse`: from the sensor, PixelSensor: (scale * channel, height, width) in [0, 1], the others: (feature,);
    `location` (2,): where it was taken; `step` (1,): t / max_glimpses; a sensor may add entries), float32. Rewards: `rewards.NAMED`.

    Start: `reset` draws an image and shows glimpse 1. Episode e of row r shows entry e * num_envs + r of the seeded permutation, repeated
    after its end: rows do not depend on when others stop. order="once": every image once; rows past the end are absorbing, `valid` False.

    End: `stop` is 1 or t = max_glimpses: terminated, never truncated. The terminal observation repeats the last. Under
    AutoresetMode.DISABLED a finished row is absorbing: reward 0, state frozen, terminated stays True (an extension of Gymnasium's
    contract, with which a rollout is one (time, env) array); `reset(options={"reset_mask": ...})` restarts chosen rows.

    Info, every step, with `_key` masks: label, correct, loss (nats), glimpses, pixels, flops (both of the episode so far), valid.

    All tensors live on `device`; `step`, and `reset` without a seed, make no host sync unless `validate` or `compact` is set. Returned
    tensors belong to the environment: do not write into them.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012 - as Gymnasium declares it

    def __init__(
        self,
        num_envs: int,
        dataset: str | Path | datasets.MapStyle = "mnist",
        *,
        split: str = "train",
        root: str | Path | None = None,
        download: bool = True,
        sensor: str | Sensor | None = None,
        backbone: str | FeatureExtractor | None = None,
        weights: str | Path | None = "DEFAULT",
        image_size: int | None = None,
        glimpse_size: int | None = None,
        scales: tuple[float, ...] | None = None,
        first_view: presets.FirstView | None = None,
        initial_location: presets.InitialLocation | None = None,
        location_range: float | None = None,
        fill: Fill | None = None,
        max_glimpses: int | None = None,
        grid: int | None = None,
        view_size: int | None = None,
        context: bool | None = None,
        show_map: bool | None = None,
        reward: str | rewards.Reward | None = None,
        order: str = "shuffle",
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        device: torch.device | str = "cpu",
        compact: bool = False,
        validate: bool = False,
    ) -> None:
        """Load the data set and build the sensor.

        Args:
            num_envs: Rows.
            dataset: A name (one of `datasets.NAMED`), a folder of class folders, or a map-style torch data set object.
            split: "train", "test", or a fixed partition of the training images: "fit" and "validation".
            root: Folder of archives, and in which a relative data set folder is looked for; None = GLIMPSE_DATA. Embedded sets need none.
            download: Whether missing data may be downloaded. Embedded, generated and user-given sets never need it.
            sensor: A name of `sensors.SENSORS`, or an object that follows `sensors.Sensor`; None = the preset's.
            backbone: Network of a sensor that runs one: a name (see `build_backbone`) or a `FeatureExtractor`; None = the preset's.
            weights: The named backbone's: "DEFAULT" (the library's own), a file, or None (random); see `Backbone`.
            image_size: Side in pixels to which images are resized. None for this argument and the next twelve = the data set's preset.
            glimpse_size: Side of the observed glimpse in pixels.
            scales: Window widths in units of glimpse_size.
            first_view: "image" (glimpse 1 is the whole image) or "glimpse" (at initial_location).
            initial_location: "center" or "random"; `reset(options={"locations": ...})` overrides it.
            location_range: Where location +-1 lies, as a share of half the image.
            fill: Pixels beyond the image: "zero", "reflect" or "noise".
            max_glimpses: T, the horizon.
            grid: Cells per side, for sensors on a grid and actions that choose a cell.
            view_size: Side in pixels to which the whole image is resized for a network.
            context: Observations hold the whole image, small, as `context`; it costs pixels, not a glimpse.
            show_map: Observations of the map sensor hold its whole map, as `map`.
            reward: A name of `rewards.NAMED` or a callable; None = `rewards.Delayed()`.
            order: "shuffle" (training) or "once" (evaluation).
            autoreset_mode: Gymnasium's NEXT_STEP, SAME_STEP or DISABLED.
            device: Where the images and all tensors live; "auto" = a CUDA GPU where there is one, else MPS, else the CPU.
            compact: Run the sensor for unfinished rows only, so that stopping early saves time (costs a host sync per step).
            validate: Check the values of actions and options too (costs a host sync per call).

        Raises:
            ValueError: An unknown name or a value outside its range; the message names it and what is allowed.
            FileNotFoundError: The data set's folder is missing, or the backbone's weights.
        """
        self.device = checks.device(device)
        checks.count("num_envs", num_envs)
        checks.choice("order", order, ("shuffle", "once"))
        self.num_envs, self.order, self.compact, self.validate = num_envs, order, compact, validate
        self.autoreset_mode = checks.autoreset(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.reward = rewards.make(reward)
        names = {
            "sensor": sensor if isinstance(sensor, str) else None,
            "backbone": backbone if isinstance(backbone, str) else None,
        }
        sizes = {
            "image_size": image_size,
            "view_size": view_size,
            "glimpse_size": glimpse_size,
            "scales": scales,
            "grid": grid,
        }
        views = {
            "first_view": first_view,
            "initial_location": initial_location,
            "location_range": location_range,
            "fill": fill,
        }
        self.preset = presets.resolve(
            dataset, **names, **sizes, **views, max_glimpses=max_glimpses, context=context, show_map=show_map
        )
        self.images = datasets.load(
            dataset, split, root=root, download=download, image_size=self.preset.image_size
        )
        self.sensor = make_sensor(sensor, self.images, self.preset, backbone, weights, self.device)
        self._make_spaces()
        self._make_constants()
        self._state: State | None = None

    def _make_spaces(self) -> None:
        """Describe one row's observation and action, then the batch's."""
        unit = {
            "location": spaces.Box(-1.0, 1.0, (2,), np.float32),
            "step": spaces.Box(0.0, 1.0, (1,), np.float32),
        }
        prediction = spaces.Box(0.0, 1.0, (len(self.images.classes),), np.float32)
        self.single_observation_space = spaces.Dict(unit | self.sensor.space)
        self.single_action_space = spaces.Dict(
            {"location": unit["location"], "stop": spaces.Discrete(2), "prediction": prediction}
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def _make_constants(self) -> None:
        """Put on the device what `step` looks up; tables over t where it depends on t."""
        steps = torch.arange(self.preset.max_glimpses + 1, device=self.device)
        self._fraction = (steps / self.preset.max_glimpses)[:, None]
        self._pixels, self._flops = (
            first + (steps - 1) * later for first, later in (self.sensor.pixels, self.sensor.flops)
        )
        self._labels = self.images.labels.to(self.device)
        self._everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self._nobody = ~self._everyone
        self._centre = torch.zeros(self.num_envs, 2, device=self.device)
        self._masks = tuple(
            f"_{name}" for name in ("label", "correct", "loss", "glimpses", "pixels", "flops", "valid")
        )
        self._chance_loss = math.log(len(self.images.classes))

    @torch.no_grad()
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Start an episode in every row (or in those of `reset_mask`); return observation and info of all rows.

        Args:
            seed: Draws a new order of the images and starts at its first; None continues in the present order.
            options: `indices` (env,) int64 chooses the images; `locations` (env, 2) the location of glimpse 1; `reset_mask` (env,) bool the
                rows to start (AutoresetMode.DISABLED only). Tensors on the environment's device.
        """
        options = options or {}
        checks.is_open(self.closed)
        checks.seed(seed)
        checks.reset_options(options, self.num_envs, len(self.images), self.autoreset_mode, self.validate)
        checks.partial_reset(options, seed, first=self._state is None)
        state = self._state
        if seed is not None or state is None:
            super().reset(seed=seed)
            state = self._permute(int(self.np_random.integers(2**62)))
        return self._show(
            self._begin(
                state,
                options.get("reset_mask", self._everyone),
                options.get("indices"),
                options.get("locations"),
            )
        )

    @torch.no_grad()
    def step(
        self, actions: dict[str, Tensor]
    ) -> tuple[
        dict[str, Tensor], Float[Tensor, " env"], Bool[Tensor, " env"], Bool[Tensor, " env"], dict[str, Any]
    ]:
        """Take a glimpse or stop, in every row. Returns observation, reward, terminated, truncated (never) and info."""
        before = self._ready()
        location, stop, prediction = checks.action(
            actions, self.num_envs, len(self.images.classes), self.validate
        )
        stop = (stop | (before.step >= self.preset.max_glimpses)) > before.done  # of two bools: and not
        correct, loss = judge(prediction, before.label)
        reward = self._reward(before, stop, correct, loss)
        state = advance(before, location, stop, correct, loss)
        terminated, final = state.done, {}
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            state = self._begin(state, before.done)
            terminated = state.done
        elif self.autoreset_mode == AutoresetMode.SAME_STEP:
            final = {
                "final_obs": self._observation,
                "_final_obs": stop,
                "final_info": self._info(state, stop),
                "_final_info": stop,
            }
            state = self._begin(state, state.done)
        observation, info = self._show(state)
        return observation, reward, terminated, self._nobody, info | final

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to continue the same episodes (before any reset: nothing)."""
        if self._state is None:
            return {}
        return {
            "seed": self._seed,
            "state": asdict(self._state),
            "np_random": self.np_random.bit_generator.state,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from a `state_dict`, in an environment made with the same arguments."""
        if not saved:
            self._state = None
            return
        saved = saved | {"state": rename_fields(saved.get("state", {}))}
        checks.saved_state(saved, State.__dataclass_fields__, self.num_envs, len(self.images))
        super().reset(seed=0)
        self.np_random.bit_generator.state = saved["np_random"]
        self._permute(saved["seed"])
        self._show(State(**{name: value.to(self.device) for name, value in saved["state"].items()}))

    def image(self, row: int) -> UInt8[Tensor, "channel height width"]:
        """Return the whole image that a row shows, for drawing."""
        return self.images.image(int(self._ready().index[row].item()))

    def label(self, row: int) -> int:
        """Return the class of the image that a row shows, for drawing."""
        return int(self._ready().label[row].item())

    def _permute(self, seed: int) -> State:
        """Draw the order of the images, drop the last observation, and return the state before every row's first episode."""
        self._seed = seed
        self._permutation = torch.randperm(
            len(self.images), generator=torch.Generator().manual_seed(seed)
        ).to(self.device)
        self._observation: dict[str, Tensor] = {}
        return initial_state(self.num_envs, self._chance_loss, self.device)

    def _begin(
        self,
        state: State,
        fresh: Bool[Tensor, " env"],
        indices: Int64[Tensor, " env"] | None = None,
        locations: Float[Tensor, "env 2"] | None = None,
    ) -> State:
        """Start the next episode of the rows in `fresh`; leave the others as they are."""
        order_index = state.order_index.add(fresh, alpha=self.num_envs)
        done, valid = state.done & ~fresh, state.valid | fresh
        if self.order == "once" and indices is None:
            past = fresh & (order_index >= len(self.images))
            done, valid, fresh = done | past, valid & ~past, fresh & ~past
            order_index = torch.where(fresh, order_index, state.order_index)
        drawn = (
            self._permutation.index_select(0, order_index % len(self.images))
            if indices is None
            else indices.long()
        )
        index = torch.where(fresh, drawn, state.index)
        first = self._initial(index, order_index) if locations is None else locations.clamp(-1, 1).float()
        return State(
            order_index=order_index,
            index=index,
            label=self._labels.index_select(0, index),
            step=state.step.masked_fill(fresh, 1),
            location=torch.where(fresh[:, None], first, state.location),
            correct=state.correct & ~fresh,
            loss=state.loss.masked_fill(fresh, self._chance_loss),
            done=done,
            valid=valid,
        )

    def _initial(
        self, index: Int64[Tensor, " env"], order_index: Int64[Tensor, " env"]
    ) -> Float[Tensor, "env 2"]:
        """Return where glimpse 1 is taken: the centre, or a location hashed from seed, image and episode (not from the row)."""
        if self.preset.initial_location == "center" or self.sensor.whole_first:
            return self._centre
        return hash_location(index, order_index // self.num_envs, self._seed)

    def _ready(self) -> State:
        """Return the state; raise an error if the environment is closed or was never reset."""
        checks.is_open(self.closed)
        if self._state is None:
            raise RuntimeError("step() before reset(): call reset() once to draw the first images")
        return self._state

    def _reward(
        self,
        state: State,
        stop: Bool[Tensor, " env"],
        correct: Bool[Tensor, " env"],
        loss: Float[Tensor, " env"],
    ) -> Float[Tensor, " env"]:
        """Return the reward of unfinished rows; 0 for the others."""
        reward = self.reward(rewards.Transition(state.step, stop, correct, loss, state.loss))
        checks.shape("the reward callable's result", reward, (self.num_envs,), floating=True)
        return reward.masked_fill(state.done, 0.0)

    def _show(self, state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Make `state` the present state; return its observation and info."""
        observation = {
            "location": state.location,
            "step": self._fraction.index_select(0, state.step),
        } | self._observe(state)
        self._state, self._observation = state, observation
        return dict(observation), self._info(state, self._everyone)

    def _observe(self, state: State) -> dict[str, Tensor]:
        """Return the sensor's entries; with `compact`, only unfinished rows go through it and the others keep their last entries."""
        if not self.compact or not self._observation:
            return self.sensor.observe(state.index, state.location, state.step)
        rows = (~state.done).nonzero().squeeze(1)
        part = self.sensor.observe(state.index[rows], state.location[rows], state.step[rows])
        return {name: self._observation[name].index_copy(0, rows, value) for name, value in part.items()}

    def _info(self, state: State, mask: Bool[Tensor, " env"]) -> dict[str, Any]:
        """Return what is known of each row but hidden from its agent, and the mask of rows that it holds for."""
        info: dict[str, Any] = {
            "label": state.label,
            "correct": state.correct,
            "loss": state.loss,
            "glimpses": state.step,
            "pixels": self._pixels.index_select(0, state.step),
            "flops": self._flops.index_select(0, state.step),
            "valid": state.valid,
        }
        return info | dict.fromkeys(self._masks, mask)
