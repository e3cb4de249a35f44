"""95 % intervals: of a mean over runs, of a paired difference over images, of an accuracy; and how they are written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

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
    from scipy.special import (
        stdtrit,
    )  # what scipy.stats.t.ppf calls; not needed by --help, and scipy.stats takes a second to import

    return float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))


def compute_wilson_half_width(accuracy: float, images: int) -> float:
    """Return half the width of Wilson's interval of an accuracy (a fraction) that was measured on so many images."""
    z = 1.96
    return z / (1 + z**2 / images) * math.sqrt(accuracy * (1 - accuracy) / images + z**2 / (4 * images**2))


def bootstrap_over_images(
    difference: Float[Tensor, " image"], resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Return the mean of a difference known for every image, and the ends of its interval: bootstrap over images, with a fixed seed."""
    draws = torch.randint(
        len(difference), (resamples, len(difference)), generator=torch.Generator().manual_seed(0)
    )
    means = difference[draws].mean(1).sort().values
    return (
        difference.mean().item(),
        means[int(0.025 * resamples)].item(),
        means[int(0.975 * resamples)].item(),
    )


def compare_paired(
    first: Float[Tensor, "seed image"], second: Float[Tensor, "seed image"], resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Return by how many points `first` is correct more often than `second` (1 = correct), and the ends of the interval over images."""
    return bootstrap_over_images(100 * (first.mean(0) - second.mean(0)), resamples)
