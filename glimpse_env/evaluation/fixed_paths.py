"""Fixed paths: a location for each step, the same for all images, fitted on other images than it is used on.

Each of two fixed random halves of the images gets the path that was fitted on the other half.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Fixations = Float[Tensor, "time image 2"]
Taken = Bool[Tensor, "time image"]  # whether the agent took this glimpse


def split_halves(images: int) -> Bool[Tensor, "half image"]:
    """Return which images are in each of two fixed random halves."""
    first = torch.randperm(images, generator=torch.Generator().manual_seed(0)) % 2 == 0
    return torch.stack((first, ~first))


def fit_mean_paths(centres: Fixations, taken: Taken) -> Fixations:
    """Return the mean path of every image: the mean fixations of the other half; (0, 0) where it has none."""
    path = torch.zeros_like(centres)
    for half in split_halves(taken.shape[1]):
        fitted = taken[:, ~half]
        total = (centres[:, ~half] * fitted[:, :, None]).sum(1) / fitted.sum(1).clamp(min=1)[:, None]
        path[:, half] = total[:, None]
    return path


def measure_distance(centres: Fixations, taken: Taken) -> Float[Tensor, " image"]:
    """Return the mean distance of each image's fixations from the mean path; 0 for images without any."""
    distance = (centres - fit_mean_paths(centres, taken)).norm(dim=2)
    return (distance * taken).sum(0) / taken.sum(0).clamp(min=1)


def follow_cover(hits: Bool[Tensor, "candidate image"], taken: Taken) -> Bool[Tensor, "time image"]:
    """Return which fixations land if every image has the covering path of the other half.

    `hits`: in which images a fixation at each candidate lands.
    """
    landed = torch.zeros_like(taken)
    for half in split_halves(taken.shape[1]):
        path = choose_cover(hits[:, ~half], taken[:, ~half])
        landed[:, half] = hits[path][:, half]
    return landed & taken


def choose_cover(hits: Bool[Tensor, "candidate image"], taken: Taken) -> Int64[Tensor, " time"]:
    """Return for each step the candidate that finds the most images not found before (greedily).

    Of equal ones that which lands in the most images, then the first. `hits`: where each candidate lands.
    """
    missing, path = torch.ones_like(taken[0]), []
    for step in taken:
        new, total = (hits & missing & step).sum(1), (hits & step).sum(1)
        best = (new * (len(missing) + 1) + total).argmax()
        missing = missing & ~(hits[best] & step)
        path.append(best)
    return torch.stack(path)
