"""The dynamics of an episode as pure functions: the state of every row, how a prediction is scored, and how a step changes the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

TINY = 1e-30  # smallest score of a class: an all-zero prediction becomes uniform, and the loss stays finite


@dataclass(frozen=True)
class State:
    """Everything that changes from step to step; row i of every field belongs to environment i."""

    order_index: Int64[
        Tensor, " env"
    ]  # position of the row's episode in the permutation: episode * num_envs + row
    index: Int64[Tensor, " env"]  # image shown
    label: Int64[Tensor, " env"]  # its class
    step: Int64[Tensor, " env"]  # t, glimpses taken, from 1
    location: Float[Tensor, "env 2"]  # where the last glimpse was taken, (x, y) in [-1, 1]
    correct: Bool[Tensor, " env"]  # the last prediction was correct
    loss: Float[Tensor, " env"]  # of the last prediction, nats; ln(classes) before any
    done: Bool[Tensor, " env"]  # the episode has ended
    valid: Bool[Tensor, " env"]  # False: order="once" has no image left for this row


def initial_state(rows: int, chance_loss: float, device: torch.device) -> State:
    """Return the state in which every row waits for its first episode."""
    zero = torch.zeros(rows, dtype=torch.int64, device=device)
    return State(
        order_index=torch.arange(-rows, 0, device=device),
        index=zero,
        label=zero,
        step=zero + 1,
        location=torch.zeros(rows, 2, device=device),
        correct=zero.bool(),
        loss=torch.full((rows,), chance_loss, device=device),
        done=~zero.bool(),
        valid=zero.bool(),
    )


def rename_fields(saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the fields of a saved state under their present names: earlier checkpoints call `order_index` `place`."""
    return {"order_index" if name == "place" else name: value for name, value in saved.items()}


def judge(
    prediction: Float[Tensor, "env class"], label: Int64[Tensor, " env"]
) -> tuple[Bool[Tensor, " env"], Float[Tensor, " env"]]:
    """Return whether the most probable class is the label (ties: the lower class counts), and -log p(label) in nats."""
    scored = prediction.gather(1, label[:, None]).squeeze(1).clamp_min(TINY)
    total = prediction.sum(1).clamp_min(prediction.shape[1] * TINY)
    return prediction.argmax(1) == label, (total / scored).log()


def advance(
    state: State,
    location: Float[Tensor, "env 2"],
    stop: Bool[Tensor, " env"],
    correct: Bool[Tensor, " env"],
    loss: Float[Tensor, " env"],
) -> State:
    """Return the state after an action: rows that stop are done, rows that continue move, done rows stay as they are."""
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


def hash_location(
    index: Int64[Tensor, " env"], episode: Int64[Tensor, " env"], seed: int
) -> Float[Tensor, "env 2"]:
    """Return a location in [-1, 1] that depends on seed, image and episode only, uniform over images."""
    bits = (index * 2 + 1) * 0x5851F42D4C957F2D + episode * 0x14057B7EF767814F + seed
    axes = torch.stack((bits, bits ^ 0x2545F4914F6CDD1D), 1)
    for _ in range(2):  # the final rounds of a 64-bit mixing hash; int64 products wrap around
        axes = (axes ^ (axes >> 32)) * 0x369DEA0F31A53F85
    return ((axes >> 38) & 0xFFFFFF).float() / 2**23 - 1
