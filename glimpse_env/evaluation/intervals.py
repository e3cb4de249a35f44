"""How sure a figure is: the interval of a mean over runs, and of a paired difference over images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}  # 97.5 % quantile by number of runs
RESAMPLES = 10_000


def over_runs(values: Sequence[float]) -> str:
    """Return "mean +- half-width" of the mean's 95 % interval (Student's t), or the value alone."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    return f"{mean:.2f} +- {half_width(values):.2f}"


def half_width(values: Sequence[float]) -> float:
    """Return half the width of the mean's 95 % interval (Student's t) over at least two runs."""
    return STUDENT.get(len(values), 2.26) * statistics.stdev(values) / math.sqrt(len(values))


def over_images(difference: Float[Tensor, " image"], resamples: int = RESAMPLES) -> tuple[float, float, float]:
    """Return the mean of a difference known for every image, and its 95 % interval by bootstrap over images (a fixed seed)."""
    draws = torch.randint(len(difference), (resamples, len(difference)), generator=torch.Generator().manual_seed(0))
    means = difference[draws].mean(1).sort().values
    return difference.mean().item(), means[int(0.025 * resamples)].item(), means[int(0.975 * resamples)].item()


def paired(
    first: Float[Tensor, "seed image"], second: Float[Tensor, "seed image"], resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Return how many points more often `first` is right than `second` (1 = right), with its 95 % interval over images."""
    return over_images(100 * (first.mean(0) - second.mean(0)), resamples)
