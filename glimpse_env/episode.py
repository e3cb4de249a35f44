"""The episode's pure dynamics: the state of every row, how an answer is judged, how rows move on and how they start anew."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

TINY = 1e-30  # least score of a class: an all-zero prediction becomes uniform, and no loss is infinite


@dataclass(frozen=True)
class State:
    """Everything that changes from step to step; row i of every field belongs to environment i."""

    place: Int64[Tensor, " env"]  # position of the row's episode in the permutation: episode * num_envs + row
    index: Int64[Tensor, " env"]  # image shown
    label: Int64[Tensor, " env"]  # its class
    step: Int64[Tensor, " env"]  # t, glimpses taken, from 1
    location: Float[Tensor, "env 2"]  # where the last glimpse was taken, (x, y) in [-1, 1]
    correct: Bool[Tensor, " env"]  # the last answer was right
    loss: Float[Tensor, " env"]  # of the last answer, nats; ln(classes) before any
    done: Bool[Tensor, " env"]  # the episode has ended
    valid: Bool[Tensor, " env"]  # False: order="once" has no image left for this row


def before_first(rows: int, chance_loss: float, device: torch.device) -> State:
    """Return the state in which every row waits for its first episode."""
    zero = torch.zeros(rows, dtype=torch.int64, device=device)
    return State(
        place=torch.arange(-rows, 0, device=device),
        index=zero,
        label=zero,
        step=zero + 1,
        location=torch.zeros(rows, 2, device=device),
        correct=zero.bool(),
        loss=torch.full((rows,), chance_loss, device=device),
        done=~zero.bool(),
        valid=zero.bool(),
    )


def judge(prediction: Float[Tensor, "env class"], label: Int64[Tensor, " env"]) -> tuple[Bool[Tensor, " env"], Float[Tensor, " env"]]:
    """Return whether the most probable class is the label (ties: the lower class answers), and -log p(label) in nats."""
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
    """Return the state after an answer: rows that stop end where they are, rows that go on move, ended rows stay as they were."""
    done = state.done | stop
    return State(
        place=state.place,
        index=state.index,
        label=state.label,
        step=torch.where(done, state.step, state.step + 1),
        location=torch.where(done[:, None], state.location, location.clamp(-1, 1)),
        correct=torch.where(state.done, state.correct, correct),
        loss=torch.where(state.done, state.loss, loss),
        done=done,
        valid=state.valid,
    )


def hashed_location(index: Int64[Tensor, " env"], episode: Int64[Tensor, " env"], seed: int) -> Float[Tensor, "env 2"]:
    """Return a place in [-1, 1] that depends on seed, image and episode alone, uniform over images."""
    bits = (index * 2 + 1) * 0x5851F42D4C957F2D + episode * 0x14057B7EF767814F + seed
    axes = torch.stack((bits, bits ^ 0x2545F4914F6CDD1D), 1)
    for _ in range(2):  # the finalising rounds of a 64-bit mixing hash; int64 products wrap
        axes = (axes ^ (axes >> 32)) * 0x369DEA0F31A53F85
    return ((axes >> 38) & 0xFFFFFF).float() / 2**23 - 1
