"""95 % intervals: of a mean over runs, of a paired difference over images, of an accuracy; and how they are written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}  # 97.5 % quantile by number of runs
RESAMPLES = 10_000


def format_mean(values: Sequence[float]) -> str:
    """Return "1.32 +- 0.08", the mean and half the width of its interval; one value alone without."""
    mean = statistics.fmean(values)
    return f"{mean:.2f}" if len(values) < 2 else f"{mean:.2f} +- {compute_half_width(values):.2f}"


def format_interval(interval: Sequence[float], digits: int = 1) -> str:
    """Return "+1.2 [+0.3, +2.1]" from a difference and the ends of its interval."""
    mean, low, high = (f"{value:+.{digits}f}" for value in interval)
    return f"{mean} [{low}, {high}]"


def compute_half_width(values: Sequence[float]) -> float:
    """Return half the width of the mean's interval (Student's t) over at least two runs."""
    return STUDENT.get(len(values), 2.26) * statistics.stdev(values) / math.sqrt(len(values))


def compute_wilson_half_width(accuracy: float, images: int) -> float:
    """Return half the width of Wilson's interval of an accuracy (a fraction) that was measured on so many images."""
    z = 1.96
    return z / (1 + z**2 / images) * math.sqrt(accuracy * (1 - accuracy) / images + z**2 / (4 * images**2))


def bootstrap_over_images(difference: Float[Tensor, " image"], resamples: int = RESAMPLES) -> tuple[float, float, float]:
    """Return the mean of a difference known for every image, and the ends of its interval: bootstrap over images, with a fixed seed."""
    draws = torch.randint(len(difference), (resamples, len(difference)), generator=torch.Generator().manual_seed(0))
    means = difference[draws].mean(1).sort().values
    return difference.mean().item(), means[int(0.025 * resamples)].item(), means[int(0.975 * resamples)].item()


def compare_paired(
    first: Float[Tensor, "seed image"], second: Float[Tensor, "seed image"], resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Return by how many points `first` is correct more often than `second` (1 = correct), and the ends of the interval over images."""
    return bootstrap_over_images(100 * (first.mean(0) - second.mean(0)), resamples)
