"""In which floating-point type a device computes best."""

from __future__ import annotations

import functools
import math
import time
from typing import Literal

import torch

REPEATS = 6  # turns of the measurement

Precision = Literal["auto", "float32", "bfloat16", "float16"]


def named(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of this name; "auto" = the half type of a CUDA device, and on a CPU whichever is faster.

    Raises:
        ValueError: An unknown name.
    """
    if precision not in ("auto", "float32", "bfloat16", "float16"):
        raise ValueError(f"precision={precision!r}: expected one of auto, float32, bfloat16, float16")
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return fastest_precision(device) if device.type == "cpu" else torch.float32


@functools.cache
def fastest_precision(device: torch.device) -> torch.dtype:
    """Return the type in which this device multiplies matrices faster: bfloat16 must win clearly.

    On a CPU, time spent by this process counts, not time that passes, and the types take turns: what else the machine does must not change
    the answer, since tables of features are named after it.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    generator = torch.Generator(device).manual_seed(0)  # its own: a measurement must not change what the program draws
    left, right = (torch.randn(1024, 512, device=device, generator=generator) for _ in range(2))
    seconds = {torch.float32: math.inf, torch.bfloat16: math.inf}
    for repeat in range(REPEATS):
        for kind in seconds:
            moving, still = left.to(kind), right.to(kind)
            start = clock()
            for _ in range(5):
                moving = (moving @ still.T @ still).clamp(-1, 1)
            moving.sum().item()  # waits for the device
            if repeat:  # the first turn warms up
                seconds[kind] = min(seconds[kind], clock() - start)
    return torch.bfloat16 if seconds[torch.bfloat16] < 0.7 * seconds[torch.float32] else torch.float32
