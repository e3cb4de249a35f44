"""The dynamics of an episode as pure functions of the state of every row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Bools = Bool[Tensor, " env"]  # one value per row
Floats = Float[Tensor, " env"]
Ints = Int64[Tensor, " env"]
Points = Float[Tensor, "env axis"]  # one location (x, y) per row; with zoom (x, y, scale)

TINY = 1e-30  # smallest score of a class: an all-zero prediction becomes uniform, and the loss stays finite


class State(NamedTuple):
    """Everything that changes from step to step; row i of every field belongs to environment i.

    A tuple, unlike a dataclass, can be built in a compiled step where jaxtyping's import hook is installed.
    """

    order_index: Ints  # position of the row's episode in the permutation: episode * num_envs + row
    index: Ints  # image shown  # pyright: ignore[reportIncompatibleMethodOverride]
    label: Ints  # its class
    step: Ints  # t, glimpses taken, from 1
    location: Points  # where the last glimpse was taken, and with zoom its scale, in [-1, 1]
    correct: Bools  # the last prediction was correct
    loss: Floats  # of the last prediction, nats; ln(classes) before any
    done: Bools  # the episode has ended
    valid: Bools  # False: order="once" has no image left for this row


def initial_state(rows: int, chance_loss: float, device: torch.device, axes: int = 2) -> State:
    """Return the state in which every row waits for its first episode."""
    zero = torch.zeros(rows, dtype=torch.int64, device=device)
    return State(
        order_index=torch.arange(-rows, 0, device=device),
        index=zero,
        label=zero,
        step=zero + 1,
        location=torch.zeros(rows, axes, device=device),
        correct=zero.bool(),
        loss=torch.full((rows,), chance_loss, device=device),
        done=~zero.bool(),
        valid=zero.bool(),
    )


def rename_fields(saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a saved state with the present names of fields: old checkpoints call `order_index` `place`."""
    return {"order_index" if name == "place" else name: value for name, value in saved.items()}


def split_location(location: Float[Tensor, "*batch axis"]) -> dict[str, Tensor]:
    """Return a location as the entries of an action or an observation: `location`, and `scale` with zoom."""
    if location.shape[-1] == 2:
        return {"location": location}
    return {"location": location[..., :2], "scale": location[..., 2:]}


def join_location(entries: Mapping[str, Tensor]) -> Float[Tensor, "*batch axis"]:
    """Return the location of an action or an observation, with its `scale` if there is one."""
    if "scale" not in entries:
        return entries["location"]
    return torch.cat((entries["location"], entries["scale"]), -1)


def judge(prediction: Float[Tensor, "env class"], label: Ints) -> tuple[Bools, Floats]:
    """Return whether the most probable class (the first of equal ones) is the label, and the loss in nats."""
    scored = prediction.gather(1, label[:, None]).squeeze(1).clamp_min(TINY)
    total = prediction.sum(1).clamp_min(prediction.shape[1] * TINY)
    return prediction.argmax(1) == label, (total / scored).log()


def advance(state: State, location: Points, stop: Bools, correct: Bools, loss: Floats) -> State:
    """Return the state after an action: rows that stop are done, those that continue move, done rows stay."""
    done = state.done | stop
    return State(
        order_index=state.order_index,
        index=state.index,
        label=state.label,
        step=torch.where(done, state.step, state.step + 1),
        location=torch.where(done[:, None], state.location, location.clamp(-1, 1)),
        correct=torch.where(state.done, state.correct, correct),
        loss=torch.where(state.done, state.loss, loss),
        done=done,
        valid=state.valid,
    )


def displace(before: Points, action: Points, longest: float) -> Points:
    """Return the locations that lie `longest` times the action from those before; scales are the action's.

    Actions longer than 1 count as 1. Locations are not clamped here.
    """
    step = action[:, :2]
    moved = before[:, :2] + longest * step / step.norm(dim=1, keepdim=True).clamp(min=1)
    return torch.cat((moved, action[:, 2:]), 1)


def hash_location(index: Ints, episode: Ints, seed: int) -> Float[Tensor, "env 2"]:
    """Return a location in [-1, 1] that depends on seed, image and episode only, uniform over images."""
    bits = (index * 2 + 1) * 0x5851F42D4C957F2D + episode * 0x14057B7EF767814F + seed
    axes = torch.stack((bits, bits ^ 0x2545F4914F6CDD1D), 1)
    for _ in range(2):  # the final rounds of a 64-bit mixing hash; int64 products wrap around
        axes = (axes ^ (axes >> 32)) * 0x369DEA0F31A53F85
    return ((axes >> 38) & 0xFFFFFF).float() / 2**23 - 1
