"""Optimisers with annealed rates: AdamW, SGD, or Muon for hidden matrices and AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpse_env.networks.trunk import Trunk
from glimpse_env.runtime import distributed
from glimpse_env.runtime.precision import fastest

Name = Literal["muon", "adamw", "sgd"]
Schedule = Literal["linear", "step"]
# Coefficients (a, b, c) of the steps x <- a x + b x^3 + c x^5 of singular values towards 1, each the best for
# what is left of [0.01, 1] (as in Amsel et al. 2025, The Polar Express): [0.73, 1.27] in the end, as near in
# three steps as Jordan et al. in five.
NEWTON_SCHULZ = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))
CLIP = 5.0  # default of the gradient's largest norm
WARM_UP = 200  # default of the warm-up's updates
MUON_MODULES = ("glimpse", "core")  # whose matrices are hidden layers; heads use AdamW (Jordan et al. 2024)


@dataclass(frozen=True)
class Descent:
    """Options of an optimiser."""

    optimizer: Name = "muon"
    """muon (Muon for the hidden matrices, AdamW for the rest), adamw, or sgd."""
    learning_rate: float = 1.5e-3
    """Peak learning rate of AdamW or SGD, reached after a short warm-up; then it decreases."""
    muon_rate: float = 0.03
    """Peak learning rate of Muon, on the same schedule."""
    weight_decay: float = 0.02
    """Decoupled weight decay of the weight matrices; not used with sgd."""


@dataclass(frozen=True)
class ScheduledDescent(Descent):
    """Options of an optimiser, of its learning rates' schedule and of its limit."""

    schedule: Schedule = "linear"
    """How the learning rates fall: linearly to nearly 0 (linear), or to a tenth after each third of the
    epochs (step, as in DT-RAM on photographs)."""
    warm_up: int = WARM_UP
    """Updates in which the learning rates rise to their peaks, at most a tenth of all updates; 0 = none."""
    max_grad_norm: float = CLIP
    """Largest norm of the gradient, to which a larger one is shortened; 0 = no limit."""


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are orthogonalised (Jordan et al. 2024, Muon: An optimizer for hidden layers).

    What `torch.optim.Muon` computes, but for how matrices are orthogonalised: those of one shape together, in
    three steps, and in a type that the device has units for. torch's takes bfloat16 always, which a CPU
    without such units emulates, 60 times slower than float32.
    """

    def __init__(self, params: list[Tensor], lr: float, weight_decay: float, momentum: float = 0.9) -> None:
        """Store the matrices to update; weight decay is decoupled, momentum is Nesterov's."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in shapes.items():
                averages = [self._average(matrix, group["momentum"]) for matrix in matrices]
                updates = orthogonalise(torch.stack(averages))
                rate = group["lr"] * math.sqrt(max(1, shape[0] / shape[1]))
                for matrix, update in zip(matrices, updates.unbind(), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)

    def _average(self, matrix: Tensor, momentum: float) -> Tensor:
        """Update the running average of the gradient, and return the average a step ahead (Nesterov)."""
        gradient, state = matrix.grad, self.state[matrix]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        return gradient.lerp(state["momentum_buffer"].lerp_(gradient, 1 - momentum), momentum)


def orthogonalise(matrices: Float[Tensor, "matrix rows columns"]) -> Float[Tensor, "matrix rows columns"]:
    """Return nearly orthogonal matrices with the same singular vectors, by `NEWTON_SCHULZ`."""
    dtype = fastest(matrices.device).dtype  # float16 loses the squares of small entries
    wide = matrices.to(torch.float32 if dtype == torch.float16 else dtype)
    tall = wide.shape[1] > wide.shape[2]
    wide = wide.mT if tall else wide
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for a, b, c in NEWTON_SCHULZ:
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return (wide.mT if tall else wide).to(matrices.dtype)


Parts = list[torch.optim.Optimizer]


