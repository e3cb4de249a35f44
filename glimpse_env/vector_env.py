"""The core: `GlimpseVectorEnv`, batched episodes of glimpses at images, in torch on one device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import UInt8
from torch import Tensor

from glimpse_env import checks, datasets, episode, native_retina, presets, rewards, sampling, tensor_checks
from glimpse_env.backbone import FeatureExtractor
from glimpse_env.episode import Bools, Floats, State
from glimpse_env.sensors import Sensor, make_sensor, row_bytes, row_spaces, window_width

Info = dict[str, Any]
Observation = dict[str, Tensor]


class GlimpseVectorEnv(VectorEnv):
    """Observe an image one glimpse at a time, stop, and predict its class.

    Action space: Dict(`location` Box(-1, 1, (2,)): centre (x, y) of the next glimpse; `stop` Discrete(2):
    1 = end the episode; `prediction` Box(0, 1, (class,)): scores, divided by their sum; all zero = uniform).
    With `zoom` also `scale` Box(-1, 1, (1,)): width of its window, -1 = smallest, 1 = largest, log scale.

    Observation space: Dict(`glimpse`: (scale * channel, height, width) in [0, 1] or (feature,); `location`
    (2,): where it was taken; `step` (1,): t / max_glimpses; with `zoom` `scale` (1,), as it was taken (a
    whole image: 1); a sensor may add entries), float32.

    With moves="relative" the action's `location` is a displacement from the last one, in units of `max_move`;
    one longer than 1 counts as 1.

    Start: `reset` draws an image and shows glimpse 1. Episode e of row r shows entry e * num_envs + r of the
    seeded permutation, repeated after its end: rows do not depend on when others stop. order="once": every
    image once; rows past the end are absorbing, `valid` False.

    End: `stop` is 1 or t = max_glimpses: terminated, never truncated. The terminal observation repeats the
    last. Under AutoresetMode.DISABLED a finished row is absorbing: reward 0, state frozen, terminated stays
    True (an extension of Gymnasium's contract); `reset(options={"reset_mask": ...})` restarts it.

    Info, every step, with `_key` masks: label, correct, loss (nats), glimpses, pixels, flops (so far), valid.

    All tensors live on `device`; `step`, and `reset` without a seed, make no host sync unless `validate` or
    `compact` is set. Returned tensors belong to the environment: do not write into them.
    """

    metadata: Info = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012 - Gymnasium's

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
        image_size: int | Literal["native"] | None = None,
        glimpse_size: int | None = None,
        glimpse_unit: native_retina.Unit | None = None,
        scales: Sequence[float] | None = None,
        zoom: tuple[float, float] | None = None,
        first_view: presets.FirstView | None = None,
        first_crop: float | None = None,
        initial_location: presets.InitialLocation | None = None,
        location_range: float | None = None,
        moves: presets.Moves | None = None,
        max_move: float | None = None,
        fill: presets.Fill | None = None,
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
        """Load the data set and build the sensor; None = as in the data set's preset, unless noted below.

        Args:
            num_envs: Rows.
            dataset: One of `datasets.NAMED`, a folder of class folders, or a map-style torch data set.
            split: "train", "test", or a fixed partition of the training images: "fit", "validation".
            root: Folder of archives, and of a relative data set folder; None = GLIMPSE_DATA.
            download: Whether missing data may be downloaded.
            sensor: One of `sensors.SENSORS`, or an object that follows `sensors.Sensor`.
            backbone: Of a sensor that runs a network: a name (see `build_backbone`) or a `FeatureExtractor`.
            weights: The named backbone's: "DEFAULT" (the library's own), a file, or None (random).
            image_size: Side in pixels to which images are resized; "native": they keep their own sizes.
            glimpse_size: Side of the observed glimpse in pixels.
            glimpse_unit: With "native", "short_side": scales are shares of each image's short side.
            scales: Window widths in units of glimpse_size.
            zoom: (smallest, largest): every glimpse's own factor of the `scales`, which the action chooses.
            first_view: "image" (glimpse 1 is the whole image) or "glimpse" (at initial_location).
            first_crop: Share of the side that the first view "image" (and the context) shows, centred.
            initial_location: "center" or "random"; `reset(options={"locations": ...})` overrides it.
            location_range: Where location +-1 lies, as a share of half the image.
            moves: "absolute", or "relative": the action's location is a displacement, in units of max_move.
            max_move: The longest displacement, in units of location (half of what can be reached).
            fill: Pixels beyond the image: "zero", "reflect" or "noise".
            max_glimpses: T, the horizon.
            grid: Cells per side, for sensors on a grid and actions that choose a cell.
            view_size: Side in pixels to which the whole image is resized for a network.
            context: Observations hold the whole image, small, as `context`; it costs pixels, not a glimpse.
            show_map: Observations hold the network's feature map of the whole image, as `map`.
            reward: One of `rewards.NAMED`, or a callable on a `Transition`; None = `rewards.Delayed()`.
            order: "shuffle" (training) or "once" (evaluation).
            autoreset_mode: Gymnasium's NEXT_STEP, SAME_STEP or DISABLED.
            device: Of the images and all tensors; "auto" = a CUDA GPU if present, else MPS, else the CPU.
            compact: Run the sensor for unfinished rows only, to save time; costs a host sync per step.
            validate: Check the values of actions and options too; costs a host sync per call.

        Raises:
            ValueError: An unknown name or a value outside its range.
            FileNotFoundError: The data set's folder is missing, or the backbone's weights.
        """
        views = {name: value for name, value in locals().items() if name in presets.FIELDS}
        self.device = checks.device(device)
        given = dict(num_envs=num_envs, order=order, compact=compact, validate=validate, weights=weights)
        self.num_envs, self.order, self.compact, self.validate, weights = checks.arguments(**given)
        self.autoreset_mode = checks.autoreset(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.reward = rewards.make(reward)
        self.preset = presets.resolve(dataset, root, **views)
        size = presets.image_size(self.preset)
        self.images = datasets.load(dataset, split, root=root, download=download, image_size=size)
        self.sensor = make_sensor(sensor, self.images, self.preset, backbone, weights, self.device)
        self._zoomed = self.preset.zoom is not None
        size = row_bytes(self.sensor, self.images.images.shape[1]) + 16 * len(self.images.classes)
        checks.memory(f"num_envs={self.num_envs}", self.num_envs * size, self.device)
        row_pair = row_spaces(self.sensor, len(self.images.classes), self._zoomed)
        self.single_observation_space, self.single_action_space = row_pair
        self.observation_space, self.action_space = (batch_space(row, self.num_envs) for row in row_pair)
        self._make_constants()
        self._state: State | None = None

    def _make_constants(self) -> None:
        """Put on the device what `step` looks up; tables over t where it depends on t."""
        steps = torch.arange(self.preset.max_glimpses + 1, device=self.device)
        costs = (self.sensor.pixels, self.sensor.flops)
        self._fraction = (steps / self.preset.max_glimpses)[:, None]
        self._pixels, self._flops = (first + (steps - 1) * later for first, later in costs)
        self._labels = self.images.labels.to(self.device)
        self._nobody = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._everyone = ~self._nobody
        self._centre = torch.zeros(self.num_envs, 2, device=self.device)
        self._masks = ("_label", "_correct", "_loss", "_glimpses", "_pixels", "_flops", "_valid")
        self._chance_loss = math.log(len(self.images.classes))
        waiting = (self.num_envs, self._chance_loss, self.device, self.preset.axes)
        self._initial_state = episode.initial_state(*waiting)

    @torch.no_grad()
    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        """Start an episode in every row (or in those of `reset_mask`); return observation and info of all.

        Args:
            seed: Draws a new order of the images and starts at its first; None continues in the present one.
            options: Tensors on the environment's device: `indices` (env,) int64 of the images; `locations`
                (env, 2) of glimpse 1, `scales` (env, 1) of it (default: 1, the largest); `reset_mask` (env,)
                bool: rows to start (AutoresetMode.DISABLED only).
        """
        options = {} if options is None else options
        checks.is_open(self.closed)
        seed = checks.seed(seed)
        self.check_options(options, values=self.validate)
        tensor_checks.partial_reset(options, seed, first=self._state is None)
        state = self._state
        if seed is not None or state is None:
            super().reset(seed=seed)
            state = self._permute(int(self.np_random.integers(2**62)))
        fresh = options.get("reset_mask", self._everyone)
        return self._show(self._begin(state, fresh, options))

    def check_options(self, options: object, values: bool) -> None:
        """Refuse reset options that do not fit this environment; with `values`, values out of range too."""
        expected = (self.num_envs, len(self.images), self.autoreset_mode, values, self.device, self._zoomed)
        tensor_checks.reset_options(options, *expected)

    @torch.no_grad()
    def step(self, actions: dict[str, Tensor]) -> tuple[Observation, Floats, Bools, Bools, Info]:
        """Take a glimpse or stop, in every row; truncated is never True."""
        before = self._ready()
        expected = (self.num_envs, len(self.images.classes), self.validate, self.device, self._zoomed)
        location, stop, prediction = tensor_checks.action(actions, *expected)
        if self.preset.max_move is not None:
            location = episode.displace(before.location, location, self.preset.max_move)
        stop = (stop | (before.step >= self.preset.max_glimpses)) > before.done  # of two bools: and not
        correct, loss = episode.judge(prediction, before.label)
        reward = self._reward(before, stop, correct, loss)
        state = episode.advance(before, location, stop, correct, loss)
        terminated, final = state.done, {}
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            state = self._begin(state, before.done)
            terminated = state.done
        elif self.autoreset_mode == AutoresetMode.SAME_STEP:
            final = {"final_obs": self._observation, "final_info": self._info(state, stop)}
            final |= {"_final_obs": stop, "_final_info": stop}
            state = self._begin(state, state.done)
        observation, info = self._show(state)
        return observation, reward, terminated, self._nobody, info | final

    def sample_actions(self, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return random actions that `step` takes, in torch (`action_space.sample()` returns numpy arrays).

        Uniform over the action space (see `sampling.sample_rows`), without a host sync; `generator` is on the
        environment's device, None = torch's default.
        """
        return sampling.sample_rows(self.single_action_space, self.num_envs, self.device, generator)

    def state_dict(self) -> Info:
        """Return what `load_state_dict` needs to continue the same episodes (before any reset: nothing)."""
        if self._state is None:
            return {}
        numbers = self.np_random.bit_generator.state
        state = {name: value.clone() for name, value in self._state._asdict().items()}
        return {"seed": self._seed, "state": state, "np_random": numbers}

    def load_state_dict(self, saved: Info) -> None:
        """Continue from a `state_dict` of an environment with the same arguments."""
        if saved == {}:
            self._state = None
            return
        fresh = self._initial_state._asdict()
        saved = tensor_checks.saved_state(saved, fresh, self.images.labels, self.preset.max_glimpses)
        self.np_random = tensor_checks.saved_generator(saved["np_random"])
        self._permute(saved["seed"])
        self._show(State(**{name: value.to(self.device) for name, value in saved["state"].items()}))

    def image(self, row: int) -> UInt8[Tensor, "channel height width"]:
        """Return the whole image that a row shows, for drawing (one of "native" size may be shrunk)."""
        return self.images.picture(int(self._ready().index[row].item()))[0]

    def label(self, row: int) -> int:
        """Return the class of the image that a row shows, for drawing."""
        return int(self._ready().label[row].item())

    def _permute(self, seed: int) -> State:
        """Draw the order of the images; return the state before every row's first episode."""
        self._seed, generator = seed, torch.Generator().manual_seed(seed)
        self._permutation = torch.randperm(len(self.images), generator=generator).to(self.device)
        self._observation: Observation = {}
        return self._initial_state

    def _begin(self, state: State, fresh: Bools, options: Info | None = None) -> State:
        """Start the next episode of the rows in `fresh`; leave the others as they are."""
        indices, locations, scales = map((options or {}).get, ("indices", "locations", "scales"))
        order_index = state.order_index.add(fresh, alpha=self.num_envs)
        done, valid = state.done & ~fresh, state.valid | fresh
        if self.order == "once" and indices is None:
            past = fresh & (order_index >= len(self.images))
            done, valid, fresh = done | past, valid & ~past, fresh & ~past
            order_index = torch.where(fresh, order_index, state.order_index)
        if indices is None:
            indices = self._permutation.index_select(0, order_index % len(self.images))
        index = torch.where(fresh, indices, state.index)
        if locations is not None:
            first = locations.clamp(-1, 1).float()
        elif self.preset.initial_location == "center" or self.sensor.whole_first:
            first = self._centre
        else:  # not from the row
            first = episode.hash_location(index, order_index // self.num_envs, self._seed)
        if self._zoomed:
            widest = torch.ones_like(first[:, :1])
            first = torch.cat((first, widest if scales is None else scales.clamp(-1, 1).float()), 1)
        label, step = self._labels.index_select(0, index), state.step.masked_fill(fresh, 1)
        location = torch.where(fresh[:, None], first, state.location)
        judged = (state.correct & ~fresh, state.loss.masked_fill(fresh, self._chance_loss))
        return State(order_index, index, label, step, location, *judged, done, valid)

    def _ready(self) -> State:
        """Return the state; raise an error if the environment is closed or was never reset."""
        checks.is_open(self.closed)
        if self._state is None:
            raise RuntimeError("step() before reset(): call reset() once to draw the first images")
        return self._state

    def _reward(self, state: State, stop: Bools, correct: Bools, loss: Floats) -> Floats:
        """Return the reward of unfinished rows; 0 for the others."""
        width = window_width(self._observation, self.preset.zoom)
        reward = self.reward(rewards.Transition(state.step, stop, correct, loss, state.loss, width))
        tensor_checks.shape("the reward callable's result", reward, (self.num_envs,), floating=True)
        return reward.masked_fill(state.done, 0.0)

    def _show(self, state: State) -> tuple[Observation, Info]:
        """Make `state` the present state; return its observation and info."""
        step = self._fraction.index_select(0, state.step)
        observation = episode.split_location(state.location) | {"step": step} | self._observe(state)
        self._state, self._observation = state, observation
        return dict(observation), self._info(state, self._everyone)

    def _observe(self, state: State) -> Observation:
        """Return the sensor's entries; with `compact`, finished rows keep their last ones."""
        if not self.compact or not self._observation:
            return self.sensor.observe(state.index, state.location, state.step)
        rows = (~state.done).nonzero().squeeze(1)
        part = self.sensor.observe(state.index[rows], state.location[rows], state.step[rows])
        return {name: self._observation[name].index_copy(0, rows, value) for name, value in part.items()}

    def _info(self, state: State, mask: Bools) -> Info:
        """Return what is known of each row but hidden from its agent; `mask`: the rows that it holds for."""
        pixels, flops = (costs.index_select(0, state.step) for costs in (self._pixels, self._flops))
        info = {"label": state.label, "correct": state.correct, "loss": state.loss, "glimpses": state.step}
        info |= {"pixels": pixels, "flops": flops, "valid": state.valid}
        return info | dict.fromkeys(self._masks, mask)
