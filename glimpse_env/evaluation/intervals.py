"""95 % intervals: of a mean over runs, of a paired difference over images, of an accuracy; and their text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

RESAMPLES = 10_000
DRAWN = 10_000_000  # images drawn at a time, which limits the memory
Interval = tuple[float, float, float]  # a mean, and the ends of its interval


def format_mean(values: Sequence[float]) -> str:
    """Return "1.32 +- 0.08", the mean and half the width of its interval; one value alone without."""
    mean = f"{statistics.fmean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} +- {compute_half_width(values):.2f}"


def format_interval(interval: Sequence[float], digits: int = 1) -> str:
    """Return "+1.2 [+0.3, +2.1]" from a difference and the ends of its interval."""
    mean, low, high = (f"{value:+.{digits}f}" for value in interval)
    return f"{mean} [{low}, {high}]"


def compute_half_width(values: Sequence[float]) -> float:
    """Return half the width of the mean's interval (Student's t) over at least two runs."""
    from scipy import special  # stdtrit is what scipy.stats.t.ppf calls; scipy.stats takes a second to import

    quantile = float(special.stdtrit(len(values) - 1, 0.975))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def compute_wilson_half_width(accuracy: float, images: int) -> float:
    """Return half the width of Wilson's interval of an accuracy (a fraction) on so many images."""
    z = 1.96
    return z / (1 + z**2 / images) * math.sqrt(accuracy * (1 - accuracy) / images + z**2 / (4 * images**2))


def bootstrap_over_images(difference: Float[Tensor, " image"], resamples: int = RESAMPLES) -> Interval:
    """Return the mean of every image's difference, and the ends of its interval (bootstrap, fixed seed)."""
    images, generator = len(difference), torch.Generator().manual_seed(0)
    at_once, drawn = max(1, DRAWN // images), []
    for start in range(0, resamples, at_once):
        draws = torch.randint(images, (min(at_once, resamples - start), images), generator=generator)
        drawn.append(difference[draws].mean(1))
    means = torch.cat(drawn).sort().values
    low, high = means[int(0.025 * resamples)], means[int(0.975 * resamples)]
    return difference.mean().item(), low.item(), high.item()


def compare_paired(
    first: Float[Tensor, "seed image"], second: Float[Tensor, "seed image"], resamples: int = RESAMPLES
) -> Interval:
    """Return `first` minus `second` (1 = correct) in points of accuracy, and the interval's ends."""
    return bootstrap_over_images(100 * (first.mean(0) - second.mean(0)), resamples)


def compare_networks(
    first: Sequence[Float[Tensor, "_ image"]],
    second: Sequence[Float[Tensor, "_ image"]],
    resamples: int = RESAMPLES,
) -> Interval:
    """Return `first` minus `second` in points of accuracy, both (seed, image) of every frozen network.

    The interval is a bootstrap over networks, over the seeds of each and over images (fixed seed), so it also
    has the spread between networks; every network counts alike.
    """
    generator = torch.Generator().manual_seed(0)
    differences = [100 * (ours - others) for ours, others in zip(first, second, strict=True)]
    networks, images = len(differences), differences[0].shape[1]
    drawn = torch.randint(networks, (resamples, networks), generator=generator)
    shares = []  # of every run in every resample
    for number, runs in enumerate(differences):
        often = (drawn == number).sum(1)
        picks = torch.randint(len(runs), (resamples, networks, len(runs)), generator=generator)
        counted = torch.arange(networks) < often[:, None]
        picks = torch.nn.functional.one_hot(picks, len(runs)).sum(2) * counted[:, :, None]
        shares.append(picks.sum(1) / (len(runs) * networks))
    by_image = torch.cat(shares, 1) @ torch.cat(differences)
    means = by_image.gather(1, torch.randint(images, (resamples, images), generator=generator)).mean(1)
    low, high = means.sort().values[[int(0.025 * resamples), int(0.975 * resamples)]].tolist()
    return torch.stack([runs.mean() for runs in differences]).mean().item(), low, high
