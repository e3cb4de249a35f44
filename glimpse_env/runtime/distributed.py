"""Several processes that train one agent: `torchrun --nproc-per-node=N agents/dtram_reinforce.py`. Alone, everything here does nothing.

Every process holds the whole agent and its share of each batch's images. Random numbers are drawn for the whole batch in all of them and
cut, gradients are averaged after every backward pass, so that N processes make the updates that one makes with the same batch (but for the
order of summation, and for dropout, which each process draws for itself). The first process alone writes files and the terminal.
"""

from __future__ import annotations

import datetime
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from glimpse_env.runtime import devices

Value = TypeVar("Value")
_apart = False
PATIENCE = datetime.timedelta(hours=2)  # that a process waits for the others, which may be building a bank


def wanted() -> int:
    """Return the number of processes that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def together() -> bool:
    """Tell whether this process works with others at the moment."""
    return not _apart and distributed.is_available() and distributed.is_initialized()


def count() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if together() else 1


def rank() -> int:
    """Return this process' number, from 0."""
    return distributed.get_rank() if together() else 0


def first() -> bool:
    """Tell whether this process writes files and the terminal."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def apart() -> Iterator[None]:
    """Work alone for a while, as on images that the processes have shared out: nothing is cut, averaged or waited for."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def refuse(program: str) -> None:
    """Refuse to run a program that knows nothing of other processes in several of them.

    Raises:
        ValueError: torchrun started more than one.
    """
    if wanted() > 1:
        raise ValueError(
            f"{program} runs in one process, and torchrun started {wanted()}: start it with python"
        )


def device_of(device: str) -> str:
    """Return the device of this process ("auto": see `devices`): of several GPUs each process takes its own."""
    name = devices.named(device, mps=wanted() == 1)
    return f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and wanted() > 1 else name


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the other processes that torchrun started, if there are any, and leave them at the end.

    Raises:
        RuntimeError: Another process ended (see `lost`); SIGTERM is then ignored, so that there is time to say so.
    """
    if wanted() == 1:
        yield
        return
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.set_device(torch.device(device))
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=PATIENCE)
    previous = signal.signal(signal.SIGTERM, ended)  # torchrun sends it to the others when one of them dies
    broken = False
    try:
        yield
        wait()
    except RuntimeError as error:
        broken = lost(error)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if broken else previous)
        if not broken:
            distributed.destroy_process_group()


class EndedError(RuntimeError):
    """Another process ended."""


def ended(*_: object) -> None:
    """Leave, because another process did."""
    raise EndedError("torchrun ended this process because another one had ended")


def lost(error: RuntimeError) -> bool:
    """Tell whether an error means that another process is gone: gloo and nccl raise no type of their own for it."""
    known = isinstance(error, EndedError | distributed.DistError)
    return wanted() > 1 and (
        known or any(word in str(error) for word in ("onnection", "gloo", "Socket", "NCCL"))
    )


def wait() -> None:
    """Wait until all processes are here."""
    if together():
        distributed.barrier()


def share(total: int, what: str) -> int:
    """Return this process' share of a number.

    Raises:
        ValueError: It does not divide over the processes.
    """
    if total % count():
        raise ValueError(
            f"{what} {total} does not divide over {count()} processes: choose a multiple of {count()}"
        )
    return total // count()


def part(values: Tensor) -> Tensor:
    """Return this process' part of a batch, whose rows lie in the order of the processes."""
    return values.chunk(count())[rank()] if together() else values


def drawn(
    sampler: Callable[..., Tensor],
    shape: torch.Size,
    generator: torch.Generator | None,
    device: torch.device | None = None,
) -> Tensor:
    """Return this process' rows of random numbers that are drawn for all rows of the batch.

    Args:
        sampler: `torch.rand` or `torch.randn`.
        shape: Of this process' rows.
        generator: In the same state in all processes; None = torch's global one, for a single process.
        device: Where the numbers lie; None = the generator's device.
    """
    return part(
        sampler(
            (shape[0] * count(), *shape[1:]),
            generator=generator,
            device=generator.device if generator else device,
        )
    )


def average(value: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes; it carries no gradient to the others."""
    if not together():
        return value
    found = value.detach().clone().double()
    distributed.all_reduce(found)
    return (found / count()).to(value.dtype if value.is_floating_point() else torch.float32)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, all in one message."""
    if not together():
        return
    found = [value.grad for value in parameters if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in found])
    distributed.all_reduce(flat)
    flat /= count()
    for gradient, mean in zip(found, flat.split([gradient.numel() for gradient in found]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def agreed(value: Value) -> Value:
    """Return the first process' value in all of them."""
    if not together():
        return value
    content = [value]
    distributed.broadcast_object_list(content)
    return content[0]


def gathered(values: list[Any]) -> list[Any]:
    """Return the entries of all processes' lists: the first of each, then the second of each, and so on."""
    if not together():
        return values
    found: list[Any] = [None] * count()
    distributed.all_gather_object(found, values)
    longest = max(len(own) for own in found)
    return [own[place] for place in range(longest) for own in found if place < len(own)]