class Optimizer:
    """Several torch optimisers stepped as one, their rates annealed by a common factor."""

    def __init__(self, parts: Parts, parameters: list[nn.Parameter], clip: float | None = CLIP) -> None:
        """Store the parts with their peak rates, the parameters, and their gradient's largest norm."""
        self.parts, self.parameters, self.clip = parts, parameters, clip
        self.peaks = [[group["lr"] for group in part.param_groups] for part in parts]

    def update(self, losses: Mapping[str, Tensor], lr_scale: float) -> Tensor:
        """Take one step down the sum of the losses, at `lr_scale` times the peak rates; return the sum.

        The gradient is averaged over processes and clipped.
        """
        self.anneal(lr_scale)
        loss = torch.stack(list(losses.values())).sum()
        self.zero_grad()
        loss.backward()
        distributed.average_gradients(self.parameters)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.step()
        return loss.detach()

    def anneal(self, share: float) -> None:
        """Set every learning rate to the fraction `share` of its peak."""
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * share

    def zero_grad(self) -> None:
        """Clear all gradients."""
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        """Update all parameters."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of every part."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]] | dict[str, Any]) -> None:
        """Restore `state_dict`, or the state of the only part (checkpoints of FCAN before version 0.2)."""
        for part, state in zip(self.parts, states if isinstance(states, list) else [states], strict=True):
            part.load_state_dict(state)


def build_optimizer(network: nn.Module, options: ScheduledDescent) -> Optimizer:
    """Return the optimiser of the parameters that require a gradient; only matrices decay.

    Where the options have a `backbone_rate`, it is the peak rate of a `Trunk`'s weights.
    """
    own = getattr(options, "backbone_rate", options.learning_rate)
    rates = options.learning_rate, options.muon_rate
    return make(network, options.optimizer, *rates, options.weight_decay, options.max_grad_norm, own)


def make(
    network: nn.Module,
    name: Name,
    rate: float,
    muon_rate: float,
    decay: float,
    clip: float = CLIP,
    backbone_rate: float | None = None,
) -> Optimizer:
    """Return an optimiser (see `build_optimizer`); a `Trunk` has a rate, and no Muon, where one is given."""
    limit = clip or None
    named = {key: value for key, value in network.named_parameters() if value.requires_grad}
    parameters = list(named.values())
    slow = {} if backbone_rate is None else find_trunk(network, named)
    named = {key: value for key, value in named.items() if key not in slow}
    by_rate = [(list(slow.values()), backbone_rate)] if slow else []
    if name == "sgd":
        by_rate = [(list(named.values()), rate), *by_rate]
        groups = [{"params": values, "lr": own} for values, own in by_rate]
        return Optimizer([torch.optim.SGD(groups, rate, momentum=0.9)], parameters, limit)
    modules = MUON_MODULES if name == "muon" else ()
    hidden = {key for key, value in named.items() if value.ndim == 2 and key.split(".")[0] in modules}
    by_rate = [([value for key, value in named.items() if key not in hidden], rate), *by_rate]
    groups = [
        {"params": [value for value in values if (value.ndim >= 2) == wide], "lr": own}
        | {"weight_decay": decay if wide else 0.0}
        for values, own in by_rate
        for wide in (True, False)
    ]
    parts: Parts = [torch.optim.AdamW(groups, rate)]
    if hidden:
        parts = [Muon([named[key] for key in named if key in hidden], muon_rate, decay), *parts]
    return Optimizer(parts, parameters, limit)


def find_trunk(network: nn.Module, named: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Return those of the named parameters that belong to a `Trunk` in the network."""
    starts = tuple(f"{name}." for name, module in network.named_modules() if isinstance(module, Trunk))
    return {key: value for key, value in named.items() if starts and key.startswith(starts)}


def warm_up_and_decay(
    share: float, updates: int, warm_up: int = WARM_UP, schedule: Schedule = "linear"
) -> float:
    """Return the learning rate as a fraction of its peak: a short warm-up, then it falls by the schedule.

    `share` is the finished fraction of the stage's `updates`. The first `warm_up`, at most a tenth of them,
    are the warm-up. "linear": to nearly 0; "step": to a tenth after each third of the stage.
    """
    warm = min(1.0, (share * updates + 1) / max(1, min(warm_up, 1 + updates / 10)))
    return warm * (0.1 ** min(2, int(3 * share)) if schedule == "step" else max(1e-3, 1 - share))
