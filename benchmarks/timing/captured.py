"""A whole training update as a CUDA graph - rollout, losses, backward pass, optimiser step - beside the same update run step by step.

Both are the same function, `RamUpdate.__call__`, of twins that begin alike, so their losses can be compared. What a graph keeps of the
moment of capture, and an update is not free to change afterwards: the number of glimpses, the policy's sigma, the learning rate (Python
numbers), and the addresses of all tensors that are read, among them the images.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

import torch
from timing import timed
from torch import Tensor

from glimpse_env import checks, rewards
from glimpse_env.runtime.precision import named
from glimpse_env.training.environments import build_environment
from glimpse_env.training.optimizers import Optimizer
from glimpse_env.training.rollout import collect

sys.path.append(
    str(Path(__file__).parents[2] / "agents")
)  # a part of the script is captured, not a run of it
from ram_reinforce import Options, behaviour, build_network, losses

SHARE = 0.5  # of the stage that counts as done: the curriculum has reached all glimpses
COMPARED = 20  # updates whose losses are compared; later on rounding errors have grown
TOLERANCE = 0.02  # relative difference of these losses
SEED = 0


class RamUpdate:
    """RAM's update on MNIST with AdamW; `rows` is its input and stays where it is."""

    def __init__(self, options: Options, capturable: bool = False) -> None:
        """Build environment, network and optimiser from a fixed seed; no pixel is changed between updates (no augmentation).

        `capturable`: AdamW counts its steps on the GPU, as a graph needs it; step by step it is faster without.
        """
        torch.manual_seed(SEED)
        self.options = options
        self.env = build_environment(options)
        self.env.reset(seed=SEED)
        self.network = build_network(self.env, options).to(self.env.device)
        self.generator = torch.Generator(self.env.device).manual_seed(SEED)
        parameters = list(self.network.parameters())
        self.optimizer = Optimizer(
            [torch.optim.AdamW(parameters, options.learning_rate, capturable=capturable)], parameters
        )
        self.behaviour = behaviour(options, SHARE, self.env.preset.max_glimpses, self.network.location_policy)
        self.env.reward = rewards.make(options.reward)
        self.network.train()
        self.network.decides = False
        self.precision = named(options.precision, self.env.device)
        self.rows = torch.zeros(self.env.num_envs, dtype=torch.int64, device=self.env.device)
        self.loss = torch.zeros((), device=self.env.device)

    def batches(self) -> Iterator[Tensor]:
        """Yield the rows' images of every update, the same for twins."""
        generator = torch.Generator(self.env.device).manual_seed(SEED)
        while True:
            order = torch.randperm(len(self.env.images), generator=generator, device=self.env.device)
            for images in order.split(self.options.batch)[: len(order) // self.options.batch]:
                yield images.repeat_interleave(self.options.samples)

    def __call__(self) -> None:
        """Make the update of the images in `rows`; nothing here waits for the device."""
        rollout = collect(self.env, self.network, self.behaviour, self.generator, self.rows, self.precision)
        self.loss = self.optimizer.update(losses(rollout, self.options), lr_scale=1.0)


@dataclass(frozen=True)
class Timed:
    """What a number of updates took, and their losses."""

    ms: float  # an update
    losses: Tensor


class Replay:
    """A captured update: `graph.replay()` in the place of the function."""

    def __init__(self, update: RamUpdate, stream: torch.cuda.Stream) -> None:
        """Capture an update that has been made a few times on this stream; capturing itself makes none."""
        # The first operations read the state that the last update left, so its memory must stay as long as the graph.
        self.update, self.read = update, (update.env._state, update.env._observation)
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(update.generator)
        update.optimizer.zero_grad()
        with torch.cuda.graph(self.graph, stream=stream):
            update()

    def __call__(self) -> None:
        """Make the update of the images in `rows` now."""
        self.graph.replay()


def measure(options: Options, updates: int, warm_up: int) -> dict[str, float]:
    """Return the ms of an update run step by step and as a graph, and the largest relative difference of their losses.

    On a CPU, which has no graphs, the second one is run step by step too.

    Raises:
        RuntimeError: The losses differ by more than `TOLERANCE`.
    """
    device = checks.device(options.device)
    if device.index is not None:
        torch.cuda.set_device(device)  # streams and graphs are made on the present GPU
    on_gpu = device.type == "cuda"
    eager, graph = (
        timed_updates(RamUpdate(options, capture), updates, warm_up, capture) for capture in (False, on_gpu)
    )
    difference = largest_difference(eager.losses[:COMPARED], graph.losses[:COMPARED])
    if not difference <= TOLERANCE:  # NaN too
        raise RuntimeError(
            f"the losses of the graph differ by {difference:.3g} of the eager ones: expected at most {TOLERANCE}"
        )
    return {"eager_ms": eager.ms, "graph_ms": graph.ms, "difference": difference}


def largest_difference(expected: Tensor, found: Tensor) -> float:
    """Return the largest relative difference of two rows of losses."""
    return ((expected - found).abs() / expected.abs().clamp(min=1e-6)).max().item()


def timed_updates(update: RamUpdate, updates: int, warm_up: int, capture: bool) -> Timed:
    """Make the updates that warm up, then time the others: step by step, or captured."""
    device, batches = update.env.device, update.batches()
    call: RamUpdate | Replay = update
    if capture:
        side = torch.cuda.Stream(
            device
        )  # of the first updates and the capture: autograd and cuBLAS remember the stream of their first use
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="This instance was constructed with capturable=True"
            )  # and is not captured yet
            run(update, update, batches, warm_up)
        torch.cuda.current_stream(device).wait_stream(side)
        call = Replay(update, side)
    else:
        run(update, update, batches, warm_up)
    timed.synchronize(device)
    begin = perf_counter()
    losses = run(call, update, batches, updates)
    timed.synchronize(device)
    return Timed(1e3 * (perf_counter() - begin) / updates, losses.cpu())


def run(call: RamUpdate | Replay, update: RamUpdate, batches: Iterator[Tensor], count: int) -> Tensor:
    """Make updates and return their losses, on the device."""
    losses = []
    for batch in islice(batches, count):
        update.rows.copy_(batch)
        call()
        losses.append(update.loss.clone())
    return torch.stack(losses)
