"""Several processes that train one agent: `torchrun --nproc-per-node=N agents/dtram_reinforce.py`.

Every process holds the whole agent and its share of each batch's images. Random numbers are drawn for the
whole batch in all of them and cut, gradients are averaged after every backward pass, so that N processes make
the updates that one makes with the same batch (but for the order of summation, and for dropout, which each
process draws for itself). The first process alone writes files and the terminal. In a single process
everything here does nothing.
"""

from __future__ import annotations

import datetime
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from glimpse_env.runtime import devices

Value = TypeVar("Value")
Sampler = Callable[..., Tensor]
Random = torch.Generator | None  # None = torch's global generator
Device = torch.device | None
_apart = False
PATIENCE = datetime.timedelta(hours=2)  # that a process waits for the others, which may be building a bank
SILENCE = 10.0  # seconds that a process waits for the others before it says so
_waiting_since: float | None = None

log = logging.getLogger("glimpse_env")


def world_size() -> int:
    """Return the number of processes that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_parallel() -> bool:
    """Return whether this process works with others at the moment."""
    return not _apart and distributed.is_available() and distributed.is_initialized()


def count() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if is_parallel() else 1


def rank() -> int:
    """Return this process' number, from 0."""
    return distributed.get_rank() if is_parallel() else 0


def first() -> bool:
    """Return whether this process writes files and the terminal."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def apart() -> Iterator[None]:
    """Work alone for a while, as on images that the processes share: no cuts, averages or waiting."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def refuse(program: str) -> None:
    """Raise a ValueError if torchrun started several processes: the program is for one."""
    if world_size() > 1:
        started = f"torchrun started {world_size()}"
        raise ValueError(f"{program} runs in one process, and {started}: start it with python")


def device_of(device: str) -> str:
    """Return this process' device ("auto": see `devices`): of several GPUs each process takes its own."""
    name = devices.named(device, mps=world_size() == 1)
    return f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and world_size() > 1 else name


class EndedError(RuntimeError):
    """Another process ended."""


def _end(*_: object) -> None:
    raise EndedError("torchrun ended this process because another one had ended")


@contextmanager
def join(device: str) -> Iterator[None]:
    """Join the other processes that torchrun started, if there are any, and leave them at the end.

    Raises:
        RuntimeError: Another process ended (see `is_lost`); SIGTERM is then ignored, to leave time for a
            message.
    """
    if world_size() == 1:
        yield
        return
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.set_device(torch.device(device))
    ended = threading.Event()
    threading.Thread(target=_announce, args=(ended,), daemon=True).start()
    with _waiting():
        distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=PATIENCE)
    previous = signal.signal(signal.SIGTERM, _end)  # torchrun sends it to the others when one of them dies
    broken = False
    try:
        yield
        wait()
    except RuntimeError as error:
        broken = is_lost(error)
        raise
    finally:
        ended.set()
        signal.signal(signal.SIGTERM, signal.SIG_IGN if broken else previous)
        if not broken:
            distributed.destroy_process_group()


@contextmanager
def _waiting() -> Iterator[None]:
    """Mark the time in which this process may wait for the others."""
    global _waiting_since
    _waiting_since = time.monotonic()
    try:
        yield
    finally:
        _waiting_since = None


def _announce(ended: threading.Event) -> None:
    """Log once for every long wait that this process waits, until `ended` is set."""
    announced = None
    while not ended.wait(SILENCE / 10):
        since = _waiting_since
        if since is not None and since != announced and time.monotonic() - since >= SILENCE:
            announced = since
            own = f"process {os.environ.get('RANK', '0')} of {world_size()} is waiting for the others"
            limit = f"for {PATIENCE.total_seconds() / 3600:g} hours at most"
            log.warning("%s, which may be reading or computing images; it waits %s", own, limit)


def is_lost(error: RuntimeError) -> bool:
    """Return whether an error means that another process ended; gloo and nccl have no type for that."""
    known = isinstance(error, EndedError | distributed.DistError)
    words = ("onnection", "gloo", "Socket", "NCCL")
    return world_size() > 1 and (known or any(word in str(error) for word in words))


def wait() -> None:
    """Wait until all processes are here."""
    if is_parallel():
        with _waiting():
            distributed.barrier()


def share(total: int, what: str) -> int:
    """Return this process' share of a number; raise a ValueError if it does not divide."""
    n = count()
    if total % n:
        raise ValueError(f"{what} {total} does not divide over {n} processes: choose a multiple of {n}")
    return total // n


def part(values: Tensor, dim: int = 0) -> Tensor:
    """Return this process' part of a batch, whose rows (along `dim`) lie in the order of the processes."""
    return values.chunk(count(), dim)[rank()] if is_parallel() else values


def gather_rows(values: Tensor) -> Tensor:
    """Return a batch whose parts (see `part`) the processes hold, its rows along the last dimension.

    It carries no gradient.
    """
    return torch.cat(_gather(values.detach()).unbind(), dim=-1) if is_parallel() else values


def draw(sampler: Sampler, shape: tuple[int, ...], generator: Random, device: Device = None) -> Tensor:
    """Return random numbers of `torch.rand` or `torch.randn`: this process' rows of those for all rows.

    The generator is in the same state in all processes; None = torch's global one, for a single process. Its
    device is used, without a generator `device`.
    """
    whole = (shape[0] * count(), *shape[1:])
    return part(sampler(whole, generator=generator, device=generator.device if generator else device))


def average(value: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes; it carries no gradient to the others."""
    if not is_parallel():
        return value
    mean = _gather(value.detach().double()).mean(0)
    return mean.to(value.dtype if value.is_floating_point() else torch.float32)


def _gather(value: Tensor) -> Tensor:
    """Return the tensors of all processes, stacked. Of few numbers this is sooner done than gloo's sum."""
    parts = value.new_empty(count() * value.numel())
    with _waiting():
        distributed.all_gather_into_tensor(parts, value.flatten())
    return parts.view(count(), *value.shape)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, all in one message."""
    if not is_parallel():
        return
    gradients = [value.grad for value in parameters if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with _waiting():
        distributed.all_reduce(flat)
    flat /= count()
    means = flat.split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def broadcast(value: Value) -> Value:
    """Return the first process' value in all of them."""
    content = [value]
    if is_parallel():
        with _waiting():
            distributed.broadcast_object_list(content)
    return content[0]


def gathered(values: list[Any]) -> list[Any]:
    """Return the entries of all processes' lists: the first of each, then the second of each, and so on."""
    if not is_parallel():
        return values
    lists: list[Any] = [None] * count()
    with _waiting():
        distributed.all_gather_object(lists, values)
    longest = max(len(own) for own in lists)
    return [own[index] for index in range(longest) for own in lists if index < len(own)]
