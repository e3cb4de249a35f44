"""A training update - rollout, losses, backward pass, optimiser step - as a CUDA graph, and step by step.

Both are the same function, `RamUpdate.__call__`, of twins with equal weights and seeds, so their losses can
be compared. A graph fixes what must then not change: the number of glimpses, the policy's sigma, the learning
rate (Python numbers), and the addresses of all tensors that are read, among them the images.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from time import perf_counter
from typing import Any

import torch
from timing import timed
from torch import Tensor

from glimpse_env import checks, rewards
from glimpse_env.runtime.precision import named
from glimpse_env.training.environments import build_environment
from glimpse_env.training.optimizers import Optimizer
from glimpse_env.training.rollout import collect

sys.path.append(str(timed.ROOT / "agents"))  # a part of the script is captured, not a run of it
from ram_reinforce import Options, behaviour, build_network, losses

SHARE = 0.5  # of the stage that counts as done: the curriculum has reached all glimpses
COMPARED = 20  # updates whose losses are compared; later on rounding errors have grown
TOLERANCE = 0.02  # relative difference of these losses
SEED = 0


class RamUpdate:
    """RAM's update on MNIST with AdamW; `rows` is its input and keeps its address."""

    def __init__(self, options: Options, capturable: bool = False) -> None:
        """Build environment, network and optimiser from a fixed seed.

        `capturable`: AdamW counts its steps on the GPU, as a graph needs; step by step it is faster without.
        """
        torch.manual_seed(SEED)
        self.options = options
        self.env = build_environment(options)
        self.env.reset(seed=SEED)
        device = self.env.device
        self.network = build_network(self.env, options).to(device)
        self.generator = torch.Generator(device).manual_seed(SEED)
        parameters = list(self.network.parameters())
        adamw = torch.optim.AdamW(parameters, options.learning_rate, capturable=capturable)
        self.optimizer = Optimizer([adamw], parameters)
        self.behaviour = behaviour(options, SHARE, self.env.preset.max_glimpses, self.network.location_policy)
        self.env.reward = rewards.make(options.reward)
        self.network.train()
        self.network.decides = False
        self.precision = named(options.precision, device)
        self.rows = torch.zeros(self.env.num_envs, dtype=torch.int64, device=device)
        self.loss = torch.zeros((), device=device)
        self.read_by_graph: Any = None

    def batches(self) -> Iterator[Tensor]:
        """Yield the rows' images of every update, the same for twins."""
        generator = torch.Generator(self.env.device).manual_seed(SEED)
        while True:
            order = torch.randperm(len(self.env.images), generator=generator, device=self.env.device)
            for images in order.split(self.options.batch)[: len(order) // self.options.batch]:
                yield images.repeat_interleave(self.options.samples)

    def __call__(self) -> None:
        """Make the update of the images in `rows`; nothing here waits for the device."""
        self.loss = self.optimizer.update(self.compute(self.rows), lr_scale=1.0)

    def compute(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the losses of an episode on the images `rows`."""
        rollout = collect(self.env, self.network, self.behaviour, self.generator, rows, self.precision)
        return losses(rollout, self.options)

    def capture(self, stream: torch.cuda.Stream) -> Callable[[], None]:
        """Return the update as a graph; a few were made on this stream before, and capturing makes none."""
        # The first operations read the state that the last update left: keep it as long as the graph.
        self.read_by_graph = (self.env._state, self.env._observation)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        self.optimizer.zero_grad()
        with torch.cuda.graph(graph, stream=stream):
            self()
        return graph.replay


def measure(options: Options, updates: int, warm_up: int) -> dict[str, float]:
    """Return the ms of an update step by step and as a graph, and the largest relative loss difference.

    A CPU has no graphs: there the second one is run step by step too.

    Raises:
        RuntimeError: The losses differ by more than `TOLERANCE`.
    """
    device = checks.device(options.device)
    if device.index is not None:
        torch.cuda.set_device(device)  # streams and graphs are created on the present GPU
    (eager_ms, eager), (graph_ms, graph) = (
        timed_updates(RamUpdate(options, capture), updates, warm_up, capture)
        for capture in (False, device.type == "cuda")
    )
    difference = largest_difference(eager[:COMPARED], graph[:COMPARED])
    if not difference <= TOLERANCE:  # NaN too
        expected = f"expected at most {TOLERANCE}"
        raise RuntimeError(
            f"the losses of the graph differ by {difference:.3g} of the eager ones: {expected}"
        )
    return {"eager_ms": eager_ms, "graph_ms": graph_ms, "difference": difference}


def largest_difference(expected: Tensor, found: Tensor) -> float:
    """Return the largest relative difference of two rows of losses."""
    return ((expected - found).abs() / expected.abs().clamp(min=1e-6)).max().item()


def timed_updates(update: RamUpdate, updates: int, warm_up: int, capture: bool) -> tuple[float, Tensor]:
    """Make the updates that warm up, then time the others: step by step, or captured.

    Returns:
        The ms of an update, and the losses.
    """
    device, batches = update.env.device, update.batches()
    call: Callable[[], None] = update
    if capture:
        # One stream for warm-up and capture: autograd and cuBLAS remember the stream of their first use.
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side), warnings.catch_warnings():
            early = "This instance was constructed with capturable=True"  # and is not captured yet
            warnings.filterwarnings("ignore", message=early)
            run(update, update, batches, warm_up)
        torch.cuda.current_stream(device).wait_stream(side)
        call = update.capture(side)
    else:
        run(update, update, batches, warm_up)
    timed.synchronize(device)
    begin = perf_counter()
    losses = run(call, update, batches, updates)
    timed.synchronize(device)
    return 1e3 * (perf_counter() - begin) / updates, losses.cpu()


def run(call: Callable[[], None], update: RamUpdate, batches: Iterator[Tensor], count: int) -> Tensor:
    """Make updates and return their losses, on the device."""
    losses = []
    for batch in islice(batches, count):
        update.rows.copy_(batch)
        call()
        losses.append(update.loss.clone())
    return torch.stack(losses)
